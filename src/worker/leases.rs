//! Which shards of the log this process works on, and until when it may believe so.
//!
//! Over SQLite one process has everything for as long as it holds the folder. Over PostgreSQL processes share the shards
//! by leases; each lease carries a fencing token, and whatever a shard's owner stores is compared with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::store::leases::Fences;
use crate::store::shards::{Layout, Shard, ShardSet};

/// One shard's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// None: nobody else can have it.
    pub token: Option<i64>,
    /// On [`Clock::boot_time`](crate::clock::Clock::boot_time); none: for good.
    pub until: Option<Duration>,
}

/// The leases this process holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leases(Arc<ArcSwap<BTreeMap<Shard, Lease>>>);

impl Leases {
    /// Everything, for good: one process alone works on the database.
    pub fn alone(layout: Layout) -> Self {
        Self::of(layout.all())
    }

    /// These shards, for good.
    pub fn of(shards: ShardSet) -> Self {
        let all = shards.iter().map(|shard| (shard, Lease { token: None, until: None }));
        Self(Arc::new(ArcSwap::from_pointee(all.collect())))
    }

    /// Nothing yet.
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// What it holds from now on; true if these are others than before.
    pub(super) fn replace(&self, leases: BTreeMap<Shard, Lease>) -> bool {
        let before = self.fences();
        self.0.store(Arc::new(leases));
        before != self.fences()
    }

    pub fn held(&self) -> ShardSet {
        self.0.load().keys().copied().collect()
    }

    pub fn all(&self) -> Arc<BTreeMap<Shard, Lease>> {
        self.0.load_full()
    }

    pub fn fences(&self) -> Fences {
        self.0.load().iter().map(|(shard, lease)| (*shard, lease.token)).collect()
    }

    /// Whether the shard is surely ours at `boot_time`: asked before something that cannot be taken back.
    pub fn is_sure(&self, shard: Shard, boot_time: Duration) -> bool {
        let lease = self.0.load().get(&shard).copied();
        lease.is_some_and(|lease| lease.until.is_none_or(|until| boot_time < until))
    }
}
