//! An erasure finds everything without looking through the log: whatever somebody was, and wherever it was kept.

use std::collections::BTreeSet;

use carillon::app::WORKSPACE;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::eventlog::{Draft, Queue};
use carillon::ids::{EventId, Position, ProfileId, Span};
use carillon::store::Rows;
use carillon::store::shards::{ShardSet, cursors, heads};
use carillon::worker::personal_data::export;
use carillon::worker::retention::{Retention, prune};
use tokio::sync::watch;

use super::BACKEND;
use super::erased::{erase, files_with, tables_with};
use crate::database::Place;
use crate::house::{START, Shop};

const DAY: i64 = 24 * 60;
/// Each is planted in another place.
const PLANTED: [&str; 12] = [
    "first@canary.example",
    "second@canary.example",
    "anna-canary",
    "annabel-canary",
    "tablet-canary",
    "phone-canary",
    "oldcart-canary",
    "poison-canary",
    "firefox-canary",
    "mailbox-canary",
    "stop-canary",
    "cause-canary",
];

async fn run(shop: &Shop, sql: &'static str) {
    let writer = shop.house.log.writer();
    let change =
        writer.change(Queue::Effects, move |tx, _| Box::pin(async move { Ok(Rows(tx).run(sql, vec![]).await?) }));
    change.await.unwrap();
}

async fn of_user(shop: &Shop, user: &str) -> ProfileId {
    shop.house.store.workspace(WORKSPACE).profile_by_id(user).await.unwrap().unwrap()
}

/// The log is read from the database next.
async fn forget_what_is_in_memory(shop: &Shop) {
    let (log, store) = (&shop.house.log, &shop.house.store);
    let decided = cursors(store.reader()).await.unwrap();
    for shard in store.layout().all().iter() {
        log.recent().take_after(store.layout(), decided.of(shard), usize::MAX);
    }
}

/// What Carillon itself makes of a person: here an opening by a machine, which no history lists.
async fn opened_by_a_machine(shop: &Shop, profile: ProfileId) {
    let now = shop.clock.now();
    let event = Event {
        id: EventId::derive(&[b"machine"]),
        kind: Kind::Own,
        name: "Email Opened".into(),
        message_id: "own:machine".into(),
        version: 1,
        source: "carillon".into(),
        correlation_id: "own:machine".into(),
        trace: None,
        user_id: None,
        anonymous_id: None,
        previous_id: None,
        at: now,
        received_at: now,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(r#"{"properties":{"machine":"prefetch","user_agent":"firefox-canary"}}"#.to_owned()),
    };
    let draft = Draft { profile: Some(profile), ..Draft::event(WORKSPACE, event) };
    shop.house.log.append_drafts(vec![draft]).await.unwrap();
}

/// Somebody of two devices, two names and two addresses, one of which is Bob's too; with a long past, a reminder that
/// waits, and an event that could not be read.
async fn somebody(shop: &Shop) -> ProfileId {
    shop.on_device("tablet-canary", "Product Viewed", r#"{"properties":{"cart_id":"t"}}"#).await;
    shop.on_device("phone-canary", "Product Viewed", r#"{"properties":{"cart_id":"p"}}"#).await;
    shop.log_in("anna-canary", "tablet-canary", r#"{"email":"first@canary.example"}"#).await;
    shop.log_in("anna-canary", "phone-canary", r#"{"email":"shared@example.com"}"#).await;
    shop.identify("bob", r#"{"email":"shared@example.com","name":"Bob"}"#).await;
    for n in 0..90 {
        shop.track("anna-canary", "Product Viewed", &format!("oldcart-canary-{n}")).await;
    }
    shop.settle().await;
    let body = r#"{"previousId":"anna-canary","userId":"annabel-canary"}"#;
    shop.renamed("anna-canary", "annabel-canary", body).await;
    shop.identify("annabel-canary", r#"{"email":"second@canary.example","name":"A"}"#).await;
    shop.track("annabel-canary", "Order Placed", "x").await;
    shop.settle().await;
    shop.track("annabel-canary", "Product Added", "poison-canary").await;
    run(shop, "UPDATE entries SET meta = event_id WHERE name = 'Product Added'").await;
    forget_what_is_in_memory(shop).await;
    shop.settle().await;
    run(shop, "UPDATE parked SET cause = 'cause-canary'").await;
    shop.track("annabel-canary", "Product Added", "y").await;
    let profile = of_user(shop, "annabel-canary").await;
    opened_by_a_machine(shop, profile).await;
    shop.settle().await;
    run(shop, r#"UPDATE entries SET body = replace(body, '"reply":"', '"reply":"mailbox-canary ') WHERE kind = 'message_ended'"#).await;
    run(shop, r#"UPDATE messages SET state = replace(state, '"reply":"', '"reply":"mailbox-canary ')"#).await;
    let sql = "INSERT INTO suppressed_addresses (workspace, subject, kind, profile, at, channel, source)
               SELECT 1, 'email:stop-canary@x.example', 'unsubscribed', id, 1, 'email', 'x' FROM profiles WHERE user_id = 'annabel-canary'";
    run(shop, sql).await;
    profile
}

async fn shop(place: &Place) -> Shop {
    let shop = Shop::with(place.folder.path(), place.address(), START, None, None).await;
    shop.furnish().await;
    shop
}

/// Whatever an entry of theirs is, by looking at each one.
async fn by_looking_through(shop: &Shop, people: &[ProfileId]) -> BTreeSet<Position> {
    let reader = shop.house.store.reader();
    let until = heads(reader, ShardSet::EVERY).await.unwrap().0.last();
    let store = shop.house.store.workspace(WORKSPACE);
    store.positions_of(people, Position(0), until).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn whatever_somebody_was_nothing_of_it_is_left_and_others_stay() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let profile = somebody(&shop).await;
    for needle in PLANTED {
        assert!(!tables_with(&shop.house.database, needle).await.is_empty(), "{needle} was stored before");
    }
    let store = shop.house.store.workspace(WORKSPACE);
    let people = store.profiles_of(profile).await.unwrap();
    assert!(people.len() > 1, "was another profile too");
    let found: BTreeSet<Position> = store.entries_about(&people).await.unwrap().unwrap().into_iter().collect();
    assert_eq!(found, by_looking_through(&shop, &people).await, "by index and by looking through the log");
    let data = export(&shop.house.store, &shop.house.sandbox, WORKSPACE, profile, shop.clock.now()).await.unwrap();
    let text = data.to_string();
    for needle in PLANTED.iter().filter(|needle| **needle != "poison-canary") {
        assert!(text.contains(needle), "{needle} is handed out");
    }

    let before = store.accounts().await.unwrap();
    erase(&shop, profile).await;
    for needle in PLANTED {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
        assert!(files_with(place.folder.path(), needle).is_empty(), "{needle}");
    }
    let after = store.accounts().await.unwrap();
    assert_eq!((after.events.accepted, after.imbalances()), (before.events.accepted, Vec::<String>::new()));
    let bob = store.person(of_user(&shop, "bob").await).await.unwrap().unwrap();
    assert_eq!(bob.profile.traits["email"], "shared@example.com");
    assert_eq!(bob.profile.history.iter().count(), 1);
}

#[tokio::test]
async fn an_erasure_waits_for_what_is_not_decided_yet() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.identify("anna-canary", r#"{"email":"first@canary.example"}"#).await;
    shop.track("anna-canary", "Order Placed", "oldcart-canary").await;
    let profile = of_user(&shop, "anna-canary").await;
    let (erasure, ()) = tokio::join!(erase(&shop, profile), shop.settle());
    assert!(erasure.finished_at.is_some());
    for needle in ["first@canary.example", "anna-canary", "oldcart-canary"] {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
    }
    shop.settle().await;
    assert_eq!(shop.messages().await.len(), 1, "the receipt was decided, and is nobody's");
}

#[tokio::test]
async fn the_same_address_under_a_new_name_is_a_new_person_and_still_not_written_to() {
    let place = Place::new(BACKEND).await;
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    shop.furnish().await;
    shop.identify("anna-canary", r#"{"email":"First@canary.example"}"#).await;
    shop.settle().await;
    let sql = "INSERT INTO suppressed_addresses (workspace, subject, kind, profile, at, channel, source)
               VALUES (1, 'email:first@canary.example', 'unsubscribed', 0, 1, 'email', 'x')";
    run(&shop, sql).await;
    erase(&shop, of_user(&shop, "anna-canary").await).await;
    assert_eq!(tables_with(&shop.house.database, "first@canary.example").await, Vec::<String>::new());
    shop.identify("other", r#"{"email":"first@canary.example"}"#).await;
    shop.track("other", "Product Added", "c1").await;
    shop.after(5 * 60).await;
    assert_eq!(shop.carrier.taken(), (0, 0));
    let messages = shop.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].status.name(), "suppressed", "{:?}", messages[0].status);
}

#[tokio::test]
async fn what_retention_kept_of_somebody_is_erased_too() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.identify("anna-canary", r#"{"email":"first@canary.example"}"#).await;
    shop.track("anna-canary", "Product Viewed", "oldcart-canary").await;
    shop.settle().await;
    shop.after(40 * DAY).await;
    let retention = Retention { bodies: Span::from_days(30), ..Retention::default() };
    let (_stop, stopped) = watch::channel(false);
    let house = &shop.house;
    assert_eq!(prune(&house.log, &house.store, &house.definitions, retention, &stopped).await.unwrap().bodies, 2);
    assert_eq!(tables_with(&house.database, "oldcart-canary").await, Vec::<String>::new());
    assert!(tables_with(&house.database, "first@canary.example").await.contains(&"baselines.traits".to_owned()));
    let profile = of_user(&shop, "anna-canary").await;
    let data = export(&house.store, &house.sandbox, WORKSPACE, profile, shop.clock.now()).await.unwrap();
    assert_eq!(data["baseline"]["traits"]["email"], "first@canary.example");
    assert_eq!(data["history"].as_array().unwrap().len(), 2);
    erase(&shop, profile).await;
    for needle in ["first@canary.example", "anna-canary"] {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
    }
    shop.after(40 * DAY).await;
    prune(&house.log, &house.store, &house.definitions, retention, &stopped).await.unwrap();
    assert_eq!(tables_with(&house.database, "first@canary.example").await, Vec::<String>::new());
}
