//! When it happened: reading clients' many ways to write an instant, and correcting their clocks.
//!
//! A time that cannot be read is treated as not given. Refusing the event would lose what a customer did over a
//! formatting slip; receipt time is right to within the network's delay for everything that is not a history import.

use std::borrow::Cow;

use crate::ids::Timestamp;

use super::Times;
use super::fields::{Fields, Scalar, scalar};

/// Seconds below, milliseconds from here on: as seconds this is the year 5138, as milliseconds March 1973.
const MILLIS_FROM: f64 = 100_000_000_000.0;

/// ISO 8601 with any offset and any precision, the same without an offset or as a bare date (read as UTC), or Unix
/// time in seconds or milliseconds, as a number or as digits in a text.
pub(super) fn read(raw: Option<&str>) -> Option<Timestamp> {
    match scalar(raw) {
        Scalar::Text(text) => written(&text),
        Scalar::Number(text) => unix(text),
        Scalar::Absent | Scalar::Other => None,
    }
}

fn written(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(instant) = text.parse() {
        return Some(instant);
    }
    if let Ok(civil) = text.parse::<jiff::civil::DateTime>() {
        let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(Timestamp::from_millis(utc.timestamp().as_millisecond()));
    }
    unix(text)
}

fn unix(text: &str) -> Option<Timestamp> {
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let millis = if number.abs() < MILLIS_FROM { number * 1000.0 } else { number };
    Some(Timestamp::from_millis(millis.round() as i64))
}

/// The four times of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct When {
    pub at: Timestamp,
    pub original_at: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
}

/// What the client's fields say about time, the batch's `sentAt` standing in where the item has none.
pub(super) fn when(
    fields: &Fields<'_>,
    batch_sent_at: Option<Timestamp>,
    received_at: Timestamp,
    times: Times,
) -> When {
    let sent_at = read(fields.sent_at).or(batch_sent_at);
    // `originalTimestamp` is the client's own clock; where both stand, `timestamp` was corrected by somebody already.
    let (first, second) = match times {
        Times::Corrected => (fields.original_timestamp, fields.timestamp),
        Times::AsGiven => (fields.timestamp, fields.original_timestamp),
    };
    let original_at = read(first).or_else(|| read(second));
    let at = match times {
        Times::Corrected => corrected(received_at, sent_at, original_at),
        Times::AsGiven => original_at.unwrap_or(received_at).min(received_at),
    };
    When { at, original_at, sent_at }
}

/// `received − (sent − original)`: the client's clock may be wrong, but it is wrong by the same amount twice. Never
/// later than receipt. Without a sending time the given time stands; without any, receipt does.
pub(super) fn corrected(received: Timestamp, sent: Option<Timestamp>, original: Option<Timestamp>) -> Timestamp {
    let at = match (sent, original) {
        (Some(sent), Some(original)) => received.plus_millis(original.millis().saturating_sub(sent.millis())),
        (None, Some(original)) => original,
        (_, None) => received,
    };
    at.min(received)
}

/// `context.version`, as a number or digits in a text; 1 where absent or unreadable.
pub(super) fn version(context: Option<&str>) -> u32 {
    let Some(context) = context.filter(|text| text.contains("\"version\"")) else { return 1 };
    let Some(members) = super::fields::members(context) else { return 1 };
    let found = members.iter().rev().find(|(name, _)| name == "version");
    let text = match scalar(found.map(|(_, raw)| *raw)) {
        Scalar::Text(text) => text,
        Scalar::Number(text) => Cow::Borrowed(text),
        Scalar::Absent | Scalar::Other => return 1,
    };
    text.trim().parse().ok().filter(|version| *version > 0).unwrap_or(1)
}
