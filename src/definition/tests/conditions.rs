//! Conditions, segments and rates as written: what each form means, and what cannot mean anything.

use serde_json::json;

use crate::audience::Condition;
use crate::audience::condition::{Act, Count, Engaged, Function, Window};
use crate::audience::consent::ConsentState;
use crate::audience::period::Period;
use crate::audience::value_test::dates::Relative;
use crate::audience::value_test::{Check, Operand, Reference, Test};
use crate::decision::campaign::Start;
use crate::decision::segments::SEGMENT_LEFT;
use crate::definition::tests::{CART, bad, campaign, file, good, lines};
use crate::definition::{Definition, Known, cross_check, read};
use crate::ids::{Span, Timestamp};
use crate::message::Channel;
use crate::money::Amount;

fn with_where(inner: &str) -> String {
    CART.replace("key: properties", &format!("where: {inner}, key: properties"))
}

fn condition(inner: &str) -> Condition {
    campaign(&with_where(inner)).entry.filter.unwrap()
}

fn segment(key: &str, filter: &str) -> String {
    format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\nwhere: {filter}\n---\n")
}

fn checked(text: &str) -> String {
    let documents = read(&[file("test.yaml", text)]).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    lines(&cross_check(&documents, &Known::default()))
}

#[test]
fn money_references_and_lists_of_them_are_operands() {
    let Condition::Event(tests) = condition(
        "{ event: { properties.a: { gte: EUR 50, lt: \"USD 99.90\" }, properties.b: { ref: profile.size, default: 4 }, \
         properties.c: [ { ref: entry.properties.x }, SKU 50 ] } }",
    ) else {
        panic!()
    };
    let money = |text: &str| Operand::Money(text.parse::<Amount>().unwrap());
    assert_eq!(tests[0].1.checks, [Check::Gte(money("EUR 50")), Check::Lt(money("USD 99.90"))]);
    let size = Operand::Ref { reference: Reference::Trait("size".into()), default: Some(Box::new(json!(4).into())) };
    assert_eq!(tests[1].1, Test::equals(size));
    let entry = Operand::Ref { reference: Reference::Entry("properties.x".into()), default: None };
    assert_eq!(tests[2].1, Test::any_of(vec![entry, json!("SKU 50").into()]));
}

#[test]
fn an_item_a_draw_and_a_net_sum_are_read() {
    let item = condition(
        "{ item: { in: properties.products, where: { category: shoes, price: { lt: { ref: item.list_price } } } } }",
    );
    let Condition::Item { path, filter } = item else { panic!() };
    assert_eq!((path.as_str(), filter.len()), ("properties.products", 2));
    let random = condition("{ random: { percent: 12.5, salt: spring } }");
    assert_eq!(random, Condition::Random { percent: "12.5".parse().unwrap(), salt: "spring".into() });
    let Condition::Performed(sum) = condition(
        "{ performed: { event: A, sum: properties.revenue, gte: EUR 100, within: 30d, same: properties.sku, \
         net_of: { event: [ B, C ], same: properties.order_id } } }",
    ) else {
        panic!()
    };
    assert_eq!(sum.count, Count { at_least: None, at_most: None }, "a sum asks for no number of events");
    assert_eq!(sum.aggregate.unwrap().function, Function::Sum);
    assert_eq!(sum.net_of.unwrap().events, ["B", "C"]);
    assert_eq!(sum.same.unwrap().0, "properties.sku");
}

#[test]
fn forms_that_cannot_mean_anything_are_refused_with_their_place() {
    for (inner, told) in [
        ("{ event: { a: { gte: XYZ 50 } } }", "`XYZ` is not a currency code of ISO 4217"),
        ("{ event: { a: { ref: item.price } } }", "entry.where.event.a.ref: no item is at hand here"),
        ("{ event: { a: { ref: price } } }", "is not a path from event., entry., profile., item. or cart."),
        ("{ event: { a: { ref: events.price } } }", "`events` is none of event., entry., profile., item. and cart."),
        ("{ event: { a: { eq: 1, default: 2 } } }", "`default` belongs to a `ref`"),
        ("{ event: { a: { gt: { ref: profile.a, default: true } } } }", "a number or text"),
        ("{ event: { a: { ref: profile.a, eq: 1 } } }", "unknown field"),
        ("{ item: { in: properties.products } }", "entry.where.item.where: this field is missing"),
        ("{ item: { in: properties.products, where: {} } }", "names no field"),
        ("{ random: { percent: 101, salt: a } }", "a number from 0 to 100"),
        ("{ random: { percent: 1.1234567, salt: a } }", "at most 6 decimals"),
        ("{ random: { percent: 10 } }", "entry.where.random.salt: this field is missing"),
        ("{ performed: { event: A, sum: p } }", "tests nothing"),
        ("{ performed: { event: A, gte: 5 } }", "write sum, avg, min, max or distinct"),
        ("{ performed: { event: A, sum: p, avg: q, gte: 5 } }", "one of sum, avg"),
        ("{ performed: { event: A, sum: p, gte: much } }", "a number, or money such as EUR 50"),
        (
            "{ performed: { event: A, net_of: { event: B } } }",
            "entry.where.performed.net_of.same: this field is missing",
        ),
    ] {
        let answer = bad(&with_where(inner));
        assert!(answer.contains(told), "{inner}: {answer}");
    }
}

#[test]
fn sequences_dates_and_answers_are_read() {
    let Condition::Sequence(sequence) = condition(
        "{ sequence: { first: { event: Product Viewed, where: { properties.price: { gte: 50 } } }, \
         then_not: { event: [ Order Completed, Product Added ] }, within: 1mo, same: properties.product_id } }",
    ) else {
        panic!()
    };
    assert!(sequence.is_not);
    assert_eq!((sequence.within, sequence.then.events.len()), (Some(Period::Months(1)), 2));
    assert_eq!(sequence.same, Some(("properties.product_id".into(), "properties.product_id".into())));
    for same in ["{ first: properties.a, then: properties.b }", "{ entry: properties.a, event: properties.b }"] {
        let text = format!("{{ sequence: {{ first: {{ event: A }}, then: {{ event: B }}, same: {same} }} }}");
        let Condition::Sequence(sequence) = condition(&text) else { panic!() };
        assert_eq!(sequence.same, Some(("properties.a".into(), "properties.b".into())));
        assert_eq!((sequence.is_not, sequence.within), (false, None));
    }
    let Condition::Trait(tests) = condition(
        "{ trait: { renews_at: { in_next: 7d }, signed_up: { in_last: 1y }, born: { anniversary: { days_before: 3 } } } }",
    ) else {
        panic!()
    };
    let wanted = [
        Relative::InNext(Span::from_days(7).into()),
        Relative::InLast(Period::Months(12)),
        Relative::Anniversary { days_before: 3 },
    ];
    assert_eq!(tests.iter().map(|(_, test)| test.checks[0].clone()).collect::<Vec<_>>(), wanted.map(Check::Relative));
    assert_eq!(
        condition("{ consent: { sms: granted, email: [ granted, unknown ] } }"),
        Condition::Consent(vec![
            ("sms".into(), vec![ConsentState::Granted]),
            ("email".into(), vec![ConsentState::Granted, ConsentState::Unknown]),
        ])
    );
    assert_eq!(condition("{ subscribed: { topic: offers } }"), Condition::Subscribed("offers".into()));
    assert_eq!(condition("{ reachable: sms }"), Condition::Reachable(Channel::Sms));
    let clicked =
        Engaged { act: Act::Clicked, campaign: "spring".into(), window: Window::Within(Period::CalendarWeek) };
    assert_eq!(condition("{ clicked: { campaign: spring, within: calendar_week } }"), Condition::Engaged(clicked));
    let lost =
        checked(&segment("a", "{ any: [ { opened: { campaign: sprong } }, { subscribed: { topic: ofers } } ] }"));
    assert!(lost.contains("there is no campaign `sprong`") && lost.contains("there is no topic `ofers`"), "{lost}");
}

#[test]
fn sequences_dates_and_answers_that_mean_nothing_are_refused_with_their_place() {
    for (inner, told) in [
        ("{ sequence: { first: { event: A }, within: 2h } }", "wanted a `then` or a `then_not`"),
        ("{ sequence: { first: { event: A }, then_not: { event: B } } }", "`within` is missing"),
        ("{ sequence: { first: { event: A }, then: { event: B }, then_not: { event: C } } }", "either a `then` or"),
        ("{ sequence: { first: { event: A }, than: { event: B } } }", "did you mean `then`?"),
        ("{ sequence: { then: { event: B } } }", "entry.where.sequence.first: this field is missing"),
        ("{ sequence: { first: A, then: { event: B } } }", "entry.where.sequence.first: wanted a mapping"),
        ("{ sequence: { first: { event: A }, then: { event: B }, within: 0d } }", "must be longer than zero"),
        ("{ performed: { event: A, within: 1month } }", "is not a duration such as 30s, 5m, 2h, 7d, 2w, 1mo, 1y"),
        ("{ performed: { event: A, between: [ 2mo, 30d ] } }", "the first duration must be the shorter one"),
        ("{ trait: { a: { anniversary: { days_before: 366 } } } }", "from 0 to 365"),
        ("{ trait: { a: { anniversary: { day_before: 3 } } } }", "did you mean `days_before`?"),
        ("{ trait: { a: { before: --03-01 } } }", "wanted an instant"),
        ("{ consent: { smss: granted } }", "did you mean `sms`?"),
        ("{ consent: { sms: grantd } }", "did you mean `granted`?"),
        ("{ consent: {} }", "names no channel"),
        ("{ reachable: smss }", "did you mean `sms`?"),
        ("{ reachable: [ sms ] }", "entry.where.reachable: "),
        ("{ rechable: sms }", "did you mean `reachable`?"),
        ("{ subscribed: {} }", "entry.where.subscribed.topic: this field is missing"),
        ("{ opened: { within: 7d } }", "entry.where.opened.campaign: this field is missing"),
        ("{ recived: { campaign: a } }", "did you mean `received`?"),
    ] {
        let answer = bad(&with_where(inner));
        assert!(answer.contains(told), "{inner}: {answer}");
    }
}

#[test]
fn a_segment_asks_about_the_person_alone() {
    let vip = segment("vip", "{ performed: { event: Order Completed, at_least: 3, within: 90d } }");
    let Definition::Segment(read) = good(&vip).remove(0).definition else { panic!() };
    assert_eq!((read.key.as_str(), read.owner.as_str()), ("vip", "crm@shop.example"));
    for (filter, told) in [
        ("{ event: { a: 1 } }", "where.event: no event is at hand here"),
        ("{ item: { in: a, where: { b: 1 } } }", "where.item: no event is at hand here"),
        ("{ trait: { a: { ref: event.properties.a } } }", "where.trait.a.ref: no event is at hand here"),
        ("{ trait: { a: { ref: entry.properties.a } } }", "where.trait.a.ref: there is no enrollment here"),
        ("{ performed: { event: A, since: entry } }", "where.performed.since: there is no enrollment here"),
        ("{ performed: { event: A, same: p } }", "where.performed.same: there is no enrollment here"),
    ] {
        let answer = bad(&segment("vip", filter));
        assert!(answer.contains(told), "{filter}: {answer}");
    }
    assert!(bad(&vip.replace("owner: crm@shop.example\n", "")).contains("owner: this field is missing"));
}

#[test]
fn segments_that_are_missing_or_build_on_each_other_in_a_circle_are_named() {
    let lost =
        checked(&format!("{}{}", segment("vip", "{ in_segment: godl }"), segment("gold", "{ trait: { a: 1 } }")));
    assert!(lost.contains("unknown_reference test.yaml:5:22: where.in_segment: there is no segment `godl`"), "{lost}");
    assert!(lost.contains("did you mean `gold`?"), "{lost}");
    let circle = ["a", "b", "c"].iter().zip(["b", "c", "a"]).map(|(key, on)| {
        segment(key, &format!("{{ all: [ {{ trait: {{ x: 1 }} }}, {{ not: {{ in_segment: {on} }} }} ] }}"))
    });
    let told = checked(&circle.collect::<String>());
    assert!(
        told.contains(
            "test.yaml:5:59: where.all[1].not.in_segment: segments build on each other in a circle: a → b → c → a"
        ),
        "{told}"
    );
    assert_eq!(told.lines().count(), 3, "at each of them\n{told}");
    let itself = checked(&segment("a", "{ in_segment: a }"));
    assert!(
        itself.contains("test.yaml:5:22: where.in_segment: segments build on each other in a circle: a → a"),
        "{itself}"
    );
    let row = |n: usize| -> String {
        let link =
            |n: usize| if n == 0 { "{ trait: { a: 1 } }".into() } else { format!("{{ in_segment: s{} }}", n - 1) };
        (0..n).map(|n| segment(&format!("s{n}"), &link(n))).collect()
    };
    assert_eq!(checked(&row(12)), "");
    let long = checked(&row(13));
    assert!(long.contains("where: builds on 13 segments in a row; at most 12 are allowed"), "{long}");
    let many = checked(&row(1_100));
    assert!(many.contains("there would be 1100 segments; at most 1000 are allowed"), "{many}");
    assert_eq!(many.lines().count(), 1, "{many}");
    // A circle with what is applied already is one too.
    let mut known = Known::default();
    known.segments.insert("b", ["a".to_owned()].into());
    let documents = good(&segment("a", "{ in_segment: b }"));
    assert!(lines(&cross_check(&documents, &known)).contains("a → b → a"));
}

#[test]
fn a_campaign_may_begin_with_a_segment() {
    let left = campaign(&CART.replace("event: Product Added", "segment: lapsed, on: left"));
    assert_eq!((left.entry.event.as_str(), left.entry.start), (SEGMENT_LEFT, Start::Segment("lapsed".into())));
    for (from, told) in [
        ("segment: lapsed", "entry.on: this field is missing"),
        ("segment: lapsed, on: came", "not one of entered, left"),
        ("segment: lapsed, on: left, event: A", "either an `event` or a `segment` enters"),
        ("event: A, on: left", "`on` belongs to `segment`"),
    ] {
        let answer = bad(&CART.replace("event: Product Added", from));
        assert!(answer.contains(told), "{from}: {answer}");
    }
}

#[test]
fn a_rate_table_is_read_and_its_mistakes_are_named() {
    let table = |rows: &str| format!("kind: rates\nbase: EUR\nrates: [ {rows} ]\n");
    let good_rows =
        "{ date: 2026-01-01, currency: USD, rate: 0.92 }, { date: 2026-02-01, currency: USD, rate: \"0.9\" }";
    let document = good(&table(good_rows)).remove(0);
    assert_eq!(document.key, "default");
    let Definition::Rates(rates) = document.definition else { panic!() };
    let at: Timestamp = "2026-01-31T23:00Z".parse().unwrap();
    let worth = rates.convert("USD 100".parse().unwrap(), "EUR".parse().unwrap(), at);
    assert_eq!(worth.unwrap(), "92".parse().unwrap());
    for (rows, told) in [
        ("{ date: 2026-01-01, currency: US, rate: 1 }", "rates[0].currency: wanted a currency code"),
        ("{ date: 2026-01-01, currency: EUR, rate: 1 }", "EUR is the base"),
        ("{ date: soon, currency: USD, rate: 1 }", "wanted a date"),
        ("{ date: 2026-01-01T10:00Z, currency: USD, rate: 1 }", "wanted a date"),
        ("{ date: 2026-01-01, currency: USD, rate: 0 }", "above zero"),
        ("{ date: 2026-01-01, currency: USD, rate: -1 }", "above zero"),
        ("{ date: 2026-01-01, currency: USD, rate: 1e3 }", "plain decimal"),
        ("{ date: 2026-01-01, currency: USD, rate: 0.1234567890123 }", "at most 12 digits"),
        (
            "{ date: 2026-01-01, currency: USD, rate: 1 }, { date: 2026-01-01, currency: USD, rate: 1 }",
            "a second rate for USD on this day",
        ),
    ] {
        let answer = bad(&table(rows));
        assert!(answer.contains(told), "{rows}: {answer}");
    }
}

#[test]
fn the_limits_hold_across_every_form() {
    let tests = |n: usize| (0..n).map(|n| format!("p{n}: 1")).collect::<Vec<_>>().join(", ");
    let item = |n: usize| with_where(&format!("{{ item: {{ in: properties.products, where: {{ {} }} }} }}", tests(n)));
    assert_eq!(good(&item(100)).len(), 1);
    assert!(bad(&item(101)).contains("entry.where: has 101 conditions; at most 100 are allowed"));
    let filter = |n: usize| format!("{{ performed: {{ event: A, where: {{ {} }} }} }}", tests(n));
    assert!(bad(&segment("a", &filter(101))).contains("where: has 101 conditions"));
}
