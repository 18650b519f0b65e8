//! Conditions: a tree evaluated for a profile at an instant, with the triggering event where there is one.
//!
//! Evaluation cannot fail and reads no clock; beside the answer it yields the instant until which the answer holds
//! without a new input, so that nothing ever has to poll.

mod performed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::audience::value_test::Test;
use crate::audience::{History, Profile};
use crate::event::Event;
use crate::event::pattern::clipped;
use crate::ids::{Position, Span, Timestamp};

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
    Performed(Performed),
}

/// The profile has so many such events in the window.
#[derive(Debug, Clone, PartialEq)]
pub struct Performed {
    /// Any of these names.
    pub events: Vec<String>,
    /// Tests on the past event's own fields.
    pub filter: Vec<(String, Test)>,
    pub count: Count,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub at_least: Option<u32>,
    pub at_most: Option<u32>,
}

/// An event at e is inside `Within(d)` for e ≤ t < e + d, and inside `Between(a, b)` for e + a ≤ t < e + b.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Ever,
    Within(Span),
    Between(Span, Span),
    Since(Timestamp),
    /// Since the enrollment's entry event.
    SinceEntry,
}

/// What an evaluation may look at.
pub struct Facts<'a> {
    pub now: Timestamp,
    pub profile: &'a Profile,
    /// The triggering event, already part of the history.
    pub event: Option<&'a Event>,
    /// When the enrollment at hand began.
    pub entry_at: Option<Timestamp>,
    /// Pages of history older than the profile's recent part; empty unless [`needs`] asked for them.
    pub older: &'a [History],
    /// Past events by position, those [`needs`] asked for.
    pub bodies: &'a BTreeMap<Position, Event>,
}

/// The answer, and the instant before which it cannot change without a new input.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    pub holds: bool,
    pub until: Option<Timestamp>,
    /// The leaf that decided it, with its operands: `properties.price is 3, wanted gte 5`.
    pub because: String,
}

/// What must be loaded before a condition can be evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Event names whose older pages matter.
    pub older: BTreeSet<String>,
    /// Event names whose past bodies matter (their fields are tested).
    pub bodies: BTreeSet<String>,
}

/// Characters of a reason; a tree of a hundred leaves still makes one line.
const BECAUSE_CHARS_MAX: usize = 300;
/// Values shown of a field that has many.
const VALUES_SHOWN_MAX: usize = 3;

/// The answer now, until when, and why.
pub fn evaluate(condition: &Condition, facts: &Facts<'_>) -> Evaluation {
    match condition {
        Condition::All(children) => combine(children, facts, false),
        Condition::Any(children) => combine(children, facts, true),
        Condition::Not(child) => {
            let Evaluation { holds, until, because } = evaluate(child, facts);
            Evaluation { holds: !holds, until, because: format!("not ({because})") }
        }
        Condition::Trait(tests) => fields("trait ", tests, |path| trait_values(facts.profile, path)),
        Condition::Event(tests) => fields("", tests, |path| {
            facts.event.map(|event| values_at(event.body.document(), path)).unwrap_or_default()
        }),
        Condition::Performed(performed) => performed::evaluate(performed, facts),
    }
}

/// Adds what must be loaded before [`evaluate`] can answer.
pub fn needs(condition: &Condition, needs: &mut Needs) {
    match condition {
        Condition::All(children) | Condition::Any(children) => {
            children.iter().for_each(|child| self::needs(child, needs));
        }
        Condition::Not(child) => self::needs(child, needs),
        Condition::Trait(_) | Condition::Event(_) => {}
        Condition::Performed(performed) => {
            needs.older.extend(performed.events.iter().cloned());
            if !performed.filter.is_empty() {
                needs.bodies.extend(performed.events.iter().cloned());
            }
        }
    }
}

/// All or any: one child with the answer `decisive` settles it.
fn combine(children: &[Condition], facts: &Facts<'_>, decisive: bool) -> Evaluation {
    let answers: Vec<Evaluation> = children.iter().map(|child| evaluate(child, facts)).collect();
    if answers.iter().any(|answer| answer.holds == decisive) {
        let settling = || answers.iter().filter(|answer| answer.holds == decisive);
        // It stays settled as long as any one child stays decisive.
        let lasts = settling().map(|answer| answer.until.ok_or(())).collect::<Result<Vec<_>, ()>>();
        let because = settling().next().map(|answer| answer.because.clone()).unwrap_or_default();
        return Evaluation { holds: decisive, until: lasts.ok().and_then(|all| all.into_iter().max()), because };
    }
    let until = answers.iter().filter_map(|answer| answer.until).min();
    let because = match answers.len() {
        0 => "an empty list of conditions".to_owned(),
        _ => answers.iter().map(|answer| answer.because.as_str()).collect::<Vec<_>>().join(" and "),
    };
    Evaluation { holds: !decisive, until, because: cut(because) }
}

/// Every named field satisfies its test; time plays no part.
fn fields<'a>(what: &str, tests: &[(String, Test)], values: impl Fn(&str) -> Vec<&'a Value>) -> Evaluation {
    let mut because = Vec::new();
    for (path, test) in tests {
        let found = values(path);
        let line = format!("{what}{path} is {}, wanted {test}", shown(&found));
        if !holds_for_any(test, &found) {
            return Evaluation { holds: false, until: None, because: cut(line) };
        }
        because.push(line);
    }
    Evaluation { holds: true, until: None, because: cut(because.join(" and ")) }
}

/// A field with several values satisfies a test when any of them does; one without values is missing.
fn holds_for_any(test: &Test, values: &[&Value]) -> bool {
    match values {
        [] => test.holds(None),
        some => some.iter().any(|value| test.holds(Some(value))),
    }
}

/// Every value at a dotted path; a path that crosses an array yields that of each element.
pub fn values_at<'a>(document: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    collect(document, Some(path), &mut found);
    found
}

fn collect<'a>(value: &'a Value, path: Option<&str>, found: &mut Vec<&'a Value>) {
    match (value, path) {
        (Value::Array(elements), _) => elements.iter().for_each(|element| collect(element, path, found)),
        (Value::Object(object), Some(path)) => {
            let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
            if let Some(below) = object.get(first) {
                collect(below, rest, found);
            }
        }
        (_, Some(_)) | (Value::Null, None) => {}
        (value, None) => found.push(value),
    }
}

fn trait_values<'a>(profile: &'a Profile, path: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    // A trait whose own name has dots wins over a path into an object.
    match (profile.traits.get(path), path.split_once('.')) {
        (Some(value), _) => collect(value, None, &mut found),
        (None, Some((first, rest))) => {
            if let Some(value) = profile.traits.get(first) {
                collect(value, Some(rest), &mut found);
            }
        }
        (None, None) => {}
    }
    found
}

fn shown(values: &[&Value]) -> String {
    if values.is_empty() {
        return "missing".to_owned();
    }
    let mut text: Vec<String> = values.iter().take(VALUES_SHOWN_MAX).map(|value| clipped(value)).collect();
    if values.len() > VALUES_SHOWN_MAX {
        text.push(format!("{} more", values.len() - VALUES_SHOWN_MAX));
    }
    text.join(", ")
}

fn cut(text: String) -> String {
    match text.char_indices().nth(BECAUSE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
