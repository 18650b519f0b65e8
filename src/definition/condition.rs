//! Conditions and tests on values, as written.

use std::cell::Cell;

use serde_json::Value;

use crate::audience::Condition;
use crate::audience::condition::{Count, Performed, Window};
use crate::audience::value_test::{Check, Test, instant_of_text};
use crate::definition::problem::{Code, nearest};
use crate::definition::reader::{At, Map};
use crate::ids::Timestamp;

pub const CONDITIONS_MAX: u32 = 100;
pub const DEPTH_MAX: u32 = 12;
const COUNT_MAX: u32 = 1_000_000;
const VALUES_MAX: usize = 1_000;

const FORMS: [&str; 6] = ["all", "any", "not", "trait", "event", "performed"];
const FORMS_LATER: [&str; 12] = [
    "item",
    "sequence",
    "in_segment",
    "cart",
    "consent",
    "subscribed",
    "reachable",
    "received",
    "opened",
    "clicked",
    "random",
    "ref",
];
const PERFORMED: [&str; 8] = ["event", "where", "at_least", "at_most", "exactly", "within", "between", "since"];
const PERFORMED_LATER: [&str; 17] = [
    "same", "net_of", "sum", "avg", "min", "max", "distinct", "eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte",
    "prefix", "exists",
];
const TESTS: [&str; 16] = [
    "eq",
    "ne",
    "in",
    "not_in",
    "gt",
    "gte",
    "lt",
    "lte",
    "between",
    "prefix",
    "suffix",
    "contains",
    "ignore_case",
    "exists",
    "before",
    "after",
];
const TESTS_LATER: [&str; 5] = ["in_next", "in_last", "anniversary", "ref", "default"];

/// What a condition may refer to where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// There is a triggering event.
    pub event: bool,
    /// There is an enrollment, so `since: entry` means something.
    pub entry: bool,
}

pub fn read(at: At<'_>, scope: Scope) -> Option<Condition> {
    let leaves = Cell::new(0);
    let root = at.clone();
    let condition = Tree { scope, leaves: &leaves }.condition(at, 1);
    if leaves.get() > CONDITIONS_MAX {
        root.problem(Code::Limit, format!("has {} conditions; at most {CONDITIONS_MAX} are allowed", leaves.get()));
        return None;
    }
    condition
}

#[derive(Clone, Copy)]
struct Tree<'c> {
    scope: Scope,
    leaves: &'c Cell<u32>,
}

impl Tree<'_> {
    fn condition(self, at: At<'_>, depth: u32) -> Option<Condition> {
        self.leaves.set(self.leaves.get() + 1);
        if depth > DEPTH_MAX {
            at.problem(Code::Limit, format!("conditions are nested deeper than {DEPTH_MAX}"));
            return None;
        }
        let map = at.map(&FORMS, &FORMS_LATER)?;
        if map.len() != 1 {
            return at.wrong("wanted one condition; several go into all: [ … ] or any: [ … ]");
        }
        let (form, inner) = map.iter().next()?;
        match form.text.as_str() {
            "all" => self.children(&inner, depth).map(Condition::All),
            "any" => self.children(&inner, depth).map(Condition::Any),
            "not" => self.condition(inner, depth + 1).map(|child| Condition::Not(Box::new(child))),
            "trait" => fields(inner).map(Condition::Trait),
            "event" if !self.scope.event => inner.wrong("no event is at hand here"),
            "event" => fields(inner).map(Condition::Event),
            "performed" => performed(&inner, self.scope).map(Condition::Performed),
            // Unknown, or not supported yet; noted when the mapping was opened.
            _ => None,
        }
    }

    fn children(self, at: &At<'_>, depth: u32) -> Option<Vec<Condition>> {
        let read: Vec<_> = at.list()?.into_iter().map(|child| self.condition(child, depth + 1)).collect();
        read.into_iter().collect()
    }
}

/// A mapping of paths to tests.
pub fn fields(at: At<'_>) -> Option<Vec<(String, Test)>> {
    let map = at.open_map()?;
    if map.is_empty() {
        return at.wrong("names no field");
    }
    let read: Vec<_> = map
        .iter()
        .map(|(key, inner)| {
            if key.text.split('.').any(str::is_empty) {
                return inner.wrong("a path has no empty steps");
            }
            Some((key.text.clone(), test(&inner)?))
        })
        .collect();
    read.into_iter().collect()
}

/// A scalar, a list, or a mapping of checks.
pub fn test(at: &At<'_>) -> Option<Test> {
    if at.is_list() {
        return literals(at).map(Test::any_of);
    }
    if !at.is_map() {
        return at.literal().map(Test::equals);
    }
    let map = at.map(&TESTS, &TESTS_LATER)?;
    let ignore_case = map.optional("ignore_case", false, |at| at.boolean())?;
    let read: Vec<Option<Check>> =
        map.iter().filter(|(key, _)| key.text != "ignore_case").map(|(key, inner)| check(&key.text, &inner)).collect();
    let checks: Vec<Check> = read.into_iter().collect::<Option<_>>()?;
    if checks.is_empty() {
        return at.wrong("checks nothing");
    }
    Some(Test { checks, ignore_case })
}

fn check(name: &str, at: &At<'_>) -> Option<Check> {
    match name {
        "eq" => at.literal().map(Check::Eq),
        "ne" => at.literal().map(Check::Ne),
        "in" => literals(at).map(Check::In),
        "not_in" => literals(at).map(Check::NotIn),
        "gt" => ordered(at).map(Check::Gt),
        "gte" => ordered(at).map(Check::Gte),
        "lt" => ordered(at).map(Check::Lt),
        "lte" => ordered(at).map(Check::Lte),
        "between" => {
            let [low, high] = pair(at)?;
            Some(Check::Between(ordered(&low)?, ordered(&high)?))
        }
        "prefix" => at.text().map(|text| Check::Prefix(text.to_owned())),
        "suffix" => at.text().map(|text| Check::Suffix(text.to_owned())),
        "contains" => at.text().map(|text| Check::Contains(text.to_owned())),
        "exists" => at.boolean().map(Check::Exists),
        "before" => instant(at).map(Check::Before),
        "after" => instant(at).map(Check::After),
        // Noted when the mapping was opened.
        _ => None,
    }
}

fn literals(at: &At<'_>) -> Option<Vec<Value>> {
    let items = at.list()?;
    if items.is_empty() {
        return at.wrong("an empty list fits nothing");
    }
    if items.len() > VALUES_MAX {
        at.problem(Code::Limit, format!("has {} values; at most {VALUES_MAX} are allowed", items.len()));
        return None;
    }
    let read: Vec<_> = items.iter().map(At::literal).collect();
    read.into_iter().collect()
}

/// Only numbers and text have an order.
fn ordered(at: &At<'_>) -> Option<Value> {
    match at.literal()? {
        Value::Bool(_) => at.wrong("wanted a number or text to compare with"),
        value => Some(value),
    }
}

fn pair<'a>(at: &At<'a>) -> Option<[At<'a>; 2]> {
    let items = at.list()?;
    <[At<'a>; 2]>::try_from(items).ok().or_else(|| at.wrong("wanted a list of two"))
}

fn instant(at: &At<'_>) -> Option<Timestamp> {
    if at.is_map() {
        return at.later("a computed value (`ref`)");
    }
    match instant_of_text(at.raw().unwrap_or_default()) {
        Some(instant) => Some(instant),
        None => at.wrong("wanted an instant such as 2026-03-01T10:00Z or a date such as 2026-03-01"),
    }
}

/// An event's name, or a list of names of which any counts.
pub fn event_names(at: &At<'_>) -> Option<Vec<String>> {
    let items = at.one_or_more()?;
    if items.is_empty() {
        return at.wrong("names no event");
    }
    let read: Vec<_> = items.iter().map(At::name).collect();
    read.into_iter().collect()
}

fn performed(at: &At<'_>, scope: Scope) -> Option<Performed> {
    let map = at.map(&PERFORMED, &PERFORMED_LATER)?;
    let events = map.required("event").and_then(|at| event_names(&at));
    let filter = map.optional("where", Vec::new(), fields);
    let count = count(&map);
    let window = window(&map, scope);
    Some(Performed { events: events?, filter: filter?, count: count?, window: window? })
}

fn count(map: &Map<'_>) -> Option<Count> {
    let number = |name| map.maybe(name, |at: At<'_>| at.integer(0, COUNT_MAX));
    let (at_least, at_most, exactly) = (number("at_least")?, number("at_most")?, number("exactly")?);
    match (at_least, at_most, exactly) {
        (None, None, None) => Some(Count { at_least: Some(1), at_most: None }),
        (None, None, Some(n)) => Some(Count { at_least: Some(n), at_most: Some(n) }),
        (_, _, Some(_)) => map.at.wrong("`exactly` stands alone"),
        (Some(least), Some(most), None) if least > most => map.at.wrong("`at_least` is above `at_most`"),
        (at_least, at_most, None) => Some(Count { at_least, at_most }),
    }
}

fn window(map: &Map<'_>, scope: Scope) -> Option<Window> {
    let written: Vec<At<'_>> = ["within", "between", "since"].iter().filter_map(|name| map.get(name)).collect();
    if written.len() > 1 {
        return map.at.wrong("one of `within`, `between` and `since`");
    }
    if let Some(at) = map.get("within") {
        return at.span_above_zero().map(Window::Within);
    }
    if let Some(at) = map.get("between") {
        let [near, far] = pair(&at)?;
        return match (near.span()?, far.span()?) {
            (near, far) if near < far => Some(Window::Between(near, far)),
            _ => at.wrong("the first duration must be the shorter one"),
        };
    }
    let Some(at) = map.get("since") else { return Some(Window::Ever) };
    match at.raw() {
        Some("entry") if scope.entry => Some(Window::SinceEntry),
        Some("entry") => at.wrong("there is no enrollment here whose entry could be meant"),
        Some(text) if nearest(text, ["entry"]).is_some() => at.choice(&[("entry", Window::SinceEntry)], &[]),
        _ => at.instant().map(Window::Since),
    }
}
