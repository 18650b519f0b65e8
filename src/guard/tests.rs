//! The guard's order, reason by reason.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::audience::Consent;
use crate::audience::consent::Via;
use crate::ids::{MessageId, Position, ProfileId, Span};
use crate::message::{CapUse, Channel, QuietUse};

fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn ann() -> Profile {
    let mut ann = Profile::new(ProfileId(7), now());
    ann.traits.insert("email".into(), json!("Ann@Example.com"));
    answers(&mut ann, ConsentState::Granted);
    ann
}

fn answers(profile: &mut Profile, state: ConsentState) {
    let consent = Consent { state, source: "checkout form".into(), at: now(), text_version: None, via: Via::Event };
    profile.consent.insert("email".into(), consent);
}

fn reminder() -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart".to_owned(),
        priority: 50,
        caps: CapUse { obey: true, count: true, when_capped: WhenCapped::Drop },
        ..Message::queued(&[b"m"], ProfileId(7), Channel::Email, Purpose::Marketing, Position(1), now())
    }
}

fn receipt() -> Message {
    Message { purpose: Purpose::Transactional, ..reminder() }
}

fn state(profile: &Profile) -> GuardState<'_> {
    GuardState::of(profile)
}

fn listed(kind: SuppressionKind) -> Vec<Suppression> {
    vec![Suppression { kind, source: "test".into(), at: now(), profile: None }]
}

/// A topic nobody gets without asking.
fn offers() -> Topic {
    let (key, name) = ("offers".to_owned(), "Offers".to_owned());
    Topic { key, name, description: String::new(), by_default: false, channels: Vec::new() }
}

/// The verdict's kind and the code of its reason.
fn told(state: &GuardState<'_>, message: &Message) -> (&'static str, &'static str) {
    match check(now(), state, Draft(message.clone())) {
        Verdict::Suppress { reason } => ("suppress", reason.code()),
        Verdict::Defer { until, reason } => {
            assert_eq!(until, message.expires_at);
            ("defer", reason.code())
        }
        Verdict::NeedsSlots(_) => ("needs slots", ""),
        Verdict::Clear(_) => ("clear", ""),
    }
}

#[test]
fn a_marketing_message_asks_for_slots_and_a_transactional_one_does_not() {
    let ann = ann();
    assert_eq!(told(&state(&ann), &reminder()), ("needs slots", ""));
    assert_eq!(told(&state(&ann), &receipt()), ("clear", ""));
    let free = CapUse { obey: false, count: false, when_capped: WhenCapped::Drop };
    assert_eq!(told(&state(&ann), &Message { caps: free, ..reminder() }), ("clear", ""));
    for caps in [CapUse { obey: true, ..free }, CapUse { count: true, ..free }] {
        assert_eq!(told(&state(&ann), &Message { caps, ..reminder() }), ("needs slots", ""));
    }
}

#[test]
fn each_reason_yields_to_the_ones_before_it() {
    // Everything is wrong at first; each step rights what was said, and the next reason comes to light.
    let exited = Reason::Exited { by: "Order Completed".into(), at: now() };
    let mut ann = ann();
    ann.traits.insert("email".into(), json!("not an address"));
    answers(&mut ann, ConsentState::Denied);
    let mut message = Message { expires_at: now(), topic: Some("offers".into()), ..reminder() };
    let complaint = listed(SuppressionKind::Complaint);
    let mut wrong = GuardState {
        suppressions: &complaint,
        exited: Some(&exited),
        campaign: CampaignSwitch::Off,
        all_paused: true,
        restore_unconfirmed: true,
        ..state(&ann)
    };
    assert_eq!(told(&wrong, &message), ("suppress", "address_suppressed"));
    let unsubscribed = listed(SuppressionKind::Unsubscribed);
    wrong.suppressions = &unsubscribed;
    assert_eq!(told(&wrong, &message), ("suppress", "consent_denied"));
    let mut silent = ann.clone();
    answers(&mut silent, ConsentState::Pending);
    wrong.profile = &silent;
    assert_eq!(told(&wrong, &message), ("suppress", "consent_pending"));
    let mut silent = ann.clone();
    silent.consent.clear();
    wrong.profile = &silent;
    assert_eq!(told(&wrong, &message), ("suppress", "address_suppressed"));
    wrong.suppressions = &[];
    assert_eq!(told(&wrong, &message), ("suppress", "consent_unknown"));
    wrong.unknown_consent = Ok(());
    let offers = offers();
    wrong.topic = Some(&offers);
    assert_eq!(told(&wrong, &message), ("suppress", "topic_unsubscribed"));
    message.topic = None;
    assert_eq!(told(&wrong, &message), ("suppress", "exited"));
    wrong.exited = None;
    assert_eq!(told(&wrong, &message), ("suppress", "campaign_not_live"));
    wrong.campaign = CampaignSwitch::Paused;
    assert_eq!(told(&wrong, &message), ("suppress", "expired"));
    message.expires_at = now().plus_millis(1);
    assert_eq!(told(&wrong, &message), ("defer", "sending_paused"));
    wrong.all_paused = false;
    assert_eq!(told(&wrong, &message), ("defer", "campaign_paused"));
    wrong.campaign = CampaignSwitch::Live;
    assert_eq!(told(&wrong, &message), ("defer", "restore_unconfirmed"));
    wrong.restore_unconfirmed = false;
    assert_eq!(told(&wrong, &message), ("suppress", "invalid_address"));
    let mut unreachable = silent.clone();
    unreachable.traits.clear();
    wrong.profile = &unreachable;
    assert_eq!(told(&wrong, &message), ("suppress", "no_address"));
}

#[test]
fn transactional_mail_ignores_consent_and_caps_but_never_suppression_or_a_pause() {
    let mut ann = ann();
    answers(&mut ann, ConsentState::Denied);
    let none = [Rule::new(0, Span::from_days(1).into(), Scope::Any)];
    let base = GuardState { rules: &none, restore_unconfirmed: true, ..state(&ann) };
    assert_eq!(told(&base, &receipt()), ("clear", ""));
    for kind in [SuppressionKind::Complaint, SuppressionKind::Bounced, SuppressionKind::Manual] {
        let list = listed(kind);
        let suppressed = GuardState { suppressions: &list, ..base.clone() };
        assert_eq!(told(&suppressed, &receipt()), ("suppress", "address_suppressed"));
    }
    for kind in [SuppressionKind::Unsubscribed, SuppressionKind::Topic("offers".into())] {
        let list = listed(kind);
        let stopped = GuardState { suppressions: &list, ..base.clone() };
        assert_eq!(told(&stopped, &receipt()), ("clear", ""), "unsubscribed stops marketing only");
    }
    let paused = GuardState { all_paused: true, ..base };
    assert_eq!(told(&paused, &receipt()), ("defer", "sending_paused"));
}

#[test]
fn a_request_carries_the_rules_in_force_and_the_horizon_of_all() {
    let rule = |per, scope| Rule::new(1, Span::from_days(per).into(), scope);
    let rules = [rule(1, Scope::Any), rule(30, Scope::Channel(Channel::Sms)), rule(2, Scope::Channel(Channel::Email))];
    let ann = ann();
    let state = GuardState { rules: &rules, ..state(&ann) };
    let asked = |message| match check(now(), &state, Draft(message)) {
        Verdict::NeedsSlots(request) => request,
        other => panic!("{other:?}"),
    };
    let request = asked(reminder());
    assert_eq!(request.rules(), [rules[0].clone(), rules[2].clone()]);
    assert_eq!(request.horizon(), Span::from_days(30));
    let [profile, address] = request.subjects();
    assert_eq!((profile.to_string(), address.to_string()), ("profile:7".into(), "email:ann@example.com".into()));
    let disobedient = CapUse { obey: false, count: true, when_capped: WhenCapped::Drop };
    let request = asked(Message { caps: disobedient, ..reminder() });
    assert!(request.rules().is_empty() && request.counts());
}

#[test]
fn a_reservation_clears_only_the_message_it_was_made_for() {
    let ann = ann();
    let asked = |id: &[u8]| {
        let message = Message { id: MessageId::derive(&[id]), ..reminder() };
        match check(now(), &state(&ann), Draft(message)) {
            Verdict::NeedsSlots(request) => request,
            other => panic!("{other:?}"),
        }
    };
    let reserve = |request: &Request| {
        let from = CapVersion::default();
        let to = from.next(&Change::Taken { message: request.message().id, at: now() });
        let moves = request.subjects().clone().map(|subject| VersionMove { subject, from, to });
        Reservation::granted(request, Some(now()), moves)
    };
    let (one, other) = (asked(b"one"), asked(b"other"));
    let for_one = reserve(&one);
    assert!(settle(other, for_one).is_err());
    let for_one = reserve(&one);
    let cleared = settle(one, for_one).unwrap();
    assert_eq!(cleared.slot_at(), Some(now()));
    assert_eq!(cleared.versions().len(), 2);
    assert_eq!(cleared.address().deliverable(), "Ann@example.com");
}

fn full(frees_at: Timestamp) -> Full {
    Full { rule: "at most 3 per 1d".into(), by: vec![MessageId::derive(&[b"c1"])], frees_at }
}

fn waits(hours: i64) -> Message {
    let when_capped = WhenCapped::Defer(Span::from_hours(hours));
    Message { caps: CapUse { obey: true, count: true, when_capped }, ..reminder() }
}

#[test]
fn a_capped_message_drops_unless_its_campaign_lets_it_wait() {
    let in_an_hour = now().plus(Span::from_hours(1));
    for when_capped in [WhenCapped::Drop, WhenCapped::Exit] {
        let message = Message { caps: CapUse { obey: true, count: true, when_capped }, ..reminder() };
        let Verdict::Suppress { reason } = capped(now(), &message, full(in_an_hour), None) else { panic!("kept") };
        assert_eq!(reason.code(), "capped");
    }
    let verdict = capped(now(), &waits(12), full(in_an_hour), None);
    assert!(matches!(verdict, Verdict::Defer { until, .. } if until == in_an_hour), "{verdict:?}");
}

#[test]
fn a_wait_is_counted_from_the_first_refusal_and_ends_with_the_reason_capped() {
    let far = now().plus(Span::from_days(3));
    let first = now().minus(Span::from_hours(10));
    let message = Message { capped_at: Some(first), ..waits(12) };
    let verdict = capped(now(), &message, full(far), None);
    let limit = first.plus(Span::from_hours(12));
    assert!(matches!(verdict, Verdict::Defer { until, .. } if until == limit), "{verdict:?}");
    assert!(matches!(capped(limit, &message, full(far), None), Verdict::Suppress { reason: Reason::Capped { .. } }));
}

#[test]
fn a_message_that_waited_for_a_slot_until_it_expired_is_told_of_the_cap() {
    let message = waits(72);
    let Verdict::Defer { until, reason } = capped(now(), &message, full(now().plus(Span::from_days(9))), None) else {
        panic!("not deferred")
    };
    assert!(until < message.expires_at);
    assert!(matches!(capped(until, &message, full(message.expires_at), None), Verdict::Suppress { .. }));
    // Woken late, it is past its expiry before the caps are asked.
    let late = Message { status: Status::Deferred { until, reason }, ..message.clone() };
    let ann = ann();
    let Verdict::Suppress { reason } = check(message.expires_at, &state(&ann), Draft(late)) else { panic!("kept") };
    assert_eq!(reason.code(), "capped");
}

proptest! {
    #[test]
    fn a_deferral_lies_ahead_and_never_reaches_the_expiry(
        waited in 0..200_i64, longest in 0..200_i64, expires in -5..200_i64, frees in 1..500_i64,
    ) {
        let hours = Span::from_hours;
        let expires_at = now().plus(hours(expires));
        let message = Message { capped_at: Some(now().minus(hours(waited))), expires_at, ..waits(longest) };
        match capped(now(), &message, full(now().plus(hours(frees))), None) {
            Verdict::Defer { until, .. } => {
                prop_assert!(until > now() && until < expires_at);
                prop_assert!(until <= now().minus(hours(waited)).plus(hours(longest)));
                prop_assert!(until <= now().plus(hours(frees)));
            }
            Verdict::Suppress { .. } => prop_assert!(waited >= longest || expires <= 0),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn a_topic_is_by_choice_else_by_its_default_and_by_whoever_has_the_address() {
    let mut ann = ann();
    let mut offers = offers();
    let reason = |ann: &Profile, offers: &Topic, list: &[Suppression]| {
        let state = GuardState { topic: Some(offers), suppressions: list, ..state(ann) };
        let message = Message { topic: Some("offers".into()), ..reminder() };
        match check(now(), &state, Draft(message)) {
            Verdict::Suppress { reason } => Some(reason),
            _ => None,
        }
    };
    let no =
        |by_address, by_default| Some(Reason::TopicUnsubscribed { topic: "offers".into(), by_address, by_default });
    assert_eq!(reason(&ann, &offers, &[]), no(false, true));
    offers.by_default = true;
    assert_eq!(reason(&ann, &offers, &[]), None);
    assert_eq!(reason(&ann, &offers, &listed(SuppressionKind::Topic("news".into()))), None, "of another topic");
    assert_eq!(reason(&ann, &offers, &listed(SuppressionKind::Topic("offers".into()))), no(true, false));
    let left = listed(SuppressionKind::Topic("offers".into())).into_iter();
    let left: Vec<_> = left.map(|one| Suppression { profile: Some(ann.id), ..one }).collect();
    let own = reason(&ann, &offers, &left);
    assert_eq!(own, no(false, false), "it was her own doing");
    assert_eq!(own.unwrap().sentence(), "this person is not subscribed to offers");
    let said = |state| {
        let consent = ann.consent["email"].clone();
        ("topic:offers".to_owned(), Consent { state, ..consent })
    };
    let (yes, never) = (said(ConsentState::Granted), said(ConsentState::Denied));
    ann.consent.extend([never]);
    assert_eq!(reason(&ann, &offers, &[]), no(false, false));
    ann.consent.extend([yes]);
    offers.by_default = false;
    assert_eq!(reason(&ann, &offers, &[]), None);
}

#[test]
fn the_same_to_one_address_goes_once_and_transactional_mail_always() {
    let ann = ann();
    let twin = |campaign: &str, profile: i64, after: i64| Neighbour {
        message: MessageId::derive(&[b"twin"]),
        profile: ProfileId(profile),
        campaign: campaign.to_owned(),
        created_at: now().plus_millis(after),
    };
    let told_beside = |one: Neighbour, message: &Message| {
        let neighbours = [one];
        told(&GuardState { neighbours: &neighbours, ..state(&ann) }, message)
    };
    let same = ("suppress", "same_address");
    assert_eq!(told_beside(twin("cart_reminder", 8, 0), &reminder()), same);
    assert_eq!(told_beside(twin("cart_reminder", 8, 2_000), &reminder()), same);
    assert_eq!(told_beside(twin("cart_reminder", 8, -2_000), &reminder()), same);
    assert_eq!(told_beside(twin("cart_reminder", 8, -2_001), &reminder()).0, "needs slots", "a thing of its own");
    assert_eq!(
        told_beside(twin("cart_reminder", 7, 0), &reminder()).0,
        "needs slots",
        "of the same person: caps decide"
    );
    assert_eq!(told_beside(twin("welcome", 8, 0), &reminder()).0, "needs slots", "another campaign");
    assert_eq!(told_beside(twin("cart_reminder", 8, 0), &receipt()).0, "clear");
}

#[test]
fn an_address_is_asked_for_three_confirmations_a_day_at_most() {
    let mut ann = ann();
    answers(&mut ann, ConsentState::Pending);
    let ask = Message { campaign: "confirm:email".into(), ..receipt() };
    let asked = |before: i64, n: u8| Neighbour {
        message: MessageId::derive(&[&[n]]),
        profile: ProfileId(i64::from(n)),
        campaign: "confirm:email".into(),
        created_at: now().plus_millis(-before),
    };
    let day = Span::from_days(1).millis();
    let told_after = |asked: &[Neighbour]| told(&GuardState { neighbours: asked, ..state(&ann) }, &ask);
    assert_eq!(told_after(&[asked(1, 1), asked(2, 2)]), ("clear", ""));
    assert_eq!(told_after(&[asked(1, 1), asked(2, 2), asked(day - 1, 3)]), ("suppress", "too_many_confirmations"));
    assert_eq!(told_after(&[asked(1, 1), asked(2, 2), asked(day, 3)]), ("clear", ""));
    answers(&mut ann, ConsentState::Denied);
    assert_eq!(told(&state(&ann), &ask), ("suppress", "exited"), "answered otherwise meanwhile");
}

/// At four in the morning, in England.
fn at_night() -> (Timestamp, Profile, Vec<quiet_hours::Window>) {
    let mut bob = ann();
    bob.traits.insert("phone".into(), json!("+447911123456"));
    let consent = bob.consent["email"].clone();
    bob.consent.insert("sms".into(), consent);
    ("2026-03-02T04:00:00Z".parse().unwrap(), bob, quiet_hours::shipped())
}

fn text_message(at: Timestamp) -> Message {
    let expires_at = at.plus(Purpose::Marketing.expires_default(Channel::Sms));
    let lasts_beyond = Purpose::Marketing.lasts_beyond_quiet_hours(Channel::Sms);
    let quiet = QuietUse { when: WhenQuiet::Wait, lasts_beyond };
    Message { channel: Channel::Sms, created_at: at, expires_at, quiet, ..reminder() }
}

#[test]
fn at_night_text_messages_wait_and_mail_does_not() {
    let (four, bob, windows) = at_night();
    let state = GuardState { quiet: &windows, ..state(&bob) };
    let nine: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    let message = text_message(four);
    let Verdict::Defer { until, reason } = check(four, &state, Draft(message.clone())) else { panic!() };
    assert_eq!(until, nine, "also where its time would have run out at eight");
    let zone = "Europe/London, by the telephone".to_owned();
    let window = "21:00–09:00 for sms, push, whatsapp".to_owned();
    // Of its four zones that of the island of Man and the others show the same time.
    assert!(
        matches!(&reason, Reason::QuietHours { window: told, until, .. } if *told == window && *until == nine),
        "{reason:?}"
    );
    let mut waiting = message.clone();
    waiting.wait_for(&reason);
    assert_eq!(waiting.expires_at, nine.plus(Span::from_hours(4)), "{zone}");
    assert!(matches!(check(nine, &state, Draft(waiting)), Verdict::NeedsSlots(_)));
    assert!(matches!(check(four, &state, Draft(reminder())), Verdict::NeedsSlots(_)), "mail");
    let receipt = Message { purpose: Purpose::Transactional, ..message.clone() };
    assert!(matches!(check(four, &state, Draft(receipt.clone())), Verdict::Defer { .. }));
    let urgent = Message { quiet: QuietUse { when: WhenQuiet::Ignore, ..receipt.quiet }, ..receipt };
    assert!(matches!(check(four, &state, Draft(urgent)), Verdict::Clear(_)));
    let dropped = Message { quiet: QuietUse { when: WhenQuiet::Drop, ..message.quiet }, ..message };
    let Verdict::Suppress { reason } = check(four, &state, Draft(dropped)) else { panic!() };
    assert_eq!(reason.code(), "quiet_hours");
}

#[test]
fn what_says_how_long_it_lasts_may_end_in_the_night_and_the_night_is_the_reason() {
    let (four, bob, windows) = at_night();
    let state = GuardState { quiet: &windows, ..state(&bob) };
    let said = Message { quiet: QuietUse::default(), expires_at: four.plus(Span::from_hours(1)), ..text_message(four) };
    let Verdict::Defer { until, reason } = check(four, &state, Draft(said.clone())) else { panic!() };
    assert_eq!(until, said.expires_at, "it is looked at once more");
    let mut waited = Message { status: Status::Deferred { until, reason: reason.clone() }, ..said.clone() };
    waited.wait_for(&reason);
    assert_eq!(waited.expires_at, said.expires_at);
    let Verdict::Suppress { reason } = check(until, &state, Draft(waited)) else { panic!() };
    assert_eq!(reason.code(), "quiet_hours");
}
