//! Recipients' domains: what each is known to do, and so how many connections it may hold. A domain that is slow, or
//! asked for patience, waits by itself; nobody else waits for it. Kept in memory alone, by each process for itself:
//! after a restart the first tries find out again, and whose mail waits is read from the database.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{Span, Timestamp};
use crate::message::{Channel, Message, Outcome, Purpose};

/// A send that took longer makes its domain a slow one.
pub const SLOW_AFTER: Span = Span::from_seconds(5);
/// How long a domain that asked for patience is left alone; each time in a row twice as long.
const PATIENCE: Span = Span::from_seconds(60);
const PATIENCE_MAX: Span = Span::from_seconds(3_600);
/// Between the turns of two messages that wait for the same domain.
const TURN_MIN: Span = Span::from_seconds(1);
const TURN_MAX: Span = Span::from_seconds(60);
/// Messages of one slow domain that are claimed at once.
const SLOW_CLAIMS: usize = 4;
/// Domains remembered, and how many of them make room when there are too many.
const DOMAINS_MAX: usize = 10_000;
const FORGOTTEN_TOGETHER: usize = DOMAINS_MAX / 8;

/// Whose mail server takes it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

impl Domain {
    /// E-mail alone has domains that differ.
    pub fn of(channel: Channel, address: &str) -> Option<Self> {
        let (_, domain) = address.rsplit_once('@').filter(|_| channel == Channel::Email)?;
        Some(Self(domain.into()))
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// How quickly a domain's mail is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// No answer yet.
    #[default]
    Fresh,
    Quick,
    /// The last send took this long, or the domain asked for patience.
    Slow {
        took: Span,
    },
}

/// What one domain may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Messages with the provider.
    pub connections: usize,
    /// Messages marked `sending`, those included.
    pub sending: usize,
}

impl Pace {
    /// Of so many connections, where so many answers came lately. Whoever is quick has one place more than it answered, so
    /// that nobody who begins to hang has taken more than it was seen to manage, and leaves a quarter to others, whom it
    /// could not hold up even with all it has; whoever is unknown begins with one, for many may hang at once.
    fn share(self, connections: usize, answered: usize) -> Share {
        let quarter = (connections / 4).max(1);
        match self {
            Self::Fresh => Share { connections: 1, sending: 1 },
            Self::Quick => {
                let places = connections.saturating_sub(quarter).max(1).min(answered + 1);
                Share { connections: places, sending: 2 * places }
            }
            Self::Slow { .. } => Share { connections: 1, sending: 1 },
        }
    }

    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Slow { .. })
    }

    /// How many messages of one domain are claimed ahead.
    pub const fn claims(self, batch: usize) -> usize {
        match self {
            Self::Fresh => batch,
            Self::Quick => usize::MAX,
            Self::Slow { .. } => SLOW_CLAIMS,
        }
    }

    /// How many of the messages that wait for a domain are called up to be due together, where so many are in hand.
    /// Whoever is unknown or slow gets the next when there is room for it; whoever is quick takes what comes.
    pub const fn calls(self, batch: usize, in_hand: usize) -> usize {
        match self {
            Self::Fresh => SLOW_CLAIMS.saturating_sub(in_hand),
            Self::Quick => batch,
            Self::Slow { .. } => 1_usize.saturating_sub(in_hand),
        }
    }
}

#[derive(Default)]
pub struct Domains(Mutex<State>);

#[derive(Default)]
struct State {
    known: BTreeMap<Domain, Known>,
    /// Domains of which messages wait in the database.
    waited_for: BTreeSet<Domain>,
    /// The last of them that was looked at.
    last: Option<Domain>,
}

/// How many answers came in this stretch of time, and in the one before.
#[derive(Default)]
struct Answered {
    stretch: i64,
    now: usize,
    before: usize,
}

impl Answered {
    /// As long as a domain may take and be quick: so whoever is busy with all its places keeps them.
    fn at(now: Timestamp) -> i64 {
        now.millis().div_euclid(SLOW_AFTER.millis())
    }

    fn add(&mut self, now: Timestamp) {
        let stretch = Self::at(now);
        if stretch != self.stretch {
            let before = if stretch == self.stretch + 1 { self.now } else { 0 };
            *self = Self { stretch, now: 0, before };
        }
        self.now += 1;
    }

    /// Lately: in five to ten seconds.
    fn lately(&self, now: Timestamp) -> usize {
        match Self::at(now) - self.stretch {
            0 => self.now + self.before,
            1 => self.now,
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Known {
    pace: Pace,
    answered: Answered,
    /// How often in a row it asked for patience, and until when it has it.
    refusals: u32,
    patience: Option<Timestamp>,
    /// The turn of whoever waits last, by lane.
    turns: BTreeMap<Lane, Timestamp>,
    /// When something was last learned of it, or had to wait for it.
    used: Timestamp,
}

/// Of those that wait for a domain, whoever was tried before, and a password, does not wait behind a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    First,
    Campaign,
}

impl Lane {
    pub fn of(message: &Message) -> Self {
        match message.purpose {
            Purpose::Marketing if message.attempts == 0 => Self::Campaign,
            Purpose::Marketing | Purpose::Transactional => Self::First,
        }
    }
}

impl Domains {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pace(&self, domain: &Domain) -> Pace {
        self.lock().known.get(domain).map_or(Pace::Fresh, |known| known.pace)
    }

    /// What it may have at once of so many connections.
    pub fn share(&self, now: Timestamp, domain: &Domain, connections: usize) -> Share {
        let state = self.lock();
        let known = state.known.get(domain);
        let (pace, answered) = known.map_or_else(Default::default, |known| (known.pace, known.answered.lately(now)));
        pace.share(connections, answered)
    }

    /// How quickly it takes mail, and whether it asked for patience.
    pub fn condition(&self, now: Timestamp, domain: &Domain) -> (Pace, bool) {
        let state = self.lock();
        let Some(known) = state.known.get(domain) else { return (Pace::Fresh, false) };
        (known.pace, known.patience.is_some_and(|until| now < until))
    }

    /// Until when the domain asked for patience.
    pub fn patient_until(&self, now: Timestamp, domain: &Domain) -> Option<Timestamp> {
        self.lock().known.get(domain)?.patience.filter(|until| now < *until)
    }

    /// Something sent to it has had no answer for so long.
    pub fn hangs(&self, now: Timestamp, domain: &Domain, took: Span) {
        if took > SLOW_AFTER {
            self.change(now, domain, |known| known.pace = Pace::Slow { took });
        }
    }

    /// Learns from an answer that took so long.
    pub fn learn(&self, now: Timestamp, domain: &Domain, took: Span, outcome: &Outcome) {
        self.change(now, domain, |known| match outcome {
            Outcome::TransportDown { .. } => {}
            Outcome::Retry { slow_domain: true, .. } => known.ask_for_patience(now, took),
            Outcome::Accepted { .. } | Outcome::Retry { .. } | Outcome::Rejected { .. } | Outcome::Unknown { .. } => {
                known.pace = if took > SLOW_AFTER { Pace::Slow { took } } else { Pace::Quick };
                known.answered.add(now);
                if matches!(outcome, Outcome::Accepted { .. }) {
                    (known.refusals, known.patience) = (0, None);
                }
            }
        });
    }

    /// When a message that the domain has no room for is looked at at the latest: one after the other, as quickly as the
    /// domain takes them, after its patience. Whoever waits is called up before, when there is room.
    pub fn next_turn(&self, now: Timestamp, domain: &Domain, lane: Lane) -> Timestamp {
        self.lock().waited_for.insert(domain.clone());
        self.change(now, domain, |known| {
            let pace = match known.pace {
                Pace::Slow { took } => took.max(TURN_MIN).min(TURN_MAX),
                Pace::Fresh | Pace::Quick => TURN_MIN,
            };
            let last = known.turns.entry(lane).or_default();
            *last = match known.patience.filter(|until| now < *until && *last < *until) {
                Some(until) => until,
                None => (*last).max(now).plus(pace),
            };
            *last
        })
    }

    /// Messages of these domains wait.
    pub fn wait(&self, domains: Vec<String>) {
        self.lock().waited_for.extend(domains.into_iter().map(|name| Domain(name.into())));
    }

    /// Nothing of the domain waits any more.
    pub fn served(&self, domain: &Domain) {
        let mut state = self.lock();
        state.waited_for.remove(domain);
        if let Some(known) = state.known.get_mut(domain) {
            known.turns.clear();
        }
    }

    /// The next domains of which messages wait, and that may take one: in turn, at most so many.
    pub fn waited_for(&self, now: Timestamp, limit: usize) -> Vec<Domain> {
        let mut state = self.lock();
        let behind = match &state.last {
            Some(last) => (Bound::Excluded(last.clone()), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let is_patient = |domain: &&Domain| {
            state.known.get(*domain).and_then(|known| known.patience).is_some_and(|until| now < until)
        };
        let (rest, first) = (state.waited_for.range(behind), state.waited_for.iter());
        let in_turn = rest.chain(first).take(state.waited_for.len()).filter(|domain| !is_patient(domain));
        let found: Vec<Domain> = in_turn.take(limit).cloned().collect();
        state.last = found.last().cloned();
        found
    }

    fn change<T>(&self, now: Timestamp, domain: &Domain, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut state = self.lock();
        if state.known.len() >= DOMAINS_MAX && !state.known.contains_key(domain) {
            state.forget();
        }
        let known = state.known.entry(domain.clone()).or_default();
        known.used = now;
        change(known)
    }
}

impl State {
    /// The quick ones lose least: they are found quick again by their next answer. Then whoever was not heard of longest.
    fn forget(&mut self) {
        let mut domains: Vec<_> =
            self.known.iter().map(|(domain, known)| (known.pace.is_slow(), known.used, domain.clone())).collect();
        domains.sort_unstable();
        for (.., domain) in domains.into_iter().take(FORGOTTEN_TOGETHER) {
            self.known.remove(&domain);
        }
    }
}

impl Known {
    fn ask_for_patience(&mut self, now: Timestamp, took: Span) {
        self.pace = Pace::Slow { took };
        // Messages under way together are refused together: that is one refusal.
        if self.patience.is_some_and(|until| now < until) {
            return;
        }
        let factor = 1_i64.checked_shl(self.refusals.min(20)).unwrap_or(i64::MAX);
        let patience = Span::from_millis(PATIENCE.millis().saturating_mul(factor)).min(PATIENCE_MAX);
        self.refusals += 1;
        self.patience = Some(now.plus(patience));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_772_000_000_000 + second * 1_000)
    }

    fn domain(name: &str) -> Domain {
        Domain::of(Channel::Email, &format!("ann@{name}")).unwrap()
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { reply: String::new() }
    }

    fn busy() -> Outcome {
        Outcome::Retry { cause: "421 too fast".into(), after: None, slow_domain: true, about_recipient: false }
    }

    #[test]
    fn a_domain_that_asks_again_and_again_is_left_alone_ever_longer_and_no_other_is() {
        let (domains, slow, other) = (Domains::default(), domain("slow.example"), domain("other.example"));
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..8 {
            domains.learn(now, &slow, Span::ZERO, &busy());
            domains.learn(now, &slow, Span::ZERO, &busy());
            let until = domains.patient_until(now, &slow).unwrap();
            waits.push((until.millis() - now.millis()) / 1_000);
            now = until;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!((domains.patient_until(now, &slow), domains.patient_until(at(1), &other)), (None, None));
        assert!(domains.pace(&slow).is_slow() && domains.pace(&other) == Pace::Fresh);
        domains.learn(now, &slow, Span::ZERO, &accepted());
        assert_eq!(domains.pace(&slow), Pace::Quick);
        domains.learn(now, &slow, Span::ZERO, &busy());
        assert_eq!(domains.patient_until(now, &slow), Some(now.plus(PATIENCE)), "it begins anew");
    }

    #[test]
    fn a_domain_is_slow_while_something_hangs_or_took_long_and_quick_after_an_answer_in_time() {
        let (domains, slow) = (Domains::default(), domain("slow.example"));
        domains.hangs(at(5), &slow, Span::from_seconds(5));
        assert_eq!(domains.pace(&slow), Pace::Fresh, "five seconds are no sign yet");
        domains.hangs(at(6), &slow, Span::from_seconds(6));
        assert_eq!(domains.pace(&slow), Pace::Slow { took: Span::from_seconds(6) });
        domains.learn(at(30), &slow, Span::from_seconds(30), &accepted());
        assert_eq!(domains.pace(&slow), Pace::Slow { took: Span::from_seconds(30) });
        domains.learn(at(31), &slow, Span::from_seconds(1), &Outcome::TransportDown { cause: "535".into() });
        assert!(domains.pace(&slow).is_slow(), "a wrong login says nothing of the domain");
        let refused = Outcome::Rejected { cause: "550".into(), suppress: true };
        domains.learn(at(32), &slow, Span::from_seconds(1), &refused);
        assert_eq!(domains.pace(&slow), Pace::Quick);
    }

    #[test]
    fn what_waits_for_a_domain_has_its_turn_as_quickly_as_the_domain_takes_mail_and_after_its_patience() {
        let (domains, slow) = (Domains::default(), domain("slow.example"));
        let turns = |now, lane| -> Vec<Timestamp> { (0..4).map(|_| domains.next_turn(now, &slow, lane)).collect() };
        assert_eq!(turns(at(0), Lane::Campaign), [at(1), at(2), at(3), at(4)], "nothing is known of it yet");
        domains.learn(at(0), &slow, Span::from_seconds(40), &accepted());
        assert_eq!(turns(at(0), Lane::Campaign), [at(44), at(84), at(124), at(164)]);
        assert_eq!(turns(at(0), Lane::First), [at(40), at(80), at(120), at(160)], "not behind a campaign");
        domains.served(&slow);
        domains.learn(at(200), &slow, Span::ZERO, &busy());
        assert_eq!(turns(at(200), Lane::Campaign), [at(260), at(261), at(262), at(263)]);
    }

    #[test]
    fn of_the_domains_that_are_waited_for_each_is_looked_at_in_turn_and_none_that_wants_patience() {
        let domains = Domains::default();
        let named = |found: Vec<Domain>| found.iter().map(|domain| domain.name().to_owned()).collect::<Vec<_>>();
        assert!(domains.waited_for(at(0), 2).is_empty());
        domains.wait(["a", "b", "d"].map(|name| format!("{name}.example")).to_vec());
        domains.next_turn(at(0), &domain("c.example"), Lane::Campaign);
        assert_eq!(named(domains.waited_for(at(0), 2)), ["a.example", "b.example"]);
        domains.learn(at(0), &domain("c.example"), Span::ZERO, &busy());
        assert_eq!(named(domains.waited_for(at(0), 2)), ["d.example", "a.example"]);
        domains.served(&domain("b.example"));
        assert_eq!(named(domains.waited_for(at(60), 9)), ["c.example", "d.example", "a.example"]);
    }

    #[test]
    fn nobody_can_hold_every_connection_where_there_are_two() {
        for connections in 2..100 {
            for pace in [Pace::Fresh, Pace::Quick, Pace::Slow { took: SLOW_AFTER }] {
                let share = pace.share(connections, 1_000);
                assert!((1..connections).contains(&share.connections), "{pace:?} {connections} {share:?}");
                assert!((share.connections..=2 * share.connections).contains(&share.sending), "{pace:?} {share:?}");
            }
        }
        assert_eq!(Pace::Quick.share(1, 1_000), Share { connections: 1, sending: 2 });
    }

    #[test]
    fn a_quick_domain_has_one_place_more_than_it_answered_lately_and_keeps_what_it_is_busy_with() {
        let (domains, busy) = (Domains::default(), domain("busy.example"));
        let places = |now| domains.share(now, &busy, 16).connections;
        assert_eq!(places(at(0)), 1);
        let (mut now, mut all) = (at(0), Vec::new());
        // It takes almost five seconds for each, however many it has at once.
        for _ in 0..6 {
            all.push(places(now));
            now = now.plus(Span::from_millis(4_900));
            (0..*all.last().unwrap()).for_each(|_| domains.learn(now, &busy, Span::from_millis(4_900), &accepted()));
        }
        assert_eq!(all[..2], [1, 2]);
        assert!(all.is_sorted() && all[5] == 12, "{all:?}");
        assert_eq!(places(now.plus(Span::from_seconds(11))), 1, "what it did long ago shows nothing");
    }

    #[test]
    fn the_memory_is_bounded_and_the_slow_are_remembered_longest() {
        let domains = Domains::default();
        domains.learn(at(0), &domain("slow.example"), Span::ZERO, &busy());
        for n in 0..DOMAINS_MAX + 10 {
            domains.learn(at(1), &domain(&format!("{n}.example")), Span::ZERO, &accepted());
        }
        assert!(domains.lock().known.len() <= DOMAINS_MAX);
        assert!(domains.pace(&domain("slow.example")).is_slow());
        for n in 0..DOMAINS_MAX + 10 {
            domains.learn(at(1), &domain(&format!("{n}.example")), Span::ZERO, &busy());
        }
        assert!(domains.lock().known.len() <= DOMAINS_MAX);
        domains.learn(at(100), &domain("late.example"), Span::ZERO, &busy());
        assert!(domains.pace(&domain("late.example")).is_slow(), "old ones made room");
    }

    #[test]
    fn a_domain_that_hangs_is_found_slow_after_a_day_on_which_every_domain_was() {
        let domains = Domains::default();
        for n in 0..DOMAINS_MAX {
            let (now, domain) = (at(i64::try_from(n).unwrap()), domain(&format!("{n}.example")));
            domains.learn(now, &domain, Span::from_seconds(6), &accepted());
        }
        let later = at(86_400);
        domains.hangs(later, &domain("hangs.example"), Span::from_seconds(6));
        assert!(domains.pace(&domain("hangs.example")).is_slow());
        assert_eq!(domains.pace(&domain("0.example")), Pace::Fresh, "the one not heard of for longest made room");
        assert!(domains.pace(&domain(&format!("{}.example", DOMAINS_MAX - 1))).is_slow());
    }
}
