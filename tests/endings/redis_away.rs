//! The Redis that counts for the caps is cut off, shut down and flushed while the program serves: nothing is started
//! again but the Redis.

use std::collections::BTreeMap;

use crate::database::Backend;
use crate::house::{House, until};
use crate::load::Load;
use crate::redis_servers::{Passage, Redis, Wire};
use crate::sink::Sink;

const REMINDER: &str = "\
kind: campaign
key: reminder
name: Reminder
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.order_id }
send: { channel: email, template: note }
---
kind: caps
rules: [ { at_most: 3, per: 1d } ]
";

#[test]
fn whatever_becomes_of_its_redis_three_go_out_and_no_fourth_and_nobody_starts_it_again() {
    let sink = Sink::start();
    let mut redis = Redis::start();
    let wire = Wire::to(&redis);
    let mut house = House::new(&sink, Backend::Sqlite);
    house.settings.push(("CARILLON_REDIS__URL", wire.url()));
    house.start();
    let body = serde_json::json!({ "files": [{ "name": "reminder.yaml", "text": REMINDER }] });
    house.post("/api/v1/definitions", &body);
    let sent = || {
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for ((campaign, _), times) in sink.delivered() {
            *sent.entry(campaign).or_default() += times;
        }
        ["reminder", "thanks", "offer"].map(|campaign| sent.get(campaign).copied().unwrap_or(0))
    };

    Load::tell(&house, "ann", "Product Added", "c1");
    until("the first", || sent() == [1, 0, 0]);
    wire.let_pass(Passage::Lost);
    Load::tell(&house, "ann", "Product Added", "c2");
    Load::tell(&house, "ann", "Order Completed", "o1");
    until("what needs no slot", || sent() == [1, 1, 1]);
    until("the second to wait", || house.count_by_status("deferred") == 1);
    wire.let_pass(Passage::Open);
    until("the second, by itself", || sent() == [2, 1, 1]);

    redis.shut_down();
    Load::tell(&house, "ann", "Product Added", "c3");
    until("the third to wait", || house.count_by_status("deferred") == 1);
    redis.come_back();
    until("the third, by itself", || sent() == [3, 1, 1]);
    redis.flush();
    for n in 0..3 {
        Load::tell(&house, "ann", "Product Added", &format!("d{n}"));
    }
    until("the others to be told no", || house.count_by_status("suppressed") == 3);
    house.settle();
    assert_eq!(sent(), [3, 1, 1]);
}
