//! One profile's walk through one version of a campaign.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> Waiting: entered, the delay runs
//!     Waiting --> Waiting: restarted by a repeat
//!     Waiting --> Sending: the delay is over, its message is in the outbox
//!     Waiting --> Exited
//!     Sending --> Exited: before the message was claimed, or a cap refused it and the campaign exits then
//!     Sending --> Completed: the message reached its last state
//! ```

use serde::{Deserialize, Serialize};

use crate::decision::campaign::Campaign;
use crate::event::Event;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp};

/// A repeat may start the wait over, but not beyond this long after entry.
pub const RESTART_MAX: Span = Span::from_hours(24);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrollment {
    pub id: EnrollmentId,
    pub profile: ProfileId,
    pub campaign: String,
    /// Pinned at entry: its exits and its message come from this version.
    pub version: u32,
    /// The value at the campaign's `entry.key`, empty where it has none.
    pub key: String,
    pub entered_at: Timestamp,
    /// The event time of the first event: an exit counts when it is not older.
    pub entry_event_at: Timestamp,
    /// The first event, and the newest.
    pub entry: Position,
    pub event: Position,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Waiting { until: Timestamp },
    Sending { message: MessageId },
    Completed { at: Timestamp, message: MessageId, status: String },
    Exited { at: Timestamp, by: String, event: Option<Position> },
}

impl State {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Sending { .. } => "sending",
            Self::Completed { .. } => "completed",
            Self::Exited { .. } => "exited",
        }
    }

    pub const fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Completed { at, .. } | Self::Exited { at, .. } => Some(*at),
            Self::Waiting { .. } | Self::Sending { .. } => None,
        }
    }
}

impl Enrollment {
    /// A new walk that begins with `event` at `position`.
    pub fn begin(
        campaign: &Campaign,
        profile: ProfileId,
        key: String,
        event: &Event,
        at: Position,
        now: Timestamp,
        ids_by_time: bool,
    ) -> Self {
        let number = [profile.0.to_le_bytes(), at.0.to_le_bytes()];
        let cause = [campaign.key.as_bytes(), &number[0], key.as_bytes(), &number[1]];
        let id = if ids_by_time { EnrollmentId::derive_at(now, &cause) } else { EnrollmentId::derive(&cause) };
        Self {
            id,
            profile,
            campaign: campaign.key.clone(),
            version: campaign.version,
            key,
            entered_at: now,
            entry_event_at: event.at,
            entry: at,
            event: at,
            state: State::Waiting { until: now.plus(campaign.delay) },
        }
    }

    pub const fn is_active(&self) -> bool {
        self.state.ended_at().is_none()
    }

    /// The message it sends; a trigger has one.
    pub fn message_id(&self) -> MessageId {
        let cause: [&[u8]; 2] = [self.id.as_bytes(), b"send"];
        match self.id.is_of(self.entered_at) {
            true => MessageId::derive_at(self.entered_at, &cause),
            false => MessageId::derive(&cause),
        }
    }
}
