//! Conditions: a tree evaluated for a profile at an instant, with the triggering event where there is one.
//!
//! Evaluation cannot fail and reads no clock; beside the answer it yields the instant until which the answer holds
//! without a new input, so that nothing ever has to poll.

pub mod annotated;
mod cart;
mod compared;
mod engaged;
pub mod needs;
pub mod performed;
mod permission;
mod reachable;
mod sequence;
pub mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use crate::audience::cart::Field;
use crate::audience::computed::ComputedSet;
use crate::audience::consent::ConsentState;
use crate::audience::field::{Found, Place, trait_values};
use crate::audience::period::{Period, zone_of};
use crate::audience::segment::{Answers, SegmentSet};
use crate::audience::value_test::{Reference, Surroundings, Test};
use crate::audience::{Channel, History, Profile};
use crate::event::Event;
use crate::ids::{Position, Timestamp, WorkspaceId, draw};
use crate::money::Exchange;
pub use compared::without_rate;
use compared::{asked, asked_of_trait, fields};

/// A question about a person and, where one is at hand, an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// Every named trait satisfies its test; (path, test) in the order written.
    Trait(Vec<(String, Test)>),
    /// Every named field of the triggering event satisfies its test.
    Event(Vec<(String, Test)>),
    /// One element of an array in the triggering event meets all of it.
    Item {
        path: String,
        filter: Vec<(String, Test)>,
    },
    Performed(Box<Performed>),
    Sequence(Box<Sequence>),
    /// The person meets this segment's condition.
    InSegment(String),
    /// The answer on every named channel is among these; one that still has to be confirmed is unknown.
    Consent(Vec<(String, Vec<ConsentState>)>),
    /// The person gets this topic: by their own choice, else by its default.
    Subscribed(String),
    /// The person has an address for this channel that may be used.
    Reachable(Channel),
    Engaged(Engaged),
    /// Every named field of the cart satisfies its test.
    Cart(Vec<(Field, Test)>),
    /// Nothing is in the cart.
    CartEmpty,
    /// An operator put the person on the list of this static segment.
    Listed(String),
    /// A stable draw from the person and the salt falls below so many of a hundred.
    Random {
        percent: Decimal,
        salt: String,
    },
}

/// The profile has so many such events in the window.
#[derive(Debug, Clone, PartialEq)]
pub struct Performed {
    /// Any of these names.
    pub events: Vec<String>,
    /// Tests on the past event's own fields.
    pub filter: Vec<(String, Test)>,
    /// (path in the entry event, path in the past one): any value equal; missing on either side does not match.
    pub same: Option<(String, String)>,
    pub count: Count,
    pub aggregate: Option<Aggregate>,
    pub net_of: Option<NetOf>,
    pub window: Window,
}

/// A first event was followed by another within a time; or was not, and the time has passed.
///
/// Each first is looked at by itself. Another at the same instant follows where it stands later in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    pub first: Step,
    pub then: Step,
    /// The time passes and none comes.
    pub is_not: bool,
    /// From the first on; none: whenever. Where none may come, there is one.
    pub within: Option<Period>,
    /// (path in the first, path in the other): any value equal. A first without one begins nothing.
    pub same: Option<(String, String)>,
}

/// Events that are one step of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Any of these names.
    pub events: Vec<String>,
    pub filter: Vec<(String, Test)>,
}

/// Something became of a message of ours; what machines did with it does not count.
#[derive(Debug, Clone, PartialEq)]
pub struct Engaged {
    pub act: Act,
    /// The campaign's key.
    pub campaign: String,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The provider took it.
    Received,
    Opened,
    Clicked,
}

/// A message that a provider took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub campaign: String,
    pub at: Timestamp,
}

/// A number over the events that count.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    pub function: Function,
    pub path: String,
    pub test: Test,
}

/// Of no events `Sum` and `Distinct` are zero; the others are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Sum,
    Avg,
    Min,
    Max,
    Distinct,
}

/// Cancellations and refunds: those that name no amount, or together all of it, remove the event; smaller ones reduce
/// its part of the sum. Each applies from its own time on.
///
/// A refund's amount stands where the summed one does, else at `properties.revenue`, else at `properties.total`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetOf {
    /// Any of these names.
    pub events: Vec<String>,
    /// (path in the event, path in its refund): any value equal.
    pub same: (String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub at_least: Option<u32>,
    pub at_most: Option<u32>,
}

/// An event at e is inside `Within(d)` for e ≤ t < e ⊕ d, and inside `Between(a, b)` for e ⊕ a ≤ t < e ⊕ b.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Ever,
    Within(Period),
    Between(Period, Period),
    Since(Timestamp),
    /// Since the enrollment's entry event.
    SinceEntry,
}

/// What conditions know of the workspace, the same for everybody in it.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub workspace: WorkspaceId,
    pub exchange: Exchange,
    pub segments: SegmentSet,
    pub computed: ComputedSet,
    /// Where people live who do not say so; none: UTC.
    pub zone: Option<TimeZone>,
    /// Whether whoever has said nothing gets a topic, by key; of a topic that is not here everybody does.
    pub topics: BTreeMap<String, bool>,
    /// Ids of what entries after this one lead to begin with their instant; those before were decided otherwise.
    pub ids_by_time_after: Position,
}

/// How much of an answer is wanted. Words and instants cost more than yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    Holds,
    /// And until when.
    Until,
    /// And why.
    Because,
}

/// What an evaluation may look at.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub detail: Detail,
    pub now: Timestamp,
    pub terms: &'a Terms,
    /// What segments came to so far, for these facts.
    pub answers: &'a Answers,
    pub profile: &'a Profile,
    /// The triggering event, already part of the history.
    pub event: Option<&'a Event>,
    /// The event that began the enrollment at hand; none where it was not loaded.
    pub entry: Option<&'a Event>,
    /// When the enrollment at hand began.
    pub entry_at: Option<Timestamp>,
    /// The element an `item` looks at.
    pub item: Option<Place<'a>>,
    /// Pages of history older than the profile's recent part; empty unless [`needs::needs`] asked for them.
    pub older: &'a [History],
    /// Past events by position, those [`needs::needs`] asked for.
    pub bodies: &'a BTreeMap<Position, Arc<Event>>,
    /// Messages that [`needs::needs`] asked for.
    pub received: &'a [Received],
}

/// What was loaded of a person's past: older pages, bodies by position, messages.
pub type Past<'a> = (&'a [History], &'a BTreeMap<Position, Arc<Event>>, &'a [Received]);

impl<'a> Facts<'a> {
    /// What is known of a person when nothing of theirs is at hand: no event, no enrollment.
    pub fn of_person(
        now: Timestamp,
        (terms, answers): (&'a Terms, &'a Answers),
        profile: &'a Profile,
        (older, bodies, received): Past<'a>,
    ) -> Self {
        let (event, entry, entry_at, item) = (None, None, None, None);
        Self {
            detail: Detail::Because,
            now,
            terms,
            answers,
            profile,
            event,
            entry,
            entry_at,
            item,
            older,
            bodies,
            received,
        }
    }

    /// An answer in which time plays no part.
    fn constant(&self, holds: bool, because: impl FnOnce() -> String) -> Evaluation {
        Evaluation { holds, until: None, because: self.because(because), currency_unknown: false }
    }

    /// The reason, where somebody asks for it.
    fn because(&self, words: impl FnOnce() -> String) -> String {
        if self.detail == Detail::Because { cut(words()) } else { String::new() }
    }

    /// Where the person lives, else where the workspace is.
    pub fn zone(&self) -> TimeZone {
        zone_of(self.profile).or_else(|| self.terms.zone.clone()).unwrap_or(TimeZone::UTC)
    }
}

/// The answer, and the instant before which it cannot change without a new input.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    pub holds: bool,
    pub until: Option<Timestamp>,
    /// The leaf that decided it, with its operands: `properties.price is 3, wanted gte 5`.
    pub because: String,
    /// That leaf met an amount whose currency has no rate.
    pub currency_unknown: bool,
}

/// Characters of a reason; a tree of a hundred leaves still makes one line.
const BECAUSE_CHARS_MAX: usize = 300;

/// The answer now, and as much of until when, and why, as the facts ask for.
pub fn evaluate(condition: &Condition, facts: &Facts<'_>) -> Evaluation {
    match condition {
        Condition::All(children) => combine(children, facts, false),
        Condition::Any(children) => combine(children, facts, true),
        Condition::Not(child) => {
            let answer = evaluate(child, facts);
            let because = facts.because(|| format!("not ({})", answer.because));
            Evaluation { holds: !answer.holds, because, ..answer }
        }
        Condition::Trait(tests) => fields("trait ", tests, facts, |path, test| asked_of_trait(test, path, facts)),
        Condition::Event(tests) => {
            let place = facts.event.map(Place::event);
            let values = |path: &str| place.map(|place| place.values(path)).unwrap_or_default();
            fields("", tests, facts, |path, test| asked(test, &values(path), facts))
        }
        Condition::Item { path, filter } => item(path, filter, facts),
        Condition::Performed(performed) => performed::evaluate(performed, facts),
        Condition::Sequence(sequence) => sequence::evaluate(sequence, facts),
        Condition::InSegment(key) => in_segment(key, facts),
        Condition::Consent(wanted) => permission::consent(wanted, facts),
        Condition::Subscribed(topic) => permission::subscribed(topic, facts),
        Condition::Reachable(channel) => reachable::evaluate(*channel, facts),
        Condition::Engaged(engaged) => engaged::evaluate(engaged, facts),
        Condition::Cart(tests) => cart::evaluate(tests, facts),
        Condition::CartEmpty => cart::is_empty(facts),
        Condition::Listed(segment) => listed(segment, facts),
        Condition::Random { percent, salt } => random(*percent, salt, facts),
    }
}

impl Surroundings for Facts<'_> {
    fn values(&self, reference: &Reference) -> Vec<Found<'_>> {
        match reference {
            Reference::Event(path) => self.event.map(|event| Place::event(event).values(path)).unwrap_or_default(),
            Reference::Entry(path) => self.entry.map(|event| Place::event(event).values(path)).unwrap_or_default(),
            Reference::Trait(path) => trait_values(self.profile, path, self.now),
            Reference::UserId => {
                let id = self.profile.user_id.clone().into_iter();
                id.map(|id| Found::own(id.into(), self.now)).collect()
            }
            Reference::ProfileId => vec![Found::own(self.profile.id.0.into(), self.now)],
            Reference::Item(path) => self.item.map(|item| item.values(path)).unwrap_or_default(),
            Reference::Cart(field) => self.cart().found(*field, self.exchange()).into_iter().collect(),
        }
    }

    fn exchange(&self) -> &Exchange {
        &self.terms.exchange
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn zone(&self) -> TimeZone {
        Facts::zone(self)
    }
}

/// All or any: one child with the answer `decisive` settles it.
fn combine(children: &[Condition], facts: &Facts<'_>, decisive: bool) -> Evaluation {
    if facts.detail == Detail::Holds {
        let is_settled = children.iter().any(|child| evaluate(child, facts).holds == decisive);
        return facts.constant(is_settled == decisive, String::new);
    }
    let answers: Vec<Evaluation> = children.iter().map(|child| evaluate(child, facts)).collect();
    if answers.iter().any(|answer| answer.holds == decisive) {
        let settling = || answers.iter().filter(|answer| answer.holds == decisive);
        // It stays settled as long as any one child stays decisive.
        let lasts = settling().map(|answer| answer.until.ok_or(())).collect::<Result<Vec<_>, ()>>();
        let first = settling().next();
        return Evaluation {
            holds: decisive,
            until: lasts.ok().and_then(|all| all.into_iter().max()),
            because: first.map(|answer| answer.because.clone()).unwrap_or_default(),
            currency_unknown: first.is_some_and(|answer| answer.currency_unknown),
        };
    }
    let until = answers.iter().filter_map(|answer| answer.until).min();
    let because = facts.because(|| match answers.len() {
        0 => "an empty list of conditions".to_owned(),
        _ => answers.iter().map(|answer| answer.because.as_str()).collect::<Vec<_>>().join(" and "),
    });
    let currency_unknown = answers.iter().any(|answer| answer.currency_unknown);
    Evaluation { holds: !decisive, until, because, currency_unknown }
}

/// One element meets all of it.
fn item(path: &str, filter: &[(String, Test)], facts: &Facts<'_>) -> Evaluation {
    let elements = facts.event.map(|event| Place::event(event).elements(path)).unwrap_or_default();
    let mut answers = Vec::with_capacity(elements.len());
    for element in &elements {
        let facts = Facts { item: Some(*element), ..*facts };
        let answer =
            fields(&format!("{path}: "), filter, &facts, |path, test| asked(test, &element.values(path), &facts));
        if answer.holds {
            return answer;
        }
        answers.push(answer);
    }
    let because = || match answers.as_slice() {
        [] => format!("{path} has no element"),
        [only] => only.because.clone(),
        [first, ..] => {
            format!("none of {} elements of {path} meets all of it; the first: {}", answers.len(), first.because)
        }
    };
    Evaluation {
        // Any of them may come to meet it.
        until: answers.iter().filter_map(|answer| answer.until).min(),
        currency_unknown: answers.iter().any(|answer| answer.currency_unknown),
        ..facts.constant(false, because)
    }
}

fn in_segment(key: &str, facts: &Facts<'_>) -> Evaluation {
    match facts.terms.segments.evaluate(key, facts) {
        Some(answer) => {
            let words = if answer.holds { "in segment" } else { "not in segment" };
            Evaluation { because: facts.because(|| format!("{words} {key} ({})", answer.because)), ..answer }
        }
        None => facts.constant(false, || format!("there is no segment {key}")),
    }
}

fn listed(segment: &str, facts: &Facts<'_>) -> Evaluation {
    match facts.profile.remembered.lists.get(segment) {
        Some(since) => facts.constant(true, || format!("on the list of {segment} since {since}")),
        None => facts.constant(false, || format!("not on the list of {segment}")),
    }
}

/// The draw is the same for the same person and salt for ever; a merge keeps the surviving profile's.
fn random(percent: Decimal, salt: &str, facts: &Facts<'_>) -> Evaluation {
    let profile = facts.profile.id;
    let parts = [&facts.terms.workspace.0.to_le_bytes()[..], &profile.0.to_le_bytes(), b"random", salt.as_bytes()];
    // In millionths: as fine as a percentage is written.
    let drawn = Decimal::from(draw(&parts) % 100_000_000) / Decimal::from(1_000_000);
    facts.constant(drawn < percent, || format!("random {salt} drew {drawn} of 100, wanted below {percent}"))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(BECAUSE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
