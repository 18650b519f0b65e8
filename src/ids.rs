//! Typed ids and the instant type, so that no two kinds of number can be swapped by accident.
//!
//! Ids of rows a decision creates are hashes of what caused them: deciding again yields the same ids, so nothing is
//! doubled when an entry is processed twice.

mod trace_context;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
pub use trace_context::TraceContext;

/// An instant in milliseconds since 1970-01-01T00:00Z. Text form: RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Years 0001 to 9999: what RFC 3339 text can say.
const MILLISECOND_MIN: i64 = -62_135_596_800_000;
const MILLISECOND_MAX: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The first instant there is.
    pub const FIRST: Self = Self(MILLISECOND_MIN);
    /// The last.
    pub const LAST: Self = Self(MILLISECOND_MAX);

    /// Clamped to the years RFC 3339 can write, so that printing never fails.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(MILLISECOND_MIN, MILLISECOND_MAX))
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// `millis` may be negative; saturates at the ends of time.
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    pub fn plus(self, duration: Span) -> Self {
        self.plus_millis(duration.millis())
    }

    pub fn minus(self, duration: Span) -> Self {
        self.plus_millis(-duration.millis())
    }

    /// Whole days since 1970-01-01 in UTC.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not an instant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not an RFC 3339 instant such as 2026-03-01T10:00:00Z")]
pub struct NotAnInstant(pub String);

impl FromStr for Timestamp {
    type Err = NotAnInstant;

    /// RFC 3339, also without seconds (`2026-03-01T10:00Z`) and with any offset.
    fn from_str(text: &str) -> Result<Self, NotAnInstant> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self::from_millis(instant.as_millisecond()))
            .map_err(|_| NotAnInstant(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self::from_millis)
        }
    }
}

/// A fixed length of time in milliseconds; text form `30s`, `5m`, `2h`, `7d`, `2w`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    pub const ZERO: Self = Self(0);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    pub const fn from_hours(hours: i64) -> Self {
        Self::from_seconds(hours.saturating_mul(3600))
    }

    pub const fn from_days(days: i64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }
}

const UNITS: [(&str, i64); 5] = [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, millis)| self.0 % millis == 0 && self.0 != 0) {
            // `7d` reads better than `1w`, as people write it.
            Some(("w", _)) => write!(f, "{}d", self.0 / 86_400_000),
            Some((unit, millis)) => write!(f, "{}{unit}", self.0 / millis),
            None if self.0 == 0 => write!(f, "0s"),
            None => write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a fixed duration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not a duration such as 30s, 5m, 2h, 7d or 2w")]
pub struct NotADuration(pub String);

impl FromStr for Span {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let wrong = || NotADuration(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (_, millis) = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]).ok_or_else(wrong)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let count: i64 = digits.parse().map_err(|_| wrong())?;
        // A hundred years: enough for any rule, and sums of a few never overflow.
        let total = count.checked_mul(*millis).filter(|total| *total <= 36_525 * 86_400_000).ok_or_else(wrong)?;
        Ok(Self(total))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The tenant. Every key and query carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WorkspaceId(pub i64);

/// A person we may write to. Assigned by the append, in log order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ProfileId(pub i64);

impl ProfileId {
    /// The partition whose worker owns this person; 0 to 1,023.
    pub fn partition(self) -> u16 {
        // Fibonacci hashing: ids are handed out in order, their top product bits are spread evenly.
        ((self.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as u16
    }

    /// How somebody is asked for by this number. A number alone is never one of ours: shops call their customers so.
    pub fn spelled(self) -> String {
        format!("{SPELLED}{self}")
    }

    /// None for what is an id of the shop's.
    pub fn of_spelled(text: &str) -> Option<Self> {
        let number = text.strip_prefix(SPELLED)?;
        // As it is written, and in no other way.
        number.parse().ok().map(Self).filter(|id| id.0.to_string() == number)
    }
}

/// Stands before the number of a profile.
const SPELLED: &str = "profile:";

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The place of an entry in the log; the first is 1 and there are no holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position(pub i64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Of an id that begins with its instant: milliseconds, for some thousand years.
const INSTANT_BYTES: usize = 6;

fn instant_bytes(at: Timestamp) -> [u8; INSTANT_BYTES] {
    let [_, _, bytes @ ..] = at.0.max(0).to_be_bytes();
    bytes
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $domain:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Derived from its cause; `parts` are length-prefixed, so no two lists of parts collide by concatenation.
            pub fn derive(parts: &[&[u8]]) -> Self {
                Self(hash_parts($domain, parts))
            }

            /// The same, with the instant of the cause in front: what is made together stands together in every index of
            /// these ids, and is written to a few pages of it instead of one each.
            pub fn derive_at(at: Timestamp, parts: &[&[u8]]) -> Self {
                let mut id = hash_parts($domain, parts);
                id[..INSTANT_BYTES].copy_from_slice(&instant_bytes(at));
                Self(id)
            }

            /// Whether it begins with this instant.
            pub fn is_of(&self, at: Timestamp) -> bool {
                self.0.starts_with(&instant_bytes(at))
            }

            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let wrong = || NotAnId(text.chars().take(40).collect());
                if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(wrong());
                }
                u128::from_str_radix(text, 16).map(|n| Self(n.to_be_bytes())).map_err(|_| wrong())
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = NotAnId;

            fn try_from(bytes: &[u8]) -> Result<Self, NotAnId> {
                bytes.try_into().map(Self).map_err(|_| NotAnId(format!("{} bytes", bytes.len())))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Text or bytes that are not one of our 128-bit ids.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not an id of 32 hexadecimal digits")]
pub struct NotAnId(pub String);

hash_id!(
    /// Which event this is: a hash of the workspace and the client's `messageId`.
    EventId,
    "carillon event"
);
hash_id!(
    /// One message to one profile on one channel.
    MessageId,
    "carillon message"
);
hash_id!(
    /// One profile's walk through one campaign.
    EnrollmentId,
    "carillon enrollment"
);

/// A stable draw: the same parts give the same number for ever, spread evenly over all of them.
pub fn draw(parts: &[&[u8]]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash_parts("carillon draw", parts);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn hash_parts(domain: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.millis(), millis);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("2w".parse::<Span>().unwrap(), "14d".parse().unwrap());
        for wrong in ["", "h", "1", "-1h", "1.5h", "1 h", "1mo", "99999999999d", "9223372036854775807s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_read_with_and_without_seconds_and_with_offsets() {
        let ten: Timestamp = "2026-03-01T10:00Z".parse().unwrap();
        assert_eq!(ten, "2026-03-01T11:00:00+01:00".parse().unwrap());
        assert_eq!(ten.to_string(), "2026-03-01T10:00:00Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn ids_round_trip_and_do_not_collide_by_concatenation() {
        let one = MessageId::derive(&[b"ab", b"c"]);
        assert_ne!(one, MessageId::derive(&[b"a", b"bc"]));
        assert_eq!(one, one.to_string().parse().unwrap());
        assert!("zz".parse::<MessageId>().is_err());
    }

    #[test]
    fn ids_by_time_stand_in_its_order_and_are_told_from_others() {
        let at = |millis: i64| Timestamp::from_millis(millis);
        let ids: Vec<MessageId> =
            (0..300).map(|n: i64| MessageId::derive_at(at(1_800_000_000_000 + n / 3), &[&n.to_le_bytes()])).collect();
        let instants = |ids: &[MessageId]| ids.iter().map(|id| id.as_bytes()[..6].to_vec()).collect::<Vec<_>>();
        assert!(instants(&ids).is_sorted() && ids.iter().collect::<std::collections::BTreeSet<_>>().len() == 300);
        assert!(ids[7].is_of(at(1_800_000_000_002)) && !ids[7].is_of(at(1_800_000_000_003)));
        assert!(!MessageId::derive(&[b"7"]).is_of(at(1_800_000_000_002)));
        assert_ne!(ids[0], MessageId::derive_at(at(1_800_000_000_000), &[b"0"]));
        // Before 1970 there is no order, and an id all the same.
        assert_eq!(MessageId::derive_at(at(-5), &[b"7"]), MessageId::derive_at(at(0), &[b"7"]));
    }

    #[test]
    fn partitions_are_within_range_and_spread() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 1..5_000 {
            let partition = ProfileId(n).partition();
            assert!(partition < 1024);
            seen.insert(partition);
        }
        assert!(seen.len() > 1000);
    }
}
