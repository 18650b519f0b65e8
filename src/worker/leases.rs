//! Which shards of the log this process works on, and until when it may believe so.
//!
//! Over SQLite one process has everything for as long as it holds the folder. Over PostgreSQL processes share the shards
//! by leases; each lease carries a fencing token, and whatever a shard's owner stores is compared with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::store::leases::Fences;
use crate::store::shards::{Layout, Shard, ShardSet};

/// How long whoever needs everything waits for what was lost: a machine may be starved for a while.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One shard's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// None: nobody else can have it.
    pub token: Option<i64>,
    /// On [`Clock::boot_time`](crate::clock::Clock::boot_time); none: for good.
    pub until: Option<Duration>,
}

/// The leases this process holds. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Leases(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    leases: ArcSwap<BTreeMap<Shard, Lease>>,
    /// How often one was lost.
    lapses: AtomicU64,
}

/// A time in which this process has everything; see [`Leases::whole`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(u64);

impl Leases {
    /// Everything, for good: one process alone works on the database.
    pub fn alone(layout: Layout) -> Self {
        Self::of(layout.all())
    }

    /// These shards, for good.
    pub fn of(shards: ShardSet) -> Self {
        Self::holding(shards.iter().map(|shard| (shard, Lease { token: None, until: None })).collect())
    }

    pub fn holding(leases: BTreeMap<Shard, Lease>) -> Self {
        Self(Arc::new(Held { leases: ArcSwap::from_pointee(leases), lapses: AtomicU64::new(0) }))
    }

    /// Nothing yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// What it holds from now on; true if these are others than before.
    pub(super) fn replace(&self, leases: BTreeMap<Shard, Lease>) -> bool {
        let before = self.fences();
        self.0.leases.store(Arc::new(leases));
        let after = self.fences();
        if before.iter().any(|(shard, token)| after.get(shard) != Some(token)) {
            // After the leases themselves: whoever saw the count of before sees that they are not what they were.
            self.0.lapses.fetch_add(1, Ordering::SeqCst);
        }
        before != after
    }

    /// Waits until every shard is surely ours. What is seen from then on is everything, up to an instant at which
    /// [`still_whole`](Self::still_whole) is true.
    ///
    /// # Errors
    /// Some are not ours after a minute.
    pub async fn whole(&self, layout: Layout, clock: &Clock) -> anyhow::Result<Whole> {
        let end = clock.boot_time() + WHOLE_WITHIN;
        loop {
            let whole = Whole(self.0.lapses.load(Ordering::SeqCst));
            if self.are_sure(layout, clock) {
                return Ok(whole);
            }
            if clock.boot_time() > end {
                bail!(
                    "only {} of {} shards are held by this process, which needs them all: another works on this \
                     database, or it does not answer in time",
                    self.held().len(),
                    layout.all().len()
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether everything has been ours without a break since then.
    pub fn still_whole(&self, since: Whole, layout: Layout, clock: &Clock) -> bool {
        self.are_sure(layout, clock) && since == Whole(self.0.lapses.load(Ordering::SeqCst))
    }

    fn are_sure(&self, layout: Layout, clock: &Clock) -> bool {
        let now = clock.boot_time();
        layout.all().iter().all(|shard| self.is_sure(shard, now))
    }

    pub fn held(&self) -> ShardSet {
        self.0.leases.load().keys().copied().collect()
    }

    pub fn all(&self) -> Arc<BTreeMap<Shard, Lease>> {
        self.0.leases.load_full()
    }

    pub fn fences(&self) -> Fences {
        self.0.leases.load().iter().map(|(shard, lease)| (*shard, lease.token)).collect()
    }

    /// Whether the shard is surely ours at `boot_time`: asked before something that cannot be taken back.
    pub fn is_sure(&self, shard: Shard, boot_time: Duration) -> bool {
        let lease = self.0.leases.load().get(&shard).copied();
        lease.is_some_and(|lease| lease.until.is_none_or(|until| boot_time < until))
    }
}
