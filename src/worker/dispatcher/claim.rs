//! What a dispatcher wants to store of messages, and how their steps are stored, with what follows from each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::eventlog::{Appender, Draft, logged};
use crate::guard::Cleared;
use crate::ids::{MessageId, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::{Message, Outcome, Reason, Status, Suppression, SuppressionKind};
use crate::render::Compiled;
use crate::store::controls::PAUSE_ALL;
use crate::store::dispatch::{changed_since, logged_since};
use crate::store::entries::{Logged, Tried};
use crate::store::leases::{Fences, owned};
use crate::store::locks::Reach;
use crate::store::shards::{Heads, Layout, ShardSet, backlog};
use crate::store::steps::{Ended, Step};
use crate::store::{Workspace, workspace};
use crate::telemetry;
use crate::worker::dispatcher::outlook::BACKLOG_MAX;
use crate::worker::dispatcher::slots::{GivenUp, address_subject, give_up, subject_name};

/// How long a claim holds. Rendering takes milliseconds; a process that was frozen longer must not send.
pub const LEASE: Span = Span::from_seconds(60);

/// A message the guard cleared, on its way into the claiming transaction.
pub struct Claim {
    /// Its place in the batch.
    pub turn: usize,
    pub workspace: WorkspaceId,
    pub cleared: Cleared,
    pub horizon: Span,
    /// The newest version of its template; none where there is no such template.
    pub template: Option<Arc<Compiled>>,
}

/// A message that is ours until its lease runs out.
pub struct Claimed {
    pub claim: Claim,
    pub message: Message,
    /// Monotonic time of the claim: a wall clock may be set.
    pub since: Duration,
}

/// A message's step to another state, if its row is still in `before`.
#[derive(Debug, Clone)]
pub struct Moved {
    pub workspace: WorkspaceId,
    pub before: Status,
    pub message: Message,
    /// The attempt that ended with this step, and how.
    pub answered: Option<(u32, Outcome)>,
}

impl Moved {
    pub fn new(workspace: WorkspaceId, message: Message, status: Status) -> Self {
        let before = message.status.clone();
        Self { workspace, before, message: Message { status, ..message }, answered: None }
    }

    /// The subject of the address that comes onto the suppression list with it.
    pub fn stopped(&self) -> Option<(WorkspaceId, String)> {
        let suppresses = matches!(self.answered, Some((_, Outcome::Rejected { suppress: true, .. })));
        let subject = address_subject(&self.message).filter(|_| suppresses)?;
        Some((self.workspace, subject.to_string()))
    }
}

/// By what a claim was decided: what is logged after `heads` was not looked at, and shards that lost their token are
/// another process's.
#[derive(Debug, Clone)]
pub struct Seen {
    pub heads: Heads,
    pub fences: Fences,
}

/// What one batch wants to store.
#[derive(Default)]
pub struct Plan {
    /// In the order in which their slots were taken.
    pub claims: Vec<Claim>,
    pub moves: Vec<Moved>,
    pub unreadable: Vec<(WorkspaceId, MessageId, String)>,
}

impl Plan {
    /// Whom it is about, and which addresses.
    pub fn reach(&self, layout: Layout) -> Reach {
        let claims = self.claims.iter().map(|claim| claim.cleared.message().profile);
        let moves = self.moves.iter().map(|one| one.message.profile);
        let shards = claims.chain(moves).map(|profile| layout.shard_of(profile)).collect();
        let subjects = self.claims.iter().map(|claim| (claim.workspace, subject_of(claim)));
        Reach::with(layout, shards, subjects.chain(self.moves.iter().filter_map(Moved::stopped)))
    }
}

/// The subject of the address a claim was cleared for.
pub(super) fn subject_of(claim: &Claim) -> String {
    subject_name(claim.cleared.message().channel, claim.cleared.address().normalised())
}

/// What was stored.
#[derive(Default)]
pub struct Stored {
    pub claimed: Vec<Claimed>,
    pub abandoned: Vec<Claim>,
    /// Of the abandoned, those that lost a race for a slot and should simply be looked at again.
    pub raced: usize,
    pub given_up: Vec<GivenUp>,
    pub reached: Vec<Reached>,
}

/// A step that was stored, for whoever counts.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// Empty where the message's row cannot be read.
    channel: &'static str,
    status: &'static str,
    /// The reason's code, or empty.
    reason: &'static str,
}

impl Reached {
    pub fn of(message: &Message) -> Self {
        let reason = message.status.reason().map_or("", Reason::code);
        Self { channel: message.channel.as_str(), status: message.status.name(), reason }
    }

    /// A dead letter whose row cannot be read.
    pub fn unreadable() -> Self {
        Self { channel: "", status: "failed", reason: "render_failed" }
    }

    pub fn tell(self) {
        telemetry::message_reached(self.channel, self.status, self.reason);
    }
}

/// Stores steps of messages in order, with what follows from each: the attempt's end, a suppressed address, a slot
/// given up, the log's entry of a last state.
///
/// # Errors
/// The database refuses; nothing may be kept.
pub async fn store_moves<C: ConnectionTrait>(
    tx: &C,
    appender: &mut Appender,
    now: Timestamp,
    moves: Vec<Moved>,
    stored: &mut Stored,
) -> anyhow::Result<()> {
    let sent = store_sent(tx, now, &moves).await?;
    let mut ended = Vec::new();
    for one in moves {
        let was_sent = is_sent(&one).then(|| sent.contains(&(one.workspace, one.message.id)));
        let Moved { workspace: id, before, mut message, answered } = one;
        let store = workspace(tx, id);
        let releases = gives_up_slot(&message);
        if releases {
            message.slot_at = None;
        }
        let moved = match was_sent {
            Some(moved) => moved,
            None => store.advance_message(&before, &message, now).await?,
        };
        if !moved {
            tracing::debug!(message = %message.id, "a message moved on before its step was stored");
            continue;
        }
        if releases {
            // Its slot is of the person it belongs to now.
            message.profile = store.profile_of_message(message.id).await?.unwrap_or(message.profile);
            stored.given_up.extend(give_up(store, &message, now).await?);
        }
        let bounced = matches!(answered, Some((_, Outcome::Rejected { suppress: true, .. })));
        if let Some((attempt, outcome)) = answered.filter(|_| was_sent.is_none()) {
            store.finish_attempts(&[Ended { message: message.id, attempt, outcome: &outcome }], now).await?;
            suppress(store, &message, &outcome, now).await?;
        }
        stored.reached.push(Reached::of(&message));
        if message.status.is_final() {
            ended.push(end_of(id, &message, bounced, now));
        }
    }
    if !ended.is_empty() {
        appender.append(tx, vec![ended]).await?;
    }
    Ok(())
}

/// Whether it is a step that most messages take: handed over, accepted, and nothing follows from it.
fn is_sent(one: &Moved) -> bool {
    one.answered.is_some() && matches!(one.message.status, Status::Sent { .. })
}

/// The messages that were sent, all at once; the answer is those whose rows had the state expected.
async fn store_sent<C: ConnectionTrait>(
    tx: &C,
    now: Timestamp,
    moves: &[Moved],
) -> anyhow::Result<BTreeSet<(WorkspaceId, MessageId)>> {
    let mut all = BTreeSet::new();
    let mut by_workspace: BTreeMap<WorkspaceId, Vec<&Moved>> = BTreeMap::new();
    for one in moves.iter().filter(|one| is_sent(one)) {
        by_workspace.entry(one.workspace).or_default().push(one);
    }
    for (id, here) in by_workspace {
        let store = workspace(tx, id);
        let steps: Vec<Step> = here.iter().map(|one| Step { expected: &one.before, message: &one.message }).collect();
        let moved = store.conclude_sent(&steps, now).await?;
        let ended = here.iter().filter(|one| moved.contains(&one.message.id)).filter_map(|one| {
            let (attempt, outcome) = one.answered.as_ref()?;
            Some(Ended { message: one.message.id, attempt: *attempt, outcome })
        });
        store.finish_attempts(&ended.collect::<Vec<_>>(), now).await?;
        all.extend(moved.into_iter().map(|message| (id, message)));
    }
    Ok(all)
}

/// A message that ends unsent gives its slot back, unless it may have arrived all the same.
pub fn gives_up_slot(message: &Message) -> bool {
    let unsent = matches!(message.status, Status::Suppressed { .. } | Status::Cancelled { .. } | Status::Failed { .. });
    unsent && message.slot_at.is_some() && message.answer_lost_at.is_none()
}

async fn suppress<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    message: &Message,
    outcome: &Outcome,
    now: Timestamp,
) -> anyhow::Result<()> {
    if let (Outcome::Rejected { cause, suppress: true }, Some(address)) = (outcome, &message.address) {
        let source = format!("rejected by the provider: {cause}");
        let why = Suppression { kind: SuppressionKind::Bounced, source, at: now, profile: None };
        store.suppress(message.channel, address, &why).await?;
    }
    Ok(())
}

/// A message that waited for another try was stopped: its slot is free again. The cap store is not told, so that it
/// reseeds both subjects when next asked.
///
/// # Errors
/// The database refuses; nothing may be kept.
pub async fn release_cancelled<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    id: MessageId,
    now: Timestamp,
) -> anyhow::Result<()> {
    if let Some(message) = store.message(id).await?
        && gives_up_slot(&message)
    {
        store.clear_slot(id).await?;
        give_up(store, &message, now).await?;
    }
    Ok(())
}

fn end_of(id: WorkspaceId, message: &Message, bounced: bool, now: Timestamp) -> Draft {
    let Message { attempts, slot_at, address, .. } = message.clone();
    let tried = Tried { attempts, slot_at, address, bounced };
    let ended = Logged::MessageEnded { message: message.id, status: message.status.clone(), tried };
    logged(id, Some(message.profile), now, ended)
}

/// What holds messages back although the guard cleared them: people with newer entries, and pauses.
pub struct Held {
    layout: Layout,
    /// Shards that no other process has taken.
    ours: ShardSet,
    people: BTreeSet<ProfileId>,
    paused: BTreeMap<WorkspaceId, BTreeSet<String>>,
}

impl Held {
    /// `old` are the versions of people who were looked at long ago: so much may have been logged since that their rows are
    /// asked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load<'a, C: ConnectionTrait>(
        tx: &C,
        seen: &Seen,
        messages: impl Iterator<Item = (WorkspaceId, &'a Message)>,
        old: &BTreeMap<ProfileId, i64>,
    ) -> anyhow::Result<Self> {
        let (mut people, mut paused) = (BTreeSet::new(), BTreeMap::new());
        for (id, message) in messages {
            people.insert(message.profile);
            paused.insert(id, BTreeSet::new());
        }
        for (id, scopes) in &mut paused {
            *scopes = workspace(tx, *id).pauses().await?;
        }
        let layout = Layout::of(tx.get_database_backend());
        let shards = people.iter().map(|profile| layout.shard_of(*profile)).collect();
        people.retain(|profile| !old.contains_key(profile));
        let mut changed = logged_since(tx, &seen.heads, &people).await?;
        if !old.is_empty() {
            // Far behind, nobody is looked at at all.
            match backlog(tx, ShardSet::EVERY).await? > BACKLOG_MAX {
                true => changed.extend(old.keys()),
                false => changed.extend(changed_since(tx, old).await?),
            }
        }
        Ok(Self { people: changed, paused, layout, ours: owned(tx, &seen.fences, shards).await? })
    }

    pub fn holds(&self, id: WorkspaceId, message: &Message) -> bool {
        let paused = |scopes: &BTreeSet<String>| scopes.contains(PAUSE_ALL) || scopes.contains(&message.campaign);
        !self.ours.contains(self.layout.shard_of(message.profile))
            || self.people.contains(&message.profile)
            || self.paused.get(&id).is_some_and(paused)
    }
}
