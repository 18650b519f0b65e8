//! What decisions leave with a person beside traits and segments: what computed traits came to, which dates are next, and
//! on which lists an operator put them. One value of the profile's row, so that its version guards it too.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::Timestamp;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// By the computed trait's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub computed: BTreeMap<String, Worked>,
    /// By the key of the campaign that is entered at a date.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dates: BTreeMap<String, Appointment>,
    /// Since when the person is on the list of a static segment, by its key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, Timestamp>,
    /// By the key of the campaign that asks for people who are in its segment already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub existing: BTreeMap<String, Inclusion>,
}

/// What a computed trait came to when last looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Worked {
    /// None: there is nothing to work it out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The currency of an amount, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Value>,
    /// It cannot change before without a new input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Where a person stands with a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Appointment {
    /// The next instant at which the campaign is entered, and the date it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<(Timestamp, Date)>,
    /// The date that was last told of: never again for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Date>,
}

/// Where a member of a segment stands with a campaign that asks for those who are in it already.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inclusion {
    pub segment: String,
    /// Waits for a turn: since when they are a member, and by what the order goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<(Timestamp, Timestamp)>,
    /// Of a membership that began by then the campaign was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
}

impl Remembered {
    pub fn is_empty(&self) -> bool {
        self.computed.is_empty() && self.dates.is_empty() && self.lists.is_empty() && self.existing.is_empty()
    }

    /// The computed traits that have a value, with it.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.computed.iter().filter_map(|(key, worked)| Some((key.as_str(), worked.value.as_ref()?)))
    }

    /// Another profile of the same person: on every list of either, since the earlier of the two. What the traits and
    /// dates come to for both together is still to be looked at.
    pub fn unite(&mut self, other: &Self) {
        for (key, theirs) in &other.lists {
            let ours = self.lists.entry(key.clone()).or_insert(*theirs);
            *ours = (*ours).min(*theirs);
        }
        for (key, theirs) in &other.computed {
            self.computed.entry(key.clone()).or_insert_with(|| theirs.clone());
        }
        for (key, theirs) in &other.dates {
            let ours = self.dates.entry(key.clone()).or_default();
            ours.next = ours.next.into_iter().chain(theirs.next).min();
            ours.done = ours.done.into_iter().chain(theirs.done).max();
        }
        for (key, theirs) in &other.existing {
            let ours = self.existing.entry(key.clone()).or_insert_with(|| theirs.clone());
            ours.waiting = ours.waiting.into_iter().chain(theirs.waiting).min();
            ours.done = ours.done.max(theirs.done);
            // For either membership is for both.
            ours.waiting = ours.waiting.filter(|_| ours.done.is_none());
        }
    }
}
