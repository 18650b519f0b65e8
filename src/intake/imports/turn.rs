//! One import carried out: the file is read where waiting holds nobody up, its events are put in order and stored batch
//! by batch, and each second the database is told how far it is and asked whether to go on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use super::{Asked, Holds, Imports, REJECTS_LISTED_MAX, blocking, list};
use crate::intake::history_sink::HistorySink;
use crate::intake::known_files::{digest, known_by, other_name};
use crate::intake::run::Batches;
use crate::intake::suppressions::Refused;
use crate::intake::time_order::TimeOrder;
use crate::intake::{Figures, Format, Options, Provenance, RowFault};
use crate::store::imports::{ImportProgress, ImportState, Reject, StoredImport};

const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Rows read between two looks at whether to go on.
pub(super) const ROWS_PER_LOOK: u64 = 500;
/// Of what is said of a row.
const MESSAGE_CHARS_MAX: usize = 300;
/// Addresses put on the list in one transaction.
const STOPS_AT_ONCE: usize = 500;
/// Rejected rows stored at once.
const REJECTS_AT_ONCE: usize = 500;

/// What is known of an import while it goes on.
#[derive(Default)]
pub(super) struct Ledger {
    progress: Mutex<ImportProgress>,
    /// Not stored yet.
    rejects: Mutex<Vec<Reject>>,
    /// The file is not to be read, and nothing more stored.
    halt: AtomicBool,
    /// Because somebody said so, and not because the process stops.
    stopped: AtomicBool,
}

impl Ledger {
    pub(super) fn progress(&self) -> ImportProgress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut ImportProgress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_halted(&self) -> bool {
        self.halt.load(Ordering::Acquire)
    }

    pub(super) fn note_read(&self, figures: &Figures, bytes: u64) {
        self.change(|progress| {
            progress.bytes_read = bytes;
            progress.rows = figures.rows;
            progress.rows_in_events = figures.rows_in_events;
            progress.events = figures.events;
            let codes = figures.rows_without_event.iter();
            progress.rows_without_event = codes.map(|(code, rows)| ((*code).to_owned(), *rows)).collect();
        });
    }

    pub(super) fn reject(&self, fault: RowFault) {
        self.change(|progress| progress.rows_rejected += fault.rows);
        self.list(fault);
    }

    fn list(&self, fault: RowFault) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.rejects_listed == REJECTS_LISTED_MAX {
            return;
        }
        progress.rejects_listed += 1;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let reject = Reject {
            n: number(progress.rejects_listed),
            line: fault.line.map(number),
            row: number(fault.row),
            rows: number(fault.rows),
            field: fault.column.map(|column| column.chars().take(MESSAGE_CHARS_MAX).collect()),
            code: fault.code.to_owned(),
            message: Some(fault.message.chars().filter(|c| *c != '\0').take(MESSAGE_CHARS_MAX).collect()),
        };
        self.rejects.lock().unwrap_or_else(PoisonError::into_inner).push(reject);
    }

    /// All of a list was read: so many addresses of so many bytes.
    pub(super) fn note_list(&self, addresses: usize, bytes: u64) {
        self.change(|progress| {
            progress.bytes_read = bytes;
            (progress.rows, progress.rows_in_events) = (addresses as u64, addresses as u64);
            progress.events = addresses as u64;
        });
    }

    pub(super) fn reject_address(&self, refused: Refused) {
        let (code, column) = ("not_an_address", None);
        let Refused { line, reason, .. } = refused;
        self.change(|progress| {
            progress.rows += 1;
            *progress.rows_without_event.entry(code.to_owned()).or_default() += 1;
        });
        let (message, text) = (reason, String::new());
        // Its rows are not counted apart: the first line names the columns.
        let row = line.saturating_sub(1);
        self.reject(RowFault { row, line: Some(line), rows: 1, column, code, message, text });
    }

    /// The first that are not stored.
    fn some_rejects(&self) -> Vec<Reject> {
        let rejects = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        rejects.iter().take(REJECTS_AT_ONCE).cloned().collect()
    }

    /// All that are listed.
    pub(super) fn take_rejects(&self) -> Vec<Reject> {
        std::mem::take(&mut *self.rejects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn are_stored(&self, rejects: usize) {
        self.rejects.lock().unwrap_or_else(PoisonError::into_inner).drain(..rejects);
    }
}

const GONE: &str = "its file is not in the data folder any more";

/// Why the work on a file is over.
enum Over {
    Done,
    Halted,
    /// The file cannot be read.
    Failed(String),
}

impl Imports {
    /// Takes in one file, or goes on with it: from its beginning, for rows are known by file, place and content.
    ///
    /// # Errors
    /// The database cannot be reached; the import waits.
    pub(super) async fn carry_out(&self, import: StoredImport, stop: &watch::Receiver<bool>) -> anyhow::Result<()> {
        let (id, now) = (import.id.clone(), self.now());
        let beginning = self.change(Box::new(move |db| {
            Box::pin(async move {
                db.drop_rejects(&id).await?;
                Ok(db.begin_import(&id, now).await?)
            })
        }));
        let ledger = Arc::new(Ledger::default());
        if !beginning.await? {
            // Stopped before its turn came.
            ledger.stopped.store(true, Ordering::Release);
            return self.end(&import, &ledger, (ImportState::Stopped, None)).await;
        }
        let over = self.beside(&import, &ledger, stop, self.take_in(&import, &ledger)).await?;
        self.tell_all(&import, &ledger).await?;
        let is_stopped = ledger.stopped.load(Ordering::Acquire);
        match over {
            Over::Done => self.end(&import, &ledger, (ImportState::Done, None)).await,
            Over::Halted if is_stopped => self.end(&import, &ledger, (ImportState::Stopped, None)).await,
            Over::Halted => self.tell(&import, &ledger, ImportState::Waiting).await,
            Over::Failed(cause) => self.end(&import, &ledger, (ImportState::Failed, Some(cause))).await,
        }
    }

    async fn take_in(&self, import: &StoredImport, ledger: &Arc<Ledger>) -> anyhow::Result<Over> {
        let asked = match Asked::of(import) {
            Ok(asked) => asked,
            Err(error) => return Ok(Over::Failed(error.to_string())),
        };
        let path = self.uploads.path(&import.id, &import.name);
        let format = match asked.holds {
            Holds::Rows(format) => format,
            Holds::Suppressions => return self.take_list(path, asked, ledger).await,
        };
        let Some(known_as) = self.known_as(&path, ledger).await? else { return Ok(Over::Halted) };
        let other = other_name(&path, known_as.as_deref());
        ledger.change(|progress| progress.known_as = other);
        let options = Options {
            provenance: Provenance { known_as, ..self.provenance(&asked) },
            mapping: asked.mapping.clone(),
            consent: asked.consent.clone(),
            address_domain: None,
            errors: None,
            rejects: false,
        };
        let heard = ledger.clone();
        let mut batches = match blocking(move || read(path, format, &options, &heard)).await? {
            Ok(Some(batches)) => batches,
            Ok(None) => return Ok(Over::Halted),
            Err(error) => return Ok(Over::Failed(format!("{error:#}"))),
        };
        let sink = HistorySink { log: self.log.clone(), store: self.store.clone(), workspace: self.workspace };
        while !ledger.is_halted() {
            let (back, batch) = blocking(move || {
                let batch = batches.next();
                (batches, batch)
            })
            .await?;
            batches = back;
            let batch = match batch {
                Ok(Some(batch)) => batch,
                Ok(None) => {
                    sink.decided(&ledger.halt).await;
                    return Ok(Over::Done);
                }
                Err(error) => return Ok(Over::Failed(format!("{error:#}"))),
            };
            let Some(report) = sink.accept(batch, &ledger.halt).await else { return Ok(Over::Halted) };
            let (people, added) = (batches.people(), batches.added);
            ledger.change(|progress| {
                progress.stored += report.stored;
                progress.repeated += report.repeated;
                progress.refused += report.refused.len() as u64;
                (progress.people, progress.added) = (people, added);
            });
            report.refused.into_iter().for_each(|fault| ledger.list(fault));
            sink.give_way(&ledger.halt).await;
        }
        Ok(Over::Halted)
    }

    /// The name its rows are known by; none where it was halted, and none within where it cannot be read.
    async fn known_as(&self, path: &Path, ledger: &Arc<Ledger>) -> anyhow::Result<Option<Option<String>>> {
        let (heard, read) = (ledger.clone(), path.to_owned());
        match blocking(move || digest(&read, || heard.is_halted())).await? {
            Some(digest) => Ok(Some(Some(known_by(&self.log, self.workspace, path, digest).await?))),
            None if ledger.is_halted() => Ok(None),
            None => Ok(Some(None)),
        }
    }

    /// Puts addresses on the list; those that are there already are counted as known.
    async fn take_list(&self, path: PathBuf, asked: Asked, ledger: &Arc<Ledger>) -> anyhow::Result<Over> {
        let heard = ledger.clone();
        let reading = blocking(move || {
            anyhow::ensure!(path.is_file(), GONE);
            let found = list(&path, &asked)?;
            heard.note_list(found.rows.len(), std::fs::metadata(&path)?.len());
            found.refused.into_iter().for_each(|refused| heard.reject_address(refused));
            Ok(found.rows)
        });
        let mut rows = match reading.await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Over::Failed(format!("{error:#}"))),
        };
        while !rows.is_empty() {
            if ledger.is_halted() {
                return Ok(Over::Halted);
            }
            let slice: Vec<_> = rows.drain(..rows.len().min(STOPS_AT_ONCE)).collect();
            let count = slice.len() as u64;
            let added = (self.suppress)(slice).await?;
            ledger.change(|progress| {
                progress.stored += added;
                progress.repeated += count.saturating_sub(added);
            });
        }
        Ok(Over::Done)
    }

    /// Waits for the work, says each second how far it is, and halts it where somebody stopped it or the process stops.
    async fn beside<T>(
        &self,
        import: &StoredImport,
        ledger: &Ledger,
        stop: &watch::Receiver<bool>,
        work: impl Future<Output = T>,
    ) -> T {
        let mut stop = stop.clone();
        let mut work = std::pin::pin!(work);
        loop {
            if *stop.borrow() {
                ledger.halt.store(true, Ordering::Release);
            }
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(TOLD_EVERY) => self.tell_on(import, ledger).await,
                // Somebody stopped one, or brought another.
                () = self.woken.notified() => self.tell_on(import, ledger).await,
                gone = stop.changed(), if !ledger.is_halted() => {
                    if gone.is_err() {
                        ledger.halt.store(true, Ordering::Release);
                    }
                }
            }
        }
    }

    async fn tell_on(&self, import: &StoredImport, ledger: &Ledger) {
        if let Err(error) = self.tell(import, ledger, ImportState::Running).await {
            tracing::debug!(%error, "how far an import is was not noted");
        }
    }

    /// Stores how far it is with some of the rows that were refused, and hears whether it is to go on.
    async fn tell(&self, import: &StoredImport, ledger: &Ledger, state: ImportState) -> anyhow::Result<()> {
        let (home, id, now) = (import.home.clone(), import.id.clone(), self.now());
        let (progress, rejects) = (ledger.progress(), ledger.some_rejects());
        let count = rejects.len();
        let telling = self.change(Box::new(move |db| {
            Box::pin(async move {
                if !rejects.is_empty() {
                    db.add_rejects(&id, &rejects).await?;
                }
                Ok(db.note_import((&home, &id), state, &progress, now).await?)
            })
        }));
        let goes_on = telling.await?;
        ledger.are_stored(count);
        if !goes_on {
            ledger.stopped.store(true, Ordering::Release);
            ledger.halt.store(true, Ordering::Release);
        }
        Ok(())
    }

    async fn tell_all(&self, import: &StoredImport, ledger: &Ledger) -> anyhow::Result<()> {
        while !ledger.some_rejects().is_empty() {
            self.tell(import, ledger, ImportState::Running).await?;
        }
        Ok(())
    }

    async fn end(
        &self,
        import: &StoredImport,
        ledger: &Ledger,
        how: (ImportState, Option<String>),
    ) -> anyhow::Result<()> {
        let (id, progress, now) = (import.id.clone(), ledger.progress(), self.now());
        let (state, code) = (how.0.as_str(), import.format.clone());
        let ending = self
            .change(Box::new(move |db| Box::pin(async move { Ok(db.end_import(&id, how, &progress, now).await?) })));
        ending.await?;
        tracing::info!(import = import.id, format = code, state, rows = ledger.progress().rows, "an import is over");
        let (uploads, id) = (self.uploads.clone(), import.id.clone());
        blocking(move || uploads.remove(&id)).await
    }
}

/// Reads a whole file and puts its events in order; none where it was halted. Blocks.
fn read(path: PathBuf, format: Format, options: &Options, ledger: &Ledger) -> anyhow::Result<Option<Batches>> {
    anyhow::ensure!(path.is_file(), GONE);
    let mut reader = format.open(&path, &options.provenance, options.mapping.as_ref())?;
    let mut events = TimeOrder::new();
    let mut next_look = 0;
    while let Some(read) = reader.next() {
        match read {
            Ok(event) => events.push(event).context("the events cannot be put in order")?,
            Err(fault) if !fault.is_left_out() => ledger.reject(fault),
            Err(_) => {}
        }
        if reader.figures().rows >= next_look {
            next_look = reader.figures().rows + ROWS_PER_LOOK;
            ledger.note_read(reader.figures(), reader.bytes_read());
            if ledger.is_halted() {
                return Ok(None);
            }
        }
    }
    ledger.note_read(reader.figures(), reader.bytes_read());
    Batches::of(events, &path, options).map(Some)
}
