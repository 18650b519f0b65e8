//! `consent` and `subscribed`: what the person has answered, as far as the log said.

use crate::audience::condition::{Evaluation, Facts};
use crate::audience::consent::{ConsentState, topic_name};

/// Whether the answer on every named channel is among those wanted.
pub fn consent(wanted: &[(String, Vec<ConsentState>)], facts: &Facts<'_>) -> Evaluation {
    let mut because = Vec::new();
    for (channel, states) in wanted {
        let state = answer(channel, facts);
        let among: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let line = || format!("consent on {channel} is {}, wanted {}", state.as_str(), among.join(" or "));
        if !states.contains(&state) {
            return facts.constant(false, line);
        }
        because.push(facts.because(line));
    }
    facts.constant(true, || because.join(" and "))
}

/// The present answer; a yes that nobody has confirmed is no more than unknown.
pub fn answer(name: &str, facts: &Facts<'_>) -> ConsentState {
    match facts.profile.consent.get(name).map(|answer| answer.state) {
        Some(state @ (ConsentState::Granted | ConsentState::Denied)) => state,
        Some(ConsentState::Pending | ConsentState::Unknown) | None => ConsentState::Unknown,
    }
}

/// Whether the person gets the topic: by their own choice, else by its default.
pub fn subscribed(topic: &str, facts: &Facts<'_>) -> Evaluation {
    let by_default = facts.terms.topics.get(topic).copied().unwrap_or(true);
    let choice = facts.profile.consent.get(&topic_name(topic)).map(|choice| choice.state);
    let (holds, how) = match choice {
        Some(ConsentState::Granted) => (true, "by choice"),
        Some(ConsentState::Denied | ConsentState::Pending) => (false, "by choice"),
        Some(ConsentState::Unknown) | None => (by_default, "by default"),
    };
    let is = if holds { "subscribed" } else { "not subscribed" };
    facts.constant(holds, || format!("{is} to topic {topic} {how}"))
}
