//! Why a message waits or was never sent, and why an event led to nothing: data, shown to people.

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, ProfileId, Span, Timestamp};
use crate::message::SuppressionKind;

/// One reason with its operands. The `code` is stable and documented; [`Reason::sentence`] is for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The event's name and pattern fit, the condition did not; `operand` names the first leaf that failed.
    ConditionNotMet {
        operand: String,
    },
    /// The condition compares money, and a currency in it has no rate.
    CurrencyUnknown {
        operand: String,
    },
    /// A membership that a merge, a changed definition or an import brought about starts nothing.
    Backfill,
    /// Included as a member of a segment the person had left by then.
    LeftBeforeTurn {
        segment: String,
    },
    /// The campaign was told of this membership before.
    IncludedBefore {
        since: Timestamp,
    },
    /// Decisions on events that decisions made, too many in a row.
    DepthExceeded {
        depth_max: u8,
    },
    /// The event's name fits, its pattern does not.
    PatternNotMet {
        operand: String,
    },
    /// Older than the campaign accepts for entries.
    Late {
        event_at: Timestamp,
        max_lateness: Span,
    },
    AlreadyEnrolled {
        key: String,
        since: Timestamp,
    },
    ReentryNotAllowed {
        ended_at: Timestamp,
        allowed_at: Option<Timestamp>,
    },
    /// The person is in as many enrollments as one may be.
    TooManyEnrollments {
        max: usize,
    },
    CampaignPaused {
        campaign: String,
    },
    SendingPaused,
    CampaignNotLive {
        campaign: String,
    },
    /// The enrollment ended before the message went: the event's name (or the condition as written) and its time.
    Exited {
        by: String,
        at: Timestamp,
    },
    ConsentDenied {
        channel: String,
    },
    /// `because` is what the policy wanted, with the person's values.
    ConsentUnknown {
        channel: String,
        #[serde(default)]
        because: String,
    },
    /// They said yes and have not confirmed it.
    ConsentPending {
        channel: String,
        since: Timestamp,
    },
    /// They do not get this topic: by their own choice, by that of another profile with their address, or because
    /// nobody gets it without asking.
    TopicUnsubscribed {
        topic: String,
        by_address: bool,
        by_default: bool,
    },
    /// The event says that its sender wants no marketing, so it starts none; `field` says so.
    EventDeniesMarketing {
        field: String,
    },
    /// An answer that changes nothing: the one before it stays.
    ConsentKept {
        about: String,
        answer: String,
        kept: String,
    },
    /// The same thing went to this address for another profile.
    SameAddress {
        message: MessageId,
        profile: ProfileId,
    },
    /// This address was asked for as many confirmations as a day may have.
    TooManyConfirmations {
        by: Vec<MessageId>,
    },
    NoAddress {
        channel: String,
    },
    InvalidAddress {
        channel: String,
    },
    AddressSuppressed {
        channel: String,
        #[serde(default = "bounced")]
        kind: SuppressionKind,
        #[serde(default)]
        source: String,
        #[serde(default)]
        at: Timestamp,
    },
    Expired {
        expires_at: Timestamp,
    },
    /// It is a time of day in which such messages wait: the window, by which clock, and when it is over.
    QuietHours {
        window: String,
        zone: String,
        until: Timestamp,
    },
    /// A frequency cap was full: the rule as text, the messages in its window, when the first slot frees.
    Capped {
        rule: String,
        by: Vec<MessageId>,
        frees_at: Timestamp,
        /// The message of higher priority that took the slot both wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outranked_by: Option<MessageId>,
    },
    /// The cap store cannot be reached; tried again shortly.
    CapsUnreachable {
        cause: String,
    },
    /// The cap's answer was out of date too often in a row; tried again shortly.
    CapsUnsettled,
    /// The mail server of the recipient's domain is slow or asked for patience: it gets a few at a time.
    DomainSlow {
        domain: String,
    },
    /// The channel's provider cannot be used at present; no try is spent, and it is tried again by itself.
    TransportStopped {
        cause: String,
    },
    TemplateMissing {
        template: String,
    },
    RenderFailed {
        cause: String,
    },
    /// The finished mail would lead somewhere a mail may not, such as `javascript:`.
    UnsafeAddress {
        part: String,
        address: String,
    },
    ProviderRefused {
        cause: String,
    },
    RetriesExhausted {
        cause: String,
    },
    /// Sending began and no answer came.
    AnswerLost {
        since: Timestamp,
    },
    /// Written before merges existed: two profiles would have been joined by this call.
    MergeDeferred,
    /// Two profiles turned out to be one person, who has been in this campaign with this key since then.
    Merged {
        since: Timestamp,
    },
    /// The person's traits have reached their bound; the call's new values were not taken.
    TraitsTooLarge {
        bytes_max: usize,
    },
    /// So many more campaigns did not take this event; their reasons are not kept.
    MoreNotEntered {
        campaigns: usize,
    },
    /// A restored backup was recognised; marketing waits for a person.
    RestoreUnconfirmed,
    /// The person was erased.
    Erased,
}

/// What was suppressed before kinds were kept had bounced.
fn bounced() -> SuppressionKind {
    SuppressionKind::Bounced
}

impl Reason {
    /// The stable code, as in the API and the docs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ConditionNotMet { .. } => "condition_not_met",
            Self::CurrencyUnknown { .. } => "currency_unknown",
            Self::Backfill => "backfill",
            Self::LeftBeforeTurn { .. } => "left_before_turn",
            Self::IncludedBefore { .. } => "included_before",
            Self::DepthExceeded { .. } => "depth_exceeded",
            Self::PatternNotMet { .. } => "pattern_not_met",
            Self::Late { .. } => "late",
            Self::AlreadyEnrolled { .. } => "already_enrolled",
            Self::ReentryNotAllowed { .. } => "reentry_not_allowed",
            Self::CampaignPaused { .. } => "campaign_paused",
            Self::SendingPaused => "sending_paused",
            Self::CampaignNotLive { .. } => "campaign_not_live",
            Self::Exited { .. } => "exited",
            Self::ConsentDenied { .. } => "consent_denied",
            Self::ConsentUnknown { .. } => "consent_unknown",
            Self::ConsentPending { .. } => "consent_pending",
            Self::TopicUnsubscribed { .. } => "topic_unsubscribed",
            Self::EventDeniesMarketing { .. } => "event_denies_marketing",
            Self::ConsentKept { .. } => "consent_kept",
            Self::SameAddress { .. } => "same_address",
            Self::TooManyConfirmations { .. } => "too_many_confirmations",
            Self::NoAddress { .. } => "no_address",
            Self::InvalidAddress { .. } => "invalid_address",
            Self::AddressSuppressed { .. } => "address_suppressed",
            Self::Expired { .. } => "expired",
            Self::Capped { .. } => "capped",
            Self::QuietHours { .. } => "quiet_hours",
            Self::CapsUnsettled => "caps_unsettled",
            Self::DomainSlow { .. } => "domain_slow",
            Self::TransportStopped { .. } => "transport_stopped",
            Self::CapsUnreachable { .. } => "caps_unreachable",
            Self::TemplateMissing { .. } => "template_missing",
            Self::RenderFailed { .. } => "render_failed",
            Self::UnsafeAddress { .. } => "unsafe_address",
            Self::ProviderRefused { .. } => "provider_refused",
            Self::RetriesExhausted { .. } => "retries_exhausted",
            Self::AnswerLost { .. } => "answer_lost",
            Self::MergeDeferred => "merge_deferred",
            Self::Merged { .. } => "merged",
            Self::TraitsTooLarge { .. } => "traits_too_large",
            Self::MoreNotEntered { .. } => "more_not_entered",
            Self::TooManyEnrollments { .. } => "too_many_enrollments",
            Self::RestoreUnconfirmed => "restore_unconfirmed",
            Self::Erased => "erased",
        }
    }

    /// One line for a person.
    pub fn sentence(&self) -> String {
        match self {
            Self::ConditionNotMet { operand } => format!("the condition was not met: {operand}"),
            Self::CurrencyUnknown { operand } => format!("a currency has no rate: {operand}"),
            Self::Backfill => {
                "it comes from a merge, a changed definition or an import, which starts nothing".to_owned()
            }
            Self::LeftBeforeTurn { segment } => format!("no longer in segment {segment} when the turn came"),
            Self::IncludedBefore { since } => format!("in the campaign before for the membership since {since}"),
            Self::DepthExceeded { depth_max } => {
                format!("more than {depth_max} events of Carillon's own would follow each other; this one is left out")
            }
            Self::PatternNotMet { operand } => format!("the event pattern did not match: {operand}"),
            Self::Late { event_at, max_lateness } => format!("the event of {event_at} is older than {max_lateness}"),
            Self::AlreadyEnrolled { key, since } if key.is_empty() => format!("already enrolled since {since}"),
            Self::AlreadyEnrolled { key, since } => format!("already enrolled with {key} since {since}"),
            Self::ReentryNotAllowed { ended_at, allowed_at } => reentry(*ended_at, *allowed_at),
            Self::CampaignPaused { campaign } => format!("campaign {campaign} is paused"),
            Self::SendingPaused => "all sending is paused".to_owned(),
            Self::CampaignNotLive { campaign } => format!("campaign {campaign} is no longer live"),
            Self::Exited { by, at } => format!("exited: {by} at {at}"),
            Self::ConsentDenied { channel } => format!("consent for {channel} is denied"),
            Self::ConsentUnknown { channel, because } if because.is_empty() => {
                format!("consent for {channel} is unknown and the policy blocks that")
            }
            Self::ConsentUnknown { channel, because } => format!("consent for {channel} is unknown and {because}"),
            Self::ConsentPending { channel, since } => format!("consent for {channel} of {since} is not confirmed"),
            Self::TopicUnsubscribed { topic, by_address, by_default } => unsubscribed(topic, *by_address, *by_default),
            Self::EventDeniesMarketing { field } => format!("the event denies marketing: {field}"),
            Self::ConsentKept { about, answer, kept } => {
                format!("the answer {answer} on {about} was not taken: it stays {kept}")
            }
            Self::SameAddress { message, profile } => {
                format!("the same went to this address for profile {profile}: message {message}")
            }
            Self::TooManyConfirmations { by } => {
                format!("this address was asked for {} confirmations within a day", by.len())
            }
            Self::NoAddress { channel } => format!("no address for {channel}"),
            Self::InvalidAddress { channel } => format!("the address for {channel} is not valid"),
            Self::AddressSuppressed { channel, kind, source, .. } if source.is_empty() => {
                format!("the address for {channel} is suppressed ({kind})")
            }
            Self::AddressSuppressed { channel, kind, source, at } => {
                format!("the address for {channel} is suppressed ({kind}: {source} at {at})")
            }
            Self::Expired { expires_at } => format!("expired at {expires_at}"),
            Self::Capped { rule, by, frees_at, outranked_by } => capped(rule, by, *frees_at, *outranked_by),
            Self::QuietHours { window, zone, until } => format!("quiet hours {window} ({zone}) until {until}"),
            Self::CapsUnreachable { cause } => format!("the frequency caps cannot be asked: {cause}"),
            Self::CapsUnsettled => "the frequency caps were changing; tried again shortly".to_owned(),
            Self::DomainSlow { domain } => format!("{domain} takes mail slowly or asked for patience: a few at a time"),
            Self::TransportStopped { cause } => format!("the provider cannot be used, and no try is spent: {cause}"),
            Self::TemplateMissing { template } => format!("template {template} does not exist"),
            Self::RenderFailed { cause } => format!("the template could not be rendered: {cause}"),
            Self::UnsafeAddress { part, address } => format!("the mail is not safe to open: in {part}, {address}"),
            Self::ProviderRefused { cause } => format!("the provider refused it: {cause}"),
            Self::RetriesExhausted { cause } => format!("all tries failed, the last with: {cause}"),
            Self::AnswerLost { since } => format!("sending began at {since} and no answer came"),
            Self::MergeDeferred => "this call joins two people, which was not done yet".to_owned(),
            Self::Merged { since } => format!("merged: the same person has been enrolled since {since}"),
            Self::TraitsTooLarge { bytes_max } => format!("the traits of this person would exceed {bytes_max} bytes"),
            Self::MoreNotEntered { campaigns } => format!("{campaigns} more campaigns did not take it"),
            Self::TooManyEnrollments { max } => format!("the person is in {max} enrollments, as many as one may be"),
            Self::Erased => "the person was erased".to_owned(),
            Self::RestoreUnconfirmed => "a restored backup waits for confirm-restore".to_owned(),
        }
    }
}

fn reentry(ended_at: Timestamp, allowed_at: Option<Timestamp>) -> String {
    match allowed_at {
        Some(at) => format!("the last enrollment ended at {ended_at}; the next may start at {at}"),
        None => format!("enrolled once before, until {ended_at}, and the campaign allows one time only"),
    }
}

fn unsubscribed(topic: &str, by_address: bool, by_default: bool) -> String {
    if by_address {
        format!("somebody with this address is not subscribed to {topic}")
    } else if by_default {
        format!("this person is not subscribed to {topic}, which nobody gets without asking")
    } else {
        format!("this person is not subscribed to {topic}")
    }
}

fn capped(rule: &str, by: &[MessageId], frees_at: Timestamp, outranked_by: Option<MessageId>) -> String {
    let by: Vec<String> = by.iter().map(ToString::to_string).collect();
    let used = format!("capped by {rule}: used by {}; a slot frees at {frees_at}", by.join(", "));
    match outranked_by {
        Some(winner) => format!("{used}; {winner} had the higher priority"),
        None => used,
    }
}
