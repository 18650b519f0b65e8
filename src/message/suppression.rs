//! Addresses nothing may be sent to, and why: per channel and normalised address, whoever it belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ProfileId, Timestamp};

/// Why an address is on the list. Unsubscribed and topic stop marketing, the others everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SuppressionKind {
    /// Somebody with this address said no to the channel.
    Unsubscribed,
    /// Somebody with this address said no to the topic.
    Topic(String),
    /// Its owner called a message spam.
    Complaint,
    /// The provider says that there is no such mailbox.
    Bounced,
    /// A person put it there.
    Manual,
}

impl SuppressionKind {
    /// Whether it stops transactional messages too.
    pub fn stops_everything(&self) -> bool {
        match self {
            Self::Complaint | Self::Bounced | Self::Manual => true,
            Self::Unsubscribed | Self::Topic(_) => false,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "unsubscribed" => Some(Self::Unsubscribed),
            "complaint" => Some(Self::Complaint),
            "bounced" => Some(Self::Bounced),
            "manual" => Some(Self::Manual),
            other => other.strip_prefix("topic:").map(|topic| Self::Topic(topic.to_owned())),
        }
    }
}

impl fmt::Display for SuppressionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsubscribed => f.write_str("unsubscribed"),
            Self::Topic(topic) => write!(f, "topic:{topic}"),
            Self::Complaint => f.write_str("complaint"),
            Self::Bounced => f.write_str("bounced"),
            Self::Manual => f.write_str("manual"),
        }
    }
}

impl From<SuppressionKind> for String {
    fn from(kind: SuppressionKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for SuppressionKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no kind of suppression"))
    }
}

/// One reason for which one address is on the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    pub kind: SuppressionKind,
    /// Where it came from: the provider's answer, `unsubscribe link`, a person's words.
    pub source: String,
    pub at: Timestamp,
    /// Whose answer it was, where it was somebody's.
    pub profile: Option<ProfileId>,
}
