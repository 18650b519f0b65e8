//! The words of an annotated condition: how each form is called, the values it compared, and what would turn it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::named;
use crate::audience::cart::Field;
use crate::audience::condition::performed::{More, Seen, Turning};
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
    let mut values = named([("is", json!(is)), ("wanted", json!(test.spoken(facts)))]);
    operands(test, facts, &mut values);
    if *field == Field::Value {
        let currency = cart.found(Field::Currency, exchange).map(|found| found.value.into_owned());
        values.insert("currency".to_owned(), json!(currency));
    }
    values
}

/// What the references of a test come to, where it has any.
pub fn operands(test: &Test, facts: &Facts<'_>, into: &mut Map<String, Value>) {
    let references: Map<String, Value> = test.references(facts).into_iter().collect();
    if !references.is_empty() {
        into.insert("operands".to_owned(), Value::Object(references));
    }
}

pub fn cart_change(tests: &[(Field, Test)], facts: &Facts<'_>) -> String {
    let each: Vec<String> = tests.iter().map(|(field, test)| format!("cart.{field} {}", test.spoken(facts))).collect();
    format!("a change of the cart across {}", each.join(" and "))
}

/// ` with properties.price gte 5 and properties.sku p1`; nothing where nothing is asked.
pub fn filter(filter: &[(String, Test)], facts: &Facts<'_>) -> String {
    match filter {
        [] => String::new(),
        tests => {
            let each: Vec<String> = tests.iter().map(|(path, test)| format!("{path} {}", test.spoken(facts))).collect();
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

/// What would turn a count or a figure over past events, beside time.
pub fn performed_change(asked: &Performed, turning: &Turning, facts: &Facts<'_>) -> Option<String> {
    let mut ways = Vec::new();
    if !turning.unrated.is_empty() {
        ways.push(rate(&turning.unrated));
    }
    if let Some(More { count, having, from, before }) = &turning.more {
        let what = what_counts(asked, facts);
        let mut way = match count {
            1 => format!("one more {what}"),
            n => format!("{n} more {what}"),
        };
        if let Some(having) = having {
            way.push_str(&format!(", for example with {having}"));
        }
        match (from, asked.window) {
            (Some(from), Window::Since(_) | Window::SinceEntry) => way.push_str(&format!(" at {from} or later")),
            (Some(from), _) => way.push_str(&format!(", which counts from {from} on")),
            (None, _) => {}
        }
        ways.extend([way + &before.map_or_else(String::new, |before| format!(" before {before}"))]);
    }
    ways.extend(turning.refunds.clone());
    (!ways.is_empty()).then(|| ways.join("; or "))
}

/// What is missing where money cannot be compared.
pub fn rate(currencies: &BTreeSet<String>) -> String {
    let names = currencies.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
    format!("a rate for {names} (`kind: rates`)")
}

/// `Product Viewed with properties.product_id p1`.
fn what_counts(asked: &Performed, facts: &Facts<'_>) -> String {
    let mut what = asked.events.join(" or ") + &filter(&asked.filter, facts);
    if let Some((ours, theirs)) = &asked.same {
        let values = facts.entry.map(|entry| Place::event(entry).values(ours)).unwrap_or_default();
        let is = values.first().map_or_else(|| "missing in the entry".to_owned(), |one| clipped(&one.value));
        let joined = if asked.filter.is_empty() { " with" } else { " and" };
        what.push_str(&format!("{joined} {theirs} {is}"));
    }
    what
}

pub fn sequence_values(sequence: &Sequence, facts: &Facts<'_>) -> Map<String, Value> {
    let within = sequence.within.map(|within| within.to_string());
    named([
        ("first", json!(step(&sequence.first, facts))),
        ("then", json!(step(&sequence.then, facts))),
        ("within", json!(within)),
        ("same", json!(sequence.same)),
    ])
}

fn step(step: &Step, facts: &Facts<'_>) -> String {
    step.events.join(" or ") + &filter(&step.filter, facts)
}

/// What would turn it beside time.
pub fn sequence_change(sequence: &Sequence, holds: bool, facts: &Facts<'_>) -> Option<String> {
    let (first, then) = (step(&sequence.first, facts), step(&sequence.then, facts));
    let within = sequence.within.map_or_else(String::new, |within| format!(" within {within}"));
    match (sequence.is_not, holds) {
        // Once it was followed it stays so.
        (false, true) => None,
        (false, false) => Some(format!("one more {then}, after a {first}{within}")),
        (true, true) => Some(format!("a late {then}, with a time after the {first} and{within} of it")),
        (true, false) => Some(format!("a {first} that no {then} follows{within}")),
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

/// What would turn it beside time.
pub fn engaged_change(engaged: &Engaged, holds: bool, facts: &Facts<'_>) -> Option<String> {
    let Engaged { act, campaign, window } = engaged;
    let counts = match window {
        _ if holds => return None,
        Window::SinceEntry if facts.entry_at.is_none() => return None,
        Window::Since(start) if *start > facts.now => format!(" at {start} or later"),
        Window::Between(near, _) => {
            format!(", which counts from {} on", near.after(facts.now, &window.zone(facts)))
        }
        Window::Ever | Window::Within(_) | Window::Since(_) | Window::SinceEntry => String::new(),
    };
    let what = match act {
        Act::Received => format!("a message of {campaign} that is received"),
        Act::Opened => format!("a message of {campaign} that is opened"),
        Act::Clicked => format!("a link in a message of {campaign} that is clicked"),
    };
    Some(what + &counts)
}
