//! What decisions came to, for whoever watches the service: counted by campaign and verdict, and said in the log at level
//! debug with the request it goes back to.

use std::collections::BTreeMap;

use crate::decision::{At, Decision, Input};
use crate::message::Reason;
use crate::telemetry;
use crate::worker::world::Changes;

/// What a batch decided, added up before it is handed to the writer and told when it is stored.
#[derive(Default)]
pub struct Made {
    /// By campaign, verdict and the reason's code.
    decisions: BTreeMap<(String, &'static str, &'static str), u64>,
    messages: BTreeMap<(String, &'static str), u64>,
}

impl Made {
    pub fn of<'c>(all: impl Iterator<Item = &'c Changes>) -> Self {
        let mut made = Self::default();
        for changes in all {
            for finding in changes.findings.iter().flat_map(|(.., findings)| findings) {
                let reason = finding.verdict.reason().map_or("", Reason::code);
                *made.decisions.entry((finding.campaign.clone(), finding.verdict.name(), reason)).or_default() += 1;
            }
            for message in &changes.messages {
                *made.messages.entry((message.campaign.clone(), message.channel.as_str())).or_default() += 1;
            }
        }
        made
    }

    pub fn tell(self) {
        for ((campaign, verdict, reason), count) in self.decisions {
            telemetry::decisions_made(&campaign, verdict, reason, count);
        }
        for ((campaign, channel), count) in self.messages {
            telemetry::messages_created(&campaign, channel, count);
        }
    }
}

/// The request that brought an input; empty for one that nobody asked for.
pub fn correlation(input: &Input) -> &str {
    match input {
        Input::Event(event) => &event.correlation_id,
        Input::Timer | Input::MessageEnded { .. } => "",
    }
}

/// Says what each campaign made of an input.
pub fn log(at: At, input: &Input, decision: &Decision) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for finding in &decision.findings {
        let reason = finding.verdict.reason().map_or("", Reason::code);
        let (campaign, verdict) = (&finding.campaign, finding.verdict.name());
        tracing::debug!(position = %at.position, correlation = correlation(input), campaign, verdict, reason, "decided");
    }
}
