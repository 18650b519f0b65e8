//! Segments: saved conditions, who meets them, and since when.
//!
//! A segment's condition sees the person alone; it may build on other segments. What a person's standing in each was
//! when last looked at is kept with the profile, so that entering and leaving are seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audience::cart::CART_EVENTS;
use crate::audience::condition::needs::{self, Needs};
use crate::audience::condition::{Condition, Evaluation, Facts, evaluate};
use crate::audience::suppression::REACH_CHANGED;
use crate::ids::{Position, Timestamp};

/// Segments that may build on each other in a row.
pub const CHAIN_MAX: usize = 12;

/// A saved condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub key: String,
    /// 1 for the first text applied under this key; every changed text is one more.
    pub version: u32,
    pub name: String,
    /// An e-mail address; alerts go there.
    pub owner: String,
    pub filter: Condition,
}

/// A segment in force.
#[derive(Debug, Clone)]
pub struct Defined {
    pub segment: Segment,
    /// The last change of the definitions that may have changed its answers: its own, of one it builds on, or of the
    /// rates it compares by.
    pub since: Position,
    /// Those of the segments it builds on included.
    pub needs: Needs,
}

/// The segments of a workspace.
#[derive(Debug, Clone, Default)]
pub struct SegmentSet {
    by_key: BTreeMap<String, Defined>,
    /// Each after those it builds on.
    order: Vec<String>,
    /// Where each stands in that order.
    ranks: BTreeMap<String, usize>,
    /// Keys by the event names that matter to them, and those to which traits do.
    by_event: BTreeMap<String, BTreeSet<String>>,
    by_traits: BTreeSet<String>,
    /// Those to which answers on channels and topics matter, and messages that were received.
    by_consent: BTreeSet<String>,
    by_messages: BTreeSet<String>,
    /// Keys by the traits they name.
    by_name: BTreeMap<String, BTreeSet<String>>,
    /// The last change of any of them, and of what else is kept with people.
    since: Position,
}

/// When what segments go by was last defined.
#[derive(Debug, Clone, Default)]
pub struct Bases {
    pub rates: Position,
    /// By the topic's key.
    pub topics: BTreeMap<String, Position>,
    /// By the computed trait's key.
    pub computed: BTreeMap<String, Position>,
    /// When campaigns that are entered at a date, or ask for members there are already, were.
    pub dates: Position,
}

/// The event by which an operator puts somebody on the list of a static segment, or takes them from it: properties
/// `segment` and `listed`.
pub const LIST_CHANGED: &str = "List Changed";

/// What may change answers beside the names of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stirred {
    pub traits: bool,
    pub consent: bool,
    /// A message was received.
    pub messages: bool,
}

impl SegmentSet {
    /// Each segment with the position from which on its text is in force. Those that build on themselves or on none
    /// there is are in nobody's way: they hold for nobody.
    pub fn new(segments: Vec<(Segment, Position)>, bases: &Bases) -> Self {
        let mut set = Self::default();
        let mut open: BTreeMap<String, (Segment, Position, Needs)> = BTreeMap::new();
        for (segment, since) in segments {
            let mut own = Needs::default();
            needs::direct(&segment.filter, &mut own);
            open.insert(segment.key.clone(), (segment, since, own));
        }
        while let Some(key) = set.next_of(&open) {
            if let Some((segment, since, own)) = open.remove(&key) {
                set.add(segment, since, own, bases);
            }
        }
        let segments = set.by_key.values().map(|defined| defined.since);
        set.since = segments.chain(bases.computed.values().copied()).fold(bases.dates, Position::max);
        set
    }

    /// One that builds on none that is still open; where there is none such, they build on each other.
    fn next_of(&self, open: &BTreeMap<String, (Segment, Position, Needs)>) -> Option<String> {
        let ready = |(.., own): &(Segment, Position, Needs)| own.segments.iter().all(|key| !open.contains_key(key));
        open.iter().find(|(_, one)| ready(one)).map(|(key, _)| key.clone())
    }

    fn add(&mut self, segment: Segment, mut since: Position, own: Needs, bases: &Bases) {
        if own.money {
            since = since.max(bases.rates);
        }
        since = own.topics.iter().filter_map(|topic| bases.topics.get(topic)).fold(since, |one, other| one.max(*other));
        since = own.named.iter().filter_map(|name| bases.computed.get(name)).fold(since, |one, other| one.max(*other));
        let mut needs = own.clone();
        for below in own.segments.iter().filter_map(|key| self.by_key.get(key)) {
            needs.add(&below.needs);
            since = since.max(below.since);
        }
        let carts = CART_EVENTS.map(str::to_owned);
        for event in needs.older.iter().chain(carts.iter().filter(|_| needs.cart)) {
            self.by_event.entry(event.clone()).or_default().insert(segment.key.clone());
        }
        if needs.addresses {
            self.by_event.entry(REACH_CHANGED.to_owned()).or_default().insert(segment.key.clone());
        }
        for name in &needs.named {
            self.by_name.entry(name.clone()).or_default().insert(segment.key.clone());
        }
        if !needs.lists.is_empty() {
            self.by_event.entry(LIST_CHANGED.to_owned()).or_default().insert(segment.key.clone());
        }
        let heard = [
            (needs.traits, &mut self.by_traits),
            (needs.consent, &mut self.by_consent),
            (!needs.received.is_empty(), &mut self.by_messages),
        ];
        for (_, keys) in heard.into_iter().filter(|(hears, _)| *hears) {
            keys.insert(segment.key.clone());
        }
        self.ranks.insert(segment.key.clone(), self.order.len());
        self.order.push(segment.key.clone());
        self.by_key.insert(segment.key.clone(), Defined { segment, since, needs });
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The last change of the definitions that may have changed anybody's membership, computed traits or dates.
    pub fn since(&self) -> Position {
        self.since
    }

    pub fn get(&self, key: &str) -> Option<&Defined> {
        self.by_key.get(key)
    }

    /// Each after those it builds on.
    pub fn iter(&self) -> impl Iterator<Item = &Defined> {
        self.order.iter().filter_map(|key| self.by_key.get(key))
    }

    /// Those of these keys that there are, each after those it builds on.
    pub fn ordered<'k>(&self, keys: impl IntoIterator<Item = &'k String>) -> Vec<&Defined> {
        let mut ranks: Vec<usize> = keys.into_iter().filter_map(|key| self.ranks.get(key)).copied().collect();
        ranks.sort_unstable();
        ranks.iter().filter_map(|rank| self.by_key.get(self.order.get(*rank)?)).collect()
    }

    /// Keys of the segments whose answers an event of this name, or what else is new, may change; some twice.
    pub fn hearing(&self, event: Option<&str>, stirred: Stirred) -> impl Iterator<Item = &str> {
        let by_event = event.and_then(|event| self.by_event.get(event));
        let by_traits = Some(&self.by_traits).filter(|_| stirred.traits);
        let by_consent = Some(&self.by_consent).filter(|_| stirred.consent);
        let by_messages = Some(&self.by_messages).filter(|_| stirred.messages);
        [by_event, by_traits, by_consent, by_messages].into_iter().flatten().flatten().map(String::as_str)
    }

    /// Keys of the segments that ask for any of these traits.
    pub fn naming<'s>(&'s self, traits: impl IntoIterator<Item = &'s str>) -> impl Iterator<Item = &'s str> {
        traits.into_iter().filter_map(|name| self.by_name.get(name)).flatten().map(String::as_str)
    }

    pub fn needs(&self, key: &str) -> Option<&Needs> {
        self.by_key.get(key).map(|defined| &defined.needs)
    }

    /// Whether the person meets the segment's condition; none where there is no such segment.
    pub fn evaluate(&self, key: &str, facts: &Facts<'_>) -> Option<Evaluation> {
        let defined = self.by_key.get(key)?;
        if let Some(known) = facts.answers.0.borrow().get(key) {
            return Some(known.clone());
        }
        let alone = Facts { event: None, entry: None, entry_at: None, item: None, ..*facts };
        let answer = evaluate(&defined.segment.filter, &alone);
        facts.answers.0.borrow_mut().insert(key.to_owned(), answer.clone());
        Some(answer)
    }
}

/// What segments came to for one person at one instant, each evaluated once.
#[derive(Debug, Clone, Default)]
pub struct Answers(RefCell<BTreeMap<String, Evaluation>>);

/// A person's standing in the segments, as last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standings {
    /// The definitions it was looked at by; see [`SegmentSet::since`].
    pub seen: Position,
    pub by_segment: BTreeMap<String, Standing>,
}

/// A standing worth keeping: a member, or one whose answer time will change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// A member since then.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The answer cannot change before without a new input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

impl Standings {
    pub fn of(&self, segment: &str) -> Standing {
        self.by_segment.get(segment).copied().unwrap_or_default()
    }

    pub fn set(&mut self, segment: &str, standing: Standing) {
        if standing == Standing::default() {
            self.by_segment.remove(segment);
        } else {
            self.by_segment.insert(segment.to_owned(), standing);
        }
    }

    /// Another profile of the same person: in what either was in, since the earlier of the two. What it comes to for
    /// both histories together is still to be looked at.
    pub fn unite(&mut self, other: &Self) {
        for (key, theirs) in &other.by_segment {
            let ours = self.of(key);
            let earlier = |one: Option<Timestamp>, other: Option<Timestamp>| one.into_iter().chain(other).min();
            let standing = Standing { since: earlier(ours.since, theirs.since), next: earlier(ours.next, theirs.next) };
            self.set(key, standing);
        }
        self.seen = Position::default();
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Standing)> {
        self.by_segment.iter().map(|(key, standing)| (key.as_str(), *standing))
    }

    /// Keys of the segments the person is in.
    pub fn memberships(&self) -> BTreeSet<&str> {
        self.iter().filter(|(_, standing)| standing.since.is_some()).map(|(key, _)| key).collect()
    }
}
