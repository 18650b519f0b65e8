//! The event pattern language of AWS EventBridge: `{ properties: { price: [ { numeric: [ ">=", 5 ] } ] } }`.
//!
//! Fields are ANDed, the values of one field ORed, `$or` is an OR of whole mappings. Only scalars are looked at; an
//! array matches when any element does, and fields below one array must be met by the same element. A dot in a key is
//! a step of the path, on both sides. `exists: false` means: not one scalar there, in no element of any array.
//! Numbers compare as exact decimals.

mod cidr;
pub mod index;
mod leaves;
mod matcher;
mod parse;
mod paths;
mod scan;
mod shared;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use serde_json::Value;

pub use index::Index;
use leaves::Leaves;
use matcher::Scalar;
pub use matcher::{Matcher, clipped, same};
pub use parse::{PatternError, Step, Wrong, parse};
use paths::{FieldId, Paths};
pub use shared::Rows;

/// A pattern over an event's document, as alternatives of which one must be met.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    clauses: Vec<Clause>,
    paths: Paths,
}

/// Fields that must all be met; at most 64.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    wanted: Vec<Wanted>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its number in the [`Paths`] by which events are read.
    id: FieldId,
    field: Arc<Field>,
}

/// A path as steps, and the values of which one must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub path: Vec<String>,
    pub any_of: Vec<Matcher>,
}

/// Values shown in a mismatch; an event may hold thousands.
const VALUES_SHOWN_MAX: usize = 3;
/// Alternatives of `$or` whose mismatch is shown.
const CLAUSES_SHOWN_MAX: usize = 3;

impl Pattern {
    /// Reads the JSON form; the first problem where there are several ([`parse`] gives all).
    ///
    /// # Errors
    /// The pattern is not one of the language, or beyond a bound.
    pub fn from_json(json: &Value) -> Result<Self, PatternError> {
        let (pattern, problems) = parse(json);
        problems.into_iter().next().map_or(Ok(pattern), Err)
    }

    fn new(alternatives: Vec<Vec<Arc<Field>>>) -> Self {
        let mut paths = Paths::default();
        let clauses = alternatives
            .into_iter()
            .map(|fields| {
                let wanted = fields.into_iter().map(|field| Wanted { id: paths.add(&field.path), field });
                Clause { wanted: wanted.collect() }
            })
            .collect();
        Self { clauses, paths }
    }

    pub fn matches(&self, document: &Value) -> bool {
        let leaves = Leaves::of(document, &self.paths);
        self.clauses.iter().any(|clause| leaves.meet(clause))
    }

    /// What did not match, with its operands: `properties.price is 3, wanted >= 5`. `None` where the pattern matches.
    pub fn mismatch(&self, document: &Value) -> Option<String> {
        let leaves = Leaves::of(document, &self.paths);
        if self.clauses.iter().any(|clause| leaves.meet(clause)) {
            return None;
        }
        let mut told: Vec<String> =
            self.clauses.iter().take(CLAUSES_SHOWN_MAX).map(|clause| clause.mismatch(&leaves)).collect();
        told.dedup();
        if self.clauses.len() > CLAUSES_SHOWN_MAX {
            told.push(format!("nor do {} more alternatives fit", self.clauses.len() - CLAUSES_SHOWN_MAX));
        }
        Some(told.join("; "))
    }

    /// Like [`Pattern::matches`], with `name` standing for the document's own `event`.
    pub fn matches_named(&self, name: &str, document: &Value) -> bool {
        let mut leaves = Leaves::of(document, &self.paths);
        if let Some(event) = self.paths.find(&["event".to_owned()]) {
            leaves.replace(event, Scalar::Text(name.into()));
        }
        self.clauses.iter().any(|clause| leaves.meet(clause))
    }

    /// The fields it looks at, each with the values of which one must be there; one of several alternatives may come
    /// more than once.
    pub fn fields(&self) -> impl Iterator<Item = (&[String], &[Matcher])> {
        let wanted = self.clauses.iter().flat_map(|clause| &clause.wanted);
        wanted.map(|wanted| (wanted.field.path.as_slice(), wanted.field.any_of.as_slice()))
    }

    /// Whether the pattern looks at nothing but the event's name, so that a door need not open the document.
    pub fn names_only(&self) -> bool {
        let mut wanted = self.clauses.iter().flat_map(|clause| &clause.wanted);
        wanted.all(|wanted| wanted.field.path == ["event"])
    }
}

impl Clause {
    /// The first field that is not met, or that no single element meets all.
    fn mismatch(&self, leaves: &Leaves<'_>) -> String {
        let alone = |wanted: &&Wanted| !leaves.meet(&Self { wanted: vec![(*wanted).clone()] });
        match self.wanted.iter().find(alone) {
            Some(Wanted { id, field }) => {
                let wanted: Vec<String> = field.any_of.iter().map(ToString::to_string).collect();
                format!("{} is {}, wanted {}", field.path.join("."), shown(leaves, *id), wanted.join(" or "))
            }
            // Every field is met by some element of an array, and no single element meets all of them.
            None => {
                let paths: Vec<String> = self.wanted.iter().map(|wanted| wanted.field.path.join(".")).collect();
                format!("no single element has {} as wanted", paths.join(", "))
            }
        }
    }
}

impl Field {
    fn allows_absence(&self) -> bool {
        self.any_of.contains(&Matcher::Exists(false))
    }

    fn accepts(&self, value: &Scalar<'_>) -> bool {
        self.any_of.iter().any(|matcher| matcher.accepts(value))
    }
}

fn shown(leaves: &Leaves<'_>, field: FieldId) -> String {
    let found = leaves.at(field);
    if found.is_empty() {
        return "missing".to_owned();
    }
    let mut text: Vec<String> = found.iter().take(VALUES_SHOWN_MAX).map(|leaf| leaf.value.shown()).collect();
    if found.len() > VALUES_SHOWN_MAX {
        text.push(format!("{} more", found.len() - VALUES_SHOWN_MAX));
    }
    text.join(", ")
}
