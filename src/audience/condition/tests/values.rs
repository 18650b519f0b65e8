//! References, items, money and draws, against plain loops over the documents.

use rust_decimal::Decimal;

use super::*;
use crate::audience::value_test::{Operand, Reference};
use crate::money::{Amount, Currency, Rates};

fn money(text: &str) -> Operand {
    Operand::Money(text.parse::<Amount>().unwrap())
}

fn gte(operand: Operand) -> Test {
    Test { checks: vec![Check::Gte(operand)], ignore_case: false }
}

fn to(reference: Reference, default: Option<Operand>) -> Operand {
    Operand::Ref { reference, default: default.map(Box::new) }
}

fn field(path: &str, test: Test) -> Vec<(String, Test)> {
    vec![(path.to_owned(), test)]
}

fn triggered(properties: &Value) -> World {
    let mut world = World::new(&[]);
    world.trigger = Some(event("A", 50, &json!({ "properties": properties })));
    let mut rates = Rates::of(Currency::EUR);
    for (code, from, rate) in [("USD", 0, "0.5"), ("USD", 40, "0.8"), ("USD", 100, "1.5")] {
        assert!(rates.add(code.parse().unwrap(), at(from), rate.parse().unwrap()));
    }
    world.terms.exchange.rates = rates;
    world
}

#[test]
fn a_bare_numbers_currency_is_the_one_beside_it_then_the_events_then_the_workspaces() {
    for (properties, wanted, holds) in [
        (json!({ "total": 50 }), "EUR 50", true),
        (json!({ "total": 50, "currency": "USD" }), "EUR 40", true),
        (json!({ "total": 50, "currency": "USD" }), "EUR 40.01", false),
        (json!({ "total": 50, "currency": "USD" }), "USD 50", true),
        (json!({ "total": 50, "currency": null }), "EUR 50", true),
        (json!({ "total": 50, "currency": "JPY" }), "EUR 1", false),
        (json!({ "total": "50" }), "EUR 1", false),
        (json!({ "total": [10, 60] }), "EUR 60", true),
    ] {
        let world = triggered(&properties);
        let answer = world.ask(60, None, &Condition::Event(field("properties.total", gte(money(wanted)))));
        assert_eq!(answer.holds, holds, "{properties} against {wanted}: {}", answer.because);
        assert_eq!(answer.currency_unknown, properties["currency"] == "JPY", "{}", answer.because);
        assert_eq!(answer.until, None, "an event's day does not change");
    }
    let products = json!([{ "price": 10, "currency": "USD" }, { "price": 9 }]);
    let world = triggered(&json!({ "products": products, "currency": "EUR" }));
    let price = |test: Test| world.ask(60, None, &Condition::Event(field("properties.products.price", test))).holds;
    assert!(price(gte(money("EUR 9"))) && !price(gte(money("EUR 9.01"))), "10 USD are 8 EUR, and 9 are 9");
}

#[test]
fn a_trait_in_another_currency_turns_with_the_table() {
    let mut world = triggered(&json!({}));
    world.profile.traits.insert("spent".to_owned(), json!({ "value": 100, "currency": "USD" }));
    world.profile.traits.insert("home".to_owned(), json!(100));
    let spent = |now: i64, path: &str| {
        let answer = world.ask(now, None, &Condition::Trait(field(path, gte(money("EUR 80")))));
        (answer.holds, answer.until.map(Timestamp::millis))
    };
    assert_eq!(spent(10, "spent.value"), (false, Some(40)));
    assert_eq!(spent(40, "spent.value"), (true, Some(100)));
    assert_eq!(spent(100, "spent.value"), (true, None));
    assert_eq!(spent(10, "home"), (true, None), "the workspace's own currency needs no table");
}

#[test]
fn a_missing_reference_without_a_default_makes_the_whole_test_false() {
    let world = triggered(&json!({ "price": 5, "sizes": ["s", "m"] }));
    let ask = |test: Test| world.ask(60, None, &Condition::Event(field("properties.price", test))).holds;
    let lost = || to(Reference::Trait("nothing".to_owned()), None);
    assert!(!ask(Test { checks: vec![Check::Ne(lost())], ignore_case: false }));
    assert!(!ask(Test { checks: vec![Check::Exists(true), Check::Lt(lost())], ignore_case: false }));
    assert!(ask(gte(to(Reference::Trait("nothing".to_owned()), Some(json!(5).into())))));
    assert!(!ask(gte(to(Reference::Entry("properties.price".to_owned()), None))), "there is no enrollment");
}

#[test]
fn references_lead_to_the_event_the_entry_the_person_and_the_item() {
    let mut world = triggered(&json!({ "price": 5, "sizes": ["s", "m"], "best": { "size": "m" } }));
    world.entry = Some(event("A", 10, &json!({ "properties": { "price": 7 } })));
    world.profile.user_id = Some("m".to_owned());
    world.profile.traits.insert("size".to_owned(), json!("l"));
    let ask =
        |path: &str, operand: Operand| world.ask(60, None, &Condition::Event(field(path, Test::equals(operand)))).holds;
    let event = |path: &str| to(Reference::Event(path.to_owned()), None);
    assert!(ask("properties.best.size", event("properties.sizes")), "any of several values");
    assert!(ask("properties.best.size", to(Reference::UserId, None)));
    assert!(!ask("properties.best.size", to(Reference::Trait("size".to_owned()), None)));
    let entry = || to(Reference::Entry("properties.price".to_owned()), None);
    let below = Test { checks: vec![Check::Lt(entry())], ignore_case: false };
    assert!(world.ask(60, None, &Condition::Event(field("properties.price", below))).holds, "it became cheaper");
}

/// One product: (category, price, currency, list price).
type Product = (u8, i64, Option<&'static str>, Option<i64>);

fn products() -> impl Strategy<Value = Vec<Product>> {
    let currency = prop::sample::select(vec![None, Some("EUR"), Some("USD"), Some("JPY")]);
    prop::collection::vec((0_u8..3, 0_i64..20, currency, prop::option::of(0_i64..20)), 0..6)
}

proptest! {
    #[test]
    fn one_element_meets_all_of_an_item(
        products in products(), category in 0_u8..3, bound in 0_i64..20, all in prop::option::of(Just("USD")),
    ) {
        let listed: Vec<Value> = products.iter().map(|(category, price, currency, list)| {
            json!({ "category": category, "price": price, "currency": currency, "list_price": list })
        }).collect();
        let world = triggered(&json!({ "products": listed, "currency": all }));
        let filter = vec![
            ("category".to_owned(), Test::equals(json!(category))),
            ("price".to_owned(), gte(money(&format!("EUR {bound}")))),
            ("price".to_owned(), Test {
                checks: vec![Check::Lt(to(Reference::Item("list_price".to_owned()), Some(json!(10).into())))],
                ignore_case: false,
            }),
        ];
        // USD is worth 0.8 on the event's day, and JPY nothing we know.
        let worth = |price: i64, currency: Option<&str>| match currency.or(all).unwrap_or("EUR") {
            "EUR" => Some(price * 10),
            "USD" => Some(price * 8),
            _ => None,
        };
        let mut expected = false;
        for (own, price, currency, list) in &products {
            expected |= *own == category
                && worth(*price, *currency).is_some_and(|worth| worth >= bound * 10)
                && *price < list.unwrap_or(10);
        }
        let item = Condition::Item { path: "properties.products".to_owned(), filter };
        let answer = world.ask(60, None, &item);
        prop_assert_eq!(answer.holds, expected, "{}", answer.because);
    }

    #[test]
    fn a_field_with_many_values_satisfies_a_test_when_one_does(values in prop::collection::vec(0_i64..20, 0..6), bound in 0_i64..20) {
        let nested: Vec<Value> = values.iter().map(|n| json!({ "in": [{ "n": n }, null] })).collect();
        let world = triggered(&json!({ "list": nested }));
        let holds = world.ask(60, None, &Condition::Event(field("properties.list.in.n", gte(json!(bound).into())))).holds;
        prop_assert_eq!(holds, values.iter().any(|n| *n >= bound));
    }
}

#[test]
fn a_draw_is_stable_independent_of_other_salts_and_as_frequent_as_it_says() {
    let mut world = World::new(&[]);
    let mut ask = |profile: i64, percent: &str, salt: &str| {
        world.profile.id = ProfileId(profile);
        let percent: Decimal = percent.parse().unwrap();
        world.ask(60, None, &Condition::Random { percent, salt: salt.to_owned() }).holds
    };
    let (mut spring, mut both) = (0, 0);
    for profile in 0..20_000 {
        let drawn = ask(profile, "20", "spring");
        assert_eq!(drawn, ask(profile, "20", "spring"));
        assert!(!drawn || ask(profile, "20.5", "spring"), "a larger share holds the smaller one");
        assert!(ask(profile, "100", "spring") && !ask(profile, "0", "spring"));
        spring += u32::from(drawn);
        both += u32::from(drawn && ask(profile, "20", "autumn"));
    }
    // Four standard deviations of a fair draw: 20 % of 20,000 is 4,000 ± 227; 4 % of it is 800 ± 111.
    assert!((3_773..=4_227).contains(&spring), "{spring}");
    assert!((689..=911).contains(&both), "{both}");
}

#[test]
fn a_draw_stays_what_it_was_in_older_releases() {
    let mut world = World::new(&[]);
    world.profile.id = ProfileId(42);
    let random = Condition::Random { percent: Decimal::from(50), salt: "spring".to_owned() };
    assert_eq!(world.ask(60, None, &random).because, "random spring drew 39.897324 of 100, wanted below 50");
}

#[test]
fn past_events_are_compared_with_the_one_that_began_the_enrollment() {
    let mut world = World::new(&[("A", 1, 3), ("A", 2, 7)]);
    let same = |ours: &str| Performed {
        same: Some((ours.to_owned(), "properties.price".to_owned())),
        ..performed(ONCE, Window::Ever)
    };
    let ask = |world: &World, ours: &str| world.ask(10, Some(5), &Condition::Performed(Box::new(same(ours)))).holds;
    assert!(!ask(&world, "properties.price"), "no entry event");
    world.entry = Some(event("A", 5, &json!({ "properties": { "price": 7, "other": 8 } })));
    assert!(ask(&world, "properties.price"));
    assert!(!ask(&world, "properties.other") && !ask(&world, "properties.none"));
}
