//! What is said to turn an answer, case by case, and what money and references are shown as.

use super::refunds::world;
use super::*;
use crate::audience::condition::annotated::Node;
use crate::audience::condition::{Aggregate, Function, NetOf};
use crate::audience::remembered::Worked;
use crate::audience::value_test::dates::Relative;
use crate::audience::value_test::{Operand, Reference};
use crate::money::Amount;

fn node(world: &World, now: i64, condition: &Condition) -> Node {
    let (answers, past) = (Answers::default(), (&world.older[..], &world.bodies, &[][..]));
    let facts = Facts::of_person(at(now), (&world.terms, &answers), &world.profile, past);
    annotate(condition, &Facts { event: world.trigger.as_ref(), ..facts })
}

fn change(world: &World, now: i64, condition: &Condition) -> String {
    node(world, now, condition).change.unwrap_or_default()
}

fn one(check: Check) -> Test {
    Test { checks: vec![check], ignore_case: false }
}

fn money(text: &str) -> Operand {
    Operand::Money(text.parse::<Amount>().unwrap())
}

fn within(span: i64) -> Window {
    Window::Within(Span::from_millis(span).into())
}

fn counted(count: Count, window: Window) -> Condition {
    Condition::Performed(Box::new(performed(count, window)))
}

fn figure(function: Function, check: Check, net_of: Option<NetOf>) -> Condition {
    let count = Count { at_least: None, at_most: None };
    let aggregate = Some(Aggregate { function, path: "properties.revenue".to_owned(), test: one(check) });
    Condition::Performed(Box::new(Performed { aggregate, net_of, ..performed(count, Window::Ever) }))
}

#[test]
fn one_more_of_exactly_so_many_turns_it_at_once() {
    let world = World::new(&[("A", 1, 1), ("A", 2, 1)]);
    let exactly = counted(Count { at_least: Some(2), at_most: Some(2) }, within(100));
    let expected = format!("one more A before {}; or by itself at {}", at(101), at(101));
    assert_eq!(change(&world, 10, &exactly), expected);
}

#[test]
fn what_does_not_count_yet_is_promised_from_then_on() {
    let world = World::new(&[("A", 10, 1)]);
    let between = Window::Between(Span::from_millis(5).into(), Span::from_millis(9).into());
    assert_eq!(
        change(&world, 10, &counted(ONCE, between)),
        format!("nothing until {}, when time alone turns it", at(15))
    );
    let since = counted(ONCE, Window::Since(at(500)));
    assert_eq!(change(&world, 10, &since), format!("one more A at {} or later", at(500)));
}

#[test]
fn a_dear_event_or_a_refund_turns_a_figure() {
    let orders = world(&[(1, 1, Some(40), None), (2, 2, Some(30), None)], &[]);
    let net_of = || {
        Some(NetOf { events: vec!["R".to_owned()], same: ("properties.order_id".into(), "properties.order_id".into()) })
    };
    for (function, check, net, expected) in [
        (Function::Max, Check::Lt(json!(100).into()), None, "one more A, for example with properties.revenue 100"),
        (Function::Min, Check::Gte(json!(20).into()), None, "one more A, for example with properties.revenue 19"),
        (Function::Sum, Check::Gte(money("EUR 100")), None, "one more A, for example with properties.revenue EUR 30"),
        (Function::Avg, Check::Gte(money("EUR 50")), None, "one more A, for example with properties.revenue EUR 80"),
        (
            Function::Distinct,
            Check::Lt(json!(3).into()),
            None,
            "one more A, for example with another properties.revenue than those that count",
        ),
        (Function::Sum, Check::Gte(money("EUR 60")), None, ""),
        (Function::Sum, Check::Gte(money("EUR 60")), net_of(), "R with properties.order_id 1"),
        (
            Function::Sum,
            Check::Gt(money("EUR 0")),
            net_of(),
            "R with properties.order_id 1, and one with properties.order_id 2",
        ),
    ] {
        assert_eq!(change(&orders, 10, &figure(function, check, net)), expected, "{function:?}");
    }
}

#[test]
fn a_field_that_holds_turns_by_anything_else_and_a_date_by_itself() {
    let mut world = World::new(&[]);
    world
        .profile
        .traits
        .extend(json!({ "plan": "free", "mine": "pro", "renewal": "1970-01-10" }).as_object().unwrap().clone());
    let of = |path: &str, test: Test| Condition::Trait(vec![(path.to_owned(), test)]);
    let free = of("plan", Test::equals(json!("free")));
    let expected = "trait plan is `free`, wanted: anything but `free`";
    assert_eq!(change(&world, 10, &free), expected);
    assert_eq!(change(&world, 10, &Condition::Not(Box::new(free))), expected);
    let soon = of("renewal", one(Check::Relative(Relative::InNext(Span::from_hours(72).into()))));
    let told = change(&world, 10, &soon);
    assert!(told.ends_with("; or by itself at 1970-01-07T00:00:00Z"), "{told}");
    let reference = Operand::Ref { reference: Reference::Trait("mine".to_owned()), default: None };
    let told = node(&world, 10, &of("plan", Test::equals(reference)));
    assert_eq!(told.because, "trait plan is `free`, wanted profile.traits.mine (`pro`)");
    assert_eq!(told.values["operands"], json!({ "profile.traits.mine": "pro" }));
    let nowhere = Operand::Ref { reference: Reference::Trait("none".to_owned()), default: None };
    let told = change(&world, 10, &of("plan", Test::equals(nowhere)));
    assert_eq!(told, "trait plan is `free`, wanted: profile.traits.none (missing)");
}

#[test]
fn money_is_shown_with_its_currency_and_its_worth_and_a_missing_rate_by_name() {
    let mut world = world(&[(1, 1, Some(40), Some("JPY"))], &[]);
    let price = |properties: Value| Some(event("A", 50, &json!({ "properties": properties })));
    let dear = Condition::Event(vec![("properties.price".to_owned(), one(Check::Gte(money("EUR 20"))))]);
    world.trigger = price(json!({ "price": 30, "currency": "USD" }));
    let told = node(&world, 60, &dear);
    assert_eq!(told.because, "properties.price is USD 30 (EUR 15), wanted gte EUR 20");
    assert_eq!((&told.values["is"], &told.values["amount"]), (&json!(30), &json!("USD 30 (EUR 15)")));
    world.trigger = price(json!({ "price": 30, "currency": "JPY" }));
    let told = node(&world, 60, &dear);
    assert_eq!(told.because, "properties.price is JPY 30, wanted gte EUR 20 (JPY has no rate)");
    assert_eq!(told.change.unwrap(), "a rate for JPY (`kind: rates`)");
    let told = node(&world, 60, &figure(Function::Sum, Check::Gte(money("EUR 20")), None));
    assert!(told.because.ends_with("is EUR unknown, wanted gte EUR 20 (JPY has no rate)"), "{}", told.because);
    assert_eq!(told.change.unwrap(), "a rate for JPY (`kind: rates`)");
    // A computed trait that cannot be worked out is not merely missing.
    let worked = Worked { value: None, currency: Some(json!("JPY")), next: None };
    world.profile.remembered.computed.insert("revenue".to_owned(), worked);
    let revenue = Condition::Trait(vec![("revenue".to_owned(), one(Check::Gte(money("EUR 20"))))]);
    let answer = world.ask(60, None, &revenue);
    assert!(answer.currency_unknown && !answer.holds);
    assert_eq!(answer.because, "trait revenue is unknown, wanted gte EUR 20 (JPY has no rate)");
}
