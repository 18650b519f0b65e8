//! Where a message stands, and the one total function that moves it on.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> Queued: a decision
//!     Queued --> Claimed: guard cleared it
//!     Queued --> Deferred: guard said later
//!     Queued --> Suppressed: guard said never
//!     Queued --> Cancelled: its enrollment exited
//!     Deferred --> Queued: what held it was lifted
//!     Deferred --> Claimed
//!     Deferred --> Suppressed
//!     Deferred --> Cancelled
//!     Claimed --> Queued: lease ran out, nothing was sent
//!     Claimed --> Sending: committed just before the first byte
//!     Claimed --> Failed: could not be rendered
//!     Sending --> Sent: accepted
//!     Sending --> Retrying: not now, or no answer and it may be repeated once with the same Message-ID
//!     Sending --> Deferred: the transport is unusable, no try spent
//!     Sending --> Unknown: the answer never came
//!     Sending --> Failed: never, or tries exhausted
//!     Retrying --> Claimed
//!     Retrying --> Deferred
//!     Retrying --> Suppressed
//!     Retrying --> Cancelled
//!     Failed --> Queued: redriven by a person
//! ```
//!
//! The guard moves a row out of `Queued`, `Deferred` and `Retrying`, the dispatcher out of `Claimed`, [`next`] out of
//! `Sending`, and only a person out of `Failed`.

use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;
use crate::message::{Message, OnUnknownSend, Outcome, Reason, RetryPolicy};

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
    /// The same of a person who is erased: what waits ends, and nothing anybody said stays.
    #[must_use]
    pub fn blank(&self, now: Timestamp) -> Self {
        let reason = Reason::Erased;
        match self {
            Self::Queued { .. } | Self::Deferred { .. } | Self::Claimed { .. } | Self::Retrying { .. } => {
                Self::Cancelled { at: now, reason }
            }
            Self::Sending { attempt, since, token: _ } => Self::Unknown { attempt: *attempt, since: *since },
            Self::Unknown { .. } => self.clone(),
            Self::Sent { at, reply: _ } => Self::Sent { at: *at, reply: String::new() },
            Self::Suppressed { at, reason: _ } => Self::Suppressed { at: *at, reason },
            Self::Cancelled { at, reason: _ } => Self::Cancelled { at: *at, reason },
            Self::Failed { at, reason: _ } => Self::Failed { at: *at, reason },
        }
    }
}

/// Where a message stands after the outcome of the attempt it is in.
///
/// An outcome belongs to an attempt, so only `Sending` moves; every other state absorbs every outcome: a late answer
/// neither revives what ended nor disturbs what waits.
pub fn next(now: Timestamp, message: &Message, outcome: &Outcome, policy: &RetryPolicy) -> Status {
    let (attempt, since) = match &message.status {
        Status::Sending { attempt, since, token: _ } => (*attempt, *since),
        Status::Queued { .. }
        | Status::Deferred { .. }
        | Status::Claimed { .. }
        | Status::Retrying { .. }
        | Status::Sent { .. }
        | Status::Unknown { .. }
        | Status::Suppressed { .. }
        | Status::Cancelled { .. }
        | Status::Failed { .. } => return message.status.clone(),
    };
    match outcome {
        Outcome::Accepted { reply } => Status::Sent { at: now, reply: reply.clone() },
        Outcome::Retry { cause, after, slow_domain: _, about_recipient: _ } => {
            match policy.next_try(now, message, attempt, *after) {
                Some(at) => Status::Retrying { attempt, at, cause: cause.clone() },
                None => Status::Failed { at: now, reason: Reason::RetriesExhausted { cause: cause.clone() } },
            }
        }
        Outcome::Rejected { cause, suppress: _ } => {
            Status::Failed { at: now, reason: Reason::ProviderRefused { cause: cause.clone() } }
        }
        Outcome::TransportDown { cause } => {
            let reason = Reason::TransportStopped { cause: cause.clone() };
            Status::Deferred { until: now.plus(policy.transport_pause), reason }
        }
        Outcome::Unknown { cause } => {
            let repeat = match (message.on_unknown_send, message.answer_lost_at) {
                (OnUnknownSend::Repeat, None) => policy.next_try(now, message, attempt, None),
                (OnUnknownSend::Repeat, Some(_)) | (OnUnknownSend::Skip, _) => None,
            };
            match repeat {
                Some(at) => Status::Retrying { attempt, at, cause: cause.clone() },
                None => Status::Unknown { attempt, since },
            }
        }
    }
}

/// Where a row found in `Sending` at start belongs: its process died between the first byte and the answer, so the
/// answer is lost like any other. Rows in other states stay as they are.
pub fn orphaned(now: Timestamp, message: &Message, policy: &RetryPolicy) -> Status {
    let cause = "the process ended before the answer came".to_owned();
    next(now, message, &Outcome::Unknown { cause }, policy)
}

/// A dead letter goes back to the queue by a person's hand; nothing else can. The caller forgives
/// the message's attempts so far, else the first refusal ends it again.
pub fn redrive(now: Timestamp, status: &Status) -> Option<Status> {
    match status {
        Status::Failed { .. } => Some(Status::Queued { due_at: now }),
        Status::Queued { .. }
        | Status::Deferred { .. }
        | Status::Claimed { .. }
        | Status::Sending { .. }
        | Status::Retrying { .. }
        | Status::Sent { .. }
        | Status::Unknown { .. }
        | Status::Suppressed { .. }
        | Status::Cancelled { .. } => None,
    }
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

    /// The recipient's domain it waits for.
    pub fn slow_domain(&self) -> Option<&str> {
        match self.reason() {
            Some(Reason::DomainSlow { domain }) => Some(domain),
            _ => None,
        }
    }

    /// Whether it only waits for longer than it did in `before`, and for the same reason.
    pub fn waits_on(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Deferred { reason, .. }, Self::Deferred { reason: before, .. }) => reason == before,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
