//! Who is who: logins, shared devices, alias, and what one person's two profiles become.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carillon::audience::ConsentState;
use carillon::decision::{Enrollment, Person};
use carillon::event::{Event, Kind};
use carillon::eventlog::Draft;
use carillon::fault::Faults;
use carillon::ids::{Position, ProfileId, Span};
use carillon::message::Reason;
use carillon::store::trace::MessageFilter;
use carillon::worker::explain::{Question, explain};
use carillon::worker::processor::redrive;
use carillon::worker::scheduler::Scheduler;

use super::support::{House, WORKSPACE, anonymous, build, event, identify};

const SHOP: &str = r#"
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 1h
exit: [ { event: Order Completed } ]
send: { channel: email, template: note }
---
kind: campaign
key: regular
name: Regular
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Store Visited, where: { performed: { event: Product Viewed, at_least: 200 } } }
delay: 1h
send: { channel: email, template: note }
---
kind: template
key: note
sample: { profile: { traits: { first_name: Ann } } }
email: { subject: A note, html: "<p>Hello</p>" }
"#;

pub async fn shop() -> House {
    let house = House::new().await;
    house.apply(SHOP).await;
    house.process().await;
    house
}

pub fn alias(message_id: &str, previous: &str, user: &str) -> Event {
    let mut alias = build(message_id, Kind::Alias, "Aliased", Some(user), None, "{}");
    alias.previous_id = Some(previous.to_owned());
    alias
}

/// A call with properties, of a user or of a device.
fn track(message_id: &str, user: Option<&str>, device: Option<&str>, name: &str, properties: &str) -> Event {
    build(message_id, Kind::Track, name, user, device, &format!(r#"{{"properties":{properties}}}"#))
}

fn traits(message_id: &str, user: Option<&str>, device: Option<&str>, traits: &str) -> Event {
    build(message_id, Kind::Identify, "Identified", user, device, &format!(r#"{{"traits":{traits}}}"#))
}

fn consent(message_id: &str, user: Option<&str>, device: Option<&str>, state: &str) -> Event {
    track(message_id, user, device, "Consent Changed", &format!(r#"{{"channel":"email","state":"{state}"}}"#))
}

async fn person(house: &House, id: &str) -> Person {
    let profile = house.workspace().profile_by_id(id).await.unwrap().unwrap();
    house.workspace().person(profile).await.unwrap().unwrap()
}

/// Everything a person did, older pages included: (name, position).
pub async fn past(house: &House, profile: ProfileId) -> Vec<(String, Position)> {
    let store = house.workspace();
    let Some(person) = store.person(profile).await.unwrap() else { return Vec::new() };
    let mut pages = store.history_pages(profile).await.unwrap();
    assert_eq!(pages.len(), person.profile.history.pages as usize, "as many pages as the row says");
    pages.push(person.profile.history);
    pages.iter().flat_map(|page| page.iter()).map(|one| (one.name.to_owned(), one.position)).collect()
}

async fn explained(house: &House, id: &str) -> String {
    let profile = house.workspace().profile_by_id(id).await.unwrap().unwrap();
    let question = Question { profile, person: id.into(), campaign: None, event: None, message: None };
    explain(house.workspace(), &question).await.unwrap().text
}

async fn balances(house: &House) {
    assert_eq!(house.workspace().accounts().await.unwrap().imbalances(), Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_did_before_the_login_is_theirs() {
    let house = shop().await;
    let profiles = house
        .profiles(vec![
            traits("m1", Some("ann"), None, r#"{"email":"ann@example.com","plan":"gold"}"#),
            consent("m2", Some("ann"), None, "granted"),
            traits("m3", None, Some("d1"), r#"{"plan":"free","shoe_size":43}"#),
            consent("m4", None, Some("d1"), "denied"),
            track("m5", None, Some("d1"), "Product Added", r#"{"cart_id":"c1"}"#),
            identify("m6", Some("ann"), Some("d1")),
            anonymous("m7", "d1", "Product Viewed"),
        ])
        .await;
    let (ann, before) = (profiles[0], profiles[2]);
    assert_ne!(ann, before);
    assert_eq!(profiles[5..], [ann, ann], "from the login on the device is hers");
    house.process().await;

    let store = house.workspace();
    assert_eq!(store.profile_by_id("d1").await.unwrap(), Some(ann));
    assert_eq!(store.current_profile(before).await.unwrap(), ann, "the old number leads to her");
    let person = store.person(ann).await.unwrap().unwrap();
    assert_eq!(person.profile.traits["plan"], "gold", "where both have a trait, hers stays");
    assert_eq!(person.profile.traits["shoe_size"], 43, "the other fills gaps");
    assert_eq!(person.profile.consent["email"].state, ConsentState::Denied, "a denial wins");
    let mut names: Vec<_> = past(&house, ann).await.into_iter().map(|(name, _)| name).collect();
    let mut all = [
        "Identified",
        "Consent Changed",
        "Identified",
        "Consent Changed",
        "Product Added",
        "Identified",
        "Product Viewed",
    ];
    if house.store.layout().is_shared() {
        // Of one instant, and in two shards.
        names.sort();
        all.sort_unstable();
    }
    assert_eq!(names, all);
    let enrolled = house.enrollments("ann").await;
    assert_eq!(enrolled.iter().map(|one| (one.profile, one.key.as_str())).collect::<Vec<_>>(), [(ann, "c1")]);
    assert!(person.wake_at.is_some(), "its wait is hers");

    let emptied = store.person(before).await.unwrap().unwrap();
    assert_eq!((emptied.merged_into, emptied.wake_at), (Some(ann), None));
    assert!(emptied.profile.traits.is_empty() && emptied.profile.history.is_empty());
    let text = explained(&house, "ann").await;
    let came = "profile 2 (anonymous) is the same person: 3 events, 1 active enrollment, traits shoe_size, consent for email came with it";
    assert!(text.contains(came), "{text}");
    balances(&house).await;
}

#[tokio::test]
async fn the_order_of_the_person_ends_the_wait_that_began_before_the_login() {
    let house = shop().await;
    house.append(vec![event("m1", "ann", "Product Viewed")]).await;
    house.append(vec![track("m2", None, Some("d1"), "Product Added", r#"{"cart_id":"c1"}"#)]).await;
    house.process().await;
    house.append(vec![identify("m3", Some("ann"), Some("d1")), event("m4", "ann", "Order Completed")]).await;
    house.process().await;
    assert_eq!(house.enrollments("ann").await[0].state.name(), "exited");
}

#[tokio::test]
async fn of_two_waits_for_one_cart_the_older_goes_on_and_the_others_message_is_cancelled() {
    let house = shop().await;
    house.append(vec![track("m1", Some("ann"), None, "Product Added", r#"{"cart_id":"c1"}"#)]).await;
    house.process().await;
    house.clock.advance(Span::from_seconds(60));
    house.append(vec![track("m2", None, Some("d1"), "Product Added", r#"{"cart_id":"c1"}"#)]).await;
    house.append(vec![track("m3", None, Some("d1"), "Product Added", r#"{"cart_id":"c2"}"#)]).await;
    house.process().await;
    house.clock.advance(Span::from_hours(2));
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 2);
    house.process().await;
    house.append(vec![identify("m4", Some("ann"), Some("d1"))]).await;
    house.process().await;

    let ann = person(&house, "ann").await.profile.id;
    let enrolled = house.enrollments("ann").await;
    let state = |key: &str| -> Vec<_> {
        enrolled.iter().filter(|one| one.key == key).map(|one| (one.entry, one.state.name())).collect()
    };
    let (first, second, third) = (house.at("m1").await, house.at("m2").await, house.at("m3").await);
    assert_eq!(state("c1"), [(second, "exited"), (first, "sending")]);
    assert_eq!(state("c2"), [(third, "sending")]);
    let filter = MessageFilter { profile: Some(ann), limit: 9, ..MessageFilter::default() };
    let messages = house.workspace().list_messages(&filter).await.unwrap();
    assert_eq!(messages.len(), 3, "all her messages are found under her");
    let cancelled: Vec<_> = messages.iter().filter(|one| one.status.name() == "cancelled").collect();
    assert_eq!(cancelled.len(), 1);
    let since = "2026-03-01T10:00:00Z".parse().unwrap();
    assert_eq!(cancelled[0].status.reason(), Some(&Reason::Merged { since }));
    assert!(explained(&house, "ann").await.contains("exited: merged"), "the end has its name");
    balances(&house).await;
}

#[tokio::test]
async fn nothing_is_triggered_by_a_merge_itself() {
    let house = shop().await;
    // Each half of her has done too little; Store Visited was before the merge.
    let viewed = |n: usize, user: Option<&str>, device: Option<&str>| {
        track(&format!("v{n}{user:?}"), user, device, "Product Viewed", "{}")
    };
    house.append((0..150).map(|n| viewed(n, Some("ann"), None)).collect()).await;
    house.append((0..150).map(|n| viewed(n, None, Some("d1"))).collect()).await;
    house.append(vec![event("m1", "ann", "Store Visited"), anonymous("m2", "d1", "Store Visited")]).await;
    house.append(vec![identify("m3", Some("ann"), Some("d1"))]).await;
    house.process().await;
    assert_eq!(house.enrollments("ann").await, Vec::<Enrollment>::new(), "what was is not looked at again");
    house.append(vec![event("m4", "ann", "Store Visited")]).await;
    house.process().await;
    assert_eq!(house.enrollments("ann").await.len(), 1, "what comes sees both halves, older pages included");
    let ann = person(&house, "ann").await.profile.id;
    assert_eq!(past(&house, ann).await.iter().filter(|(name, _)| name == "Product Viewed").count(), 300);
}

#[tokio::test]
async fn on_a_shared_device_nobody_becomes_another_and_the_latest_login_has_it() {
    let house = shop().await;
    let profiles = house
        .profiles(vec![
            anonymous("m1", "d1", "Product Viewed"),
            identify("m2", Some("ann"), Some("d1")),
            anonymous("m3", "d1", "Product Viewed"),
            identify("m4", Some("bob"), Some("d1")),
            anonymous("m5", "d1", "Product Viewed"),
            // A call of ann's that comes late is no login.
            track("m6", Some("ann"), Some("d1"), "Product Viewed", "{}"),
            anonymous("m7", "d1", "Product Viewed"),
            identify("m8", Some("ann"), Some("d1")),
            anonymous("m9", "d1", "Product Viewed"),
            // The browser's alias names the device: a login, no word on bob or ann.
            alias("m10", "d1", "cem"),
            anonymous("m11", "d1", "Product Viewed"),
        ])
        .await;
    let (ann, bob, cem) = (profiles[0], profiles[3], profiles[9]);
    assert_eq!(BTreeSet::from([ann, bob, cem]).len(), 3);
    assert_eq!(profiles, [ann, ann, ann, bob, bob, ann, bob, ann, ann, cem, cem]);
    let house = house.restart().await;
    house.process().await;
    assert_eq!(past(&house, ann).await.len(), 6, "what was ann's stays ann's");
    assert_eq!(house.profiles(vec![anonymous("m12", "d1", "Product Viewed")]).await, [cem]);
}

#[tokio::test]
async fn alias_makes_two_known_people_one() {
    let house = shop().await;
    let profiles = house
        .profiles(vec![
            track("m1", Some("guest-7"), Some("d1"), "Product Added", r#"{"cart_id":"c1"}"#),
            event("m2", "ann", "Product Viewed"),
            alias("m3", "guest-7", "ann"),
            event("m4", "guest-7", "Product Viewed"),
            anonymous("m5", "d1", "Product Viewed"),
        ])
        .await;
    let ann = profiles[1];
    assert_eq!(profiles[2..], [ann, ann, ann]);
    house.process().await;
    let person = person(&house, "guest-7").await;
    assert_eq!((person.profile.id, person.profile.user_id.as_deref()), (ann, Some("ann")));
    assert_eq!(past(&house, ann).await.len(), 5);
    let ids = house.workspace().identifiers_of(ann).await.unwrap();
    let ids: Vec<_> = ids.iter().map(|(anonymous, id)| (*anonymous, id.as_str())).collect();
    assert_eq!(ids, [(false, "ann"), (false, "guest-7"), (true, "d1")]);
    let text = explained(&house, "ann").await;
    assert!(text.contains("profile 1 (known as guest-7) is the same person: 1 event, 1 active enrollment"), "{text}");
}

#[tokio::test]
async fn alias_links_ids_that_nobody_has_used() {
    let house = shop().await;
    let profiles = house
        .profiles(vec![
            alias("m1", "old", "ann"),
            event("m2", "old", "Product Viewed"),
            anonymous("m3", "old", "Product Viewed"),
            alias("m4", "ann", "anna"),
            event("m5", "anna", "Product Viewed"),
            alias("m6", "anna", "anna"),
        ])
        .await;
    assert_eq!(BTreeSet::from_iter(profiles).len(), 1);
    house.process().await;
    assert_eq!(person(&house, "old").await.profile.user_id.as_deref(), Some("anna"), "the id from now on");
}

#[tokio::test]
async fn chains_of_merges_lead_to_the_last_in_one_batch_and_in_many() {
    for batched in [true, false] {
        let house = shop().await;
        let mut events: Vec<Event> = (0..40)
            .map(|n| {
                track(
                    &format!("m{n}"),
                    Some(&format!("u{n}")),
                    None,
                    "Product Added",
                    &format!(r#"{{"cart_id":"c{n}"}}"#),
                )
            })
            .collect();
        events.extend((0..39).map(|n| alias(&format!("a{n}"), &format!("u{n}"), &format!("u{}", n + 1))));
        if batched {
            house.append(events).await;
        } else {
            for event in events {
                house.append(vec![event]).await;
                house.process().await;
            }
        }
        house.process().await;
        let last = person(&house, "u0").await.profile.id;
        assert_eq!(last, ProfileId(40));
        assert_eq!(house.workspace().current_profile(ProfileId(1)).await.unwrap(), last);
        assert_eq!(past(&house, last).await.len(), 79, "batched: {batched}");
        assert_eq!(house.enrollments("u39").await.len(), 40);
        balances(&house).await;
        let house = house.restart().await;
        let new = house.profiles(vec![event("new", "somebody", "Product Viewed")]).await[0];
        assert_eq!(new, ProfileId(41), "numbers of merged profiles are not used again");
    }
}

#[tokio::test]
async fn what_is_said_again_changes_nothing() {
    let house = shop().await;
    house
        .append(vec![event("m1", "ann", "A"), anonymous("m2", "d1", "A"), identify("m3", Some("ann"), Some("d1"))])
        .await;
    house.process().await;
    house
        .append(vec![identify("m4", Some("ann"), Some("d1")), alias("m5", "d1", "ann"), alias("m6", "ann", "ann")])
        .await;
    house.process().await;
    let found = house
        .workspace()
        .findings_at(&[house.at("m4").await, house.at("m5").await, house.at("m6").await])
        .await
        .unwrap();
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(past(&house, person(&house, "ann").await.profile.id).await.len(), 6);
}

#[tokio::test]
async fn a_merge_that_was_parked_happens_when_it_is_redriven() {
    let house = shop().await;
    house.append(vec![event("m1", "ann", "A"), anonymous("m2", "d1", "A"), event("m3", "ann", "B")]).await;
    house.append(vec![identify("m4", Some("ann"), Some("d1")), anonymous("m5", "d1", "C")]).await;
    let count = Arc::new(AtomicUsize::new(0));
    let faults = Faults::new(move |point| point == "processor.decide" && count.fetch_add(1, Ordering::SeqCst) == 3);
    let mut processor = house.processor(faults).await;
    while processor.tick().await.unwrap() > 0 {}
    let ann = person(&house, "ann").await.profile.id;
    assert_eq!(past(&house, ann).await.len(), 3, "half a merge is none");
    assert!(redrive(&house.log, &house.store, WORKSPACE, house.at("m4").await).await.unwrap());
    let house = house.restart().await;
    house.process().await;
    assert_eq!(past(&house, ann).await.len(), 5);
    assert_eq!(house.workspace().current_profile(ProfileId(2)).await.unwrap(), ann);
    balances(&house).await;
}

#[tokio::test]
async fn entries_of_a_merged_profile_that_come_later_are_the_winners() {
    let house = shop().await;
    let before = house.profiles(vec![anonymous("m1", "d1", "A")]).await[0];
    let ann = house.profiles(vec![event("m2", "ann", "A"), identify("m3", Some("ann"), Some("d1"))]).await[0];
    house.process().await;
    // A link in a message to the former profile.
    let denied = r#"{"properties":{"channel":"email","state":"denied"}}"#;
    let own = build("own", Kind::Own, "Consent Changed", None, None, denied);
    house.log.append_drafts(vec![Draft { profile: Some(before), ..Draft::event(WORKSPACE, own) }]).await.unwrap();
    let own = house.at("own").await;
    let last = house.workspace().entries_at(&[own]).await.unwrap();
    assert_eq!(last[&own].profile, Some(ann), "nothing is sent to her until it is processed");
    house.process().await;
    // Another node had not heard of the merge when it appended this.
    house.append(vec![event("m4", "ann", "B")]).await;
    house.damage(&format!("UPDATE entries SET profile = 1 WHERE position = {}", house.at("m4").await)).await;
    let house = house.restart().await;
    house.process().await;
    let person = house.workspace().person(ann).await.unwrap().unwrap();
    assert_eq!(person.profile.consent["email"].state, ConsentState::Denied);
    assert_eq!(past(&house, ann).await.last().unwrap().0, "B");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_changed_meanwhile_is_decided_again() {
    for changed in [1, 2] {
        let house = shop().await;
        house.append(vec![event("m1", "ann", "A"), anonymous("m2", "d1", "A")]).await;
        house.process().await;
        house.append(vec![identify("m3", Some("ann"), Some("d1"))]).await;
        // Another node stores a change of one of both between this one's look and its commit.
        let faults = house.changed_meanwhile(format!(
            "UPDATE profiles SET version = version + 1, traits = '{{\"vip\":true}}' WHERE id = {changed}"
        ));
        let mut processor = house.processor(faults).await;
        processor.tick().await.unwrap();
        assert_eq!(house.workspace().current_profile(ProfileId(2)).await.unwrap(), ProfileId(2), "nothing was stored");
        assert_eq!(processor.tick().await.unwrap(), 1);
        let ann = person(&house, "ann").await;
        assert_eq!(ann.profile.traits["vip"], true, "the change of profile {changed} is part of the merge");
        assert_eq!(past(&house, ann.profile.id).await.len(), 3);
    }
}

#[tokio::test]
async fn a_thousand_enrollments_and_a_long_past_come_along_in_one_piece() {
    let house = shop().await;
    let carts = |user: Option<&str>, device: Option<&str>, from: usize| -> Vec<Event> {
        let one = |n: usize| {
            track(&format!("c{n}-{user:?}"), user, device, "Product Added", &format!(r#"{{"cart_id":"c{n}"}}"#))
        };
        (from..from + 1_000).map(one).collect()
    };
    house.append(carts(Some("ann"), None, 0)).await;
    house.append(carts(None, Some("d1"), 500)).await;
    house.process().await;
    house.append(vec![identify("m1", Some("ann"), Some("d1"))]).await;
    house.process().await;
    let ann = person(&house, "ann").await.profile.id;
    assert_eq!(past(&house, ann).await.len(), 2_001);
    let active = house.workspace().active_enrollments(&[ann]).await.unwrap();
    let keys: BTreeSet<_> = active.iter().map(|(_, one)| one.as_ref().unwrap().key.clone()).collect();
    assert_eq!((active.len(), keys.len()), (1_000, 1_000), "as many as one person may have");
    let older = |n: usize| keys.contains(&format!("c{n}"));
    assert!((0..1_000).all(older), "her own go on");
    balances(&house).await;
}

#[tokio::test]
async fn what_one_transaction_does_not_move_follows_in_slices() {
    let house = shop().await;
    let before = house.profiles(vec![anonymous("m1", "d1", "A")]).await[0];
    house.process().await;
    house
        .damage(&format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000)
             INSERT INTO consents (position, profile, channel, state, source, at)
             SELECT -n, {}, 'email', 'granted', 'test', n FROM n",
            before.0
        ))
        .await;
    house.append(vec![event("m2", "ann", "A"), identify("m3", Some("ann"), Some("d1"))]).await;
    house.process().await;
    let mut slices = 0;
    while carillon::worker::effects::finish_merges(&house.log).await.unwrap() {
        slices += 1;
    }
    assert_eq!(slices, 2);
    let ann = person(&house, "ann").await.profile.id;
    let sql = format!("SELECT count(*) FROM consents WHERE profile = {}", ann.0);
    let moved: Option<i64> = carillon::store::Rows(house.store.reader()).scalar(&sql, vec![]).await.unwrap();
    assert_eq!(moved, Some(12_000));
}
