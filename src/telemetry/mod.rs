//! Every metric in one place, by a grammar: `carillon_NOUN_VERB_total`, `carillon_NOUN_UNIT`.

use std::sync::OnceLock;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Where this process's metrics are read; the recorder is installed on first use. Where somebody installed another
/// before, theirs counts and this one stays empty.
pub fn prometheus() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed already; /metrics stays empty");
        }
        handle
    };
    HANDLE.get_or_init(install).clone()
}

pub fn events_appended(count: u64) {
    counter!("carillon_events_appended_total").increment(count);
}

/// Came again and were answered like the first time.
pub fn events_repeated(count: u64) {
    counter!("carillon_events_repeated_total").increment(count);
}

/// Refused items of otherwise accepted batches.
pub fn events_rejected(count: u64) {
    counter!("carillon_events_rejected_total").increment(count);
}

pub fn entries_processed(count: u64) {
    counter!("carillon_entries_processed_total").increment(count);
}

pub fn entries_parked(count: u64) {
    counter!("carillon_entries_parked_total").increment(count);
}

/// How far the processor is behind the end of the log.
pub fn backlog(entries: i64) {
    gauge!("carillon_backlog_entries").set(entries as f64);
}

/// A message reached a state; `status` is one of the ten names.
pub fn message_reached(status: &'static str) {
    counter!("carillon_messages_total", "status" => status).increment(1);
}

/// Whether messages that obey frequency caps wait because no cap store answers: 1 or 0.
pub fn caps_stopped(stopped: bool) {
    gauge!("carillon_caps_stopped").set(if stopped { 1.0 } else { 0.0 });
}

/// Whether a channel's transport is stopped because it cannot be used: 1 or 0.
pub fn transport_stopped(channel: &'static str, stopped: bool) {
    gauge!("carillon_transport_stopped", "channel" => channel).set(if stopped { 1.0 } else { 0.0 });
}
