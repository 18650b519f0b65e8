//! Due timers become log entries, each with its own instant as `now`, however late it is written; and what has waited
//! for its judgement, hits of mails, becomes events.

use futures::FutureExt;

use crate::eventlog::{EventLog, Queue, logged};
use crate::fault::Faults;
use crate::ids::{ProfileId, Timestamp, WorkspaceId};
use crate::store::Store;
use crate::store::entries::Logged;
use crate::store::profiles::{due_people, next_wake, take_wake};
use crate::store::shards::ShardSet;
use crate::telemetry;
use crate::worker::engagement::Hits;
use crate::worker::leases::Leases;
use crate::worker::set_aside::SetAside;

/// Timers written together.
const TIMERS_MAX: u32 = 500;

pub struct Scheduler {
    log: EventLog,
    store: Store,
    faults: Faults,
    leases: Leases,
    hits: Hits,
    /// Whose timer the database refuses.
    aside: SetAside<ProfileId>,
}

type Due = (WorkspaceId, ProfileId, Timestamp);

impl Scheduler {
    /// Of a database one process works on alone.
    pub fn new(log: EventLog, store: Store, faults: Faults) -> Self {
        let leases = Leases::alone(store.layout());
        Self { log, store, faults, leases, hits: Hits::default(), aside: SetAside::default() }
    }

    /// Only timers of these shards.
    #[must_use]
    pub fn sharing(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    /// Writes the earliest due timers; the answer is how many. Whose timer the database refuses is set aside.
    ///
    /// # Errors
    /// The database cannot be read or written; the timers stay due.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        let judged = self.hits.settle(&self.log, &self.store, &self.leases, now).await?;
        let limit = TIMERS_MAX + self.aside.count();
        let mut due = due_people(self.store.reader(), self.leases.held(), now, limit).await?;
        due.retain(|(_, profile, at)| self.aside.tried_at(*profile, *at) <= now);
        due.truncate(TIMERS_MAX as usize);
        if due.is_empty() {
            return Ok(judged);
        }
        self.faults.hit("scheduler.due")?;
        let (log, layout) = (self.log.clone(), self.store.layout());
        let store = move |due: Vec<Due>| {
            let shards: ShardSet = due.iter().map(|(_, profile, _)| layout.shard_of(*profile)).collect();
            write(log.clone(), shards, due).boxed()
        };
        let logged = self.aside.store(now, due, |(_, profile, _)| *profile, store).await?;
        telemetry::timers_logged(logged as u64);
        Ok(judged + logged)
    }

    /// When the next timer or judgement is due.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let timer = match self.aside.count() {
            0 => next_wake(self.store.reader(), self.leases.held()).await?,
            aside => {
                let first = due_people(self.store.reader(), self.leases.held(), Timestamp::LAST, aside + 1).await?;
                first.into_iter().map(|(_, profile, at)| self.aside.tried_at(profile, at)).min()
            }
        };
        let hit = self.hits.next_due(&self.store).await?;
        Ok([timer, hit].into_iter().flatten().min())
    }
}

/// Makes entries of these timers; the answer is how many were still due.
async fn write(log: EventLog, shards: ShardSet, due: Vec<Due>) -> anyhow::Result<usize> {
    log.writer()
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
        .await
}
