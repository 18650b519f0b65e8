//! Under which predicate a clause stands, and which clauses the scalars of an event lead to.
//!
//! Exact values, the ends of texts and texts without regard to case stand in one table by their hash; numbers and
//! ranges of numbers in a table of intervals per field. Beside each clause stands one more value that it asks for, so that
//! most clauses that an event leads to in vain need not be fetched. A hash that two values share leads to a clause too
//! many, never to one too few: every clause found is evaluated as a whole.

use std::sync::Arc;

use crate::event::pattern::leaves::Leaves;
use crate::event::pattern::matcher::{Bound, Comparison, Matcher, Scalar};
use crate::event::pattern::paths::FieldId;
use crate::event::pattern::shared::{Row, Rows, Table};
use crate::event::pattern::text::{TextTest, folded};
use crate::event::pattern::{Clause, Wanted};

/// Clauses counted where ranges of numbers are compared; more is simply many.
const CROWD_MAX: usize = 64;
/// Counters of how often each predicate was asked for; predicates that share one seem more common than they are.
const COUNTERS: usize = 2_048;

#[derive(Debug, Clone, Default)]
pub struct Pivots {
    hashed: Table,
    fields: Vec<Arc<AtField>>,
    /// Clauses that nothing in an event can lead to: every field may be absent.
    always: Rows<u32>,
    /// What many clauses ask for, many events have, we suppose.
    asked: Rows<u16>,
}

/// What clauses wait for at one field.
#[derive(Debug, Clone, Default)]
struct AtField {
    exact: bool,
    /// Some clause found elsewhere asks for a value here.
    besides: bool,
    ignoring_case: bool,
    /// Lengths in bytes of the beginnings and ends that are in the table.
    prefixes: Vec<usize>,
    suffixes: Vec<usize>,
    /// By the float nearest to a number; rounding keeps the order, so nothing is missed.
    numbers: Table,
    /// Clauses that any scalar may meet.
    anything: Rows<Row>,
}

/// One way to find a clause.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Exact(u64),
    IgnoringCase(u64),
    Prefix(u64, usize),
    Suffix(u64, usize),
    Numbers(u64, u64),
    Anything,
}

impl Key {
    fn counter(&self, field: FieldId) -> usize {
        let hash = match self {
            Self::Exact(hash) | Self::IgnoringCase(hash) | Self::Prefix(hash, _) | Self::Suffix(hash, _) => *hash,
            Self::Numbers(low, high) if low == high => hash(Tag::Number, field, &low.to_le_bytes()),
            Self::Numbers(..) => hash(Tag::Range, field, b""),
            Self::Anything => hash(Tag::Anything, field, b""),
        };
        (hash >> 32) as usize % COUNTERS
    }
}

impl Pivots {
    /// Puts the clause's fields into the order in which most events are told from it soonest: those that few clauses
    /// ask for first, and that by which it is found last.
    pub fn insert(&mut self, clause: &mut Clause, row: u32) {
        let keys: Vec<Vec<Key>> = clause.wanted.iter().map(keys).collect();
        let ways = || clause.wanted.iter().zip(&keys).filter(|(wanted, _)| !wanted.field.allows_absence());
        ways().for_each(|(wanted, keys)| keys.iter().for_each(|key| self.count(wanted.id, key)));
        let best = ways().map(|(wanted, keys)| (self.crowd(wanted.id, keys), wanted.id, keys.clone()));
        let best = best.min_by_key(|(crowd, ..)| *crowd).map(|(_, field, keys)| (field, keys));
        let found_by = best.as_ref().map(|(field, _)| *field);
        let others = ways().filter(|(wanted, _)| Some(wanted.id) != found_by);
        let exacts = others.filter_map(|(wanted, keys)| match keys[..] {
            [Key::Exact(hash)] => Some((self.crowd(wanted.id, keys), wanted.id, hash)),
            _ => None,
        });
        let besides = exacts.min_by_key(|(crowd, ..)| *crowd).map(|(_, field, hash)| (field, hash));
        let mut ordered: Vec<(bool, usize, Wanted)> = Vec::with_capacity(keys.len());
        for (wanted, keys) in std::mem::take(&mut clause.wanted).into_iter().zip(&keys) {
            ordered.push((Some(wanted.id) == found_by, self.crowd(wanted.id, keys), wanted));
        }
        ordered.sort_by_key(|(is_last, crowd, _)| (*is_last, *crowd));
        clause.wanted = ordered.into_iter().map(|(.., wanted)| wanted).collect();
        let Some((field, keys)) = best else { return self.always.push(row) };
        let row = Row { clause: row, besides: besides.map_or(0, |(field, hash)| self.note_besides(field, hash)) };
        for key in &keys {
            if let Key::Exact(hash) | Key::IgnoringCase(hash) | Key::Prefix(hash, _) | Key::Suffix(hash, _) = key {
                self.hashed.insert(*hash, *hash, row);
            }
        }
        let at = self.field_mut(field);
        for key in keys {
            match key {
                Key::Exact(_) => at.exact = true,
                Key::IgnoringCase(_) => at.ignoring_case = true,
                Key::Prefix(_, length) => add(&mut at.prefixes, length),
                Key::Suffix(_, length) => add(&mut at.suffixes, length),
                Key::Numbers(low, high) => at.numbers.insert(low, high, row),
                Key::Anything => at.anything.push(row),
            }
        }
    }

    fn field_mut(&mut self, field: FieldId) -> &mut AtField {
        let field = field as usize;
        if self.fields.len() <= field {
            self.fields.resize_with(field + 1, Arc::default);
        }
        Arc::make_mut(&mut self.fields[field])
    }

    /// What is kept of the hash.
    fn note_besides(&mut self, field: FieldId, hash: u64) -> u32 {
        self.field_mut(field).besides = true;
        brief(hash)
    }

    fn count(&mut self, field: FieldId, key: &Key) {
        while self.asked.len() < COUNTERS {
            self.asked.push(0);
        }
        let counter = key.counter(field);
        let known = self.asked_for(field, key);
        self.asked.set(counter, known.saturating_add(1));
    }

    /// How many clauses ever asked for this, or a few more.
    fn asked_for(&self, field: FieldId, key: &Key) -> u16 {
        self.asked.get(key.counter(field)).copied().unwrap_or(0)
    }

    /// How often an event leads to a clause under these keys, as far as what clauses ask for tells; and how wide the
    /// keys are of themselves.
    fn crowd(&self, field: FieldId, keys: &[Key]) -> usize {
        let of = |key: &Key| {
            let asked = usize::from(self.asked_for(field, key));
            match key {
                Key::Exact(_) => asked,
                Key::IgnoringCase(_) => 1 + asked,
                Key::Prefix(..) | Key::Suffix(..) => 2 + asked,
                Key::Numbers(low, high) if low == high => asked,
                Key::Numbers(0, _) | Key::Numbers(_, u64::MAX) => CROWD_MAX / 2 + asked / 2,
                Key::Numbers(low, high) => 8 + self.over(field, *low).max(self.over(field, *high)),
                Key::Anything => 4 * CROWD_MAX + asked,
            }
        };
        keys.iter().map(of).sum()
    }

    /// How many ranges of clauses hold a number.
    fn over(&self, field: FieldId, number: u64) -> usize {
        self.fields.get(field as usize).map_or(0, |at| at.numbers.over(number).take(CROWD_MAX).count())
    }

    /// Rows that may be met, some more than once.
    pub fn candidates(&self, leaves: &Leaves<'_>, found: &mut Vec<u32>) {
        found.extend(self.always.iter());
        let is_beside = |field: FieldId| self.fields.get(field as usize).is_some_and(|at| at.besides);
        let values = leaves.iter().filter(|leaf| is_beside(leaf.field));
        let values: Vec<u32> = values.filter_map(|leaf| exact(leaf.field, &leaf.value)).map(brief).collect();
        let admitted = |row: &Row| row.besides == 0 || values.contains(&row.besides);
        let mut found = |rows: &mut dyn Iterator<Item = Row>| found.extend(rows.filter(admitted).map(|row| row.clause));
        for leaf in leaves.iter() {
            let Some(at) = self.fields.get(leaf.field as usize) else { continue };
            found(&mut at.anything.iter().copied());
            if at.exact
                && let Some(hash) = exact(leaf.field, &leaf.value)
            {
                found(&mut self.hashed.at(hash));
            }
            match &leaf.value {
                Scalar::Number(number) if !number.near.is_nan() => found(&mut at.numbers.over(ordered(number.near))),
                Scalar::Text(text) => self.of_text(at, leaf.field, text, &mut found),
                Scalar::Number(_) | Scalar::Bool(_) | Scalar::Null => {}
            }
        }
    }

    fn of_text(&self, at: &AtField, field: FieldId, text: &str, found: &mut impl FnMut(&mut dyn Iterator<Item = Row>)) {
        if at.ignoring_case {
            found(&mut self.hashed.at(hash(Tag::IgnoringCase, field, folded(text).as_bytes())));
        }
        let bytes = text.as_bytes();
        for length in at.prefixes.iter().take_while(|length| **length <= bytes.len()) {
            found(&mut self.hashed.at(hash(Tag::Prefix, field, &bytes[..*length])));
        }
        for length in at.suffixes.iter().take_while(|length| **length <= bytes.len()) {
            found(&mut self.hashed.at(hash(Tag::Suffix, field, &bytes[bytes.len() - *length..])));
        }
    }
}

fn add(lengths: &mut Vec<usize>, length: usize) {
    if let Err(place) = lengths.binary_search(&length) {
        lengths.insert(place, length);
    }
}

/// Keys that together find every event in which this field is met.
fn keys(wanted: &Wanted) -> Vec<Key> {
    let each: Vec<Key> = wanted.field.any_of.iter().map(|matcher| key(wanted.id, matcher)).collect();
    if each.contains(&Key::Anything) { vec![Key::Anything] } else { each }
}

fn key(field: FieldId, matcher: &Matcher) -> Key {
    let of_text = |tag, text: &str| hash(tag, field, text.as_bytes());
    let prefix = |text: &str| Key::Prefix(of_text(Tag::Prefix, text), text.len());
    let suffix = |text: &str| Key::Suffix(of_text(Tag::Suffix, text), text.len());
    match matcher {
        Matcher::Null => Key::Exact(hash(Tag::Null, field, b"")),
        Matcher::Bool(value) => Key::Exact(hash(Tag::Bool, field, &[u8::from(*value)])),
        Matcher::Number(bound) => Key::Numbers(ordered(bound.near), ordered(bound.near)),
        Matcher::Numeric(comparisons) => interval(comparisons),
        Matcher::Text(TextTest::Equals(text)) => Key::Exact(of_text(Tag::Text, text)),
        Matcher::Text(TextTest::EqualsIgnoreCase(text)) => Key::IgnoringCase(of_text(Tag::IgnoringCase, text)),
        Matcher::Text(TextTest::Prefix(text)) => prefix(text),
        Matcher::Text(TextTest::Suffix(text)) => suffix(text),
        Matcher::Text(TextTest::Wildcard(wildcard)) => match (wildcard.literal(), wildcard.ends()) {
            (Some(text), _) => Key::Exact(of_text(Tag::Text, text)),
            (None, ("", "")) => Key::Anything,
            (None, (first, last)) if first.len() >= last.len() => prefix(first),
            (None, (_, last)) => suffix(last),
        },
        Matcher::Text(TextTest::PrefixIgnoreCase(_) | TextTest::SuffixIgnoreCase(_))
        | Matcher::Exists(_)
        | Matcher::Cidr(_)
        | Matcher::AnythingBut(_) => Key::Anything,
    }
}

/// The bounds are both taken in: what lies on an open one is sorted out where the clause is evaluated.
fn interval(comparisons: &[(Comparison, Bound)]) -> Key {
    let (mut low, mut high) = (0, u64::MAX);
    for (comparison, bound) in comparisons {
        let at = ordered(bound.near);
        match comparison {
            Comparison::Equal => (low, high) = (at, at),
            Comparison::Less | Comparison::LessOrEqual => high = at,
            Comparison::Greater | Comparison::GreaterOrEqual => low = at,
        }
    }
    Key::Numbers(low, high)
}

/// The same order as the floats have, and both zeros as one.
fn ordered(near: f64) -> u64 {
    let bits = (near + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn exact(field: FieldId, value: &Scalar<'_>) -> Option<u64> {
    Some(match value {
        Scalar::Null => hash(Tag::Null, field, b""),
        Scalar::Bool(value) => hash(Tag::Bool, field, &[u8::from(*value)]),
        Scalar::Text(text) => hash(Tag::Text, field, text.as_bytes()),
        Scalar::Number(_) => return None,
    })
}

/// The part of a hash that stands beside a clause; never 0.
fn brief(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

#[derive(Debug, Clone, Copy)]
enum Tag {
    Null,
    Bool,
    Text,
    IgnoringCase,
    Prefix,
    Suffix,
    Number,
    Range,
    Anything,
}

/// Quick, the same in every run, and no secret: whoever finds two texts of one hash gains an evaluation.
fn hash(tag: Tag, field: FieldId, bytes: &[u8]) -> u64 {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |state: u64, word: u64| (state.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    let mut state = mix(u64::from(field) << 32 | (tag as u64) << 24, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = mix(state, u64::from_le_bytes(last));
    state ^ state >> 29
}
