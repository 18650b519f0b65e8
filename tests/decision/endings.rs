//! What ends an enrollment: exits in their order, by event, by condition and by time; and what a goal takes.

use carillon::decision::{Catalog, Effect};
use carillon::ids::MessageId;
use carillon::message::Status;

use crate::support::{Life, at, verdicts};

const HOUR: i64 = 3600;

#[test]
fn the_first_exit_written_gives_the_reason() {
    let mut life =
        Life::with("delay: 1h\nexit: [ { trait: { plan: pro } }, { event: Identified }, { event: Order Completed } ]");
    life.track(0, "Product Added", "{}");
    life.identify(60, r#"{"plan":"pro"}"#);
    assert!(life.exited().1.contains("plan"), "{:?}", life.exited());
}

#[test]
fn a_condition_that_holds_at_entry_ends_the_enrollment_at_once() {
    let mut life = Life::with("delay: 1h\nexit: [ { trait: { plan: pro } } ]");
    life.identify(0, r#"{"plan":"pro"}"#);
    assert_eq!(verdicts(&life.track(60, "Product Added", "{}")), ["entered", "exited"]);
    assert_eq!(life.person.wake_at, None);
}

#[test]
fn a_condition_exit_ends_now_and_not_when_a_late_event_happened() {
    let mut life = Life::with("delay: 5h\nexit: [ { performed: { event: Page Viewed, at_least: 2 } } ]");
    life.track(0, "Product Added", "{}");
    life.track(60, "Page Viewed", "{}");
    life.late(-2 * HOUR, 120, "Page Viewed", "{}");
    assert_eq!(life.exited().0, at(120));
}

#[test]
fn an_exit_by_time_wakes_the_person_when_it_comes_to_hold() {
    let quiet = "exit: [ { performed: { event: Page Viewed, within: 30m, at_most: 0 } } ]\ndelay: 5h";
    let mut life = Life::with(quiet);
    life.track(0, "Page Viewed", "{}");
    life.track(60, "Product Added", "{}");
    assert_eq!(life.person.wake_at, Some(at(1800)));
    assert_eq!(verdicts(&life.wake()), ["exited"]);
    assert_eq!(life.exited().0, at(1800));
    assert_eq!(life.person.wake_at, None);
}

#[test]
fn same_compares_every_value_of_a_list_and_an_exit_matches_where_one_side_is_missing() {
    let more = "delay: 1h\nexit: [ { event: Order Completed, \
                same: { entry: properties.product_id, event: properties.products.product_id } } ]";
    for (order, ends) in [
        (r#"{"products":[{"product_id":"p2"},{"product_id":"p3"}]}"#, false),
        (r#"{"products":[{"product_id":"p2"},{"product_id":"p1"}]}"#, true),
        (r#"{"products":[]}"#, true),
        ("{}", true),
    ] {
        let mut life = Life::with(more);
        life.track(0, "Product Added", r#"{"product_id":"p1"}"#);
        life.track(60, "Order Completed", order);
        assert_eq!(!life.only().is_active(), ends, "{order}");
    }
}

#[test]
fn an_order_that_happened_after_a_late_entry_event_ends_it_though_it_arrived_before() {
    let mut life = Life::with("delay: 1h\nexit: [ { event: Order Completed } ]");
    life.track(600, "Order Completed", "{}");
    assert_eq!(verdicts(&life.late(0, 660, "Product Added", "{}")), ["entered", "exited"]);
    let mut life = Life::with("delay: 1h\nexit: [ { event: Order Completed } ]");
    life.track(600, "Order Completed", "{}");
    assert_eq!(verdicts(&life.late(601, 660, "Product Added", "{}")), ["entered"]);
}

#[test]
fn a_campaign_whose_text_is_gone_keeps_nobody_awake() {
    let mut life = Life::with("delay: 1h");
    life.track(0, "Product Added", "{}");
    life.catalog = Catalog::default();
    life.wake();
    assert_eq!(life.person.wake_at, None, "a timer in the past would fire for ever");
}

#[test]
fn a_goal_takes_the_newest_message_sent_before_it_and_within_its_window() {
    let mut life = Life::with("goal: { event: Order Completed, within: 1d, value: properties.revenue }");
    life.track(0, "Product Added", "{}");
    let mut message = life.messages.values().next().unwrap().clone();
    message.status = Status::Sent { at: at(10), reply: "250 ok".into() };
    life.person.note_message(message.id, &message.campaign, Some(at(10)));
    assert_eq!(verdicts(&life.late(5, 20, "Order Completed", "{}")), Vec::<&str>::new(), "bought before");
    assert_eq!(verdicts(&life.track(30, "Order Completed", r#"{"revenue":12.50}"#)), ["converted"]);
    assert_eq!(verdicts(&life.track(10 + 24 * HOUR, "Order Completed", "{}")), Vec::<&str>::new(), "too late");
}

#[test]
fn one_event_is_the_goal_of_one_message_alone() {
    let mut life = Life::with("goal: { event: Order Completed, within: 1d, value: properties.revenue }");
    life.track(0, "Product Added", "{}");
    let message = life.messages.values().next().unwrap().clone();
    for (older, second) in [(true, 8), (false, 10)] {
        let id = if older { MessageId::derive(&[b"older"]) } else { message.id };
        life.person.note_message(id, &message.campaign, Some(at(second)));
    }
    let decision = life.track(30, "Order Completed", r#"{"revenue":12.50}"#);
    let reached: Vec<_> = decision
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Convert(conversion) => Some((conversion.message, conversion.value.as_deref())),
            _ => None,
        })
        .collect();
    assert_eq!(reached, [(message.id, Some("12.50"))], "the newest has it");
}
