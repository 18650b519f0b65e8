//! What came of handing a message to a provider. Providers answer with an outcome, never with an error.

use serde::{Deserialize, Serialize};

use crate::ids::Span;

/// The answer of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The provider took it; `reply` is its answer or id, free of personal data where the provider allows.
    Accepted { reply: String },
    /// Not now: try again by the schedule, not before `after` if given. `slow_domain` asks to slow the whole
    /// recipient domain; `about_recipient` says that the provider works, and this one address is what is in the way.
    Retry {
        cause: String,
        after: Option<Span>,
        slow_domain: bool,
        // Answers stored before it was told say nothing of it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        about_recipient: bool,
    },
    /// Never: `suppress` says the address itself is dead.
    Rejected { cause: String, suppress: bool },
    /// The transport itself is unusable (wrong login): keep everything queued, spend no attempt.
    TransportDown { cause: String },
    /// The message went out and the answer never came.
    Unknown { cause: String },
}

impl Outcome {
    /// As stored and counted.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Retry { .. } => "retry",
            Self::Rejected { .. } => "rejected",
            Self::TransportDown { .. } => "transport_down",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// What the provider said, or what stood in its way.
    pub fn words(&self) -> &str {
        match self {
            Self::Accepted { reply } => reply,
            Self::Retry { cause, .. }
            | Self::Rejected { cause, .. }
            | Self::TransportDown { cause }
            | Self::Unknown { cause } => cause,
        }
    }

    /// Whether this try counts: a transport that cannot be used has tried nothing.
    pub const fn spends_attempt(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Retry { .. } | Self::Rejected { .. } | Self::Unknown { .. } => true,
            Self::TransportDown { .. } => false,
        }
    }
}
