//! What the door needs of the log: an append that answers after the commit.
//!
//! The door is built against this trait so that it can be shown to behave when the log is slow, full or failing.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::event::Event;
use crate::eventlog::{AppendError, EventLog, Taken};
use crate::ids::WorkspaceId;

/// Stores events durably. `Ok` means committed and on disk, one answer per event in their order; an event that the database
/// does not take for what it is keeps no other from being stored.
pub trait Append: Send + Sync {
    fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Taken>, AppendError>>;
}

impl Append for EventLog {
    fn append(&self, workspace: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Taken>, AppendError>> {
        self.append_apart(workspace, events).boxed()
    }
}
