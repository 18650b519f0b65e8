//! Files written by us, small enough to check by eye; the same rules on real files are in `real_data`.
#![allow(clippy::unwrap_used)]

mod bad_files;
mod into_the_log;
mod real_data;
mod shops;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::time_order::TimeOrder;
use super::*;
use crate::event::Kind;

/// Keeps what it is given; a repeated event is one whose id it has.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) events: Vec<Event>,
    pub(super) batches: Vec<usize>,
    ids: std::collections::BTreeSet<crate::ids::EventId>,
}

impl Sink for Kept {
    async fn accept(&mut self, events: Vec<Event>) -> anyhow::Result<SinkReport> {
        self.batches.push(events.len());
        let mut report = SinkReport::default();
        for event in events {
            if self.ids.insert(event.id) {
                report.stored += 1;
                self.events.push(event);
            } else {
                report.repeated += 1;
            }
        }
        Ok(report)
    }
}

pub(super) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/intake").join(name)
}

pub(super) fn provenance() -> Provenance {
    Provenance {
        workspace: WorkspaceId(1),
        source: "import".to_owned(),
        not_after: "2026-11-01T00:00Z".parse().unwrap(),
        known_as: None,
    }
}

pub(super) fn options() -> Options {
    Options {
        provenance: provenance(),
        mapping: None,
        consent: None,
        address_domain: None,
        errors: None,
        rejects: false,
    }
}

/// Imports into memory, where nothing ever waits.
pub(super) fn run(path: &Path, format: Format, options: &Options, sink: &mut Kept) -> anyhow::Result<Summary> {
    let mut running = pin!(import(path, format, options, sink));
    match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(summary) => summary,
        Poll::Pending => panic!("an import into memory waited"),
    }
}

pub(super) fn imported(name: &str, format: Format) -> (Summary, Vec<Event>) {
    let mut kept = Kept::default();
    let summary = run(&fixture(name), format, &options(), &mut kept).unwrap();
    let figures = &summary.figures;
    assert_eq!(figures.rows, figures.rows_in_events + figures.rows_left(), "rows in are rows accounted for");
    assert_eq!(figures.events, kept.events.len() as u64);
    (summary, kept.events)
}

/// One line per event, as a reader would tell it.
fn told(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| format!("{} {} {}", event.at, event.user_id.as_deref().unwrap_or("-"), event.name))
        .collect()
}

fn left(figures: &Figures) -> BTreeMap<&str, u64> {
    figures.rows_without_event.iter().map(|(code, rows)| (*code, *rows)).collect()
}

#[test]
fn the_lines_of_an_invoice_and_customer_become_one_order_in_london_time() {
    let (_, events) = imported("invoices.csv", Format::UciRetail);
    let expected = [
        "2011-01-10T09:00:00Z 501 Order Completed",
        "2011-01-10T09:01:00Z 502 Order Completed",
        "2011-07-01T11:00:00Z 501 Order Refunded",
    ];
    assert_eq!(told(&events), expected);
    let text = |event: &Event| event.lookup("properties").unwrap().to_string();
    assert_eq!(
        text(&events[0]),
        r#"{"order_id":"100001","revenue":23.75,"currency":"GBP","products":[{"product_id":"A1","name":"KETTLE, ENAMEL","quantity":2,"price":10.125},{"product_id":"A2","name":"TEA TIN","quantity":1,"price":3.5},{"product_id":"A3","name":"GIFT","quantity":1,"price":0.0}]}"#
    );
    assert_eq!(
        text(&events[2]),
        r#"{"refund_id":"C100004","revenue":10.125,"currency":"GBP","products":[{"product_id":"A1","name":"KETTLE, ENAMEL","quantity":1,"price":10.125}]}"#
    );
    assert!(text(&events[1]).contains(r#""name":"MUG \"BEST AUNT\"""#));
}

#[test]
fn rows_without_a_customer_and_adjustments_are_counted_to_the_penny_and_not_invented() {
    let (summary, _) = imported("invoices.csv", Format::UciRetail);
    assert_eq!(left(&summary.figures), BTreeMap::from([("no_customer", 4), ("adjustment", 1)]));
    let sums: Vec<(Sum, u64, String)> =
        summary.figures.money.iter().map(|((sum, _), c)| (*sum, c.rows, c.total.to_string())).collect();
    assert_eq!(
        sums,
        [
            (Sum::PositiveRows, 4, "36.05".to_owned()),
            (Sum::NegativeRows, 4, "-44.13".to_owned()),
            (Sum::Cancellations, 2, "-17.125".to_owned()),
            (Sum::Adjustments, 2, "-27.005".to_owned()),
            (Sum::Net, 10, "-8.08".to_owned()),
            (Sum::KnownCustomers, 6, "15.625".to_owned()),
            (Sum::NoCustomer, 4, "-23.705".to_owned()),
        ]
    );
    let printed = summary.to_string();
    assert!(printed.contains("-17.12 GBP (exactly -17.125)"), "{printed}");
    assert!(printed.contains("without a customer"), "{printed}");
}

#[test]
fn clicks_are_put_in_order_and_keyed_by_item() {
    let (summary, events) = imported("clicks.csv", Format::Taobao);
    let expected = [
        "2017-11-26T01:00:00Z 7 Product Viewed",
        "2017-11-26T01:00:30Z 7 Product Added",
        "2017-11-26T01:01:00Z 8 Product Added",
        "2017-11-26T01:01:30Z 7 Product Added to Wishlist",
        "2017-11-26T01:02:00Z 7 Order Completed",
    ];
    assert_eq!(told(&events), expected);
    assert!(events.iter().all(|event| event.lookup("properties.product_id").is_some()));
    assert_eq!(left(&summary.figures), BTreeMap::from([("unknown_behavior", 1), ("not_a_time", 1)]));
    assert_eq!(summary.faults[0].row, 6);
    assert_eq!(summary.faults[1].column.as_deref(), Some("ts"));
}

#[test]
fn the_items_of_a_transaction_are_one_order() {
    let (summary, events) = imported("visits.csv", Format::RetailRocket);
    let orders: Vec<String> = events
        .iter()
        .filter(|event| event.name == "Order Completed")
        .map(|event| event.lookup("properties").unwrap().to_string())
        .collect();
    let expected = [
        r#"{"order_id":"t1","products":[{"product_id":"i1"},{"product_id":"i2"}]}"#,
        r#"{"order_id":"t2","products":[{"product_id":"i3"}]}"#,
    ];
    assert_eq!(orders, expected);
    assert_eq!(summary.figures.rows_in_events, 6);
    assert_eq!(left(&summary.figures), BTreeMap::from([("empty", 1)]));
}

#[test]
fn track_calls_are_kept_byte_for_byte() {
    let (summary, events) = imported("calls.jsonl", Format::Jsonl);
    let text = std::fs::read_to_string(fixture("calls.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let bodies: Vec<&str> = events.iter().map(|event| event.body.text()).collect();
    assert_eq!(bodies, [lines[2], lines[1], lines[0]]);
    assert_eq!(events[2].message_id, "m-1");
    assert_eq!((events[1].kind, events[1].version), (Kind::Identify, 3));
    assert_eq!(events[0].anonymous_id.as_deref(), Some("12"));
    let expected = [
        ("missing_event", 1),
        ("no_customer", 1),
        ("no_time", 1),
        ("not_an_object", 1),
        ("not_json", 2),
        ("nul_character", 1),
        ("unknown_type", 1),
    ];
    assert_eq!(left(&summary.figures), BTreeMap::from(expected));
}

#[test]
fn importing_again_repeats_every_event_and_stores_none() {
    for (name, format) in [
        ("invoices.csv", Format::UciRetail),
        ("clicks.csv", Format::Taobao),
        ("visits.csv", Format::RetailRocket),
        ("calls.jsonl", Format::Jsonl),
    ] {
        let options = Options {
            consent: Some("email=granted".parse().unwrap()),
            address_domain: Some("example.com".to_owned()),
            ..options()
        };
        let mut kept = Kept::default();
        let first = run(&fixture(name), format, &options, &mut kept).unwrap();
        let again = run(&fixture(name), format, &options, &mut kept).unwrap();
        assert_eq!((first.stored, first.repeated), (kept.events.len() as u64, 0), "{name}");
        assert_eq!((again.stored, again.repeated), (0, first.stored), "{name}");
    }
}

#[test]
fn another_file_of_the_same_name_is_not_taken_for_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("clicks.csv");
    let text = std::fs::read_to_string(fixture("clicks.csv")).unwrap();
    std::fs::write(&other, text.replace("i1", "i9")).unwrap();
    let mut kept = Kept::default();
    run(&fixture("clicks.csv"), Format::Taobao, &options(), &mut kept).unwrap();
    let second = run(&other, Format::Taobao, &options(), &mut kept).unwrap();
    assert_eq!((second.stored, second.repeated), (4, 1));
}

#[test]
fn addresses_and_consents_come_before_a_persons_first_event_and_only_when_asked_for() {
    let asked = Options {
        consent: Some("email=granted".parse().unwrap()),
        address_domain: Some("example.com".to_owned()),
        ..options()
    };
    let mut kept = Kept::default();
    let summary = run(&fixture("clicks.csv"), Format::Taobao, &asked, &mut kept).unwrap();
    assert_eq!((summary.people, summary.added), (2, 4));
    let expected = [
        "2017-11-26T01:00:00Z 7 Identified",
        "2017-11-26T01:00:00Z 7 Consent Changed",
        "2017-11-26T01:00:00Z 7 Product Viewed",
        "2017-11-26T01:00:30Z 7 Product Added",
        "2017-11-26T01:01:00Z 8 Identified",
        "2017-11-26T01:01:00Z 8 Consent Changed",
    ];
    assert_eq!(told(&kept.events)[..6], expected);
    assert_eq!(kept.events[0].traits().unwrap()["email"], "u7@example.com");
    assert_eq!(kept.events[1].kind, Kind::Own);
    let consent = kept.events[1].lookup("properties").unwrap().to_string();
    assert_eq!(consent, r#"{"channel":"email","state":"granted","source":"import clicks.csv"}"#);
    for wrong in ["email", "email=", "=granted", "email=maybe", "E mail=granted", "email=granted=yes"] {
        assert!(wrong.parse::<ConsentGiven>().is_err(), "{wrong}");
    }
}

#[test]
fn sorted_runs_on_disk_give_the_same_order_as_memory() {
    let events: Vec<Event> =
        Format::Taobao.open(&fixture("clicks.csv"), &provenance(), None).unwrap().filter_map(Result::ok).collect();
    let many: Vec<Event> = (0..40)
        .flat_map(|n| events.iter().cloned().map(move |event| Event { at: event.at.plus_millis(n * 37 % 11), ..event }))
        .collect();
    let ordered = |run_events: usize| {
        let mut order = TimeOrder::with_runs_of(run_events);
        many.iter().cloned().for_each(|event| order.push(event).unwrap());
        let mut ordered = order.finish().unwrap();
        assert_eq!(ordered.count(), many.len() as u64);
        std::iter::from_fn(move || ordered.next().unwrap()).collect::<Vec<Event>>()
    };
    let in_memory = ordered(usize::MAX);
    assert!(in_memory.is_sorted_by_key(|event| event.at));
    for run_events in [1, 7, 50] {
        let told = |events: &[Event]| events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>();
        assert_eq!(told(&ordered(run_events)), told(&in_memory), "runs of {run_events}");
    }
}
