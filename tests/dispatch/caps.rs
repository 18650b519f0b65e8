//! Frequency caps from event to reason.

use carillon::eventlog::Queue;
use carillon::ids::Timestamp;
use carillon::message::{Outcome, Reason, Status};
use carillon::store::outbox::CapSubject;
use carillon::store::workspace;

use super::world::{HERE, World, campaign, is_sent, reason_of, retry};

const THREE_A_DAY: &str = "kind: caps\nrules: [ { at_most: 3, per: 1d } ]\n";

async fn shop(more: &str) -> World {
    let world = World::with(&[campaign("cart", "Product Added", more), THREE_A_DAY.to_owned()]).await;
    world.identify("ann", "ann@example.com").await;
    world
}

#[tokio::test]
async fn the_fourth_of_a_day_is_capped_and_names_the_three() {
    let mut world = shop("").await;
    for cart in ["c1", "c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
    }
    world.settle().await;
    let all = world.messages().await;
    let (sent, capped): (Vec<_>, Vec<_>) = all.into_iter().partition(|message| is_sent(&message.status));
    assert_eq!((sent.len(), capped.len()), (3, 1));
    let Status::Suppressed { reason: Reason::Capped { by, rule, .. }, .. } = &capped[0].status else {
        panic!("{:?}", capped[0].status)
    };
    let mut ids: Vec<_> = sent.iter().map(|message| message.id).collect();
    let mut by = by.clone();
    ids.sort_unstable();
    by.sort_unstable();
    assert_eq!(by, ids);
    assert_eq!(rule, "at most 3 per 1d");
    let subject = world.store.workspace(HERE).cap_subject("email:ann@example.com").await.unwrap().unwrap();
    assert_eq!(subject.step, 3);
}

#[tokio::test]
async fn a_restart_forgets_no_slot_and_the_next_day_has_room() {
    let mut world = shop("").await;
    for cart in ["c1", "c2"] {
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
    }
    let mut world = world.restart().await;
    for cart in ["c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
    }
    assert_eq!(world.carrier.handed().len(), 3);
    world.after(86_400).await;
    world.track("ann", "Product Added", "c5").await;
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 4);
}

#[tokio::test]
async fn one_address_of_two_people_has_one_cap() {
    let mut world = shop("").await;
    world.identify("bob", "ANN@example.com").await;
    for (user, cart) in [("ann", "c1"), ("bob", "c2"), ("ann", "c3"), ("bob", "c4")] {
        world.track(user, "Product Added", cart).await;
        // Further apart than what is taken for the same thing twice.
        world.after(3).await;
    }
    assert_eq!(world.carrier.handed().len(), 3);
}

#[tokio::test]
async fn a_refused_message_gives_its_slot_back() {
    let mut world = shop("").await;
    world.carrier.will([Outcome::Rejected { cause: "550 5.7.1 policy".into(), suppress: false }]);
    for cart in ["c1", "c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
    }
    let mut statuses = world.statuses().await;
    statuses.sort_unstable();
    assert_eq!(statuses, ["failed", "sent", "sent", "sent"]);
    let failed = world.messages().await.into_iter().find(|message| message.status.name() == "failed").unwrap();
    assert_eq!(failed.slot_at, None);
}

#[tokio::test]
async fn a_deferred_message_waits_for_the_slot_that_frees() {
    let mut world = shop("caps: { when_capped: { defer: 23h } }").await;
    for cart in ["c1", "c2", "c3"] {
        world.track("ann", "Product Added", cart).await;
    }
    world.settle().await;
    world.after(3 * 3_600).await;
    world.track("ann", "Product Added", "c4").await;
    world.settle().await;
    let message = world.messages().await.pop().unwrap();
    assert_eq!((message.status.name(), reason_of(&message)), ("deferred", "capped"));
    assert_eq!(message.capped_at, Some(world.clock.now()));
    let next = world.next_due().await.unwrap();
    world.clock.advance_to(next);
    world.settle().await;
    assert!(world.messages().await.iter().all(|message| is_sent(&message.status)));
}

#[tokio::test]
async fn where_the_campaign_says_so_a_cap_ends_the_enrollment() {
    let mut world = shop("caps: { when_capped: exit }").await;
    for cart in ["c1", "c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
    }
    world.settle().await;
    let capped = world.messages().await.into_iter().find(|message| message.status.name() == "suppressed").unwrap();
    let enrollment = world.store.workspace(HERE).enrollment(capped.enrollment).await.unwrap().unwrap();
    assert_eq!(enrollment.state.name(), "exited");
}

#[tokio::test]
async fn the_higher_priority_gets_the_last_slot_although_it_came_later() {
    let one = "kind: caps\nrules: [ { at_most: 1, per: 1d } ]\n".to_owned();
    let weak = campaign("weak", "Product Viewed", "priority: 10");
    let strong = campaign("strong", "Product Added", "priority: 90");
    let mut world = World::with(&[weak, strong, one]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Viewed", "c1").await;
    world.settle().await;
    world.after(1).await;
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    world.after(1).await;
    world.after(1).await;
    let all = world.messages().await;
    let of = |key: &str| all.iter().find(|message| message.campaign == key).unwrap();
    assert_eq!(of("strong").status.name(), "sent");
    assert!(matches!(&of("weak").status,
        Status::Suppressed { reason: Reason::Capped { by, .. }, .. } if *by == [of("strong").id]));
}

/// The campaigns whose messages were handed over, in order.
async fn in_turn(world: &World) -> Vec<String> {
    let all = world.messages().await;
    let campaign = |id| all.iter().find(|one| one.id == id).unwrap().campaign.clone();
    world.carrier.handed().into_iter().map(|(message, _)| campaign(message)).collect()
}

#[tokio::test]
async fn a_slot_that_frees_goes_to_the_most_important_of_those_that_wait() {
    let one = "kind: caps\nrules: [ { at_most: 1, per: 6h } ]\n".to_owned();
    let of = |key: &str, event: &str, priority: u8| {
        campaign(key, event, &format!("priority: {priority}\ncaps: {{ when_capped: {{ defer: 20h }} }}"))
    };
    let (weak, strong) = (of("weak", "Product Viewed", 10), of("strong", "Product Added", 90));
    let mut world = World::with(&[weak, strong, of("first", "Signed Up", 50), one]).await;
    world.identify("ann", "ann@example.com").await;
    for name in ["Signed Up", "Product Viewed", "Product Added"] {
        world.track("ann", name, "c1").await;
        world.settle().await;
        // The settle window passes.
        world.after(5).await;
        world.after(3_595).await;
    }
    assert_eq!(in_turn(&world).await, ["first"]);
    world.after(3 * 3_600 + 5).await;
    assert_eq!(in_turn(&world).await, ["first", "strong"]);
    let all = world.messages().await;
    let of = |key: &str| all.iter().find(|message| message.campaign == key).unwrap();
    assert!(matches!(&of("weak").status,
        Status::Deferred { reason: Reason::Capped { by, .. }, .. } if *by == [of("strong").id]));
    world.after(6 * 3_600).await;
    assert_eq!(in_turn(&world).await, ["first", "strong", "weak"]);
}

#[tokio::test]
async fn a_slot_given_back_goes_at_once_to_whoever_waits_for_it() {
    let one = "kind: caps\nrules: [ { at_most: 1, per: 20h } ]\n".to_owned();
    let cart = campaign("cart", "Product Added", "caps: { when_capped: { defer: 23h } }");
    let mut world = World::with(&[cart, one]).await;
    world.identify("ann", "ann@example.com").await;
    world.carrier.will([retry("451 later"), Outcome::Rejected { cause: "550 5.7.1 policy".into(), suppress: false }]);
    for cart in ["c1", "c2"] {
        world.track("ann", "Product Added", cart).await;
        world.settle().await;
    }
    let mut statuses = world.statuses().await;
    statuses.sort_unstable();
    assert_eq!(statuses, ["deferred", "retrying"]);
    world.after(100).await;
    let mut statuses = world.statuses().await;
    statuses.sort_unstable();
    assert_eq!(statuses, ["failed", "sent"]);
}

#[tokio::test]
async fn two_dispatchers_with_their_own_cap_stores_exceed_no_cap() {
    let mut world = shop("").await;
    for cart in 0..20 {
        world.track("ann", "Product Added", &format!("c{cart}")).await;
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
    world.after(2).await;
    assert_eq!(world.carrier.handed().len(), 3);
    assert!(world.messages().await.iter().all(|message| message.status.is_final()));
}

#[tokio::test]
async fn a_message_stopped_between_two_tries_gives_its_slot_back() {
    let mut world = shop("").await;
    world.carrier.will([retry("451 later")]);
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    assert!(world.only().await.slot_at.is_some(), "a retry keeps its slot");
    world.track("ann", "Order Completed", "c1").await;
    world.settle().await;
    assert_eq!((world.only().await.status.name(), world.only().await.slot_at), ("cancelled", None));
    for cart in ["c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
    }
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 4, "the try and three messages");
}

#[tokio::test]
async fn whoever_moves_to_another_address_leaves_the_slot_of_the_old_one() {
    let mut world = shop("").await;
    world.carrier.will([retry("451 later")]);
    world.track("ann", "Product Added", "c1").await;
    world.settle().await;
    world.identify("ann", "ann@example.org").await;
    world.after(100).await;
    assert_eq!(world.statuses().await, ["sent"]);
    let old = world.store.workspace(HERE).cap_subject("email:ann@example.com").await.unwrap().unwrap();
    let new = world.store.workspace(HERE).cap_subject("email:ann@example.org").await.unwrap().unwrap();
    assert_eq!((old.step, new.step), (2, 1), "taken and left; taken");
    world.identify("bob", "ann@example.com").await;
    for cart in ["c2", "c3", "c4", "c5"] {
        world.track("bob", "Product Added", cart).await;
    }
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 2 + 3, "the old address has all its slots");
}

#[tokio::test]
async fn a_claim_whose_subject_moved_meanwhile_is_abandoned_and_starts_over() {
    let mut world = shop("").await;
    world.track("ann", "Product Added", "c1").await;
    world.process().await;
    let (log, profile) = (world.log.clone(), world.only().await.profile);
    let name = format!("profile:{profile}");
    let subject = name.clone();
    world.before_the_claim(async move {
        let elsewhere = CapSubject { step: 1, chain: vec![9; 16], horizon_ms: 0, last_slot_at: Timestamp::default() };
        let moved = log.writer().change(Queue::Sends, move |tx, _| {
            Box::pin(async move { Ok(workspace(tx, HERE).move_cap_subject(&subject, None, &elsewhere).await?) })
        });
        assert!(moved.await.unwrap());
    });
    world.settle().await;
    assert_eq!(world.path(world.only().await.id).await, ["queued", "claimed", "sending", "sent"]);
    assert_eq!(world.store.workspace(HERE).cap_subject(&name).await.unwrap().unwrap().step, 2, "theirs, then ours");
}
