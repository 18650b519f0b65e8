//! Who is claimed, and who is not.

use carillon::eventlog::Queue;
use carillon::ids::Span;
use carillon::message::{Reason, Status};
use carillon::store::workspace;
use carillon::worker::dispatcher::requeue_paused;
use carillon::worker::leases::{Lease, Leases};

use crate::database::Backend;

use super::world::{FAR, HERE, World, campaign, is_sent, reason_of};

fn cart(more: &str) -> String {
    campaign("cart", "Product Added", more)
}

#[tokio::test]
async fn an_event_becomes_a_message_with_its_whole_path() {
    let mut world = World::with(&[cart("")]).await;
    world.identify("ann", "Ann@Example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    let message = world.only().await;
    assert_eq!(world.path(message.id).await, ["queued", "claimed", "sending", "sent"]);
    assert_eq!(message.address.as_deref(), Some("ann@example.com"));
    assert_eq!((message.attempts, message.template_version), (1, Some(1)));
    let attempts = world.store.workspace(HERE).attempts_of(message.id).await.unwrap();
    assert!(attempts.len() == 1 && attempts[0].outcome.is_some());
    assert_eq!(world.carrier.handed(), [(message.id, format!("<{}@shop.example>", message.id))]);
    let enrollment = world.store.workspace(HERE).enrollment(message.enrollment).await.unwrap().unwrap();
    assert_eq!(enrollment.state.name(), "completed");
    assert_eq!(world.next_due().await, None);
}

#[tokio::test]
async fn nobody_is_written_to_while_the_log_knows_more_of_them() {
    let mut world = World::with(&[cart("")]).await;
    world.identify("ann", "ann@example.com").await;
    world.identify("bob", "bob@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.track("bob", "Product Added", "c2").await;
    world.process().await;
    // Ann buys; nobody has read it yet.
    world.track("ann", "Order Completed", "c1").await;
    while world.dispatcher.tick(world.clock.now()).await.unwrap() > 0 {}
    let sent: Vec<bool> = world.messages().await.iter().map(|message| is_sent(&message.status)).collect();
    assert_eq!(sent, [false, true], "bob has his, ann waits");
    assert_eq!(world.path(world.messages().await[0].id).await, ["queued"], "not even claimed");
    world.settle().await;
    let message = world.messages().await.remove(0);
    assert!(
        matches!(&message.status, Status::Cancelled { reason: Reason::Exited { by, .. }, .. } if by == "Order Completed")
    );
    assert_eq!(world.carrier.handed().len(), 1);
}

/// Six people of one domain with a message each: until it has answered, one of them is under way.
async fn six() -> World {
    let mut world = World::with(&[cart("")]).await;
    for n in 0..6 {
        world.identify(&format!("p{n}"), &format!("p{n}@example.com")).await;
    }
    for n in 0..6 {
        world.track(&format!("p{n}"), "Product Added", "c").await;
        world.clock.advance(Span::from_millis(1));
    }
    world.process().await;
    world
}

#[tokio::test]
async fn a_purchase_between_the_guard_and_the_claim_is_in_time() {
    let mut world = World::with(&[cart(""), FAR.to_owned()]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.process().await;
    let (log, bought) = (world.log.clone(), world.call("ann", "Order Completed", "c1"));
    world.before_the_claim(async move { drop(log.append(HERE, vec![bought]).await.unwrap()) });
    assert_eq!(world.dispatcher.tick(world.clock.now()).await.unwrap(), 0, "nothing can be done before it is read");
    world.settle().await;
    assert_eq!(world.path(world.only().await.id).await, ["queued", "cancelled"], "never claimed");
}

/// To see it fail, let `claiming::store` store every move of its plan.
#[tokio::test]
async fn who_was_capped_by_a_slot_that_nobody_took_after_all_is_asked_again() {
    let one_a_day = "kind: caps\nrules: [ { at_most: 1, per: 1d } ]\n".to_owned();
    let mut world = World::with(&[cart("priority: 90"), campaign("note", "Signed Up", ""), one_a_day]).await;
    for user in ["ann", "ben"] {
        world.identify(user, "family@example.com").await;
    }
    world.track("ann", "Product Added", "c1").await;
    world.track("ben", "Signed Up", "c2").await;
    world.process().await;
    world.clock.advance(Span::from_seconds(3));
    // Ann's has the slot, and she buys before it is claimed.
    let (log, bought) = (world.log.clone(), world.call("ann", "Order Completed", "c1"));
    world.before_the_claim(async move { drop(log.append(HERE, vec![bought]).await.unwrap()) });
    world.settle().await;
    let mut paths = Vec::new();
    for message in world.messages().await {
        paths.push((message.campaign.clone(), world.path(message.id).await.join(" ")));
    }
    paths.sort();
    let [cart, note] = [("cart", "queued cancelled"), ("note", "queued claimed sending sent")];
    assert_eq!(paths, [cart, note].map(|(campaign, path)| (campaign.to_owned(), path.to_owned())));
}

#[tokio::test]
async fn a_purchase_between_claim_and_first_byte_is_in_time() {
    let mut world = six().await;
    let (log, bought) = (world.log.clone(), world.call("p5", "Order Completed", "c"));
    world.carrier.meanwhile(async move { drop(log.append(HERE, vec![bought]).await.unwrap()) });
    world.dispatcher.tick(world.clock.now()).await.unwrap();
    assert_eq!(world.carrier.handed().len(), 5);
    let last = world.messages().await.pop().unwrap();
    assert_eq!(world.path(last.id).await, ["queued", "claimed", "queued"], "put back before its first byte");
    world.settle().await;
    assert_eq!(world.path(last.id).await, ["queued", "claimed", "queued", "cancelled"]);
    assert_eq!(world.carrier.handed().len(), 5);
}

#[tokio::test]
async fn a_pause_between_claim_and_first_byte_is_in_time() {
    let mut world = six().await;
    let (log, now) = (world.log.clone(), world.clock.now());
    world.carrier.meanwhile(async move {
        let paused = log.writer().change(Queue::Effects, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, HERE).set_paused("cart", true, now).await?) })
        });
        paused.await.unwrap();
    });
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 1);
    let held: Vec<_> = world.messages().await.into_iter().filter(|message| !is_sent(&message.status)).collect();
    assert!(held.len() == 5 && held.iter().all(|message| reason_of(message) == "campaign_paused"));
}

#[tokio::test]
async fn a_claim_that_grew_old_under_a_slow_provider_is_not_begun() {
    let mut world = six().await;
    let clock = world.clock.clone();
    world.carrier.meanwhile(async move { clock.advance(Span::from_seconds(31)) });
    world.dispatcher.tick(world.clock.now()).await.unwrap();
    assert_eq!(world.carrier.handed().len(), 1);
    assert_eq!(world.statuses().await[1..], ["queued"; 5]);
    world.settle().await;
    world.after(60).await;
    assert_eq!(world.carrier.handed().len(), 6);
}

#[tokio::test]
async fn a_crash_after_the_claim_leaves_the_message_to_the_guard() {
    let mut world = World::with(&[cart("")]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.process().await;
    world.fail_at("dispatcher.claimed");
    world.dispatcher.tick(world.clock.now()).await.unwrap_err();
    assert_eq!(world.statuses().await, ["claimed"]);
    let mut world = world.restart().await;
    world.track("ann", "Order Completed", "c1").await;
    world.settle().await;
    assert_eq!(world.statuses().await, ["cancelled"]);
    assert!(world.carrier.handed().is_empty());
}

#[tokio::test]
async fn a_pause_holds_and_its_end_releases() {
    let mut world = World::with(&[cart("")]).await;
    world.identify("ann", "ann@example.com").await;
    world.pause("all", true).await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(reason_of(&world.only().await), "sending_paused");
    assert_eq!(requeue_paused(&world.log, HERE, "all", world.clock.now()).await.unwrap(), 0, "still paused");
    world.pause("all", false).await;
    world.pause("cart", true).await;
    assert_eq!(requeue_paused(&world.log, HERE, "all", world.clock.now()).await.unwrap(), 1);
    world.settle().await;
    assert_eq!(reason_of(&world.only().await), "campaign_paused");
    world.pause("cart", false).await;
    assert_eq!(requeue_paused(&world.log, HERE, "other", world.clock.now()).await.unwrap(), 0);
    assert_eq!(requeue_paused(&world.log, HERE, "cart", world.clock.now()).await.unwrap(), 1);
    world.settle().await;
    assert_eq!(world.statuses().await, ["sent"]);
}

#[tokio::test]
async fn what_nobody_wants_any_more_expires() {
    let mut world = World::with(&[cart("")]).await;
    world.identify("ann", "ann@example.com").await;
    world.pause("all", true).await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    world.after(25 * 3_600).await;
    assert_eq!(reason_of(&world.only().await), "expired");
    assert_eq!(world.statuses().await, ["suppressed"]);
}

#[tokio::test]
async fn a_person_without_an_address_is_never_written_to() {
    let mut world = World::with(&[cart("")]).await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert_eq!(reason_of(&world.only().await), "no_address");
}

#[tokio::test]
async fn two_dispatchers_on_one_database_send_each_message_once() {
    let mut world = World::with(&[cart("")]).await;
    for n in 0..150 {
        world.identify(&format!("p{n}"), &format!("p{n}@example.com")).await;
        world.track(&format!("p{n}"), "Product Added", "c").await;
    }
    world.process().await;
    let other = world.another_dispatcher();
    let now = world.clock.now();
    for _ in 0..200 {
        let (one, two) = tokio::join!(world.dispatcher.tick(now), other.tick(now));
        if one.unwrap() + two.unwrap() == 0 {
            break;
        }
    }
    // Where they disturbed each other over a person's slots, the message waits a moment.
    world.after(2).await;
    let mut handed: Vec<_> = world.carrier.handed().into_iter().map(|(message, _)| message).collect();
    assert_eq!(handed.len(), 150);
    handed.sort_unstable();
    handed.dedup();
    assert_eq!(handed.len(), 150, "none twice");
    assert!(world.statuses().await.iter().all(|status| *status == "sent"));
}

#[tokio::test]
async fn transactional_mail_goes_before_marketing_that_was_due_earlier() {
    let receipt = campaign("receipt", "Order Completed", "purpose: transactional")
        .replace("exit: [ { event: Order Completed } ]\n", "");
    let mut world = World::with(&[cart(""), receipt]).await;
    for n in 0..80 {
        world.identify(&format!("p{n}"), &format!("p{n}@example.com")).await;
        world.track(&format!("p{n}"), "Product Added", "c").await;
    }
    world.process().await;
    world.clock.advance(Span::from_seconds(5));
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Order Completed", "o1").await;
    world.settle().await;
    let receipt = world.messages().await.into_iter().find(|message| message.campaign == "receipt").unwrap();
    assert_eq!(world.carrier.handed()[0].0, receipt.id);
    assert_eq!(world.carrier.handed().len(), 81);
}

/// To see it fail, let `leases::owned` name every shard, or `Leases::is_sure` be sure of each.
#[tokio::test]
async fn nothing_goes_to_people_whose_shard_may_be_anothers_by_now() {
    let world = World::with(&[cart("")]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    let mut world = world;
    world.process().await;
    let now = world.clock.now();
    let all = |lease: Lease| Leases::holding(world.store.layout().all().iter().map(|shard| (shard, lease)).collect());
    let (taken, lapsed) = (
        all(Lease { token: Some(4_711), until: None }),
        all(Lease { token: None, until: Some(std::time::Duration::ZERO) }),
    );
    let message = world.only().await.id;
    if matches!(super::BACKEND, Backend::Postgres) {
        // Somebody else took them, under another token.
        world = world.holding(taken);
        world.dispatcher.tick(now).await.unwrap();
        assert_eq!(world.path(message).await, ["queued"], "not even claimed");
    }
    // The process slept through the end of its lease.
    world = world.holding(lapsed);
    world.dispatcher.advance(now).await.unwrap();
    assert!(world.carrier.handed().is_empty(), "{:?}", world.path(message).await);
    assert_eq!(world.path(message).await[..3], ["queued", "claimed", "sending"]);
}
