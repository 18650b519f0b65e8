//! A segment applied today holds for people who do nothing too: a pass over everybody stored, a slice at a time.
//!
//! Each person of a slice gets a timer entry in the log, so that they are decided on like anybody else, by the
//! definitions in force there. The next slice waits until the last one is processed: events that arrive meanwhile wait
//! behind one slice at most. What was looked at is kept with each person, so that a pass that was stopped goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::eventlog::{EventLog, Queue, logged};
use crate::ids::{Position, ProfileId, WorkspaceId};
use crate::store::Store;
use crate::store::controls::{set_setting, setting, workspaces};
use crate::store::entries::Logged;
use crate::store::segments::looked_at_setting;
use crate::store::shards::Shard;
use crate::worker::leases::Leases;
use crate::worker::live::Definitions;

/// People looked at together.
const SLICE_PEOPLE: u32 = 200;

/// Looks at everybody after the definitions of segments have changed.
pub struct Backfill {
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    leases: Leases,
    passes: BTreeMap<WorkspaceId, Pass>,
    generation: Option<u64>,
}

/// How far a workspace is.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    /// The definitions by which everybody is looked at.
    since: Position,
    /// The last person whose turn came.
    after: ProfileId,
    is_done: bool,
}

impl Backfill {
    pub fn new(log: EventLog, store: Store, definitions: Arc<Definitions>, leases: Leases) -> Self {
        Self { log, store, definitions, leases, passes: BTreeMap::new(), generation: None }
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
        if self.passes.get(&id).is_some_and(|pass| pass.since == since) {
            return Ok(());
        }
        let known = setting(self.store.reader(), &looked_at_setting(id)).await?;
        let known = known.and_then(|text| text.parse().ok()).map_or(Position::default(), Position);
        self.passes.insert(id, Pass { since, after: ProfileId(0), is_done: since <= known });
        Ok(())
    }

    async fn slice(&mut self, id: WorkspaceId) -> anyhow::Result<usize> {
        let Some(pass) = self.passes.get(&id).copied() else { return Ok(0) };
        let store = self.store.workspace(id);
        if store.is_behind(pass.after).await? {
            return Ok(0);
        }
        let people = store.not_looked_at(pass.since, pass.after, SLICE_PEOPLE).await?;
        let (count, last) = (people.len(), people.last().copied());
        let now = self.log.clock().now();
        self.log
            .writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    if people.is_empty() {
                        set_setting(tx, &looked_at_setting(id), &pass.since.0.to_string()).await?;
                    } else {
                        let timers = people.into_iter().map(|one| logged(id, Some(one), now, Logged::Timer));
                        appender.append(tx, vec![timers.collect()]).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        let after = last.unwrap_or(pass.after);
        self.passes.insert(id, Pass { after, is_done: last.is_none(), ..pass });
        Ok(count)
    }
}
