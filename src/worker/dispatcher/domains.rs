//! Recipients' domains: what each is known to do, and so how many connections it may hold. A domain that is slow, or
//! asked for patience, waits by itself; nobody else waits for it. Kept in memory alone, by each process for itself:
//! after a restart the first tries find out again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::{Span, Timestamp};
use crate::message::{Channel, Outcome};

/// A send that took longer makes its domain a slow one.
pub const SLOW_AFTER: Span = Span::from_seconds(5);
/// How long a domain that asked for patience is left alone; each time in a row twice as long.
const PATIENCE: Span = Span::from_seconds(60);
const PATIENCE_MAX: Span = Span::from_seconds(3_600);
/// A message of a slow domain is looked at again after this at the latest.
const TURN_MAX: Span = Span::from_seconds(60);
const TURN_MIN: Span = Span::from_seconds(1);
/// Messages of one slow domain that are claimed at once.
const SLOW_CLAIMS: usize = 4;
/// Domains remembered.
const DOMAINS_MAX: usize = 10_000;

/// Whose mail server takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    /// E-mail alone has domains that differ.
    pub fn of(channel: Channel, address: &str) -> Option<Self> {
        let (_, domain) = address.rsplit_once('@').filter(|_| channel == Channel::Email)?;
        Some(Self(domain.to_owned()))
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

/// How quickly a domain's mail is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// No answer yet.
    #[default]
    Fresh,
    Quick,
    /// The last send took this long, or the domain asked for patience.
    Slow {
        took: Span,
    },
}

/// What one domain may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Messages with the provider.
    pub connections: usize,
    /// Messages marked `sending`, those included.
    pub sending: usize,
}

impl Pace {
    /// Of so many connections. Whoever is quick leaves a quarter to others, whom it could not hold up even if it began
    /// to hang with all it has; whoever is unknown begins with a quarter.
    pub fn share(self, connections: usize) -> Share {
        let quarter = (connections / 4).max(1);
        match self {
            Self::Fresh => Share { connections: quarter, sending: quarter },
            Self::Quick => {
                let most = connections.saturating_sub(quarter).max(1);
                Share { connections: most, sending: 2 * most }
            }
            Self::Slow { .. } => Share { connections: 1, sending: 1 },
        }
    }

    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Slow { .. })
    }

    /// How many messages of one domain are claimed ahead.
    pub const fn claims(self, batch: usize) -> usize {
        match self {
            Self::Fresh => batch,
            Self::Quick => usize::MAX,
            Self::Slow { .. } => SLOW_CLAIMS,
        }
    }
}

#[derive(Default)]
pub struct Domains(Mutex<BTreeMap<Domain, Known>>);

#[derive(Default)]
struct Known {
    pace: Pace,
    /// How often in a row it asked for patience, and until when it has it.
    refusals: u32,
    patience: Option<Timestamp>,
    /// When the next message that waits is looked at.
    next_turn: Timestamp,
}

impl Domains {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Domain, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pace(&self, domain: &Domain) -> Pace {
        self.lock().get(domain).map_or(Pace::Fresh, |known| known.pace)
    }

    /// Until when the domain asked for patience.
    pub fn patient_until(&self, now: Timestamp, domain: &Domain) -> Option<Timestamp> {
        self.lock().get(domain)?.patience.filter(|until| now < *until)
    }

    /// Something sent to it has had no answer for so long.
    pub fn hangs(&self, now: Timestamp, domain: &Domain, took: Span) {
        if took > SLOW_AFTER {
            self.change(now, domain, |known| known.pace = Pace::Slow { took });
        }
    }

    /// Learns from an answer that took so long.
    pub fn learn(&self, now: Timestamp, domain: &Domain, took: Span, outcome: &Outcome) {
        self.change(now, domain, |known| match outcome {
            Outcome::TransportDown { .. } => {}
            Outcome::Retry { slow_domain: true, .. } => known.ask_for_patience(now, took),
            Outcome::Accepted { .. } | Outcome::Retry { .. } | Outcome::Rejected { .. } | Outcome::Unknown { .. } => {
                known.pace = if took > SLOW_AFTER { Pace::Slow { took } } else { Pace::Quick };
                if matches!(outcome, Outcome::Accepted { .. }) {
                    (known.refusals, known.patience) = (0, None);
                }
            }
        });
    }

    /// When another message that the domain has no room for is looked at again: one after the other, as quickly as it
    /// takes them.
    pub fn next_turn(&self, now: Timestamp, domain: &Domain) -> Timestamp {
        let mut next = now.plus(TURN_MIN);
        self.change(now, domain, |known| {
            if let Pace::Slow { took } = known.pace {
                let pace = took.max(TURN_MIN).min(TURN_MAX);
                next = known.next_turn.max(now).plus(pace).min(now.plus(TURN_MAX));
                known.next_turn = next;
            }
        });
        next
    }

    fn change(&self, now: Timestamp, domain: &Domain, change: impl FnOnce(&mut Known)) {
        let mut domains = self.lock();
        if domains.len() >= DOMAINS_MAX && !domains.contains_key(domain) {
            // The quick ones lose least: they are found quick again by their next answer.
            domains.retain(|_, known| known.pace.is_slow() && known.patience.is_none_or(|until| now < until));
        }
        if domains.len() < DOMAINS_MAX || domains.contains_key(domain) {
            change(domains.entry(domain.clone()).or_default());
        }
    }
}

impl Known {
    fn ask_for_patience(&mut self, now: Timestamp, took: Span) {
        self.pace = Pace::Slow { took };
        // Messages under way together are refused together: that is one refusal.
        if self.patience.is_some_and(|until| now < until) {
            return;
        }
        let factor = 1_i64.checked_shl(self.refusals.min(20)).unwrap_or(i64::MAX);
        let patience = Span::from_millis(PATIENCE.millis().saturating_mul(factor)).min(PATIENCE_MAX);
        self.refusals += 1;
        self.patience = Some(now.plus(patience));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_772_000_000_000 + second * 1_000)
    }

    fn domain(name: &str) -> Domain {
        Domain::of(Channel::Email, &format!("ann@{name}")).unwrap()
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { reply: String::new() }
    }

    fn busy() -> Outcome {
        Outcome::Retry { cause: "421 too fast".into(), after: None, slow_domain: true }
    }

    #[test]
    fn a_domain_that_asks_again_and_again_is_left_alone_ever_longer_and_no_other_is() {
        let (domains, slow, other) = (Domains::default(), domain("slow.example"), domain("other.example"));
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..8 {
            domains.learn(now, &slow, Span::ZERO, &busy());
            domains.learn(now, &slow, Span::ZERO, &busy());
            let until = domains.patient_until(now, &slow).unwrap();
            waits.push((until.millis() - now.millis()) / 1_000);
            now = until;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!((domains.patient_until(now, &slow), domains.patient_until(at(1), &other)), (None, None));
        assert!(domains.pace(&slow).is_slow() && domains.pace(&other) == Pace::Fresh);
        domains.learn(now, &slow, Span::ZERO, &accepted());
        assert_eq!(domains.pace(&slow), Pace::Quick);
        domains.learn(now, &slow, Span::ZERO, &busy());
        assert_eq!(domains.patient_until(now, &slow), Some(now.plus(PATIENCE)), "it begins anew");
    }

    #[test]
    fn a_domain_is_slow_while_something_hangs_or_took_long_and_quick_after_an_answer_in_time() {
        let (domains, slow) = (Domains::default(), domain("slow.example"));
        domains.hangs(at(5), &slow, Span::from_seconds(5));
        assert_eq!(domains.pace(&slow), Pace::Fresh, "five seconds are no sign yet");
        domains.hangs(at(6), &slow, Span::from_seconds(6));
        assert_eq!(domains.pace(&slow), Pace::Slow { took: Span::from_seconds(6) });
        domains.learn(at(30), &slow, Span::from_seconds(30), &accepted());
        assert_eq!(domains.pace(&slow), Pace::Slow { took: Span::from_seconds(30) });
        domains.learn(at(31), &slow, Span::from_seconds(1), &Outcome::TransportDown { cause: "535".into() });
        assert!(domains.pace(&slow).is_slow(), "a wrong login says nothing of the domain");
        let refused = Outcome::Rejected { cause: "550".into(), suppress: true };
        domains.learn(at(32), &slow, Span::from_seconds(1), &refused);
        assert_eq!(domains.pace(&slow), Pace::Quick);
    }

    #[test]
    fn what_waits_for_a_slow_domain_is_looked_at_one_by_one_and_at_least_each_minute() {
        let (domains, slow) = (Domains::default(), domain("slow.example"));
        assert_eq!(domains.next_turn(at(0), &slow), at(1), "nothing is known of it yet");
        domains.learn(at(0), &slow, Span::from_seconds(20), &accepted());
        let turns: Vec<_> = (0..5).map(|_| domains.next_turn(at(0), &slow)).collect();
        assert_eq!(turns, [at(20), at(40), at(60), at(60), at(60)]);
        assert_eq!(domains.next_turn(at(100), &slow), at(120));
    }

    #[test]
    fn nobody_can_hold_every_connection_where_there_are_two() {
        for connections in 2..100 {
            for pace in [Pace::Fresh, Pace::Quick, Pace::Slow { took: SLOW_AFTER }] {
                let share = pace.share(connections);
                assert!((1..connections).contains(&share.connections), "{pace:?} {connections} {share:?}");
                assert!((share.connections..=2 * share.connections).contains(&share.sending), "{pace:?} {share:?}");
            }
        }
        assert_eq!(Pace::Quick.share(1), Share { connections: 1, sending: 2 });
    }

    #[test]
    fn the_memory_is_bounded_and_the_slow_are_remembered_longest() {
        let domains = Domains::default();
        domains.learn(at(0), &domain("slow.example"), Span::ZERO, &busy());
        for n in 0..DOMAINS_MAX + 10 {
            domains.learn(at(1), &domain(&format!("{n}.example")), Span::ZERO, &accepted());
        }
        assert!(domains.lock().len() <= DOMAINS_MAX);
        assert!(domains.pace(&domain("slow.example")).is_slow());
        for n in 0..DOMAINS_MAX + 10 {
            domains.learn(at(1), &domain(&format!("{n}.example")), Span::ZERO, &busy());
        }
        assert!(domains.lock().len() <= DOMAINS_MAX);
        domains.learn(at(100), &domain("late.example"), Span::ZERO, &busy());
        assert!(domains.pace(&domain("late.example")).is_slow(), "old ones made room");
    }
}
