//! Messages that wait for a slot are looked at once when one frees, and not before: no storms of reschedules. And what
//! moves the windows while they wait: longer rules, clocks that differ, people who turn out to be one.

use std::collections::BTreeSet;

use carillon::ids::{Span, Timestamp};
use carillon::message::{Outcome, Reason, Status};

use super::world::{HERE, World, campaign, is_sent, retry};

const WAITING: usize = 90;

async fn shop(rules: &str) -> World {
    let cart = campaign("cart", "Product Added", "caps: { when_capped: { defer: 23h } }");
    let world = World::with(&[cart, format!("kind: caps\nrules: {rules}\n")]).await;
    world.identify("ann", "ann@example.com").await;
    world
}

/// Instants at which messages that wait for a slot were looked at and told to wait on, and how often each was.
async fn wakes(world: &World) -> (BTreeSet<Timestamp>, usize) {
    let (mut instants, mut most) = (BTreeSet::new(), 0);
    for message in world.messages().await {
        let steps = world.store.workspace(HERE).steps_of(message.id).await.unwrap();
        let capped = |state: &Status| matches!(state, Status::Deferred { reason: Reason::Capped { .. }, .. });
        let waits: Vec<Timestamp> = steps.iter().filter(|step| capped(&step.state)).map(|step| step.at).collect();
        most = most.max(waits.len());
        instants.extend(waits);
    }
    (instants, most)
}

#[tokio::test]
async fn many_that_wait_for_slots_wake_once_for_each_that_frees() {
    let mut world = shop("[ { at_most: 1, per: 6h } ]").await;
    for n in 0..=WAITING {
        world.track("ann", "Product Added", &format!("c{n}")).await;
    }
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 1);
    assert_eq!(wakes(&world).await.0.len(), 1, "all were told at once");
    for freed in 1..=3 {
        let due = world.next_due().await.unwrap();
        assert_eq!(due, Timestamp::from_millis(super::world::START + freed * 6 * 3_600_000));
        // Nothing is due in between, however often somebody looks.
        world.after(3_600).await;
        assert_eq!(world.dispatcher.tick(world.clock.now()).await.unwrap(), 0);
        world.clock.advance_to(due);
        world.settle().await;
        assert_eq!(world.carrier.handed().len() as i64, 1 + freed, "one slot, one message");
        let (instants, most) = wakes(&world).await;
        assert_eq!((instants.len() as i64, most as i64), (1 + freed, 1 + freed), "one wake for the slot");
    }
}

#[tokio::test]
async fn a_slot_given_back_wakes_those_that_wait_once() {
    let mut world = shop("[ { at_most: 1, per: 20h } ]").await;
    world.carrier.will([retry("451 later"), Outcome::Rejected { cause: "550 5.7.1 policy".into(), suppress: false }]);
    for n in 0..20 {
        world.track("ann", "Product Added", &format!("c{n}")).await;
        world.settle().await;
    }
    let before = wakes(&world).await.0.len();
    world.after(100).await;
    assert_eq!(world.carrier.handed().len(), 3, "two tries of the first, and whoever took its slot");
    let (instants, most) = wakes(&world).await;
    assert_eq!((instants.len() - before, most), (usize::from(instants.len() > before), 2));
    assert!(world.next_due().await.unwrap() > world.clock.now().plus(Span::from_hours(19)));
}

#[tokio::test]
async fn a_longer_rule_reaches_back_to_what_was_sent_before_it_was_published() {
    let mut world = shop("[ { at_most: 2, per: 1h } ]").await;
    for cart in ["c1", "c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
        world.after(2 * 3_600).await;
    }
    assert_eq!(world.carrier.handed().len(), 4);
    world.apply(&["kind: caps\nrules: [ { at_most: 2, per: 1h }, { at_most: 5, per: 3d } ]\n".to_owned()]).await;
    for cart in ["c5", "c6"] {
        world.track("ann", "Product Added", cart).await;
        world.after(2 * 3_600).await;
    }
    assert_eq!(world.carrier.handed().len(), 5);
    let last = world.messages().await.pop().unwrap();
    let Some(Reason::Capped { rule, by, .. }) = last.status.reason() else { panic!("{:?}", last.status) };
    assert_eq!((rule.as_str(), by.len()), ("at most 5 per 3d", 5), "the oldest is of ten hours ago");
    assert_eq!(world.most_within(Span::from_days(3)).await, 5);
}

#[tokio::test]
async fn processes_whose_clocks_are_five_minutes_off_exceed_no_cap() {
    let cart = campaign("cart", "Product Added", "");
    let mut world = World::with(&[cart, "kind: caps\nrules: [ { at_most: 3, per: 6h } ]\n".to_owned()]).await;
    for user in ["ann", "bob"] {
        world.identify(user, "home@example.com").await;
    }
    let behind = world.another_dispatcher();
    let five = Span::from_seconds(300);
    for n in 0..72 {
        world.clock.advance(Span::from_seconds(600));
        world.track(["ann", "bob"][n % 2], "Product Added", &format!("c{n}")).await;
        world.process().await;
        let now = world.clock.now();
        if n % 3 == 0 {
            world.dispatcher.tick(now.plus(five)).await.unwrap();
        }
        behind.tick(now.minus(five)).await.unwrap();
        world.dispatcher.tick(now.plus(five)).await.unwrap();
    }
    world.after(600).await;
    let all = world.messages().await;
    let mut slots: Vec<_> = all.iter().filter(|one| is_sent(&one.status)).filter_map(|one| one.slot_at).collect();
    slots.sort_unstable();
    for three in slots.windows(4) {
        assert!(three[3].millis() - three[0].millis() >= Span::from_hours(6).millis(), "{three:?}");
    }
    assert!((6..=7).contains(&slots.len()), "{} in twelve hours", slots.len());
}

#[tokio::test]
async fn two_who_turn_out_to_be_one_between_the_look_and_the_claim_share_their_slots() {
    let mut world = shop("[ { at_most: 2, per: 20h } ]").await;
    world.identify("bob", "bob@example.com").await;
    for user in ["ann", "bob"] {
        world.track(user, "Product Added", "c1").await;
        world.settle().await;
    }
    let (log, store, definitions) = (world.log.clone(), world.store.clone(), world.definitions.clone());
    let mut alias = world.call("ann", "Alias", "none");
    alias.kind = carillon::event::Kind::Alias;
    alias.previous_id = Some("bob".to_owned());
    alias.body = carillon::event::Body::new(r#"{"type":"alias","userId":"ann","previousId":"bob"}"#.to_owned());
    world.before_the_claim(async move {
        log.append(HERE, vec![alias]).await.unwrap();
        let (faults, settle) = (carillon::fault::Faults::none(), Span::from_seconds(2));
        let leases = carillon::worker::leases::Leases::alone(store.layout());
        let mut processor =
            carillon::worker::processors::Processors::new(log, store, definitions, faults, settle, leases);
        while processor.tick().await.unwrap() > 0 {}
    });
    world.track("ann", "Product Added", "c2").await;
    world.settle().await;
    assert_eq!(world.profile("ann").await, world.profile("bob").await);
    assert_eq!(world.carrier.handed().len(), 2, "each had used one of the two that one person has");
    assert_eq!(world.most_within(Span::from_hours(20)).await, 2);
}
