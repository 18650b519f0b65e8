//! Trigger campaigns as values: what starts one, what ends it, what it sends.

use serde::{Deserialize, Serialize};

use crate::audience::Condition;
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
    /// The segment whose entering or leaving `event` tells of.
    pub segment: Option<String>,
    pub pattern: Option<Pattern>,
    /// `where`.
    pub filter: Option<Condition>,
    /// Path into the event; at most one active enrollment per profile and value. None: one per profile.
    pub key: Option<String>,
    pub on_repeat: OnRepeat,
    pub reentry: Reentry,
}

impl Entry {
    /// Whether the event is of the kind that enters, before anything else is asked.
    pub fn is_about(&self, event: &Event) -> bool {
        let Some(key) = &self.segment else { return event.name == self.event };
        event.name == self.event
            && event.kind == Kind::Own
            && event.lookup("properties.segment").is_some_and(|segment| segment == key.as_str())
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
