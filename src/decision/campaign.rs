//! Trigger campaigns as values: what starts one, what ends it, what it sends.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audience::Condition;
use crate::audience::occasion::Occasion;
use crate::audience::value_test::equal;
use crate::decision::existing::Existing;
use crate::event::pattern::Pattern;
use crate::event::{Event, Kind};
use crate::ids::Span;
use crate::message::{CapUse, Channel, OnUnknownSend, Purpose, WhenQuiet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    Draft,
    Live,
    Paused,
    Archived,
}

/// One event leads to one message, optionally after a delay.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    pub key: String,
    /// 1 for the first text applied under this key; every changed text is one more.
    pub version: u32,
    pub name: String,
    /// An e-mail address; alerts go there.
    pub owner: String,
    pub status: CampaignStatus,
    pub purpose: Purpose,
    /// What its messages are about: people subscribe to topics, and caps may count them.
    pub topic: Option<String>,
    /// 0 to 100.
    pub priority: u8,
    pub entry: Entry,
    pub delay: Span,
    /// Checked in the order written; the first that holds gives the reason.
    pub exit: Vec<Exit>,
    pub goal: Option<Goal>,
    pub caps: CapUse,
    pub quiet: WhenQuiet,
    pub max_lateness: Span,
    pub on_unknown_send: OnUnknownSend,
    pub send: Send,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub event: String,
    /// What `event` must tell of.
    pub start: Start,
    pub pattern: Option<Pattern>,
    /// `where`.
    pub filter: Option<Condition>,
    /// Path into the event; at most one active enrollment per profile and value. None: one per profile.
    pub key: Option<String>,
    pub on_repeat: OnRepeat,
    pub reentry: Reentry,
    /// Who is in the segment already enters, too.
    pub existing: Option<Existing>,
}

/// What an entry is about beside its event's name: for what follows by itself, `event` is one of Carillon's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    Event,
    /// This segment was entered or left.
    Segment(String),
    Trait(TraitChange),
    Date(Occasion),
}

/// A trait became another.
#[derive(Debug, Clone, PartialEq)]
pub struct TraitChange {
    pub name: String,
    /// Any of these before, and any of these after; none: whatever it was, also nothing.
    pub from: Option<Vec<Value>>,
    pub to: Option<Vec<Value>>,
}

impl TraitChange {
    fn is_told_by(&self, event: &Event) -> bool {
        let is_any_of = |wanted: &Option<Vec<Value>>, path: &str| {
            let found = event.lookup(path);
            wanted.as_ref().is_none_or(|all| found.is_some_and(|found| all.iter().any(|one| equal(found, one, false))))
        };
        event.lookup("properties.trait").is_some_and(|name| name == self.name.as_str())
            && is_any_of(&self.from, "properties.from")
            && is_any_of(&self.to, "properties.to")
    }
}

impl Campaign {
    /// Whether the event is of the kind that enters, before anything else is asked.
    pub fn is_about(&self, event: &Event) -> bool {
        let is_own = || event.kind == Kind::Own;
        let says = |path: &str, key: &str| event.lookup(path).is_some_and(|found| found == key);
        self.is_turn(event)
            || event.name == self.entry.event
                && match &self.entry.start {
                    Start::Event => true,
                    Start::Segment(key) => is_own() && says("properties.segment", key),
                    Start::Trait(change) => is_own() && change.is_told_by(event),
                    Start::Date(_) => is_own() && says("properties.campaign", &self.key),
                }
    }
}

/// What a repeated entry event does while enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRepeat {
    Ignore,
    /// `event` becomes the newest; the wait goes on.
    Update,
    /// The wait starts over, at most 24 h after entry.
    Restart,
}

/// Whether a profile and key may enroll again, from the end of the last enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reentry {
    Always,
    Never,
    After(Span),
}

/// What ends an enrollment before its message goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Exit {
    Event {
        /// Any of these names.
        events: Vec<String>,
        pattern: Option<Pattern>,
        filter: Option<Condition>,
        /// (path in the entry event, path in this one): equal, or missing on either side, means it matches.
        same: Option<(String, String)>,
    },
    /// A condition that uses no triggering event, with its text as written.
    Condition { condition: Condition, text: String },
}

/// The conversion wanted, within what time of sending.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    pub event: String,
    pub pattern: Option<Pattern>,
    pub filter: Option<Condition>,
    pub within: Span,
    /// Path of the conversion's value in the event.
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    pub channel: Channel,
    pub template: String,
    /// None: the default of purpose and channel.
    pub expires: Option<Span>,
}
