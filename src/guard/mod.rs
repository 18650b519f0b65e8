//! Whether we may: the checks at the last responsible moment, when a message is claimed, and again at every release
//! from a hold or a retry.
//!
//! The order is fixed, and the first check that says no gives the reason:
//! 1. the address is suppressed or the person erased: a hard stop for every message;
//! 2. consent on the channel (marketing only);
//! 3. still wanted: the enrollment has not exited, the campaign is live, the message has not expired;
//! 4. nothing is paused, and no restored backup waits for a person (marketing only);
//! 5. there is an address, and it can be delivered to;
//! 6. frequency caps (marketing only), by a [`Request`] for slots.
//!
//! `Draft` → [`Cleared`] → rendered: only this module makes a [`Cleared`].

pub mod address;
pub mod cap_usage;
pub mod cap_version;
pub mod cap_window;
pub mod clearance;
pub mod frequency_cap;

use jiff::tz::TimeZone;

use crate::audience::Profile;
use crate::audience::consent::{ConsentState, UnknownConsent};
use crate::ids::{MessageId, Timestamp};
use crate::message::{Message, Purpose, Reason, Status, WhenCapped};
pub use address::{Address, address_of};
pub use cap_usage::{Usage, Used, usage};
pub use cap_version::{CapVersion, Change};
pub use cap_window::Window;
pub use clearance::{Cleared, Request, Reservation, Subject, VersionMove, WrongReservation, settle};
pub use frequency_cap::{Candidate, Full, Keep, Rule, Scope, Slot};

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
    /// The profile's address on the message's channel (by [`address_of`], in normal form) is on the suppression list,
    /// or the person was erased.
    pub suppressed: bool,
    /// What no answer means on the message's channel. Blocked unless a consent policy says otherwise.
    pub unknown_consent: UnknownConsent,
    /// Why the message's enrollment ended before it went, if it did.
    pub exited: Option<&'a Reason>,
    pub campaign: CampaignSwitch,
    pub all_paused: bool,
    /// A restored backup was recognised and nobody has confirmed it.
    pub restore_unconfirmed: bool,
    /// Every frequency cap of the workspace.
    pub rules: &'a [Rule],
    /// The workspace's zone, for people whose own is unknown.
    pub zone: TimeZone,
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

/// Where a person lives, by the trait `timezone`; none where it is missing or names no zone.
pub fn zone_of(profile: &Profile) -> Option<TimeZone> {
    profile.traits.get("timezone")?.as_str().and_then(|name| TimeZone::get(name).ok())
}

/// The reason it must never be sent, if there is one.
fn refusal(now: Timestamp, state: &GuardState<'_>, message: &Message) -> Option<Reason> {
    let channel = || message.channel.as_str().to_owned();
    if state.suppressed {
        return Some(Reason::AddressSuppressed { channel: channel() });
    }
    if message.purpose == Purpose::Marketing {
        let answer = state.profile.consent.get(message.channel.as_str()).map(|consent| consent.state);
        match (answer, state.unknown_consent) {
            (Some(ConsentState::Denied), _) => return Some(Reason::ConsentDenied { channel: channel() }),
            (None, UnknownConsent::Blocked) => return Some(Reason::ConsentUnknown { channel: channel() }),
            (Some(ConsentState::Granted), _) | (None, UnknownConsent::Allowed) => {}
        }
    }
    if let Some(reason) = state.exited {
        return Some(reason.clone());
    }
    if state.campaign == CampaignSwitch::Off {
        return Some(Reason::CampaignNotLive { campaign: message.campaign.clone() });
    }
    if now >= message.expires_at {
        // Whoever waited for a slot until the end is told of the cap, not of the clock.
        return Some(match &message.status {
            Status::Deferred { reason: capped @ Reason::Capped { .. }, .. } => capped.clone(),
            _ => Reason::Expired { expires_at: message.expires_at },
        });
    }
    None
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
