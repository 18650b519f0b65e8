//! The event log: append with group commit, and the one writer through which every change goes.
//!
//! Contract: when `append` answers, the events are committed and synced to disk. Positions have no holes and follow the
//! order of commits. The same event id again is answered as a duplicate, and the first is kept.

pub mod append;
mod checkpoint;
mod health;
pub mod identity;
mod reach;
pub mod recent;
mod replies;
mod turn;
mod unstored;
pub mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::event::Event;
use crate::ids::{Position, ProfileId, WorkspaceId};
use crate::store::Database;
use crate::store::entries::Logged;
use crate::store::shards::ShardSet;
use crate::telemetry;
pub use append::{Appender, Draft};
pub use recent::Recent;
pub use writer::{Queue, Writer};

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    Stored { position: Position, profile: Option<ProfileId> },
    Duplicate,
}

/// What became of one event among others that do not depend on it.
pub type Taken = Result<Receipt, Unstorable>;

/// Why events were not accepted; none of them is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error("too many events are waiting; try again shortly")]
    Overloaded,
    #[error("the log cannot be written: {0}")]
    Failing(String),
    #[error("the service is stopping")]
    Stopping,
    /// These, by their place in the call, are not taken for what they are, and will not be; by the database's code.
    #[error("the database refuses {} of the events for what they are", .0.len())]
    Refused(BTreeMap<usize, String>),
}

/// An event that the database does not take for what it is: the same again is not taken either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database does not take it ({code})")]
pub struct Unstorable {
    /// The database's word for why.
    pub code: String,
    /// What its client calls it.
    pub message_id: Option<String>,
}

/// What the loops wait on, so that nothing polls.
#[derive(Clone)]
pub struct Pulses {
    appended: watch::Sender<Position>,
    /// Shards that were appended to since somebody asked, as bits.
    shards: Arc<AtomicI64>,
    stored: watch::Sender<u64>,
}

impl Pulses {
    fn new(head: Position) -> Self {
        Self { appended: watch::Sender::new(head), shards: Arc::default(), stored: watch::Sender::new(0) }
    }

    /// After a commit: where the log ends now, and whether anything else changed.
    fn committed(&self, head: Position, appended: ShardSet, stored: bool) {
        if !appended.is_empty() {
            self.shards.fetch_or(appended.bits(), Ordering::AcqRel);
            self.appended.send_modify(|known| *known = head.max(*known));
        }
        if stored {
            self.stored.send_modify(|count| *count += 1);
        }
    }
}

/// The log of all inputs. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    writer: Writer,
    clock: Clock,
    pulses: Pulses,
    recent: Recent,
}

impl EventLog {
    /// Starts the writer over the database's write connection.
    ///
    /// # Errors
    /// The end of the log cannot be read.
    pub async fn start(database: &Database, clock: Clock) -> anyhow::Result<Self> {
        let appender = Appender::load(&database.writer, clock.clone()).await?;
        let pulses = Pulses::new(appender.head());
        let recent = Recent::default();
        let writer = Writer::start(database.clone(), appender, pulses.clone(), recent.clone())?;
        Ok(Self { writer, clock, pulses, recent })
    }

    /// Stores events; the answers are in their order.
    ///
    /// # Errors
    /// See [`AppendError`]; after an error nothing of this call is stored.
    pub async fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> Result<Vec<Receipt>, AppendError> {
        let drafts = events.into_iter().map(|event| Draft::event(workspace, event)).collect();
        self.append_drafts(drafts).await
    }

    /// As `append`, and what the database refuses for what it is keeps nothing else from being stored.
    ///
    /// # Errors
    /// As for `append`, except that others of the call may be stored; they are recognised when they come again.
    pub async fn append_apart(&self, workspace: WorkspaceId, events: Vec<Event>) -> Result<Vec<Taken>, AppendError> {
        let mut taken: Vec<Taken> = vec![Ok(Receipt::Duplicate); events.len()];
        let drafts = events.into_iter().map(|event| Draft::event(workspace, event));
        let mut rest: Vec<(usize, Draft)> = drafts.enumerate().collect();
        loop {
            match self.append_drafts(rest.iter().map(|(_, draft)| draft.clone()).collect()).await {
                Err(AppendError::Refused(refused)) if !refused.is_empty() => {
                    for (n, code) in refused.into_iter().rev() {
                        let (place, Draft { logged, .. }) = rest.remove(n);
                        let message_id = match logged {
                            Logged::Event(event) => Some(event.message_id.clone()),
                            _ => None,
                        };
                        taken[place] = Err(Unstorable { code, message_id });
                    }
                }
                Err(error) => return Err(error),
                Ok(receipts) => {
                    rest.into_iter().zip(receipts).for_each(|((place, _), receipt)| taken[place] = Ok(receipt));
                    return Ok(taken);
                }
            }
        }
    }

    /// Stores any inputs.
    ///
    /// # Errors
    /// As for `append`.
    pub async fn append_drafts(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, AppendError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let receipts = self.writer.append(drafts).await?;
        let repeated = receipts.iter().filter(|receipt| **receipt == Receipt::Duplicate).count();
        telemetry::events_appended((receipts.len() - repeated) as u64, repeated as u64);
        Ok(receipts)
    }

    /// The writer, for changes that are not appends (or that append beside other changes).
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Entries committed a moment ago.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The end of the log, as it moves.
    pub fn appended(&self) -> watch::Receiver<Position> {
        self.pulses.appended.subscribe()
    }

    /// Shards that this process appended to since this was asked last.
    pub fn take_appended(&self) -> ShardSet {
        ShardSet::of_bits(self.pulses.shards.swap(0, Ordering::AcqRel))
    }

    /// There is something new that this process did not append: whoever waits looks again.
    pub fn wake(&self) {
        self.pulses.appended.send_modify(|_| {});
        self.pulses.stored.send_modify(|count| *count += 1);
    }

    /// Changes whenever effects or message states were stored.
    pub fn stored(&self) -> watch::Receiver<u64> {
        self.pulses.stored.subscribe()
    }

    /// Takes nothing more, finishes what was accepted, and truncates the write-ahead log.
    pub async fn stop(&self) {
        self.writer.stop().await;
    }
}

/// An input that is not an event.
pub fn logged(workspace: WorkspaceId, profile: Option<ProfileId>, now: crate::ids::Timestamp, logged: Logged) -> Draft {
    Draft { workspace, profile, joins: None, now: Some(now), logged }
}
