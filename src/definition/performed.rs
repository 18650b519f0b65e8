//! `performed` as written: which events, how many, what they come to, net of what, and when.

use crate::audience::condition::{Aggregate, Count, Function, NetOf, Performed, Window};
use crate::audience::value_test::{Check, Test};
use crate::definition::certain::{of_a_count, whatever_the_value};
use crate::definition::condition::{Scope, Tree};
use crate::definition::problem::nearest;
use crate::definition::reader::{At, Map};
use crate::definition::value_test::{NUMBER_TESTS, number_check};

const COUNT_MAX: u32 = 1_000_000;
const FIELDS: [&str; 23] = [
    "event", "where", "same", "at_least", "at_most", "exactly", "within", "between", "since", "net_of", "sum", "avg",
    "min", "max", "distinct", "eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte",
];
const FUNCTIONS: [(&str, Function); 5] = [
    ("sum", Function::Sum),
    ("avg", Function::Avg),
    ("min", Function::Min),
    ("max", Function::Max),
    ("distinct", Function::Distinct),
];

pub fn read(at: &At<'_>, tree: Tree<'_>) -> Option<Performed> {
    let scope = tree.scope;
    let map = at.map(&FIELDS, &[])?;
    let events = map.required("event").and_then(|at| event_names(&at));
    let filter = map.optional("where", Vec::new(), |at| tree.fields(at));
    let same = map.maybe("same", |at| match scope.entry_event {
        true => same(&at, "entry"),
        false => at.wrong("there is no enrollment here whose entry could be compared"),
    });
    let aggregate = aggregate(&map, scope);
    let count = count(&map, !matches!(aggregate, Some(None)));
    let net_of = map.maybe("net_of", |at| net_of(&at));
    let window = window(&map, scope);
    Some(Performed {
        events: events?,
        filter: filter?,
        same: same?,
        count: count?,
        aggregate: aggregate?,
        net_of: net_of?,
        window: window?,
    })
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

/// One path for both events, or one for each: `{ entry: PATH, event: PATH }`.
pub fn same(at: &At<'_>, ours: &str) -> Option<(String, String)> {
    if !at.is_map() {
        return at.path().map(|path| (path.clone(), path));
    }
    let map = at.map(&[ours, "event"], &[])?;
    let one = map.required(ours).and_then(|at| at.path());
    let event = map.required("event").and_then(|at| at.path());
    Some((one?, event?))
}

pub fn net_of(at: &At<'_>) -> Option<NetOf> {
    let map = at.map(&["event", "same"], &[])?;
    let events = map.required("event").and_then(|at| event_names(&at));
    let same = map.required("same").and_then(|at| at.path());
    Some(NetOf { events: events?, same: same.map(|path| (path.clone(), path))? })
}

/// `sum: PATH` and the like, with the tests written beside it.
fn aggregate(map: &Map<'_>, scope: Scope) -> Option<Option<Aggregate>> {
    let written: Vec<_> = FUNCTIONS.iter().filter_map(|(name, function)| Some((*function, map.get(name)?))).collect();
    let tests = map.iter().filter(|(key, _)| NUMBER_TESTS.contains(&key.text.as_str()));
    let checks: Vec<Option<Check>> = tests.map(|(key, at)| number_check(&key.text, &at, scope)).collect();
    match written.as_slice() {
        [] if checks.is_empty() => Some(None),
        [] => map.at.wrong("tests a number: write sum, avg, min, max or distinct with its path beside the test"),
        [(_, at)] if checks.is_empty() => at.wrong("tests nothing: write gte, lt, eq … beside it"),
        [(function, at)] => {
            let path = at.path();
            let checks = checks.into_iter().collect::<Option<Vec<_>>>();
            let (path, checks) = (path?, checks?);
            let of_a_count = || of_a_count(&checks).filter(|_| *function == Function::Distinct);
            if let Some(said) = whatever_the_value(&checks, false).or_else(of_a_count) {
                return map.at.wrong(said);
            }
            Some(Some(Aggregate { function: *function, path, test: Test { checks, ignore_case: false } }))
        }
        _ => map.at.wrong("one of sum, avg, min, max and distinct"),
    }
}

/// At least one, unless something else is said of the events.
fn count(map: &Map<'_>, is_aggregate: bool) -> Option<Count> {
    let number = |name| map.maybe(name, |at: At<'_>| at.integer(0, COUNT_MAX));
    let (at_least, at_most, exactly) = (number("at_least")?, number("at_most")?, number("exactly")?);
    match (at_least, at_most, exactly) {
        (None, None, None) if is_aggregate => Some(Count { at_least: None, at_most: None }),
        (None, None, None) => Some(Count { at_least: Some(1), at_most: None }),
        (None, None, Some(n)) => Some(Count { at_least: Some(n), at_most: Some(n) }),
        (_, _, Some(_)) => map.at.wrong("`exactly` stands alone"),
        (Some(least), Some(most), None) if least > most => map.at.wrong("`at_least` is above `at_most`"),
        (Some(0), None, None) if !is_aggregate => {
            map.at.wrong("`at_least: 0` is true of everybody; `at_most: 0` asks for none, and without it one is enough")
        }
        (at_least, at_most, None) => Some(Count { at_least, at_most }),
    }
}

pub fn window(map: &Map<'_>, scope: Scope) -> Option<Window> {
    let written: Vec<At<'_>> = ["within", "between", "since"].iter().filter_map(|name| map.get(name)).collect();
    if written.len() > 1 {
        return map.at.wrong("one of `within`, `between` and `since`");
    }
    if let Some(at) = map.get("within") {
        return at.period_above_zero().map(Window::Within);
    }
    if let Some(at) = map.get("between") {
        let [near, far] = at.pair()?;
        let (near, far) = (near.period()?, far.period()?);
        // Of two lengths of the calendar only what can never be is refused.
        return match near.shortest() < far.longest() {
            true => Some(Window::Between(near, far)),
            false => at.wrong("the first duration must be the shorter one"),
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
