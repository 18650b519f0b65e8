//! The claiming transaction: for each cleared message, that nothing relevant was logged or paused since the guard
//! looked, that its cap subjects are where its slots were granted, and that its row has not moved. What fails its
//! comparison is abandoned alone. Verdicts that need no slot are stored beside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::eventlog::Appender;
use crate::guard::Subject;
use crate::ids::{MessageId, Timestamp, WorkspaceId};
use crate::message::{Message, Reason, Status};
use crate::store::dispatch::draw_claim_token;
use crate::store::outbox::CapSubject;
use crate::store::steps::Step;
use crate::store::{Workspace, workspace};
use crate::worker::dispatcher::addressed::Addressed;
use crate::worker::dispatcher::claim::{
    Claim, Claimed, Held, LEASE, Moved, Plan, Reached, Seen, Stored, store_moves, subject_of,
};
use crate::worker::dispatcher::slots::{address_subject, leave, row_of, version_of};

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
    let capped = plan.moves.iter().filter(|one| capped_by(one).is_some());
    let messages = capped.map(|one| (one.workspace, &one.message));
    let messages = messages.chain(plan.claims.iter().map(|claim| (claim.workspace, claim.cleared.message())));
    let held = Held::load(tx, seen, messages, &BTreeMap::new()).await?;
    if !plan.claims.is_empty() {
        let token = draw_claim_token(tx).await?;
        let mut books = addressed(tx, now, &plan.claims).await?;
        let mut by_workspace: BTreeMap<WorkspaceId, Vec<Claim>> = BTreeMap::new();
        for claim in plan.claims {
            by_workspace.entry(claim.workspace).or_default().push(claim);
        }
        for (id, claims) in by_workspace {
            let book = books.entry(id).or_default();
            store_claims(workspace(tx, id), (&held, book), (now, since, token), claims, &mut stored).await?;
        }
    }
    for (id, message, cause) in plan.unreadable {
        workspace(tx, id).fail_unreadable(message, &cause, now).await?;
        stored.reached.push(Reached::unreadable());
    }
    // What was full by a slot that nobody takes after all, or for somebody of whom there is news, is looked at again.
    let is_taken = |id: &MessageId| stored.abandoned.iter().all(|claim| claim.cleared.message().id != *id);
    let is_so = |one: &Moved| match capped_by(one) {
        Some(by) => by.iter().all(is_taken) && !held.holds(one.workspace, &one.message),
        None => true,
    };
    let (moves, unfounded): (Vec<Moved>, Vec<Moved>) = plan.moves.into_iter().partition(is_so);
    stored.raced += unfounded.len();
    store_moves(tx, appender, now, moves, &mut stored).await?;
    Ok(stored)
}

/// Messages whose slots leave no room for this one, where that is why it waits or ends.
fn capped_by(one: &Moved) -> Option<&[MessageId]> {
    match one.message.status.reason() {
        Some(Reason::Capped { by, .. }) => Some(by),
        _ => None,
    }
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

/// Of these claims, in their order, those that nothing stands against; the others are abandoned.
async fn store_claims<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    (held, book): (&Held, &mut Addressed),
    (now, since, token): (Timestamp, Duration, u64),
    claims: Vec<Claim>,
    stored: &mut Stored,
) -> anyhow::Result<()> {
    let expected = claims.iter().map(|claim| (claim.cleared.message().id, &claim.cleared.message().status)).collect();
    let still = store.still(&expected).await?;
    let mut versions = Versions::load(store, &claims).await?;
    let mut going = Vec::with_capacity(claims.len());
    for claim in claims {
        let before = claim.cleared.message();
        if held.holds(claim.workspace, before) || !still.contains(&before.id) {
            stored.abandoned.push(claim);
            continue;
        }
        let subject = subject_of(&claim);
        if book.stops(before, &subject) || book.crowds(now, before, &subject) || !versions.fit(&claim)? {
            // Since the guard looked: it looks again.
            stored.raced += 1;
            stored.abandoned.push(claim);
            continue;
        }
        let message = Message {
            status: Status::Claimed { token, lease_until: now.plus(LEASE) },
            slot_at: claim.cleared.slot_at(),
            address: Some(claim.cleared.address().normalised().to_owned()),
            template_version: claim.template.as_ref().map(|template| template.version()),
            ..before.clone()
        };
        versions.take(&claim, &message)?;
        book.add(&message, subject.clone());
        going.push((claim, message, subject));
    }
    let steps: Vec<(Step, &str)> = going
        .iter()
        .map(|(claim, message, subject)| {
            (Step { expected: &claim.cleared.message().status, message }, subject.as_str())
        })
        .collect();
    anyhow::ensure!(
        store.claim_messages(&steps, now).await?.len() == steps.len(),
        "a message moved inside our transaction"
    );
    anyhow::ensure!(store.move_cap_subjects(&versions.moves()).await?, "a cap subject moved inside our transaction");
    for (claim, message, _) in going {
        if let Some(left) = address_left(claim.cleared.message(), &message) {
            stored.given_up.push(leave(store, message.id, left).await?);
        }
        stored.reached.push(Reached::of(&message));
        stored.claimed.push(Claimed { claim, message, since });
    }
    Ok(())
}

/// Where the cap subjects of a batch stand, and where its claims take them, one after the other.
struct Versions {
    known: BTreeMap<String, CapSubject>,
    moved: BTreeMap<String, CapSubject>,
}

impl Versions {
    async fn load<C: ConnectionTrait>(store: Workspace<'_, C>, claims: &[Claim]) -> anyhow::Result<Self> {
        let steps = claims.iter().flat_map(|claim| claim.cleared.versions());
        let names: BTreeSet<String> = steps.map(|step| step.subject.to_string()).collect();
        let known = store.cap_subjects(&names.into_iter().collect::<Vec<_>>()).await?;
        Ok(Self { known, moved: BTreeMap::new() })
    }

    fn of(&self, name: &str) -> Option<&CapSubject> {
        self.moved.get(name).or_else(|| self.known.get(name))
    }

    /// Whether the claim's slots were granted where its subjects are now.
    fn fit(&self, claim: &Claim) -> anyhow::Result<bool> {
        for step in claim.cleared.versions() {
            if version_of(self.of(&step.subject.to_string()))? != step.from {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, claim: &Claim, message: &Message) -> anyhow::Result<()> {
        for step in claim.cleared.versions().iter().filter(|step| step.from != step.to) {
            let name = step.subject.to_string();
            let last = self.of(&name).map_or(Timestamp::default(), |row| row.last_slot_at);
            let to = row_of(step.to, claim.horizon.millis(), last.max(message.slot_at.unwrap_or(last)))?;
            self.moved.insert(name, to);
        }
        Ok(())
    }

    /// Each with where it was before the batch.
    fn moves(&self) -> Vec<(&str, Option<&CapSubject>, &CapSubject)> {
        self.moved.iter().map(|(name, to)| (name.as_str(), self.known.get(name), to)).collect()
    }
}

/// The address whose slot a message leaves behind because it now goes to another.
fn address_left(before: &Message, now: &Message) -> Option<Subject> {
    let moved = before.slot_at.is_some() && before.address != now.address;
    moved.then(|| address_subject(before)).flatten()
}
