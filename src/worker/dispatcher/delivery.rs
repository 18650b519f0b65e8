//! From claimed to sent: just before the first byte a message becomes `sending` in a transaction that checks once more
//! that it may go, then its channel has it, then the outcome is stored. Outcomes are stored as they come, together with
//! the marks of those that follow, so at most two messages for each connection are ever in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::audience::Whereabouts;
use crate::eventlog::{Appender, Queue};
use crate::guard::{Cleared, Subject, neighbours, quiet_hours};
use crate::ids::{MessageId, Position, Timestamp, WorkspaceId};
use crate::message::{Message, Outcome, Reason, Status};
use crate::render::{Occasion, RenderError, Rendered, Scope, links, render};
use crate::store::leases::Fences;
use crate::store::locks::Reach;
use crate::store::shards::Heads;
use crate::store::steps::Step;
use crate::store::workspace;
use crate::worker::dispatcher::Dispatcher;
use crate::worker::dispatcher::addressed::Addressed;
use crate::worker::dispatcher::claim::{Claimed, Held, LEASE, Moved, Reached, Seen, Stored, store_moves};
use crate::worker::dispatcher::domains::Domain;
use crate::worker::dispatcher::inquiry::Word;
use crate::worker::dispatcher::line::{Answer, Line, Provider, Ready, Underway};
use crate::worker::dispatcher::outlook::Sight;
use crate::worker::dispatcher::slots::address_subject;

/// What is marked and has no connection after this goes back: nothing of it was sent, and its person may have changed
/// their mind.
const MARKED_MAX: Duration = Duration::from_secs(5);
/// What was logged since a look is read as long as it is little; later, people's rows tell who has changed.
const READ_UNTIL: Duration = Duration::from_secs(1);
/// A stop tries so often to store what came of the last messages.
const FINISH_TRIES: u32 = 10;
const FINISH_AGAIN: Duration = Duration::from_millis(200);

impl Dispatcher {
    /// Renders claimed messages; what cannot be rendered is a dead letter.
    pub(super) fn render_all(
        &self,
        now: Timestamp,
        heads: &Arc<Heads>,
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
            let trace = sight.events.get(&message.event).and_then(|event| event.trace);
            let correlation = sight.events.get(&message.event).map_or("", |event| &event.correlation_id).to_owned();
            match rendered {
                Ok(rendered) => {
                    let domain = message.address.as_ref().and_then(|to| Domain::of(message.channel, to));
                    let version = sight.versions.get(&message.profile).copied().unwrap_or_default();
                    let heads = heads.clone();
                    let soon_quiet =
                        sight.soon_quiet(now, &self.parts.definitions.live(id), &self.parts.zone, &message);
                    ready.push(Ready {
                        workspace: id,
                        message,
                        rendered,
                        heads,
                        version,
                        soon_quiet,
                        domain,
                        since,
                        correlation,
                        trace,
                    });
                }
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
        let entry = event(&message.entry)?;
        let about = Occasion {
            profile,
            event: event(&message.event)?,
            entry,
            cart: &profile.cart_of(entry),
            exchange: &live.catalog.terms.exchange,
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

    /// Sends what is in the line as far as connections are free, and stores what came of it as long as something is
    /// answered at once. Returns how many rows changed.
    ///
    /// # Errors
    /// The database refuses, or an injected fault. Outcomes that could not be stored are kept for the next tick.
    pub(super) async fn deliver(&self, now: Timestamp, line: &mut Line, failed: Vec<Moved>) -> anyhow::Result<usize> {
        let mut changed = 0;
        let mut moves = failed;
        loop {
            let now = self.now(now);
            let answers = line.harvest();
            if !answers.is_empty() {
                self.parts.faults.hit("dispatcher.sent")?;
            }
            moves.extend(answers.into_iter().map(|answer| self.conclude(now, answer)));
            line.watch(now, self.parts.log.clock().monotonic(), &self.domains);
            moves.extend(self.give_back(now, line));
            let group = self.choose(line);
            // Those marked before use the time that the database takes; places for slow domains are kept.
            let kept = group.iter().filter(|one| self.is_slow(one)).count();
            self.begin_marked(line, kept).await;
            if moves.is_empty() && group.is_empty() {
                if line.is_answered() {
                    continue;
                }
                return Ok(changed);
            }
            let mut back = self.put_back(now, &group);
            match self.exchange(now, std::mem::take(&mut moves), group).await {
                Ok((underway, count)) => {
                    line.marked.extend(underway);
                    changed += count;
                }
                Err(error) => {
                    if self.parts.store.layout().is_shared() {
                        back.extend(self.put_back(now, &std::mem::take(&mut line.ready)));
                    }
                    self.keep_unstored(back);
                    return Err(error);
                }
            }
            self.parts.faults.hit("dispatcher.outcome")?;
            self.parts.faults.hit("dispatcher.sending")?;
            // Whoever is slow was marked for a place that is free.
            line.marked.sort_by_key(|one| !self.is_slow(&one.ready));
            self.begin_marked(line, 0).await;
        }
    }

    fn is_slow(&self, ready: &Ready) -> bool {
        ready.domain.as_ref().is_some_and(|domain| self.domains.pace(domain).is_slow())
    }

    /// Hands over what is marked, as far as there are connections beside those `kept`.
    async fn begin_marked(&self, line: &mut Line, kept: usize) {
        let mut load = line.load(self.parts.connections, self.parts.log.clock().now(), &self.domains);
        let (layout, clock) = (self.parts.store.layout(), self.parts.log.clock());
        for one in std::mem::take(&mut line.marked) {
            if !load.begins(one.ready.domain.as_ref(), kept, &self.domains) {
                line.marked.push(one);
                continue;
            }
            let channel = self.parts.channels.of(one.ready.message.channel).cloned();
            let shard = layout.shard_of(one.ready.message.profile);
            let provider = Provider { channel, leases: self.leases.clone(), shard, clock: clock.clone() };
            line.begin(one, provider).await;
        }
    }

    /// Those that are marked next, in their order; whoever's domain has its share waits and is passed.
    fn choose(&self, line: &mut Line) -> Vec<Ready> {
        let mut load = line.load(self.parts.connections, self.parts.log.clock().now(), &self.domains);
        line.ready.extract_if(.., |one| load.marks(one.domain.as_ref(), &self.domains)).collect()
    }

    /// What goes back into the queue, because it would wait here for long: nothing of it was sent, and no try is spent.
    fn give_back(&self, now: Timestamp, line: &mut Line) -> Vec<Moved> {
        let monotonic = self.parts.log.clock().monotonic();
        let marked = line.marked.extract_if(.., |one| {
            let is_stopped = self.gates.stopped_until(now, one.ready.message.channel).is_some();
            is_stopped || self.is_slow(&one.ready) || monotonic.saturating_sub(one.since) > MARKED_MAX
        });
        let mut back: Vec<Ready> = marked.map(|one| one.ready).collect();
        // Counted where one of them is slow.
        let mut in_hand = None;
        // The last in the line first.
        for at in (0..line.ready.len()).rev() {
            let one = &line.ready[at];
            let waits = one.domain.as_ref().is_some_and(|domain| {
                let (pace, is_patient) = self.domains.condition(now, domain);
                if !pace.is_slow() {
                    return is_patient;
                }
                let in_hand = in_hand.get_or_insert_with(|| line.in_hand());
                let count = in_hand.entry(domain.clone()).or_default();
                let is_back = is_patient || *count > pace.claims(usize::MAX);
                *count = count.saturating_sub(usize::from(is_back));
                is_back
            });
            if waits || monotonic.saturating_sub(one.since) > usable_lease() {
                back.push(line.ready.remove(at));
            }
        }
        let until = |message: &Message| self.gates.stopped_until(now, message.channel).unwrap_or(now);
        let queued = back.into_iter().map(|one| {
            let due_at = until(&one.message);
            Moved::new(one.workspace, one.message, Status::Queued { due_at })
        });
        queued.collect()
    }

    /// Stores what is answered and marks nothing more, until nothing is with a provider; what was not begun goes back.
    ///
    /// # Errors
    /// The database cannot be written. What is not stored by then is found at the next start.
    pub async fn finish(&self) -> anyhow::Result<()> {
        self.inquiry.forget().await;
        let mut line = self.line.lock().await;
        let now = self.now(Timestamp::default());
        let waiting = std::mem::take(&mut line.marked).into_iter().map(|one| one.ready);
        let waiting: Vec<Ready> = waiting.chain(std::mem::take(&mut line.ready)).collect();
        let queued = |one: Ready| Moved::new(one.workspace, one.message, Status::Queued { due_at: now });
        self.keep_unstored(waiting.into_iter().map(queued).collect());
        let mut tries = 0;
        loop {
            let now = self.now(now);
            let answers = line.harvest();
            self.keep_unstored(answers.into_iter().map(|answer| self.conclude(now, answer)).collect());
            // Who is still with a provider is waited for, whatever the database says meanwhile.
            let stored = self.store_unstored(now).await;
            if self.answers.wait().await {
                continue;
            }
            match stored {
                Err(_) if tries < FINISH_TRIES => {
                    tries += 1;
                    tokio::time::sleep(FINISH_AGAIN).await;
                }
                stored => return stored.map(drop),
            }
        }
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
        moves: Vec<Moved>,
        group: Vec<Ready>,
    ) -> anyhow::Result<(Vec<Underway>, usize)> {
        // Nobody else knows what was answered, or that nothing was sent of what is marked.
        let is_known_here = |one: &&Moved| one.answered.is_some() || matches!(one.before, Status::Sending { .. });
        let kept: Vec<Moved> = moves.iter().filter(is_known_here).cloned().collect();
        let monotonic = self.parts.log.clock().monotonic();
        let stopped: BTreeMap<_, _> = group
            .iter()
            .filter_map(|ready| Some((ready.message.channel, self.gates.stopped_until(now, ready.message.channel)?)))
            .collect();
        let over: BTreeSet<MessageId> =
            group.iter().filter(|one| self.is_over(now, one)).map(|one| one.message.id).collect();
        let fences = self.leases.fences();
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
                    let (mut going, mut back) = (Vec::with_capacity(group.len()), Vec::new());
                    let checks = Checks::load(tx, (now, monotonic), &fences, &group).await?;
                    for ready in group {
                        let until = stopped.get(&ready.message.channel).copied();
                        let is_late = monotonic.saturating_sub(ready.since) > usable_lease();
                        if until.is_some() || is_late || over.contains(&ready.message.id) || checks.hold(&ready) {
                            let status = Status::Queued { due_at: until.unwrap_or(now) };
                            back.push(Moved::new(ready.workspace, ready.message, status));
                        } else {
                            going.push(ready);
                        }
                    }
                    let underway = mark(tx, now, monotonic, going).await?;
                    stored.reached.extend(underway.iter().map(|one| Reached::of(&one.ready.message)));
                    store_moves(tx, appender, now, back, &mut stored).await?;
                    Ok((underway, stored))
                })
            })
            .await;
        match result {
            Ok((underway, stored)) => {
                let count = self.count(&stored);
                self.inquiry.tell(stored.given_up.into_iter().map(Word::GivenUp));
                Ok((underway, count))
            }
            Err(error) => {
                self.keep_unstored(kept);
                Err(error)
            }
        }
    }

    /// Whether its time is over since the guard looked: it expired, or quiet hours began. Then the guard is asked again.
    fn is_over(&self, now: Timestamp, ready: &Ready) -> bool {
        let live = self.parts.definitions.live(ready.workspace);
        let holds = |there: &Whereabouts| quiet_hours::holds(now, &live.quiet, &ready.message, there).is_some();
        now >= ready.message.expires_at || ready.soon_quiet.as_deref().is_some_and(holds)
    }

    fn conclude(&self, now: Timestamp, answer: Answer) -> Moved {
        let Answer { one, outcome, took, .. } = answer;
        let Underway { ready: Ready { workspace, mut message, correlation, domain, .. }, attempt, .. } = one;
        // Nothing was sent. If another has taken it up, this step does not fit any more and is left out.
        let Some(outcome) = outcome else { return Moved::new(workspace, message, Status::Queued { due_at: now }) };
        let before = message.status.clone();
        message.advance(now, &outcome, &self.parts.retry);
        if let Some(stopped_until) = self.gates.learn(now, message.channel, domain.as_ref(), &outcome)
            && let Status::Deferred { until, .. } = &mut message.status
        {
            *until = stopped_until;
        }
        if let Some(domain) = domain {
            self.domains.learn(now, &domain, took, &outcome);
        }
        let status = message.status.name();
        let reply = outcome.words();
        let happened = match outcome {
            Outcome::Accepted { .. } => "a message was handed over",
            Outcome::Unknown { .. } => "a message may have been handed over: the answer was lost",
            Outcome::Retry { .. } | Outcome::Rejected { .. } | Outcome::TransportDown { .. } => {
                "a message was not handed over"
            }
        };
        tracing::info!(message = %message.id, %correlation, attempt, status, reply, "{happened}");
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

/// Marks messages as `sending`, together; those that have moved on are left out.
async fn mark<C: ConnectionTrait>(
    tx: &C,
    now: Timestamp,
    since: Duration,
    group: Vec<Ready>,
) -> anyhow::Result<Vec<Underway>> {
    let attempt = |ready: &Ready| ready.message.attempts + 1;
    let mut by_workspace: BTreeMap<WorkspaceId, Vec<(Status, Ready)>> = BTreeMap::new();
    for ready in group {
        let Some(status) = marked(now, &ready.message) else { continue };
        let before = ready.message.status.clone();
        let ready = Ready { message: Message { status, ..ready.message }, ..ready };
        by_workspace.entry(ready.workspace).or_default().push((before, ready));
    }
    let mut underway = Vec::new();
    for (id, here) in by_workspace {
        let steps = here.iter().map(|(expected, ready)| {
            (Step { expected, message: &ready.message }, attempt(ready), ready.correlation.as_str())
        });
        let begun = workspace(tx, id).begin_messages(&steps.collect::<Vec<_>>(), now).await?;
        let begun = here.into_iter().map(|(_, ready)| ready).filter(|ready| begun.contains(&ready.message.id));
        underway.extend(begun.map(|ready| Underway { attempt: attempt(&ready), ready, since }));
    }
    Ok(underway)
}

/// What may have changed since the claim.
struct Checks {
    /// By where the log ended when the guard looked.
    held: Vec<(Arc<Heads>, Held)>,
    books: BTreeMap<WorkspaceId, Addressed>,
}

impl Checks {
    async fn load<C: ConnectionTrait>(
        tx: &C,
        (now, monotonic): (Timestamp, Duration),
        fences: &Fences,
        group: &[Ready],
    ) -> anyhow::Result<Self> {
        let is_old = |ready: &&Ready| monotonic.saturating_sub(ready.since) > READ_UNTIL;
        let mut held: Vec<(Arc<Heads>, Held)> = Vec::new();
        for ready in group {
            if held.iter().any(|(heads, _)| Arc::ptr_eq(heads, &ready.heads)) {
                continue;
            }
            let seen = Seen { heads: Heads::clone(&ready.heads), fences: fences.clone() };
            let together = || group.iter().filter(|one| Arc::ptr_eq(&one.heads, &ready.heads));
            let old = together().filter(is_old).map(|one| (one.message.profile, one.version)).collect();
            let messages = together().map(|one| (one.workspace, &one.message));
            held.push((ready.heads.clone(), Held::load(tx, &seen, messages, &old).await?));
        }
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
        let held = self.held.iter().find(|(heads, _)| Arc::ptr_eq(heads, &ready.heads));
        held.is_none_or(|(_, held)| held.holds(ready.workspace, &ready.message)) || book.is_some_and(is_stopped)
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
