//! How the program ends on every database.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::CONNECTIONS;
use crate::database::Backend;
use crate::house::House;
use crate::load::Load;
use crate::sink::Sink;

const BACKEND: Backend = Backend::of(module_path!());

/// Marketing that obeys a cap: three a day for each of the shoppers' people.
const TIPS: &str = "\
kind: campaign
key: tip
name: Tip
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Order Completed, key: properties.order_id }
send: { channel: email, template: note }
---
kind: caps
rules: [ { at_most: 3, per: 1d } ]
";
const TIPS_MAX: usize = 3;

/// From a start after a kill to the first mail, where nobody else wants the machine.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

/// How often the program is killed, and how often it is asked to stop; `make crash` asks for more.
fn endings() -> u64 {
    asked().unwrap_or(20)
}

fn asked() -> Option<u64> {
    std::env::var("KILLS").ok().map(|kills| kills.parse().expect("KILLS is a number"))
}

#[test]
fn a_graceful_stop_under_load_loses_and_doubles_nothing() {
    let sink = Sink::start();
    let mut house = House::new(&sink, BACKEND);
    let mut load = Load::default();
    for cycle in 0..endings() {
        house.start();
        load.run(&[&house], Duration::from_millis(150 + cycle * 97 % 640), || house.signal("-TERM"));
        // It waits for thirty seconds and no longer.
        let status = house.wait();
        assert!(status.success(), "asked to stop, it ended with {status}\n{}", house.log());
        assert!(!house.folder().join("server.json").exists(), "the address stays behind");
    }
    house.start();
    load.finish(&[&house]);
    house.settle();
    load.check_stored(&house);
    load.check_delivered(&sink, || house.log());
    assert_eq!(house.count_by_status("unknown"), 0, "an answer was not waited for\n{}", house.log());
}

#[test]
fn a_pause_stops_sending_within_a_second_and_loses_nothing() {
    let sink = Sink::start();
    let mut house = House::new(&sink, BACKEND);
    let mut load = Load::default();
    house.start();
    load.run(&[&house], Duration::from_millis(400), || house.switch("pause"));
    std::thread::sleep(Duration::from_secs(1));
    let delivered = sink.delivered();
    // Shoppers go on ordering: what they order is accepted, decided and held.
    load.run(&[&house], Duration::from_millis(400), || {});
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sink.delivered(), delivered, "something went out while everything was paused");
    house.switch("resume");
    load.finish(&[&house]);
    house.settle();
    load.check_stored(&house);
    load.check_delivered(&sink, || house.log());
}

#[test]
fn a_kill_under_load_loses_nothing_and_doubles_only_what_had_no_answer() {
    let sink = Sink::start();
    let mut house = House::new(&sink, BACKEND);
    let mut load = Load::default();
    let kills = endings();
    house.start();
    house.post("/api/v1/definitions", &serde_json::json!({ "files": [{ "name": "tips.yaml", "text": TIPS }] }));
    house.signal("-TERM");
    assert!(house.wait().success());
    for cycle in 0..kills {
        house.start();
        // At another moment of its work each time.
        load.run(&[&house], Duration::from_millis(150 + cycle * 97 % 640), || house.signal("-KILL"));
        house.wait();
    }
    let waited = std::thread::scope(|scope| {
        let first = scope.spawn(|| sink.until_the_next());
        house.start();
        load.finish(&[&house]);
        first.join().unwrap()
    });
    house.settle();
    load.check_stored(&house);
    let delivered = sink.delivered();
    let (mut doubled, mut missing) = (0, 0);
    for order in load.orders() {
        let times = |kind: &str| delivered.get(&(kind.to_owned(), order.clone())).copied().unwrap_or(0);
        assert!(times("offer") <= 1, "marketing about {order} went out {} times", times("offer"));
        // Killed twice in the middle of it, transactional mail may be missing too; it is repeated once only.
        missing += 1 - times("offer").min(1) + 1 - times("thanks").min(1);
        assert!(times("thanks") <= 2, "{order} was thanked {} times", times("thanks"));
        doubled += times("thanks").saturating_sub(1);
    }
    let mut tips: BTreeMap<String, usize> = BTreeMap::new();
    for ((kind, order), times) in &delivered {
        *tips.entry(Load::person_of(order)).or_default() += if kind == "tip" { *times } else { 0 };
    }
    assert!(tips.values().all(|times| *times <= TIPS_MAX), "more than {TIPS_MAX} a day: {tips:?}");
    assert!(tips.values().any(|times| *times == TIPS_MAX), "nobody's cap was reached: that shows nothing");
    let unknown_max = 2 * CONNECTIONS * usize::try_from(kills).unwrap();
    assert!(doubled <= unknown_max, "{doubled} transactional doubles after {kills} kills");
    let unknown = house.count_by_status("unknown");
    assert!(missing <= unknown, "{missing} messages are missing and only {unknown} are unknown");
    assert!(unknown <= unknown_max, "{unknown} unknown after {kills} kills");
    // In the end: it alone depends on the machine.
    assert!(asked().is_none() || waited <= FIRST_WITHIN, "the first mail after a start came after {waited:?}");
}
