//! The contract of a cap store, line by line, and a race over a database in miniature.
#![allow(clippy::unwrap_used)]

mod record;

use std::sync::Arc;

use carillon::caps::{Ask, CapStore, Embedded, Released, Reserved, Taken, take};
use carillon::guard::{CapVersion, Change, Full, Rule, Scope, Slot, Subject, frequency_cap, settle};
use carillon::ids::{EnrollmentId, MessageId, ProfileId, Span, Timestamp};
use carillon::message::Channel;

use record::{Record, request};

const DAY: Span = Span::from_days(1);

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(1_772_000_000_000 + minute * 60_000)
}

fn three_a_day() -> Vec<Rule> {
    vec![Rule { at_most: 3, per: DAY, scope: Scope::Any }]
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
    store.reseed(&ann(), version, DAY, slots).await.unwrap();
    store
}

async fn ask(store: &Arc<dyn CapStore>, expected: CapVersion, rules: &[Rule], slot: &Slot) -> Reserved {
    let horizon = frequency_cap::horizon(rules);
    store.reserve(Ask { subject: &ann(), expected, horizon, rules, slot, counts: true }).await.unwrap()
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
    let only_one = vec![Rule { at_most: 1, per: DAY, scope: Scope::Any }];
    let Reserved::Full(Full { by, .. }) = ask(&store, version, &only_one, &slot(2, 1)).await else { panic!() };
    assert_eq!(by, [slot(1, 0).message], "the first slot is still the only one");
}

async fn a_longer_rule_than_the_stored_history_is_stale(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 0)]).await;
    let week = vec![Rule { at_most: 1, per: Span::from_days(7), scope: Scope::Any }];
    assert_eq!(ask(&store, ZERO, &week, &slot(2, 1)).await, Reserved::Stale);
    // Also where the message itself need not obey the long rule.
    let (rules, wish) = (three_a_day(), slot(2, 1));
    let long =
        Ask { subject: &ann(), expected: ZERO, horizon: Span::from_days(7), rules: &rules, slot: &wish, counts: true };
    assert_eq!(store.reserve(long).await.unwrap(), Reserved::Stale);
    store.reseed(&ann(), ZERO, Span::from_days(7), vec![slot(1, 0)]).await.unwrap();
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
    let one = vec![Rule { at_most: 1, per: DAY, scope: Scope::Any }];
    let first = granted(ask(&store, ZERO, &one, &slot(1, 0)).await);
    let again = granted(ask(&store, first.0, &one, &slot(1, 90)).await);
    assert_eq!(again, first, "same slot, same instant, same version");
}

async fn a_message_that_does_not_count_only_asks(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let (rules, wish) = (three_a_day(), slot(1, 0));
    for _ in 0..5 {
        let only_asks =
            Ask { subject: &ann(), expected: ZERO, horizon: DAY, rules: &rules, slot: &wish, counts: false };
        assert_eq!(store.reserve(only_asks).await.unwrap(), Reserved::Granted { version: ZERO, at: wish.at });
    }
}

async fn a_message_that_does_not_obey_still_uses_a_slot(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let mut version = ZERO;
    for name in 1..=4 {
        version = granted(ask(&store, version, &[], &slot(name, 0)).await).0;
    }
    let Reserved::Full(full) = ask(&store, version, &three_a_day(), &slot(9, 1)).await else { panic!() };
    assert_eq!(full.by.len(), 4);
}

async fn a_slot_is_never_earlier_than_the_last(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![slot(1, 60)]).await;
    // A claimant whose clock is an hour behind.
    let (version, granted_at) = granted(ask(&store, ZERO, &three_a_day(), &slot(2, 0)).await);
    assert_eq!(granted_at, at(60));
    assert_eq!(version, ZERO.next(&Change::Taken { message: slot(2, 0).message, at: at(60) }));
}

async fn a_withdrawn_slot_leaves_no_trace(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let one = vec![Rule { at_most: 1, per: DAY, scope: Scope::Any }];
    let (version, _) = granted(ask(&store, ZERO, &one, &slot(1, 0)).await);
    store.withdraw(&ann(), slot(1, 0).message, version, ZERO).await.unwrap();
    let (other, _) = granted(ask(&store, ZERO, &one, &slot(2, 1)).await);
    // Too late to withdraw again: the subject has moved on.
    store.withdraw(&ann(), slot(2, 1).message, version, ZERO).await.unwrap();
    assert!(matches!(ask(&store, other, &one, &slot(3, 2)).await, Reserved::Full(_)));
}

async fn a_released_slot_is_free_and_moves_the_version(store: Arc<dyn CapStore>) {
    let store = seeded(store, ZERO, vec![]).await;
    let one = vec![Rule { at_most: 1, per: DAY, scope: Scope::Any }];
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
    store.reseed(&address, ZERO, DAY, vec![]).await.unwrap();
    let (rules, wish) = (three_a_day(), slot(4, 1));
    let by_address = Ask { subject: &address, expected: ZERO, horizon: DAY, rules: &rules, slot: &wish, counts: true };
    granted(store.reserve(by_address).await.unwrap());
    assert!(matches!(ask(&store, ZERO, &rules, &slot(5, 1)).await, Reserved::Full(_)));
}

/// Claims one message as the dispatcher does: whether it was cleared.
async fn claim(store: &dyn CapStore, record: &Record, now: Timestamp, profile: i64, address: &str, name: u64) -> bool {
    loop {
        let request = request(profile, address, name, &three_a_day(), now);
        let versions = record.versions(request.subjects());
        match take(store, now, &request, versions).await.unwrap() {
            Taken::Full(_) => return false,
            Taken::Stale(subject) => {
                let (version, slots) = record.history(&subject);
                store.reseed(&subject, version, DAY, slots).await.unwrap();
            }
            Taken::Granted(reservation) => {
                if record.commit(&settle(request, reservation).unwrap()) {
                    return true;
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
    let two = vec![Rule { at_most: 2, per: DAY, scope: Scope::Any }];
    let wish = slot(99, 2);
    let ask = Ask { subject: &profile, expected: version, horizon: DAY, rules: &two, slot: &wish, counts: true };
    granted(store.reserve(ask).await.unwrap());
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

/// Eight threads race 10,000 messages each for 40 people who share 30 mailboxes.
fn race(store: &Arc<dyn CapStore>) {
    let record = Arc::new(Record::default());
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, record) = (Arc::clone(store), Arc::clone(&record));
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for n in 0..10_000_u64 {
                    let name = thread * 10_000 + n;
                    // Spread without chance; each thread's clock is a few minutes off the others'.
                    let mix = name.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
                    let (profile, address) = ((mix % 40) as i64, format!("box{}@example.com", mix % 30));
                    let now = at((thread as i64) * 2 + (n as i64) / 100);
                    runtime.block_on(claim(&*store, &record, now, profile, &address, name));
                }
            });
        }
    });
    let mut subjects = record.subjects();
    subjects.retain(|subject| matches!(subject, Subject::Address(..)));
    assert_eq!(subjects.len(), 30);
    for subject in subjects {
        assert_eq!(record.history(&subject).1.len(), 3, "{subject}");
    }
    for profile in 0..40 {
        let used = record.history(&Subject::Profile(ProfileId(profile))).1.len();
        assert!(used <= 3, "profile {profile} has {used}");
    }
}

macro_rules! contract {
    ($store:expr; $($line:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $line() {
                super::$line($store).await;
            }
        )*

        #[test]
        fn racing_claims_fill_each_subject_exactly() {
            super::race(&$store);
        }
    };
}

macro_rules! every_line {
    ($name:ident, $store:expr) => {
        mod $name {
            use super::*;
            contract! {
                $store;
                a_subject_never_heard_of_is_stale,
                a_granted_slot_moves_the_version_along_its_chain,
                another_version_is_stale_and_changes_nothing,
                a_longer_rule_than_the_stored_history_is_stale,
                a_full_cap_names_what_filled_it_and_takes_nothing,
                asking_again_for_the_same_message_changes_nothing,
                a_message_that_does_not_count_only_asks,
                a_message_that_does_not_obey_still_uses_a_slot,
                a_slot_is_never_earlier_than_the_last,
                a_withdrawn_slot_leaves_no_trace,
                a_released_slot_is_free_and_moves_the_version,
                subjects_do_not_touch_each_other,
                the_first_slot_is_given_back_when_the_second_refuses,
                a_message_has_one_slot_time_for_all_its_subjects,
                a_retry_keeps_its_slot_and_a_new_address_takes_a_later_one,
            }
        }
    };
}

every_line!(embedded, Arc::new(Embedded::default()) as Arc<dyn CapStore>);

mod forgetful {
    use super::*;

    #[test]
    fn a_store_that_keeps_forgetting_lets_no_cap_be_exceeded() {
        let store = Arc::new(Embedded::bounded(5, 12));
        let shared: Arc<dyn CapStore> = Arc::clone(&store) as Arc<dyn CapStore>;
        race(&shared);
        let (subjects, slots) = store.held();
        assert!(subjects <= 5 && slots <= 12, "{subjects} subjects, {slots} slots");
    }

    #[tokio::test]
    async fn memory_stays_bounded_and_a_forgotten_subject_is_stale() {
        let store = Embedded::bounded(3, 1_000);
        for n in 0..10 {
            store.reseed(&Subject::Profile(ProfileId(n)), ZERO, DAY, vec![slot(1, 0)]).await.unwrap();
            // The first stays in use, so it is never the idle one.
            let kept = Subject::Profile(ProfileId(0));
            let (rules, wish) = (three_a_day(), slot(1, 0));
            let ask = Ask { subject: &kept, expected: ZERO, horizon: DAY, rules: &rules, slot: &wish, counts: true };
            granted(store.reserve(ask).await.unwrap());
        }
        assert_eq!(store.held(), (3, 3));
        store.forget();
        assert_eq!(store.held(), (0, 0));
    }

    #[tokio::test]
    async fn a_subject_larger_than_the_whole_store_is_still_served() {
        let store: Arc<dyn CapStore> = Arc::new(Embedded::bounded(3, 2));
        let store = seeded(store, ZERO, (0..50).map(|n| slot(n, 0)).collect()).await;
        assert!(matches!(ask(&store, ZERO, &three_a_day(), &slot(99, 1)).await, Reserved::Full(_)));
    }
}
