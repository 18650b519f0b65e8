//! Damaged rows, repeated pieces and unlucky batches: one person's trouble stays theirs, and nothing stops the log.

use carillon::eventlog::Draft;
use carillon::fault::Faults;
use carillon::ids::Position;
use carillon::worker::processor::redrive;
use carillon::worker::scheduler::Scheduler;

use super::support::{House, WORKSPACE, build, event};

const SHOP: &str = r#"
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id, reentry: { after: 1d } }
delay: 1h
exit: [ { event: Order Completed } ]
goal: { event: Order Completed, within: 1d }
send: { channel: email, template: note }
---
kind: campaign
key: big
name: Big
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Viewed, where: { performed: { event: Order Completed, where: { properties.total: { gte: 50 } } } } }
delay: 1h
send: { channel: email, template: note }
---
kind: template
key: note
sample: { profile: { traits: { first_name: Ann } } }
email: { subject: A note, html: "<p>Hello</p>" }
"#;

fn with(message_id: &str, user: &str, name: &str, properties: &str) -> carillon::event::Event {
    let body = format!(r#"{{"properties":{properties}}}"#);
    build(message_id, carillon::event::Kind::Track, name, Some(user), None, &body)
}

async fn shop() -> House {
    let house = House::new().await;
    house.apply(SHOP).await;
    house.process().await;
    house
}

async fn balances(house: &House) {
    assert_eq!(house.workspace().accounts().await.unwrap().imbalances(), Vec::<String>::new());
}

#[tokio::test]
async fn a_condition_sees_the_past_the_same_in_one_batch_and_in_two() {
    for one_batch in [true, false] {
        let house = shop().await;
        house.append(vec![with("m1", "ann", "Order Completed", r#"{"total":60}"#)]).await;
        if !one_batch {
            house.process().await;
        }
        house.append(vec![with("m2", "ann", "Product Viewed", "{}")]).await;
        house.process().await;
        assert_eq!(house.enrollments("ann").await.len(), 1, "in one batch: {one_batch}");
    }
}

#[tokio::test]
async fn definitions_are_in_force_from_their_place_in_the_log() {
    let house = House::new().await;
    house.append(vec![with("m1", "ann", "Product Added", "{}")]).await;
    house.apply(SHOP).await;
    house.append(vec![with("m2", "bob", "Product Added", "{}")]).await;
    let house = house.restart().await;
    house.process().await;
    assert_eq!(house.enrollments("ann").await.len(), 0, "the campaign came after");
    assert_eq!(house.enrollments("bob").await.len(), 1);
}

#[tokio::test]
async fn one_persons_damaged_rows_stop_nobody_else() {
    let damages = [
        "UPDATE enrollments SET state = '{'",
        "UPDATE enrollments SET id = x'00'",
        "UPDATE profiles SET history = x'ff' WHERE user_id = 'ann'",
        "UPDATE profiles SET traits = '[' WHERE user_id = 'ann'",
        "UPDATE history_pages SET packed = x'ff' WHERE profile = (SELECT id FROM profiles WHERE user_id = 'ann')",
    ];
    for damage in damages {
        let house = shop().await;
        let many = (0..200).map(|n| event(&format!("o{n}"), "ann", "Order Completed"));
        house.append(many.collect()).await;
        house.append(vec![with("m1", "ann", "Product Added", "{}")]).await;
        house.process().await;
        house.damage(damage).await;
        let both = vec![with("m2", "ann", "Product Viewed", "{}"), with("m3", "bob", "Product Added", "{}")];
        house.append(both).await;
        house.process().await;
        assert_eq!(house.enrollments("bob").await.len(), 1, "{damage}");
        assert_eq!(house.workspace().parked(9).await.unwrap().len(), 1, "{damage}");
        balances(&house).await;
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_parked_where_it_belongs() {
    let house = shop().await;
    house.append(vec![event("m1", "ann", "A"), event("m2", "bob", "B")]).await;
    house.damage(&format!("UPDATE entries SET meta = x'ff' WHERE position = {}", house.at("m1").await)).await;
    let house = house.restart().await;
    house.process().await;
    let parked = house.workspace().parked(9).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].profile, house.workspace().profile_by_id("ann").await.unwrap());
    balances(&house).await;
}

#[tokio::test]
async fn a_past_event_that_cannot_be_read_stops_nobody() {
    let house = shop().await;
    house.append(vec![with("m1", "ann", "Order Completed", r#"{"total":60}"#)]).await;
    house.process().await;
    house.damage(&format!("UPDATE entries SET meta = x'ff' WHERE position = {}", house.at("m1").await)).await;
    house.append(vec![with("m2", "ann", "Product Viewed", "{}"), with("m3", "bob", "Product Added", "{}")]).await;
    house.process().await;
    assert_eq!(house.enrollments("bob").await.len(), 1);
}

#[tokio::test]
async fn a_damaged_definition_is_left_out_and_repaired_by_applying_it_again() {
    let house = shop().await;
    house.append(vec![with("m1", "ann", "Product Added", "{}")]).await;
    house.process().await;
    house.damage("UPDATE definitions SET files = '{' WHERE key = 'cart'").await;
    let house = house.restart().await;
    // Whoever waits in it is neither sent to nor woken over and over.
    house.clock.advance(carillon::ids::Span::from_hours(2));
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    for _ in 0..3 {
        scheduler.tick(house.clock.now()).await.unwrap();
        house.process().await;
    }
    assert_eq!(scheduler.next_due().await.unwrap(), None);
    house.apply(SHOP).await;
    house.append(vec![with("m2", "bob", "Product Added", "{}")]).await;
    house.process().await;
    assert_eq!(house.enrollments("bob").await[0].version, 2);
}

#[tokio::test]
async fn what_has_no_ids_of_its_own_and_timers_are_redriven_for_their_person() {
    let house = shop().await;
    house.append(vec![with("m1", "ann", "Product Added", "{}")]).await;
    house.process().await;
    let ann = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let denied = r#"{"properties":{"channel":"email","state":"denied"}}"#;
    let own = build("own", carillon::event::Kind::Own, "Consent Changed", None, None, denied);
    let unsubscribe = Draft { profile: Some(ann), ..Draft::event(WORKSPACE, own) };
    house.log.append_drafts(vec![unsubscribe]).await.unwrap();
    house.clock.advance(carillon::ids::Span::from_hours(1));
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 1);
    let mut unlucky = house.processor(Faults::new(|point| point == "processor.decide")).await;
    unlucky.tick().await.unwrap();
    let parked: Vec<Position> = house.workspace().parked(9).await.unwrap().iter().map(|one| one.position).collect();
    assert_eq!(parked.len(), 2);
    for position in parked {
        assert!(redrive(&house.log, &house.store, WORKSPACE, position).await.unwrap());
    }
    house.process().await;
    let person = house.workspace().person(ann).await.unwrap().unwrap();
    assert!(person.profile.consent.contains_key("email"), "the unsubscribe counts");
    assert_eq!(house.enrollments("ann").await[0].state.name(), "sending", "the wait is over");
    balances(&house).await;
}

#[tokio::test]
async fn later_entries_of_a_person_know_what_was_parked_before_them() {
    let house = shop().await;
    house.append(vec![event("m1", "ann", "A")]).await;
    house.processor(Faults::new(|point| point == "processor.decide")).await.tick().await.unwrap();
    house.append(vec![event("m2", "ann", "B"), event("m3", "bob", "B")]).await;
    house.process().await;
    let store = house.workspace();
    let ann = store.profile_by_id("ann").await.unwrap().unwrap();
    let bob = store.profile_by_id("bob").await.unwrap().unwrap();
    let parked = store.parked_before(ann, house.at("m2").await, 9).await.unwrap();
    assert_eq!(parked.iter().map(|one| one.position).collect::<Vec<_>>(), [house.at("m1").await]);
    assert!(store.parked_before(bob, house.at("m3").await, 9).await.unwrap().is_empty());
    assert!(redrive(&house.log, &house.store, WORKSPACE, house.at("m1").await).await.unwrap());
    assert_eq!(
        house.workspace().parked_before(ann, house.at("m2").await, 9).await.unwrap().len(),
        1,
        "it came too late for it"
    );
    assert!(
        house.workspace().parked_before(ann, Position(i64::MAX), 9).await.unwrap().is_empty(),
        "it was applied before"
    );
}

#[tokio::test]
async fn a_timer_is_written_once_by_two_schedulers() {
    let house = shop().await;
    house.append(vec![with("m1", "ann", "Product Added", "{}")]).await;
    house.process().await;
    house.clock.advance(carillon::ids::Span::from_hours(1));
    let one = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    let two = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    let now = house.clock.now();
    let (first, second) = tokio::join!(one.tick(now), two.tick(now));
    assert_eq!(first.unwrap() + second.unwrap(), 1);
    house.process().await;
    assert_eq!(house.processed().await, house.store.layout().all().len() as i64 + 2);
}
