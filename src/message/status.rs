//! Where a message stands, and the one total function that moves it on.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> Queued: a decision
//!     Queued --> Claimed: guard cleared it
//!     Queued --> Deferred: guard said later
//!     Queued --> Suppressed: guard said never
//!     Queued --> Cancelled: its enrollment exited
//!     Deferred --> Claimed
//!     Claimed --> Queued: lease ran out, nothing was sent
//!     Claimed --> Sending: committed just before the first byte
//!     Claimed --> Failed: could not be rendered
//!     Sending --> Sent: accepted
//!     Sending --> Retrying: not now
//!     Sending --> Unknown: the answer never came
//!     Sending --> Failed: never, or tries exhausted
//!     Retrying --> Claimed
//!     Unknown --> Retrying: repeat once, same Message-ID
//!     Failed --> Queued: redriven by a person
//! ```

use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;
use crate::message::Reason;

/// The state of a message with exactly the data valid in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Waiting for its turn, settle window included.
    Queued {
        due_at: Timestamp,
    },
    /// The guard said later.
    Deferred {
        until: Timestamp,
        reason: Reason,
    },
    /// Guards passed and slots taken; nothing has been sent. Falls back to `Queued` when the lease runs out.
    Claimed {
        token: u64,
        lease_until: Timestamp,
    },
    /// Committed before the first byte went out; after a crash this is all we know.
    Sending {
        attempt: u32,
        token: u64,
        since: Timestamp,
    },
    Retrying {
        attempt: u32,
        at: Timestamp,
        cause: String,
    },
    Sent {
        at: Timestamp,
        reply: String,
    },
    /// Sending began and no answer came.
    Unknown {
        attempt: u32,
        since: Timestamp,
    },
    /// The guard said never.
    Suppressed {
        at: Timestamp,
        reason: Reason,
    },
    /// Its enrollment ended, or a person stopped it, before it was claimed.
    Cancelled {
        at: Timestamp,
        reason: Reason,
    },
    /// A dead letter: kept with its cause for redrive.
    Failed {
        at: Timestamp,
        reason: Reason,
    },
}

impl Status {
    pub const NAMES: [&str; 10] = [
        "queued",
        "deferred",
        "claimed",
        "sending",
        "retrying",
        "sent",
        "unknown",
        "suppressed",
        "cancelled",
        "failed",
    ];

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Deferred { .. } => "deferred",
            Self::Claimed { .. } => "claimed",
            Self::Sending { .. } => "sending",
            Self::Retrying { .. } => "retrying",
            Self::Sent { .. } => "sent",
            Self::Unknown { .. } => "unknown",
            Self::Suppressed { .. } => "suppressed",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }

    /// When the dispatcher should look at it next; none when nothing will happen by itself.
    pub const fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued { due_at } => Some(*due_at),
            Self::Deferred { until, .. } => Some(*until),
            Self::Claimed { lease_until, .. } => Some(*lease_until),
            Self::Retrying { at, .. } => Some(*at),
            Self::Sending { .. }
            | Self::Sent { .. }
            | Self::Unknown { .. }
            | Self::Suppressed { .. }
            | Self::Cancelled { .. }
            | Self::Failed { .. } => None,
        }
    }

    /// Can still be sent without a person's doing, and can still be stopped by an exit.
    pub const fn is_waiting(&self) -> bool {
        matches!(self, Self::Queued { .. } | Self::Deferred { .. } | Self::Retrying { .. })
    }

    /// Nothing more happens unless a person redrives it.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Sent { .. }
            | Self::Unknown { .. }
            | Self::Suppressed { .. }
            | Self::Cancelled { .. }
            | Self::Failed { .. } => true,
            Self::Queued { .. }
            | Self::Deferred { .. }
            | Self::Claimed { .. }
            | Self::Sending { .. }
            | Self::Retrying { .. } => false,
        }
    }

    /// The reason attached to it, where there is one.
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Deferred { reason, .. }
            | Self::Suppressed { reason, .. }
            | Self::Cancelled { reason, .. }
            | Self::Failed { reason, .. } => Some(reason),
            Self::Queued { .. }
            | Self::Claimed { .. }
            | Self::Sending { .. }
            | Self::Retrying { .. }
            | Self::Sent { .. }
            | Self::Unknown { .. } => None,
        }
    }
}
