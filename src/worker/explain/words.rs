//! The sentences of an explanation: findings and states of messages, with the values they were decided on. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::decision::Finding;
use crate::decision::effect::{FindingVerdict, Merged};
use crate::event::pattern::clipped;
use crate::ids::{MessageId, Timestamp};
use crate::message::{Channel, Message, Reason, Status};
use crate::store::controls::Parked;
use crate::store::messages::Step;
use crate::story::words::{self, of_key};
use crate::worker::explain::Sign;

/// How a person recognises a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub campaign: String,
    /// Of its enrollment: the cart, the order; may be empty.
    pub key: String,
    pub slot_at: Option<Timestamp>,
}

/// A line before it has its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub sign: Sign,
    pub text: String,
    pub code: Option<&'static str>,
}

impl Said {
    pub fn event(text: String) -> Self {
        Self { sign: Sign::Event, text, code: None }
    }

    fn did(text: String) -> Self {
        Self { sign: Sign::Did, text, code: None }
    }

    fn did_not(text: String, code: Option<&'static str>) -> Self {
        Self { sign: Sign::DidNot, text, code }
    }
}

/// An entry that was set aside: what was decided after it did not know of it.
pub fn parked(parked: &Parked) -> Said {
    let Parked { position, cause, .. } = parked;
    let text = format!("entry {position} is parked, and what came after was decided without it: {cause}");
    Said::did_not(text, Some("parked"))
}

/// What a campaign made of an input.
pub fn finding(now: Timestamp, finding: &Finding) -> Said {
    let Finding { campaign, version, verdict } = finding;
    let called = format!("{campaign}@v{version}");
    match verdict {
        FindingVerdict::Entered { key, until } => {
            // One that was stored with no delay ends as it begins.
            let until = until.filter(|until| *until > now).map(|until| until.to_string());
            Said::did(words::entered(&of_key(&called, key), until.as_deref()))
        }
        FindingVerdict::Repeated { key, until } => {
            let until = until.map(|until| until.to_string());
            Said::did(words::repeated(&of_key(&called, key), until.as_deref()))
        }
        FindingVerdict::Exited { key, by } => exited(now, by, campaign, key),
        FindingVerdict::Queued { key, message } => {
            Said::did(words::queued(&format!("message {message} of {}", of_key(&called, key))))
        }
        FindingVerdict::Completed { key, message, status } => {
            Said::did(format!("completed {}: message {message} is {status}", of_key(&called, key)))
        }
        FindingVerdict::Converted { message } => Said::did(words::converted(campaign, &format!("message {message}"))),
        FindingVerdict::Merged(merged) => Said::did(self::merged(merged)),
        FindingVerdict::NotEntered { reason } => {
            Said::did_not(words::did_not_enter(&called, &reason.sentence()), Some(reason.code()))
        }
        FindingVerdict::Segment { segment, entered, backfill, because } => {
            Said::did(words::of_segment(segment, *entered, quietly(*backfill), because))
        }
        FindingVerdict::Trait { name, from, to, backfill, because } => {
            let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), clipped);
            Said::did(words::of_trait(name, (&text(from), &text(to)), quietly(*backfill), because))
        }
        FindingVerdict::Noted { reason } => Said::did_not(reason.sentence(), Some(reason.code())),
    }
}

/// How something came about that starts nothing.
fn quietly(backfill: bool) -> &'static str {
    if backfill { " by a merge, a changed definition or an import" } else { "" }
}

/// Two profiles were one person.
fn merged(merged: &Merged) -> String {
    let Merged { profile, user_id, events, pages, traits, consent, enrollments } = merged;
    let who = user_id.as_ref().map_or_else(|| "anonymous".to_owned(), |id| format!("known as {id}"));
    let listed = |what: &str, names: &[String]| {
        if names.is_empty() { String::new() } else { format!(", {what} {}", names.join(", ")) }
    };
    let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let older = match *pages {
        0 => String::new(),
        pages => format!(" and {} of older ones", many(pages as usize, "page")),
    };
    let (events, enrollments) = (many(*events, "event"), many(*enrollments, "active enrollment"));
    let (traits, consent) = (listed("traits", traits), listed("consent for", consent));
    format!(
        "profile {profile} ({who}) is the same person: {events}{older}, {enrollments}{traits}{consent} came with it"
    )
}

/// The same without an instant, for a place that shows one beside it.
pub fn found_sentence(found: &Finding) -> String {
    match &found.verdict {
        FindingVerdict::Exited { key, by } => words::exited(by, None, &found.campaign, key),
        // No other sentence says when it was found.
        _ => finding(Timestamp::default(), found).text,
    }
}

/// An enrollment that ended before its message went.
pub fn exited(at: Timestamp, by: &str, campaign: &str, key: &str) -> Said {
    Said::did_not(words::exited(by, Some(&at.to_string()), campaign, key), Some("exited"))
}

/// A state of a message; `n` counts from 0 along its path.
pub fn state(message: &Message, n: usize, state: &Status, named: &BTreeMap<MessageId, Named>) -> Said {
    let template = &message.template;
    let what = format!("{} {template}", message.channel.as_str());
    let id = format!("(message {})", message.id);
    let reason_code = state.reason().map(Reason::code);
    match state {
        Status::Queued { due_at } if n == 0 => Said::did(format!("{}: due at {due_at} {id}", words::queued(&what))),
        Status::Queued { due_at } => Said::did(format!("{} once more: due at {due_at} {id}", words::queued(&what))),
        Status::Deferred { until, reason } => {
            Said::did_not(words::deferred(&what, &until.to_string(), &sentence(reason, named)), reason_code)
        }
        Status::Claimed { .. } => {
            let slot = message.slot_at.map_or_else(String::new, |at| format!(", with the slot of {at}"));
            Said::did(format!("cleared {what} by the guard{slot} {id}"))
        }
        Status::Sending { attempt, .. } => {
            let version = message.template_version.map_or_else(String::new, |version| format!(" version {version}"));
            Said::did(format!("rendered {what} from template {template}{version}; attempt {attempt} began {id}"))
        }
        Status::Retrying { attempt, at, cause } => {
            Said::did_not(format!("attempt {attempt} was not accepted: {cause}; the next is at {at}"), None)
        }
        Status::Sent { at, reply } => {
            let to = message
                .address
                .as_deref()
                .map_or_else(String::new, |to| format!(" to {}", masked(message.channel, to)));
            Said::did(format!("{}{to} at {at}; the provider answered: {reply}", words::sent(&what)))
        }
        Status::Unknown { attempt, since } => {
            Said::did_not(format!("attempt {attempt} began at {since} and no answer came; it is not repeated"), None)
        }
        Status::Suppressed { reason, .. } => {
            Said::did_not(words::not_sent(&what, &sentence(reason, named)), reason_code)
        }
        Status::Cancelled { reason, .. } => {
            Said::did_not(format!("cancelled {what}: {}", sentence(reason, named)), reason_code)
        }
        Status::Failed { reason, .. } => {
            Said::did_not(format!("failed {what}, kept for redrive: {}", sentence(reason, named)), reason_code)
        }
    }
}

/// Which of the states a message was in follows an answer that was lost: nobody knows whether that try was accepted.
pub fn lost(message: &Message, steps: &[Step]) -> Option<usize> {
    let lost_at = message.answer_lost_at?;
    let tried = |step: &&Step| matches!(step.state, Status::Retrying { .. } | Status::Unknown { .. });
    steps.iter().position(|step| step.at >= lost_at && tried(&step))
}

/// The state after a lost answer, where the message is tried once more.
pub fn lost_state(state: &Status) -> Option<Said> {
    let Status::Retrying { attempt, at, cause } = state else { return None };
    let text = format!(
        "attempt {attempt} ended without an answer: {cause}; nobody knows whether it was accepted; the next is at {at}"
    );
    Some(Said::did_not(text, None))
}

/// A reason's sentence, with messages named so that a person recognises them.
pub fn sentence(reason: &Reason, named: &BTreeMap<MessageId, Named>) -> String {
    let Reason::Capped { rule, by, frees_at, outranked_by } = reason else { return reason.sentence() };
    let used: Vec<String> = by.iter().map(|id| name(id, named)).collect();
    let told = format!("capped by {rule}: used by {}; a slot frees at {frees_at}", used.join(", "));
    match outranked_by {
        Some(winner) => format!("{told}; {} had the higher priority", name(winner, named)),
        None => told,
    }
}

fn name(id: &MessageId, named: &BTreeMap<MessageId, Named>) -> String {
    let Some(Named { campaign, key, slot_at }) = named.get(id) else { return format!("message {id}") };
    let key = if key.is_empty() { String::new() } else { format!(" {key}") };
    let at = slot_at.map_or_else(String::new, |at| format!(", slot of {at}"));
    format!("{campaign}{key} (message {id}{at})")
}

/// An address that says whose it is to those who know it, and to nobody else: `a***@example.com`.
pub fn masked(channel: Channel, address: &str) -> String {
    let start: String = address.chars().take(1).collect();
    match channel {
        Channel::Email => match address.rsplit_once('@') {
            Some((_, domain)) => format!("{start}***@{domain}"),
            None => format!("{start}***"),
        },
        Channel::Sms | Channel::Whatsapp => {
            let count = address.chars().count();
            let end: String = address.chars().skip(count.saturating_sub(2)).collect();
            format!("{start}***{end}")
        }
        Channel::Push => format!("{start}***"),
        Channel::Webhook => match address.split_once("://").map(|(scheme, rest)| (scheme, rest.split('/').next())) {
            Some((scheme, Some(host))) => format!("{scheme}://{}/***", host.rsplit('@').next().unwrap_or(host)),
            _ => format!("{start}***"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_masked_beyond_recognition_by_strangers() {
        assert_eq!(masked(Channel::Email, "ann@example.com"), "a***@example.com");
        assert_eq!(masked(Channel::Sms, "+447700900123"), "+***23");
        assert_eq!(masked(Channel::Push, "token"), "t***");
        assert_eq!(masked(Channel::Webhook, "https://u:p@shop.example/hook?key=1"), "https://shop.example/***");
        assert_eq!(masked(Channel::Email, "é"), "é***");
    }

    #[test]
    fn a_capped_message_names_those_that_used_the_slots() {
        let by = [b"1", b"2"].map(|n| MessageId::derive(&[n]));
        let frees_at = Timestamp::from_millis(0);
        let reason =
            Reason::Capped { rule: "at most 2 per 1d".to_owned(), by: by.to_vec(), frees_at, outranked_by: None };
        let first = Named { campaign: "cart_reminder".to_owned(), key: "c1".to_owned(), slot_at: None };
        let text = sentence(&reason, &BTreeMap::from([(by[0], first)]));
        let expected = format!(
            "capped by at most 2 per 1d: used by cart_reminder c1 (message {}), message {}; a slot frees at {frees_at}",
            by[0], by[1]
        );
        assert_eq!(text, expected);
    }
}
