//! Messages and slots of two profiles that turn out to be one person, at every moment of a message's way.

use carillon::event::{Event, Kind};
use carillon::ids::Span;
use carillon::message::Reason;
use carillon::store::trace::MessageFilter;

use super::world::{HERE, World, campaign, is_sent, reason_of};

const TWO_A_DAY: &str = "kind: caps\nrules: [ { at_most: 2, per: 1d } ]\n";

async fn shop(more: &str) -> World {
    let world = World::with(&[campaign("cart", "Product Added", more), TWO_A_DAY.to_owned()]).await;
    world.identify("ann", "ann@example.com").await;
    say(&world, Kind::Identify, None, Some("d1"), r#"{"traits":{"email":"work@example.com"}}"#).await;
    world
}

async fn say(world: &World, kind: Kind, user: Option<&str>, device: Option<&str>, body: &str) {
    let call = on_device(world, kind, user, device, body);
    world.log.append(HERE, vec![call]).await.unwrap();
}

fn on_device(world: &World, kind: Kind, user: Option<&str>, device: Option<&str>, body: &str) -> Event {
    let mut call = world.call("nobody", kind.event_name(), "none");
    if kind == Kind::Track {
        call.name = "Product Added".into();
    }
    call.kind = kind;
    call.user_id = user.map(ToOwned::to_owned);
    call.anonymous_id = device.map(ToOwned::to_owned);
    call.body = carillon::event::Body::new(body.to_owned());
    call
}

async fn added(world: &World, cart: &str) {
    let body = format!(r#"{{"properties":{{"cart_id":"{cart}"}}}}"#);
    say(world, Kind::Track, None, Some("d1"), &body).await;
}

fn login(world: &World) -> Event {
    on_device(world, Kind::Identify, Some("ann"), Some("d1"), "{}")
}

async fn of_ann(world: &World) -> Vec<carillon::message::Message> {
    let store = world.store.workspace(HERE);
    let ann = store.profile_by_id("ann").await.unwrap();
    store.list_messages(&MessageFilter { profile: ann, limit: 99, ..MessageFilter::default() }).await.unwrap()
}

#[tokio::test]
async fn slots_used_under_both_profiles_count_for_the_person() {
    let mut world = shop("").await;
    // Two profiles, two addresses: one message each before the login.
    world.track("ann", "Product Added", "c1").await;
    added(&world, "c2").await;
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 2);
    world.log.append(HERE, vec![login(&world)]).await.unwrap();
    added(&world, "c3").await;
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 2, "the day's two slots are used");
    let capped: Vec<_> = of_ann(&world).await.into_iter().filter(|message| !is_sent(&message.status)).collect();
    assert_eq!((capped.len(), reason_of(&capped[0])), (1, "capped"));
    let Some(Reason::Capped { by, .. }) = capped[0].status.reason() else { panic!() };
    assert_eq!(by.len(), 2, "one of each former profile");
    let mut world = world.restart().await;
    world.after(86_400).await;
    added(&world, "c4").await;
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 3, "the next day has room");
}

#[tokio::test]
async fn a_store_that_had_the_slots_of_one_profile_reads_those_of_both() {
    let mut world = shop("").await;
    world.track("ann", "Product Added", "c1").await;
    added(&world, "c2").await;
    world.settle().await;
    let subject =
        async |world: &World, name: &str| world.store.workspace(HERE).cap_subject(name).await.unwrap().unwrap();
    let before = [subject(&world, "profile:1").await, subject(&world, "profile:2").await];
    world.log.append(HERE, vec![login(&world)]).await.unwrap();
    world.process().await;
    let after = [subject(&world, "profile:1").await, subject(&world, "profile:2").await];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.step, before.step + 1);
        assert_ne!(after.chain, before.chain);
    }
    assert_eq!(after[0].last_slot_at, before[0].last_slot_at.max(before[1].last_slot_at));
    // Another node knows nothing of either.
    world.track("ann", "Product Added", "c3").await;
    world.process().await;
    let other = world.another_dispatcher();
    while other.tick(world.clock.now()).await.unwrap() > 0 {}
    assert_eq!(world.carrier.handed().len(), 2);
}

#[tokio::test]
async fn nobody_is_written_to_between_the_login_and_its_effects() {
    let mut world = shop("delay: 1h").await;
    added(&world, "c1").await;
    world.process().await;
    world.clock.advance(Span::from_hours(2));
    world.process().await;
    // The order is hers, the waiting message still the device's.
    let order = world.call("ann", "Order Completed", "none");
    world.log.append(HERE, vec![login(&world), order]).await.unwrap();
    assert_eq!(world.dispatcher.tick(world.clock.now()).await.unwrap(), 0, "both are waited for");
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 0);
    assert_eq!(of_ann(&world).await.iter().map(reason_of).collect::<Vec<_>>(), ["exited"]);
}

#[tokio::test]
async fn a_login_between_the_guards_look_and_the_claim_is_waited_for() {
    let mut world = shop("").await;
    let (log, login) = (world.log.clone(), login(&world));
    world.before_the_claim(async move {
        log.append(HERE, vec![login]).await.unwrap();
    });
    added(&world, "c1").await;
    world.process().await;
    world.dispatcher.tick(world.clock.now()).await.unwrap();
    assert_eq!(world.statuses().await, ["queued"], "abandoned: the person changed");
    world.settle().await;
    assert_eq!(of_ann(&world).await.len(), 1);
    assert_eq!(world.only().await.address.as_deref(), Some("ann@example.com"), "sent to the person's address");
}

#[tokio::test]
async fn a_message_that_is_with_the_provider_finishes_and_its_outcome_is_the_winners() {
    let mut world = shop("").await;
    added(&world, "c1").await;
    world.process().await;
    // The whole merge happens while the provider has the message.
    let (log, store, definitions) = (world.log.clone(), world.store.clone(), world.definitions.clone());
    let login = login(&world);
    world.carrier.meanwhile(async move {
        log.append(HERE, vec![login]).await.unwrap();
        let (faults, settle) = (carillon::fault::Faults::none(), Span::from_seconds(2));
        let leases = carillon::worker::leases::Leases::alone(store.layout());
        let mut processor =
            carillon::worker::processors::Processors::new(log, store, definitions, faults, settle, leases);
        while processor.tick().await.unwrap() > 0 {}
    });
    world.dispatcher.tick(world.clock.now()).await.unwrap();
    let world = world.restart().await;
    let mut world = world;
    world.settle().await;
    let all = of_ann(&world).await;
    assert!(all.len() == 1 && is_sent(&all[0].status), "{all:?}");
    let store = world.store.workspace(HERE);
    let ended = store.enrollments_of(all[0].profile, None, 9).await.unwrap();
    assert_eq!(ended[0].state.name(), "completed", "its end was told to the winner");
}

#[tokio::test]
async fn a_slot_given_back_after_a_merge_is_the_winners() {
    let mut world = shop("").await;
    world.carrier.will([carillon::message::Outcome::Rejected { cause: "550 5.7.1 no".into(), suppress: false }]);
    added(&world, "c1").await;
    world.process().await;
    let (log, store, definitions) = (world.log.clone(), world.store.clone(), world.definitions.clone());
    let login = login(&world);
    world.carrier.meanwhile(async move {
        log.append(HERE, vec![login]).await.unwrap();
        let (faults, settle) = (carillon::fault::Faults::none(), Span::from_seconds(2));
        let leases = carillon::worker::leases::Leases::alone(store.layout());
        let mut processor =
            carillon::worker::processors::Processors::new(log, store, definitions, faults, settle, leases);
        while processor.tick().await.unwrap() > 0 {}
    });
    world.dispatcher.tick(world.clock.now()).await.unwrap();
    let winner = world.store.workspace(HERE).cap_subject("profile:1").await.unwrap().unwrap();
    assert_eq!(winner.step, 2, "united, then given back");
    let mut world = world.restart().await;
    for cart in ["c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
    }
    world.settle().await;
    assert_eq!(world.carrier.handed().len(), 3, "the refused one and two more");
}

#[tokio::test]
async fn two_people_with_one_address_stay_two_and_share_its_cap() {
    let mut world = shop("").await;
    world.identify("bob", "ann@example.com").await;
    for (user, cart) in [("ann", "c1"), ("bob", "c2"), ("bob", "c3")] {
        world.track(user, "Product Added", cart).await;
        // Later than what would be one thing seen twice.
        world.clock.advance(Span::from_seconds(3));
    }
    world.settle().await;
    let store = world.store.workspace(HERE);
    assert_ne!(store.profile_by_id("ann").await.unwrap(), store.profile_by_id("bob").await.unwrap());
    assert_eq!(world.carrier.handed().len(), 2, "two a day for the address, whoever they are");
}

#[tokio::test]
async fn an_entry_under_a_former_profile_holds_back_what_is_now_the_winners() {
    let mut world = shop("delay: 1h").await;
    added(&world, "c1").await;
    world.process().await;
    world.log.append(HERE, vec![login(&world)]).await.unwrap();
    world.process().await;
    world.clock.advance(Span::from_hours(2));
    world.process().await;
    // Another node had not heard of the login when it appended the order.
    let order = world.call("ann", "Order Completed", "none");
    world.log.append(HERE, vec![order]).await.unwrap();
    world
        .log
        .writer()
        .change(carillon::eventlog::Queue::Effects, |tx, _| {
            Box::pin(async move {
                let sql = "UPDATE entries SET profile = 2 WHERE name = 'Order Completed'";
                Ok(carillon::store::Rows(tx).run(sql, vec![]).await?)
            })
        })
        .await
        .unwrap();
    assert_eq!(world.dispatcher.tick(world.clock.now()).await.unwrap(), 0);
    let mut world = world.restart().await;
    world.settle().await;
    assert_eq!((world.carrier.handed().len(), world.statuses().await), (0, vec!["cancelled"]));
}
