//! What the door needs of the log: an append that answers after the commit.
//!
//! The door is built against this trait so that it can be shown to behave when the log is slow, full or failing.

use futures::future::BoxFuture;

use crate::event::Event;
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
