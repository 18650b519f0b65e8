//! Due timers become log entries, each with its own instant as `now`, however late it is written.

use crate::eventlog::{EventLog, Queue, logged};
use crate::fault::Faults;
use crate::ids::Timestamp;
use crate::store::Store;
use crate::store::entries::Logged;
use crate::store::profiles::{due_people, next_wake, take_wake};

/// Timers written together.
const TIMERS_MAX: u32 = 500;

pub struct Scheduler {
    log: EventLog,
    store: Store,
    faults: Faults,
}

impl Scheduler {
    pub fn new(log: EventLog, store: Store, faults: Faults) -> Self {
        Self { log, store, faults }
    }

    /// Writes the earliest due timers; the answer is how many.
    ///
    /// # Errors
    /// The database cannot be read or written; the timers stay due.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        let due = due_people(self.store.reader(), now, TIMERS_MAX).await?;
        if due.is_empty() {
            return Ok(0);
        }
        self.faults.hit("scheduler.due")?;
        self.log
            .writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    let mut timers = Vec::with_capacity(due.len());
                    for (workspace, profile, at) in due {
                        if take_wake(tx, profile, at).await? {
                            timers.push(logged(workspace, Some(profile), at, Logged::Timer));
                        }
                    }
                    let count = timers.len();
                    appender.append(tx, vec![timers]).await?;
                    Ok(count)
                })
            })
            .await
    }

    /// When the next timer is due.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        Ok(next_wake(self.store.reader()).await?)
    }
}
