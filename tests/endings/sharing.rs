//! Several processes on one PostgreSQL.

use std::time::{Duration, Instant};

use crate::database::Backend;
use crate::house::{House, until};
use crate::load::Load;
use crate::sink::Sink;

/// Twice as long as a lease holds.
const FROZEN_FOR: Duration = Duration::from_secs(8);

#[test]
fn of_three_processes_one_that_freezes_for_twice_its_lease_loses_and_doubles_nothing() {
    let sink = Sink::start();
    let mut one = House::new(&sink, Backend::Postgres);
    let (mut two, mut three) = (one.beside(), one.beside());
    for house in [&mut one, &mut two, &mut three] {
        house.start_beside();
    }
    until("three shares", || one.shares() == [4, 6, 6]);
    let houses = [&one, &two, &three];
    let mut load = Load::default();
    load.run(&houses, Duration::from_millis(500), || {
        freeze_while_sending(&two);
        let frozen = Instant::now();
        until("the others to have it all", || one.shares() == [8, 8]);
        until("the time", || frozen.elapsed() >= FROZEN_FOR);
        two.signal("-CONT");
        until("it to be back", || one.shares() == [4, 6, 6]);
    });
    load.run(&houses, Duration::from_millis(500), || {});
    load.finish(&houses);
    one.settle();
    load.check_stored(&one);
    load.check_delivered(&sink, || [one.log(), two.log(), three.log()].join("\n"));
    assert_eq!(one.count_by_status("unknown"), 0);
}

/// Stops the process at a moment at which it is sending.
fn freeze_while_sending(house: &House) {
    let sending = format!(
        "SELECT count(*) FROM messages JOIN leases USING (shard) WHERE status = 'sending' AND owner LIKE '{}-%'",
        house.pid()
    );
    until("messages in its hands", || {
        house.signal("-STOP");
        let caught = house.query(&sending)[0] > 0;
        if !caught {
            house.signal("-CONT");
        }
        caught
    });
}

#[test]
fn what_one_process_is_told_holds_in_the_others() {
    let sink = Sink::start();
    let mut one = House::new(&sink, Backend::Postgres);
    let mut two = one.beside();
    one.start_beside();
    two.start_beside();
    until("two shares", || one.shares() == [8, 8]);

    let mut load = Load::default();
    one.switch("pause");
    load.run(&[&two], Duration::ZERO, || {});
    load.finish(&[&two]);
    let held = || 2 * load.orders().len();
    until("all to be decided and held", || two.count_by_status("deferred") == held());
    assert!(sink.delivered().is_empty(), "the other process knows nothing of the pause");
    two.switch("resume");
    until("all to be sent", || sink.delivered().len() == held());

    let made = one.post("/api/v1/keys", &serde_json::json!({ "source": "web" }));
    two.key = made["key"].as_str().unwrap().to_owned();
    until("the key to open the other door", || load.is_open(&two));
    let again = "kind: campaign\nkey: again\nname: Again\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
                 purpose: transactional\nentry: { event: Order Completed, key: properties.order_id }\n\
                 send: { channel: email, template: note }\n";
    one.post("/api/v1/definitions", &serde_json::json!({ "files": [{ "name": "again.yaml", "text": again }] }));
    load.run(&[&two], Duration::ZERO, || {});
    load.finish(&[&two]);
    let is_again =
        |orders: usize| sink.delivered().keys().filter(|(campaign, _)| campaign == "again").count() == orders;
    until("the new campaign to speak of every later order", || is_again(load.orders_of_round().len()));
}
