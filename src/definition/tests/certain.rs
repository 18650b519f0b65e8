//! Tests with one answer for everybody are refused, and no others.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::audience::value_test::{Check, Operand};
use crate::definition::certain::whatever_the_value;
use crate::definition::tests::{bad, good};

fn segment(filter: &str) -> String {
    format!("kind: segment\nkey: a\nname: A\nowner: crm@shop.example\nwhere: {filter}\n")
}

#[test]
fn what_nobody_or_everybody_passes_is_refused_with_what_to_write_instead() {
    for (filter, said) in [
        (
            "{ performed: { event: A, at_least: 0 } }",
            "where.performed: `at_least: 0` is true of everybody; `at_most: 0`",
        ),
        (
            "{ trait: { age: { gte: 30, lt: 20 } } }",
            "where.trait.age: can never be true: nothing is at least 30 and below 20",
        ),
        ("{ trait: { age: { between: [ 30, 20 ] } } }", "nothing is at least 30 and at most 20"),
        ("{ trait: { age: { gt: 30, lte: 30 } } }", "nothing is above 30 and at most 30"),
        ("{ trait: { age: { eq: 5, gt: 7 } } }", "nothing is above 7 and equal to 5"),
        ("{ trait: { spent: { gte: EUR 50, lt: EUR 20 } } }", "nothing is at least 50 EUR and below 20 EUR"),
        ("{ trait: { name: { gt: m, lt: b } } }", "nothing is above `m` and below `b`"),
        ("{ trait: { born: { after: 2026-03-01, before: 2026-03-01 } } }", "nothing is after `2026-03-01` and before"),
        ("{ trait: { email: { prefix: \"\" } } }", "is true of any text: an empty one is in all of them"),
        ("{ trait: { age: { exists: false, gte: 3 } } }", "a value that is missing passes no other check"),
        ("{ performed: { event: A, sum: properties.x, gte: 9, lt: 3 } }", "where.performed: can never be true"),
        ("{ performed: { event: A, distinct: properties.x, gte: 0 } }", "a number of things is never below 0"),
        ("{ performed: { event: A, distinct: properties.x, lt: 0 } }", "a number of things is never below 0"),
        ("{ cart: { items: { gt: -1 } } }", "where.cart.items: is always true: a number of things is never below 0"),
        ("{ cart: { items: -2 } }", "can never be true: a number of things is never equal to -2"),
    ] {
        let told = bad(&segment(filter));
        assert!(told.starts_with("wrong_value test.yaml:5:") && told.contains(said), "{filter}\n{told}");
    }
}

#[test]
fn what_may_be_true_and_may_not_is_read() {
    for filter in [
        "{ performed: { event: A, at_least: 0, at_most: 2 } }",
        "{ performed: { event: A, exactly: 0 } }",
        "{ performed: { event: A, sum: properties.x, gte: 0 } }",
        "{ performed: { event: A, distinct: properties.x, gt: 0 } }",
        "{ trait: { age: { between: [ 20, 20 ] } } }",
        "{ trait: { age: { gte: 30, lt: { ref: profile.limit } } } }",
        "{ trait: { spent: { gte: EUR 50, lt: USD 20 } } }",
        "{ trait: { name: { gte: a, lt: B, ignore_case: true } } }",
        "{ trait: { age: { gte: 5, lt: \"3\" } } }",
        // Where somebody lives in the west, the day begins later.
        "{ trait: { born: { after: 2026-03-01T05:00Z, before: 2026-03-01 } } }",
        "{ trait: { age: { exists: false, ne: 3 } } }",
        "{ trait: { age: { exists: true, gte: 3 } } }",
        "{ cart: { items: { gte: 1 } } }",
        "{ random: { percent: 100, salt: a } }",
    ] {
        assert_eq!(good(&segment(filter)).len(), 1, "{filter}");
    }
}

fn check() -> impl Strategy<Value = Check> {
    let operand = prop_oneof![
        (-3..4_i64).prop_map(|n| Operand::Value(json!(n))),
        prop::sample::select(vec!["a", "b", "c"]).prop_map(|text| Operand::Value(json!(text))),
    ];
    let pair = (operand.clone(), operand.clone()).prop_map(|(low, high)| Check::Between(low, high));
    prop_oneof![
        operand.clone().prop_map(Check::Eq),
        operand.clone().prop_map(Check::Ne),
        operand.clone().prop_map(Check::Gt),
        operand.clone().prop_map(Check::Gte),
        operand.clone().prop_map(Check::Lt),
        operand.prop_map(Check::Lte),
        pair,
        any::<bool>().prop_map(Check::Exists),
    ]
}

/// Without a thought of what other checks there are.
fn passes(check: &Check, value: Option<&Value>) -> bool {
    let Some(value) = value else { return matches!(check, Check::Exists(false) | Check::Ne(_)) };
    let order = |operand: &Operand| -> Option<std::cmp::Ordering> {
        let Operand::Value(other) = operand else { return None };
        match (value, other) {
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            _ => value.as_f64()?.partial_cmp(&other.as_f64()?),
        }
    };
    let is = |operand: &Operand, fits: fn(std::cmp::Ordering) -> bool| order(operand).is_some_and(fits);
    match check {
        Check::Eq(it) => is(it, std::cmp::Ordering::is_eq),
        Check::Ne(it) => !is(it, std::cmp::Ordering::is_eq),
        Check::Gt(it) => is(it, std::cmp::Ordering::is_gt),
        Check::Gte(it) => is(it, std::cmp::Ordering::is_ge),
        Check::Lt(it) => is(it, std::cmp::Ordering::is_lt),
        Check::Lte(it) => is(it, std::cmp::Ordering::is_le),
        Check::Between(low, high) => is(low, std::cmp::Ordering::is_ge) && is(high, std::cmp::Ordering::is_le),
        Check::Exists(there) => *there,
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_refused_is_passed_by_no_value(checks in prop::collection::vec(check(), 1..4)) {
        let halves = (-8..9).map(|n| json!(f64::from(n) / 2.0));
        let texts = ["", "a", "aa", "b", "bb", "c", "cc"].map(|text| json!(text));
        let values: Vec<Option<Value>> = halves.chain(texts).map(Some).chain([None]).collect();
        if whatever_the_value(&checks, false).is_some() {
            for value in values {
                prop_assert!(!checks.iter().all(|check| passes(check, value.as_ref())), "{value:?} passes {checks:?}");
            }
        }
    }
}
