//! `kind: source`: what happens to events at the door they come through.

use crate::definition::pattern;
use crate::definition::problem::Code;
use crate::definition::reader::At;
use crate::event::source::{DoorRule, Source};

pub const RULES_MAX: usize = 100;

pub fn read(at: &At<'_>, key: &str) -> Option<Source> {
    let map = at.map(&["kind", "key", "name", "owner", "rules"], &[])?;
    let name = map.maybe("name", |at| at.name());
    let rules = map.optional("rules", Vec::new(), |at| {
        let items = at.list()?;
        if items.len() > RULES_MAX {
            at.problem(Code::Limit, format!("has {} rules; at most {RULES_MAX} are allowed", items.len()));
        }
        let read: Vec<_> = items.iter().map(rule).collect();
        read.into_iter().collect()
    });
    Some(Source { key: key.to_owned(), name: name?, rules: rules? })
}

fn rule(at: &At<'_>) -> Option<DoorRule> {
    let map = at.map(&["drop", "rename"], &[])?;
    match (map.get("drop"), map.get("rename")) {
        (Some(drop), None) => pattern::read(drop).map(DoorRule::Drop),
        (None, Some(rename)) => {
            let names = rename.map(&["from", "to"], &[])?;
            let from = names.required("from").and_then(|at| at.name());
            let to = names.required("to").and_then(|at| at.name());
            Some(DoorRule::Rename { from: from?, to: to? })
        }
        _ => at.wrong("a rule is one of { drop: PATTERN } and { rename: { from, to } }"),
    }
}
