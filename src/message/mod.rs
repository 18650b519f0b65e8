//! What to say: one message to one profile on one channel, from the moment a decision asks for it to its last state.
//!
//! The status machine is in `status`, what a provider answered in `outcome`, when it is tried again in `retry`, why a
//! message waits or never goes in `reason`, what it is about in `topic`; where it goes is the person's: `audience::address`.

pub mod outcome;
pub mod reason;
pub mod retry;
pub mod status;
pub mod topic;

use serde::{Deserialize, Serialize};

use crate::audience::Profile;
use crate::audience::address::SentTo;
pub use crate::audience::{Address, Channel, Suppression, SuppressionKind};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp};
pub use outcome::Outcome;
pub use reason::Reason;
pub use retry::RetryPolicy;
pub use status::Status;
pub use topic::Topic;

/// The profile's address on a channel, or why there is none to send to.
pub fn address_of(profile: &Profile, channel: Channel) -> Result<Address, Reason> {
    let name = || channel.as_str().to_owned();
    match profile.sent_to(channel) {
        SentTo::Nowhere => Err(Reason::NoAddress { channel: name() }),
        SentTo::Invalid => Err(Reason::InvalidAddress { channel: name() }),
        SentTo::Address(address) => Ok(address),
    }
}

/// Marketing obeys topics and caps; transactional does not. Both obey suppression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Marketing,
    Transactional,
}

impl Purpose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marketing => "marketing",
            Self::Transactional => "transactional",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Marketing, Self::Transactional].into_iter().find(|purpose| purpose.as_str() == text)
    }

    /// What becomes of one whose answer never came, when its campaign does not say.
    pub const fn on_unknown_send_default(self) -> OnUnknownSend {
        match self {
            Self::Marketing => OnUnknownSend::Skip,
            Self::Transactional => OnUnknownSend::Repeat,
        }
    }

    /// How long a message of this purpose stays worth sending when its campaign does not say.
    pub const fn expires_default(self, channel: Channel) -> Span {
        match (self, channel) {
            (Self::Transactional, _) => Span::from_hours(72),
            (Self::Marketing, Channel::Email) => Span::from_hours(24),
            (Self::Marketing, _) => Span::from_hours(4),
        }
    }

    /// The same from the end of quiet hours on, for what must not wait for them in vain.
    pub const fn lasts_beyond_quiet_hours(self, channel: Channel) -> Option<Span> {
        match (self, channel) {
            (Self::Marketing, Channel::Sms | Channel::Push | Channel::Whatsapp) => Some(self.expires_default(channel)),
            (Self::Marketing, Channel::Email | Channel::Webhook) | (Self::Transactional, _) => None,
        }
    }
}

/// What happens to a send whose answer never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknownSend {
    Skip,
    /// Once more, with the same Message-ID.
    Repeat,
}

/// What a message does when a frequency cap refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenCapped {
    Drop,
    /// Wait for a slot, at most this long after the first refusal.
    Defer(Span),
    /// Drop, and end the enrollment.
    Exit,
}

/// What a message does in quiet hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenQuiet {
    #[default]
    Wait,
    Drop,
    /// It is urgent: it goes all the same.
    Ignore,
}

/// How a message relates to quiet hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuietUse {
    pub when: WhenQuiet,
    /// How long it stays worth sending after it has waited for their end; none: as long as it would anyway.
    pub lasts_beyond: Option<Span>,
}

/// How a campaign's messages relate to frequency caps: do they obey, do they use up slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapUse {
    pub obey: bool,
    pub count: bool,
    pub when_capped: WhenCapped,
}

/// Priority among messages where a campaign does not say: 0 to 100, higher wins.
pub const PRIORITY_DEFAULT: u8 = 60;

/// One thing to say to one profile on one channel. A row of the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub profile: ProfileId,
    pub enrollment: EnrollmentId,
    pub campaign: String,
    pub campaign_version: u32,
    /// What it is about, as its campaign says.
    pub topic: Option<String>,
    pub channel: Channel,
    pub template: String,
    pub purpose: Purpose,
    /// 0 to 100; higher wins a contested slot.
    pub priority: u8,
    pub caps: CapUse,
    #[serde(default)]
    pub quiet: QuietUse,
    pub on_unknown_send: OnUnknownSend,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The log entry whose decision made it, and the newest event of its enrollment (what templates call `event`).
    pub cause: Position,
    pub event: Position,
    /// The first event of its enrollment (what templates call `entry`).
    pub entry: Position,
    pub status: Status,
    /// Tries that reached a provider.
    pub attempts: u32,
    /// Of these, the ones that no longer count against the schedule: a person redrove the message after them.
    pub attempts_forgiven: u32,
    /// The first time an answer never came; a send is repeated for that reason once only.
    pub answer_lost_at: Option<Timestamp>,
    /// The first time a cap refused it; a deferral is measured from here.
    pub capped_at: Option<Timestamp>,
    /// The frequency-cap slot it uses, from claim on; none where it was released or never counted.
    pub slot_at: Option<Timestamp>,
    /// Normalised address it was cleared for.
    pub address: Option<String>,
    /// The template version it was rendered from.
    pub template_version: Option<u32>,
}

impl Message {
    /// What nothing has been decided about yet but that it is said: due at once, as long as its purpose says, outside of
    /// every cap. Whoever makes one names its campaign and template.
    pub fn queued(
        cause: &[&[u8]],
        profile: ProfileId,
        channel: Channel,
        purpose: Purpose,
        position: Position,
        now: Timestamp,
    ) -> Self {
        Self {
            id: MessageId::derive(cause),
            profile,
            enrollment: EnrollmentId::derive(cause),
            campaign: String::new(),
            campaign_version: 1,
            topic: None,
            channel,
            template: String::new(),
            purpose,
            priority: PRIORITY_DEFAULT,
            caps: CapUse { obey: false, count: false, when_capped: WhenCapped::Drop },
            quiet: QuietUse::default(),
            on_unknown_send: purpose.on_unknown_send_default(),
            created_at: now,
            expires_at: now.plus(purpose.expires_default(channel)),
            cause: position,
            event: position,
            entry: position,
            status: Status::Queued { due_at: now },
            attempts: 0,
            attempts_forgiven: 0,
            answer_lost_at: None,
            capped_at: None,
            slot_at: None,
            address: None,
            template_version: None,
        }
    }

    /// What must be remembered of one that waits.
    pub fn wait_for(&mut self, reason: &Reason) {
        if let Reason::QuietHours { until, .. } = reason {
            self.expires_at = self.lasts_until(*until);
        }
    }

    /// Until when it is worth sending, once it has waited for quiet hours to end.
    pub fn lasts_until(&self, quiet_until: Timestamp) -> Timestamp {
        let beyond = self.quiet.lasts_beyond.map(|lasts| quiet_until.plus(lasts));
        beyond.map_or(self.expires_at, |beyond| beyond.max(self.expires_at))
    }

    /// Applies the outcome of the attempt it is in: the status by [`status::next`], the tries spent, and what must be
    /// remembered of a lost answer. Outside `Sending` nothing changes.
    pub fn advance(&mut self, now: Timestamp, outcome: &Outcome, policy: &RetryPolicy) {
        let Status::Sending { attempt, .. } = self.status else { return };
        self.status = status::next(now, self, outcome, policy);
        if outcome.spends_attempt() {
            self.attempts = attempt;
        }
        if matches!(outcome, Outcome::Unknown { .. }) {
            self.answer_lost_at = self.answer_lost_at.or(Some(now));
        }
    }
}
