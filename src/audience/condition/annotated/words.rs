//! The words of an annotated condition: how each form is called, the values it compared, and what would turn it.

use serde_json::{Map, Value, json};

use super::named;
use crate::audience::cart::Field;
use crate::audience::condition::performed::Seen;
use crate::audience::condition::reachable::{self, Reach};
use crate::audience::condition::{Act, Condition, Engaged, Facts, Performed, Sequence, Step, Window, permission};
use crate::audience::consent::ConsentState;
use crate::audience::field::Place;
use crate::audience::value_test::Test;
use crate::audience::{Channel, Suppression};
use crate::event::pattern::clipped;
use crate::ids::Timestamp;

/// How a condition is called among others.
pub fn form(condition: &Condition) -> String {
    match condition {
        Condition::All(_) => "all".to_owned(),
        Condition::Any(_) => "any".to_owned(),
        Condition::Not(_) => "not".to_owned(),
        Condition::Trait(_) => "trait".to_owned(),
        Condition::Event(_) => "event".to_owned(),
        Condition::Item { path, .. } => format!("item in {path}"),
        Condition::Performed(performed) => format!("performed {}", performed.events.join(" or ")),
        Condition::Sequence(sequence) => {
            let Sequence { first, then, is_not, .. } = sequence.as_ref();
            let how = if *is_not { "then not" } else { "then" };
            format!("sequence {} {how} {}", first.events.join(" or "), then.events.join(" or "))
        }
        Condition::InSegment(key) => format!("in_segment {key}"),
        Condition::Consent(wanted) => {
            format!("consent {}", wanted.iter().map(|(channel, _)| channel.as_str()).collect::<Vec<_>>().join(", "))
        }
        Condition::Subscribed(topic) => format!("subscribed {topic}"),
        Condition::Reachable(channel) => format!("reachable {}", channel.as_str()),
        Condition::Engaged(Engaged { act, campaign, .. }) => format!("{} {campaign}", act.as_str()),
        Condition::Cart(_) => "cart".to_owned(),
        Condition::CartEmpty => "cart empty".to_owned(),
        Condition::Listed(segment) => format!("list of {segment}"),
        Condition::Random { salt, .. } => format!("random {salt}"),
    }
}

/// Which trait holds the address, how it stands, and what would turn that. The address itself is nobody's to read here.
pub fn reach(channel: Channel, facts: &Facts<'_>) -> (Map<String, Value>, String) {
    let (name, of) = (channel.as_str(), channel.address_trait());
    let mut values = named([("channel", json!(name)), ("trait", json!(of))]);
    let mut is = |word: &str| drop(values.insert("is".to_owned(), json!(word)));
    let change = match reachable::reach(channel, facts) {
        Reach::NoAddress => {
            is("missing");
            format!("an address in trait {of} that is not suppressed")
        }
        Reach::Invalid => {
            is("invalid");
            format!("a valid address in trait {of} that is not suppressed")
        }
        Reach::Stopped(Suppression { kind, source, at, .. }) => {
            is("suppressed");
            values.extend(named([("kind", json!(kind)), ("source", json!(source)), ("since", json!(at))]));
            format!("the address for {name} taken off the suppression list, or another in trait {of}")
        }
        Reach::Open => {
            is("usable");
            format!("the address for {name} suppressed, or trait {of} removed")
        }
    };
    (values, change)
}

/// One field of the cart that counts, as it is.
pub fn cart_values(tests: &[(Field, Test)], facts: &Facts<'_>) -> Map<String, Value> {
    let Some((field, test)) = tests.first() else { return Map::new() };
    let (cart, exchange) = (facts.cart(), &facts.terms.exchange);
    let is = cart.found(*field, exchange).map(|found| found.value.into_owned());
    let mut values = named([("is", json!(is)), ("wanted", json!(test.to_string()))]);
    if *field == Field::Value {
        let currency = cart.found(Field::Currency, exchange).map(|found| found.value.into_owned());
        values.insert("currency".to_owned(), json!(currency));
    }
    values
}

pub fn cart_change(tests: &[(Field, Test)]) -> String {
    let each: Vec<String> = tests.iter().map(|(field, test)| format!("cart.{field} {test}")).collect();
    format!("a change of the cart across {}", each.join(" and "))
}

/// ` with properties.price gte 5 and properties.sku p1`; nothing where nothing is asked.
pub fn filter(filter: &[(String, Test)]) -> String {
    match filter {
        [] => String::new(),
        tests => {
            let each: Vec<String> = tests.iter().map(|(path, test)| format!("{path} {test}")).collect();
            format!(" with {}", each.join(" and "))
        }
    }
}

/// When the window looked at begins and ends, at this instant.
fn bounds(window: Window, facts: &Facts<'_>) -> (Option<Timestamp>, Option<Timestamp>) {
    let zone = window.zone(facts);
    match window {
        Window::Ever => (None, Some(facts.now)),
        Window::Within(length) => (Some(length.before(facts.now, &zone)), Some(facts.now)),
        Window::Between(near, far) => (Some(far.before(facts.now, &zone)), Some(near.before(facts.now, &zone))),
        Window::Since(start) => (Some(start), Some(facts.now)),
        Window::SinceEntry => (facts.entry_at, Some(facts.now)),
    }
}

fn window_values(window: Window, facts: &Facts<'_>, into: &mut Map<String, Value>) {
    let (from, to) = bounds(window, facts);
    into.insert("from".to_owned(), json!(from));
    into.insert("to".to_owned(), json!(to));
}

pub fn seen_values(asked: &Performed, seen: &Seen, facts: &Facts<'_>) -> Map<String, Value> {
    let mut values = named([("seen", json!(seen.count)), ("wanted", json!(seen.wanted))]);
    if let Some((is, wanted)) = &seen.figure {
        values.insert("figure".to_owned(), json!(is));
        values.insert("figure_wanted".to_owned(), json!(wanted));
    }
    window_values(asked.window, facts, &mut values);
    values
}

/// What would turn a count or a figure over past events.
pub fn performed_change(
    asked: &Performed,
    seen: &Seen,
    (holds, until): (bool, Option<Timestamp>),
    facts: &Facts<'_>,
) -> Option<String> {
    let count = u32::try_from(seen.count).unwrap_or(u32::MAX);
    let (least, most) = (asked.count.at_least.unwrap_or(0), asked.count.at_most);
    let what = what_counts(asked, facts);
    let before = seen.leaves.map_or_else(String::new, |leaves| format!(" before {leaves}"));
    let more = |n: u32| match n {
        1 => format!("one more {what}"),
        n => format!("{n} more {what}"),
    };
    let by_itself = |until: Timestamp| format!("nothing until {until}, when what counts by then has changed");
    if !holds && count < least && asked.aggregate.is_none() {
        // What is missing must come before the first that counts is too old.
        return Some(more(least - count) + if count > 0 { before.as_str() } else { "" });
    }
    if let (Some(until), true) = (until, holds || most.is_some_and(|most| count > most)) {
        return Some(by_itself(until));
    }
    if let (true, Some(most), None) = (holds, most, &asked.aggregate) {
        return Some(more(most.saturating_sub(count).saturating_add(1)));
    }
    match (&asked.aggregate, &seen.figure) {
        (Some(aggregate), Some((is, wanted))) => {
            let figure = format!("{} of {} over {what}", aggregate.function.as_str(), aggregate.path);
            Some(format!("{figure} is {is}, wanted: {wanted}"))
        }
        _ => until.map(by_itself),
    }
}

/// `Product Viewed with properties.product_id p1`.
fn what_counts(asked: &Performed, facts: &Facts<'_>) -> String {
    let mut what = asked.events.join(" or ") + &filter(&asked.filter);
    if let Some((ours, theirs)) = &asked.same {
        let values = facts.entry.map(|entry| Place::event(entry).values(ours)).unwrap_or_default();
        let is = values.first().map_or_else(|| "missing in the entry".to_owned(), |one| clipped(&one.value));
        let joined = if asked.filter.is_empty() { " with" } else { " and" };
        what.push_str(&format!("{joined} {theirs} {is}"));
    }
    what
}

pub fn sequence_values(sequence: &Sequence) -> Map<String, Value> {
    let within = sequence.within.map(|within| within.to_string());
    named([
        ("first", json!(step(&sequence.first))),
        ("then", json!(step(&sequence.then))),
        ("within", json!(within)),
        ("same", json!(sequence.same)),
    ])
}

fn step(step: &Step) -> String {
    step.events.join(" or ") + &filter(&step.filter)
}

pub fn sequence_change(sequence: &Sequence, holds: bool, until: Option<Timestamp>) -> Option<String> {
    let (first, then) = (step(&sequence.first), step(&sequence.then));
    let within = sequence.within.map_or_else(String::new, |within| format!(" within {within}"));
    match (sequence.is_not, holds, until) {
        // Once it was followed it stays so.
        (false, true, _) => None,
        (false, false, _) => Some(format!("one more {then}, after a {first}{within}")),
        (true, true, _) => Some(format!("a late {then}, with a time after the {first} and{within} of it")),
        (true, false, Some(until)) => {
            Some(format!("nothing until {until}, when {first} will have been left without {then}"))
        }
        (true, false, None) => Some(format!("a {first} that no {then} follows{within}")),
    }
}

pub fn consent_values(wanted: &[(String, Vec<ConsentState>)], facts: &Facts<'_>) -> Map<String, Value> {
    let of = |(channel, states): &(String, Vec<ConsentState>)| {
        let wanted: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        (channel.clone(), json!({ "is": permission::answer(channel, facts).as_str(), "wanted": wanted }))
    };
    wanted.iter().map(of).collect()
}

pub fn consent_change(wanted: &[(String, Vec<ConsentState>)], holds: bool) -> Option<String> {
    let each = wanted.iter().map(|(channel, states)| {
        let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        format!("{channel} {}", states.join(" or "))
    });
    let wanted = each.collect::<Vec<_>>().join(", ");
    Some(if holds { format!("another answer than {wanted}") } else { format!("consent: {wanted}") })
}

pub fn engaged_values(engaged: &Engaged, facts: &Facts<'_>) -> Map<String, Value> {
    let mut values = named([("campaign", json!(engaged.campaign)), ("act", json!(engaged.act.as_str()))]);
    window_values(engaged.window, facts, &mut values);
    values
}

pub fn engaged_change(engaged: &Engaged, holds: bool, until: Option<Timestamp>) -> Option<String> {
    let Engaged { act, campaign, .. } = engaged;
    match (holds, until) {
        (true, Some(until)) => Some(format!("nothing until {until}, when the last that counts is too old")),
        (true, None) => None,
        (false, _) => Some(match act {
            Act::Received => format!("a message of {campaign} that is received"),
            Act::Opened => format!("a message of {campaign} that is opened"),
            Act::Clicked => format!("a link in a message of {campaign} that is clicked"),
        }),
    }
}
