//! What a file would become, told before anything of it is stored: the same counts, rejected rows and sums as an import of
//! it has, and its first events.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::turn::{Ledger, ROWS_PER_LOOK};
use super::{Asked, Holds, Imports, Provenance, Received, Refused, blocking, list};
use crate::event::Event;
use crate::intake::envelope::Stamp;
use crate::intake::people::People;
use crate::intake::{Format, OpenError};
use crate::money::Currency;
use crate::store::imports::{ImportProgress, Reject};

/// Events that are shown.
const EVENTS_SHOWN: usize = 10;

/// What was found in a file.
#[derive(Debug, Default)]
pub struct Previewed {
    /// Of its rows; nothing of it is stored.
    pub progress: ImportProgress,
    /// The first of them, as many as an import lists.
    pub rejects: Vec<Reject>,
    /// The first events, in the order of the file.
    pub events: Vec<Event>,
    /// What the file's amounts come to: which, in which currency, of how many rows, exactly.
    pub sums: Vec<(&'static str, Currency, u64, String)>,
}

/// Nobody waits for the answer any more.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Imports {
    /// Reads a whole file that has arrived, and stores nothing; it goes when it is read.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn preview(&self, asked: &Asked, received: Received) -> anyhow::Result<Result<Previewed, Refused>> {
        if received.bytes == 0 {
            return Ok(Err(OpenError::Empty.into()));
        }
        let (asked, provenance, halt) = (asked.clone(), self.provenance(asked), Arc::new(AtomicBool::new(false)));
        let gone = Gone(halt.clone());
        let uploads = self.uploads.clone();
        let reading = blocking(move || {
            let (_folder, path) = uploads.named(&received.file, &asked.name).map_err(OpenError::from)?;
            found(&path, received.bytes, &asked, &provenance, &halt)
        });
        let found = reading.await;
        drop(gone);
        found
    }
}

fn found(
    path: &Path,
    bytes: u64,
    asked: &Asked,
    provenance: &Provenance,
    halt: &AtomicBool,
) -> Result<Previewed, Refused> {
    let ledger = Ledger::default();
    let mut previewed = match asked.holds {
        Holds::Rows(format) => rows(path, format, asked, provenance, (&ledger, halt))?,
        Holds::Suppressions => {
            let found = list(path, asked)?;
            ledger.note_list(found.rows.len(), bytes);
            found.refused.into_iter().for_each(|refused| ledger.reject_address(refused));
            Previewed::default()
        }
    };
    let people = previewed.progress;
    previewed.progress = ImportProgress { people: people.people, added: people.added, ..ledger.progress() };
    previewed.rejects = ledger.take_rejects();
    Ok(previewed)
}

fn rows(
    path: &Path,
    format: Format,
    asked: &Asked,
    provenance: &Provenance,
    (ledger, halt): (&Ledger, &AtomicBool),
) -> Result<Previewed, Refused> {
    let mut reader = format.open(path, provenance, asked.mapping.as_ref())?;
    let mut people = People::new(Stamp::new(path, provenance), asked.consent.clone(), None);
    let mut previewed = Previewed::default();
    while let Some(read) = reader.next() {
        match read {
            Ok(event) => {
                previewed.progress.added += people.before(&event).len() as u64;
                if previewed.events.len() < EVENTS_SHOWN {
                    previewed.events.push(event);
                }
            }
            Err(fault) if !fault.is_left_out() => ledger.reject(fault),
            Err(_) => {}
        }
        if reader.figures().rows.is_multiple_of(ROWS_PER_LOOK) && halt.load(Ordering::Acquire) {
            break;
        }
    }
    ledger.note_read(reader.figures(), reader.bytes_read());
    previewed.progress.people = people.count();
    let money = reader.figures().money.iter();
    previewed.sums =
        money.map(|((sum, of), counted)| (sum.as_str(), *of, counted.rows, counted.total.to_string())).collect();
    Ok(previewed)
}
