//! What holds a message back behind the guard: an unusable transport, a provider's rate limit, a recipient's domain that
//! has its share. Kept in memory alone: after a restart the first tries find out again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::ids::{Span, Timestamp};
use crate::message::{Channel, Message, Outcome, Reason, Status};
use crate::telemetry;
use crate::worker::dispatcher::domains::Domain;
use crate::worker::dispatcher::line::Line;
use crate::worker::dispatcher::{BATCH_MAX, Dispatcher};

/// The longest pause of a transport that stays unusable.
const PAUSE_MAX: Span = Span::from_seconds(15 * 60);

/// A channel whose transport is unusable, for the people who must repair it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub channel: Channel,
    pub until: Timestamp,
    /// The transport's own words.
    pub cause: String,
}

/// The gates of every channel.
pub struct Gates {
    pause: Span,
    limits: BTreeMap<Channel, DefaultDirectRateLimiter>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    down: BTreeMap<Channel, Down>,
    /// Channels whose rate is used up, until then.
    full: BTreeMap<Channel, Timestamp>,
}

struct Down {
    failures: u32,
    until: Timestamp,
    cause: String,
}

impl Gates {
    /// `pause` is the first pause of an unusable transport; each further one is twice as long.
    pub fn new(pause: Span) -> Self {
        Self { pause, limits: BTreeMap::new(), state: Mutex::default() }
    }

    /// Sets the providers' limits; a channel without one is unlimited.
    pub fn limit(&mut self, per_second: &BTreeMap<Channel, NonZeroU32>) {
        let limiter = |rate: &NonZeroU32| RateLimiter::direct(Quota::per_second(*rate));
        self.limits = per_second.iter().map(|(channel, rate)| (*channel, limiter(rate))).collect();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Channels nothing may be claimed for now.
    pub fn closed(&self, now: Timestamp) -> Vec<Channel> {
        let state = self.lock();
        let is_closed = |channel: &Channel| {
            state.down.get(channel).is_some_and(|down| now < down.until)
                || state.full.get(channel).is_some_and(|until| now < *until)
        };
        Channel::ALL.into_iter().filter(is_closed).collect()
    }

    /// When the first closed channel opens.
    pub fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let instants = state.down.values().map(|down| down.until).chain(state.full.values().copied());
        instants.filter(|until| now < *until).min()
    }

    /// After a pause a single message tries the transport; the rest follows when it went through.
    pub fn is_probing(&self, channel: Channel) -> bool {
        self.lock().down.contains_key(&channel)
    }

    /// Takes one send out of the provider's rate; false closes the channel until there is room again.
    pub fn admit(&self, now: Timestamp, channel: Channel) -> bool {
        let Some(limit) = self.limits.get(&channel) else { return true };
        match limit.check() {
            Ok(()) => true,
            Err(wait) => {
                let wait = wait.wait_time_from(DefaultClock::default().now());
                let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
                self.lock().full.insert(channel, now.plus_millis(millis));
                false
            }
        }
    }

    /// Learns from an outcome whether the transport works; the answer is when a stopped one is tried again.
    pub fn learn(&self, now: Timestamp, channel: Channel, outcome: &Outcome) -> Option<Timestamp> {
        let mut state = self.lock();
        let Outcome::TransportDown { cause } = outcome else {
            if state.down.remove(&channel).is_some() {
                tracing::info!(channel = channel.as_str(), "the transport works again");
                telemetry::transport_stopped(channel.as_str(), false);
            }
            return None;
        };
        let known = state.down.get(&channel);
        // Messages under way together fail together: that is one failure.
        if let Some(down) = known.filter(|down| now < down.until) {
            return Some(down.until);
        }
        let failures = known.map_or(0, |down| down.failures);
        let factor = 1_i64.checked_shl(failures.min(20)).unwrap_or(i64::MAX);
        let pause = self.pause.millis().saturating_mul(factor).clamp(0, PAUSE_MAX.millis().max(self.pause.millis()));
        let until = now.plus_millis(pause);
        tracing::error!(channel = channel.as_str(), %until, cause, "the transport cannot be used; its messages wait");
        telemetry::transport_stopped(channel.as_str(), true);
        state.down.insert(channel, Down { failures: failures + 1, until, cause: cause.clone() });
        Some(until)
    }

    /// Until when a message must wait because its transport stopped after it was claimed.
    pub fn stopped_until(&self, now: Timestamp, channel: Channel) -> Option<Timestamp> {
        self.lock().down.get(&channel).map(|down| down.until).filter(|until| now < *until)
    }

    /// Every transport that is stopped or not yet known to work again.
    pub fn stopped(&self) -> Vec<Stopped> {
        let state = self.lock();
        let stopped = |(channel, down): (&Channel, &Down)| Stopped {
            channel: *channel,
            until: down.until,
            cause: down.cause.clone(),
        };
        state.down.iter().map(stopped).collect()
    }
}

/// Whether a channel takes a message now.
pub enum Gate {
    Open,
    /// Nothing more in this batch.
    Shut,
    /// The recipient's domain has its share: later, in this state.
    Slow(Status),
}

/// Claims ahead of what is sent, of one batch.
pub struct Ahead {
    /// Channels that take nothing more.
    shut: BTreeSet<Channel>,
    in_hand: BTreeMap<Domain, usize>,
}

impl Ahead {
    pub fn of(line: &Line) -> Self {
        Self { shut: BTreeSet::new(), in_hand: line.in_hand() }
    }
}

impl Dispatcher {
    pub(super) fn gate(&self, now: Timestamp, message: &Message, address: &str, ahead: &mut Ahead) -> Gate {
        let channel = message.channel;
        if ahead.shut.contains(&channel) {
            return Gate::Shut;
        }
        let domain = Domain::of(channel, address);
        if let Some(domain) = &domain
            && let Some(until) = self.turn_of(now, domain, ahead)
        {
            return Gate::Slow(match &message.status {
                Status::Retrying { attempt, cause, .. } => {
                    Status::Retrying { attempt: *attempt, at: until, cause: cause.clone() }
                }
                _ => Status::Deferred { until, reason: Reason::DomainSlow { domain: domain.name().to_owned() } },
            });
        }
        if !self.gates.admit(now, channel) {
            ahead.shut.insert(channel);
            return Gate::Shut;
        }
        if self.gates.is_probing(channel) {
            ahead.shut.insert(channel);
        }
        if let Some(domain) = domain {
            *ahead.in_hand.entry(domain).or_default() += 1;
        }
        Gate::Open
    }

    /// When a message is looked at again whose domain takes no more now.
    fn turn_of(&self, now: Timestamp, domain: &Domain, ahead: &Ahead) -> Option<Timestamp> {
        if let Some(until) = self.domains.patient_until(now, domain) {
            return Some(until);
        }
        let in_hand = ahead.in_hand.get(domain).copied().unwrap_or(0);
        (in_hand >= self.domains.pace(domain).claims(BATCH_MAX)).then(|| self.domains.next_turn(now, domain))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_772_000_000_000 + second * 1_000)
    }

    fn gates() -> Gates {
        Gates::new(Span::from_seconds(60))
    }

    fn down() -> Outcome {
        Outcome::TransportDown { cause: "535 wrong password".into() }
    }

    #[test]
    fn a_transport_that_stays_down_is_tried_ever_more_seldom_and_opens_again_at_once() {
        let gates = gates();
        assert_eq!(gates.learn(at(0), Channel::Email, &down()), Some(at(60)));
        assert_eq!(gates.learn(at(1), Channel::Email, &down()), Some(at(60)), "under way together");
        assert_eq!(gates.closed(at(59)), [Channel::Email]);
        assert_eq!(gates.opens_at(at(59)), Some(at(60)));
        assert!(gates.closed(at(60)).is_empty() && gates.is_probing(Channel::Email));
        assert_eq!(gates.learn(at(60), Channel::Email, &down()), Some(at(180)));
        let mut now = at(180);
        for _ in 0..70 {
            now = gates.learn(now, Channel::Email, &down()).unwrap();
        }
        assert_eq!(gates.learn(now, Channel::Email, &down()), Some(now.plus(PAUSE_MAX)));
        assert_eq!(gates.stopped()[0].cause, "535 wrong password");
        assert_eq!(gates.learn(now, Channel::Email, &Outcome::Accepted { reply: String::new() }), None);
        assert!(gates.closed(now).is_empty() && gates.stopped().is_empty() && !gates.is_probing(Channel::Email));
    }

    #[test]
    fn a_used_up_rate_closes_the_channel_and_no_other() {
        let mut gates = gates();
        gates.limit(&BTreeMap::from([(Channel::Sms, NonZeroU32::MIN)]));
        assert!(gates.admit(at(0), Channel::Sms));
        assert!(!gates.admit(at(0), Channel::Sms));
        assert!(gates.admit(at(0), Channel::Email));
        assert_eq!(gates.closed(at(0)), [Channel::Sms]);
        assert!(gates.opens_at(at(0)).unwrap() <= at(2));
    }
}
