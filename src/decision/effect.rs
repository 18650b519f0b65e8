//! What a decision asks of the world: a closed list, applied in memory by `Person::apply` and stored in one
//! transaction with the log position.

use serde::{Deserialize, Serialize};

use crate::audience::{Consent, Traits};
use crate::decision::enrollment::Enrollment;
use crate::decision::person::Person;
use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::message::{Message, Reason};

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// This person, under another profile until now, is the one decided on: all that is theirs becomes the other's.
    Merge(Box<Person>),
    Identify {
        user_id: String,
    },
    SetTraits(Traits),
    SetConsent {
        channel: String,
        consent: Consent,
    },
    /// The event becomes part of the history.
    Record {
        name: String,
        at: Timestamp,
        position: Position,
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
    Convert(Conversion),
    /// The next instant at which something may happen to this person by itself.
    WakeAt(Option<Timestamp>),
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
        until: Timestamp,
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
