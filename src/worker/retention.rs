//! What is kept for a time only: why entries led to nothing, clicks and opens as they came, messages that ended, what
//! events carried, and entries of the log. Each goes in slices of a few milliseconds, so that nobody waits; of messages
//! and entries the daily counts stay, and the books balance.
//!
//! Not pruned is what a decision, a guard or a cap may still ask for: people with their packed history, enrollments,
//! consents, each message whose slot counts in some frequency cap or whose sending may still meet a goal, and of the log
//! what `log_pruning` holds back.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::watch;

use crate::eventlog::{EventLog, Queue};
use crate::guard::frequency_cap;
use crate::ids::{MessageId, Position, Span, Timestamp, WorkspaceId};
use crate::store::retention::{
    Kind, Place, note_pruned, note_pruned_to, prune_hits, prune_reasons, workspaces_with_messages,
};
use crate::store::shards::ShardSet;
use crate::store::{Store, workspace};
use crate::worker::live::Definitions;
use crate::worker::log_pruning::prune_log;

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
    /// What events carried, and who sent them.
    pub bodies: Span,
    /// Entries of the log; what they carried goes with them at the latest.
    pub entries: Span,
}

impl Default for Retention {
    fn default() -> Self {
        let (messages, half) = (Span::from_days(400), Span::from_days(180));
        Self { messages, reasons: half, hits: half, bodies: Span::ZERO, entries: Span::ZERO }
    }
}

impl Retention {
    /// Which settings are too short, by name, with why.
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let Self { messages, reasons, hits, bodies, entries } = *self;
        let all =
            [("messages", messages), ("reasons", reasons), ("hits", hits), ("bodies", bodies), ("entries", entries)];
        let short = all.into_iter().filter(|(_, span)| *span != Span::ZERO && *span < LEAST);
        let mut wrong: Vec<_> =
            short.map(|(name, span)| (name, format!("{span} is shorter than {LEAST}; 0s keeps for ever"))).collect();
        if entries != Span::ZERO && bodies > entries {
            wrong.push((
                "bodies",
                format!("{bodies} is longer than retention.entries, {entries}: an entry takes its body along"),
            ));
        }
        wrong
    }
}

/// How much of each class went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub messages: u64,
    pub reasons: u64,
    pub hits: u64,
    pub bodies: u64,
    pub entries: u64,
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
    let gone = prune_log(log, store, definitions, (before(retention.bodies), before(retention.entries)), stop).await?;
    (pruned.bodies, pruned.entries) = (gone.bodies, gone.entries);
    if let Some(before) = [before(retention.bodies), before(retention.entries)].into_iter().flatten().max()
        && pruned.bodies > 0
    {
        change(log, move |tx| Box::pin(async move { Ok(note_pruned_to(tx, Kind::Bodies, before).await?) })).await?;
    }
    let oldest = [(pruned.reasons, before(retention.reasons)), (pruned.messages, before(retention.messages))];
    let oldest = oldest.into_iter().filter(|(count, _)| *count > 0).filter_map(|(_, before)| before).max();
    if let Some(before) = oldest {
        change(log, move |tx| Box::pin(async move { Ok(note_pruned(tx, before, now).await?) })).await?;
    }
    if pruned != Pruned::default() {
        let Pruned { messages, reasons, hits, bodies, entries } = pruned;
        tracing::info!(messages, reasons, hits, bodies, entries, held = gone.held, "old rows were pruned");
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
    if pruned > 0 {
        change(log, move |tx| Box::pin(async move { Ok(note_pruned_to(tx, Kind::Slots, slots_since).await?) })).await?;
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
