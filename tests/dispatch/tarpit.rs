//! A large campaign to one provider that takes a mail each six seconds: who waits for it is looked at when it may go, and
//! not again and again, and nobody else's mail waits behind the looking.
//!
//! To see it fail, let `Domains::next_turn` end at a minute from now, or `Dispatcher::call_up` call nobody.

use std::sync::Arc;

use carillon::ids::{Span, Timestamp};
use carillon::store::Rows;

use crate::database::Backend;

use super::hanging::{CONNECTIONS, Provider, accepted};
use super::world::{HERE, World, campaign, reason_of};

/// Takes all mail, each after a while.
const TARPIT: &str = "tarpit.example";
/// PostgreSQL is asked the same, for less long.
const LETTERS: usize = if matches!(super::BACKEND, Backend::Sqlite) { 5_000 } else { 1_000 };
const MINUTES: usize = if matches!(super::BACKEND, Backend::Sqlite) { 60 } else { 10 };
/// What a batch that was claimed and given back writes.
const CLAIMED: usize = 4 * 64;
/// Ticks until somebody else's mail is with the provider: one looks at the batch in which it stands.
const TICKS_MAX: usize = 3;

fn six_seconds_there(to: &str) -> Span {
    Span::from_millis(if to.ends_with(TARPIT) { 6_000 } else { 30 })
}

async fn count(world: &World, sql: &str) -> usize {
    let counted: Option<i64> = Rows(world.store.reader()).scalar(sql, vec![]).await.unwrap();
    usize::try_from(counted.unwrap()).unwrap()
}

/// Lets the dispatcher do all it can do now; how many rows it changed, and after how many ticks there was mail to `until`.
async fn dispatch(world: &World, provider: &Provider, until: &str) -> (usize, usize) {
    let (mut changed, mut ticks, mut began) = (0, 0, 0);
    loop {
        while world.dispatcher.unanswered() > provider.pending() {
            tokio::task::yield_now().await;
        }
        let count = world.dispatcher.advance(world.clock.now()).await.unwrap();
        ticks += 1;
        if began == 0 && provider.began(until).is_some() {
            began = ticks;
        }
        if count == 0 {
            return (changed, began);
        }
        changed += count;
    }
}

/// Goes on until `end`, from one instant at which something is due to the next.
async fn live_until(world: &World, provider: &Provider, end: Timestamp) -> usize {
    let mut changed = 0;
    loop {
        let instants = [provider.next_end(), world.next_due().await];
        match instants.into_iter().flatten().min().filter(|next| *next <= end) {
            Some(next) => world.clock.advance_to(next),
            None => break,
        }
        provider.answer();
        changed += dispatch(world, provider, "").await.0;
    }
    world.clock.advance_to(end);
    changed
}

/// So many carts, all with the tarpit.
async fn campaign_to_a_tarpit(letters: usize) -> (World, Provider) {
    let receipt = campaign("receipt", "Order Paid", "purpose: transactional\n");
    let mut world = World::with(&[campaign("cart", "Product Added", ""), receipt]).await;
    let provider = Provider::new(world.clock.clone(), six_seconds_there, |_| accepted());
    world.carried_by(Arc::new(provider.clone()), CONNECTIONS);
    let people: Vec<usize> = (0..letters).collect();
    for slice in people.chunks(500) {
        let known = slice.iter().map(|n| world.introduced(&format!("t{n}"), &format!("t{n}@{TARPIT}")));
        world.log.append(HERE, known.collect()).await.unwrap();
        let added = slice.iter().map(|n| world.call(&format!("t{n}"), "Product Added", "c"));
        world.log.append(HERE, added.collect()).await.unwrap();
    }
    world.process().await;
    dispatch(&world, &provider, "").await;
    (world, provider)
}

#[tokio::test]
async fn a_large_campaign_to_one_slow_domain_is_not_looked_at_again_and_again_and_delays_nobody() {
    let (mut world, provider) = campaign_to_a_tarpit(LETTERS).await;
    let start = world.clock.now();
    let steps = "SELECT count(*) FROM message_states";
    let (before, mut changed) = (count(&world, steps).await, 0);
    for minute in 1..=MINUTES {
        let end = start.plus_millis(60_000 * i64::try_from(minute).unwrap());
        changed += live_until(&world, &provider, end).await;
        let other = format!("o{minute}@other.example");
        world.identify(&format!("o{minute}"), &other).await;
        world.track(&format!("o{minute}"), "Product Added", "c").await;
        world.process().await;
        let (more, ticks) = dispatch(&world, &provider, &other).await;
        changed += more;
        assert_eq!(provider.began(&other), Some(world.clock.now()), "minute {minute}");
        assert!(ticks <= TICKS_MAX, "minute {minute}: {ticks} ticks until anybody else's mail went");
    }
    let taken = provider.taken_by(TARPIT);
    assert!((9 * MINUTES..=10 * MINUTES + 5).contains(&taken), "ten a minute is what it takes: {taken}");
    // Claimed, sending and sent of each that went, the same and queued of the others', and what goes back of a claim; once
    // for all what was claimed before the domain was known to be slow.
    let written = count(&world, steps).await - before;
    assert!(written <= 6 * (taken + MINUTES) + CLAIMED, "{written} steps for {taken} mails");
    assert!(changed <= 8 * (taken + MINUTES) + CLAIMED, "{changed} rows changed for {taken} mails");
}

#[tokio::test]
async fn a_password_does_not_wait_behind_a_campaign_to_the_same_slow_domain() {
    let (mut world, provider) = campaign_to_a_tarpit(300).await;
    let now = world.clock.now().plus(Span::from_seconds(600));
    live_until(&world, &provider, now).await;
    world.track("t299", "Order Paid", "c").await;
    world.process().await;
    let before = provider.taken_by(TARPIT);
    let receipts = "SELECT count(*) FROM messages WHERE campaign = 'receipt' AND status = 'sent'";
    live_until(&world, &provider, now.plus(Span::from_seconds(60))).await;
    assert_eq!(count(&world, receipts).await, 1, "{} went before it", provider.taken_by(TARPIT) - before);
}

#[tokio::test]
async fn who_waits_for_a_slow_domain_goes_as_soon_as_it_is_quick() {
    let (world, provider) = campaign_to_a_tarpit(1_000).await;
    let now = world.clock.now().plus(Span::from_seconds(60));
    live_until(&world, &provider, now).await;
    assert!(provider.taken_by(TARPIT) < 20);
    provider.will_take(|_| Span::from_millis(30));
    live_until(&world, &provider, now.plus(Span::from_seconds(60))).await;
    assert_eq!(provider.taken_by(TARPIT), 1_000, "all of it within a minute, and not by turns of six seconds");
    assert_eq!(count(&world, "SELECT count(*) FROM messages WHERE status = 'sent'").await, 1_000);
}

#[tokio::test]
async fn after_a_restart_nobody_keeps_a_turn_that_only_the_process_before_knew_the_reason_of() {
    let (world, provider) = campaign_to_a_tarpit(300).await;
    live_until(&world, &provider, world.clock.now().plus(Span::from_seconds(30))).await;
    let waiting = world.messages().await.iter().filter(|message| reason_of(message) == "domain_slow").count();
    assert!(waiting > 280, "{waiting}");
    let mut world = world.restart().await;
    let start = world.clock.now();
    let sent = async |world: &World| count(world, "SELECT count(*) FROM messages WHERE status = 'sent'").await;
    world.settle().await;
    while sent(&world).await < 290 && world.clock.now() < start.plus(Span::from_seconds(60)) {
        let next = world.next_due().await.expect("something is due");
        world.clock.advance_to(next);
        world.settle().await;
    }
    assert!(sent(&world).await >= 290, "{}", sent(&world).await);
}
