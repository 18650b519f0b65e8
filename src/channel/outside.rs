//! Whom we ask on somebody's word. An address that a person wrote into a template must not lead to what only this machine
//! or its network can reach: a router's page, a cloud's metadata, a database. So every name is looked up by us, and a
//! connection goes to the very address that was looked at; a name that leads elsewhere a moment later changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::sender::dns::Dns;
use super::sender::records::Net;

/// A cloud's own services behind an address that looks like everybody's.
const OF_A_CLOUD: [Ipv4Addr; 1] = [Ipv4Addr::new(168, 63, 129, 16)];

/// Why nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    #[error("{0} does not exist in the DNS")]
    Unknown(String),
    #[error("{0}")]
    Silent(String),
    #[error("{0} leads to {1}, which is an address of a machine or a network of its own and not of the internet")]
    Inside(String, IpAddr),
}

/// Which addresses may be asked: those of the internet, and the networks somebody allowed.
pub struct Outside {
    dns: Dns,
    inside: Vec<Net>,
}

impl Outside {
    pub fn new(dns: Dns, inside: Vec<Net>) -> Self {
        Self { dns, inside }
    }

    pub fn may(&self, ip: IpAddr) -> bool {
        is_public(ip) || self.inside.iter().any(|net| net.contains(ip))
    }

    /// A host that is an address by itself is never looked up, so it is looked at before.
    ///
    /// # Errors
    /// It is inside.
    pub fn admit(&self, url: &Url) -> Result<(), Closed> {
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.may(ip) { Ok(()) } else { Err(Closed::Inside(ip.to_string(), ip)) }
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Closed> {
        let found = self.dns.addresses(name).await.map_err(|silent| Closed::Silent(silent.to_string()))?;
        let Some(first) = found.first().copied() else { return Err(Closed::Unknown(name.to_owned())) };
        let allowed: Vec<IpAddr> = found.into_iter().filter(|ip| self.may(*ip)).collect();
        if allowed.is_empty() { Err(Closed::Inside(name.to_owned(), first)) } else { Ok(allowed) }
    }
}

/// For a client that connects nowhere else.
pub struct Resolver(pub Arc<Outside>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let outside = self.0.clone();
        Box::pin(async move {
            let found = outside.addresses(name.as_str()).await?;
            // Port 0 is the one of the address that was asked for.
            let all: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(all)
        })
    }
}

/// An address that means the same machine to everybody on the internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_reserved = match (a, b, c) {
        // This network, shared by a carrier's customers, of protocols, for measurements, reserved.
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) | (240.., ..) => true,
        _ => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_documentation(),
    };
    !is_reserved && !OF_A_CLOUD.contains(&ip)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        // A gateway to IPv4, and 6to4: what counts is where they lead.
        (0x64, 0xff9b) => (c, d, e, f) == (0, 0, 0, 0) && embedded(g, h),
        (0x2002, _) => embedded(b, c),
        // Teredo and other protocols, documentation.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => false,
        // Nothing else is given to anybody yet.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_only_a_machine_or_its_network_reaches_is_not_public() {
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:1::1",
            "2001:0:1::1",
            "2001:db8::1",
            "100::1",
            "::7f00:1",
            "fec0::1",
        ] {
            assert!(!is_public(ip(inside)), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "9.9.9.9",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn an_address_in_an_address_is_looked_at_however_it_is_written() {
        let dns = Dns::new(Some(SocketAddr::from(([127, 0, 0, 1], 1)))).unwrap();
        let outside = Outside::new(dns, vec![Net::parse("10.1.0.0/16").unwrap()]);
        for url in
            ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://[::ffff:7f00:1]/", "http://10.2.0.1/"]
        {
            assert!(matches!(outside.admit(&url.parse().unwrap()), Err(Closed::Inside(..))), "{url}");
        }
        for url in ["http://10.1.2.3/", "https://1.1.1.1/", "https://shop.example/"] {
            assert_eq!(outside.admit(&url.parse().unwrap()), Ok(()), "{url}");
        }
    }
}
