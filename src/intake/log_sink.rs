//! The log as the place where imported events go; a full queue is waited for, since a file has time.

use std::time::Duration;

use super::run::row_of;
use super::{Sink, SinkReport};
use crate::event::Event;
use crate::eventlog::{AppendError, EventLog};
use crate::ids::WorkspaceId;

/// Waits for a log that is overloaded, each twice as long as the one before: about 40 s in all.
const WAITS: u32 = 12;
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// Appends to the log of one workspace. What is answered is on disk.
pub struct LogSink {
    log: EventLog,
    workspace: WorkspaceId,
}

impl LogSink {
    pub fn new(log: EventLog, workspace: WorkspaceId) -> Self {
        Self { log, workspace }
    }
}

impl Sink for LogSink {
    async fn accept(&mut self, events: Vec<Event>) -> anyhow::Result<SinkReport> {
        let rows: Vec<u64> = events.iter().map(row_of).collect();
        for wait in 0..WAITS {
            match self.log.append_apart(self.workspace, events.clone()).await {
                Err(AppendError::Overloaded) => tokio::time::sleep(FIRST_WAIT * 2_u32.pow(wait)).await,
                answered => return Ok(SinkReport::of(&rows, answered?)),
            }
        }
        Ok(SinkReport::of(&rows, self.log.append_apart(self.workspace, events).await?))
    }
}
