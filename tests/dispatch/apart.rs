//! Thirty seconds during which packets to the Redis are lost without a word, and a cluster that loses a master. The shop's
//! seconds are told; those in which the program waits for an answer are real.

use std::sync::{Arc, Mutex};

use carillon::ids::Span;
use carillon::message::Status;

use crate::redis_servers::{Cluster, Passage, Redis, Wire};
use crate::slots::Kept;
use world::{World, campaign, is_sent, reason_of};

mod wakes;
#[allow(dead_code, reason = "some of it serves other tests")]
mod world;

pub const BACKEND: crate::database::Backend = crate::database::Backend::of(module_path!());
pub const SLOTS: crate::slots::Slots = crate::slots::Slots::Redis;

/// Looked at together, as the dispatcher does.
const BATCH: usize = 64;
const WAITING: usize = 150;

async fn shop(url: String) -> World {
    let mut world = World::keeping_slots(Kept::at(url)).await;
    world
        .apply(&[
            campaign("cart", "Product Added", "caps: { when_capped: { defer: 23h } }"),
            campaign("receipt", "Order Placed", "purpose: transactional"),
            campaign("news", "Product Viewed", "caps: { obey: false, count: false }"),
            campaign("note", "Signed Up", "caps: { obey: false, count: true }"),
            "kind: caps\nrules: [ { at_most: 3, per: 20h } ]\n".to_owned(),
        ])
        .await;
    world.identify("ann", "ann@example.com").await;
    world
}

async fn sent(world: &World, campaign: &str) -> usize {
    let all = world.messages().await;
    all.iter().filter(|message| message.campaign == campaign && is_sent(&message.status)).count()
}

#[tokio::test]
async fn for_thirty_seconds_apart_marketing_waits_all_else_goes_and_afterwards_all_goes_by_itself() {
    let redis = Redis::start();
    let wire = Wire::to(&redis);
    let mut world = shop(wire.url()).await;
    for n in 0..WAITING {
        world.identify(&format!("p{n}"), &format!("p{n}@example.com")).await;
    }
    world.track("ann", "Product Added", "c1").await;
    // The settle window passes.
    world.after(3).await;
    assert_eq!(sent(&world, "cart").await, 1);

    wire.let_pass(Passage::Lost);
    for n in 0..WAITING {
        world.track(&format!("p{n}"), "Product Added", "c1").await;
    }
    world.track("ann", "Product Added", "c2").await;
    for tenth in 0..3 {
        for name in ["Order Placed", "Product Viewed"] {
            world.track("ann", name, &format!("{tenth}")).await;
        }
        world.after(3).await;
        let went = (sent(&world, "receipt").await, sent(&world, "news").await, sent(&world, "cart").await);
        assert_eq!(went, (tenth + 1, tenth + 1, 1), "at {} s", tenth * 10 + 3);
        assert!(world.dispatcher.caps_unreachable());
        world.after(7).await;
    }
    world.track("ann", "Signed Up", "n1").await;
    world.after(3).await;
    assert_eq!(sent(&world, "note").await, 1, "it obeys no cap");
    // Each of the few tries touched one batch, and left the rest where it was.
    let mut touched = 0;
    for message in world.messages().await {
        let steps = world.store.workspace(world::HERE).steps_of(message.id).await.unwrap();
        touched += steps.iter().filter(|step| matches!(step.state, Status::Deferred { .. })).count();
    }
    assert!((1..=5 * BATCH).contains(&touched), "{touched} steps of messages that only waited");

    // The connections of before stay silent for ever: it must find another by itself.
    wire.let_pass(Passage::Open);
    world.after(11).await;
    world.until_asked().await;
    world.track("ann", "Product Added", "c3").await;
    world.after(3).await;
    assert_eq!(sent(&world, "cart").await, 1 + WAITING + 1, "c1, everybody's, and ann's third with the note");
    let waiting: Vec<_> = world.messages().await.into_iter().filter(|message| !is_sent(&message.status)).collect();
    assert_eq!(waiting.iter().map(reason_of).collect::<Vec<_>>(), ["capped"]);
    assert_eq!(world.most_within(Span::from_hours(20)).await, 3);
}

#[tokio::test]
async fn a_cluster_that_is_emptied_and_of_which_a_master_is_lost_lets_nothing_more_through() {
    let cluster = Arc::new(Mutex::new(Cluster::start()));
    let url = cluster.lock().unwrap().url();
    let mut world = shop(url).await;
    world.identify("bob", "ann@example.com").await;
    for (user, cart) in [("ann", "c1"), ("bob", "c2")] {
        let flushed = cluster.clone();
        world.before_the_claim(async move { flushed.lock().unwrap().flush() });
        world.track(user, "Product Added", cart).await;
        world.after(3).await;
    }
    assert_eq!(sent(&world, "cart").await, 2);
    for node in &mut cluster.lock().unwrap().0 {
        node.kill();
    }
    world.track("ann", "Product Added", "c3").await;
    world.track("ann", "Signed Up", "n1").await;
    world.after(3).await;
    assert_eq!((sent(&world, "cart").await, sent(&world, "note").await), (2, 1));
    {
        let mut cluster = cluster.lock().unwrap();
        cluster.0.iter_mut().for_each(Redis::come_back);
        cluster.until_whole();
    }
    world.until_asked().await;
    world.track("bob", "Product Added", "c4").await;
    world.after(3).await;
    assert_eq!(sent(&world, "cart").await, 2, "ann's address had three: two carts and the note");
    assert_eq!(world.most_within(Span::from_hours(20)).await, 3);
    world.after(20 * 3_600).await;
    assert_eq!(sent(&world, "cart").await, 4);
}

#[tokio::test]
async fn a_cluster_whose_replicas_take_over_a_slot_behind_lets_nothing_more_through() {
    let mut cluster = Cluster::start();
    let replicas = cluster.replicas();
    let mut world = shop([cluster.url(), replicas.each_ref().map(Redis::url).join(",")].join(",")).await;
    world.identify("bob", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.after(3).await;
    replicas.iter().zip(&cluster.0).for_each(|(replica, master)| replica.has_all_of(master));
    replicas.iter().zip(&cluster.0).for_each(|(replica, master)| replica.hears_no_more_of(master));
    world.track("bob", "Product Added", "c2").await;
    world.after(3).await;
    assert_eq!(sent(&world, "cart").await, 2);
    cluster.0.iter_mut().for_each(Redis::kill);
    world.track("ann", "Product Added", "c3").await;
    world.track("ann", "Order Placed", "o1").await;
    world.after(3).await;
    assert_eq!((sent(&world, "cart").await, sent(&world, "receipt").await), (2, 1), "nobody can be asked");
    replicas.iter().for_each(Redis::take_over);
    world.until_asked().await;
    world.track("bob", "Product Added", "c4").await;
    world.after(3).await;
    assert_eq!(sent(&world, "cart").await, 3, "the address of both had two");
    assert_eq!(world.most_within(Span::from_hours(20)).await, 3);
}
