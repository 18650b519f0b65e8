//! A process that dies at any point: nothing is lost, and nothing more is doubled than was promised.

use carillon::message::Outcome;

use super::world::{World, campaign};

const POINTS: [&str; 5] =
    ["dispatcher.claimed", "dispatcher.rendered", "dispatcher.sending", "dispatcher.sent", "dispatcher.outcome"];

async fn crash_at(point: &'static str, more: &str) -> World {
    let text = campaign("cart", "Product Added", more).replace("exit: [ { event: Order Completed } ]\n", "");
    let caps = "kind: caps\nrules: [ { at_most: 3, per: 1d } ]\n".to_owned();
    let mut world = World::with(&[text, caps]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.process().await;
    world.fail_at(point);
    world.dispatcher.tick(world.clock.now()).await.unwrap_err();
    let mut world = world.restart().await;
    world.settle().await;
    // Whatever was to be tried again has had its time.
    for _ in 0..5 {
        if let Some(next) = world.next_due().await {
            world.clock.advance_to(next);
        }
        world.settle().await;
    }
    world
}

#[tokio::test]
async fn marketing_is_never_doubled_and_what_may_have_gone_is_unknown() {
    for point in POINTS {
        let world = crash_at(point, "").await;
        let message = world.only().await;
        let handed = world.carrier.handed().len();
        let expected = match point {
            // Marked and not handed over, or handed over and not concluded: nobody can know.
            "dispatcher.sending" | "dispatcher.outcome" => ("unknown", 0),
            "dispatcher.sent" => ("unknown", 1),
            _ => ("sent", 1),
        };
        assert_eq!((message.status.name(), handed), expected, "{point}");
        assert!(message.slot_at.is_some(), "{point}: what may have arrived keeps its slot");
    }
}

#[tokio::test]
async fn transactional_mail_is_repeated_once_with_the_same_message_id() {
    for point in POINTS {
        let world = crash_at(point, "purpose: transactional").await;
        assert_eq!(world.statuses().await, ["sent"], "{point}");
        let handed = world.carrier.handed();
        assert_eq!(handed.len(), if point == "dispatcher.sent" { 2 } else { 1 }, "{point}");
        assert!(handed.iter().all(|one| one == &handed[0]), "{point}: {handed:?}");
    }
}

#[tokio::test]
async fn an_answer_lost_twice_is_not_repeated_again() {
    let text = campaign("receipt", "Order Completed", "purpose: transactional")
        .replace("exit: [ { event: Order Completed } ]\n", "");
    let mut world = World::with(&[text]).await;
    world.identify("ann", "ann@example.com").await;
    let lost = || Outcome::Unknown { cause: "the connection broke".into() };
    world.carrier.will([lost(), lost()]);
    world.track("ann", "Order Completed", "o1").await;
    world.settle().await;
    assert_eq!(world.statuses().await, ["retrying"]);
    world.after(3_600).await;
    assert_eq!(world.statuses().await, ["unknown"]);
    let told = world.explained().await;
    let once = "attempt 1 ended without an answer: the connection broke; nobody knows whether it was accepted";
    assert!(told.contains(once) && told.contains("attempt 2 began at") && !told.contains("was not accepted"), "{told}");
    assert_eq!(world.carrier.handed().len(), 2);
}

#[tokio::test]
async fn a_claim_whose_process_stalled_is_taken_up_when_its_lease_ends() {
    let mut world = World::with(&[campaign("cart", "Product Added", "")]).await;
    world.identify("ann", "ann@example.com").await;
    world.track("ann", "Product Added", "c1").await;
    world.process().await;
    world.fail_at("dispatcher.claimed");
    world.dispatcher.tick(world.clock.now()).await.unwrap_err();
    world.fail_at("nowhere");
    world.settle().await;
    assert_eq!(world.statuses().await, ["claimed"], "not before");
    world.after(60).await;
    let message = world.only().await;
    assert_eq!(world.path(message.id).await, ["queued", "claimed", "queued", "claimed", "sending", "sent"]);
}
