//! The log as the place where imported events go; a full queue is waited for, since a file has time.

use std::time::Duration;

use super::{Sink, SinkReport};
use crate::event::Event;
use crate::eventlog::{AppendError, EventLog, Receipt};
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
        for wait in 0..WAITS {
            match self.log.append(self.workspace, events.clone()).await {
                Err(AppendError::Overloaded) => tokio::time::sleep(FIRST_WAIT * 2_u32.pow(wait)).await,
                answered => return Ok(report(&answered?)),
            }
        }
        Ok(report(&self.log.append(self.workspace, events).await?))
    }
}

pub(super) fn report(receipts: &[Receipt]) -> SinkReport {
    let repeated = receipts.iter().filter(|receipt| matches!(receipt, Receipt::Duplicate)).count() as u64;
    SinkReport { stored: receipts.len() as u64 - repeated, repeated }
}
