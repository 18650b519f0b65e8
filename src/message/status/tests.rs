//! The status machine, property by property.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ids::{MessageId, Position, ProfileId, Span};
use crate::message::retry::DELAY_MAX;
use crate::message::{CapUse, Channel, Purpose, WhenCapped};

const NOW: i64 = 1_772_000_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn message(seed: u64, status: Status, on_unknown_send: OnUnknownSend) -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart".to_owned(),
        caps: CapUse { obey: true, count: true, when_capped: WhenCapped::Drop },
        on_unknown_send,
        expires_at: now().plus(Span::from_days(30)),
        status,
        ..Message::queued(&[&seed.to_le_bytes()], ProfileId(7), Channel::Email, Purpose::Marketing, Position(1), now())
    }
}

fn sending(attempt: u32) -> Status {
    Status::Sending { attempt, token: 3, since: now() }
}

fn retry(after: Option<Span>) -> Outcome {
    Outcome::Retry { cause: "451 4.7.1 come back later".into(), after, slow_domain: false, about_recipient: false }
}

fn every_status() -> Vec<Status> {
    let (at, reason) = (now(), Reason::SendingPaused);
    vec![
        Status::Queued { due_at: at },
        Status::Deferred { until: at, reason: reason.clone() },
        Status::Claimed { token: u64::MAX, lease_until: at },
        sending(1),
        Status::Retrying { attempt: 2, at, cause: "greylisted".into() },
        Status::Sent { at, reply: "250 2.0.0 ok".into() },
        Status::Unknown { attempt: u32::MAX, since: at },
        Status::Suppressed { at, reason: reason.clone() },
        Status::Cancelled { at, reason: reason.clone() },
        Status::Failed {
            at,
            reason: Reason::Capped {
                rule: "at most 3 per 1d".into(),
                by: vec![MessageId::derive(&[b"m"])],
                frees_at: at,
                outranked_by: Some(MessageId::derive(&[b"m"])),
            },
        },
    ]
}

fn every_outcome() -> Vec<Outcome> {
    let cause = String::from("because");
    vec![
        Outcome::Accepted { reply: "250 ok".into() },
        retry(None),
        retry(Some(Span::from_days(400))),
        Outcome::Rejected { cause: cause.clone(), suppress: true },
        Outcome::TransportDown { cause: cause.clone() },
        Outcome::Unknown { cause },
    ]
}

#[test]
fn every_status_survives_storage_as_json_text() {
    for status in every_status() {
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status, "{text}");
    }
    for outcome in every_outcome() {
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome, "{text}");
    }
}

#[test]
fn every_name_is_listed_and_stands_in_the_stored_text() {
    let names: Vec<&str> = every_status().iter().map(Status::name).collect();
    assert_eq!(names, Status::NAMES);
    for status in every_status() {
        let stored = serde_json::to_value(&status).unwrap();
        assert_eq!(stored["status"], status.name());
    }
}

#[test]
fn only_an_attempt_in_flight_is_moved_by_an_outcome() {
    for status in every_status().into_iter().filter(|status| status.name() != "sending") {
        for outcome in every_outcome() {
            for on_unknown in [OnUnknownSend::Skip, OnUnknownSend::Repeat] {
                let mut held = message(1, status.clone(), on_unknown);
                let before = held.clone();
                held.advance(now(), &outcome, &RetryPolicy::default());
                assert_eq!(held, before, "{outcome:?}");
            }
        }
    }
}

#[test]
fn each_outcome_leads_where_the_reply_table_says() {
    let after = |outcome: &Outcome, on_unknown| {
        next(now(), &message(1, sending(1), on_unknown), outcome, &RetryPolicy::default())
    };
    let names: Vec<&str> = every_outcome().iter().map(|o| after(o, OnUnknownSend::Skip).name()).collect();
    assert_eq!(names, ["sent", "retrying", "retrying", "failed", "deferred", "unknown"]);
    let lost = Outcome::Unknown { cause: "timed out".into() };
    assert_eq!(after(&lost, OnUnknownSend::Repeat).name(), "retrying");
    let refused = after(&every_outcome()[3], OnUnknownSend::Skip);
    assert_eq!(refused.reason().unwrap().code(), "provider_refused");
}

#[test]
fn a_lost_answer_is_repeated_once_and_then_stays_unknown() {
    let lost = Outcome::Unknown { cause: "timed out".into() };
    let mut held = message(1, sending(1), OnUnknownSend::Repeat);
    // A refusal in between neither uses up the repeat nor gives a second one.
    held.advance(now(), &retry(None), &RetryPolicy::default());
    held.status = sending(2);
    held.advance(now(), &lost, &RetryPolicy::default());
    assert_eq!(held.status.name(), "retrying");
    held.status = sending(3);
    held.advance(now(), &retry(None), &RetryPolicy::default());
    held.status = sending(4);
    held.advance(now(), &lost, &RetryPolicy::default());
    assert_eq!(held.status, Status::Unknown { attempt: 4, since: now() });
    assert_eq!(held.attempts, 4);
}

#[test]
fn a_row_found_in_flight_at_start_is_an_answer_that_never_came() {
    let policy = RetryPolicy::default();
    let skipped = message(1, sending(1), OnUnknownSend::Skip);
    assert_eq!(orphaned(now(), &skipped, &policy), Status::Unknown { attempt: 1, since: now() });
    let repeated = message(1, sending(1), OnUnknownSend::Repeat);
    assert_eq!(orphaned(now(), &repeated, &policy).name(), "retrying");
}

#[test]
fn a_transport_that_is_down_spends_no_try() {
    let down = Outcome::TransportDown { cause: "535 5.7.8".into() };
    let mut held = message(1, sending(1), OnUnknownSend::Skip);
    for _ in 0..1_000 {
        held.advance(now(), &down, &RetryPolicy::default());
        let reason = Reason::TransportStopped { cause: "535 5.7.8".into() };
        assert_eq!(held.status, Status::Deferred { until: now().plus(Span::from_seconds(60)), reason });
        assert_eq!(held.attempts, 0);
        held.status = sending(held.attempts + 1);
    }
}

#[test]
fn tries_end_by_count_by_age_and_by_expiry() {
    let policy = RetryPolicy::default();
    let exhausted = |message: &Message| {
        let status = next(now(), message, &retry(None), &policy);
        status.reason().map(Reason::code) == Some("retries_exhausted")
    };
    let fresh = message(1, sending(1), OnUnknownSend::Skip);
    assert!(!exhausted(&fresh));
    assert!(exhausted(&Message { status: sending(policy.attempts_max), ..fresh.clone() }));
    assert!(exhausted(&Message { created_at: now().minus(Span::from_hours(72)), ..fresh.clone() }));
    assert!(exhausted(&Message { expires_at: now().plus(Span::from_seconds(59)), ..fresh }));
}

#[test]
fn the_default_schedule_outlasts_two_days_and_ends_within_three() {
    let mut held = message(9, sending(1), OnUnknownSend::Skip);
    let mut clock = now();
    while let Status::Sending { attempt, .. } = held.status {
        held.advance(clock, &retry(None), &RetryPolicy::default());
        if let Status::Retrying { at, .. } = held.status {
            clock = at;
            held.status = sending(attempt + 1);
        }
    }
    let lasted = Span::from_millis(clock.millis() - NOW);
    assert!(lasted > Span::from_days(2) && lasted < Span::from_days(3), "{lasted}");
}

#[test]
fn only_a_dead_letter_is_redriven() {
    for status in every_status() {
        let again = redrive(now(), &status);
        assert_eq!(again.is_some(), status.name() == "failed");
        assert!(again.is_none_or(|status| status == Status::Queued { due_at: now() }));
    }
}

/// The transitions of the diagram at the top of this module, as lower-case names.
fn drawn() -> BTreeSet<(String, String)> {
    include_str!("../status.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!")?.split_once("-->"))
        .map(|(from, to)| (from.trim().to_lowercase(), to.split(':').next().unwrap().trim().to_lowercase()))
        .collect()
}

#[test]
fn the_diagram_shows_exactly_the_moves_of_an_attempt_and_of_a_redrive() {
    let mut made = BTreeSet::new();
    for status in every_status() {
        for outcome in every_outcome() {
            for on_unknown in [OnUnknownSend::Skip, OnUnknownSend::Repeat] {
                for expires_at in [now(), now().plus(Span::from_days(9))] {
                    let held = Message { expires_at, ..message(1, status.clone(), on_unknown) };
                    let after = next(now(), &held, &outcome, &RetryPolicy::default());
                    made.insert((status.name().to_owned(), after.name().to_owned()));
                }
            }
        }
        made.extend(redrive(now(), &status).map(|to| (status.name().to_owned(), to.name().to_owned())));
    }
    made.retain(|(from, to)| from != to);
    let drawn: BTreeSet<_> = drawn().into_iter().filter(|(from, _)| from == "sending" || from == "failed").collect();
    assert_eq!(made, drawn);
}

proptest! {
    #[test]
    fn a_delay_never_leaves_its_bounds_and_is_the_same_when_asked_again(
        seed: u64,
        attempt: u32,
        after in proptest::option::of(any::<i64>()),
        delays in proptest::collection::vec(any::<i64>(), 0..8),
        delay_min: i64,
    ) {
        let delays: Vec<Span> = delays.into_iter().map(Span::from_millis).collect();
        let after = after.map(Span::from_millis);
        let id = MessageId::derive(&[&seed.to_le_bytes()]);
        let policy = RetryPolicy { delays, delay_min: Span::from_millis(delay_min), ..RetryPolicy::default() };
        let delay = policy.delay(id, attempt, after);
        prop_assert!(delay <= DELAY_MAX && delay >= policy.delay_min.min(DELAY_MAX));
        prop_assert!(after.is_none_or(|after| delay >= after.min(DELAY_MAX)));
        prop_assert_eq!(delay, policy.delay(id, attempt, after));
        let usual = RetryPolicy::default();
        prop_assert!(usual.delay(id, attempt, after) >= Span::from_seconds(60));
    }

    #[test]
    fn a_history_of_outcomes_never_leaves_a_final_state_and_never_outlives_the_limits(
        seed: u64,
        picks in proptest::collection::vec(0..6_usize, 1..60),
        repeat: bool,
        lifetime in 0..400_i64,
    ) {
        let policy = RetryPolicy::default();
        let on_unknown = if repeat { OnUnknownSend::Repeat } else { OnUnknownSend::Skip };
        let expires_at = now().plus(Span::from_hours(lifetime));
        let mut held = Message { expires_at, ..message(seed, sending(1), on_unknown) };
        let mut clock = now();
        for pick in picks {
            let before = held.clone();
            held.advance(clock, &every_outcome()[pick], &policy);
            if before.status.is_final() {
                prop_assert_eq!(&held, &before);
            }
            let ended = held.status.name() != "retrying";
            prop_assert!(ended || held.attempts < policy.attempts_max);
            if let Status::Retrying { at, .. } = held.status {
                prop_assert!(at >= clock.plus(Span::from_seconds(60)) && at < held.expires_at);
            }
            if let Some(due_at) = held.status.due_at() {
                clock = due_at;
                held.status = Status::Sending { attempt: held.attempts + 1, token: 1, since: clock };
            }
        }
    }
}

#[test]
fn retries_of_many_messages_are_spread() {
    let policy = RetryPolicy::default();
    let delays: BTreeSet<Span> =
        (0..1_000_u64).map(|n| policy.delay(MessageId::derive(&[&n.to_le_bytes()]), 2, None)).collect();
    assert_eq!(delays.len(), 41);
    assert_eq!(*delays.first().unwrap(), Span::from_seconds(240));
    assert_eq!(*delays.last().unwrap(), Span::from_seconds(360));
}
