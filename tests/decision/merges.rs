//! Two profiles become one person: what both had, what ends, and what is not triggered.

use carillon::audience::consent::Via;
use carillon::audience::{Consent, ConsentState, TRAITS_BYTES_MAX};
use carillon::decision::{At, Decision, Effect, FindingVerdict, Input, Other, Snapshot, State, decide_joined};
use carillon::ids::{Position, ProfileId, Span};
use carillon::message::Reason;

use crate::support::{Life, at, event};

const CART: &str = "entry: { event: Product Added, key: properties.cart_id }\ndelay: 1h\n\
    exit: [ { event: Order Completed }, { performed: { event: Product Viewed, at_least: 4 } } ]";

/// Two lives under one catalog; the second is another profile.
fn two(fields: &str) -> (Life, Life) {
    let (ann, mut other) = (Life::with(fields), Life::with(fields));
    other.person.profile.id = ProfileId(2);
    // Entries of one log.
    other.position = 1_000;
    (ann, other)
}

/// What a login at this second decides; applied to the first.
fn join(ann: &mut Life, other: &Life, seconds: i64) -> Decision {
    let login = Input::Event(event("Identified", at(seconds), at(seconds), "{}").into());
    let place = At { position: Position(2_000), now: at(seconds) };
    let snapshot =
        Snapshot { catalog: &ann.catalog, person: &ann.person, loaded: &ann.loaded, settle: Span::from_seconds(2) };
    let second = Other { person: &other.person, loaded: &other.loaded };
    let decision = decide_joined(place, &snapshot, second, &login);
    assert_eq!(decide_joined(place, &snapshot, second, &login), decision, "deciding twice gives the same effects");
    decision.effects.iter().for_each(|effect| ann.person.apply(effect));
    decision
}

fn merged(decision: &Decision) -> &carillon::decision::effect::Merged {
    let mut merged = decision.findings.iter().filter_map(|finding| match &finding.verdict {
        FindingVerdict::Merged(merged) => Some(merged),
        _ => None,
    });
    merged.next().expect("no merge is told of")
}

#[test]
fn past_and_waits_of_both_are_the_persons_in_order_of_time() {
    let (mut ann, mut other) = two(CART);
    ann.track(0, "Product Viewed", "{}");
    other.track(10, "Product Added", r#"{"cart_id":"c1"}"#);
    ann.track(20, "Product Viewed", "{}");
    let decision = join(&mut ann, &other, 30);
    let past: Vec<_> = ann.person.profile.history.iter().map(|past| past.at).collect();
    assert_eq!(past, [0, 10, 20, 30].map(at));
    assert_eq!(ann.person.wake_at, Some(at(3_610)), "the other's wait wakes the person");
    assert!(ann.person.active().all(|one| one.profile == ProfileId(1)));
    assert_eq!((merged(&decision).events, merged(&decision).enrollments), (1, 1));
    let made = decision.effects.iter().any(|effect| matches!(effect, Effect::CreateMessage(_)));
    assert!(!made && decision.findings.len() == 1, "{:?}", decision.findings);
}

#[test]
fn a_condition_that_both_halves_meet_together_holds_from_the_merge_on() {
    let (mut ann, mut other) = two(CART);
    ann.track(0, "Product Added", r#"{"cart_id":"c1"}"#);
    for seconds in [1, 2] {
        ann.track(seconds, "Product Viewed", "{}");
        other.track(seconds, "Product Viewed", "{}");
    }
    other.track(3, "Order Completed", "{}");
    join(&mut ann, &other, 10);
    let (ended, by) = ann.exited();
    assert_eq!(ended, at(10), "not when the other ordered: nothing of the past is looked at again");
    assert!(by.contains("performed"), "{by}");
}

#[test]
fn of_two_waits_with_one_key_the_older_stays_whoever_has_it() {
    for (mine, theirs) in [(0, 50), (50, 0)] {
        let (mut ann, mut other) = two(CART);
        ann.track(mine, "Product Added", r#"{"cart_id":"c1"}"#);
        other.track(theirs, "Product Added", r#"{"cart_id":"c1"}"#);
        join(&mut ann, &other, 100);
        let active: Vec<_> = ann.person.active().collect();
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].entered_at, at(0));
        let ended = ann.person.enrollments.values().find(|one| !one.is_active()).unwrap();
        let State::Exited { by, at: ended_at, event } = &ended.state else { panic!("{ended:?}") };
        assert_eq!((by.as_str(), *ended_at, *event), ("merged", at(100), Some(Position(2_000))));
    }
}

#[test]
fn the_newer_ones_message_is_cancelled_and_says_since_when_the_older_runs() {
    let (mut ann, mut other) = two(CART);
    ann.track(0, "Product Added", r#"{"cart_id":"c1"}"#);
    other.track(50, "Product Added", r#"{"cart_id":"c1"}"#);
    other.wake();
    let decision = join(&mut ann, &other, 3_700);
    let cancelled: Vec<_> = decision
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::CancelMessage { message, reason } => Some((*message, reason.clone())),
            _ => None,
        })
        .collect();
    let theirs = *other.messages.keys().next().unwrap();
    assert_eq!(cancelled, [(theirs, Reason::Merged { since: at(0) })]);
    let queued = decision.effects.iter().filter(|effect| matches!(effect, Effect::CreateMessage(_))).count();
    assert_eq!(queued, 1, "the older's own wait was over");
}

#[test]
fn a_denial_on_either_side_stays_and_else_the_newer_answer() {
    use ConsentState::{Denied, Granted};
    for (mine, theirs, expected) in [
        ((Granted, 5), (Denied, 1), (Denied, 1)),
        ((Denied, 1), (Granted, 5), (Denied, 1)),
        ((Granted, 1), (Granted, 5), (Granted, 5)),
        ((Denied, 5), (Denied, 1), (Denied, 5)),
    ] {
        let (mut ann, mut other) = two(CART);
        for (life, (state, seconds)) in [(&mut ann, mine), (&mut other, theirs)] {
            let consent =
                Consent { state, source: "test".into(), at: at(seconds), text_version: None, via: Via::Event };
            life.person.profile.consent.insert("email".into(), consent);
        }
        join(&mut ann, &other, 10);
        let consent = &ann.person.profile.consent["email"];
        assert_eq!((consent.state, consent.at), (expected.0, at(expected.1)));
    }
}

#[test]
fn traits_fill_gaps_as_long_as_there_is_room() {
    let (mut ann, mut other) = two(CART);
    let long = "x".repeat(TRAITS_BYTES_MAX * 2 / 3);
    ann.identify(0, &format!(r#"{{"plan":"gold","long":"{long}"}}"#));
    other.identify(1, &format!(r#"{{"plan":"free","longer":"{long}","shoe_size":43}}"#));
    let decision = join(&mut ann, &other, 2);
    let traits = &ann.person.profile.traits;
    assert_eq!((traits["plan"].as_str(), traits["shoe_size"].as_i64()), (Some("gold"), Some(43)));
    assert!(!traits.contains_key("longer"));
    assert_eq!(merged(&decision).traits, ["shoe_size"]);
    let noted = |reason: &Reason| matches!(reason, Reason::TraitsTooLarge { .. });
    let says = |verdict: &FindingVerdict| matches!(verdict, FindingVerdict::Noted { reason } if noted(reason));
    assert!(decision.findings.iter().any(|finding| says(&finding.verdict)), "what was left out is said");
}
