//! When a message that was not accepted is tried again: a schedule of delays, spread so that a recovering provider is
//! not hit by everything at once, and bounded by tries, by age and by the message's expiry.

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, Span, Timestamp};
use crate::message::Message;

/// No wait is longer than this, whatever a provider asks for.
pub const DELAY_MAX: Span = Span::from_hours(24);

/// How far a delay is moved off its schedule, either way.
const JITTER_PERCENT: i64 = 20;

/// The schedule of tries after the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// The wait after try 1, 2, 3, …; the last one repeats. Each is moved by up to 20 % either way, the same for the
    /// same message and try.
    pub delays: Vec<Span>,
    /// No wait is shorter. A greylisting server refuses again whoever returns within a minute.
    pub delay_min: Span,
    /// Tries in all, the first included.
    pub attempts_max: u32,
    /// Counted from the message's creation.
    pub age_max: Span,
    /// How long everything waits while a transport is unusable.
    pub transport_pause: Span,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            // The first stays above a minute when moved forward.
            delays: [75, 300, 900, 3_600, 7_200, 14_400].into_iter().map(Span::from_seconds).collect(),
            delay_min: Span::from_seconds(60),
            attempts_max: 24,
            age_max: Span::from_hours(72),
            transport_pause: Span::from_seconds(60),
        }
    }
}

impl RetryPolicy {
    /// The wait after try number `attempt` (1 for the first): by the schedule, or `after` if that is longer; never
    /// below `delay_min` and never above [`DELAY_MAX`].
    pub fn delay(&self, message: MessageId, attempt: u32, after: Option<Span>) -> Span {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let scheduled = self.delays.get(index).or(self.delays.last()).copied().unwrap_or(self.delay_min);
        let spread = scheduled.millis().saturating_mul(100 + jitter_percent(message, attempt)) / 100;
        let asked = after.unwrap_or(Span::ZERO).millis();
        let floor = self.delay_min.millis().clamp(0, DELAY_MAX.millis());
        Span::from_millis(spread.max(asked).clamp(floor, DELAY_MAX.millis()))
    }

    /// The instant of the next try after number `attempt`, counted since the last redrive; none where tries, age or the message's expiry end it.
    pub fn next_try(&self, now: Timestamp, message: &Message, attempt: u32, after: Option<Span>) -> Option<Timestamp> {
        let attempt = attempt.saturating_sub(message.attempts_forgiven);
        let at = now.plus(self.delay(message.id, attempt, after));
        let deadline = message.expires_at.min(message.created_at.plus(self.age_max));
        (attempt < self.attempts_max && at < deadline).then_some(at)
    }
}

/// −20 to 20: spread over messages, the same whenever asked again.
fn jitter_percent(message: MessageId, attempt: u32) -> i64 {
    let spread = MessageId::derive(&[b"retry", message.as_bytes(), &attempt.to_le_bytes()]);
    let [first, second, ..] = *spread.as_bytes();
    i64::from(u16::from_le_bytes([first, second])) % (2 * JITTER_PERCENT + 1) - JITTER_PERCENT
}
