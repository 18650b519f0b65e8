//! The contract of a cap store, line by line, and a race over a database in miniature.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod faults;
mod oracle;
mod partition;
mod race;
mod record;
#[allow(dead_code, reason = "some of it serves other tests")]
#[path = "../services/redis.rs"]
mod servers;
mod stores;

use std::sync::Arc;

use carillon::caps::{Ask, CapStore, History, Released, Reserved, Taken, Unreachable, take};
use carillon::guard::{CapVersion, Change, Full, Keep, Rule, Scope, Slot, Subject, Window, frequency_cap, settle};
use carillon::ids::{EnrollmentId, MessageId, ProfileId, Span, Timestamp};
use carillon::message::Channel;

use jiff::tz::TimeZone;
use record::{Book, Record, request};

const DAY: Span = Span::from_days(1);

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(1_772_000_000_000 + minute * 60_000)
}

fn three_a_day() -> Vec<Rule> {
    vec![Rule::new(3, DAY.into(), Scope::Any)]
}

fn slot(name: u32, minute: i64) -> Slot {
    Slot {
        message: MessageId::derive(&[&name.to_le_bytes()]),
        at: at(minute),
        channel: Channel::Email,
        topic: None,
        campaign: "cart_reminder".into(),
        enrollment: EnrollmentId::derive(&[&name.to_le_bytes()]),
    }
}

fn ann() -> Subject {
    Subject::Profile(ProfileId(7))
}

/// A store with ann's history at the given version.
async fn seeded(store: Arc<dyn CapStore>, version: CapVersion, slots: Vec<Slot>) -> Arc<dyn CapStore> {
    store.reseed(&ann(), History { version, since: at(0).minus(DAY), slots }).await.unwrap();
    store
}

/// A wish of the usual priority, in UTC, that counts.
fn wish<'a>(subject: &'a Subject, expected: CapVersion, rules: &'a [Rule], slot: &'a Slot) -> Ask<'a> {
    let horizon = frequency_cap::horizon(rules);
    Ask { subject, expected, horizon, rules, slot, priority: 50, zone: const { &TimeZone::UTC }, counts: true }
}

async fn ask(store: &Arc<dyn CapStore>, expected: CapVersion, rules: &[Rule], slot: &Slot) -> Reserved {
    store.reserve(wish(&ann(), expected, rules, slot)).await.unwrap()
}

fn granted(answer: Reserved) -> (CapVersion, Timestamp) {
    match answer {
        Reserved::Granted { version, at } => (version, at),
        other => panic!("not granted: {other:?}"),
    }
}

const ZERO: CapVersion = CapVersion { step: 0, chain: [0; 16] };

async fn a_subject_never_heard_of_is_stale(store: Arc<dyn CapStore>) {
    assert_eq!(ask(&store, ZERO, &three_a_day(), &slot(1, 0)).await, Reserved::Stale);
    let message = slot(1, 0).message;
    assert_eq!(store.release(&ann(), message, ZERO).await.unwrap(), Released::Stale);
    store.withdraw(&ann(), message, ZERO, ZERO).await.unwrap();
    assert_eq!(ask(&store, ZERO, &three_a_day(), &slot(1, 0)).await, Reserved::Stale);
}

async fn a_granted_slot_moves_the_version_along_its_chain(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let wish = slot(1, 0);
    let (version, granted_at) = granted(ask(&store, ZERO, &three_a_day(), &wish).await);
    assert_eq!(granted_at, wish.at);
    assert_eq!(version, ZERO.next(&Change::Taken { message: wish.message, at: wish.at }));
}

async fn another_version_is_stale_and_changes_nothing(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let (version, _) = granted(ask(&store, ZERO, &three_a_day(), &slot(1, 0)).await);
    let forged = CapVersion { chain: [9; 16], ..version };
    for wrong in [ZERO, forged] {
        assert_eq!(ask(&store, wrong, &three_a_day(), &slot(2, 1)).await, Reserved::Stale);
        assert_eq!(store.release(&ann(), slot(1, 0).message, wrong).await.unwrap(), Released::Stale);
    }
    let only_one = vec![Rule::new(1, DAY.into(), Scope::Any)];
    let Reserved::Full(Full { by, .. }) = ask(&store, version, &only_one, &slot(2, 1)).await else { panic!() };
    assert_eq!(by, [slot(1, 0).message], "the first slot is still the only one");
}

async fn a_longer_rule_than_the_stored_history_is_stale(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 0)]).await;
    let week = vec![Rule::new(1, Span::from_days(7).into(), Scope::Any)];
    assert_eq!(ask(&store, ZERO, &week, &slot(2, 1)).await, Reserved::Stale);
    // Also where the message itself need not obey the long rule.
    let (rules, second, ann) = (three_a_day(), slot(2, 1), ann());
    let long = Ask { horizon: Span::from_days(7), ..wish(&ann, ZERO, &rules, &second) };
    assert_eq!(store.reserve(long).await.unwrap(), Reserved::Stale);
    let since = at(0).minus(Span::from_days(7));
    store.reseed(&ann, History { version: ZERO, since, slots: vec![slot(1, 0)] }).await.unwrap();
    assert!(matches!(ask(&store, ZERO, &week, &slot(2, 1)).await, Reserved::Full(_)));
}

async fn a_full_cap_names_what_filled_it_and_takes_nothing(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(2, 10), slot(1, 0), slot(3, 20)]).await;
    for _ in 0..2 {
        let answer = ask(&store, ZERO, &three_a_day(), &slot(4, 30)).await;
        let by = [slot(1, 0).message, slot(2, 10).message, slot(3, 20).message].to_vec();
        let expected = Full { rule: "at most 3 per 1d".into(), by, frees_at: at(0).plus(DAY) };
        assert_eq!(answer, Reserved::Full(expected));
    }
    let freed = Slot { at: at(0).plus(DAY), ..slot(4, 0) };
    granted(ask(&store, ZERO, &three_a_day(), &freed).await);
}

async fn asking_again_for_the_same_message_changes_nothing(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let one = vec![Rule::new(1, DAY.into(), Scope::Any)];
    let first = granted(ask(&store, ZERO, &one, &slot(1, 0)).await);
    let again = granted(ask(&store, first.0, &one, &slot(1, 90)).await);
    assert_eq!(again, first, "same slot, same instant, same version");
}

async fn a_message_that_does_not_count_only_asks(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let (rules, one, ann) = (three_a_day(), slot(1, 0), ann());
    for _ in 0..5 {
        let only_asks = Ask { counts: false, ..wish(&ann, ZERO, &rules, &one) };
        assert_eq!(store.reserve(only_asks).await.unwrap(), Reserved::Granted { version: ZERO, at: one.at });
    }
}

async fn a_message_that_does_not_obey_still_uses_a_slot(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let (mut version, ann) = (ZERO, ann());
    for name in 1..=4 {
        let taken = slot(name, 0);
        let counts_only = Ask { horizon: DAY, ..wish(&ann, version, &[], &taken) };
        version = granted(store.reserve(counts_only).await.unwrap()).0;
    }
    let Reserved::Full(full) = ask(&store, version, &three_a_day(), &slot(9, 1)).await else { panic!() };
    assert_eq!(full.by.len(), 4);
}

async fn slots_are_taken_in_order_of_time(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 60)]).await;
    // A claimant whose clock is an hour behind.
    let answer = ask(&store, ZERO, &three_a_day(), &slot(2, 0)).await;
    assert_eq!(answer, Reserved::Behind { last: at(60) });
    let (version, granted_at) = granted(ask(&store, ZERO, &three_a_day(), &slot(2, 60)).await);
    assert_eq!(granted_at, at(60));
    assert_eq!(version, ZERO.next(&Change::Taken { message: slot(2, 0).message, at: at(60) }));
}

async fn slots_kept_are_filled_by_high_priorities_alone(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 0), slot(2, 10)]).await;
    let rules = [Rule { keep: Some(Keep { slots: 1, priority: 60 }), ..three_a_day().remove(0) }];
    let (third, ann) = (slot(3, 20), ann());
    let Reserved::Full(full) = ask(&store, ZERO, &rules, &third).await else { panic!() };
    assert_eq!(full.rule, "at most 3 per 1d, 1 of them kept for priority 60 and above");
    assert_eq!((full.by.len(), full.frees_at), (2, at(0).plus(DAY)));
    let strong = Ask { priority: 60, ..wish(&ann, ZERO, &rules, &third) };
    let (version, _) = granted(store.reserve(strong).await.unwrap());
    let fourth = slot(4, 30);
    let strong = Ask { priority: 100, ..wish(&ann, version, &rules, &fourth) };
    assert!(matches!(store.reserve(strong).await.unwrap(), Reserved::Full(_)));
}

async fn a_calendar_day_is_the_customers_and_ends_for_all_its_slots_at_once(store: Arc<dyn CapStore>) {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let taken = |name, text| Slot { at: at(text), ..slot(name, 0) };
    let slots = vec![taken(1, "2026-03-01T22:30:00Z"), taken(2, "2026-03-01T23:30:00Z")];
    let since = at("2026-02-20T00:00:00Z");
    let ann = ann();
    store.reseed(&ann, History { version: ZERO, since, slots }).await.unwrap();
    let rules = [Rule::new(2, Window::CalendarDay, Scope::Any)];
    let (utc, berlin) = (TimeZone::UTC, TimeZone::get("Europe/Berlin").unwrap());
    let asks = |third: &'static str| {
        let (store, ann, rules, utc, berlin) = (&store, &ann, &rules, &utc, &berlin);
        async move {
            let third = taken(3, third);
            let mut frees = Vec::new();
            for zone in [utc, berlin] {
                let asks = Ask { zone, counts: false, ..wish(ann, ZERO, rules, &third) };
                frees.push(match store.reserve(asks).await.unwrap() {
                    Reserved::Full(full) => Some(full.frees_at.to_string()),
                    Reserved::Granted { .. } => None,
                    other => panic!("{other:?}"),
                });
            }
            frees
        }
    };
    assert_eq!(asks("2026-03-01T23:59:00Z").await, [Some("2026-03-02T00:00:00Z".to_owned()), None]);
    assert_eq!(asks("2026-03-02T00:00:00Z").await, [None, None]);
    let one = [Rule::new(1, Window::CalendarWeek, Scope::Any)];
    let monday = taken(3, "2026-03-02T08:00:00Z");
    let asks = |zone| Ask { zone, counts: false, ..wish(&ann, ZERO, &one, &monday) };
    assert!(matches!(store.reserve(asks(&utc)).await.unwrap(), Reserved::Granted { .. }));
    let Reserved::Full(full) = store.reserve(asks(&berlin)).await.unwrap() else { panic!() };
    assert_eq!((full.by, full.frees_at), (vec![slot(2, 0).message], at("2026-03-08T23:00:00Z")));
}

async fn every_scope_counts_its_own(store: Arc<dyn CapStore>) {
    let of = |name: u32, channel, topic: Option<&str>, campaign: &str| Slot {
        channel,
        topic: topic.map(Into::into),
        campaign: campaign.into(),
        ..slot(name, 0)
    };
    let used = vec![of(1, Channel::Email, Some("offers"), "a"), of(2, Channel::Sms, None, "b")];
    let store = seeded(store, ZERO, used).await;
    let one = |scope| [Rule::new(1, DAY.into(), scope)];
    let each = |per_step| Scope::EachCampaign { per_step };
    let mail = of(9, Channel::Email, None, "c");
    for (scope, candidate, fits) in [
        (Scope::Any, &mail, false),
        (Scope::Channel(Channel::Email), &mail, false),
        (Scope::Channel(Channel::Push), &of(9, Channel::Push, None, "c"), true),
        (Scope::Channel(Channel::Sms), &mail, true),
        (Scope::Topic("offers".into()), &of(9, Channel::Push, Some("offers"), "c"), false),
        (Scope::Topic("news".into()), &of(9, Channel::Email, Some("news"), "a"), true),
        (Scope::Topic("offers".into()), &mail, true),
        (Scope::Campaign("a".into()), &of(9, Channel::Push, None, "a"), false),
        (Scope::Campaign("a".into()), &of(9, Channel::Push, None, "b"), true),
        (each(true), &of(9, Channel::Push, None, "b"), false),
        (each(false), &of(9, Channel::Push, None, "b"), false),
        (each(false), &Slot { enrollment: slot(2, 0).enrollment, ..of(9, Channel::Push, None, "b") }, true),
        (each(true), &Slot { enrollment: slot(2, 0).enrollment, ..of(9, Channel::Push, None, "b") }, false),
        (each(false), &mail, true),
    ] {
        let rules = one(scope.clone());
        let ann = ann();
        let only_asks = Ask { counts: false, ..wish(&ann, ZERO, &rules, candidate) };
        let answer = store.reserve(only_asks).await.unwrap();
        assert_eq!(matches!(answer, Reserved::Granted { .. }), fits, "{scope:?} {candidate:?}: {answer:?}");
    }
}

async fn of_several_full_rules_the_one_that_frees_last_is_named(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 0)]).await;
    let hour = Span::from_hours(1).into();
    let rules = [
        Rule::new(1, hour, Scope::Any),
        Rule::new(1, DAY.into(), Scope::Channel(Channel::Email)),
        Rule::new(1, DAY.into(), Scope::Any),
    ];
    let Reserved::Full(full) = ask(&store, ZERO, &rules, &slot(2, 5)).await else { panic!() };
    assert_eq!((full.rule.as_str(), full.frees_at), ("at most 1 per 1d by email", at(0).plus(DAY)));
    let none = [Rule::new(1, DAY.into(), Scope::Any), Rule::new(0, hour, Scope::Any)];
    let Reserved::Full(full) = ask(&store, ZERO, &none, &slot(2, 5)).await else { panic!() };
    assert_eq!(full.frees_at, Timestamp::from_millis(i64::MAX), "room that never comes");
}

async fn a_withdrawn_slot_leaves_no_trace(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let one = vec![Rule::new(1, DAY.into(), Scope::Any)];
    let (version, _) = granted(ask(&store, ZERO, &one, &slot(1, 0)).await);
    store.withdraw(&ann(), slot(1, 0).message, version, ZERO).await.unwrap();
    let (other, _) = granted(ask(&store, ZERO, &one, &slot(2, 1)).await);
    // Too late to withdraw again: the subject has moved on.
    store.withdraw(&ann(), slot(2, 1).message, version, ZERO).await.unwrap();
    assert!(matches!(ask(&store, other, &one, &slot(3, 2)).await, Reserved::Full(_)));
}

async fn a_released_slot_is_free_and_moves_the_version(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let one = vec![Rule::new(1, DAY.into(), Scope::Any)];
    let (version, _) = granted(ask(&store, ZERO, &one, &slot(1, 0)).await);
    assert_eq!(store.release(&ann(), slot(2, 0).message, version).await.unwrap(), Released::Absent);
    let released = version.next(&Change::Released { message: slot(1, 0).message });
    let answer = store.release(&ann(), slot(1, 0).message, version).await.unwrap();
    assert_eq!(answer, Released::Done { version: released });
    assert_eq!(ask(&store, version, &one, &slot(2, 1)).await, Reserved::Stale);
    granted(ask(&store, released, &one, &slot(2, 1)).await);
}

async fn subjects_do_not_touch_each_other(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 0), slot(2, 0), slot(3, 0)]).await;
    let address = Subject::Address(Channel::Email, "ann@example.com".into());
    store.reseed(&address, History { version: ZERO, since: at(0).minus(DAY), slots: vec![] }).await.unwrap();
    let (rules, fourth) = (three_a_day(), slot(4, 1));
    granted(store.reserve(wish(&address, ZERO, &rules, &fourth)).await.unwrap());
    assert!(matches!(ask(&store, ZERO, &rules, &slot(5, 1)).await, Reserved::Full(_)));
}

/// Claims one message as the dispatcher does: whether it was cleared.
async fn claim<B: Book>(
    store: &dyn CapStore,
    record: &B,
    now: Timestamp,
    profile: i64,
    address: &str,
    name: u64,
) -> bool {
    try_claim(store, record, now, profile, address, name).await.unwrap()
}

/// The same where the store may be away.
async fn try_claim<B: Book>(
    store: &dyn CapStore,
    record: &B,
    now: Timestamp,
    profile: i64,
    address: &str,
    name: u64,
) -> Result<bool, Unreachable> {
    loop {
        let request = request(profile, address, name, &three_a_day(), now);
        let versions = record.versions(request.subjects());
        match take(store, now, &request, versions).await? {
            Taken::Full(_) => return Ok(false),
            Taken::Stale(subject) => {
                let (version, slots) = record.history(&subject);
                let since = Timestamp::from_millis(0);
                store.reseed(&subject, History { version, since, slots }).await?;
            }
            Taken::Granted(reservation) => {
                if record.commit(&settle(request, reservation).unwrap()) {
                    return Ok(true);
                }
            }
        }
    }
}

async fn the_first_slot_is_given_back_when_the_second_refuses(store: Arc<dyn CapStore>) {
    let record = Record::default();
    // A family mailbox: three people, one address.
    for (name, profile) in [(1, 1), (2, 2), (3, 3)] {
        assert!(claim(&*store, &record, at(0), profile, "home@example.com", name).await);
    }
    assert!(!claim(&*store, &record, at(1), 1, "home@example.com", 4).await, "the mailbox is full");
    // The profile's slot of the refused message is free again, without a reseed.
    let profile = Subject::Profile(ProfileId(1));
    let (version, slots) = record.history(&profile);
    assert_eq!(slots.len(), 1);
    let two = vec![Rule::new(2, DAY.into(), Scope::Any)];
    granted(store.reserve(wish(&profile, version, &two, &slot(99, 2))).await.unwrap());
}

async fn a_message_has_one_slot_time_for_all_its_subjects(store: Arc<dyn CapStore>) {
    let record = Record::default();
    // The address was last written to by a clock an hour ahead.
    assert!(claim(&*store, &record, at(60), 1, "home@example.com", 1).await);
    assert!(claim(&*store, &record, at(0), 2, "home@example.com", 2).await);
    let by_profile = record.history(&Subject::Profile(ProfileId(2))).1;
    let by_address = record.history(&Subject::Address(Channel::Email, "home@example.com".into())).1;
    assert_eq!(by_profile.iter().map(|slot| slot.at).collect::<Vec<_>>(), [at(60)]);
    assert_eq!(by_address.iter().map(|slot| slot.at).collect::<Vec<_>>(), [at(60), at(60)]);
    // What the store keeps is what the record says: the profile's window closes a day after the slot, not before.
    for name in [3, 4] {
        assert!(claim(&*store, &record, at(60), 2, "other@example.com", name).await);
    }
    assert!(!claim(&*store, &record, at(59).plus(DAY), 2, "other@example.com", 5).await);
    assert!(claim(&*store, &record, at(60).plus(DAY), 2, "other@example.com", 6).await);
}

async fn a_retry_keeps_its_slot_and_a_new_address_takes_a_later_one(store: Arc<dyn CapStore>) {
    let record = Record::default();
    assert!(claim(&*store, &record, at(0), 1, "old@example.com", 1).await);
    assert!(claim(&*store, &record, at(30), 1, "old@example.com", 1).await, "the same message again");
    let profile = Subject::Profile(ProfileId(1));
    assert_eq!(record.history(&profile).1[0].at, at(0));
    assert!(claim(&*store, &record, at(45), 1, "new@example.com", 1).await, "its person moved house");
    let moved = record.history(&profile).1;
    assert_eq!((moved.len(), moved[0].at), (1, at(45)));
    assert_eq!(record.history(&Subject::Address(Channel::Email, "new@example.com".into())).1[0].at, at(45));
}

macro_rules! every_line {
    ($($line:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test]
                async fn $line() {
                    super::$line(super::stores::embedded()).await;
                }
            )*
        }

        mod redis {
            $(
                #[tokio::test]
                async fn $line() {
                    super::$line(super::stores::redis()).await;
                }
            )*
        }

        /// All of them on stores of which none knows what another was told.
        async fn every_line(store: impl Fn() -> Arc<dyn CapStore>) {
            $($line(store()).await;)*
        }
    };
}

every_line! {
    a_subject_never_heard_of_is_stale,
    a_granted_slot_moves_the_version_along_its_chain,
    another_version_is_stale_and_changes_nothing,
    a_longer_rule_than_the_stored_history_is_stale,
    a_full_cap_names_what_filled_it_and_takes_nothing,
    asking_again_for_the_same_message_changes_nothing,
    a_message_that_does_not_count_only_asks,
    a_message_that_does_not_obey_still_uses_a_slot,
    slots_are_taken_in_order_of_time,
    slots_kept_are_filled_by_high_priorities_alone,
    a_calendar_day_is_the_customers_and_ends_for_all_its_slots_at_once,
    every_scope_counts_its_own,
    of_several_full_rules_the_one_that_frees_last_is_named,
    a_withdrawn_slot_leaves_no_trace,
    a_released_slot_is_free_and_moves_the_version,
    subjects_do_not_touch_each_other,
    the_first_slot_is_given_back_when_the_second_refuses,
    a_message_has_one_slot_time_for_all_its_subjects,
    a_retry_keeps_its_slot_and_a_new_address_takes_a_later_one,
}
