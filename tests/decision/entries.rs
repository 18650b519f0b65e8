//! Who enters, who repeats, who may come again, and what the message is made from.

use carillon::audience::condition::Terms;
use carillon::ids::{EnrollmentId, MessageId, Position};
use carillon::message::Status;

use crate::support::{Life, at, campaign, catalog, verdicts};

const HOUR: i64 = 3600;

#[test]
fn a_person_enters_waits_and_is_woken_for_the_message() {
    let mut life = Life::with("delay: 1h");
    assert_eq!(verdicts(&life.track(0, "Product Added", "{}")), ["entered"]);
    assert_eq!(life.person.wake_at, Some(at(HOUR)));
    assert_eq!(verdicts(&life.wake()), ["queued"]);
    let message = life.messages.values().next().unwrap();
    assert_eq!((message.created_at, message.status.clone()), (at(HOUR), Status::Queued { due_at: at(HOUR) }));
    assert_eq!(life.person.wake_at, None);
}

#[test]
fn a_wait_that_was_over_before_an_event_ends_at_its_own_instant() {
    let mut life = Life::with("delay: 1h");
    life.track(0, "Product Added", "{}");
    life.track(HOUR + 5, "Page Viewed", "{}");
    assert_eq!(life.messages.values().next().unwrap().created_at, at(HOUR));
}

#[test]
fn a_restart_runs_the_delay_of_the_version_the_person_entered() {
    let mut life = Life::with("delay: 1h\nentry: { event: Product Added, on_repeat: restart }");
    life.track(0, "Product Added", "{}");
    let newer = campaign(2, "delay: 5h\nentry: { event: Product Added, on_repeat: restart }");
    life.catalog = catalog(vec![life.catalog.campaign("cart").unwrap().as_ref().clone(), newer]);
    life.track(600, "Product Added", "{}");
    assert_eq!(life.waits_until(), at(600 + HOUR), "steps are pinned at entry");
}

#[test]
fn restarts_end_a_day_after_entry() {
    let mut life = Life::with("delay: 2h\nentry: { event: Product Added, on_repeat: restart }");
    life.track(0, "Product Added", "{}");
    for n in 1..=23 {
        life.track(n * HOUR, "Product Added", "{}");
    }
    assert_eq!(life.waits_until(), at(24 * HOUR));
    assert_eq!((life.only().entry, life.only().event), (Position(1), Position(24)));
}

#[test]
fn an_update_while_the_message_is_held_reaches_the_message() {
    let mut life = Life::with("entry: { event: Product Added, on_repeat: update }");
    life.track(0, "Product Added", "{}");
    let decision = life.track(60, "Product Added", "{}");
    assert_eq!(verdicts(&decision), ["repeated"]);
    let moved = decision.effects.iter().any(
        |effect| matches!(effect, carillon::decision::Effect::RenewMessage { event, .. } if *event == Position(2)),
    );
    assert!(moved, "`event` becomes the newest: {:?}", decision.effects);
}

#[test]
fn reentry_counts_from_the_end_of_the_last_enrollment_of_the_same_key() {
    let more = "entry: { event: Product Added, key: properties.cart_id, reentry: { after: 2h } }\n\
                delay: 1h\nexit: [ { event: Order Completed } ]";
    let mut life = Life::with(more);
    life.track(0, "Product Added", r#"{"cart_id":"c1"}"#);
    life.track(1800, "Order Completed", "{}");
    assert_eq!(verdicts(&life.track(HOUR, "Product Added", r#"{"cart_id":"c1"}"#)), ["reentry_not_allowed"]);
    assert_eq!(verdicts(&life.track(HOUR, "Product Added", r#"{"cart_id":"c2"}"#)), ["entered"]);
    assert_eq!(verdicts(&life.track(1800 + 2 * HOUR, "Product Added", r#"{"cart_id":"c1"}"#)), ["queued", "entered"]);
}

#[test]
fn a_late_event_enters_nobody_and_still_ends_what_runs() {
    let more = "max_lateness: 1h\ndelay: 3h\nexit: [ { event: Order Completed } ]";
    let mut life = Life::with(more);
    assert_eq!(verdicts(&life.late(0, HOUR + 1, "Product Added", "{}")), ["late"]);
    life.track(2 * HOUR, "Product Added", "{}");
    assert_eq!(verdicts(&life.late(HOUR, 4 * HOUR, "Order Completed", "{}")), Vec::<&str>::new());
    assert_eq!(verdicts(&life.late(2 * HOUR, 4 * HOUR, "Order Completed", "{}")), ["exited"]);
}

#[test]
fn what_was_decided_before_ids_began_with_their_instant_keeps_its_ids_when_the_log_is_read_again() {
    let mut life = Life::with("entry: { event: Product Added, key: properties.cart_id }\ndelay: 1h");
    let terms = Terms { ids_by_time_after: Position(1), ..Terms::default() };
    life.catalog = std::mem::take(&mut life.catalog).with_terms(terms);
    for cart in ["c1", "c2"] {
        life.track(0, "Product Added", &format!(r#"{{"cart_id":"{cart}"}}"#));
    }
    let walks: Vec<_> = life.person.enrollments.values().cloned().collect();
    let (old, new): (Vec<_>, Vec<_>) = walks.iter().partition(|walk| walk.entry == Position(1));
    let cause: [&[u8]; 4] = [b"cart", &1_i64.to_le_bytes(), b"c1", &1_i64.to_le_bytes()];
    assert_eq!(old[0].id, EnrollmentId::derive(&cause));
    assert_eq!(old[0].message_id(), MessageId::derive(&[old[0].id.as_bytes(), b"send"]));
    assert!(new[0].id.is_of(at(0)) && new[0].message_id().is_of(at(0)));
    life.wake();
    let made: Vec<MessageId> = life.messages.keys().copied().collect();
    assert!(walks.iter().all(|walk| made.contains(&walk.message_id())), "{made:?}");
}
