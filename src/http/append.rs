//! What the door needs of the log: an append that answers after the commit.
//!
//! The door is built against this trait so that it can be shown to behave when the log is slow, full or failing.

use futures::future::BoxFuture;

use crate::event::Event;
use crate::eventlog::{self, EventLog};
use crate::ids::{Position, WorkspaceId};

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    Stored {
        position: Position,
    },
    /// The same event id is there already; the first one stands.
    Duplicate,
}

/// Why events were not accepted; none of them is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("too many events are waiting")]
    Overloaded,
    #[error("the log cannot be written: {0}")]
    Failing(String),
    #[error("the service is stopping")]
    Stopping,
}

/// Stores events durably. `Ok` means committed and on disk, one receipt per event in their order.
pub trait Append: Send + Sync {
    fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>>;
}

impl Append for EventLog {
    fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        Box::pin(async move {
            let receipts = EventLog::append(self, workspace, events).await?;
            Ok(receipts.into_iter().map(Receipt::from).collect())
        })
    }
}

impl From<eventlog::Receipt> for Receipt {
    fn from(receipt: eventlog::Receipt) -> Self {
        match receipt {
            eventlog::Receipt::Stored { position, .. } => Self::Stored { position },
            eventlog::Receipt::Duplicate => Self::Duplicate,
        }
    }
}

impl From<eventlog::AppendError> for AppendError {
    fn from(error: eventlog::AppendError) -> Self {
        match error {
            eventlog::AppendError::Overloaded => Self::Overloaded,
            eventlog::AppendError::Failing(cause) => Self::Failing(cause),
            eventlog::AppendError::Stopping => Self::Stopping,
        }
    }
}
