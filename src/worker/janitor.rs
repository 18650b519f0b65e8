//! Housekeeping: old event ids and kept answers are forgotten in slices, what merges left behind is moved, and what the
//! doors counted is stored. And each minute the process says that it goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::eventlog::{EventLog, Queue};
use crate::ids::{Span, WorkspaceId};
use crate::store::event_ids::forget_old;
use crate::store::idempotency::forget_answers;
use crate::store::imports::forget_rejects;
use crate::store::shards::ShardSet;
use crate::store::{Store, workspace};
use crate::telemetry;
use crate::worker::effects::finish_merges;
use crate::worker::filing;
use crate::worker::live::Definitions;
use crate::worker::privacy::Privacy;
use crate::worker::restored::Boots;
use crate::worker::retention::{Retention, prune};
use crate::worker::service::Workers;

const ROUND: Duration = Duration::from_secs(1);
/// Rows deleted in one transaction: few, so that nobody waits for the janitor; some milliseconds where each was decided on.
const FORGET_SLICE: u32 = 1_000;
/// Of rows that an import refused, after its end.
const REJECTS_KEPT_FOR: Span = Span::from_days(30);
const ROUNDS_PER_FORGETTING: u32 = 60;
/// Hourly; first half a minute after the start.
const ROUNDS_PER_PRUNING: u32 = 3_600;
const PRUNED_AT: u32 = 30;

/// Takes what was counted since last asked: counter name → count.
pub type Counts = Arc<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>;

pub struct Janitor {
    pub log: EventLog,
    pub store: Store,
    pub counts: Counts,
    pub boots: Arc<Boots>,
    pub workers: Arc<Workers>,
    pub privacy: Privacy,
    pub definitions: Arc<Definitions>,
    pub retention: Retention,
}

impl Janitor {
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut round: u32 = 0;
        let privacy = self.privacy.clone();
        let erasing = tokio::spawn(async move { erase_what_was_begun(&privacy).await });
        let leases = self.workers.dispatcher().leases().clone();
        let filing = tokio::spawn(filing::run(self.log.clone(), self.store.clone(), leases));
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                _ = stop.changed() => {}
            }
            if let Err(error) = store_counts(&self.log, &self.counts).await {
                tracing::warn!(%error, "door counts were not stored");
            }
            if let Err(error) = self.finish_merges().await {
                tracing::warn!(%error, "rows of merged profiles were not moved");
            }
            if let Err(error) = self.look_around(round).await {
                tracing::warn!(error = format!("{error:#}"), "whether the database was put back is not known");
            }
            if round.is_multiple_of(ROUNDS_PER_FORGETTING)
                && let Err(error) = self.forget().await
            {
                tracing::warn!(%error, "old event ids were not forgotten");
            }
            if round % ROUNDS_PER_PRUNING == PRUNED_AT
                && let Err(error) = prune(&self.log, &self.store, &self.definitions, self.retention, &stop).await
            {
                tracing::warn!(error = format!("{error:#}"), "old rows were not pruned");
            }
            round = round.wrapping_add(1);
        }
        // What is not finished goes on with the next start.
        erasing.abort();
        filing.abort();
    }

    /// Whether this still is the database we knew.
    async fn look_around(&self, round: u32) -> anyhow::Result<()> {
        if round % ROUNDS_PER_FORGETTING == ROUNDS_PER_FORGETTING - 1 {
            self.boots.go_on(&self.log, &self.store).await?;
        } else if self.boots.is_unasked() {
            self.boots.ask_redis(&self.log, &self.store).await?;
        }
        if !self.boots.is_unasked() {
            self.workers.dispatcher().keep_caps_shut(false);
        }
        Ok(())
    }

    async fn finish_merges(&self) -> anyhow::Result<()> {
        while finish_merges(&self.log).await? {}
        Ok(())
    }

    async fn forget(&self) -> anyhow::Result<()> {
        let now = self.log.clock().now();
        loop {
            let gone = self
                .log
                .writer()
                .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                    Box::pin(async move { Ok(forget_old(tx, now, FORGET_SLICE).await?) })
                })
                .await?;
            telemetry::ids_forgotten(gone);
            if gone < u64::from(FORGET_SLICE) {
                break;
            }
        }
        while self.forget_answers().await? == u64::from(FORGET_SLICE) {}
        while self.forget_rejects().await? == u64::from(FORGET_SLICE) {}
        Ok(())
    }

    /// Rows that imports refused, a month after.
    async fn forget_rejects(&self) -> anyhow::Result<u64> {
        let before = self.log.clock().machine().minus(REJECTS_KEPT_FOR);
        self.log
            .writer()
            .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                Box::pin(async move { Ok(forget_rejects(tx, before, FORGET_SLICE).await?) })
            })
            .await
    }

    /// Answers kept for requests that come again.
    async fn forget_answers(&self) -> anyhow::Result<u64> {
        let now = self.log.clock().now();
        self.log
            .writer()
            .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                Box::pin(async move { Ok(forget_answers(tx, now, FORGET_SLICE).await?) })
            })
            .await
    }
}

/// Erasures that a stop cut short, or that an older database has undone.
async fn erase_what_was_begun(privacy: &Privacy) {
    while let Err(error) = privacy.resume().await {
        tracing::warn!(error = format!("{error:#}"), "an erasure is not finished yet");
        tokio::time::sleep(ROUND).await;
    }
}

/// Adds what was counted to the stored counters.
///
/// # Errors
/// The database refuses; these counts are lost, the events are not.
pub async fn store_counts(log: &EventLog, counts: &Counts) -> anyhow::Result<()> {
    let counted = counts();
    if counted.is_empty() {
        return Ok(());
    }
    log.writer()
        .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
            Box::pin(async move {
                for (name, count) in counted {
                    workspace(tx, WorkspaceId(1)).count(&name, i64::try_from(count).unwrap_or(i64::MAX)).await?;
                }
                Ok(())
            })
        })
        .await
}
