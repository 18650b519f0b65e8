//! Conditions: a tree evaluated for a profile at an instant, with the triggering event where there is one.

use std::collections::{BTreeMap, BTreeSet};

use crate::audience::value_test::Test;
use crate::audience::{History, Profile};
use crate::event::Event;
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
