//! What decisions leave with a person beside traits and segments: what computed traits came to, which dates are next, and
//! on which lists an operator put them. One value of the profile's row, so that its version guards it too.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audience::suppression::{Suppression, SuppressionKind};
use crate::ids::{ProfileId, Timestamp};

/// Addresses of which is remembered that they are stopped; of one that is forgotten the log tells again whoever gets it.
const STOPPED_MAX: usize = 50;

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
    /// Addresses they have or had, by their subjects, that stand on the suppression list, as the log told this person;
    /// whatever stops no more than a topic is left out. Nothing else decides whether they can be reached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stopped: BTreeMap<String, Vec<Suppression>>,
}

/// What a computed trait came to when last looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Worked {
    /// None: there is nothing to work it out of, or an amount of a currency without a rate is in it, which is then named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The currency of an amount, as text; without a value, that whose rate is missing.
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
        let Self { computed, dates, lists, existing, stopped } = self;
        let is_empty = computed.is_empty() && dates.is_empty() && lists.is_empty() && existing.is_empty();
        is_empty && stopped.is_empty()
    }

    /// The computed traits that have a value, with it.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.computed.iter().filter_map(|(key, worked)| Some((key.as_str(), worked.value.as_ref()?)))
    }

    /// The currency for want of whose rate this computed trait is not known.
    pub fn unrated(&self, key: &str) -> Option<&str> {
        let worked = self.computed.get(key).filter(|worked| worked.value.is_none())?;
        worked.currency.as_ref()?.as_str()
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

    /// All that stands on the list for an address; nothing: it may be used.
    pub fn tell_stopped(&mut self, subject: &str, suppressions: Vec<Suppression>) {
        self.stopped.remove(subject);
        if suppressions.is_empty() {
            return;
        }
        while self.stopped.len() >= STOPPED_MAX {
            self.stopped.pop_first();
        }
        self.stopped.insert(subject.to_owned(), suppressions);
    }

    /// An answer of the person came onto the list.
    pub fn stop(&mut self, subject: &str, why: Suppression) {
        let known = self.stopped.get(subject).map_or(&[][..], Vec::as_slice);
        if !known.iter().any(|one| one.kind == why.kind && one.profile == why.profile) {
            self.tell_stopped(subject, [known, &[why]].concat());
        }
    }

    /// What of this kind came onto the list until then is taken off it: of this person, or of anybody.
    pub fn free(&mut self, subject: &str, kind: &SuppressionKind, whose: Option<ProfileId>, at: Timestamp) {
        let Some(known) = self.stopped.get(subject) else { return };
        let is_freed =
            |one: &&Suppression| &one.kind == kind && (whose.is_none() || one.profile == whose) && one.at <= at;
        let rest: Vec<Suppression> = known.iter().filter(|one| !is_freed(one)).cloned().collect();
        self.tell_stopped(subject, rest);
    }

    /// What either was told, where two profiles are one person; the answers of both are those of the one that stays.
    pub fn unite_stopped(&mut self, (ours, theirs): (ProfileId, ProfileId), other: &Self) {
        let of = |one: &Suppression| if one.profile == Some(theirs) { Some(ours) } else { one.profile };
        for (subject, listed) in std::mem::take(&mut self.stopped).iter().chain(&other.stopped) {
            listed.iter().for_each(|one| self.stop(subject, Suppression { profile: of(one), ..one.clone() }));
        }
    }
}
