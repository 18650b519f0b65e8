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
use crate::worker::dispatcher::Dispatcher;
use crate::worker::dispatcher::domains::{Domain, Lane};
use crate::worker::dispatcher::line::Line;

/// The longest pause of a transport that stays unusable.
const PAUSE_MAX: Span = Span::from_seconds(15 * 60);
/// So many tries in a row that failed for now stop a transport that can be reached, where they were to several domains:
/// one that greylists is that domain's affair.
const RUN_MAX: usize = 10;
const RUN_DOMAINS_MIN: usize = 2;

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
    /// Tries that failed since something was last taken or refused for good.
    runs: BTreeMap<Channel, Run>,
    /// Channels whose rate is used up, until then.
    full: BTreeMap<Channel, Timestamp>,
}

#[derive(Default)]
struct Run {
    failures: usize,
    domains: BTreeSet<Option<Domain>>,
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

    /// Whether that message is on its way: the newest in hand was taken up after the pause.
    fn is_probed(&self, channel: Channel, newest: Option<&Timestamp>) -> bool {
        let state = self.lock();
        let down = state.down.get(&channel);
        down.is_some_and(|down| newest.is_some_and(|newest| down.until <= *newest))
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

    /// Learns from an outcome whether the transport works; the answer is when a stopped one is tried again. `domain` is
    /// the recipient's.
    pub fn learn(
        &self,
        now: Timestamp,
        channel: Channel,
        domain: Option<&Domain>,
        outcome: &Outcome,
    ) -> Option<Timestamp> {
        let mut state = self.lock();
        match outcome {
            Outcome::TransportDown { cause } => Some(self.stop(&mut state, now, channel, cause.clone())),
            // About one domain or address: whether others are taken nobody knows, so it counts neither way.
            Outcome::Retry { slow_domain: true, .. } | Outcome::Retry { about_recipient: true, .. } => None,
            Outcome::Retry { cause, .. } | Outcome::Unknown { cause } => {
                let run = state.runs.entry(channel).or_default();
                run.failures += 1;
                if run.domains.len() < RUN_DOMAINS_MIN {
                    run.domains.insert(domain.cloned());
                }
                // What opens it is a success: a probe that fails like those before is one more of them.
                if run.failures >= RUN_MAX && run.domains.len() >= RUN_DOMAINS_MIN {
                    let cause = format!("{} tries in a row failed, the last with: {cause}", run.failures);
                    self.stop(&mut state, now, channel, cause);
                }
                None
            }
            Outcome::Accepted { .. } | Outcome::Rejected { .. } => {
                state.runs.remove(&channel);
                if state.down.remove(&channel).is_some() {
                    tracing::info!(channel = channel.as_str(), "the transport works again");
                    telemetry::transport_stopped(channel.as_str(), false);
                }
                None
            }
        }
    }

    /// Nothing is tried before the answer; then a single message is.
    fn stop(&self, state: &mut State, now: Timestamp, channel: Channel, cause: String) -> Timestamp {
        let known = state.down.get(&channel);
        // Messages under way together fail together: that is one failure.
        if let Some(down) = known.filter(|down| now < down.until) {
            return down.until;
        }
        let failures = known.map_or(0, |down| down.failures);
        let factor = 1_i64.checked_shl(failures.min(20)).unwrap_or(i64::MAX);
        let pause = self.pause.millis().saturating_mul(factor).clamp(0, PAUSE_MAX.millis().max(self.pause.millis()));
        let until = now.plus_millis(pause);
        tracing::error!(channel = channel.as_str(), %until, cause, "the transport cannot be used; its messages wait");
        telemetry::transport_stopped(channel.as_str(), true);
        state.down.insert(channel, Down { failures: failures + 1, until, cause });
        until
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
    /// When the newest message in hand was taken up.
    newest: BTreeMap<Channel, Timestamp>,
}

impl Ahead {
    pub fn of(line: &Line) -> Self {
        Self { shut: BTreeSet::new(), in_hand: line.in_hand(), newest: line.newest() }
    }
}

impl Dispatcher {
    pub(super) fn gate(&self, now: Timestamp, message: &Message, address: &str, ahead: &mut Ahead) -> Gate {
        let channel = message.channel;
        if ahead.shut.contains(&channel) {
            return Gate::Shut;
        }
        if self.gates.is_probed(channel, ahead.newest.get(&channel)) {
            ahead.shut.insert(channel);
            return Gate::Shut;
        }
        let domain = Domain::of(channel, address);
        if let Some(domain) = &domain
            && self.has_its_share(now, domain, ahead)
        {
            // At its end it is looked at in any case.
            let until = self.domains.next_turn(now, domain, Lane::of(message)).min(message.expires_at);
            let reason = Reason::DomainSlow { domain: domain.name().to_owned() };
            return Gate::Slow(Status::Deferred { until, reason });
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

    /// Whether a domain takes no more now.
    fn has_its_share(&self, now: Timestamp, domain: &Domain, ahead: &Ahead) -> bool {
        let in_hand = ahead.in_hand.get(domain).copied().unwrap_or(0);
        self.domains.patient_until(now, domain).is_some()
            || in_hand >= self.domains.pace(domain).claims(self.batch_max())
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
        assert_eq!(gates.learn(at(0), Channel::Email, None, &down()), Some(at(60)));
        assert_eq!(gates.learn(at(1), Channel::Email, None, &down()), Some(at(60)), "under way together");
        assert_eq!(gates.closed(at(59)), [Channel::Email]);
        assert_eq!(gates.opens_at(at(59)), Some(at(60)));
        assert!(gates.closed(at(60)).is_empty() && gates.is_probing(Channel::Email));
        assert_eq!(gates.learn(at(60), Channel::Email, None, &down()), Some(at(180)));
        let mut now = at(180);
        for _ in 0..70 {
            now = gates.learn(now, Channel::Email, None, &down()).unwrap();
        }
        assert_eq!(gates.learn(now, Channel::Email, None, &down()), Some(now.plus(PAUSE_MAX)));
        assert_eq!(gates.stopped()[0].cause, "535 wrong password");
        assert_eq!(gates.learn(now, Channel::Email, None, &Outcome::Accepted { reply: String::new() }), None);
        assert!(gates.closed(now).is_empty() && gates.stopped().is_empty() && !gates.is_probing(Channel::Email));
    }

    #[test]
    fn a_run_of_failures_to_several_domains_stops_a_transport_and_what_it_takes_opens_it() {
        let again =
            Outcome::Retry { cause: "451 4.3.0 later".into(), after: None, slow_domain: false, about_recipient: false };
        let accepted = Outcome::Accepted { reply: String::new() };
        let domain = |n: usize| Domain::of(Channel::Email, &format!("ann@{n}.example")).unwrap();
        let fail = |gates: &Gates, now, n| gates.learn(now, Channel::Email, Some(&domain(n)), &again);
        let gates = gates();
        for n in 0..RUN_MAX * 3 {
            assert_eq!(fail(&gates, at(0), 1), None, "the message keeps its own next try");
            assert!(gates.stopped().is_empty(), "{n}: a domain that greylists stops nobody else's mail");
        }
        gates.learn(at(0), Channel::Email, Some(&domain(1)), &accepted);
        for n in 0..RUN_MAX {
            assert!(gates.stopped().is_empty(), "after {n}");
            fail(&gates, at(0), n % 3);
        }
        assert_eq!((gates.opens_at(at(0)), gates.closed(at(59))), (Some(at(60)), vec![Channel::Email]));
        assert_eq!(gates.stopped()[0].cause, "10 tries in a row failed, the last with: 451 4.3.0 later");
        assert!(gates.closed(at(60)).is_empty() && gates.is_probing(Channel::Email), "half open: one may try");
        fail(&gates, at(60), 7);
        assert_eq!(gates.opens_at(at(60)), Some(at(180)), "the probe failed");
        gates.learn(at(180), Channel::Email, Some(&domain(7)), &accepted);
        assert!(gates.stopped().is_empty() && !gates.is_probing(Channel::Email));
        assert!((1..RUN_MAX).all(|n| fail(&gates, at(180), n).is_none()));
        assert!(gates.stopped().is_empty(), "the count begins anew");
    }

    #[test]
    fn full_mailboxes_stop_nobody_elses_mail_and_say_nothing_of_a_transport_that_fails() {
        let retry = |cause: &str, about_recipient| Outcome::Retry {
            cause: cause.into(),
            after: None,
            slow_domain: false,
            about_recipient,
        };
        let (full, fails) = (retry("452 4.2.2 Over quota", true), retry("451 4.3.0 later", false));
        let domain = |n: usize| Domain::of(Channel::Email, &format!("ann@{n}.example")).unwrap();
        let gates = gates();
        for n in 0..RUN_MAX * 3 {
            assert_eq!(gates.learn(at(0), Channel::Email, Some(&domain(n)), &full), None);
            assert!(gates.stopped().is_empty(), "{n}");
        }
        for n in 0..RUN_MAX {
            assert!(gates.stopped().is_empty(), "{n}");
            gates.learn(at(0), Channel::Email, Some(&domain(n)), &fails);
            gates.learn(at(0), Channel::Email, Some(&domain(n)), &full);
        }
        assert_eq!(gates.stopped().len(), 1, "a full mailbox between them ends no run");
        gates.learn(at(60), Channel::Email, Some(&domain(1)), &full);
        assert!(gates.closed(at(60)).is_empty() && gates.is_probing(Channel::Email), "the next one tries");
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
