//! `sequence` as written: a first event, what follows it or does not, in which time, and what both have in common.

use crate::audience::condition::{Sequence, Step};
use crate::definition::condition::Tree;
use crate::definition::performed::event_names;
use crate::definition::problem::Code;
use crate::definition::reader::At;

pub fn read(at: &At<'_>, tree: Tree<'_>) -> Option<Sequence> {
    let map = at.map(&["first", "then", "then_not", "within", "same"], &[])?;
    let first = map.required("first").and_then(|at| step(&at, tree));
    let then = match (map.get("then"), map.get("then_not")) {
        (Some(at), None) => step(&at, tree).map(|step| (step, false)),
        (None, Some(at)) => step(&at, tree).map(|step| (step, true)),
        (Some(_), Some(at)) => at.wrong("either a `then` or a `then_not`"),
        (None, None) => map.at.wrong("wanted a `then` or a `then_not`: what follows the first, or does not"),
    };
    let within = map.maybe("within", |at| at.period_above_zero());
    if map.get("then_not").is_some() && map.get("within").is_none() {
        map.at.problem(Code::MissingField, "`within` is missing: `then_not` is true when that time has passed");
        return None;
    }
    let same = map.maybe("same", |at| same(&at));
    let (then, is_not) = then?;
    Some(Sequence { first: first?, then, is_not, within: within?, same: same? })
}

fn step(at: &At<'_>, tree: Tree<'_>) -> Option<Step> {
    let map = at.map(&["event", "where"], &[])?;
    let events = map.required("event").and_then(|at| event_names(&at));
    let filter = map.optional("where", Vec::new(), |at| tree.fields(at));
    Some(Step { events: events?, filter: filter? })
}

/// One path for both, or one for each: `{ first: PATH, then: PATH }`, or `{ entry: PATH, event: PATH }` as elsewhere.
fn same(at: &At<'_>) -> Option<(String, String)> {
    if !at.is_map() {
        return at.path().map(|path| (path.clone(), path));
    }
    let map = at.map(&["first", "then", "entry", "event"], &[])?;
    let names =
        if map.get("entry").is_some() || map.get("event").is_some() { ["entry", "event"] } else { ["first", "then"] };
    if map.len() > 2 {
        return at.wrong("two paths: `first` and `then`");
    }
    let [one, other] = names.map(|name| map.required(name).and_then(|at| at.path()));
    Some((one?, other?))
}
