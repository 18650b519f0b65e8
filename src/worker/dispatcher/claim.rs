//! The claiming transaction: for each cleared message, that nothing relevant was logged or paused since the guard
//! looked, that its cap subjects are where its slots were granted, and that its row has not moved. What fails its
//! comparison is abandoned alone. Verdicts that need no slot are stored beside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::eventlog::{Appender, Draft, logged};
use crate::guard::{Cleared, Subject};
use crate::ids::{MessageId, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::{Message, Outcome, Reason, Status, Suppression, SuppressionKind};
use crate::render::Compiled;
use crate::store::controls::PAUSE_ALL;
use crate::store::dispatch::{draw_claim_token, logged_since};
use crate::store::entries::{Logged, Tried};
use crate::store::leases::{Fences, owned};
use crate::store::locks::Reach;
use crate::store::shards::{Heads, Layout, ShardSet};
use crate::store::{Workspace, workspace};
use crate::telemetry;
use crate::worker::dispatcher::addressed::Addressed;
use crate::worker::dispatcher::slots::{GivenUp, address_subject, give_up, leave, row_of, subject_name, version_of};

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

    pub fn tell(self) {
        telemetry::message_reached(self.channel, self.status, self.reason);
    }
}

/// Stores a plan.
///
/// # Errors
/// The database refuses; nothing may be kept.
pub async fn store<C: ConnectionTrait>(
    tx: &C,
    appender: &mut Appender,
    now: Timestamp,
    since: Duration,
    seen: &Seen,
    plan: Plan,
) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    let held = Held::load(tx, seen, plan.claims.iter().map(|claim| (claim.workspace, claim.cleared.message()))).await?;
    if !plan.claims.is_empty() {
        let token = draw_claim_token(tx).await?;
        let mut books = addressed(tx, now, &plan.claims).await?;
        for claim in plan.claims {
            let book = books.entry(claim.workspace).or_default();
            store_claim(tx, (&held, book), (now, since, token), claim, &mut stored).await?;
        }
    }
    for (id, message, cause) in plan.unreadable {
        workspace(tx, id).fail_unreadable(message, &cause, now).await?;
        stored.reached.push(Reached { channel: "", status: "failed", reason: "render_failed" });
    }
    store_moves(tx, appender, now, plan.moves, &mut stored).await?;
    Ok(stored)
}

/// What the books say of the claims' addresses, in this transaction.
async fn addressed<C: ConnectionTrait>(
    tx: &C,
    now: Timestamp,
    claims: &[Claim],
) -> anyhow::Result<BTreeMap<WorkspaceId, Addressed>> {
    let mut books = BTreeMap::new();
    for id in claims.iter().map(|claim| claim.workspace).collect::<BTreeSet<_>>() {
        let here = claims.iter().filter(|claim| claim.workspace == id);
        let messages = here.map(|claim| (claim.cleared.message(), subject_of(claim)));
        books.insert(id, Addressed::load(workspace(tx, id), now, messages).await?);
    }
    Ok(books)
}

fn subject_of(claim: &Claim) -> String {
    subject_name(claim.cleared.message().channel, claim.cleared.address().normalised())
}

async fn store_claim<C: ConnectionTrait>(
    tx: &C,
    (held, book): (&Held, &mut Addressed),
    (now, since, token): (Timestamp, Duration, u64),
    claim: Claim,
    stored: &mut Stored,
) -> anyhow::Result<()> {
    let store = workspace(tx, claim.workspace);
    let before = claim.cleared.message();
    if held.holds(claim.workspace, before) {
        stored.abandoned.push(claim);
        return Ok(());
    }
    let subject = subject_of(&claim);
    if book.stops(before, &subject) || book.crowds(now, before, &subject) {
        // Since the guard looked: it looks again.
        stored.raced += 1;
        stored.abandoned.push(claim);
        return Ok(());
    }
    let mut rows = Vec::new();
    for step in claim.cleared.versions() {
        let name = step.subject.to_string();
        let row = store.cap_subject(&name).await?;
        if version_of(row.as_ref())? != step.from {
            stored.raced += 1;
            stored.abandoned.push(claim);
            return Ok(());
        }
        rows.push((name, row));
    }
    let address = claim.cleared.address();
    let message = Message {
        status: Status::Claimed { token, lease_until: now.plus(LEASE) },
        slot_at: claim.cleared.slot_at(),
        address: Some(address.normalised().to_owned()),
        template_version: claim.template.as_ref().map(|template| template.version()),
        ..before.clone()
    };
    if !store.advance_message(&before.status, &message, Some(&subject), now).await? {
        stored.abandoned.push(claim);
        return Ok(());
    }
    for (step, (name, row)) in claim.cleared.versions().iter().zip(&rows) {
        if step.from == step.to {
            continue;
        }
        let last = row.as_ref().map_or(Timestamp::default(), |row| row.last_slot_at);
        let to = row_of(step.to, claim.horizon.millis(), last.max(message.slot_at.unwrap_or(last)))?;
        anyhow::ensure!(
            store.move_cap_subject(name, row.as_ref(), &to).await?,
            "a cap subject moved inside our transaction"
        );
    }
    if let Some(left) = address_left(before, &message) {
        stored.given_up.push(leave(store, message.id, left).await?);
    }
    book.add(&message, subject);
    stored.reached.push(Reached::of(&message));
    stored.claimed.push(Claimed { claim, message, since });
    Ok(())
}

/// The address whose slot a message leaves behind because it now goes to another.
fn address_left(before: &Message, now: &Message) -> Option<Subject> {
    let moved = before.slot_at.is_some() && before.address != now.address;
    moved.then(|| address_subject(before)).flatten()
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
    let mut ended = Vec::new();
    for Moved { workspace: id, before, mut message, answered } in moves {
        let store = workspace(tx, id);
        let releases = gives_up_slot(&message);
        if releases {
            message.slot_at = None;
        }
        if !store.advance_message(&before, &message, None, now).await? {
            tracing::debug!(message = %message.id, "a message moved on before its step was stored");
            continue;
        }
        if releases {
            // Its slot is of the person it belongs to now.
            message.profile = store.profile_of_message(message.id).await?.unwrap_or(message.profile);
            stored.given_up.extend(give_up(store, &message, now).await?);
        }
        let bounced = matches!(answered, Some((_, Outcome::Rejected { suppress: true, .. })));
        if let Some((attempt, outcome)) = answered {
            store.finish_attempt(message.id, attempt, &outcome, now).await?;
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
    /// # Errors
    /// The database cannot be read.
    pub async fn load<'a, C: ConnectionTrait>(
        tx: &C,
        seen: &Seen,
        messages: impl Iterator<Item = (WorkspaceId, &'a Message)>,
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
        Ok(Self {
            people: logged_since(tx, &seen.heads, &people).await?,
            paused,
            layout,
            ours: owned(tx, &seen.fences, shards).await?,
        })
    }

    pub fn holds(&self, id: WorkspaceId, message: &Message) -> bool {
        let paused = |scopes: &BTreeSet<String>| scopes.contains(PAUSE_ALL) || scopes.contains(&message.campaign);
        !self.ours.contains(self.layout.shard_of(message.profile))
            || self.people.contains(&message.profile)
            || self.paused.get(&id).is_some_and(paused)
    }
}
