//! The processor: effects and position together, faults that change nothing, parked entries that can be redriven.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carillon::event::Kind;
use carillon::fault::Faults;
use carillon::ids::{ProfileId, Span};
use carillon::store::trace::MessageFilter;
use carillon::worker::explain::{Question, explain};
use carillon::worker::pause::set_paused;
use carillon::worker::processor::redrive;
use carillon::worker::scheduler::Scheduler;

use super::support::{House, WORKSPACE, build, event, identify};

#[tokio::test]
async fn traits_and_history_follow_the_log() {
    let house = House::new().await;
    house.append(vec![identify("m1", Some("ann"), None), event("m2", "ann", "Product Viewed")]).await;
    house.process().await;
    let id = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let person = house.workspace().person(id).await.unwrap().unwrap();
    assert_eq!(person.profile.user_id.as_deref(), Some("ann"));
    assert_eq!(person.profile.traits["email"], "ann@example.com");
    let past: Vec<_> = person.profile.history.iter().map(|past| past.name).collect();
    assert_eq!(past, ["Identified", "Product Viewed"]);
    assert!(house.workspace().accounts().await.unwrap().imbalances().is_empty());
}

#[tokio::test]
async fn history_beyond_the_row_moves_to_pages() {
    let house = House::new().await;
    let events = (0..300).map(|n| event(&format!("m{n}"), "ann", "Product Viewed")).collect();
    house.append(events).await;
    house.process().await;
    let id = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let pages = house.workspace().history_pages(id).await.unwrap();
    let person = house.workspace().person(id).await.unwrap().unwrap();
    let total: usize = pages.iter().map(|page| page.len()).sum::<usize>() + person.profile.history.len();
    assert_eq!(total, 300);
    assert_eq!(person.profile.history.pages as usize, pages.len());
}

#[tokio::test]
async fn a_failure_after_deciding_stores_nothing_and_the_next_tick_does_it_all() {
    let house = House::new().await;
    house.append(vec![event("m1", "ann", "Product Viewed")]).await;
    let failures = Arc::new(AtomicUsize::new(1));
    let left = failures.clone();
    let faults = Faults::new(move |point| {
        point == "processor.decided"
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    });
    let mut processor = house.processor(faults).await;
    assert!(processor.tick().await.is_err());
    assert_eq!(house.processed().await, 0);
    assert_eq!(processor.tick().await.unwrap(), 1);
    assert_eq!(house.processed().await, 1);
}

#[tokio::test]
async fn an_entry_that_cannot_be_applied_is_parked_and_the_log_goes_on() {
    let house = House::new().await;
    house.append(vec![event("m1", "ann", "A"), event("m2", "bob", "B"), event("m3", "ann", "C")]).await;
    let count = Arc::new(AtomicUsize::new(0));
    let faults = Faults::new(move |point| point == "processor.decide" && count.fetch_add(1, Ordering::SeqCst) == 1);
    let mut processor = house.processor(faults).await;
    assert_eq!(processor.tick().await.unwrap(), 3);
    let parked = house.workspace().parked(10).await.unwrap();
    // Whose it is when shards are decided side by side is chance.
    let second = if house.store.layout().is_shared() { parked[0].position } else { house.at("m2").await };
    assert_eq!(parked.iter().map(|parked| parked.position).collect::<Vec<_>>(), [second]);
    let accounts = house.workspace().accounts().await.unwrap();
    assert_eq!((accounts.events.processed, accounts.events.parked), (2, 1));
    assert!(accounts.imbalances().is_empty());

    assert!(redrive(&house.log, &house.store, WORKSPACE, second).await.unwrap());
    assert!(!redrive(&house.log, &house.store, WORKSPACE, second).await.unwrap(), "once only");
    house.process().await;
    for (user, events) in [("ann", 2), ("bob", 1)] {
        let id = house.workspace().profile_by_id(user).await.unwrap().unwrap();
        let person = house.workspace().person(id).await.unwrap().unwrap();
        assert_eq!(person.profile.history.len(), events, "what was parked is applied now");
    }
    assert!(house.workspace().accounts().await.unwrap().imbalances().is_empty());
}

#[tokio::test]
async fn two_processors_do_not_apply_an_entry_twice() {
    let house = House::new().await;
    let mut one = house.processor(Faults::none()).await;
    let mut two = house.processor(Faults::none()).await;
    // Both know where the log stands before there is anything: one that looks later finds nothing left to do.
    assert_eq!((one.tick().await.unwrap(), two.tick().await.unwrap()), (0, 0));
    house.append((0..100).map(|n| event(&format!("m{n}"), "ann", "Viewed")).collect()).await;
    let (first, second) = tokio::join!(one.tick(), two.tick());
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "one of them finds the cursor moved");
    let id = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let person = house.workspace().person(id).await.unwrap().unwrap();
    let pages = house.workspace().history_pages(id).await.unwrap();
    assert_eq!(person.profile.history.len() + pages.iter().map(|page| page.len()).sum::<usize>(), 100);
}

#[tokio::test]
async fn an_explanation_names_what_was_parked_until_it_is_redriven() {
    let house = House::new().await;
    house.append(vec![event("m1", "ann", "A"), event("m2", "ann", "B")]).await;
    let count = Arc::new(AtomicUsize::new(0));
    let faults = Faults::new(move |point| point == "processor.decide" && count.fetch_add(1, Ordering::SeqCst) == 0);
    let mut processor = house.processor(faults).await;
    while processor.tick().await.unwrap() > 0 {}
    let profile = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let question = Question { profile, person: "ann".into(), campaign: None, event: None, message: None };
    let before = explain(house.workspace(), &question).await.unwrap();
    assert!(
        before
            .text
            .contains(&format!("entry {} is parked, and what came after was decided without it", house.at("m1").await)),
        "{}",
        before.text
    );
    assert!(redrive(&house.log, &house.store, WORKSPACE, house.at("m1").await).await.unwrap());
    let after = explain(house.workspace(), &question).await.unwrap();
    assert!(!after.text.contains("parked"), "{}", after.text);
}

const CART: &str = r#"
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 1h
send: { channel: email, template: note }
---
kind: template
key: note
sample: { profile: { traits: { first_name: Ann } } }
email: { subject: A note, html: "<p>Hello</p>" }
"#;

#[tokio::test]
async fn an_entry_is_decided_by_what_was_paused_at_its_place_however_late_it_is_processed() {
    let house = House::new().await;
    house.apply(CART).await;
    house.process().await;
    let added = |cart: &str| {
        let body = format!(r#"{{"properties":{{"cart_id":"{cart}"}}}}"#);
        build(cart, Kind::Track, "Product Added", Some("ann"), None, &body)
    };
    let switch = async |scope: &str, paused| assert!(set_paused(&house.log, WORKSPACE, scope, paused).await.unwrap());
    house.append(vec![added("before")]).await;
    switch("cart", true).await;
    house.append(vec![added("during")]).await;
    switch("all", true).await;
    switch("cart", false).await;
    house.append(vec![added("after")]).await;
    switch("cart", true).await;
    house.process().await;
    let mut keys: Vec<String> = house.enrollments("ann").await.into_iter().map(|enrollment| enrollment.key).collect();
    keys.sort();
    assert_eq!(keys, ["after", "before"]);
}

/// The timer has cleared what its person waits for, so that the decision changes their row no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_whoever_became_another_meanwhile_is_the_others() {
    let house = super::identity::shop().await;
    let cart = build("m2", Kind::Track, "Product Added", None, Some("d1"), r#"{"properties":{"cart_id":"c1"}}"#);
    house.append(vec![event("m1", "ann", "A"), cart]).await;
    house.process().await;
    house.clock.advance(Span::from_hours(1));
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    scheduler.tick(house.clock.now()).await.unwrap();
    // Another process stores that both are one between this one's look and its commit.
    let united = "UPDATE profiles SET version = version + 1, merged_into = 1 WHERE id = 2;
                  UPDATE enrollments SET profile = 1 WHERE profile = 2";
    let faults = house.changed_meanwhile(united.to_owned());
    let mut processor = house.processor(faults).await;
    while processor.tick().await.unwrap() > 0 {}
    let all = MessageFilter { limit: 9, ..MessageFilter::default() };
    let owners: Vec<ProfileId> =
        house.workspace().list_messages(&all).await.unwrap().iter().map(|message| message.profile).collect();
    assert_eq!(owners, [ProfileId(1)], "decided again, for ann");
}
