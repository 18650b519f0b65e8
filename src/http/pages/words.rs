//! How a state or reason is called on the pages: a dot's colour and a few words, the same on all of them.

use crate::decision::effect::FindingVerdict;
use crate::message::Status;

/// Class and word of where a message stands.
pub fn outcome(status: &Status) -> (&'static str, &'static str) {
    by_name(status.name())
}

/// The same by the name of its status.
pub fn by_name(status: &str) -> (&'static str, &'static str) {
    match status {
        "sent" => ("ok", "Sent"),
        "suppressed" => ("idle", "Not sent"),
        "cancelled" => ("idle", "Cancelled"),
        "failed" => ("bad", "Failed"),
        "unknown" => ("bad", "Answer lost"),
        "deferred" => ("warn", "Held"),
        "retrying" => ("warn", "Retrying"),
        "queued" => ("wait", "Waiting"),
        _ => ("wait", "Being sent"),
    }
}

/// Class and word of what a campaign made of an input.
pub fn verdict(found: &FindingVerdict) -> (&'static str, &'static str) {
    match found {
        FindingVerdict::Entered { .. } => ("wait", "Entered"),
        FindingVerdict::Repeated { .. } => ("wait", "Repeated"),
        FindingVerdict::Exited { .. } => ("idle", "Exited"),
        FindingVerdict::Queued { .. } => ("wait", "Message made"),
        FindingVerdict::Completed { .. } => ("ok", "Completed"),
        FindingVerdict::Converted { .. } => ("ok", "Converted"),
        FindingVerdict::NotEntered { .. } => ("idle", "Did not enter"),
        FindingVerdict::Merged(_) => ("wait", "Merged"),
        FindingVerdict::Segment { entered: true, .. } => ("wait", "Joined segment"),
        FindingVerdict::Segment { entered: false, .. } => ("idle", "Left segment"),
        FindingVerdict::Trait { .. } => ("wait", "Trait changed"),
        FindingVerdict::Noted { .. } => ("idle", "Noted"),
    }
}

/// A reason's code in words for a table.
pub fn reason(code: &str) -> String {
    let words = match code {
        "capped" => "Frequency cap full",
        "consent_denied" => "Consent denied",
        "consent_unknown" => "No consent given",
        "consent_pending" => "Consent not confirmed",
        "topic_unsubscribed" => "Not subscribed to the topic",
        "address_suppressed" => "Address suppressed",
        "no_address" => "No address",
        "invalid_address" => "Address not valid",
        "same_address" => "Same message to this address",
        "too_many_confirmations" => "Too many confirmations asked for",
        "event_denies_marketing" => "The event denies marketing",
        "exited" => "No longer wanted (exited)",
        "expired" => "Expired before it could go",
        "campaign_not_live" => "Campaign no longer live",
        "campaign_paused" => "Campaign paused",
        "sending_paused" => "All sending paused",
        "restore_unconfirmed" => "Restored backup not confirmed",
        "caps_unreachable" => "Caps unreachable",
        "quiet_hours" => "Quiet hours",
        "caps_unsettled" => "Caps were changing",
        "domain_slow" => "Recipient's domain is slow",
        "transport_stopped" => "Provider cannot be used",
        "template_missing" => "Template missing",
        "render_failed" => "Template could not be rendered",
        "unsafe_address" => "Unsafe link in the mail",
        "provider_refused" => "Refused by the provider",
        "retries_exhausted" => "All tries failed",
        "answer_lost" => "Answer lost",
        "merged" => "Merged with another profile",
        _ => "",
    };
    if !words.is_empty() {
        return words.to_owned();
    }
    let plain = code.replace('_', " ");
    let mut letters = plain.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A number as people write it.
pub fn number(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if count < 0 { format!("-{text}") } else { text }
}

/// A count that was given up at `most`.
pub fn bounded(count: i64, most: i64) -> String {
    if count >= most { format!("{} or more", number(most)) } else { number(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567, -4_200].map(number), ["0", "999", "1,000", "1,234,567", "-4,200"]);
        assert_eq!((bounded(9, 10), bounded(10, 10)), ("9".to_owned(), "10 or more".to_owned()));
        assert_eq!(reason("depth_exceeded"), "Depth exceeded");
    }
}
