//! What a dispatcher has in hand between claim and outcome: messages ready to go, messages marked `sending` that wait
//! for a connection, and messages with their provider. Whoever hangs holds its own place and nobody else's.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::audience::Whereabouts;
use crate::channel;
use crate::clock::{Clock, Stopwatch};
use crate::ids::{Span, Timestamp, TraceContext, WorkspaceId};
use crate::message::{Channel, Message, Outcome, Purpose, Status};
use crate::render::Rendered;
use crate::store::shards::{Heads, Shard};
use crate::telemetry;
use crate::telemetry::traces::TraceSpan;
use crate::worker::dispatcher::claim::LEASE;
use crate::worker::dispatcher::domains::{Domain, Domains, Pace, Share};
use crate::worker::leases::Leases;

/// Who is quick has answered by then.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// A claimed message with its content.
pub struct Ready {
    pub workspace: WorkspaceId,
    pub message: Message,
    pub rendered: Rendered,
    /// Where the log ended when the guard looked, and the version of the person's row.
    pub heads: Arc<Heads>,
    pub version: i64,
    /// Of whom quiet hours begin before the claim runs out: where they are.
    pub soon_quiet: Option<Box<Whereabouts>>,
    pub domain: Option<Domain>,
    /// Monotonic time of its claim.
    pub since: Duration,
    pub correlation: String,
    /// The span of the request that led to it.
    pub trace: Option<TraceContext>,
}

/// A message marked `sending`.
pub struct Underway {
    pub ready: Ready,
    pub attempt: u32,
    /// Monotonic time of the mark.
    pub since: Duration,
}

/// What came of a message that was handed over.
pub struct Answer {
    number: u64,
    pub one: Underway,
    /// None: it was not handed over, because its shard may be another process's by now.
    pub outcome: Option<Outcome>,
    /// How long its provider had it.
    pub took: Span,
}

/// Answers that came and were not looked at. Cheap to clone.
#[derive(Clone, Default)]
pub struct Answers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    came: Mutex<Vec<Answer>>,
    bell: Notify,
    /// Messages with a provider, or back from one and not looked at.
    open: AtomicUsize,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.0.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, answer: Answer) {
        self.lock().push(answer);
        self.0.bell.notify_waiters();
    }

    /// Waits for an answer; false if no message is with a provider.
    pub async fn wait(&self) -> bool {
        loop {
            let mut rung = std::pin::pin!(self.0.bell.notified());
            rung.as_mut().enable();
            if !self.lock().is_empty() {
                return true;
            }
            if self.0.open.load(Ordering::SeqCst) == 0 {
                return false;
            }
            rung.await;
        }
    }

    /// Messages with a provider whose answer has not come.
    pub fn missing(&self) -> usize {
        let came = self.lock().len();
        self.0.open.load(Ordering::SeqCst).saturating_sub(came)
    }
}

/// One message with its provider.
struct Talk {
    number: u64,
    channel: Channel,
    domain: Option<Domain>,
    /// When it was marked.
    marked: Timestamp,
    /// Monotonic time of its beginning.
    began: Duration,
}

pub struct Line {
    pub ready: Vec<Ready>,
    pub marked: Vec<Underway>,
    talks: Vec<Talk>,
    answers: Answers,
    /// Ends them with the dispatcher.
    tasks: JoinSet<()>,
    numbers: u64,
}

/// What is needed to hand a message over.
pub struct Provider {
    pub channel: Option<Arc<dyn channel::Channel>>,
    pub leases: Leases,
    pub shard: Shard,
    pub clock: Clock,
}

impl Line {
    pub fn new(answers: Answers) -> Self {
        let (ready, marked, talks) = (Vec::new(), Vec::new(), Vec::new());
        Self { ready, marked, talks, answers, tasks: JoinSet::new(), numbers: 0 }
    }

    /// Behind those that are ready: transactional ones before marketing.
    pub fn queue(&mut self, ready: Vec<Ready>) {
        self.ready.extend(ready);
        self.ready.sort_by_key(|one| one.message.purpose == Purpose::Marketing);
    }

    /// Messages of a domain from claim to outcome.
    pub fn in_hand(&self) -> BTreeMap<Domain, usize> {
        let mut counts = BTreeMap::new();
        let waiting = self.ready.iter().chain(self.marked.iter().map(|one| &one.ready)).map(|one| &one.domain);
        for domain in waiting.chain(self.talks.iter().map(|talk| &talk.domain)).flatten() {
            *counts.entry(domain.clone()).or_default() += 1;
        }
        counts
    }

    /// Tells of each domain how long its oldest message has had no answer.
    pub fn watch(&self, now: Timestamp, monotonic: Duration, domains: &Domains) {
        for talk in &self.talks {
            if let Some(domain) = &talk.domain {
                domains.hangs(now, domain, span(monotonic.saturating_sub(talk.began)));
            }
        }
    }

    /// When the newest message of each channel was claimed or, if it is further, marked.
    pub fn newest(&self) -> BTreeMap<Channel, Timestamp> {
        let mut newest = BTreeMap::new();
        let waiting = self.ready.iter().chain(self.marked.iter().map(|one| &one.ready));
        let waiting = waiting.map(|one| (one.message.channel, in_hand_since(&one.message)));
        for (channel, at) in waiting.chain(self.talks.iter().map(|talk| (talk.channel, talk.marked))) {
            let known = newest.entry(channel).or_insert(at);
            *known = at.max(*known);
        }
        newest
    }

    /// Whether answers came that were not looked at.
    pub fn is_answered(&self) -> bool {
        !self.answers.lock().is_empty()
    }

    /// Hands a message over. What is answered at once is answered here, in order; the rest goes on by itself.
    pub async fn begin(&mut self, one: Underway, provider: Provider) {
        self.numbers += 1;
        let (number, began) = (self.numbers, provider.clock.monotonic());
        let (channel, marked) = (one.ready.message.channel, in_hand_since(&one.ready.message));
        let domain = one.ready.domain.clone();
        let mut sending = Box::pin(async move {
            let handed = AssertUnwindSafe(hand_over(&one, &provider)).catch_unwind().await;
            // Nobody knows how far it came.
            let lost = |_| Some(Outcome::Unknown { cause: "the channel failed".to_owned() });
            let took = span(provider.clock.monotonic().saturating_sub(began));
            Answer { number, outcome: handed.unwrap_or_else(lost), one, took }
        });
        self.talks.push(Talk { number, channel, domain, marked, began });
        self.answers.0.open.fetch_add(1, Ordering::SeqCst);
        let answers = self.answers.clone();
        match futures::poll!(sending.as_mut()) {
            Poll::Ready(answer) => answers.put(answer),
            Poll::Pending => {
                self.tasks.spawn(async move { answers.put(sending.await) });
            }
        }
    }

    /// The answers that came, in the order in which they came.
    pub fn harvest(&mut self) -> Vec<Answer> {
        while self.tasks.try_join_next().is_some() {}
        let came = std::mem::take(&mut *self.answers.lock());
        self.talks.retain(|talk| came.iter().all(|answer| answer.number != talk.number));
        self.answers.0.open.store(self.talks.len(), Ordering::SeqCst);
        came
    }

    /// What will be with its provider soon: who has had no answer for a while may have none for long.
    pub fn stuck(&self, connections: usize, clock: &Clock, domains: &Domains) -> Load {
        let (mut load, monotonic) = (Load::of_nothing(connections, clock.now()), clock.monotonic());
        for talk in self.talks.iter().filter(|talk| monotonic.saturating_sub(talk.began) > STUCK_AFTER) {
            load.add_talk(talk.domain.as_ref(), domains);
        }
        load
    }

    /// What is in `sending` at present.
    pub fn load(&self, connections: usize, now: Timestamp, domains: &Domains) -> Load {
        let mut load = Load::of_nothing(connections, now);
        for talk in &self.talks {
            load.add_talk(talk.domain.as_ref(), domains);
        }
        for one in &self.marked {
            load.add_marked(one.ready.domain.as_ref(), domains);
        }
        load
    }
}

/// How many messages are in `sending`, and how many of them with their provider.
#[derive(Debug, Default)]
pub struct Load {
    connections: usize,
    now: Timestamp,
    talking: usize,
    sending: usize,
    /// Of slow domains.
    slow: usize,
    /// Of slow domains, not with their provider yet.
    slow_waiting: usize,
    /// Of domains that have not answered yet: with their provider, and all.
    fresh: (usize, usize),
    of: BTreeMap<Domain, (usize, usize)>,
}

impl Load {
    fn of_nothing(connections: usize, now: Timestamp) -> Self {
        Self { connections, now, ..Self::default() }
    }

    fn add_talk(&mut self, domain: Option<&Domain>, domains: &Domains) {
        self.add_marked(domain, domains);
        self.slow_waiting -= usize::from(pace_of(domain, domains).is_slow());
        self.begin(domain, domains);
    }

    fn begin(&mut self, domain: Option<&Domain>, domains: &Domains) {
        self.talking += 1;
        self.fresh.0 += usize::from(pace_of(domain, domains) == Pace::Fresh);
        if let Some(domain) = domain {
            self.of.entry(domain.clone()).or_default().0 += 1;
        }
    }

    fn add_marked(&mut self, domain: Option<&Domain>, domains: &Domains) {
        let pace = pace_of(domain, domains);
        let is_slow = usize::from(pace.is_slow());
        self.sending += 1;
        (self.slow, self.slow_waiting) = (self.slow + is_slow, self.slow_waiting + is_slow);
        self.fresh.1 += usize::from(pace == Pace::Fresh);
        if let Some(domain) = domain {
            self.of.entry(domain.clone()).or_default().1 += 1;
        }
    }

    fn of(&self, domain: Option<&Domain>) -> (usize, usize) {
        domain.and_then(|domain| self.of.get(domain)).copied().unwrap_or_default()
    }

    /// Channels without domains have none.
    fn share_of(&self, domain: Option<&Domain>, domains: &Domains) -> Option<Share> {
        domain.map(|domain| domains.share(self.now, domain, self.connections))
    }

    /// Whether one of these places, so many for each connection, is free for a domain of this pace that has `own`. The last
    /// quarter is for those that have none: of domains that have answered any, of the others one at a time, of slow ones
    /// none. So however many domains begin to hang at once, each of them takes one place of it.
    fn is_free(&self, (taken, each): (usize, usize), pace: Pace, own: usize, fresh: usize) -> bool {
        match (each * self.connections).saturating_sub(taken) {
            0 => false,
            free if free > each * (self.connections / 4) => true,
            _ => own == 0 && (pace == Pace::Quick || (pace == Pace::Fresh && fresh == 0)),
        }
    }

    /// Slow domains have half of the connections together, and none of them waits for a place once it is marked: what is
    /// marked and does not begin goes back, and would be marked again at once.
    fn has_lane(&self, pace: Pace) -> bool {
        let taken = (self.talking + self.slow_waiting, 1);
        !pace.is_slow() || (self.is_free(taken, pace, 0, 0) && self.slow < (self.connections / 2).max(1))
    }

    /// Whether one more of this domain may be marked; then it counts.
    pub fn marks(&mut self, domain: Option<&Domain>, domains: &Domains) -> bool {
        if self.sending >= 2 * self.connections {
            return false;
        }
        let pace = pace_of(domain, domains);
        let ((_, own), (_, fresh)) = (self.of(domain), self.fresh);
        let has_share = self.share_of(domain, domains).is_none_or(|share| own < share.sending);
        // What is slow has its lane.
        let has_place = pace.is_slow() || self.is_free((self.sending, 2), pace, own, fresh);
        let fits = has_share && has_place && self.has_lane(pace);
        if fits {
            self.add_marked(domain, domains);
        }
        fits
    }

    /// Whether one more of this domain, marked before, may be handed over, where so many places are kept for others; then
    /// it counts.
    pub fn begins(&mut self, domain: Option<&Domain>, kept: usize, domains: &Domains) -> bool {
        if self.talking + kept >= self.connections {
            return false;
        }
        let pace = pace_of(domain, domains);
        let ((own, _), (fresh, _)) = (self.of(domain), self.fresh);
        let has_share = self.share_of(domain, domains).is_none_or(|share| own < share.connections);
        let taken = self.talking + kept;
        // Whoever is slow was marked for a place.
        let fits = has_share && (pace.is_slow() || self.is_free((taken, 1), pace, own, fresh));
        if fits {
            self.begin(domain, domains);
        }
        fits
    }
}

/// Channels without domains are as if theirs had answered.
fn pace_of(domain: Option<&Domain>, domains: &Domains) -> Pace {
    domain.map_or(Pace::Quick, |domain| domains.pace(domain))
}

fn span(duration: Duration) -> Span {
    Span::from_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn in_hand_since(message: &Message) -> Timestamp {
    match message.status {
        Status::Claimed { lease_until, .. } => lease_until.plus_millis(-LEASE.millis()),
        Status::Sending { since, .. } => since,
        _ => Timestamp::default(),
    }
}

async fn hand_over(one: &Underway, provider: &Provider) -> Option<Outcome> {
    // A process that was frozen wakes up here: its people may be another's by now.
    if !provider.leases.is_sure(provider.shard, provider.clock.boot_time()) {
        return None;
    }
    let message = &one.ready.message;
    let mut span = TraceSpan::of_call("send", one.ready.trace);
    span.note("carillon.campaign", || message.campaign.clone());
    span.note("carillon.channel", || message.channel.as_str());
    span.note("carillon.message", || message.id.to_string());
    let watch = Stopwatch::start();
    let outcome = match &provider.channel {
        Some(channel) => channel.send(&one.ready.rendered).await,
        None => Outcome::TransportDown { cause: "no provider is set up for this channel".to_owned() },
    };
    telemetry::attempt_ended(message.channel.as_str(), outcome.name(), watch.elapsed());
    span.note("carillon.outcome", || outcome.name());
    if !matches!(outcome, Outcome::Accepted { .. }) {
        span.failed(|| outcome.words().to_owned());
    }
    Some(outcome)
}
