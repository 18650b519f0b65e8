//! A running service's log as the place where a file's past goes: each row is stored with the time it happened, decided
//! as of now, and starts nothing. Live events go first: what is imported waits while much is undecided.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::SinkReport;
use super::run::row_of;
use crate::event::{Event, Origin};
use crate::eventlog::{AppendError, EventLog};
use crate::ids::{Timestamp, WorkspaceId};
use crate::store::shards::{Heads, ShardSet, backlog, cursors, heads};
use crate::store::{Error, Store};

/// Entries that may wait to be decided before an import goes on: a second's work or two, which a live event waits behind.
const UNDECIDED_MAX: i64 = 10_000;
const FIRST_WAIT: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(2);

pub(super) struct HistorySink {
    pub(super) log: EventLog,
    pub(super) store: Store,
    pub(super) workspace: WorkspaceId,
}

impl HistorySink {
    /// Stores a batch; none where `halt` came first. A log or a database that is away is waited for.
    pub(super) async fn accept(&self, events: Vec<Event>, halt: &AtomicBool) -> Option<SinkReport> {
        let now = self.log.clock().now();
        let events: Vec<Event> = events.into_iter().map(|event| as_past(event, now)).collect();
        let rows: Vec<u64> = events.iter().map(row_of).collect();
        let mut wait = FIRST_WAIT;
        while !halt.load(Ordering::Acquire) {
            match self.log.append_apart(self.workspace, events.clone()).await {
                Ok(taken) => return Some(SinkReport::of(&rows, taken)),
                Err(AppendError::Stopping) => return None,
                Err(error) => tracing::debug!(%error, "an import waits for the log"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        None
    }

    /// Until what waits to be decided is little, or `halt`.
    pub(super) async fn give_way(&self, halt: &AtomicBool) {
        let mut wait = FIRST_WAIT;
        while !halt.load(Ordering::Acquire) {
            match backlog(self.store.reader(), ShardSet::EVERY).await {
                Ok(waiting) if waiting <= UNDECIDED_MAX => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "an import waits for the database"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Until all that is stored by now is decided on, so that whoever asks of it sees it; or `halt`.
    pub(super) async fn decided(&self, halt: &AtomicBool) {
        let mut wait = FIRST_WAIT;
        let mut until: Option<Heads> = None;
        while !halt.load(Ordering::Acquire) {
            match self.ahead(&mut until).await {
                Ok(false) => return,
                Ok(true) => {}
                Err(error) => tracing::debug!(%error, "an import waits for the database"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Whether `until`, which is the end of the log when this is asked first, is still to be decided on.
    async fn ahead(&self, until: &mut Option<Heads>) -> Result<bool, Error> {
        let reader = self.store.reader();
        let until = match until {
            Some(known) => known,
            None => until.insert(heads(reader, ShardSet::EVERY).await?.0),
        };
        Ok(!until.are_reached_by(&cursors(reader).await?))
    }
}

/// What a file's row is in a service that goes on.
fn as_past(event: Event, now: Timestamp) -> Event {
    let origin = match event.origin {
        Origin::Import { file, row } => Origin::Past { file, row, redriven: None },
        other => other,
    };
    Event { origin, received_at: now.max(event.at), ..event }
}
