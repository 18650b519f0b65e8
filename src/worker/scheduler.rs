//! Due timers become log entries, each with its own instant as `now`, however late it is written; and what has waited
//! for its judgement, hits of mails, becomes events.

use crate::eventlog::{EventLog, Queue, logged};
use crate::fault::Faults;
use crate::ids::Timestamp;
use crate::store::Store;
use crate::store::entries::Logged;
use crate::store::profiles::{due_people, next_wake, take_wake};
use crate::store::shards::ShardSet;
use crate::telemetry;
use crate::worker::engagement::{next_hit, settle_hits};
use crate::worker::leases::Leases;

/// Timers written together.
const TIMERS_MAX: u32 = 500;

pub struct Scheduler {
    log: EventLog,
    store: Store,
    faults: Faults,
    leases: Leases,
}

impl Scheduler {
    /// Of a database one process works on alone.
    pub fn new(log: EventLog, store: Store, faults: Faults) -> Self {
        let leases = Leases::alone(store.layout());
        Self { log, store, faults, leases }
    }

    /// Only timers of these shards.
    #[must_use]
    pub fn sharing(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    /// Writes the earliest due timers; the answer is how many.
    ///
    /// # Errors
    /// The database cannot be read or written; the timers stay due.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        let judged = settle_hits(&self.log, &self.store, &self.leases, now).await?;
        let due = due_people(self.store.reader(), self.leases.held(), now, TIMERS_MAX).await?;
        if due.is_empty() {
            return Ok(judged);
        }
        self.faults.hit("scheduler.due")?;
        let layout = self.store.layout();
        let shards: ShardSet = due.iter().map(|(_, profile, _)| layout.shard_of(*profile)).collect();
        let logged = self
            .log
            .writer()
            .change_in(Queue::Effects, shards, move |tx, appender| {
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
            .await?;
        telemetry::timers_logged(logged as u64);
        Ok(judged + logged)
    }

    /// When the next timer or judgement is due.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let timer = next_wake(self.store.reader(), self.leases.held()).await?;
        let hit = next_hit(&self.store).await?;
        Ok([timer, hit].into_iter().flatten().min())
    }
}
