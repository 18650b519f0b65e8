//! The only file that reads the time. Everything else is told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ids::{Span, Timestamp};

/// Where `now` comes from: the system's clock, or that of a database which several machines share, moved by an offset; or
/// a hand-set instant for tests and simulation.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Milliseconds added to the system's clock: the demo's way to the future.
    System {
        offset_ms: AtomicI64,
        started: Instant,
        /// Milliseconds from the machine's start to the time it follows; [`ITS_OWN`] while it follows nobody's.
        since_boot_ms: AtomicI64,
    },
    Fixed {
        now_ms: AtomicI64,
    },
}

const ITS_OWN: i64 = i64::MIN;

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
    pub fn system(offset: Span) -> Self {
        let (offset_ms, since_boot_ms) = (AtomicI64::new(offset.millis()), AtomicI64::new(ITS_OWN));
        Self(Arc::new(Kind::System { offset_ms, started: Instant::now(), since_boot_ms }))
    }

    pub fn fixed(now: Timestamp) -> Self {
        Self(Arc::new(Kind::Fixed { now_ms: AtomicI64::new(now.millis()) }))
    }

    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Kind::System { offset_ms, since_boot_ms, .. } => {
                let since_boot = since_boot_ms.load(Ordering::Relaxed);
                let time = if since_boot == ITS_OWN { machine_ms() } else { since_boot + millis(boot_time()) };
                Timestamp::from_millis(time.saturating_add(offset_ms.load(Ordering::Relaxed)))
            }
            Kind::Fixed { now_ms } => Timestamp::from_millis(now_ms.load(Ordering::Relaxed)),
        }
    }

    /// What the machine's own clock shows, whatever time is followed.
    pub fn machine(&self) -> Timestamp {
        match &*self.0 {
            Kind::System { .. } => Timestamp::from_millis(machine_ms()),
            Kind::Fixed { .. } => self.now(),
        }
    }

    /// From now on follows the time of whoever answered `theirs` to a question of `asked` (in boot time): machines whose
    /// clocks differ then agree on every instant. An answer no better than what is known changes nothing.
    pub fn follow(&self, theirs: Timestamp, asked: Duration) {
        let Kind::System { since_boot_ms, .. } = &*self.0 else { return };
        let half = boot_time().saturating_sub(asked) / 2;
        let (found, known) = (theirs.millis() - millis(asked + half), since_boot_ms.load(Ordering::Relaxed));
        // They looked at some moment between question and answer.
        let unsure = millis(half) + 1;
        if known == ITS_OWN || (found - known).abs() > unsure {
            since_boot_ms.store(found, Ordering::Relaxed);
        }
    }

    /// Moves time forward; never back.
    pub fn advance(&self, by: Span) {
        let by = by.millis().max(0);
        match &*self.0 {
            Kind::System { offset_ms, .. } => offset_ms.fetch_add(by, Ordering::Relaxed),
            Kind::Fixed { now_ms } => now_ms.fetch_add(by, Ordering::Relaxed),
        };
    }

    /// Moves a fixed clock to this instant if that is later; a system clock is advanced by the difference.
    pub fn advance_to(&self, instant: Timestamp) {
        self.advance(Span::from_millis(instant.millis() - self.now().millis()));
    }

    /// How far this clock is ahead of the system's.
    pub fn offset(&self) -> Span {
        match &*self.0 {
            Kind::System { offset_ms, .. } => Span::from_millis(offset_ms.load(Ordering::Relaxed)),
            Kind::Fixed { .. } => Span::ZERO,
        }
    }

    /// Time since the machine started, sleep included: for leases, which others count on while this machine sleeps.
    pub fn boot_time(&self) -> Duration {
        boot_time()
    }

    /// Time since this clock was made, unmoved by changes of the wall clock: for leases and timeouts.
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
    pub fn monotonic(&self) -> Duration {
        match &*self.0 {
            Kind::System { started, .. } => Instant::now().duration_since(*started),
            Kind::Fixed { now_ms } => Duration::from_millis(u64::try_from(now_ms.load(Ordering::Relaxed)).unwrap_or(0)),
        }
    }
}

/// Measures how long something takes, in real time whatever a clock says: for figures, never for decisions.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
fn machine_ms() -> i64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Elsewhere the monotonic clock is all there is.
#[cfg(not(target_os = "linux"))]
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_follows_another_to_within_the_time_of_the_question() {
        let clock = Clock::system(Span::ZERO);
        let apart = |theirs: Timestamp| (clock.now().millis() - theirs.millis()).abs();
        let ahead = clock.machine().plus(Span::from_seconds(300));
        clock.follow(ahead, clock.boot_time());
        assert!(apart(ahead) < 5_000, "{ahead} and {}", clock.now());
        // An answer that took a minute is of some moment in it, and says nothing against what is known.
        clock.follow(ahead.minus(Span::from_seconds(10)), clock.boot_time().saturating_sub(Duration::from_secs(60)));
        assert!(apart(ahead) < 5_000, "{ahead} and {}", clock.now());
        let behind = clock.machine().minus(Span::from_seconds(300));
        clock.follow(behind, clock.boot_time());
        assert!(apart(behind) < 5_000, "{behind} and {}", clock.now());
        clock.advance(Span::from_seconds(60));
        assert!(apart(behind.plus(Span::from_seconds(60))) < 5_000, "an offset comes on top");
    }
}
