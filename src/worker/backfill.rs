//! A segment applied today holds for people who do nothing too: a pass over everybody stored, a slice at a time.
//!
//! Each person of a slice gets a timer entry in the log, so that they are decided on like anybody else, by the
//! definitions in force there. The next slice waits until the last one is processed: events that arrive meanwhile wait
//! behind one slice at most; a pace leaves them more room. What was looked at is kept with each person, and how far the
//! pass is beside it, so that one that was stopped goes on.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::eventlog::{EventLog, Queue, logged};
use crate::ids::{Position, WorkspaceId};
use crate::store::Store;
use crate::store::controls::{set_setting, setting, workspaces};
use crate::store::entries::Logged;
use crate::store::segments::{Progress, looked_at_setting, pass_setting};
use crate::store::shards::Shard;
use crate::worker::leases::Leases;
use crate::worker::live::Definitions;

/// People looked at together: about as many as are decided on in one batch, some hundredths of a second of work, for so
/// long what arrives meanwhile waits.
const SLICE_PEOPLE: u32 = 1_000;

/// Looks at everybody after the definitions of segments have changed.
pub struct Backfill {
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    leases: Leases,
    /// People a second at most; none: as many as there is room for.
    pace: Option<NonZeroU32>,
    passes: BTreeMap<WorkspaceId, Pass>,
    generation: Option<u64>,
}

/// How far a workspace is.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    progress: Progress,
    /// Monotonic time before which nobody has their turn.
    next: Duration,
    is_done: bool,
}

impl Backfill {
    pub fn new(log: EventLog, store: Store, definitions: Arc<Definitions>, leases: Leases) -> Self {
        Self { log, store, definitions, leases, pace: None, passes: BTreeMap::new(), generation: None }
    }

    /// No more people a second than so many.
    #[must_use]
    pub fn paced(self, pace: Option<NonZeroU32>) -> Self {
        Self { pace, ..self }
    }

    /// Gives the next slice its turn; the answer is how many people. Zero: everybody had theirs, or the slice before is
    /// not processed yet.
    ///
    /// # Errors
    /// The database cannot be read or written; the slice is still due.
    pub async fn tick(&mut self) -> anyhow::Result<usize> {
        // Of several processes one does it: whoever has the first shard.
        if !self.leases.held().contains(Shard::FIRST) {
            self.passes.clear();
            self.generation = None;
            return Ok(0);
        }
        let generation = self.definitions.generation();
        if self.generation != Some(generation) {
            for id in workspaces(self.store.reader()).await? {
                self.begin(id).await?;
            }
            self.generation = Some(generation);
        }
        let due: Vec<WorkspaceId> = self.passes.iter().filter(|(_, it)| !it.is_done).map(|(id, _)| *id).collect();
        let mut count = 0;
        for id in due {
            count += self.slice(id).await?;
        }
        Ok(count)
    }

    /// Whether somebody's turn is still to come.
    pub fn is_under_way(&self) -> bool {
        self.passes.values().any(|pass| !pass.is_done)
    }

    async fn begin(&mut self, id: WorkspaceId) -> anyhow::Result<()> {
        let since = self.definitions.live(id).catalog.terms.segments.since();
        if self.passes.get(&id).is_some_and(|pass| pass.progress.since == since) {
            return Ok(());
        }
        let known = setting(self.store.reader(), &looked_at_setting(id)).await?;
        let known = known.and_then(|text| text.parse().ok()).map_or(Position::default(), Position);
        let is_done = since <= known;
        let store = self.store.workspace(id);
        let stopped = store.pass().await?.filter(|stopped| stopped.since == since);
        let progress = match stopped {
            Some(stopped) => stopped,
            None if is_done => Progress { since, ..Progress::default() },
            None => Progress { since, people: store.count_not_looked_at(since).await?, ..Progress::default() },
        };
        self.passes.insert(id, Pass { progress, next: Duration::ZERO, is_done });
        Ok(())
    }

    async fn slice(&mut self, id: WorkspaceId) -> anyhow::Result<usize> {
        let Some(pass) = self.passes.get(&id).copied() else { return Ok(0) };
        let (store, clock) = (self.store.workspace(id), self.log.clock());
        let Progress { since, after, .. } = pass.progress;
        if clock.monotonic() < pass.next || store.is_behind(after).await? {
            return Ok(0);
        }
        let limit = self.pace.map_or(SLICE_PEOPLE, |pace| pace.get().min(SLICE_PEOPLE));
        let people = store.not_looked_at(since, after, limit).await?;
        let (count, last) = (people.len(), people.last().copied());
        let (now, progress) = (clock.now(), pass.progress.further(count, last));
        let rest = self.pace.map_or(Duration::ZERO, |pace| Duration::from_secs(count as u64) / pace.get());
        let next = clock.monotonic() + rest;
        self.log
            .writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    set_setting(tx, &pass_setting(id), &progress.to_text()).await?;
                    if people.is_empty() {
                        set_setting(tx, &looked_at_setting(id), &since.0.to_string()).await?;
                    } else {
                        let timers = people.into_iter().map(|one| logged(id, Some(one), now, Logged::Timer));
                        appender.append(tx, vec![timers.collect()]).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.passes.insert(id, Pass { progress, next, is_done: last.is_none() });
        Ok(count)
    }
}
