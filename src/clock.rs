//! The only file that reads the time. Everything else is told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ids::{Span, Timestamp};

/// Where `now` comes from: the system's clock moved by an offset, or a hand-set instant for tests and simulation.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Milliseconds added to the system's clock: the demo's way to the future.
    System {
        offset_ms: AtomicI64,
        started: Instant,
    },
    Fixed {
        now_ms: AtomicI64,
    },
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
    pub fn system(offset: Span) -> Self {
        Self(Arc::new(Kind::System { offset_ms: AtomicI64::new(offset.millis()), started: Instant::now() }))
    }

    pub fn fixed(now: Timestamp) -> Self {
        Self(Arc::new(Kind::Fixed { now_ms: AtomicI64::new(now.millis()) }))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clock")]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Kind::System { offset_ms, .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(millis.saturating_add(offset_ms.load(Ordering::Relaxed)))
            }
            Kind::Fixed { now_ms } => Timestamp::from_millis(now_ms.load(Ordering::Relaxed)),
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
