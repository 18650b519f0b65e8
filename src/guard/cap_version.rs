//! Which history of slots an answer was given for. A plain counter does not do: two workers can reach the same number
//! by different changes, and a cap breaks. Chained over its changes, equal versions mean equal histories.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{MessageId, ProfileId, Timestamp};

/// The version of one cap subject's slots. The default is the subject of which nothing was ever recorded.
/// Text form: the step, a dash, 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CapVersion {
    pub step: u64,
    pub chain: [u8; 16],
}

/// One change of a subject's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The instant is part of it: the same message at another instant fills other windows.
    Taken {
        message: MessageId,
        at: Timestamp,
    },
    Released {
        message: MessageId,
    },
    /// All slots of another profile of the same person are added.
    United {
        with: ProfileId,
    },
}

impl CapVersion {
    /// The version after one change: (n + 1, H(v, change)).
    #[must_use]
    pub fn next(&self, change: &Change) -> Self {
        let step = self.step.wrapping_add(1);
        let link = |kind: &[u8], message: &MessageId, at: i64| {
            MessageId::derive(&[
                b"caps",
                &self.step.to_le_bytes(),
                &self.chain,
                kind,
                message.as_bytes(),
                &at.to_le_bytes(),
            ])
        };
        let chain = match change {
            Change::Taken { message, at } => link(b"taken", message, at.millis()),
            Change::Released { message } => link(b"released", message, 0),
            Change::United { with } => link(b"united", &MessageId::from_bytes([0; 16]), with.0),
        };
        Self { step, chain: *chain.as_bytes() }
    }
}

impl fmt::Display for CapVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.step, MessageId::from_bytes(self.chain))
    }
}

/// Text that is not a cap version.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not a cap version")]
pub struct NotACapVersion(pub String);

impl FromStr for CapVersion {
    type Err = NotACapVersion;

    fn from_str(text: &str) -> Result<Self, NotACapVersion> {
        let parse = || {
            let (step, chain) = text.split_once('-')?;
            let digits = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
            let chain: MessageId = chain.parse().ok()?;
            Some(Self { step: step.parse().ok().filter(|_| digits)?, chain: *chain.as_bytes() })
        };
        parse().ok_or_else(|| NotACapVersion(text.chars().take(60).collect()))
    }
}

impl Serialize for CapVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CapVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn taken(name: &[u8], at: i64) -> Change {
        Change::Taken { message: MessageId::derive(&[name]), at: Timestamp::from_millis(at) }
    }

    #[test]
    fn the_same_changes_in_another_order_or_at_another_instant_are_another_version() {
        let zero = CapVersion::default();
        let (a, b) = (taken(b"a", 1), taken(b"b", 2));
        assert_eq!(zero.next(&a), zero.next(&a));
        assert_eq!(zero.next(&a).step, zero.next(&b).step);
        assert_ne!(zero.next(&a), zero.next(&b));
        assert_ne!(zero.next(&a).next(&b), zero.next(&b).next(&a));
        assert_ne!(zero.next(&a), zero.next(&taken(b"a", 3)));
        let released = Change::Released { message: MessageId::derive(&[b"a"]) };
        assert_ne!(zero.next(&a).next(&released), zero);
    }

    #[test]
    fn a_version_round_trips_as_text() {
        for version in [CapVersion::default(), CapVersion { step: u64::MAX, chain: [0xAB; 16] }] {
            assert_eq!(version.to_string().parse::<CapVersion>().unwrap(), version);
        }
        for wrong in ["", "-", "1", "1-", "+1-00000000000000000000000000000000", "x-00000000000000000000000000000000"] {
            assert!(wrong.parse::<CapVersion>().is_err(), "{wrong}");
        }
        // Steps never overflow into a panic.
        let last = CapVersion { step: u64::MAX, chain: [1; 16] };
        assert_ne!(last.next(&taken(b"a", 1)), last);
    }
}
