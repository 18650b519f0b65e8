//! Frequency caps: at most N messages per rolling window, by scope; exact, over the list of slots in use.

use serde::{Deserialize, Serialize};

use crate::ids::{EnrollmentId, MessageId, Span, Timestamp};
use crate::message::Channel;

/// At most `at_most` messages of `scope` in any window of length `per`. Rules are ANDed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub at_most: u32,
    pub per: Span,
    pub scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Any marketing message.
    Any,
    Channel(Channel),
    /// Messages of this campaign.
    Campaign(String),
    /// Messages of the candidate's own campaign, whichever it is. Counts enrollments from their first send, or
    /// messages with `per_step`.
    EachCampaign {
        per_step: bool,
    },
}

/// A used slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub message: MessageId,
    pub at: Timestamp,
    pub channel: Channel,
    pub campaign: String,
    pub enrollment: EnrollmentId,
}
