//! What a decision asks of the world: a closed list, applied in memory by `Person::apply` and stored in one
//! transaction with the log position.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audience::cart::Step;
use crate::audience::remembered::{Appointment, Inclusion, Worked};
use crate::audience::segment::Standing;
use crate::audience::{Carts, Consent, Traits};
use crate::decision::enrollment::Enrollment;
use crate::decision::person::Person;
use crate::event::{Event, Origin};
use crate::ids::{EventId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{Channel, Message, Reason, Suppression, SuppressionKind};

#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "an effect lives as long as its decision, and most decisions have few")]
pub enum Effect {
    /// This person, under another profile until now, is the one decided on: all that is theirs becomes the other's.
    Merge(Box<Person>),
    Identify {
        user_id: String,
    },
    SetTraits(Traits),
    /// A row of the ledger, about a channel or a topic by its name.
    SetConsent {
        channel: String,
        consent: Consent,
    },
    /// Nobody with this normalised address is sent what `kind` stops.
    Suppress {
        channel: Channel,
        address: String,
        kind: SuppressionKind,
        source: String,
        at: Timestamp,
    },
    /// Takes back what was suppressed before `at` for this person's answer, or for anybody's.
    LiftSuppression {
        channel: Channel,
        address: String,
        kind: SuppressionKind,
        source: String,
        at: Timestamp,
        of_anybody: bool,
    },
    /// What stands on the suppression list for an address of theirs, by its subject, as the log tells them.
    Reach {
        subject: String,
        suppressions: Vec<Suppression>,
    },
    /// The event becomes part of the history.
    Record {
        name: String,
        at: Timestamp,
        position: Position,
    },
    /// What an event does to a cart.
    Cart(Step),
    /// All carts, as the history tells of them that nobody had kept count of.
    Carts(Carts),
    /// The zone of the newest event that names one.
    Seen {
        zone: String,
    },
    /// A new enrollment, or a new state of a known one.
    Enrollment(Enrollment),
    CreateMessage(Message),
    /// A newer event becomes the one a message that still waits is rendered from.
    RenewMessage {
        message: MessageId,
        event: Position,
    },
    /// Stop a message that has not been claimed.
    CancelMessage {
        message: MessageId,
        reason: Reason,
    },
    /// The message was sent: from now on the person may reach the goal of its campaign.
    Sent {
        message: MessageId,
        at: Timestamp,
    },
    Convert(Conversion),
    /// Where the person now stands in a segment.
    Standing {
        segment: String,
        standing: Standing,
    },
    /// What a computed trait now comes to.
    Computed {
        key: String,
        worked: Worked,
    },
    /// When a campaign is next entered by a date.
    Appointed {
        campaign: String,
        appointment: Appointment,
    },
    /// Whether the person waits for their turn in a campaign that asks for who is a member already; none: no longer.
    Inclusion {
        campaign: String,
        inclusion: Option<Inclusion>,
    },
    /// Since when the person is on the list of a static segment; none: no longer.
    Listed {
        segment: String,
        since: Option<Timestamp>,
    },
    /// The definitions up to this position have been looked at for this person.
    SegmentsSeen(Position),
    /// Something follows: an event of our own.
    Happen(OwnEvent),
    /// The next instant at which something may happen to this person by itself.
    WakeAt(Option<Timestamp>),
}

/// What a decision makes happen: appended to the log after the input that caused it, in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnEvent {
    /// Derived from its cause: deciding again makes the same.
    pub id: EventId,
    pub name: String,
    pub at: Timestamp,
    pub cause: Position,
    /// Such events in a row, back to what a person did.
    pub depth: u8,
    pub properties: Map<String, Value>,
}

impl OwnEvent {
    /// The event as the log keeps it.
    pub fn into_event(self) -> Event {
        let origin = Origin::Decided { cause: self.cause.0, depth: self.depth };
        Event::own(self.id, format!("decided:{}", self.id), self.name, &self.properties, self.at, origin)
    }
}

/// A goal reached after a message was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    pub message: MessageId,
    pub campaign: String,
    pub position: Position,
    pub at: Timestamp,
    /// Exact decimal text from the event, with its currency where it names one.
    pub value: Option<String>,
    pub currency: Option<String>,
}

/// What one candidate campaign made of an input: a line of the answer to "why".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub campaign: String,
    pub version: u32,
    #[serde(flatten)]
    pub verdict: FindingVerdict,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum FindingVerdict {
    Entered {
        key: String,
        /// The end of its delay; none where it has none.
        until: Option<Timestamp>,
    },
    /// A repeat that updated or restarted the enrollment.
    Repeated {
        key: String,
        until: Option<Timestamp>,
    },
    Exited {
        key: String,
        by: String,
    },
    /// The delay is over and the message is in the outbox.
    Queued {
        key: String,
        message: MessageId,
    },
    Completed {
        key: String,
        message: MessageId,
        status: String,
    },
    Converted {
        message: MessageId,
    },
    /// Another profile turned out to be this person: what came with it. The finding's campaign is empty.
    Merged(Merged),
    NotEntered {
        reason: Reason,
    },
    /// The person came into a segment or left it; the finding's campaign is empty.
    Segment {
        segment: String,
        entered: bool,
        /// By a changed definition or an import: it starts nothing.
        backfill: bool,
        because: String,
    },
    /// A trait became another, and something may come of it; the finding's campaign is empty.
    Trait {
        name: String,
        from: Option<Value>,
        to: Option<Value>,
        /// By a changed definition or an import: it starts nothing.
        backfill: bool,
        because: String,
    },
    /// Something about the input itself, of no one campaign: the finding's campaign is empty.
    Noted {
        reason: Reason,
    },
}

/// What a merge brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// The profile that ended.
    pub profile: ProfileId,
    /// Its user id, where it had one.
    pub user_id: Option<String>,
    /// Events of its recent history, and pages of older ones.
    pub events: usize,
    pub pages: u32,
    /// Names of the traits that filled gaps.
    pub traits: Vec<String>,
    /// Channels on which its answer counts now.
    pub consent: Vec<String>,
    /// Active enrollments that go on.
    pub enrollments: usize,
}

impl FindingVerdict {
    /// As stored and counted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Entered { .. } => "entered",
            Self::Repeated { .. } => "repeated",
            Self::Exited { .. } => "exited",
            Self::Queued { .. } => "queued",
            Self::Completed { .. } => "completed",
            Self::Converted { .. } => "converted",
            Self::Merged(_) => "merged",
            Self::NotEntered { .. } => "not_entered",
            Self::Segment { entered: true, .. } => "segment_entered",
            Self::Segment { entered: false, .. } => "segment_left",
            Self::Trait { .. } => "trait_changed",
            Self::Noted { .. } => "noted",
        }
    }

    /// Why not, by its code.
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::NotEntered { reason } | Self::Noted { reason } => Some(reason),
            Self::Entered { .. }
            | Self::Repeated { .. }
            | Self::Exited { .. }
            | Self::Queued { .. }
            | Self::Completed { .. }
            | Self::Converted { .. }
            | Self::Merged(_)
            | Self::Segment { .. }
            | Self::Trait { .. } => None,
        }
    }
}

impl Finding {
    /// About the input itself.
    pub fn noted(reason: Reason) -> Self {
        Self { campaign: String::new(), version: 0, verdict: FindingVerdict::Noted { reason } }
    }
}

/// The answer of `decide`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    pub effects: Vec<Effect>,
    pub findings: Vec<Finding>,
}
