//! From claimed to sent: just before the first byte a message becomes `sending` in a transaction that checks once more
//! that it may go, then its channel has it, then the outcome is stored. Outcomes of one group and the marks of the
//! next share a commit, so at most two messages for each connection are ever in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use sea_orm::ConnectionTrait;

use crate::clock::Stopwatch;
use crate::eventlog::{Appender, Queue};
use crate::guard::{Cleared, Subject, neighbours};
use crate::ids::{Position, Timestamp, WorkspaceId};
use crate::message::{Message, Outcome, Reason, Status};
use crate::render::{Occasion, RenderError, Rendered, Scope, links, render};
use crate::store::locks::Reach;
use crate::store::shards::Heads;
use crate::store::workspace;
use crate::telemetry;
use crate::worker::dispatcher::Dispatcher;
use crate::worker::dispatcher::addressed::Addressed;
use crate::worker::dispatcher::claim::{Claimed, Held, LEASE, Moved, Reached, Seen, Stored, store_moves};
use crate::worker::dispatcher::outlook::Sight;
use crate::worker::dispatcher::slots::{address_subject, tell};

/// A claimed message with its content.
pub struct Ready {
    workspace: WorkspaceId,
    message: Message,
    rendered: Rendered,
    since: Duration,
    correlation: String,
}

/// A message marked `sending`.
struct Underway {
    ready: Ready,
    attempt: u32,
}

impl Dispatcher {
    /// Renders claimed messages; what cannot be rendered is a dead letter.
    pub(super) fn render_all(
        &self,
        now: Timestamp,
        sights: &BTreeMap<WorkspaceId, Sight>,
        claimed: Vec<Claimed>,
    ) -> (Vec<Ready>, Vec<Moved>) {
        let (mut ready, mut failed) = (Vec::with_capacity(claimed.len()), Vec::new());
        for Claimed { claim, message, since } in claimed {
            let id = claim.workspace;
            let Some(sight) = sights.get(&id) else { continue };
            let rendered = match &claim.template {
                Some(template) => self.render_one(now, id, sight, &claim.cleared, &message, template),
                None => Err(Reason::TemplateMissing { template: message.template.clone() }),
            };
            let correlation = sight.events.get(&message.event).map_or("", |event| &event.correlation_id).to_owned();
            match rendered {
                Ok(rendered) => ready.push(Ready { workspace: id, message, rendered, since, correlation }),
                Err(reason) => {
                    tracing::warn!(message = %message.id, template = message.template, %correlation, code = reason.code(),
                        "a message could not be rendered");
                    failed.push(Moved::new(id, message, Status::Failed { at: now, reason }));
                }
            }
        }
        (ready, failed)
    }

    fn render_one(
        &self,
        now: Timestamp,
        id: WorkspaceId,
        sight: &Sight,
        cleared: &Cleared,
        message: &Message,
        template: &crate::render::Compiled,
    ) -> Result<Rendered, Reason> {
        let failed = |cause: String| Reason::RenderFailed { cause };
        let profile = match sight.people.get(&message.profile) {
            Some(Ok(profile)) => profile,
            _ => return Err(failed("the profile cannot be read".to_owned())),
        };
        let event = |position: &Position| {
            sight
                .events
                .get(position)
                .map(Arc::as_ref)
                .ok_or_else(|| failed(format!("the event at position {position} cannot be read")))
        };
        let live = self.parts.definitions.live(id);
        let campaign = live.catalog.campaign(&message.campaign);
        let link = links::Link { workspace: id, profile: profile.id, channel: message.channel, message: message.id };
        let about = Occasion {
            profile,
            event: event(&message.event)?,
            entry: event(&message.entry)?,
            message,
            campaign_name: campaign.map_or(message.campaign.as_str(), |campaign| &campaign.name),
            workspace: &self.parts.workspace,
            links: &self.parts.links.of_message(&link, neighbours::is_confirmation(message)),
        };
        render(cleared, template, &Scope::new(now, &about), &self.parts.sender).map_err(|error| match error {
            RenderError::UnsafeAddress { part, address } => Reason::UnsafeAddress { part, address },
            other => failed(other.to_string()),
        })
    }

    /// Sends what is ready, a group at a time. Returns how many rows changed.
    ///
    /// # Errors
    /// The database refuses, or an injected fault. Outcomes that could not be stored are kept for the next tick.
    pub(super) async fn deliver(
        &self,
        now: Timestamp,
        heads: &Heads,
        mut ready: Vec<Ready>,
        failed: Vec<Moved>,
    ) -> anyhow::Result<usize> {
        let mut changed = 0;
        let mut moves = failed;
        while !ready.is_empty() || !moves.is_empty() {
            let rest = ready.split_off(ready.len().min(2 * self.parts.connections));
            let group = std::mem::replace(&mut ready, rest);
            let now = self.now(now);
            let mut back = self.put_back(now, &group);
            let (underway, count) = match self.exchange(now, heads, moves, group).await {
                Ok(exchanged) => exchanged,
                Err(error) => {
                    back.extend(self.put_back(now, &ready));
                    self.keep_unstored(back);
                    return Err(error);
                }
            };
            self.parts.faults.hit("dispatcher.outcome")?;
            changed += count;
            self.parts.faults.hit("dispatcher.sending")?;
            moves = self.send_all(now, underway).await;
            self.parts.faults.hit("dispatcher.sent")?;
        }
        Ok(changed)
    }

    /// The way back into the queue, for messages of which no byte was sent because the database went away: it may have
    /// marked them all the same before it did. Of the two steps at most one fits. SQLite goes nowhere.
    fn put_back(&self, now: Timestamp, group: &[Ready]) -> Vec<Moved> {
        if !self.parts.store.layout().is_shared() {
            return Vec::new();
        }
        let steps = group.iter().flat_map(|ready| {
            let claimed = ready.message.clone();
            let marked = marked(now, &claimed).map(|status| Message { status, ..claimed.clone() });
            [Some(claimed), marked].into_iter().flatten().map(|message| (ready.workspace, message))
        });
        steps.map(|(id, message)| Moved::new(id, message, Status::Queued { due_at: now })).collect()
    }

    /// Stores steps and marks a group as `sending`, in one transaction.
    async fn exchange(
        &self,
        now: Timestamp,
        heads: &Heads,
        moves: Vec<Moved>,
        group: Vec<Ready>,
    ) -> anyhow::Result<(Vec<Underway>, usize)> {
        let kept: Vec<Moved> = moves.iter().filter(|one| one.answered.is_some()).cloned().collect();
        let monotonic = self.parts.log.clock().monotonic();
        let stopped: BTreeMap<_, _> = group
            .iter()
            .filter_map(|ready| Some((ready.message.channel, self.gates.stopped_until(now, ready.message.channel)?)))
            .collect();
        let seen = Seen { heads: heads.clone(), fences: self.leases.fences() };
        let layout = self.parts.store.layout();
        let people = moves.iter().map(|one| one.message.profile).chain(group.iter().map(|ready| ready.message.profile));
        let shards = people.map(|profile| layout.shard_of(profile)).collect();
        let begun = group.iter().filter_map(|ready| Some((ready.workspace, name_of(&ready.message)?)));
        let reach = Reach::with(layout, shards, begun.chain(moves.iter().filter_map(Moved::stopped)));
        let result = self
            .parts
            .log
            .writer()
            .change_in(Queue::Sends, reach, move |tx, appender| {
                Box::pin(async move {
                    let mut stored = Stored::default();
                    store_moves(tx, appender, now, moves, &mut stored).await?;
                    let mut underway = Vec::with_capacity(group.len());
                    let mut back = Vec::new();
                    let checks = Checks::load(tx, now, &seen, &group).await?;
                    for ready in group {
                        let until = stopped.get(&ready.message.channel).copied();
                        let is_late = monotonic.saturating_sub(ready.since) > usable_lease();
                        if until.is_some() || is_late || checks.hold(&ready) {
                            let status = Status::Queued { due_at: until.unwrap_or(now) };
                            back.push(Moved::new(ready.workspace, ready.message, status));
                        } else if let Some(marked) = mark(tx, now, ready).await? {
                            stored.reached.push(Reached::of(&marked.ready.message));
                            underway.push(marked);
                        }
                    }
                    store_moves(tx, appender, now, back, &mut stored).await?;
                    Ok((underway, stored))
                })
            })
            .await;
        match result {
            Ok((underway, stored)) => {
                tell(&self.parts.caps, &stored.given_up).await;
                Ok((underway, self.count(&stored)))
            }
            Err(error) => {
                self.keep_unstored(kept);
                Err(error)
            }
        }
    }

    /// Hands a group to its channels; the answers come back in the group's order.
    async fn send_all(&self, now: Timestamp, underway: Vec<Underway>) -> Vec<Moved> {
        let layout = self.parts.store.layout();
        let sends = underway.into_iter().map(|one| async move {
            // A process that was frozen wakes up here: its people may be another's by now.
            if !self.leases.is_sure(layout.shard_of(one.ready.message.profile), self.parts.log.clock().boot_time()) {
                return (one, None);
            }
            let watch = Stopwatch::start();
            let outcome = match self.parts.channels.of(one.ready.message.channel) {
                Some(channel) => channel.send(&one.ready.rendered).await,
                None => Outcome::TransportDown { cause: "no provider is set up for this channel".to_owned() },
            };
            telemetry::attempt_ended(one.ready.message.channel.as_str(), outcome.name(), watch.elapsed());
            (one, Some(outcome))
        });
        let answered: Vec<_> = futures::stream::iter(sends).buffered(self.parts.connections).collect().await;
        let now = self.now(now);
        let concluded = answered.into_iter().map(|(one, outcome)| match outcome {
            Some(outcome) => self.conclude(now, one, outcome),
            // Nothing was sent. If another has taken it up, this step does not fit any more and is left out.
            None => Moved::new(one.ready.workspace, one.ready.message, Status::Queued { due_at: now }),
        });
        concluded.collect()
    }

    fn conclude(&self, now: Timestamp, one: Underway, outcome: Outcome) -> Moved {
        let Underway { ready: Ready { workspace, mut message, correlation, .. }, attempt } = one;
        let before = message.status.clone();
        message.advance(now, &outcome, &self.parts.retry);
        if let Some(until) = self.gates.learn(now, message.channel, &outcome) {
            message.status = Status::Queued { due_at: until };
        }
        if let (Outcome::Retry { slow_domain: true, .. }, Status::Retrying { at, .. }) = (&outcome, &message.status)
            && let Some(address) = &message.address
        {
            self.gates.slow_down(now, message.channel, address, *at);
        }
        let status = message.status.name();
        let reply = outcome.words();
        tracing::info!(message = %message.id, %correlation, attempt, status, reply, "a message was handed over");
        Moved { workspace, before, message, answered: Some((attempt, outcome)) }
    }
}

/// After half of its lease a claim is not begun any more: what is begun must end before someone else may claim it.
fn usable_lease() -> Duration {
    Duration::from_millis(u64::try_from(LEASE.millis() / 2).unwrap_or(0))
}

/// The state of a claimed message just before its first byte.
fn marked(now: Timestamp, message: &Message) -> Option<Status> {
    let Status::Claimed { token, .. } = message.status else { return None };
    Some(Status::Sending { attempt: message.attempts + 1, token, since: now })
}

async fn mark<C: ConnectionTrait>(tx: &C, now: Timestamp, ready: Ready) -> anyhow::Result<Option<Underway>> {
    let Ready { workspace: id, mut message, rendered, since, correlation } = ready;
    let before = message.status.clone();
    let Some(status) = marked(now, &message) else { return Ok(None) };
    let attempt = message.attempts + 1;
    message.status = status;
    let store = workspace(tx, id);
    if !store.advance_message(&before, &message, None, now).await? {
        return Ok(None);
    }
    store.begin_attempt(message.id, attempt, &correlation, now).await?;
    let ready = Ready { workspace: id, message, rendered, since, correlation };
    Ok(Some(Underway { ready, attempt }))
}

/// What may have changed since the claim.
struct Checks {
    held: Held,
    books: BTreeMap<WorkspaceId, Addressed>,
}

impl Checks {
    async fn load<C: ConnectionTrait>(tx: &C, now: Timestamp, seen: &Seen, group: &[Ready]) -> anyhow::Result<Self> {
        let held = Held::load(tx, seen, group.iter().map(|ready| (ready.workspace, &ready.message))).await?;
        let mut books = BTreeMap::new();
        for id in group.iter().map(|ready| ready.workspace).collect::<BTreeSet<_>>() {
            let here = group.iter().filter(|ready| ready.workspace == id).map(|ready| &ready.message);
            let messages = here.filter_map(|message| Some((message, name_of(message)?)));
            books.insert(id, Addressed::load(workspace(tx, id), now, messages).await?);
        }
        Ok(Self { held, books })
    }

    /// Consent changes by an entry of the log alone, so newer entries of the person hold it too.
    fn hold(&self, ready: &Ready) -> bool {
        let book = self.books.get(&ready.workspace);
        let is_stopped =
            |book: &Addressed| name_of(&ready.message).is_some_and(|name| book.stops(&ready.message, &name));
        self.held.holds(ready.workspace, &ready.message) || book.is_some_and(is_stopped)
    }
}

fn name_of(message: &Message) -> Option<String> {
    address_subject(message).as_ref().map(Subject::to_string)
}

/// Stores steps that a failed commit left behind.
///
/// # Errors
/// The database refuses.
pub(super) async fn store_again<C: ConnectionTrait>(
    tx: &C,
    appender: &mut Appender,
    now: Timestamp,
    moves: Vec<Moved>,
) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    store_moves(tx, appender, now, moves, &mut stored).await?;
    Ok(stored)
}
