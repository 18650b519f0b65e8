//! Whether we may: the checks at the last responsible moment, when a message is claimed, and again at every release
//! from a hold or a retry.
//!
//! The order is fixed, and the first check that says no gives the reason:
//! 1. the address is suppressed (complaint, bounce, by hand) or the person erased: a hard stop for every message;
//! 2. the address has unsubscribed, consent on the channel, then the topic (marketing only);
//! 3. still wanted: the enrollment has not exited, the campaign is live, the message has not expired, and the same
//!    thing did not go to this address for another profile;
//! 4. nothing is paused, and no restored backup waits for a person (marketing only);
//! 5. there is an address, and it can be delivered to;
//! 6. quiet hours where the person is, unless it is urgent;
//! 7. frequency caps (marketing only), by a [`Request`] for slots.
//!
//! `Draft` → [`Cleared`] → rendered: only this module makes a [`Cleared`].

pub mod cap_usage;
pub mod cap_version;
pub mod cap_window;
pub mod clearance;
pub mod frequency_cap;
pub mod neighbours;
pub mod quiet_hours;

use jiff::tz::TimeZone;

use crate::audience::consent::ConsentState;
pub use crate::audience::period::zone_of;
use crate::audience::{Profile, Whereabouts};
use crate::decision::CONSENT_CHANGED;
use crate::ids::{MessageId, Timestamp};
pub use crate::message::{Address, address_of};
use crate::message::{Message, Purpose, Reason, Status, Suppression, SuppressionKind, Topic, WhenCapped, WhenQuiet};
pub use cap_usage::{Usage, Used, usage};
pub use cap_version::{CapVersion, Change};
pub use cap_window::Window;
pub use clearance::{Cleared, Request, Reservation, Subject, VersionMove, WrongReservation, settle};
pub use frequency_cap::{Candidate, Full, Keep, Rule, Scope, Slot};
pub use neighbours::Neighbour;

/// A message that nobody has permitted yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft(pub Message);

/// Whether a campaign sends at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampaignSwitch {
    Live,
    Paused,
    /// A draft again, archived, or gone.
    Off,
}

/// Everything the checks look at, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardState<'a> {
    pub profile: &'a Profile,
    /// All for which the profile's address on the message's channel (by [`address_of`], in normal form) is on the
    /// suppression list.
    pub suppressions: &'a [Suppression],
    /// What no answer means on the message's channel: allowed, or why the policy blocks it.
    pub unknown_consent: Result<(), String>,
    /// The topic of the message, as it is defined now.
    pub topic: Option<&'a Topic>,
    /// Why the message's enrollment ended before it went, if it did.
    pub exited: Option<&'a Reason>,
    pub campaign: CampaignSwitch,
    pub all_paused: bool,
    /// A restored backup was recognised and nobody has confirmed it.
    pub restore_unconfirmed: bool,
    /// Messages cleared for the same address, since [`neighbours::matter_since`].
    pub neighbours: &'a [Neighbour],
    /// Every frequency cap of the workspace.
    pub rules: &'a [Rule],
    /// Every window of quiet hours of the workspace.
    pub quiet: &'a [quiet_hours::Window],
    /// The workspace's zone, for people whose own is unknown.
    pub zone: TimeZone,
}

impl<'a> GuardState<'a> {
    /// Of a person against whom nothing stands; without an answer, they are not written to. Their days are UTC's where
    /// they do not say where they live.
    pub fn of(profile: &'a Profile) -> Self {
        Self {
            profile,
            suppressions: &[],
            unknown_consent: Err("the policy blocks that".to_owned()),
            topic: None,
            exited: None,
            campaign: CampaignSwitch::Live,
            all_paused: false,
            restore_unconfirmed: false,
            neighbours: &[],
            rules: &[],
            quiet: &[],
            zone: TimeZone::UTC,
        }
    }
}

/// What the guard says.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Never.
    Suppress { reason: Reason },
    /// Not before `until`, unless what holds it is lifted earlier.
    Defer { until: Timestamp, reason: Reason },
    /// Yes, if the cap store grants this.
    NeedsSlots(Request),
    /// Yes: it neither obeys caps nor counts.
    Clear(Cleared),
}

/// Whether a message may be sent now.
pub fn check(now: Timestamp, state: &GuardState<'_>, draft: Draft) -> Verdict {
    let Draft(message) = draft;
    if let Some(reason) = refusal(now, state, &message) {
        return Verdict::Suppress { reason };
    }
    if let Some(reason) = hold(state, &message) {
        // Lifting the hold puts it back into the queue; by itself it only wakes to expire.
        return Verdict::Defer { until: message.expires_at, reason };
    }
    let address = match address_of(state.profile, message.channel) {
        Ok(address) => address,
        Err(reason) => return Verdict::Suppress { reason },
    };
    if let Some(verdict) = quiet(now, state, &message) {
        return verdict;
    }
    let uncapped = match message.purpose {
        Purpose::Transactional => true,
        Purpose::Marketing => !message.caps.obey && !message.caps.count,
    };
    if uncapped {
        return Verdict::Clear(Cleared::uncapped(message, address));
    }
    let zone = zone_of(state.profile).unwrap_or_else(|| state.zone.clone());
    Verdict::NeedsSlots(Request::new(message, address, state.rules, zone))
}

/// Whether quiet hours hold it. The caller of one that waits remembers how long it lasts with [`Message::lasts_until`].
fn quiet(now: Timestamp, state: &GuardState<'_>, message: &Message) -> Option<Verdict> {
    if !quiet_hours::may_hold(state.quiet, message) {
        return None;
    }
    let there = Whereabouts::of(state.profile, &state.zone);
    let held = quiet_hours::holds(now, state.quiet, message, &there)?;
    let until = held.until.unwrap_or(message.expires_at);
    let reason = Reason::QuietHours { window: held.window.to_string(), zone: there.to_string(), until };
    Some(match message.quiet.when {
        WhenQuiet::Drop => Verdict::Suppress { reason },
        // Its time may run out before they do; then it is looked at once more, and ends.
        WhenQuiet::Wait | WhenQuiet::Ignore => Verdict::Defer { until: until.min(message.lasts_until(until)), reason },
    })
}

/// What becomes of a message that found a cap full: it drops, or waits for the instant a slot frees, at most as long
/// as its campaign says after the first refusal and never until it expires. The caller remembers the first refusal in
/// `capped_at`, and ends the enrollment where `when_capped` is [`WhenCapped::Exit`]. `outranked_by` is the message of
/// higher priority that took the slot both wanted, if one did.
pub fn capped(now: Timestamp, message: &Message, full: Full, outranked_by: Option<MessageId>) -> Verdict {
    let Full { rule, by, frees_at } = full;
    let reason = Reason::Capped { rule, by, frees_at, outranked_by };
    let WhenCapped::Defer(longest) = message.caps.when_capped else {
        return Verdict::Suppress { reason };
    };
    // One millisecond before it expires there is still something to decide; afterwards there is not.
    let limit = message.capped_at.unwrap_or(now).plus(longest).min(message.expires_at.plus_millis(-1));
    if now >= limit {
        return Verdict::Suppress { reason };
    }
    // A slot may be given back early, so even a hopeless wait is worth its last look.
    Verdict::Defer { until: frees_at.min(limit), reason }
}

/// The reason it must never be sent, if there is one.
fn refusal(now: Timestamp, state: &GuardState<'_>, message: &Message) -> Option<Reason> {
    let hard = state.suppressions.iter().find(|one| one.kind.stops_everything());
    if let Some(Suppression { kind, source, at, .. }) = hard.cloned() {
        return Some(Reason::AddressSuppressed { channel: message.channel.as_str().to_owned(), kind, source, at });
    }
    if message.purpose == Purpose::Marketing
        && let Some(reason) = unwanted(state, message)
    {
        return Some(reason);
    }
    if neighbours::is_confirmation(message)
        && let Some(answer) = state.profile.consent.get(message.channel.as_str())
        && answer.state != ConsentState::Pending
    {
        // Answered otherwise meanwhile: there is nothing left to confirm.
        return Some(Reason::Exited { by: CONSENT_CHANGED.to_owned(), at: answer.at });
    }
    if let Some(reason) = state.exited {
        return Some(reason.clone());
    }
    if state.campaign == CampaignSwitch::Off {
        return Some(Reason::CampaignNotLive { campaign: message.campaign.clone() });
    }
    if now >= message.expires_at {
        // Whoever waited until the end is told for what, not of the clock.
        return Some(match &message.status {
            Status::Deferred { reason: held @ (Reason::Capped { .. } | Reason::QuietHours { .. }), .. } => held.clone(),
            _ => Reason::Expired { expires_at: message.expires_at },
        });
    }
    neighbours::one_too_many(now, message, state.neighbours)
}

/// What the person, or somebody with their address, has said against marketing, if anything: on the channel first,
/// then about the topic.
fn unwanted(state: &GuardState<'_>, message: &Message) -> Option<Reason> {
    let channel = || message.channel.as_str().to_owned();
    let suppressed = |kind: SuppressionKind| state.suppressions.iter().find(move |one| one.kind == kind);
    let answer = state.profile.consent.get(message.channel.as_str());
    // Their own no says more than that of the address.
    match answer.map(|consent| (consent.state, consent.at)) {
        Some((ConsentState::Denied, _)) => return Some(Reason::ConsentDenied { channel: channel() }),
        Some((ConsentState::Pending, since)) => return Some(Reason::ConsentPending { channel: channel(), since }),
        Some((ConsentState::Granted | ConsentState::Unknown, _)) | None => {}
    }
    if let Some(Suppression { source, at, .. }) = suppressed(SuppressionKind::Unsubscribed).cloned() {
        let kind = SuppressionKind::Unsubscribed;
        return Some(Reason::AddressSuppressed { channel: channel(), kind, source, at });
    }
    match answer.map(|consent| consent.state) {
        Some(ConsentState::Granted | ConsentState::Denied | ConsentState::Pending) => {}
        Some(ConsentState::Unknown) | None => {
            if let Err(because) = &state.unknown_consent {
                return Some(Reason::ConsentUnknown { channel: channel(), because: because.clone() });
            }
        }
    }
    let undefined = Topic::undefined(message.topic.as_deref()?);
    let topic = state.topic.unwrap_or(&undefined);
    let kind = SuppressionKind::Topic(topic.key.clone());
    // Who leaves a topic leaves it for their address, too; it is their own no all the same.
    let left = state.suppressions.iter().any(|one| one.kind == kind && one.profile == Some(state.profile.id));
    let is_own = left || !topic.is_subscribed(state.profile);
    (is_own || suppressed(kind).is_some()).then(|| Reason::TopicUnsubscribed {
        topic: topic.key.clone(),
        by_address: !is_own,
        by_default: is_own && !left && !topic.has_choice(state.profile),
    })
}

/// Whether an address with these suppressions is closed to the message.
pub fn is_stopped(message: &Message, suppressions: &[Suppression]) -> bool {
    let is_marketing = message.purpose == Purpose::Marketing;
    suppressions.iter().any(|one| match &one.kind {
        SuppressionKind::Complaint | SuppressionKind::Bounced | SuppressionKind::Manual => true,
        SuppressionKind::Unsubscribed => is_marketing,
        SuppressionKind::Topic(topic) => is_marketing && message.topic.as_ref() == Some(topic),
    })
}

/// The reason it must wait for a person, if there is one.
fn hold(state: &GuardState<'_>, message: &Message) -> Option<Reason> {
    if state.all_paused {
        return Some(Reason::SendingPaused);
    }
    if state.campaign == CampaignSwitch::Paused {
        return Some(Reason::CampaignPaused { campaign: message.campaign.clone() });
    }
    (state.restore_unconfirmed && message.purpose == Purpose::Marketing).then_some(Reason::RestoreUnconfirmed)
}

#[cfg(test)]
mod tests;
