//! Permission per channel: granted, denied or unknown, with where it came from and when.

use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;

/// The answer of a person on one channel. Unknown is the absence of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    Granted,
    Denied,
}

impl ConsentState {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "granted" => Some(Self::Granted),
            "denied" => Some(Self::Denied),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
        }
    }
}

/// A line of the consent ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub state: ConsentState,
    /// Where it came from: `checkout form`, `unsubscribe link`, `import`, …
    pub source: String,
    pub at: Timestamp,
    /// Which wording was agreed to.
    pub text_version: Option<String>,
}

impl Consent {
    /// Two answers of one person: a denial wins, else the newer.
    #[must_use]
    pub fn united(self, other: &Self) -> Self {
        let weight = |consent: &Self| (consent.state == ConsentState::Denied, consent.at);
        if weight(other) > weight(&self) { other.clone() } else { self }
    }
}

/// What unknown consent means on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownConsent {
    Blocked,
    Allowed,
}
