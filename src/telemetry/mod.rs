//! Every metric in one place, by the grammar of docs/metrics.md, and what the rest of the program says when something
//! happened. Nothing here knows a person or a message.
//!
//! Counters are process-wide and live as long as the process. Gauges of what is stored are set when somebody looks.

pub mod family;
mod process;
mod requests;
pub mod table;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use family::{Cell, Format};
pub use requests::answered;
use table::*;

/// A series that is counted often.
type Kept = LazyLock<Arc<Cell>>;

/// All metrics as Prometheus reads them.
pub fn exposition(format: Format) -> String {
    process::read();
    let mut out = String::with_capacity(16 * 1024);
    for family in ALL {
        family.print(format, &mut out);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// Whether the counter of the rows that never were begins at 0, so that the first of them is seen as an increase.
pub fn begin(database: &'static str) {
    for family in ALL {
        if family.labels.is_empty() {
            let _ = family.alone();
        }
    }
    BUILD_INFO.of(&[env!("CARGO_PKG_VERSION"), database]).set(1.0);
}

/// Stored for the first time, and those that came again.
pub fn events_appended(accepted: u64, repeated: u64) {
    static ACCEPTED: Kept = LazyLock::new(|| EVENTS_ACCEPTED.alone());
    static REPEATED: Kept = LazyLock::new(|| EVENTS_DEDUPLICATED.alone());
    ACCEPTED.add(accepted);
    if repeated > 0 {
        REPEATED.add(repeated);
    }
}

/// A refused item of an otherwise accepted batch.
pub fn event_refused(code: &str) {
    EVENTS_REFUSED.of(&[code]).add(1);
}

pub fn events_dropped(count: u64) {
    EVENTS_DROPPED.alone().add(count);
}

/// A batch of the log was decided and stored.
pub fn batch_stored(entries: u64, took: Duration) {
    ENTRIES_PROCESSED.alone().add(entries);
    BATCH_SECONDS.alone().took(took);
}

pub fn entries_parked(count: u64) {
    ENTRIES_PARKED.alone().add(count);
}

/// So often a campaign came to this verdict; `reason`: why not, by its code, or empty.
pub fn decisions_made(campaign: &str, verdict: &str, reason: &str, count: u64) {
    DECISIONS_MADE.of(&[campaign, verdict, reason]).add(count);
}

pub fn messages_created(campaign: &str, channel: &str, count: u64) {
    MESSAGES_CREATED.of(&[campaign, channel]).add(count);
}

/// A message reached a state; `reason`: its code, or empty.
pub fn message_reached(channel: &str, status: &str, reason: &str) {
    MESSAGES_REACHED.of(&[channel, status, reason]).add(1);
}

/// A provider answered a try, or did not.
pub fn attempt_ended(channel: &str, outcome: &str, took: Duration) {
    ATTEMPTS_ENDED.of(&[channel, outcome]).add(1);
    ATTEMPT_SECONDS.of(&[channel]).took(took);
}

/// A call of the cap store, and what it answered.
pub fn caps_called(call: &str, answer: &str, took: Duration) {
    CAPS_ASKED.of(&[call, answer]).add(1);
    CAPS_SECONDS.alone().took(took);
}

/// Whether messages that obey frequency caps wait because no cap store answers.
pub fn caps_stopped(stopped: bool) {
    CAPS_STOPPED.alone().set(if stopped { 1.0 } else { 0.0 });
}

/// Whether a channel's transport is stopped because it cannot be used.
pub fn transport_stopped(channel: &str, stopped: bool) {
    TRANSPORT_STOPPED.of(&[channel]).set(if stopped { 1.0 } else { 0.0 });
}

pub fn timers_logged(count: u64) {
    TIMERS_LOGGED.alone().add(count);
}

/// A write transaction is on disk: time of its statements, and of its commit.
pub fn committed(statements: Duration, commit: Duration) {
    static STATEMENTS: Kept = LazyLock::new(|| DATABASE_STATEMENTS_SECONDS.alone());
    static COMMIT: Kept = LazyLock::new(|| DATABASE_COMMIT_SECONDS.alone());
    STATEMENTS.took(statements);
    COMMIT.took(commit);
}

/// A write transaction failed; nothing of it is stored.
pub fn commit_failed() {
    DATABASE_COMMITS_FAILED.alone().add(1);
}

pub fn ids_forgotten(count: u64) {
    JANITOR_IDS_FORGOTTEN.alone().add(count);
}

pub fn gauges_failed() {
    GAUGES_FAILED.alone().add(1);
}
