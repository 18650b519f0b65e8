//! Ranges of internet addresses: `10.0.0.0/24`, `2001:db8::/32`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cidr {
    V4 { network: Ipv4Addr, bits: u32 },
    V6 { network: Ipv6Addr, bits: u32 },
}

impl Cidr {
    /// `ADDRESS/BITS`; what stands beyond the bits is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let bits: u32 = bits.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(network) if bits <= 32 => Some(Self::V4 { network, bits }),
            IpAddr::V6(network) if bits <= 128 => Some(Self::V6 { network, bits }),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Whether the text is an address within; a version 4 address is never within a version 6 range, nor the reverse.
    pub fn contains(self, text: &str) -> bool {
        match self {
            Self::V4 { network, bits } => text
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| (address.to_bits() ^ network.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0),
            Self::V6 { network, bits } => text
                .parse::<Ipv6Addr>()
                .is_ok_and(|address| (address.to_bits() ^ network.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4 { network, bits } => write!(f, "an address in {network}/{bits}"),
            Self::V6 { network, bits } => write!(f, "an address in {network}/{bits}"),
        }
    }
}
