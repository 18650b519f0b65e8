//! A Redis that goes back in time between two sends, or in the middle of one: restarted with an old copy, failed over to
//! a replica that lost the last second, and back.

use std::sync::{Arc, Mutex};

use carillon::ids::Span;

use super::world::{World, campaign, is_sent, reason_of};
use crate::redis_servers::{Redis, Wire};
use crate::slots::Kept;

const THREE: &str = "kind: caps\nrules: [ { at_most: 3, per: 20h } ]\n";

/// Three may go to ann's address, which is bob's too.
async fn shop(url: String) -> World {
    let cart = campaign("cart", "Product Added", "caps: { when_capped: { defer: 23h } }");
    let mut world = World::keeping_slots(Kept::at(url)).await;
    world.apply(&[cart, THREE.to_owned()]).await;
    for user in ["ann", "bob"] {
        world.identify(user, "home@example.com").await;
    }
    world
}

async fn added(world: &mut World, user: &str, cart: &str) {
    world.track(user, "Product Added", cart).await;
    // Further apart than what is taken for the same thing twice.
    world.after(3).await;
    world.until_asked().await;
}

async fn three_and_no_fourth(world: &mut World) {
    let all = world.messages().await;
    assert_eq!(all.iter().filter(|message| is_sent(&message.status)).count(), 3);
    assert!(all.iter().filter(|message| !is_sent(&message.status)).all(|waits| reason_of(waits) == "capped"));
    assert_eq!(world.carrier.handed().len(), 3);
    let waiting = all.len() - 3;
    world.after(20 * 3_600).await;
    world.until_asked().await;
    assert_eq!(world.carrier.handed().len(), 3 + waiting.min(3), "what waited goes when slots are free");
    assert_eq!(world.most_within(Span::from_hours(20)).await, 3);
}

#[tokio::test]
async fn shut_down_without_saving_it_comes_back_with_an_old_copy_and_lets_nothing_more_through() {
    let mut redis = Redis::start();
    let mut world = shop(redis.url()).await;
    for (n, cart) in ["c1", "c2", "c3", "c4", "c5"].into_iter().enumerate() {
        added(&mut world, ["ann", "bob"][n % 2], cart).await;
        if n == 0 {
            redis.say::<redis::Value>("SAVE");
        }
        redis.shut_down();
        redis.come_back();
    }
    three_and_no_fourth(&mut world).await;
}

/// When the servers change places.
#[derive(Debug, Clone, Copy)]
enum Moment {
    BetweenSends,
    BeforeTheClaim,
    WithTheProvider,
}

#[tokio::test]
async fn failed_over_to_a_replica_that_lost_the_last_second_and_back_it_lets_nothing_more_through() {
    for moment in [Moment::BetweenSends, Moment::BeforeTheClaim, Moment::WithTheProvider] {
        let [old, new] = [(); 2].map(|()| Redis::start_with(&["--repl-diskless-sync-delay", "0"]));
        let wire = Arc::new(Wire::to(&old));
        let mut world = shop(wire.url()).await;
        added(&mut world, "ann", "c1").await;
        new.follow(&old);
        // What the master is told from now on, the replica never hears.
        new.say::<redis::Value>("REPLICAOF NO ONE");
        added(&mut world, "bob", "c2").await;
        let servers = Arc::new(Mutex::new([old, new]));
        for cart in ["c3", "c4", "c5", "c6"] {
            let (wire, servers) = (wire.clone(), servers.clone());
            let change = move || {
                let mut servers = servers.lock().unwrap();
                servers.swap(0, 1);
                wire.lead_to(&servers[0]);
                wire.cut();
            };
            match moment {
                Moment::BetweenSends => change(),
                Moment::BeforeTheClaim => world.before_the_claim(async move { change() }),
                Moment::WithTheProvider => world.carrier.meanwhile(async move { change() }),
            }
            added(&mut world, "ann", cart).await;
        }
        three_and_no_fourth(&mut world).await;
    }
}
