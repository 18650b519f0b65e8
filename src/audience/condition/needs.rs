//! What must be loaded before a condition can be evaluated, and what may change its answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::audience::cart::{CART_EVENTS, Field};
use crate::audience::condition::{Act, Condition, Engaged, Performed, Sequence, Window};
use crate::audience::period::Period;
use crate::audience::segment::SegmentSet;
use crate::audience::value_test::{Operand, Reference, Test};
use crate::ids::{Position, Span, Timestamp};

/// What must be loaded before a condition can be evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Event names whose older pages matter.
    pub older: BTreeSet<String>,
    /// Event names whose past bodies matter (their fields are tested).
    pub bodies: BTreeSet<String>,
    /// How far back they do, by name.
    pub reach: BTreeMap<String, Reach>,
    /// The event that began the enrollment.
    pub entry: bool,
    /// Events that began enrollments, where a condition compares with them.
    pub entries: BTreeSet<Position>,
    /// The segments it asks for, those they build on included.
    pub segments: BTreeSet<String>,
    /// Traits are looked at.
    pub traits: bool,
    /// Their names as far as they are written: each path, and its first step.
    pub named: BTreeSet<String>,
    /// The lists of static segments that are looked at.
    pub lists: BTreeSet<String>,
    /// Answers on channels and topics are.
    pub consent: bool,
    /// Topics whose defaults matter.
    pub topics: BTreeSet<String>,
    /// Campaigns whose messages matter that were received.
    pub received: BTreeSet<String>,
    /// Amounts are compared with money.
    pub money: bool,
    /// What is in carts is looked at.
    pub cart: bool,
    /// Whether an address may be used is.
    pub addresses: bool,
}

/// How far back past events matter: the furthest of all that is said here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    pub within: Span,
    pub since: Option<Timestamp>,
    /// Back to the beginning of an enrollment.
    pub to_entry: bool,
    pub ever: bool,
}

impl Reach {
    fn of(window: Window) -> Self {
        let none = Self::default();
        match window {
            Window::Ever => Self { ever: true, ..none },
            Window::Within(length) | Window::Between(_, length) => Self { within: length.longest(), ..none },
            Window::Since(start) => Self { since: Some(start), ..none },
            Window::SinceEntry => Self { to_entry: true, ..none },
        }
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let since = [self.since, other.since].into_iter().flatten().min();
        let (to_entry, ever) = (self.to_entry || other.to_entry, self.ever || other.ever);
        Self { within: self.within.max(other.within), since, to_entry, ever }
    }

    /// The earliest instant whose events matter at `now`, where the oldest enrollment began at `entry`.
    pub fn from(&self, now: Timestamp, entry: Option<Timestamp>) -> Timestamp {
        if self.ever {
            return Timestamp::from_millis(i64::MIN);
        }
        let entry = entry.filter(|_| self.to_entry);
        [self.since, entry].into_iter().flatten().fold(now.minus(self.within), Timestamp::min)
    }
}

impl Needs {
    pub fn add(&mut self, other: &Self) {
        other.reach.iter().for_each(|(name, reach)| self.reach_back(name, *reach));
        self.older.extend(other.older.iter().cloned());
        self.bodies.extend(other.bodies.iter().cloned());
        self.segments.extend(other.segments.iter().cloned());
        self.entries.extend(other.entries.iter().copied());
        self.entry |= other.entry;
        self.traits |= other.traits;
        self.named.extend(other.named.iter().cloned());
        self.lists.extend(other.lists.iter().cloned());
        self.money |= other.money;
        self.cart |= other.cart;
        self.addresses |= other.addresses;
        self.consent |= other.consent;
        self.topics.extend(other.topics.iter().cloned());
        self.received.extend(other.received.iter().cloned());
    }

    /// Adds all that carts are made of, for whom nobody has kept count of them.
    pub fn add_carts(&mut self) {
        self.older.extend(CART_EVENTS.map(str::to_owned));
        self.bodies.extend(CART_EVENTS.map(str::to_owned));
    }

    /// It looks at a cart, which may be that of the event that began an enrollment.
    fn look_at_cart(&mut self) {
        self.cart = true;
        self.entry = true;
    }

    /// Notes that a trait is looked at.
    pub fn name(&mut self, path: &str) {
        self.traits = true;
        self.named.insert(path.to_owned());
        self.named.extend(path.split_once('.').map(|(first, _)| first.to_owned()));
    }

    fn reach_back(&mut self, name: &str, reach: Reach) {
        let known = self.reach.get(name).copied().unwrap_or_default();
        self.reach.insert(name.to_owned(), known.or(reach));
    }
}

/// Adds what must be loaded before the condition can be evaluated, segments included.
pub fn needs(condition: &Condition, segments: &SegmentSet, into: &mut Needs) {
    let mut own = Needs::default();
    direct(condition, &mut own);
    for key in std::mem::take(&mut own.segments) {
        if let Some(theirs) = segments.needs(&key) {
            own.add(theirs);
        }
        own.segments.insert(key);
    }
    into.add(&own);
}

/// The same without what its segments need.
pub fn direct(condition: &Condition, needs: &mut Needs) {
    match condition {
        Condition::All(children) | Condition::Any(children) => {
            children.iter().for_each(|child| direct(child, needs));
        }
        Condition::Not(child) => direct(child, needs),
        Condition::Trait(tests) => {
            tests.iter().for_each(|(path, test)| {
                needs.name(path);
                of_test(test, needs);
            });
        }
        Condition::Event(tests) | Condition::Item { filter: tests, .. } => {
            tests.iter().for_each(|(_, test)| of_test(test, needs));
        }
        Condition::Performed(performed) => of_performed(performed, needs),
        Condition::Sequence(sequence) => of_sequence(sequence, needs),
        Condition::InSegment(key) => drop(needs.segments.insert(key.clone())),
        Condition::Consent(_) => needs.consent = true,
        Condition::Subscribed(topic) => {
            needs.consent = true;
            needs.topics.insert(topic.clone());
        }
        // An answer of the person stops their addresses too.
        Condition::Reachable(channel) => {
            needs.name(channel.address_trait());
            (needs.addresses, needs.consent) = (true, true);
        }
        Condition::Engaged(engaged) => of_engaged(engaged, needs),
        Condition::Cart(tests) => {
            needs.look_at_cart();
            // Lines in several currencies are converted.
            needs.money |= tests.iter().any(|(field, _)| *field == Field::Value);
            tests.iter().for_each(|(_, test)| of_test(test, needs));
        }
        Condition::CartEmpty => needs.look_at_cart(),
        Condition::Listed(segment) => drop(needs.lists.insert(segment.clone())),
        Condition::Random { .. } => {}
    }
}

/// What must be loaded, and what may change it, before it can be said which events count.
pub fn of_performed(performed: &Performed, needs: &mut Needs) {
    let Performed { events, filter, same, count: _, aggregate, net_of, window } = performed;
    of_window(*window, needs);
    needs.older.extend(events.iter().cloned());
    if !filter.is_empty() || same.is_some() || aggregate.is_some() || net_of.is_some() {
        needs.bodies.extend(events.iter().cloned());
        events.iter().for_each(|name| needs.reach_back(name, Reach::of(*window)));
    }
    needs.entry |= same.is_some();
    filter.iter().for_each(|(_, test)| of_test(test, needs));
    aggregate.iter().for_each(|aggregate| of_test(&aggregate.test, needs));
    if let Some(net_of) = net_of {
        needs.older.extend(net_of.events.iter().cloned());
        needs.bodies.extend(net_of.events.iter().cloned());
        net_of.events.iter().for_each(|name| needs.reach_back(name, Reach::of(*window)));
        // Refunds in another currency than the order's are converted.
        needs.money = true;
    }
}

fn of_sequence(sequence: &Sequence, needs: &mut Needs) {
    let Sequence { first, then, is_not: _, within, same } = sequence;
    of_period(within.as_ref(), needs);
    for step in [first, then] {
        needs.older.extend(step.events.iter().cloned());
        if !step.filter.is_empty() || same.is_some() {
            needs.bodies.extend(step.events.iter().cloned());
            // Once true, it stays so.
            step.events.iter().for_each(|name| needs.reach_back(name, Reach { ever: true, ..Reach::default() }));
        }
        step.filter.iter().for_each(|(_, test)| of_test(test, needs));
    }
}

fn of_engaged(engaged: &Engaged, needs: &mut Needs) {
    let Engaged { act, campaign, window } = engaged;
    of_window(*window, needs);
    match act {
        Act::Received => drop(needs.received.insert(campaign.clone())),
        Act::Opened | Act::Clicked => {
            if let Some(name) = act.event().map(str::to_owned) {
                needs.reach_back(&name, Reach::of(*window));
                needs.older.insert(name.clone());
                needs.bodies.insert(name);
            }
        }
    }
}

fn of_window(window: Window, needs: &mut Needs) {
    match window {
        Window::Within(length) => of_period(Some(&length), needs),
        Window::Between(near, far) => [near, far].iter().for_each(|length| of_period(Some(length), needs)),
        Window::Ever | Window::Since(_) | Window::SinceEntry => {}
    }
}

/// A length of the calendar is counted where the person lives, which is a trait.
fn of_period(period: Option<&Period>, needs: &mut Needs) {
    needs.traits |= period.is_some_and(|period| period.is_civil());
}

/// What a test compares with.
pub fn of_test(test: &Test, needs: &mut Needs) {
    needs.traits |= test.is_local();
    test.operands().for_each(|operand| of_operand(operand, needs));
}

fn of_operand(operand: &Operand, needs: &mut Needs) {
    match operand {
        Operand::Value(_) => {}
        Operand::Money(_) => needs.money = true,
        Operand::Ref { reference, default } => {
            default.iter().for_each(|default| of_operand(default, needs));
            match reference {
                Reference::Entry(_) => needs.entry = true,
                Reference::Trait(path) => needs.name(path),
                Reference::UserId | Reference::ProfileId => needs.traits = true,
                Reference::Cart(field) => {
                    needs.look_at_cart();
                    needs.money |= *field == Field::Value;
                }
                Reference::Event(_) | Reference::Item(_) => {}
            }
        }
    }
}
