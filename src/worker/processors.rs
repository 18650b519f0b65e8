//! The processors of all shards this process has: one each, side by side, so that their commits are one.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use crate::eventlog::EventLog;
use crate::fault::Faults;
use crate::ids::Span;
use crate::store::Store;
use crate::store::shards::{Heads, Shard, heads};
use crate::worker::backfill::Backfill;
use crate::worker::inclusion::Inclusions;
use crate::worker::leases::Leases;
use crate::worker::live::Definitions;
use crate::worker::processor::Processor;
use crate::worker::reach::Tellings;

pub struct Processors {
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    faults: Faults,
    settle: Span,
    leases: Leases,
    by_shard: BTreeMap<Shard, Processor>,
}

impl Processors {
    pub fn new(
        log: EventLog,
        store: Store,
        definitions: Arc<Definitions>,
        faults: Faults,
        settle: Span,
        leases: Leases,
    ) -> Self {
        Self { log, store, definitions, faults, settle, leases, by_shard: BTreeMap::new() }
    }

    /// Looks at everybody after segments have changed.
    pub fn backfill(&self) -> Backfill {
        Backfill::new(self.log.clone(), self.store.clone(), self.definitions.clone(), self.leases.clone())
    }

    /// Gives turns to those who are in a segment already.
    pub fn inclusions(&self) -> Inclusions {
        Inclusions::new(self.log.clone(), self.store.clone(), self.definitions.clone(), self.leases.clone())
    }

    /// Tells people of changes on the suppression list.
    pub fn tellings(&self) -> Tellings {
        Tellings::new(self.log.clone(), self.store.clone(), self.leases.clone())
    }

    /// Handles the next entries of every shard; the answer is how many. Zero: it has caught up.
    ///
    /// # Errors
    /// The first error of a shard; what the others did is done, and the next tick starts where each stands.
    pub async fn tick(&mut self) -> anyhow::Result<usize> {
        self.follow_leases().await?;
        let layout = self.store.layout();
        // One question for many, of which most have nothing to do.
        let asks = layout.is_shared();
        let mut ends = Heads::default();
        if asks {
            (ends, _) = heads(self.store.reader(), self.by_shard.keys().copied().collect()).await?;
        }
        let behind = |shard: &Shard, one: &Processor| layout.between(one.cursor(), ends.of(*shard));
        let busy = |(shard, one): &(&Shard, &mut Processor)| !asks || one.is_unfinished() || behind(shard, one) > 0;
        let ticked = join_all(self.by_shard.iter_mut().filter(busy).map(|(_, one)| one.tick())).await;
        let mut count = 0;
        for one in ticked {
            count += one?;
        }
        Ok(count)
    }

    /// Whether an entry waits for a shard that may be another process's.
    pub fn is_waiting(&self) -> bool {
        self.by_shard.values().any(Processor::is_waiting)
    }

    /// A shard that came, or came back under another token, is read from its stored cursor on.
    async fn follow_leases(&mut self) -> anyhow::Result<()> {
        let leases = self.leases.all();
        self.by_shard.retain(|shard, processor| leases.get(shard).is_some_and(|it| it.token == processor.token()));
        for (shard, lease) in leases.iter().filter(|(shard, _)| !self.by_shard.contains_key(shard)).collect::<Vec<_>>()
        {
            let (log, store, definitions) = (self.log.clone(), self.store.clone(), self.definitions.clone());
            let faults = self.faults.clone();
            let processor = Processor::of_shard(*shard, *lease, log, store, definitions, faults, self.settle).await?;
            self.by_shard.insert(*shard, processor);
        }
        Ok(())
    }
}
