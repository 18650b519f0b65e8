//! Computed traits, static segments, and entries by a trait that changed or a date, as written.

use crate::audience::Condition;
use crate::audience::computed::{Function, Unit, Worth};
use crate::audience::occasion::{Feb29, Offset};
use crate::decision::campaign::Start;
use crate::decision::dates::DATE_REACHED;
use crate::decision::traits::TRAIT_CHANGED;
use crate::definition::Definition;
use crate::definition::tests::{CART, bad, campaign, good};
use crate::ids::Span;

fn computed(compute: &str) -> String {
    format!("kind: computed_trait\nkey: mine\ncompute: {compute}\n")
}

#[test]
fn a_computed_trait_is_one_function_over_events() {
    for (compute, function, path) in [
        ("{ count: true, over: A }", Function::Count, None),
        ("{ sum: properties.n, over: [ A, B ], within: 1y }", Function::Sum(Worth::AsItStands), Some("properties.n")),
        (
            "{ first: properties.a.b, over: A, where: { properties.n: { gte: 5 } } }",
            Function::First,
            Some("properties.a.b"),
        ),
        ("{ last: timestamp, over: A }", Function::Last, None),
        ("{ most_frequent: properties.c, over: A, between: [ 1d, 2d ] }", Function::MostFrequent, Some("properties.c")),
        ("{ average_interval: days, over: A, since: 2026-01-01T00:00Z }", Function::AverageInterval(Unit::Days), None),
    ] {
        let Definition::ComputedTrait(read) = good(&computed(compute)).remove(0).definition else { panic!() };
        assert_eq!((read.compute.function, read.compute.path()), (function, path), "{compute}");
    }
}

#[test]
fn a_computed_trait_that_means_nothing_is_refused_where_it_is_wrong() {
    for (compute, told) in [
        ("{ over: A }", "compute: wanted one of count, sum, last, first, most_frequent, average_interval"),
        ("{ count: true, sum: properties.n, over: A }", "compute: wanted one of count"),
        ("{ count: false, over: A }", "compute.count: write `count: true`"),
        ("{ count: true }", "compute.over: this field is missing"),
        ("{ conut: true, over: A }", "did you mean `count`?"),
        ("{ average_interval: dais, over: A }", "did you mean `days`?"),
        ("{ sum: timestamp, over: A }", "which only `first` and `last` tell"),
        ("{ sum: properties.n, over: A, currency: EURO }", "compute.currency: "),
        ("{ count: true, over: A, currency: EUR }", "compute.currency: only a `sum` has a currency"),
        ("{ count: true, over: A, since: entry }", "compute.since: there is no enrollment here"),
        (
            "{ count: true, over: A, where: { a: { ref: profile.size } } }",
            "compute.where: compares with `profile.traits.size`, and what counts for a computed trait is the same",
        ),
        ("{ count: true, over: A, where: { a: { ref: cart.value } } }", "compute.where: compares with `cart.value`"),
        ("{ count: true, over: A, where: { a: { ref: profile.user_id } } }", "ask `performed` with this `where`"),
        ("{ count: true, over: A, where: { a: { ref: event.b } } }", "no event is at hand here"),
        ("{ count: true, over: A, within: 0d }", "compute.within: must be longer than zero"),
    ] {
        let answer = bad(&computed(compute));
        assert!(answer.contains(told), "{compute}: {answer}");
    }
}

#[test]
fn a_static_segment_has_members_and_no_condition() {
    let head = "kind: segment\nkey: staff\nname: Staff\nowner: crm@shop.example\n";
    let Definition::Segment(read) = good(&format!("{head}static: true\n")).remove(0).definition else { panic!() };
    assert_eq!(read.filter, Condition::Listed("staff".into()));
    let both = bad(&format!("{head}static: true\nwhere: {{ trait: {{ a: 1 }} }}\n"));
    assert!(both.contains("where: a static segment has uploaded members and no `where`"), "{both}");
    assert!(bad(&format!("{head}static: false\n")).contains("where: this field is missing"));
}

fn entry(inner: &str) -> String {
    CART.replace("event: Product Added", inner)
}

#[test]
fn a_campaign_may_begin_with_a_trait_that_changed() {
    let promoted = campaign(&entry("trait: tier, from: [ bronze, silver ], to: gold"));
    assert_eq!(promoted.entry.event, TRAIT_CHANGED);
    let Start::Trait(change) = promoted.entry.start else { panic!() };
    assert_eq!(
        (change.name.as_str(), change.from.map(|it| it.len()), change.to.map(|it| it.len())),
        ("tier", Some(2), Some(1))
    );
    for (inner, told) in [
        ("trait: tier, to: []", "entry.to: an empty list fits nothing"),
        ("trait: tier, to: null", "nothing equals null"),
        ("trait: tier, event: A", "either an `event` or a `trait` enters"),
        ("event: A, to: gold", "entry.to: `to` belongs to `trait`"),
        ("segment: vip, on: entered, from: gold", "entry.from: `from` belongs to `trait`"),
        ("trait: tier, on: left", "entry.on: `on` belongs to `segment`"),
    ] {
        let answer = bad(&entry(inner));
        assert!(answer.contains(told), "{inner}: {answer}");
    }
}

#[test]
fn a_campaign_may_begin_on_a_date() {
    let birthday = campaign(&entry("date: { trait: birthday, yearly: true, offset: -3d, at: \"09:00\", feb29: mar1 }"));
    assert_eq!(birthday.entry.event, DATE_REACHED);
    let Start::Date(date) = birthday.entry.start else { panic!() };
    assert_eq!(
        (date.of.as_str(), date.yearly, date.offset, date.feb29),
        ("birthday", true, Offset::Days(-3), Feb29::Mar1)
    );
    assert_eq!(date.at, Some(jiff::civil::time(9, 0, 0, 0)));
    for (text, offset) in
        [("2w", Offset::Days(14)), ("-1mo", Offset::Months(-1)), ("+1y", Offset::Months(12)), ("48h", Offset::Days(2))]
    {
        let Start::Date(date) = campaign(&entry(&format!("date: {{ trait: a, offset: {text} }}"))).entry.start else {
            panic!()
        };
        assert_eq!(date.offset, offset, "{text}");
    }
    for (inner, told) in [
        ("date: {}", "entry.date.trait: this field is missing"),
        ("date: { trait: a, offset: -3h }", "entry.date.offset: `-3h` is no number of whole days"),
        ("date: { trait: a, offset: 3y }", "entry.date.offset: leads further than two years"),
        ("date: { trait: a, at: \"9:00\" }", "entry.date.at: `9:00` is no time of day such as \"09:00\""),
        ("date: { trait: a, at: \"25:00\" }", "entry.date.at: "),
        ("date: { trait: a, feb29: feb27 }", "entry.date.feb29: "),
        ("date: { trait: a, yearli: true }", "did you mean `yearly`?"),
        ("date: { trait: a }, event: A", "either an `event` or a `date` enters"),
    ] {
        let answer = bad(&entry(inner));
        assert!(answer.contains(told), "{inner}: {answer}");
    }
}

#[test]
fn members_there_are_already_are_asked_for_with_a_pace_beside_a_segment_that_is_entered() {
    let read = |include: &str| entry(&format!("segment: staff, on: entered, include_existing: {include}"));
    let existing = |include: &str| campaign(&read(include)).entry.existing.unwrap();
    let hourly = existing("{ pace: 500/h, newest_first: true }");
    assert_eq!((hourly.pace.people, hourly.pace.per, hourly.newest_first), (500, Span::from_hours(1), true));
    assert_eq!(existing("{ pace: 5000 / min }").pace.per, Span::from_seconds(60));
    for (include, problem) in [
        ("true", "wanted a mapping"),
        ("{}", "entry.include_existing.pace: this field is missing"),
        ("{ pace: 500 }", "wanted so many per `s`, `min`, `h` or `d`, such as `500/h`"),
        ("{ pace: 0/h }", "wanted so many per"),
        ("{ pace: -5/h }", "wanted so many per"),
        ("{ pace: 1001/s }", "is more than 1000 a second"),
        ("{ pace: 5/h, newest_frist: true }", "did you mean `newest_first`"),
    ] {
        let told = bad(&read(include));
        assert!(told.contains(problem), "{include}: {told}");
    }
    let left = bad(&entry("segment: staff, on: left, include_existing: { pace: 5/h }"));
    assert!(left.contains("only a segment that is entered has members already"), "{left}");
}
