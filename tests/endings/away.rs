//! PostgreSQL goes away and comes back while the program serves.

use std::time::{Duration, Instant};

use crate::database::Place;
use crate::house::{House, until};
use crate::load::Load;
use crate::postgres::OwnPostgres;
use crate::sink::Sink;

/// How often the server falls under load.
const FALLS: usize = 3;
/// From the call to its answer, with no database behind.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn while_postgres_is_away_whoever_calls_is_told_at_once_to_come_again_and_then_is_heard() {
    let sink = Sink::start();
    let mut postgres = OwnPostgres::start().unwrap();
    let mut house = House::over(&sink, Place::on(&postgres.url()));
    house.start();
    let mut load = Load::default();
    load.run(&[&house], Duration::from_millis(300), || postgres.end("INT").unwrap());
    for _ in 0..5 {
        let asked = Instant::now();
        let answer = load.knock(&house);
        let (waited, head) = (asked.elapsed(), answer.head.to_ascii_lowercase());
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            answer.body.contains(r#""code":"storage_failing""#) && head.contains("\r\nretry-after: "),
            "{answer:?}"
        );
        assert!(waited < TOLD_WITHIN, "told after {waited:?}");
    }
    postgres.come_back().unwrap();
    until("the door to open again", || load.is_open(&house));
    load.run(&[&house], Duration::from_millis(300), || {});
    load.finish(&[&house]);
    house.settle();
    load.check_stored(&house);
    let delivered = sink.delivered();
    for order in load.orders() {
        let times = |kind: &str| delivered.get(&(kind.to_owned(), order.clone())).copied().unwrap_or(0);
        assert_eq!((times("offer"), times("thanks")), (1, 1), "{order}\n{}", house.log());
    }
}

#[test]
fn what_was_answered_is_there_however_often_postgres_falls() {
    let sink = Sink::start();
    let mut postgres = OwnPostgres::start().unwrap();
    let mut house = House::over(&sink, Place::on(&postgres.url()));
    house.start();
    let mut load = Load::default();
    for _ in 0..FALLS {
        load.run(&[&house], Duration::from_millis(300), || postgres.end("QUIT").unwrap());
        postgres.come_back().unwrap();
        until("the door to open again", || load.is_open(&house));
    }
    load.finish(&[&house]);
    house.settle();
    load.check_stored(&house);
    load.check_delivered(&sink, || house.log());
}
