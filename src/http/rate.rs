//! How often one write key may call, and how often one address may guess keys.
//!
//! Both maps are bounded: the keys by there being so many keys, the addresses by being swept when they grow, and by one
//! shared allowance for newcomers while they are still too many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;

use super::auth::KeyHash;
use super::config::Config;

/// Addresses remembered before the old ones are swept.
const ADDRESSES_MAX: usize = 50_000;

/// Whole seconds to wait, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub u64);

#[derive(Clone)]
struct Monotonic(Clock);

impl governor::clock::Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Monotonic, NoOpMiddleware<Duration>>;

pub struct Rates {
    clock: Monotonic,
    keys: Limiter<KeyHash>,
    strangers: Limiter<IpAddr>,
    noted: Limiter<IpAddr>,
}

impl Rates {
    pub fn new(config: &Config, clock: Clock) -> Self {
        let clock = Monotonic(clock);
        let keys = Quota::per_second(config.requests_per_second).allow_burst(config.requests_burst);
        let strangers = Quota::per_minute(config.wrong_keys_per_minute);
        Self {
            keys: RateLimiter::dashmap_with_clock(keys, clock.clone()),
            strangers: RateLimiter::dashmap_with_clock(strangers, clock.clone()),
            noted: RateLimiter::dashmap_with_clock(Quota::per_minute(NonZeroU32::MIN), clock.clone()),
            clock,
        }
    }

    /// One request of a known key.
    pub fn known(&self, key: &KeyHash) -> Result<(), Wait> {
        self.keys.check_key(key).map_err(|until| self.wait(until.wait_time_from(self.clock.now())))
    }

    /// One wrong key from an address.
    pub fn stranger(&self, address: IpAddr) -> Result<(), Wait> {
        let mut network = network(address);
        if self.strangers.len() > ADDRESSES_MAX {
            self.strangers.retain_recent();
            self.noted.retain_recent();
            if self.strangers.len() > ADDRESSES_MAX {
                network = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            }
        }
        let Err(until) = self.strangers.check_key(&network) else { return Ok(()) };
        if self.noted.check_key(&network).is_ok() {
            let neighbourhood = neighbourhood(network);
            tracing::warn!(target: "audit", %neighbourhood, "too many wrong write keys");
        }
        Err(self.wait(until.wait_time_from(self.clock.now())))
    }

    fn wait(&self, time: Duration) -> Wait {
        Wait(time.as_secs_f64().ceil().max(1.0) as u64)
    }
}

/// Who counts as one: an IPv4 address, or the /64 an IPv6 customer is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> 64))),
    }
}

/// As much of an address as a log may hold: /24, or /48.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !0xFF)),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> 48))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::{Span, Timestamp};

    #[test]
    fn a_key_over_its_rate_waits_whole_seconds_and_then_may_again() {
        let clock = Clock::fixed(Timestamp::from_millis(1_800_000_000_000));
        let three = NonZeroU32::new(3).unwrap();
        let config = Config { requests_per_second: three, requests_burst: three, ..Config::default() };
        let rates = Rates::new(&config, clock.clone());
        for _ in 0..3 {
            assert_eq!(rates.known(&[1; 32]), Ok(()));
        }
        assert_eq!(rates.known(&[1; 32]), Err(Wait(1)));
        assert_eq!(rates.known(&[2; 32]), Ok(()), "another key is not held back");
        clock.advance(Span::from_seconds(1));
        assert_eq!(rates.known(&[1; 32]), Ok(()));
    }

    #[test]
    fn guessing_is_held_back_by_network_and_not_elsewhere() {
        let clock = Clock::fixed(Timestamp::from_millis(1_800_000_000_000));
        let config = Config { wrong_keys_per_minute: NonZeroU32::new(10).unwrap(), ..Config::default() };
        let rates = Rates::new(&config, clock);
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..10 {
            assert_eq!(rates.stranger(of(&format!("2001:db8::{n}"))), Ok(()));
        }
        assert!(rates.stranger(of("2001:db8::ffff")).is_err());
        assert_eq!(rates.stranger(of("2001:db8:0:1::1")), Ok(()));
        assert_eq!(neighbourhood(of("198.51.100.7")), of("198.51.100.0"));
    }
}
