//! A Redis that loses everything between two sends, or goes away and comes back empty.

use std::sync::Arc;

use carillon::message::Reason;

use super::world::{World, campaign, is_sent, reason_of};
use crate::redis_servers::Redis;
use crate::slots::Kept;

const THREE: &str = "kind: caps\nrules: [ { at_most: 3, per: 20h } ]\n";

async fn shop(redis: &Redis) -> World {
    let cart = campaign("cart", "Product Added", "caps: { when_capped: { defer: 23h } }");
    let receipt = campaign("receipt", "Order Placed", "purpose: transactional");
    let mut world = World::keeping_slots(Kept::at(redis.url())).await;
    world.apply(&[cart, receipt, THREE.to_owned()]).await;
    world.identify("ann", "ann@example.com").await;
    world
}

async fn three_sent_and_one_waits(world: &World) {
    let all = world.messages().await;
    let (sent, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|message| is_sent(&message.status));
    assert_eq!((sent.len(), waiting.len(), world.carrier.handed().len()), (3, 1, 3));
    assert_eq!(waiting[0].status.name(), "deferred");
    let Some(Reason::Capped { by, .. }) = waiting[0].status.reason() else { panic!("{:?}", waiting[0].status) };
    let (mut by, mut ids) = (by.clone(), sent.iter().map(|message| message.id).collect::<Vec<_>>());
    by.sort_unstable();
    ids.sort_unstable();
    assert_eq!(by, ids, "it names the three that were sent");
}

#[tokio::test]
async fn flushed_between_sends_it_lets_nothing_more_through_and_loses_nothing() {
    let redis = Redis::start();
    let mut world = shop(&redis).await;
    for cart in ["c1", "c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
        assert!(redis.keys() > 0, "there is something to lose");
        redis.flush();
    }
    three_sent_and_one_waits(&world).await;
    world.after(20 * 3_600).await;
    assert_eq!(world.carrier.handed().len(), 4, "the one that waited goes when a slot frees");
}

#[tokio::test]
async fn flushed_between_a_reservation_and_its_claim_it_lets_nothing_more_through() {
    let redis = Arc::new(Redis::start());
    let mut world = shop(&redis).await;
    for cart in ["c1", "c2", "c3", "c4"] {
        let flushed = redis.clone();
        world.before_the_claim(async move { flushed.flush() });
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
    }
    three_sent_and_one_waits(&world).await;
}

#[tokio::test]
async fn flushed_while_a_message_is_with_its_provider_it_lets_nothing_more_through() {
    let redis = Arc::new(Redis::start());
    let mut world = shop(&redis).await;
    for cart in ["c1", "c2", "c3", "c4"] {
        let flushed = redis.clone();
        world.carrier.meanwhile(async move { flushed.flush() });
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
    }
    three_sent_and_one_waits(&world).await;
}

#[tokio::test]
async fn away_it_holds_what_needs_a_slot_and_nothing_else_and_empty_it_holds_the_caps() {
    let mut redis = Redis::start();
    let mut world = shop(&redis).await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    redis.kill();
    for cart in ["c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
    }
    world.track("ann", "Order Placed", "c1").await;
    world.settle().await;
    let all = world.messages().await;
    let waiting: Vec<_> = all.iter().filter(|message| !is_sent(&message.status)).collect();
    assert_eq!(waiting.len(), 3);
    assert!(
        waiting.iter().all(|message| message.status.name() != "deferred" || reason_of(message) == "caps_unreachable")
    );
    assert!(waiting.iter().any(|message| reason_of(message) == "caps_unreachable"));
    let sent = |key: &str| all.iter().filter(|one| one.campaign == key && is_sent(&one.status)).count();
    assert_eq!((sent("cart"), sent("receipt")), (1, 1), "the receipt needs no slot");
    world.after(60).await;
    assert_eq!(world.carrier.handed().len(), 2, "still away");
    redis.come_back();
    world.until_asked().await;
    let all = world.messages().await;
    let of_cart: Vec<_> = all.iter().filter(|message| message.campaign == "cart").collect();
    assert_eq!(of_cart.iter().filter(|message| is_sent(&message.status)).count(), 3, "{of_cart:?}");
    assert_eq!(of_cart.iter().filter(|message| reason_of(message) == "capped").count(), 1, "{of_cart:?}");
    assert_eq!(world.carrier.handed().len(), 4);
}

#[tokio::test]
async fn what_counts_without_obeying_goes_while_it_is_away_and_is_counted_when_it_is_back() {
    let mut redis = Redis::start();
    let mut world = shop(&redis).await;
    let note = campaign("note", "Product Viewed", "caps: { obey: false, count: true }");
    world.apply(&[note]).await;
    world.track("ann", "Product Added", "c1").await;
    world.after(3).await;
    redis.say::<redis::Value>("SAVE");
    redis.kill();
    world.track("ann", "Product Viewed", "n1").await;
    world.after(3).await;
    assert_eq!(world.carrier.handed().len(), 2, "it asks nobody");
    let all = world.messages().await;
    let note = all.iter().find(|message| message.campaign == "note").unwrap();
    assert!(is_sent(&note.status) && note.slot_at.is_some(), "{note:?}");
    for subject in [format!("profile:{}", note.profile), "email:ann@example.com".to_owned()] {
        let row = world.store.workspace(super::world::HERE).cap_subject(&subject).await.unwrap().unwrap();
        assert_eq!(row.step, 2, "{subject}: both are counted");
    }
    // With what it had before it was away: one slot.
    redis.come_back();
    assert!(redis.keys() > 0);
    for cart in ["c2", "c3"] {
        world.track("ann", "Product Added", cart).await;
        world.after(3).await;
        world.until_asked().await;
    }
    three_sent_and_one_waits(&world).await;
    assert_eq!(world.most_within(carillon::ids::Span::from_hours(20)).await, 3);
}

#[tokio::test]
async fn a_retry_of_what_counts_without_obeying_keeps_its_slot_while_it_is_away() {
    let mut redis = Redis::start();
    let mut world = shop(&redis).await;
    world.apply(&[campaign("note", "Product Viewed", "caps: { obey: false, count: true }")]).await;
    world.carrier.will([super::world::retry("451 later")]);
    world.track("ann", "Product Viewed", "n1").await;
    // The settle window passes.
    world.after(3).await;
    let held = world.only().await.slot_at;
    assert!(held.is_some());
    redis.kill();
    world.after(100).await;
    assert_eq!((world.statuses().await, world.only().await.slot_at), (vec!["sent"], held));
    let row = world.store.workspace(super::world::HERE).cap_subject("email:ann@example.com").await.unwrap().unwrap();
    assert_eq!(row.step, 1, "counted once");
}
