//! Segments over the real log: entering is an event of the same transaction, a newly applied segment reaches people who
//! do nothing, and a pass that was stopped goes on.

use carillon::eventlog::Receipt;
use carillon::fault::Faults;
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use carillon::store::entries::Logged;
use carillon::worker::membership::memberships;
use carillon::worker::scheduler::Scheduler;

use super::support::{House, WORKSPACE, build, event, identify, name_of};

const VIP: &str = "kind: segment\nkey: vip\nname: VIP\nowner: crm@shop.example\n\
    where: { performed: { event: Order Completed, sum: properties.revenue, gte: EUR 100, within: 30d, \
    net_of: { event: Order Refunded, same: properties.order_id } } }\n";

fn order(id: &str, user: &str, revenue: u32) -> carillon::event::Event {
    let body = format!(r#"{{"properties":{{"order_id":"{id}","revenue":{revenue}}}}}"#);
    build(id, carillon::event::Kind::Track, "Order Completed", Some(user), None, &body)
}

/// What was done by whoever has this id, or by anybody, and what came of it; of one person in the order of the log.
async fn names(house: &House, id: Option<&str>) -> Vec<String> {
    let mut whose = None;
    if let Some(id) = id {
        whose = house.workspace().profile_by_id(id).await.unwrap();
    }
    let entries = house.workspace().events_page(Position(0), 200, true).await.unwrap();
    let told = entries.iter().filter(|entry| whose.is_none() || entry.profile == whose).map(|entry| {
        let Logged::Event(event) = &entry.logged else { return name_of(entry) };
        let cause = event.lookup("properties.cause").map_or("", |_| " by backfill");
        format!("{}{cause}", name_of(entry))
    });
    told.collect()
}

async fn members(house: &House) -> Vec<String> {
    let members = house.workspace().members("vip", ProfileId(0), 100).await.unwrap();
    members.into_iter().map(|member| member.user_id.unwrap()).collect()
}

#[tokio::test]
async fn entering_is_an_event_appended_after_its_cause_and_read_back_like_any_other() {
    let house = House::new().await;
    house.apply(VIP).await;
    house.append(vec![order("o1", "ann", 60), order("o2", "ann", 60), event("m1", "bob", "Page Viewed")]).await;
    house.process().await;
    assert_eq!(names(&house, Some("ann")).await, ["Order Completed", "Order Completed", "Segment Entered"]);
    assert_eq!(members(&house).await, ["ann"]);
    let refund = build(
        "r1",
        carillon::event::Kind::Track,
        "Order Refunded",
        Some("ann"),
        None,
        r#"{"properties":{"order_id":"o2","revenue":30}}"#,
    );
    house.append(vec![refund]).await;
    house.process().await;
    assert_eq!(names(&house, Some("ann")).await.last().unwrap(), "Segment Left");
    assert_eq!(members(&house).await, [""; 0]);
    let accounts = house.workspace().accounts().await.unwrap();
    assert!(accounts.imbalances().is_empty(), "events of our own are not in the books of what clients sent");
}

#[tokio::test]
async fn a_failure_while_effects_are_stored_leaves_neither_membership_nor_event() {
    let house = House::new().await;
    house.apply(VIP).await;
    house.append(vec![order("o1", "ann", 160)]).await;
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1));
    let faults = Faults::new(move |point| {
        let order = std::sync::atomic::Ordering::SeqCst;
        point == "processor.decided" && left.fetch_update(order, order, |n| n.checked_sub(1)).is_ok()
    });
    let mut processor = house.processor(faults).await;
    while processor.tick().await.is_ok_and(|count| count > 0) {}
    assert_eq!(members(&house).await, [""; 0]);
    house.process().await;
    assert_eq!(names(&house, Some("ann")).await, ["Order Completed", "Segment Entered"], "once");
}

#[tokio::test]
async fn a_new_segment_reaches_people_who_do_nothing_and_starts_nothing() {
    let house = House::new().await;
    let orders = (0..450).map(|n| order(&format!("o{n}"), &format!("user{n:03}"), if n % 3 == 0 { 200 } else { 20 }));
    house.append(orders.collect()).await;
    house.process().await;
    house.apply(VIP).await;
    assert_eq!(house.look_at_everybody().await, 450);
    assert_eq!(house.workspace().segment_sizes().await.unwrap()["vip"], 150);
    assert!(
        names(&house, None).await.iter().all(|name| name != "Segment Entered"),
        "each says that it is of a backfill"
    );
    assert_eq!(house.look_at_everybody().await, 0, "nobody is looked at twice");
    let house = house.restart().await;
    assert_eq!(house.look_at_everybody().await, 0);
    house.apply(&VIP.replace("EUR 100", "EUR 10")).await;
    assert_eq!(house.look_at_everybody().await, 450);
    assert_eq!(house.workspace().segment_sizes().await.unwrap()["vip"], 450);
}

#[tokio::test]
async fn a_pass_that_was_stopped_goes_on_where_it_was() {
    let house = House::new().await;
    house.append((0..450).map(|n| order(&format!("o{n}"), &format!("user{n:03}"), 200)).collect()).await;
    house.process().await;
    house.apply(VIP).await;
    house.process().await;
    let pace = std::num::NonZeroU32::new(200);
    let mut backfill = house.processor(Faults::none()).await.backfill().paced(pace);
    let first = backfill.tick().await.unwrap();
    assert!(first > 0 && first < 450, "{first}");
    assert_eq!(backfill.tick().await.unwrap(), 0, "the slice before is not processed yet");
    let house = house.restart().await;
    house.process().await;
    assert_eq!(house.look_at_everybody().await, 450 - first);
    assert_eq!(house.workspace().segment_sizes().await.unwrap()["vip"], 450);
}

#[tokio::test]
async fn how_far_a_pass_is_is_told_also_after_a_stop_and_a_pace_holds_it_back() {
    let house = House::new().await;
    house.append((0..450).map(|n| order(&format!("o{n}"), &format!("user{n:03}"), 200)).collect()).await;
    house.process().await;
    assert_eq!(house.workspace().pass().await.unwrap(), None, "there is nothing to look at");
    house.apply(VIP).await;
    house.process().await;
    let far = async |house: &House| {
        let pass = house.workspace().pass().await.unwrap().unwrap();
        (pass.looked_at, pass.people)
    };
    let pace = std::num::NonZeroU32::new(50);
    let paced = async |house: &House| house.processor(Faults::none()).await.backfill().paced(pace);
    let mut backfill = paced(&house).await;
    assert_eq!((backfill.tick().await.unwrap(), far(&house).await), (50, (50, 450)));
    house.process().await;
    assert_eq!(backfill.tick().await.unwrap(), 0, "the second is not over");
    house.clock.advance_to(house.clock.now().plus(Span::from_seconds(1)));
    assert_eq!((backfill.tick().await.unwrap(), far(&house).await), (50, (100, 450)));
    let house = house.restart().await;
    house.process().await;
    let mut backfill = paced(&house).await;
    assert_eq!((backfill.tick().await.unwrap(), far(&house).await), (50, (150, 450)), "where it was");
    house.process().await;
    assert_eq!(house.look_at_everybody().await, 300);
    assert_eq!((far(&house).await, house.workspace().segment_sizes().await.unwrap()["vip"]), ((450, 450), 450));
}

#[tokio::test]
async fn nobody_ordering_for_thirty_days_enters_at_that_instant() {
    let house = House::new().await;
    house
        .apply(
            "kind: segment\nkey: vip\nname: Lapsed\nowner: crm@shop.example\n\
             where: { not: { performed: { event: Order Completed, within: 30d } } }\n",
        )
        .await;
    house.append(vec![order("o1", "ann", 60)]).await;
    house.process().await;
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    let due = scheduler.next_due().await.unwrap().unwrap();
    assert_eq!(due, house.clock.now().plus(Span::from_days(30)));
    house.clock.advance_to(due.plus(Span::from_seconds(5)));
    scheduler.tick(house.clock.now()).await.unwrap();
    house.process().await;
    let entered: Vec<Timestamp> = house
        .workspace()
        .members("vip", ProfileId(0), 9)
        .await
        .unwrap()
        .into_iter()
        .map(|member| member.since)
        .collect();
    assert_eq!(entered, [due], "and not five seconds later");
}

#[tokio::test]
async fn asked_by_hand_a_membership_is_told_with_its_operands() {
    let house = House::new().await;
    let kind_of_rates = "---\nkind: rates\nbase: EUR\nrates: [ { date: 2026-01-01, currency: USD, rate: 0.5 } ]\n";
    house.apply(&format!("{VIP}{kind_of_rates}")).await;
    let dollars = build(
        "o2",
        carillon::event::Kind::Track,
        "Order Completed",
        Some("ann"),
        None,
        r#"{"properties":{"order_id":"o2","revenue":90,"currency":"USD"}}"#,
    );
    let receipts = house.append(vec![order("o1", "ann", 60), dollars]).await;
    let Receipt::Stored { profile: Some(ann), .. } = receipts[0] else { panic!() };
    house.process().await;
    let live = house.definitions.live(WORKSPACE);
    let ask = async |profile: ProfileId| {
        memberships(house.workspace(), &live.catalog, profile, &["vip"], house.clock.now()).await.unwrap()
    };
    let told = ask(ann).await.unwrap().remove(0);
    assert!(told.is_member && told.since.is_some(), "{told:?}");
    assert!(told.because.contains("sum of properties.revenue is EUR 105"), "{}", told.because);
    assert_eq!(told.until, Some(house.clock.now().plus(Span::from_days(30))));
    assert!(ask(ProfileId(99)).await.is_none());
}

#[tokio::test]
async fn two_profiles_that_become_one_are_looked_at_anew_and_start_nothing() {
    let house = House::new().await;
    house.apply(VIP).await;
    let body = |id: &str| format!(r#"{{"properties":{{"order_id":"{id}","revenue":60}}}}"#);
    let kind = carillon::event::Kind::Track;
    let unknown = build("o2", kind, "Order Completed", None, Some("device-1"), &body("o2"));
    house.append(vec![order("o1", "ann", 60), unknown, order("o3", "bob", 160)]).await;
    house.process().await;
    assert_eq!(members(&house).await, ["bob"]);
    house.append(vec![identify("m1", Some("ann"), Some("device-1"))]).await;
    house.process().await;
    assert_eq!(members(&house).await, ["ann", "bob"]);
    assert_eq!(names(&house, Some("ann")).await.last().unwrap(), "Segment Entered by backfill");
    assert_eq!(house.workspace().segment_sizes().await.unwrap()["vip"], 2);
    // The device's own profile is nobody's any more.
    assert_eq!(house.look_at_everybody().await, 0);
    house.apply(&VIP.replace("EUR 100", "EUR 120")).await;
    assert_eq!(house.look_at_everybody().await, 2);
    assert_eq!(members(&house).await, ["ann", "bob"]);
}
