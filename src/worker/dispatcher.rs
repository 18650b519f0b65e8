//! The outbox's loop: due messages → guard → frequency-cap slots → claim → content → `sending` → channel → outcome.
//!
//! At most once for marketing, honestly: a message is claimed in one transaction with everything that permits it, and
//! marked in another just before its first byte. A process that dies in between leaves rows that say how far it came.
//! Nobody is written to about whom something was logged that no decision has seen yet.

mod addressed;
mod asking;
mod caps_gate;
mod claim;
mod claiming;
mod delivery;
mod domains;
mod gate;
mod hands;
mod inquiry;
mod line;
mod outlook;
mod slots;
mod test_send;
mod turns;
mod unheard;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::tz::TimeZone;

use crate::caps::Unreachable;
use crate::channel;
use crate::eventlog::{EventLog, Queue};
use crate::fault::Faults;
use crate::guard::{Cleared, Verdict, VersionMove, frequency_cap};
use crate::ids::{MessageId, Span, Timestamp, WorkspaceId};
use crate::message::{Channel, Message, Purpose, Reason, RetryPolicy, Status};
use crate::render::links::Links;
use crate::render::{self, Sender};
use crate::store::Store;
use crate::store::boots::Counted;
use crate::store::dispatch::{Shut, due_after, is_any_due};
use crate::store::shards::{Heads, Layout};
use crate::worker::leases::Leases;
use crate::worker::live::{Definitions, Live};
use addressed::Addressed;
use asking::Asking;
use caps_gate::CapsGate;
pub(super) use claim::release_cancelled;
use claim::{Claim, Moved, Plan, Seen, Stored};
use domains::Domains;
pub use gate::Stopped;
use gate::{Ahead, Gate, Gates};
pub use hands::{Lost, redrive_message, requeue_held, requeue_paused};
use inquiry::{Inquiry, Look, Word};
use line::{Answers, Line};
use outlook::Outlook;
pub use slots::CapStores;
pub(super) use slots::{move_on, unite_slots};
pub use test_send::{NotSent, TestSend, TestSent, sample_of};
use turns::Turns;

/// Messages looked at together: as many as each connection sends in a moment, and no more than fit one statement.
const BATCH_MIN: usize = 64;
const BATCH_MAX: usize = 256;
const BATCH_OF_CONNECTION: usize = 8;
/// Batches claimed and not begun, where some wait for domains that hang.
const BATCHES_READY_MAX: usize = 4;
/// How long after its creation a message still gives way to stronger ones that have just come.
const RIVALRY_MAX: Span = Span::from_seconds(60);

/// Which transport carries which channel.
#[derive(Clone, Default)]
pub struct Channels(BTreeMap<Channel, Arc<dyn channel::Channel>>);

impl Channels {
    /// One transport for every channel: the sandbox.
    pub fn sandboxed(transport: Arc<dyn channel::Channel>) -> Self {
        Self(Channel::ALL.into_iter().map(|channel| (channel, transport.clone())).collect())
    }

    /// Routes one channel, whatever carried it before.
    pub fn route(&mut self, channel: Channel, transport: Arc<dyn channel::Channel>) {
        self.0.insert(channel, transport);
    }

    fn of(&self, channel: Channel) -> Option<&Arc<dyn channel::Channel>> {
        self.0.get(&channel)
    }
}

/// What a dispatcher is made of.
pub struct Parts {
    pub log: EventLog,
    pub store: Store,
    pub definitions: Arc<Definitions>,
    pub caps: CapStores,
    /// The workspace's zone: the days and weeks of people whose own is unknown.
    pub zone: TimeZone,
    pub channels: Channels,
    pub links: Links,
    pub sender: Sender,
    /// Who writes, as templates may say it.
    pub workspace: render::Workspace,
    pub retry: RetryPolicy,
    pub faults: Faults,
    /// Messages with a provider at once; at most twice as many are ever marked `sending`.
    pub connections: usize,
}

pub struct Dispatcher {
    parts: Parts,
    leases: Leases,
    gates: Gates,
    domains: Domains,
    turns: Turns,
    caps_gate: CapsGate,
    inquiry: Inquiry,
    answers: Answers,
    /// Outcomes whose commit failed: they happened, and are stored before anything else is sent.
    unstored: Mutex<Vec<Moved>>,
    /// Messages of claims whose commit failed, or succeeded without our hearing of it: nothing of them was sent.
    unheard: Mutex<BTreeSet<(WorkspaceId, MessageId)>>,
    line: tokio::sync::Mutex<Line>,
    /// Whether the line had enough when it was last looked at.
    is_full: AtomicBool,
    /// What the database must know, or it was put back; none for whoever keeps no count.
    counted: OnceLock<Counted>,
}

impl Dispatcher {
    pub fn new(parts: Parts) -> Self {
        let gates = Gates::new(parts.retry.transport_pause);
        let parts = Parts { connections: parts.connections.max(1), ..parts };
        let (leases, unstored, unheard) = (Leases::alone(parts.store.layout()), Mutex::default(), Mutex::default());
        let (domains, caps_gate, answers) = (Domains::default(), CapsGate::default(), Answers::default());
        let (inquiry, line) = (Inquiry::default(), tokio::sync::Mutex::new(Line::new(answers.clone())));
        let is_full = AtomicBool::new(false);
        let (turns, counted) = (Turns::default(), OnceLock::new());
        Self {
            parts,
            leases,
            gates,
            domains,
            turns,
            caps_gate,
            inquiry,
            answers,
            unstored,
            unheard,
            line,
            is_full,
            counted,
        }
    }

    /// Only messages to people of these shards; without it, of all.
    #[must_use]
    pub fn sharing(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    /// Providers' limits in messages per second; a channel without one is unlimited.
    #[must_use]
    pub fn limited(mut self, per_second: &BTreeMap<Channel, NonZeroU32>) -> Self {
        self.gates.limit(per_second);
        self
    }

    /// Handles the next due messages until each has its answer. Returns how many rows changed; zero: nothing can be done
    /// before the log is processed further, a hold is lifted, or [`Dispatcher::next_due`].
    ///
    /// # Errors
    /// The database cannot be read or written, or an injected fault. What was claimed goes back into the queue, on SQLite
    /// when its lease runs out; what was sent is stored by a later tick.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        let mut changed = self.advance(now).await?;
        loop {
            // In one order, whoever answers first: what is pumped by hand goes the same way each time.
            if self.inquiry.is_open() {
                self.inquiry.finished().await;
                changed += self.claim_answered(now, &mut *self.line.lock().await).await?;
            } else if self.answers.wait().await {
                changed += self.deliver(now, &mut *self.line.lock().await, Vec::new()).await?;
            } else {
                return Ok(changed);
            }
        }
    }

    /// The same without waiting: what hangs goes on by itself, and [`Dispatcher::answered`] tells of it.
    ///
    /// # Errors
    /// As for [`Dispatcher::tick`].
    pub async fn advance(&self, now: Timestamp) -> anyhow::Result<usize> {
        let mut line = self.line.lock().await;
        let line = &mut *line;
        let mut changed = self.store_unstored(now).await? + self.take_back_unheard(now).await?;
        changed += self.deliver(now, line, Vec::new()).await?;
        changed += self.claim_answered(now, line).await?;
        let is_any_due = || is_any_due(self.parts.store.reader(), self.leases.held(), now);
        let is_full = self.has_enough(line);
        self.is_full.store(is_full, Ordering::Relaxed);
        if is_full || (!self.call_up(now, line).await? && !is_any_due().await?) {
            return Ok(changed);
        }
        let (store, definitions) = (&self.parts.store, &self.parts.definitions);
        let (shards, shut, counted) = (self.leases.held(), self.shut(now), self.counted.get());
        let outlook = Outlook::load(store, definitions, shards, now, self.batch_max(), &shut, counted).await?;
        let Outlook { heads, restore_unconfirmed, due, beside, unreadable, sights } = outlook;
        let look = Look { heads: Arc::new(heads), sights, beside };
        let (mut plan, asking) = self.plan(now, Ahead::of(line), restore_unconfirmed, due, &look).await?;
        plan.unreadable = unreadable;
        let (free, capped): (Vec<_>, Vec<_>) = asking.into_iter().partition(|one| one.request.rules().is_empty());
        let taken = free.iter().map(|one| (one.request.message().id, one.request.message().priority)).collect();
        self.take_free(now, free, &look, &mut plan).await?;
        changed += self.carry_out(now, &look, plan, line).await?;
        self.inquire(now, look, capped, taken).await;
        Ok(changed)
    }

    /// Claims, renders and sends what is planned.
    async fn carry_out(&self, now: Timestamp, look: &Look, plan: Plan, line: &mut Line) -> anyhow::Result<usize> {
        if plan.claims.is_empty() && plan.moves.is_empty() && plan.unreadable.is_empty() {
            return Ok(0);
        }
        let stored = self.claim(now, Heads::clone(&look.heads), plan).await?;
        let changed = self.count(&stored) + stored.raced;
        self.parts.faults.hit("dispatcher.claimed")?;
        let mut claimed = stored.claimed;
        claimed.sort_by_key(|claimed| claimed.claim.turn);
        let (ready, failed) = self.render_all(now, &look.heads, &look.sights, claimed);
        self.parts.faults.hit("dispatcher.rendered")?;
        line.queue(ready);
        Ok(changed + self.deliver(now, line, failed).await?)
    }

    /// Waits until a provider or the cap store answered; false if neither was asked. The next tick stores what was said.
    pub async fn answered(&self) -> bool {
        if !self.inquiry.is_open() {
            return self.answers.wait().await;
        }
        tokio::select! {
            biased;
            () = self.inquiry.finished() => true,
            true = self.answers.wait() => true,
            else => false,
        }
    }

    /// Messages with a provider whose answer has not come.
    pub fn unanswered(&self) -> usize {
        self.answers.missing()
    }

    /// Whether nothing new can be taken up before an answer comes.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed) && self.unanswered() > 0
    }

    fn batch_max(&self) -> usize {
        (BATCH_OF_CONNECTION * self.parts.connections).clamp(BATCH_MIN, BATCH_MAX)
    }

    /// Whether the line has messages for every connection that may come free soon.
    fn has_enough(&self, line: &Line) -> bool {
        let mut load = line.stuck(self.parts.connections, self.parts.log.clock(), &self.domains);
        let could_go = line.ready.iter().filter(|one| load.marks(one.domain.as_ref(), &self.domains));
        could_go.take(self.parts.connections).count() >= self.parts.connections
            || line.ready.len() >= BATCHES_READY_MAX * self.batch_max()
    }

    /// The earliest instant after the clock's present at which a tick may find something new by itself: a message comes due, or a
    /// closed channel opens. What is due already waits for the processor or a person.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let now = self.parts.log.clock().now();
        let due = due_after(self.parts.store.reader(), self.leases.held(), now, &self.gates.closed(now)).await?;
        let opens = [self.gates.opens_at(now), self.caps_gate.opens_at(now)];
        Ok(due.into_iter().chain(opens.into_iter().flatten()).min())
    }

    /// Transports that cannot be used at present, with what they said.
    pub fn stopped(&self) -> Vec<Stopped> {
        self.gates.stopped()
    }

    fn shut(&self, now: Timestamp) -> Shut {
        Shut { channels: self.gates.closed(now), caps: self.caps_gate.is_shut(now) || self.inquiry.is_open() }
    }

    /// Sends no marketing from a database that knows less than this, and asks for slots once the cap store was asked.
    pub fn expect(&self, counted: Counted, is_unasked: bool) {
        let _ = self.counted.set(counted);
        self.keep_caps_shut(is_unasked);
    }

    /// While somebody must first ask the cap store whether it knows more than the database, no slots are asked for.
    pub fn keep_caps_shut(&self, shut: bool) {
        self.caps_gate.keep_shut(shut);
    }

    /// Asks the cap store of a workspace whether it is there.
    ///
    /// # Errors
    /// It is not, in its own words.
    pub async fn check_caps(&self, id: WorkspaceId) -> Result<String, Unreachable> {
        self.parts.caps.of(id).check().await
    }

    /// The slots of every workspace.
    pub fn cap_stores(&self) -> &CapStores {
        &self.parts.caps
    }

    /// What it works on.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Of the log behind it.
    pub fn layout(&self) -> Layout {
        self.parts.store.layout()
    }

    /// The workspace's zone.
    pub fn zone(&self) -> &TimeZone {
        &self.parts.zone
    }

    /// The transports by channel.
    pub fn transports(&self) -> impl Iterator<Item = (Channel, &Arc<dyn channel::Channel>)> {
        self.parts.channels.0.iter().map(|(channel, transport)| (*channel, transport))
    }

    /// Who mail is from.
    pub fn sender(&self) -> &Sender {
        &self.parts.sender
    }

    /// Puts a dead letter back into the queue; false if it is none, or was redriven a moment before.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn redrive_message(&self, id: WorkspaceId, message: MessageId, now: Timestamp) -> anyhow::Result<bool> {
        redrive_message(&self.parts.log, id, message, now).await
    }

    fn now(&self, at_least: Timestamp) -> Timestamp {
        self.parts.log.clock().now().max(at_least)
    }

    fn count(&self, stored: &Stored) -> usize {
        stored.reached.iter().for_each(|reached| reached.tell());
        stored.reached.len()
    }

    /// What becomes of each due message: the guard's word, then the channel's gate; and which must ask for slots.
    async fn plan(
        &self,
        now: Timestamp,
        mut ahead: Ahead,
        restore_unconfirmed: bool,
        due: Vec<(WorkspaceId, Message)>,
        look: &Look,
    ) -> anyhow::Result<(Plan, Vec<Asking>)> {
        let mut plan = Plan::default();
        let mut asking = Vec::new();
        let mut going = Addressed::default();
        for (turn, (id, message)) in due.into_iter().enumerate() {
            let Some(sight) = look.sights.get(&id) else { continue };
            let live = self.parts.definitions.live(id);
            let mut before = message.clone();
            // The same to one address twice in a batch: the second is looked at when the first is on its way.
            let subject = sight.subject_of(&before).map(|subject| format!("{} {subject}", id.0));
            if subject.as_ref().is_some_and(|subject| going.crowds(now, &before, subject)) {
                continue;
            }
            let moves_to = match sight.check(now, &live, &self.parts.zone, restore_unconfirmed, message) {
                // Its lease ran out and nothing was sent: it starts over.
                _ if matches!(before.status, Status::Claimed { .. }) => Status::Queued { due_at: now },
                Err(cause) => {
                    let cause = format!("the profile cannot be read: {cause}");
                    Status::Failed { at: now, reason: Reason::RenderFailed { cause } }
                }
                Ok(Verdict::Suppress { reason }) => Status::Suppressed { at: now, reason },
                Ok(Verdict::Defer { until, reason }) => {
                    before.wait_for(&reason);
                    Status::Deferred { until, reason }
                }
                Ok(Verdict::Clear(cleared)) => {
                    match self.gate(now, &before, cleared.address().normalised(), &mut ahead) {
                        Gate::Open => {
                            subject.into_iter().for_each(|subject| going.add(&before, subject));
                            plan.claims.push(self.to_claim(turn, id, cleared, &live));
                            continue;
                        }
                        Gate::Shut => continue,
                        Gate::Slow(status) => status,
                    }
                }
                Ok(Verdict::NeedsSlots(request)) => match self.rival(now, id, &live, &before).await? {
                    Some(due_at) => Status::Queued { due_at },
                    None => match self.gate(now, &before, request.address().normalised(), &mut ahead) {
                        Gate::Open => {
                            subject.into_iter().for_each(|subject| going.add(&before, subject));
                            asking.push(Asking { turn, workspace: id, request });
                            continue;
                        }
                        Gate::Shut => continue,
                        Gate::Slow(status) => status,
                    },
                },
            };
            plan.moves.extend(step(id, before, moves_to, &look.beside));
        }
        Ok((plan, asking))
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
        Ok(self.parts.store.workspace(id).rival_due(message, now).await?)
    }

    /// Stores a plan, and sees to it that the cap stores know what came of it.
    async fn claim(&self, now: Timestamp, heads: Heads, plan: Plan) -> anyhow::Result<Stored> {
        let asked: Vec<(WorkspaceId, Message, Vec<VersionMove>)> = plan
            .claims
            .iter()
            .map(|claim| (claim.workspace, claim.cleared.message().clone(), claim.cleared.versions().to_vec()))
            .collect();
        let since = self.parts.log.clock().monotonic();
        let seen = Seen { heads, fences: self.leases.fences() };
        let reach = plan.reach(self.parts.store.layout());
        let stored = self
            .parts
            .log
            .writer()
            .change_in(Queue::Sends, reach, move |tx, appender| {
                Box::pin(async move { claiming::store(tx, appender, now, since, &seen, plan).await })
            })
            .await;
        let claimed: BTreeSet<MessageId> =
            stored.iter().flat_map(|stored| &stored.claimed).map(|claimed| claimed.message.id).collect();
        let unclaimed = asked.iter().rev().filter(|(_, message, _)| !claimed.contains(&message.id));
        let withdrawn = |(id, message, moves): &(_, Message, Vec<_>)| {
            Word::Withdrawn(*id, Box::new(message.clone()), moves.clone())
        };
        self.inquiry.tell(unclaimed.map(withdrawn));
        if stored.is_err() && self.parts.store.layout().is_shared() {
            let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
            unheard.extend(asked.iter().map(|(id, message, _)| (*id, message.id)));
        }
        let mut stored = stored?;
        self.inquiry.tell(std::mem::take(&mut stored.given_up).into_iter().map(Word::GivenUp));
        Ok(stored)
    }
}

/// A message that was only looked at beside another of its person moves if its state does.
fn step(id: WorkspaceId, message: Message, status: Status, beside: &BTreeSet<MessageId>) -> Option<Moved> {
    let stays = match (&message.status, &status) {
        (
            Status::Deferred { reason: Reason::Capped { .. }, .. },
            Status::Queued { .. } | Status::Deferred { reason: Reason::DomainSlow { .. }, .. },
        ) => true,
        (before, after) => before == after,
    };
    (!stays || !beside.contains(&message.id)).then(|| Moved::new(id, message, status))
}
