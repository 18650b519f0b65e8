//! Conditions against an oracle that counts by hand, and the laws every tree obeys.
#![allow(clippy::unwrap_used)]

mod refunds;
mod turning;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::audience::condition::annotated::annotate;
use crate::audience::condition::needs::{Needs, needs};
use crate::audience::condition::{Condition, Count, Detail, Evaluation, Facts, Performed, Terms, Window, evaluate};
use crate::audience::segment::{Answers, SegmentSet};
use crate::audience::value_test::{Check, Test};
use crate::audience::{Channel, History, Profile, Suppression, SuppressionKind};
use crate::event::{Body, Event, Kind, Origin};
use crate::ids::{EventId, Position, ProfileId, Span, Timestamp};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn event(name: &str, when: i64, body: &Value) -> Event {
    Event {
        id: EventId::derive(&[name.as_bytes()]),
        kind: Kind::Track,
        name: name.to_owned(),
        message_id: name.to_owned(),
        version: 1,
        source: "test".to_owned(),
        correlation_id: String::new(),
        trace: None,
        user_id: Some("ann".to_owned()),
        anonymous_id: None,
        previous_id: None,
        at: at(when),
        received_at: at(when),
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body.to_string()),
    }
}

/// A profile and its past: (name, time, price).
struct World {
    profile: Profile,
    older: Vec<History>,
    bodies: BTreeMap<Position, Arc<Event>>,
    trigger: Option<Event>,
    /// The event that began the enrollment.
    entry: Option<Event>,
    terms: Terms,
}

impl World {
    fn new(past: &[(&str, i64, i64)]) -> Self {
        let mut world = Self {
            profile: Profile::new(ProfileId(1), at(0)),
            older: Vec::new(),
            bodies: BTreeMap::new(),
            trigger: None,
            entry: None,
            terms: Terms::default(),
        };
        for (index, (name, when, price)) in past.iter().enumerate() {
            let position = Position(i64::try_from(index).unwrap());
            world.profile.history.record(name, at(*when), position);
            world.older.extend(world.profile.history.spill());
            let body = json!({ "event": name, "properties": { "price": price } });
            world.bodies.insert(position, Arc::new(event(name, *when, &body)));
        }
        world
    }

    fn ask(&self, now: i64, entry_at: Option<i64>, condition: &Condition) -> Evaluation {
        let facts = Facts {
            detail: Detail::Because,
            now: at(now),
            terms: &self.terms,
            answers: &Answers::default(),
            profile: &self.profile,
            event: self.trigger.as_ref(),
            entry: self.entry.as_ref(),
            entry_at: entry_at.map(at),
            item: None,
            older: &self.older,
            bodies: &self.bodies,
            received: &[],
        };
        evaluate(condition, &facts)
    }
}

fn performed(count: Count, window: Window) -> Performed {
    let (filter, same, aggregate, net_of) = Default::default();
    Performed { events: vec!["A".to_owned()], filter, same, count, aggregate, net_of, window }
}

const ONCE: Count = Count { at_least: Some(1), at_most: None };

#[test]
fn an_event_leaves_a_window_at_exactly_one_instant() {
    let world = World::new(&[("A", 100, 1)]);
    let within = Condition::Performed(Box::new(performed(ONCE, Window::Within(Span::from_millis(10).into()))));
    for (now, holds, until) in
        [(99, false, Some(100)), (100, true, Some(110)), (109, true, Some(110)), (110, false, None)]
    {
        let answer = world.ask(now, None, &within);
        assert_eq!((answer.holds, answer.until), (holds, until.map(at)), "at {now}");
    }
    let between = Window::Between(Span::from_millis(5).into(), Span::from_millis(10).into());
    let between = Condition::Performed(Box::new(performed(ONCE, between)));
    for (now, holds, until) in [(104, false, Some(105)), (105, true, Some(110)), (110, false, None)] {
        let answer = world.ask(now, None, &between);
        assert_eq!((answer.holds, answer.until), (holds, until.map(at)), "at {now}");
    }
}

#[test]
fn since_entry_counts_from_the_entry_event_on() {
    let world = World::new(&[("A", 100, 1), ("A", 200, 1)]);
    let twice = Count { at_least: Some(2), at_most: None };
    let since = Condition::Performed(Box::new(performed(twice, Window::SinceEntry)));
    assert!(world.ask(300, Some(100), &since).holds);
    let answer = world.ask(300, Some(101), &since);
    assert!(!answer.holds);
    assert_eq!(answer.because, "A performed 1 times since entry at 1970-01-01T00:00:00.101Z, wanted at least 2");
    assert!(!world.ask(300, None, &since).holds);
}

#[test]
fn a_filter_tests_the_past_events_own_fields() {
    let world = World::new(&[("A", 1, 3), ("A", 2, 7), ("B", 3, 9)]);
    let dear = |price: i64| Performed {
        filter: vec![(
            "properties.price".to_owned(),
            Test { checks: vec![Check::Gte(json!(price).into())], ignore_case: false },
        )],
        ..performed(ONCE, Window::Ever)
    };
    assert!(world.ask(10, None, &Condition::Performed(Box::new(dear(7)))).holds);
    assert!(!world.ask(10, None, &Condition::Performed(Box::new(dear(8)))).holds);
    let mut wanted = Needs::default();
    needs(&Condition::Not(Box::new(Condition::Performed(Box::new(dear(1))))), &SegmentSet::default(), &mut wanted);
    assert_eq!(wanted.bodies, wanted.older);
    assert!(wanted.older.contains("A"));
}

#[test]
fn an_event_found_in_two_pages_counts_once() {
    let mut world = World::new(&[("A", 1, 1)]);
    world.older.push(world.profile.history.clone());
    let twice = Condition::Performed(Box::new(performed(Count { at_least: Some(2), at_most: None }, Window::Ever)));
    assert!(!world.ask(5, None, &twice).holds);
}

#[test]
fn empty_lists_answer_as_in_logic() {
    let world = World::new(&[]);
    assert!(world.ask(0, None, &Condition::All(Vec::new())).holds);
    assert!(!world.ask(0, None, &Condition::Any(Vec::new())).holds);
}

#[test]
fn the_reason_is_the_leaf_that_decided() {
    let mut world = World::new(&[]);
    world.profile.traits.insert("plan".to_owned(), json!("free"));
    world.trigger = Some(event("A", 1, &json!({ "properties": { "price": 3, "items": [{ "id": 1 }, { "id": 2 }] } })));
    let plan = Condition::Trait(vec![("plan".to_owned(), Test::equals(json!("pro")))]);
    let price = |gte: i64| {
        let test = Test { checks: vec![Check::Gte(json!(gte).into())], ignore_case: false };
        Condition::Event(vec![("properties.price".to_owned(), test)])
    };
    let because = |condition: &Condition| world.ask(1, None, condition).because;
    assert_eq!(because(&price(5)), "properties.price is 3, wanted gte 5");
    assert_eq!(because(&Condition::All(vec![price(1), plan.clone()])), "trait plan is `free`, wanted `pro`");
    assert_eq!(because(&Condition::Any(vec![plan.clone(), price(1)])), "properties.price is 3, wanted gte 1");
    assert_eq!(because(&Condition::Not(Box::new(price(1)))), "not (properties.price is 3, wanted gte 1)");
    let id = Condition::Event(vec![("properties.items.id".to_owned(), Test::equals(json!(2)))]);
    assert!(world.ask(1, None, &id).holds);
    assert_eq!(because(&id), "properties.items.id is 1, 2, wanted 2");
    let missing = Condition::Trait(vec![("tier".to_owned(), Test::equals(json!("gold")))]);
    assert_eq!(because(&missing), "trait tier is missing, wanted `gold`");
}

/// What the definition says, word for word, with no thought for speed.
fn oracle(past: &[(&str, i64, i64)], performed: &Performed, now: i64, entry_at: Option<i64>) -> bool {
    let inside = |e: i64| match performed.window {
        Window::Ever => e <= now,
        Window::Within(length) => e <= now && now < e + length.longest().millis(),
        Window::Between(near, far) => e + near.longest().millis() <= now && now < e + far.longest().millis(),
        Window::Since(start) => start.millis() <= e && e <= now,
        Window::SinceEntry => entry_at.is_some_and(|entry| entry <= e) && e <= now,
    };
    let count = past.iter().filter(|(name, e, _)| *name == "A" && inside(*e)).count() as u32;
    performed.count.at_least.is_none_or(|n| count >= n) && performed.count.at_most.is_none_or(|n| count <= n)
}

fn windows() -> impl Strategy<Value = Window> {
    let span = || (0_i64..60).prop_map(Span::from_millis);
    prop_oneof![
        Just(Window::Ever),
        span().prop_map(|length| Window::Within(length.into())),
        (span(), span()).prop_map(|(one, other)| Window::Between(one.min(other).into(), one.max(other).into())),
        (0_i64..120).prop_map(|start| Window::Since(at(start))),
        Just(Window::SinceEntry),
    ]
}

fn leaves() -> impl Strategy<Value = Performed> {
    let bound = || prop::option::of(0_u32..4);
    (bound(), bound(), windows()).prop_map(|(at_least, at_most, window)| performed(Count { at_least, at_most }, window))
}

fn trees() -> impl Strategy<Value = Condition> {
    leaves().prop_map(|leaf| Condition::Performed(Box::new(leaf))).prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::Any),
            inner.prop_map(|child| Condition::Not(Box::new(child))),
        ]
    })
}

fn pasts() -> impl Strategy<Value = Vec<(&'static str, i64, i64)>> {
    let one = (prop_oneof![3 => Just("A"), 1 => Just("B")], 0_i64..120, 0_i64..9);
    prop::collection::vec(one, 0..90)
}

proptest! {
    #[test]
    fn counting_agrees_with_the_definition(past in pasts(), leaf in leaves(), now in 0_i64..200, entry in prop::option::of(0_i64..120)) {
        let expected = oracle(&past, &leaf, now, entry);
        prop_assert_eq!(World::new(&past).ask(now, entry, &Condition::Performed(Box::new(leaf))).holds, expected);
    }

    #[test]
    fn not_negates_and_shares_the_instant(past in pasts(), tree in trees(), now in 0_i64..200) {
        let world = World::new(&past);
        let plain = world.ask(now, Some(50), &tree);
        let negated = world.ask(now, Some(50), &Condition::Not(Box::new(tree)));
        prop_assert_eq!(plain.holds, !negated.holds);
        prop_assert_eq!(plain.until, negated.until);
    }

    #[test]
    fn an_answer_is_constant_until_its_instant(past in pasts(), tree in trees(), now in 0_i64..200) {
        let world = World::new(&past);
        let first = world.ask(now, Some(50), &tree);
        let end = first.until.map_or(400, Timestamp::millis);
        prop_assert!(end > now);
        for later in now..end {
            prop_assert_eq!(world.ask(later, Some(50), &tree).holds, first.holds, "at {}", later);
        }
    }

    #[test]
    fn a_leaf_turns_at_exactly_its_instant(past in pasts(), leaf in leaves(), now in 0_i64..200) {
        let world = World::new(&past);
        let leaf = Condition::Performed(Box::new(leaf));
        let first = world.ask(now, Some(50), &leaf);
        if let Some(until) = first.until {
            prop_assert_ne!(world.ask(until.millis(), Some(50), &leaf).holds, first.holds);
        }
    }
}

#[test]
fn a_reachable_node_says_which_address_since_when_and_why_and_never_the_address_itself() {
    let mut world = World::new(&[]);
    let told = |world: &World| {
        let condition = Condition::Reachable(Channel::Sms);
        let (answers, past) = (Answers::default(), (&world.older[..], &world.bodies, &[][..]));
        let node = annotate(&condition, &Facts::of_person(at(10), (&world.terms, &answers), &world.profile, past));
        assert_eq!(node.until, None);
        (node.holds, node.values["is"].as_str().unwrap().to_owned(), node)
    };
    assert_eq!(told(&world).1, "missing");
    world.profile.traits.insert("phone".to_owned(), json!("12"));
    assert_eq!((told(&world).0, told(&world).1.as_str()), (false, "invalid"));
    world.profile.traits.insert("phone".to_owned(), json!("+44 20 7946 0000"));
    assert_eq!((told(&world).0, told(&world).1.as_str()), (true, "usable"));
    let why = Suppression { kind: SuppressionKind::Bounced, source: "a letter".to_owned(), at: at(5), profile: None };
    // Of the same number on another channel nothing is said.
    world.profile.remembered.tell_stopped("whatsapp:+442079460000", vec![why.clone()]);
    assert!(told(&world).0);
    world.profile.remembered.tell_stopped("sms:+442079460000", vec![why]);
    let (holds, is, node) = told(&world);
    assert_eq!((holds, is.as_str()), (false, "suppressed"));
    assert_eq!((&node.values["trait"], &node.values["kind"]), (&json!("phone"), &json!("bounced")));
    assert_eq!(node.values["since"], json!(at(5)));
    assert!(node.change.as_ref().unwrap().contains("taken off the suppression list"), "{node:?}");
    assert!(!format!("{node:?}").contains("7946"), "{node:?}");
}
