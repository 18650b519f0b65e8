//! Imports beside a running service: a file is received into the data folder, waits its turn, and is taken in as history
//! that starts nothing. What is asked and how far it is stands in the database, so that a process that starts again goes
//! on, and every other can say where it stands.
//!
//! Living through the past with its consequences needs a clock of its own, which a running service cannot lend: that is
//! `carillon import`, on a folder of its own.

mod asked;
mod preview;
mod turn;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use sea_orm::DatabaseTransaction;
use tempfile::NamedTempFile;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, watch};

pub use self::asked::{Asked, Holds, NotAsked};
pub use self::preview::Previewed;
use super::suppressions::{List, NotAList, Stop};
use super::uploads::Uploads;
use super::{OpenError, Provenance, suppressions};
use crate::eventlog::{EventLog, Queue};
use crate::ids::{Span, Timestamp, WorkspaceId};
use crate::store::imports::{ImportOptions, ImportProgress, ImportState, StoredImport};
use crate::store::shards::ShardSet;
use crate::store::{Store, Workspace, workspace};

/// Of a file, as it is sent.
pub const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Of a suppression list, unpacked: about a million addresses, all of which are held at once.
const LIST_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Files that wait or are taken in, of one process.
pub const UNFINISHED_MAX: usize = 10;
/// Files that arrive at once.
const ARRIVING_MAX: usize = 4;
/// Rejected rows that are listed of one import; all are counted.
pub const REJECTS_LISTED_MAX: u64 = 10_000;
/// An import of which nobody has spoken for so long is interrupted: the process that has its file does not run.
const SILENT_AFTER: Span = Span::from_seconds(60);
/// Without a word, what waits is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The imports of a service. Cheap to clone.
#[derive(Clone)]
pub struct Imports {
    log: EventLog,
    store: Store,
    workspace: WorkspaceId,
    uploads: Uploads,
    /// Held while a file has no row yet, or what has none is removed.
    shelf: Arc<Mutex<()>>,
    woken: Arc<Notify>,
    arriving: Arc<Semaphore>,
    suppress: Suppress,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{UNFINISHED_MAX} imports wait already, which is as many as this process keeps")]
    Full,
    #[error("{0}")]
    Unreadable(#[from] OpenError),
    #[error("{0}")]
    NotAList(#[from] NotAList),
}

/// Puts addresses on the list of those nobody writes to; the answer is how many were not there.
pub type Suppress = Arc<dyn Fn(Vec<Stop>) -> BoxFuture<'static, anyhow::Result<u64>> + Send + Sync>;

/// A file that arrives, gone with its holder.
pub struct Received {
    file: NamedTempFile,
    hash: blake3::Hasher,
    bytes: u64,
    _turn: OwnedSemaphorePermit,
}

impl Received {
    /// Adds what has come; blocks.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&mut self, part: &[u8]) -> anyhow::Result<()> {
        std::io::Write::write_all(self.file.as_file_mut(), part).context("a file that arrives cannot be kept")?;
        self.hash.update(part);
        self.bytes += part.len() as u64;
        Ok(())
    }

    /// How many have come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of what has come.
    pub fn digest(&self) -> blake3::Hash {
        self.hash.finalize()
    }
}

type Change<T> = Box<dyn for<'t> FnOnce(Workspace<'t, DatabaseTransaction>) -> BoxFuture<'t, anyhow::Result<T>> + Send>;

impl Imports {
    pub fn new(data: &Path, log: EventLog, store: Store, workspace: WorkspaceId, suppress: Suppress) -> Self {
        let arriving = Arc::new(Semaphore::new(ARRIVING_MAX));
        let (uploads, shelf, woken) = (Uploads::of(data), Arc::default(), Arc::default());
        Self { log, store, workspace, uploads, shelf, woken, arriving, suppress }
    }

    fn now(&self) -> Timestamp {
        self.log.clock().machine()
    }

    async fn change<T: Send + 'static>(&self, change: Change<T>) -> anyhow::Result<T> {
        let id = self.workspace;
        let writer = self.log.writer();
        writer.change_in(Queue::Sends, ShardSet::NONE, move |tx, _| change(workspace(tx, id))).await
    }

    /// Whether another file would be refused.
    ///
    /// # Errors
    /// The folder or the database cannot be read.
    pub async fn is_full(&self) -> anyhow::Result<bool> {
        let home = self.home().await?;
        Ok(self.store.workspace(self.workspace).unfinished_imports(&home).await?.len() >= UNFINISHED_MAX)
    }

    async fn home(&self) -> anyhow::Result<String> {
        let uploads = self.uploads.clone();
        blocking(move || uploads.home_made()).await?
    }

    /// Room for a file to arrive in; none while as many arrive as may.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn receive(&self) -> anyhow::Result<Option<Received>> {
        let Ok(turn) = self.arriving.clone().try_acquire_owned() else { return Ok(None) };
        self.home().await?;
        let uploads = self.uploads.clone();
        let file = blocking(move || uploads.receive()).await??;
        Ok(Some(Received { file, hash: blake3::Hasher::new(), bytes: 0, _turn: turn }))
    }

    /// Puts a file that has arrived into the line. One whose first rows show that it is not what was said is refused.
    ///
    /// # Errors
    /// The folder or the database cannot be written.
    pub async fn submit(&self, asked: &Asked, received: Received) -> anyhow::Result<Result<StoredImport, Refused>> {
        let Received { file, bytes, .. } = received;
        if bytes == 0 {
            return Ok(Err(OpenError::Empty.into()));
        }
        let (looked_for, provenance) = (asked.clone(), self.provenance(asked));
        let looked = blocking(move || look(file.path(), &looked_for, &provenance).map(|()| file));
        let file = match looked.await? {
            Ok(file) => file,
            Err(refused) => return Ok(Err(refused)),
        };
        let shelf = self.shelf.lock().await;
        if self.is_full().await? {
            return Ok(Err(Refused::Full));
        }
        let (id, now) = (uuid::Uuid::new_v4().simple().to_string(), self.now());
        let import = StoredImport {
            id: id.clone(),
            home: self.home().await?,
            name: asked.name.clone(),
            format: asked.holds.as_str().to_owned(),
            options: asked.options.clone(),
            state: ImportState::Waiting,
            bytes,
            progress: ImportProgress::default(),
            failure: None,
            stop_asked: false,
            created_at: now,
            told_at: now,
            began_at: None,
            ended_at: None,
        };
        let (uploads, name) = (self.uploads.clone(), asked.name.clone());
        blocking(move || uploads.keep(file, &id, &name)).await??;
        let row = import.clone();
        self.change(Box::new(move |db| Box::pin(async move { Ok(db.add_import(&row).await?) }))).await?;
        drop(shelf);
        self.woken.notify_one();
        Ok(Ok(import))
    }

    /// Stops one: at once where it waits or its process is gone, else within a second or two.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn stop(&self, id: &str) -> anyhow::Result<()> {
        let (id, now) = (id.to_owned(), self.now());
        let silent_since = now.minus(SILENT_AFTER);
        let stopping =
            self.change(Box::new(move |db| Box::pin(async move { Ok(db.stop_import(&id, silent_since, now).await?) })));
        stopping.await?;
        self.woken.notify_one();
        Ok(())
    }

    /// Whether the process that has its file does not run.
    pub fn is_interrupted(&self, import: &StoredImport) -> bool {
        import.ended_at.is_none() && import.told_at < self.now().minus(SILENT_AFTER)
    }

    /// Takes in what waits, one file after the other, until `stop`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut begins = true;
        while !*stop.borrow() {
            let pause = match self.round(begins, &stop).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "imports wait: they cannot be carried out at the moment"
                    );
                    TRY_AGAIN
                }
            };
            begins = false;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.woken.notified() => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Takes in the oldest that waits; false where none does.
    async fn round(&self, begins: bool, stop: &watch::Receiver<bool>) -> anyhow::Result<bool> {
        let uploads = self.uploads.clone();
        // Who never had a file makes no folder for them.
        let Some(home) = blocking(move || uploads.home()).await?? else { return Ok(false) };
        let shelf = self.shelf.lock().await;
        let waiting = self.store.workspace(self.workspace).unfinished_imports(&home).await?;
        let wanted: Vec<String> = waiting.iter().map(|import| import.id.clone()).collect();
        let uploads = self.uploads.clone();
        blocking(move || uploads.sweep(&wanted, begins)).await?;
        drop(shelf);
        let Some(oldest) = waiting.into_iter().next() else { return Ok(false) };
        self.carry_out(oldest, stop).await?;
        Ok(true)
    }

    fn provenance(&self, asked: &Asked) -> Provenance {
        Provenance {
            workspace: self.workspace,
            source: asked.options.source.clone(),
            not_after: self.log.clock().now(),
            known_as: None,
        }
    }
}

/// Whether a file is what it is said to be. Blocks.
fn look(path: &Path, asked: &Asked, provenance: &Provenance) -> Result<(), Refused> {
    match asked.holds {
        Holds::Rows(format) => format.open(path, provenance, asked.mapping.as_ref()).map(drop).map_err(Refused::from),
        Holds::Suppressions => list(path, asked).map(drop).map_err(Refused::from),
    }
}

/// A suppression list; what is wrong with the file is said without its path.
fn list(path: &Path, asked: &Asked) -> Result<List, NotAList> {
    let ImportOptions { channel, kind, .. } = &asked.options;
    let read = suppressions::read(path, channel.as_deref().unwrap_or("email"), kind.as_deref(), LIST_BYTES_MAX);
    read.map_err(|error| error.downcast().unwrap_or_else(|error| NotAList(format!("{error:#}"))))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
