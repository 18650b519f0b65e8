//! Whether the cap stores can be asked at present. While they cannot, messages that need slots are left where they are,
//! and everything else goes on; a batch tries again after each pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::caps::Unreachable;
use crate::ids::{Span, Timestamp};
use crate::telemetry;
use crate::worker::dispatcher::Dispatcher;

const PAUSE: Span = Span::from_seconds(1);
const PAUSE_MAX: Span = Span::from_seconds(10);

/// Open until a cap store cannot be reached.
#[derive(Default)]
pub struct CapsGate {
    down: Mutex<Option<Down>>,
    is_kept_shut: AtomicBool,
}

struct Down {
    failures: u32,
    until: Timestamp,
}

impl CapsGate {
    fn lock(&self) -> MutexGuard<'_, Option<Down>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When slots are asked for again; none while they are.
    pub fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().as_ref().map(|down| down.until).filter(|until| now < *until)
    }

    /// Whether no slots are asked for now.
    pub fn is_shut(&self, now: Timestamp) -> bool {
        self.is_kept_shut.load(Ordering::Acquire) || self.opens_at(now).is_some()
    }

    /// Shut until told otherwise, whatever the store answers.
    pub fn keep_shut(&self, shut: bool) {
        self.is_kept_shut.store(shut, Ordering::Release);
    }

    /// A store did not answer; the answer is when it is asked again.
    pub fn failed(&self, now: Timestamp, error: &Unreachable) -> Timestamp {
        let mut gate = self.lock();
        // Messages asked for together fail together: that is one failure.
        if let Some(until) = gate.as_ref().map(|down| down.until).filter(|until| now < *until) {
            return until;
        }
        let failures = gate.as_ref().map_or(0, |down| down.failures);
        let factor = 1_i64.checked_shl(failures.min(20)).unwrap_or(i64::MAX);
        let pause = Span::from_millis(PAUSE.millis().saturating_mul(factor)).min(PAUSE_MAX);
        let until = now.plus(pause);
        if failures == 0 {
            tracing::error!(%error, "messages that obey frequency caps wait; everything else goes on");
            telemetry::caps_stopped(true);
        }
        *gate = Some(Down { failures: failures + 1, until });
        until
    }

    /// A store answered.
    pub fn answered(&self) {
        if self.lock().take().is_some() {
            tracing::info!("the cap store answers again");
            telemetry::caps_stopped(false);
        }
    }
}

impl Dispatcher {
    /// Whether the cap store could not be asked when it last was.
    pub fn caps_unreachable(&self) -> bool {
        self.caps_gate.lock().is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_store_that_stays_away_is_asked_ever_more_seldom_and_an_answer_opens_at_once() {
        let at = |second: i64| Timestamp::from_millis(1_772_000_000_000 + second * 1_000);
        let gate = CapsGate::default();
        let gone = Unreachable("connection refused".into());
        assert_eq!(gate.opens_at(at(0)), None);
        assert_eq!(gate.failed(at(0), &gone), at(1));
        assert_eq!(gate.failed(at(0), &gone), at(1), "asked for together");
        assert_eq!((gate.opens_at(at(0)), gate.opens_at(at(1))), (Some(at(1)), None));
        assert_eq!(gate.failed(at(1), &gone), at(3));
        let mut now = at(3);
        for _ in 0..70 {
            now = gate.failed(now, &gone);
        }
        assert_eq!(gate.failed(now, &gone), now.plus(PAUSE_MAX));
        gate.answered();
        assert_eq!(gate.opens_at(now), None);
        assert_eq!(gate.failed(now, &gone), now.plus(PAUSE));
    }
}
