//! A subject's slots as bytes that a script can search: fixed widths, oldest first. `src/caps/redis/reserve.lua` reads
//! the same layout; `tests/contract/caps.rs` holds the two together.
//!
//! Names are kept as 128-bit hashes: whether two slots are of one campaign or topic is all a cap asks.

use crate::caps::{Ask, History};
use crate::guard::cap_window::Frees;
use crate::guard::frequency_cap::{Counts, Limit, limits};
use crate::guard::{CapVersion, Slot};
use crate::ids::{MessageId, Timestamp};
use crate::message::Channel;

const RECORD: usize = 73;
const LIMIT: usize = 29;

pub(super) fn version(version: CapVersion) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&version.step.to_be_bytes());
    bytes[8..].copy_from_slice(&version.chain);
    bytes
}

pub(super) fn history(history: History) -> Vec<u8> {
    let History { version: at, since, mut slots } = history;
    slots.sort_unstable_by_key(|slot| (slot.at, slot.message));
    let mut bytes = Vec::with_capacity(32 + slots.len() * RECORD);
    bytes.extend(version(at));
    bytes.extend(instant(since));
    slots.iter().for_each(|slot| record(slot, &mut bytes));
    bytes
}

pub(super) fn wish(slot: &Slot) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD);
    record(slot, &mut bytes);
    bytes
}

fn record(slot: &Slot, bytes: &mut Vec<u8>) {
    bytes.extend(instant(slot.at));
    bytes.extend(slot.message.as_bytes());
    bytes.push(match slot.channel {
        Channel::Email => b'e',
        Channel::Sms => b's',
        Channel::Push => b'p',
        Channel::Whatsapp => b'a',
        Channel::Webhook => b'w',
    });
    bytes.extend(slot.topic.as_deref().map_or([0; 16], name));
    bytes.extend(name(&slot.campaign));
    bytes.extend(slot.enrollment.as_bytes());
}

/// What must hold for a wish: how far back the history must reach, and the limits. The rules in force are also
/// returned, to name the one that is full.
pub(super) fn conditions<'r>(ask: &Ask<'r>) -> (Vec<u8>, Vec<Limit<'r>>) {
    let limits: Vec<Limit<'r>> = limits(ask.rules, ask.candidate()).collect();
    let mut bytes = Vec::with_capacity(8 + limits.len() * LIMIT);
    bytes.extend(instant(ask.since()));
    for limit in &limits {
        bytes.push(match limit.counts {
            Counts::All => 0,
            Counts::SameChannel => 1,
            Counts::SameTopic => 2,
            Counts::SameCampaign => 3,
            Counts::EnrollmentsOfCampaign => 4,
        });
        bytes.extend(limit.room.to_be_bytes());
        bytes.extend(instant(limit.open.since));
        let (length, ends) = match limit.open.frees {
            Frees::After(length) => (length.millis(), Timestamp::default()),
            Frees::At(ends) => (0, ends),
        };
        bytes.extend((length as f64).to_be_bytes());
        bytes.extend(instant(ends));
    }
    (bytes, limits)
}

/// Milliseconds as a double, the number scripts calculate with: exact for every instant there is.
fn instant(at: Timestamp) -> [u8; 8] {
    (at.millis() as f64).to_be_bytes()
}

fn name(text: &str) -> [u8; 16] {
    *MessageId::derive(&[b"cap scope", text.as_bytes()]).as_bytes()
}

/// The used slots a full limit names, oldest first.
pub(super) fn used(bytes: &[u8]) -> Option<Vec<MessageId>> {
    let mut used = Vec::with_capacity(bytes.len() / 24);
    for one in bytes.chunks(24) {
        let (at, message) = one.split_at_checked(8)?;
        used.push((f64::from_be_bytes(at.try_into().ok()?) as i64, MessageId::try_from(message).ok()?));
    }
    used.sort_unstable();
    Some(used.into_iter().map(|(_, message)| message).collect())
}
