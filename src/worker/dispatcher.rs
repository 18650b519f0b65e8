//! The outbox's loop: due messages → guard → frequency-cap slots → claim → content → `sending` → channel → outcome.
//!
//! At most once for marketing, honestly: a message is claimed in one transaction with everything that permits it, and
//! marked in another just before its first byte. A process that dies in between leaves rows that say how far it came.
//! Nobody is written to about whom something was logged that no decision has seen yet.

mod claim;
mod delivery;
mod gate;
mod hands;
mod outlook;
mod slots;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use crate::channel;
use crate::eventlog::{EventLog, Queue};
use crate::fault::Faults;
use crate::guard::{Cleared, Request, Verdict, VersionMove, capped, frequency_cap};
use crate::ids::{MessageId, Span, Timestamp, WorkspaceId};
use crate::message::{Channel, Message, Purpose, Reason, RetryPolicy, Status};
use crate::render::links::Links;
use crate::render::{Sender, Workspace as House};
use crate::store::Store;
use crate::store::dispatch::due_after;
use crate::telemetry;
use crate::worker::live::{Definitions, Live};
use claim::{Claim, Moved, Plan, Stored};
use gate::Gates;
pub use gate::Stopped;
pub use hands::{redrive_message, requeue_paused};
use outlook::{Outlook, Sight};
pub use slots::CapStores;
use slots::{Asked, Versions, tell, withdraw};

/// Messages looked at together.
const BATCH_MAX: usize = 64;
/// How long a message waits when its caps could not be settled.
const UNSETTLED_WAIT: Span = Span::from_seconds(1);
/// How long after its creation a message still gives way to stronger ones that have just come.
const RIVALRY_MAX: Span = Span::from_seconds(60);

/// Which transport carries which channel.
#[derive(Clone, Default)]
pub struct Channels(BTreeMap<Channel, Arc<dyn channel::Channel>>);

impl Channels {
    /// One transport for every channel: the sandbox.
    pub fn all_to(transport: &Arc<dyn channel::Channel>) -> Self {
        Self(Channel::ALL.into_iter().map(|channel| (channel, transport.clone())).collect())
    }

    /// Routes one channel, whatever carried it before.
    #[must_use]
    pub fn with(mut self, channel: Channel, transport: Arc<dyn channel::Channel>) -> Self {
        self.0.insert(channel, transport);
        self
    }

    fn of(&self, channel: Channel) -> Option<&Arc<dyn channel::Channel>> {
        self.0.get(&channel)
    }
}

/// What a dispatcher sends with and by.
#[derive(Clone)]
pub struct Setup {
    pub channels: Channels,
    pub caps: CapStores,
    pub links: Links,
    pub sender: Sender,
    /// Who writes, as templates may say it.
    pub house: House,
    pub policy: RetryPolicy,
    /// Messages with a provider at once; at most twice as many are ever marked `sending`.
    pub connections: usize,
    /// Providers' limits in messages per second; a channel without one is unlimited.
    pub per_second: BTreeMap<Channel, NonZeroU32>,
}

pub struct Dispatcher {
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    faults: Faults,
    channels: Channels,
    caps: CapStores,
    links: Links,
    sender: Sender,
    house: House,
    policy: RetryPolicy,
    connections: usize,
    gates: Gates,
    /// Outcomes whose commit failed: they happened, and are stored before anything else is sent.
    unstored: Mutex<Vec<Moved>>,
    turn: tokio::sync::Mutex<()>,
}

/// A message that passed the guard and asks for slots.
struct Asking {
    turn: usize,
    workspace: WorkspaceId,
    request: Request,
}

impl Dispatcher {
    pub fn new(log: EventLog, store: Store, definitions: Arc<Definitions>, faults: Faults, setup: Setup) -> Self {
        let Setup { channels, caps, links, sender, house, policy, connections, per_second } = setup;
        Self {
            gates: Gates::new(policy.transport_pause, &per_second),
            connections: connections.max(1),
            unstored: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            log,
            store,
            definitions,
            faults,
            channels,
            caps,
            links,
            sender,
            house,
            policy,
        }
    }

    /// At start, before the first tick and while no other dispatcher works on this database: sorts out what a dead
    /// process left `claimed` or `sending`. Returns how many rows changed.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn recover(&self, now: Timestamp) -> anyhow::Result<usize> {
        hands::recover(&self.log, &self.store, &self.policy, now).await
    }

    /// Handles the next due messages. Returns how many rows changed; zero: nothing can be done before the log is
    /// processed further, a hold is lifted, or [`Dispatcher::next_due`].
    ///
    /// # Errors
    /// The database cannot be read or written, or an injected fault. What was claimed comes back when its lease runs
    /// out; what was sent is stored by a later tick.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        let _turn = self.turn.lock().await;
        let mut changed = self.store_unstored(now).await?;
        let outlook = Outlook::load(&self.store, now, BATCH_MAX, &self.gates.closed(now)).await?;
        let Outlook { head, restore_unconfirmed, due, unreadable, sights } = outlook;
        let plan = self.plan(now, restore_unconfirmed, due, &sights).await?;
        let plan = Plan { unreadable, ..plan };
        if plan.claims.is_empty() && plan.moves.is_empty() && plan.unreadable.is_empty() {
            return Ok(changed);
        }
        let stored = self.claim(now, head, plan).await?;
        changed += self.count(&stored) + stored.raced;
        self.faults.hit("dispatcher.claimed")?;
        let mut claimed = stored.claimed;
        claimed.sort_by_key(|claimed| claimed.claim.turn);
        let (ready, failed) = self.render_all(now, &sights, claimed);
        self.faults.hit("dispatcher.rendered")?;
        Ok(changed + self.deliver(now, head, ready, failed).await?)
    }

    /// The earliest instant after `now` at which a tick may find something new by itself: a message comes due, or a
    /// closed channel opens. What is due already waits for the processor or a person.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self, now: Timestamp) -> anyhow::Result<Option<Timestamp>> {
        let due = due_after(self.store.reader(), now, &self.gates.closed(now)).await?;
        Ok(due.into_iter().chain(self.gates.opens_at(now)).min())
    }

    /// Transports that cannot be used at present, with what they said.
    pub fn stopped(&self) -> Vec<Stopped> {
        self.gates.stopped()
    }

    /// Puts a dead letter back into the queue; false if it is none, or was redriven a moment before.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn redrive_message(&self, id: WorkspaceId, message: MessageId, now: Timestamp) -> anyhow::Result<bool> {
        redrive_message(&self.log, id, message, now).await
    }

    fn now(&self, at_least: Timestamp) -> Timestamp {
        self.log.clock().now().max(at_least)
    }

    fn count(&self, stored: &Stored) -> usize {
        stored.reached.iter().for_each(|status| telemetry::message_reached(status));
        stored.reached.len()
    }

    /// What becomes of each due message: the guard's word, then the channel's gate, then the slots, by priority.
    async fn plan(
        &self,
        now: Timestamp,
        restore_unconfirmed: bool,
        due: Vec<(WorkspaceId, Message)>,
        sights: &BTreeMap<WorkspaceId, Sight>,
    ) -> anyhow::Result<Plan> {
        let mut plan = Plan::default();
        let mut asking = Vec::new();
        let mut shut = BTreeSet::new();
        for (turn, (id, message)) in due.into_iter().enumerate() {
            let Some(sight) = sights.get(&id) else { continue };
            let live = self.definitions.live(id);
            let before = message.clone();
            let moves_to = match sight.check(now, &live, restore_unconfirmed, message) {
                // Its lease ran out and nothing was sent: it starts over.
                _ if matches!(before.status, Status::Claimed { .. }) => Status::Queued { due_at: now },
                Err(cause) => {
                    let cause = format!("the profile cannot be read: {cause}");
                    Status::Failed { at: now, reason: Reason::RenderFailed { cause } }
                }
                Ok(Verdict::Suppress { reason }) => Status::Suppressed { at: now, reason },
                Ok(Verdict::Defer { until, reason }) => Status::Deferred { until, reason },
                Ok(Verdict::Clear(cleared)) => match self.gate(now, &before, cleared.address().normalised(), &mut shut)
                {
                    Gate::Open => {
                        plan.claims.push(self.to_claim(turn, id, cleared, &live));
                        continue;
                    }
                    Gate::Shut => continue,
                    Gate::Slow(status) => status,
                },
                Ok(Verdict::NeedsSlots(request)) => match self.rival(now, id, &live, &before).await? {
                    Some(due_at) => Status::Queued { due_at },
                    None => match self.gate(now, &before, request.address().normalised(), &mut shut) {
                        Gate::Open => {
                            asking.push(Asking { turn, workspace: id, request });
                            continue;
                        }
                        Gate::Shut => continue,
                        Gate::Slow(status) => status,
                    },
                },
            };
            plan.moves.push(Moved::new(id, before, moves_to));
        }
        // Whoever has the higher priority asks first; of equals, whoever was due first.
        asking.sort_by_key(|asking| (Reverse(asking.request.message().priority), asking.turn));
        self.take_slots(now, asking, &mut plan).await?;
        Ok(plan)
    }

    async fn take_slots(&self, now: Timestamp, asking: Vec<Asking>, plan: &mut Plan) -> anyhow::Result<()> {
        let mut versions: BTreeMap<WorkspaceId, Versions> = BTreeMap::new();
        for Asking { turn, workspace: id, request } in asking {
            let versions = versions.entry(id).or_default();
            let caps = self.caps.of(id);
            match slots::ask(&self.store, caps.as_ref(), id, versions, now, request).await? {
                Asked::Cleared(cleared) => {
                    let live = self.definitions.live(id);
                    plan.claims.push(self.to_claim(turn, id, cleared, &live));
                }
                Asked::Full(mut message, full) => {
                    let status = match capped(now, &message, full) {
                        Verdict::Suppress { reason } => Status::Suppressed { at: now, reason },
                        Verdict::Defer { until, reason } => Status::Deferred { until, reason },
                        Verdict::NeedsSlots(_) | Verdict::Clear(_) => continue,
                    };
                    message.capped_at = message.capped_at.or(Some(now));
                    plan.moves.push(Moved::new(id, message, status));
                }
                Asked::Unsettled(message) => {
                    let status = Status::Deferred { until: now.plus(UNSETTLED_WAIT), reason: Reason::CapsUnsettled };
                    plan.moves.push(Moved::new(id, message, status));
                }
                Asked::Later => {}
            }
        }
        Ok(())
    }

    fn to_claim(&self, turn: usize, workspace: WorkspaceId, cleared: Cleared, live: &Live) -> Claim {
        let template = live.templates.get(&cleared.message().template).cloned();
        Claim { turn, workspace, cleared, horizon: frequency_cap::horizon(&live.rules), template }
    }

    /// When a stronger rival that came within this message's settle window is due: both are decided then.
    async fn rival(
        &self,
        now: Timestamp,
        id: WorkspaceId,
        live: &Live,
        message: &Message,
    ) -> anyhow::Result<Option<Timestamp>> {
        let settles = matches!(message.status, Status::Queued { .. }) && message.purpose == Purpose::Marketing;
        if !settles
            || now >= message.created_at.plus(RIVALRY_MAX)
            || live.rules.is_empty()
            || !live.catalog.is_contested(&message.campaign, message.channel)
        {
            return Ok(None);
        }
        Ok(self.store.workspace(id).rival_due(message, now).await?)
    }

    fn gate(&self, now: Timestamp, message: &Message, address: &str, shut: &mut BTreeSet<Channel>) -> Gate {
        let channel = message.channel;
        if shut.contains(&channel) {
            return Gate::Shut;
        }
        if let Some(until) = self.gates.slow_until(now, channel, address) {
            return Gate::Slow(match &message.status {
                Status::Retrying { attempt, cause, .. } => {
                    Status::Retrying { attempt: *attempt, at: until, cause: cause.clone() }
                }
                _ => Status::Queued { due_at: until },
            });
        }
        if !self.gates.admit(now, channel) {
            shut.insert(channel);
            return Gate::Shut;
        }
        if self.gates.is_probing(channel) {
            shut.insert(channel);
        }
        Gate::Open
    }

    /// Stores a plan, and sees to it that the cap stores know what came of it.
    async fn claim(&self, now: Timestamp, head: crate::ids::Position, plan: Plan) -> anyhow::Result<Stored> {
        let asked: Vec<(WorkspaceId, Message, Vec<VersionMove>)> = plan
            .claims
            .iter()
            .map(|claim| (claim.workspace, claim.cleared.message().clone(), claim.cleared.versions().to_vec()))
            .collect();
        let since = self.log.clock().monotonic();
        let stored = self
            .log
            .writer()
            .change(Queue::Sends, move |tx, appender| {
                Box::pin(async move { claim::store(tx, appender, now, since, head, plan).await })
            })
            .await;
        let claimed: BTreeSet<MessageId> =
            stored.iter().flat_map(|stored| &stored.claimed).map(|claimed| claimed.message.id).collect();
        for (id, message, moves) in asked.iter().rev().filter(|(_, message, _)| !claimed.contains(&message.id)) {
            withdraw(self.caps.of(*id).as_ref(), message, moves).await;
        }
        let stored = stored?;
        tell(&self.caps, &stored.given_up).await;
        Ok(stored)
    }

    fn keep_unstored(&self, moves: Vec<Moved>) {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner).extend(moves);
    }

    async fn store_unstored(&self, now: Timestamp) -> anyhow::Result<usize> {
        let moves = std::mem::take(&mut *self.unstored.lock().unwrap_or_else(PoisonError::into_inner));
        if moves.is_empty() {
            return Ok(0);
        }
        let kept = moves.clone();
        let stored = self
            .log
            .writer()
            .change(Queue::Sends, move |tx, appender| {
                Box::pin(async move { delivery::store_again(tx, appender, now, moves).await })
            })
            .await;
        match stored {
            Ok(stored) => {
                tell(&self.caps, &stored.given_up).await;
                Ok(self.count(&stored))
            }
            Err(error) => {
                self.keep_unstored(kept);
                Err(error)
            }
        }
    }
}

/// Whether a channel takes a message now.
enum Gate {
    Open,
    /// Nothing more in this batch.
    Shut,
    /// The recipient's domain asked for patience: until then, in this state.
    Slow(Status),
}
