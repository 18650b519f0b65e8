//! What a person's hand, or a new start, does to messages: dead letters redriven, holds lifted, and what a dead process
//! left behind sorted out.

use std::collections::BTreeSet;

use crate::eventlog::{EventLog, Queue};
use crate::ids::{MessageId, Timestamp, WorkspaceId};
use crate::message::{Message, Outcome, RetryPolicy, Status, status};
use crate::store::controls::{PAUSE_ALL, workspaces};
use crate::store::dispatch::in_hand;
use crate::store::leases::Fences;
use crate::store::shards::{Heads, ShardSet};
use crate::store::{Store, workspace};
use crate::worker::dispatcher::claim::{Moved, Plan, Reached, Seen, Stored, store_moves};
use crate::worker::dispatcher::{Dispatcher, claiming};

/// Messages put back in one transaction.
const SLICE: usize = 500;

impl Dispatcher {
    /// At start, before the first tick and while no other dispatcher works on this database: sorts out what a dead
    /// process left `claimed` or `sending`. Returns how many rows changed.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn recover(&self, now: Timestamp) -> anyhow::Result<usize> {
        let held = (self.leases.held(), &Lost::All);
        recover(&self.parts.log, &self.parts.store, held, &self.parts.retry, now).await
    }

    /// The same for shards that were another process's; what waits for a transport that was stopped there is tried here.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn recover_in(&self, shards: ShardSet, lost: &Lost, now: Timestamp) -> anyhow::Result<usize> {
        let recovered = recover(&self.parts.log, &self.parts.store, (shards, lost), &self.parts.retry, now).await?;
        let is_taken = matches!(lost, Lost::All | Lost::Claimed);
        Ok(recovered + if is_taken { self.try_again_in(shards, now).await? } else { 0 })
    }

    /// Puts what waits for a transport back into the queue: whoever begins to work on these shards tries it at once.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn try_again_in(&self, shards: ShardSet, now: Timestamp) -> anyhow::Result<usize> {
        // What is stopped here, too, goes on waiting.
        if shards.is_empty() || !self.gates.stopped().is_empty() {
            return Ok(0);
        }
        requeue_stopped(&self.parts.log, &self.parts.store, shards, now).await
    }
}

/// Puts a dead letter back into the queue with all its tries; false if it is none, or was redriven a moment before.
///
/// # Errors
/// The database cannot be read or written.
pub async fn redrive_message(
    log: &EventLog,
    id: WorkspaceId,
    message: MessageId,
    now: Timestamp,
) -> anyhow::Result<bool> {
    let redriven = log
        .writer()
        .change(Queue::Sends, move |tx, _| {
            Box::pin(async move {
                let store = workspace(tx, id);
                let Some(known) = store.message(message).await? else { return Ok(None) };
                let Some(queued) = status::redrive(now, &known.status) else { return Ok(None) };
                let again = Message { status: queued, attempts_forgiven: known.attempts, ..known.clone() };
                let redriven = store.advance_message(&known.status, &again, now).await?;
                if redriven {
                    store.forgive_attempts(&again).await?;
                }
                Ok(redriven.then(|| Reached::of(&again)))
            })
        })
        .await?;
    redriven.into_iter().for_each(Reached::tell);
    Ok(redriven.is_some())
}

/// After a pause was lifted: what it held goes back to the queue, where every guard looks again. `scope` is
/// [`PAUSE_ALL`] or a campaign's key. Returns how many.
///
/// # Errors
/// The database cannot be read or written; slices stored before stay.
pub async fn requeue_paused(log: &EventLog, id: WorkspaceId, scope: &str, now: Timestamp) -> anyhow::Result<usize> {
    let held = if scope == PAUSE_ALL {
        Held { scope: Some(scope.to_owned()), ..Held::everywhere("sending_paused") }
    } else {
        let campaign = Some(scope.to_owned());
        Held { scope: campaign.clone(), campaign, ..Held::everywhere("campaign_paused") }
    };
    requeue(log, id, held, now).await
}

/// The same for what was held for the reason `code`, which holds no longer.
///
/// # Errors
/// As for `requeue_paused`.
pub async fn requeue_held(
    log: &EventLog,
    id: WorkspaceId,
    code: &'static str,
    now: Timestamp,
) -> anyhow::Result<usize> {
    requeue(log, id, Held::everywhere(code), now).await
}

/// The same for what waits for a transport, to people of these shards.
///
/// # Errors
/// As for `requeue_paused`.
pub async fn requeue_stopped(log: &EventLog, store: &Store, shards: ShardSet, now: Timestamp) -> anyhow::Result<usize> {
    let mut all = 0;
    for id in workspaces(store.reader()).await? {
        all += requeue(log, id, Held { shards, ..Held::everywhere("transport_stopped") }, now).await?;
    }
    Ok(all)
}

/// What held messages back.
#[derive(Clone)]
struct Held {
    code: &'static str,
    campaign: Option<String>,
    /// Nothing goes back while this is paused again.
    scope: Option<String>,
    /// Whose messages.
    shards: ShardSet,
}

impl Held {
    fn everywhere(code: &'static str) -> Self {
        Self { code, campaign: None, scope: None, shards: ShardSet::EVERY }
    }
}

async fn requeue(log: &EventLog, id: WorkspaceId, held: Held, now: Timestamp) -> anyhow::Result<usize> {
    let mut all = 0;
    loop {
        let Held { code, campaign, scope, shards } = held.clone();
        let count = log
            .writer()
            .change_in(Queue::Sends, shards, move |tx, appender| {
                Box::pin(async move {
                    let store = workspace(tx, id);
                    if let Some(scope) = scope
                        && store.pauses().await?.contains(&scope)
                    {
                        return Ok(0);
                    }
                    let held = store.held_for(code, campaign.as_deref(), shards, SLICE).await?;
                    let mut moves = Vec::with_capacity(held.len());
                    for message in store.messages(&held).await? {
                        moves.push(Moved::new(id, message, Status::Queued { due_at: now }));
                    }
                    let mut stored = Stored::default();
                    store_moves(tx, appender, now, moves, &mut stored).await?;
                    Ok(stored.reached.len())
                })
            })
            .await?;
        all += count;
        if count < SLICE {
            return Ok(all);
        }
    }
}

/// Of the messages a process had in hand, which it will not answer for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// It is gone.
    All,
    /// It may only sleep: what it has begun to send is its own.
    Claimed,
    These(BTreeSet<(WorkspaceId, MessageId)>),
    /// Of these, what it has claimed and not begun.
    Unbegun(BTreeSet<(WorkspaceId, MessageId)>),
}

impl Lost {
    fn has(&self, id: WorkspaceId, message: &Message) -> bool {
        match self {
            Self::All => true,
            Self::Claimed => matches!(message.status, Status::Claimed { .. }),
            Self::These(messages) => messages.contains(&(id, message.id)),
            Self::Unbegun(messages) => Self::Claimed.has(id, message) && messages.contains(&(id, message.id)),
        }
    }
}

/// Before anything is sent to people of these shards: whoever was `sending` has lost its answer, and what was only
/// claimed goes back to the queue at once instead of when its lease runs out. Returns how many rows changed.
///
/// # Errors
/// The database cannot be read or written.
pub async fn recover(
    log: &EventLog,
    store: &Store,
    (shards, lost): (ShardSet, &Lost),
    policy: &RetryPolicy,
    now: Timestamp,
) -> anyhow::Result<usize> {
    let mut plan = Plan::default();
    for (id, message) in in_hand(store.reader(), shards).await? {
        match store.workspace(id).messages_apart(&[message]).await?.pop() {
            Some((_, Ok(message))) if !lost.has(id, &message) => {}
            Some((_, Ok(message))) => plan.moves.extend(recovered(id, message, policy, now)),
            Some((_, Err(error))) => plan.unreadable.push((id, message, error.to_string())),
            None => {}
        }
    }
    if plan.moves.is_empty() && plan.unreadable.is_empty() {
        return Ok(0);
    }
    let seen = Seen { heads: Heads::default(), fences: Fences::new() };
    let since = log.clock().monotonic();
    let stored = log
        .writer()
        .change_in(Queue::Sends, shards, move |tx, appender| {
            Box::pin(async move { claiming::store(tx, appender, now, since, &seen, plan).await })
        })
        .await?;
    stored.reached.iter().for_each(|reached| reached.tell());
    Ok(stored.reached.len())
}

fn recovered(id: WorkspaceId, mut message: Message, policy: &RetryPolicy, now: Timestamp) -> Option<Moved> {
    let before = message.status.clone();
    match before {
        Status::Sending { attempt, .. } => {
            let outcome = Outcome::Unknown { cause: "the process ended before the answer came".to_owned() };
            message.advance(now, &outcome, policy);
            tracing::warn!(message = %message.id, attempt, status = message.status.name(), "a message's answer was lost");
            Some(Moved { workspace: id, before, message, answered: Some((attempt, outcome)) })
        }
        Status::Claimed { .. } => Some(Moved::new(id, message, Status::Queued { due_at: now })),
        _ => None,
    }
}
