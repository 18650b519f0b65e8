//! The event pattern language (part of it): `{ properties: { price: [ { numeric: [ ">=", 5 ] } ] } }`.
//!
//! Fields are ANDed, the values of one field ORed; an array in the event matches when any element does, and fields
//! below one array must be met by the same element. A dot in a key is a step of the path, on both sides.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::event::number::decimal;
pub use parse::{PatternError, Step, parse};

/// A pattern over an event's document: (dotted path as steps, alternatives).
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub path: Vec<String>,
    pub any_of: Vec<Matcher>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Matcher {
    /// A scalar, null included.
    Exact(Value),
    Prefix(String),
    Exists(bool),
    /// Every comparison holds.
    Numeric(Vec<(Comparison, Decimal)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Values shown in a mismatch; an event may hold thousands.
const VALUES_SHOWN_MAX: usize = 3;
/// Characters of one value shown in a mismatch.
const VALUE_CHARS_SHOWN_MAX: usize = 80;

impl Pattern {
    /// Reads the JSON form; the first problem where there are several ([`parse`] gives all).
    pub fn from_json(json: &Value) -> Result<Self, PatternError> {
        let (pattern, problems) = parse(json);
        problems.into_iter().next().map_or(Ok(pattern), Err)
    }

    pub fn matches(&self, document: &Value) -> bool {
        let open: Vec<Open> = self
            .fields
            .iter()
            .filter(|field| !(field.allows_absence() && field.is_absent(document)))
            .map(|field| Open { path: &field.path, field })
            .collect();
        meets(&open, document)
    }

    /// What did not match, with its operands: `properties.price is 3, wanted >= 5`. `None` where the pattern matches.
    pub fn mismatch(&self, document: &Value) -> Option<String> {
        if self.matches(document) {
            return None;
        }
        let alone = |field: &&Field| !Self { fields: vec![(*field).clone()] }.matches(document);
        Some(match self.fields.iter().find(alone) {
            Some(field) => {
                let wanted: Vec<String> = field.any_of.iter().map(ToString::to_string).collect();
                format!("{} is {}, wanted {}", field.path.join("."), shown(document, &field.path), wanted.join(" or "))
            }
            // Every field is met by some element of an array, and no single element meets all of them.
            None => {
                let paths: Vec<String> = self.fields.iter().map(|field| field.path.join(".")).collect();
                format!("no single element has {} as wanted", paths.join(", "))
            }
        })
    }

    /// Like [`Pattern::matches`], with `name` standing for the document's own `event`.
    pub fn matches_named(&self, name: &str, document: &Value) -> bool {
        let name = Value::String(name.to_owned());
        self.fields
            .iter()
            .filter(|field| field.is_name())
            .all(|field| field.any_of.iter().any(|matcher| matcher.accepts(&name)))
            && (self.names_only() || self.without_name().matches(document))
    }

    fn without_name(&self) -> Self {
        Self { fields: self.fields.iter().filter(|field| !field.is_name()).cloned().collect() }
    }

    /// Whether the pattern looks at nothing but the event's name, so that a door need not open the document.
    pub fn names_only(&self) -> bool {
        self.fields.iter().all(Field::is_name)
    }
}

impl Field {
    fn is_name(&self) -> bool {
        self.path.len() == 1 && self.path[0] == "event"
    }

    fn allows_absence(&self) -> bool {
        self.any_of.contains(&Matcher::Exists(false))
    }

    fn is_absent(&self, document: &Value) -> bool {
        let mut found = Vec::new();
        leaves(document, &self.path, &mut found);
        found.is_empty()
    }
}

/// A field with what is left of its path.
struct Open<'a> {
    path: &'a [String],
    field: &'a Field,
}

/// Whether every field is met below `value`, each array giving one element to all the fields that cross it.
fn meets(fields: &[Open<'_>], value: &Value) -> bool {
    if fields.is_empty() {
        return true;
    }
    match value {
        Value::Array(elements) => elements.iter().any(|element| meets(fields, element)),
        Value::Object(object) => fields.chunk_by(|one, other| one.path.first() == other.path.first()).all(|group| {
            let Some(first) = group[0].path.first() else { return false };
            match object.get(first) {
                Some(below) => {
                    let rest: Vec<Open> =
                        group.iter().map(|open| Open { path: &open.path[1..], field: open.field }).collect();
                    meets(&rest, below)
                }
                None => group.iter().all(|open| {
                    joined(object, open.path).any(|(below, path)| meets(&[Open { path, field: open.field }], below))
                }),
            }
        }),
        scalar => fields
            .iter()
            .all(|open| open.path.is_empty() && open.field.any_of.iter().any(|matcher| matcher.accepts(scalar))),
    }
}

/// Members of `object` whose own name has dots and covers two or more steps of `path`, with the rest of the path.
fn joined<'a>(
    object: &'a serde_json::Map<String, Value>,
    path: &'a [String],
) -> impl Iterator<Item = (&'a Value, &'a [String])> {
    (2..=path.len()).filter_map(|steps| Some((object.get(&path[..steps].join("."))?, &path[steps..])))
}

/// Every scalar at `path`, through all elements of arrays.
fn leaves<'a>(value: &'a Value, path: &'a [String], found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, path, found)),
        Value::Object(object) => {
            let Some((first, rest)) = path.split_first() else { return };
            match object.get(first) {
                Some(below) => leaves(below, rest, found),
                None => joined(object, path).for_each(|(below, rest)| leaves(below, rest, found)),
            }
        }
        scalar if path.is_empty() => found.push(scalar),
        _ => {}
    }
}

fn shown(document: &Value, path: &[String]) -> String {
    let mut found = Vec::new();
    leaves(document, path, &mut found);
    if found.is_empty() {
        return "missing".to_owned();
    }
    let mut text: Vec<String> = found.iter().take(VALUES_SHOWN_MAX).map(|value| clipped(value)).collect();
    if found.len() > VALUES_SHOWN_MAX {
        text.push(format!("{} more", found.len() - VALUES_SHOWN_MAX));
    }
    text.join(", ")
}

/// A value as a person reads it, cut where it would fill the page.
pub fn clipped(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARS_SHOWN_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

impl Matcher {
    /// Whether a scalar is accepted; objects and arrays never are.
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Exact(wanted) => same(wanted, value),
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Exists(wanted) => *wanted,
            Self::Numeric(comparisons) => decimal(value)
                .is_some_and(|number| comparisons.iter().all(|(comparison, bound)| comparison.holds(number, *bound))),
        }
    }
}

/// Equality of scalars: numbers as exact decimals, no coercion between types.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => decimal(one).is_some_and(|number| Some(number) == decimal(other)),
        _ => one == other,
    }
}

impl Comparison {
    const ALL: [(&'static str, Self); 5] = [
        ("=", Self::Equal),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
    ];

    fn holds(self, number: Decimal, bound: Decimal) -> bool {
        match self {
            Self::Equal => number == bound,
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(sign, _)| *sign == text).map(|(_, comparison)| *comparison)
    }

    fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(_, comparison)| *comparison == self).map_or("", |(sign, _)| sign)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => f.write_str(&clipped(value)),
            Self::Prefix(prefix) => write!(f, "text starting with `{prefix}`"),
            Self::Exists(true) => f.write_str("anything"),
            Self::Exists(false) => f.write_str("nothing"),
            Self::Numeric(comparisons) => {
                let parts: Vec<String> =
                    comparisons.iter().map(|(comparison, bound)| format!("{} {bound}", comparison.sign())).collect();
                f.write_str(&parts.join(" and "))
            }
        }
    }
}
