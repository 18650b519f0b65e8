//! What is left when the power goes: a house under load on a disk that forgets what was not synced, and the house that
//! opens on what that disk still has.
//!
//! Every event that was answered for is there, no marketing message goes out twice, and the books balance. The same loss
//! with commits that are not synced (`synchronous=NORMAL`) loses accepted events: so the test can fail. And what a disk
//! without room refuses is refused, and nothing else is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "some of it serves the simulation")]
#[path = "../simulation/chance.rs"]
mod chance;
mod house;

use carillon::message::Purpose;

use chance::Chance;
use house::{House, Life, Synced};

/// Losses of power, each in a life of its own.
const CUTS: u64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_there_when_the_power_comes_back_and_nothing_goes_out_twice() {
    let (mut forgotten, mut sent) = (0, 0);
    for seed in 0..CUTS {
        let life = House::until_the_power_goes(&mut Chance::new(seed), Synced::EachCommit).await;
        forgotten += life.loss.forgotten;
        sent += life.taken.len();
        let Life { accepted, taken, left, .. } = life;
        let after = House::on(left).await;
        let missing = after.missing(&accepted).await;
        assert_eq!(missing, Vec::<String>::new(), "seed {seed}: accepted, and lost with the power");
        after.come_to_rest().await;
        after.check_books().await;
        let again = after.taken();
        for (message, (times, purpose)) in &again {
            let before = taken.get(message).map_or(0, |(times, _)| *times);
            assert!(*purpose != Purpose::Marketing || before + times <= 1, "seed {seed}: {message} went out again");
        }
        let orders = i64::try_from(accepted.len() / 2).unwrap();
        assert!(after.created("thanks").await >= orders, "seed {seed}: an order without its message");
    }
    assert!(forgotten > 100, "the disk forgot too little to show anything: {forgotten} sectors");
    assert!(sent > 100, "too little was sent before: {sent}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_not_synced_are_lost_with_the_power() {
    let mut missing = 0;
    for seed in 0..4 {
        let life = House::until_the_power_goes(&mut Chance::new(seed), Synced::Sometimes).await;
        let after = House::on(life.left).await;
        missing += after.missing(&life.accepted).await.len();
    }
    assert!(missing > 0, "a disk that forgets took nothing: this test could not fail");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_while_the_disk_has_no_room_and_after_is_there() {
    for seed in 0..CUTS {
        let mut chance = Chance::new(seed);
        let house = House::on(tempfile::tempdir().unwrap()).await;
        let (accepted, refused) = house.on_a_full_disk(&mut chance).await;
        assert!(refused > 0 && !accepted.is_empty(), "seed {seed}: the disk was never full, or always");
        let after = House::on(house.closed().await).await;
        assert_eq!(after.missing(&accepted).await, Vec::<String>::new(), "seed {seed}: accepted and not stored");
        after.come_to_rest().await;
        after.check_books().await;
    }
}
