//! What is kept for a time only: why entries led to nothing, clicks and opens as they came, messages that ended. Each
//! goes in slices of a few milliseconds, so that nobody waits; of messages the daily counts stay, and the books balance.
//!
//! Not pruned is what a decision, a guard or a cap may still ask for: events and people's packed history, enrollments,
//! consents, and each message whose slot counts in some frequency cap or whose sending may still meet a goal.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;

use crate::eventlog::{EventLog, Queue};
use crate::guard::frequency_cap;
use crate::ids::{MessageId, Position, Span, Timestamp, WorkspaceId};
use crate::store::retention::{Place, note_pruned, prune_hits, prune_reasons, workspaces_with_messages};
use crate::store::shards::ShardSet;
use crate::store::{Store, workspace};
use crate::worker::live::Definitions;

/// Rows deleted in one transaction: some milliseconds.
const SLICE: u32 = 100;
/// Less would take away what people ask about every day, and what `plan` lives through again.
const LEAST: Span = Span::from_days(30);

/// For how long each class is kept; zero: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub messages: Span,
    pub reasons: Span,
    pub hits: Span,
}

impl Default for Retention {
    fn default() -> Self {
        Self { messages: Span::from_days(400), reasons: Span::from_days(180), hits: Span::from_days(180) }
    }
}

impl Retention {
    /// Which settings are too short, by name, with why.
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let all = [("messages", self.messages), ("reasons", self.reasons), ("hits", self.hits)];
        let short = all.into_iter().filter(|(_, span)| *span != Span::ZERO && *span < LEAST);
        short.map(|(name, span)| (name, format!("{span} is shorter than {LEAST}; 0s keeps for ever"))).collect()
    }
}

/// How much of each class went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub messages: u64,
    pub reasons: u64,
    pub hits: u64,
}

/// Prunes what is old by now, until nothing is or `stop` turns true.
///
/// # Errors
/// The database cannot be read or written; what is left goes next time.
pub async fn prune(
    log: &EventLog,
    store: &Store,
    definitions: &Arc<Definitions>,
    retention: Retention,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Pruned> {
    let now = log.clock().now();
    let before = |span: Span| (span != Span::ZERO).then(|| now.minus(span));
    let mut pruned = Pruned::default();
    if let Some(before) = before(retention.hits) {
        loop {
            let gone = change(log, move |tx| Box::pin(async move { Ok(prune_hits(tx, before, SLICE).await?) })).await?;
            pruned.hits += gone;
            if gone < u64::from(SLICE) || *stop.borrow() {
                break;
            }
        }
    }
    if let Some(before) = before(retention.reasons) {
        pruned.reasons = reasons(log, store, before, stop).await?;
    }
    if retention.messages != Span::ZERO {
        for id in workspaces_with_messages(store.reader()).await? {
            pruned.messages += messages(log, definitions, id, (now, retention.messages), stop).await?;
        }
    }
    let oldest = [(pruned.reasons, before(retention.reasons)), (pruned.messages, before(retention.messages))];
    let oldest = oldest.into_iter().filter(|(count, _)| *count > 0).filter_map(|(_, before)| before).max();
    if let Some(before) = oldest {
        change(log, move |tx| Box::pin(async move { Ok(note_pruned(tx, before).await?) })).await?;
        tracing::info!(
            messages = pruned.messages,
            reasons = pruned.reasons,
            hits = pruned.hits,
            "old rows were pruned"
        );
    }
    Ok(pruned)
}

async fn reasons(
    log: &EventLog,
    store: &Store,
    before: Timestamp,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<u64> {
    let mut pruned = 0;
    for shard in store.layout().all().iter() {
        let mut after = Some(Position(0));
        while let Some(from) = after.filter(|_| !*stop.borrow()) {
            let (gone, next) = change(log, move |tx| {
                Box::pin(async move { Ok(prune_reasons(tx, shard, from, before, SLICE).await?) })
            })
            .await?;
            pruned += gone;
            after = next;
        }
    }
    Ok(pruned)
}

/// Goals look back at what was sent, and caps at slots: so much stays, whatever the setting.
async fn messages(
    log: &EventLog,
    definitions: &Arc<Definitions>,
    id: WorkspaceId,
    (now, kept): (Timestamp, Span),
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<u64> {
    let live = definitions.live(id);
    let goals = live.catalog.campaigns().filter_map(|campaign| campaign.goal.as_ref().map(|goal| goal.within)).max();
    let before = now.minus(kept.max(goals.map_or(Span::ZERO, |within| within.max(LEAST))));
    let slots_since = now.minus(frequency_cap::horizon(&live.rules).max(kept));
    let mut from: Option<Place> = Some((Timestamp::from_millis(i64::MIN), MessageId::from_bytes([0; 16])));
    let mut pruned = 0;
    while let Some(place) = from.filter(|_| !*stop.borrow()) {
        let slice = change(log, move |tx| {
            Box::pin(async move { Ok(workspace(tx, id).prune_messages(place, before, slots_since, SLICE).await?) })
        })
        .await?;
        pruned += slice.pruned;
        from = slice.next;
    }
    Ok(pruned)
}

async fn change<T, F>(log: &EventLog, change: F) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t sea_orm::DatabaseTransaction) -> futures::future::BoxFuture<'t, anyhow::Result<T>>
        + Send
        + 'static,
{
    log.writer().change_in(Queue::Sends, ShardSet::NONE, move |tx, _| change(tx)).await
}
