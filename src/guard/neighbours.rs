//! What went to the same address already, whoever it was for: the same thing twice, or one confirmation too many.
//!
//! Two marketing messages are the same thing where they are of one campaign, for two profiles with one normalised
//! address, and were created within [`SAME_ADDRESS_WITHIN`] of each other: one person known under two ids did one
//! thing. The first that is claimed goes. Transactional messages are about each profile's own affairs and all go.

use crate::ids::{MessageId, ProfileId, Span, Timestamp};
use crate::message::{Message, Purpose, Reason};

/// As long as a contested message settles.
pub const SAME_ADDRESS_WITHIN: Span = Span::from_seconds(2);
/// Confirmations one address may be asked for in any [`CONFIRMATIONS_PER`]: a form is no weapon against a mailbox.
pub const CONFIRMATIONS_MAX: usize = 3;
pub const CONFIRMATIONS_PER: Span = Span::from_days(1);
/// The first letters of the campaign key of a message that asks for a double opt-in; no key of a marketer has a colon.
const CONFIRMATION: &str = "confirm:";

/// A message that was cleared for the address in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub message: MessageId,
    pub profile: ProfileId,
    pub campaign: String,
    pub created_at: Timestamp,
}

/// Whether a message asks for a double opt-in.
pub fn is_confirmation(message: &Message) -> bool {
    message.campaign.starts_with(CONFIRMATION)
}

/// Since when a message's neighbours matter; none where they do not.
pub fn matter_since(now: Timestamp, message: &Message) -> Option<Timestamp> {
    match message.purpose {
        Purpose::Marketing => Some(message.created_at.minus(SAME_ADDRESS_WITHIN)),
        Purpose::Transactional => is_confirmation(message).then(|| now.minus(CONFIRMATIONS_PER)),
    }
}

/// Why the neighbours make this message one too many, if they do.
pub fn one_too_many(now: Timestamp, message: &Message, neighbours: &[Neighbour]) -> Option<Reason> {
    let others = neighbours.iter().filter(|other| other.message != message.id && other.campaign == message.campaign);
    if is_confirmation(message) {
        let mut recent: Vec<_> = others.filter(|other| now < other.created_at.plus(CONFIRMATIONS_PER)).collect();
        recent.sort_by_key(|other| (other.created_at, other.message));
        return (recent.len() >= CONFIRMATIONS_MAX)
            .then(|| Reason::TooManyConfirmations { by: recent.iter().map(|other| other.message).collect() });
    }
    let is_same = |other: &&Neighbour| {
        let (early, late) = (message.created_at.min(other.created_at), message.created_at.max(other.created_at));
        other.profile != message.profile && late <= early.plus(SAME_ADDRESS_WITHIN)
    };
    let twin = others.filter(|_| message.purpose == Purpose::Marketing).find(is_same)?;
    Some(Reason::SameAddress { message: twin.message, profile: twin.profile })
}
