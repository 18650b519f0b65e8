//! Small cases of our own, and the published ones that use only operators we have.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::event::pattern::{Pattern, PatternError, Step, parse};

fn check(pattern: Value, document: Value, expected: bool) {
    let read = Pattern::from_json(&pattern).unwrap();
    assert_eq!(read.matches(&document), expected, "{pattern} over {document}");
    assert_eq!(read.mismatch(&document).is_none(), expected);
}

#[test]
fn fields_are_anded_and_values_ored() {
    let pattern = json!({ "properties": { "category": ["shoes", "hats"], "price": [{ "numeric": [">=", 5] }] } });
    check(pattern.clone(), json!({ "properties": { "category": "hats", "price": 5.00 } }), true);
    check(pattern.clone(), json!({ "properties": { "category": "hats", "price": 4.99 } }), false);
    check(pattern.clone(), json!({ "properties": { "category": "bags", "price": 9 } }), false);
    check(pattern, json!({ "properties": { "category": "hats", "price": "9" } }), false);
}

#[test]
fn numbers_compare_as_exact_decimals() {
    let of = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    check(of(r#"{ "n": [40] }"#), of(r#"{ "n": 40.00 }"#), true);
    check(of(r#"{ "n": [0.1] }"#), of(r#"{ "n": 0.1000000000000000000000000001 }"#), false);
    check(of(r#"{ "n": [{ "numeric": ["<", 1] }] }"#), of(r#"{ "n": 0.9999999999999999999999999999 }"#), true);
    check(of(r#"{ "n": [{ "numeric": ["<", 1] }] }"#), of(r#"{ "n": -1e400 }"#), false);
    check(of(r#"{ "n": [{ "numeric": [">", 0, "<=", 5] }] }"#), of(r#"{ "n": 5 }"#), true);
    check(of(r#"{ "n": [{ "numeric": [">", 0, "<=", 5] }] }"#), of(r#"{ "n": 0 }"#), false);
}

#[test]
fn an_array_matches_when_any_element_does() {
    check(json!({ "tags": ["sale"] }), json!({ "tags": ["new", "sale"] }), true);
    check(json!({ "tags": ["sale"] }), json!({ "tags": [] }), false);
    check(json!({ "tags": ["sale"] }), json!({ "tags": [["sale"]] }), true);
}

#[test]
fn fields_below_one_array_are_met_by_one_element() {
    let pattern = json!({ "products": { "category": ["shoes"], "price": [{ "numeric": [">=", 100] }] } });
    check(pattern.clone(), json!({ "products": [{ "category": "shoes", "price": 120 }] }), true);
    let apart = json!({ "products": [{ "category": "shoes", "price": 10 }, { "category": "hats", "price": 120 }] });
    check(pattern.clone(), apart.clone(), false);
    let text = Pattern::from_json(&pattern).unwrap().mismatch(&apart).unwrap();
    assert_eq!(text, "no single element has products.category, products.price as wanted");
}

#[test]
fn exists_looks_at_leaves_only() {
    check(json!({ "a": { "b": [{ "exists": false }] } }), json!({}), true);
    check(json!({ "a": { "b": [{ "exists": false }] } }), json!({ "a": 1 }), true);
    check(json!({ "a": { "b": [{ "exists": false }] } }), json!({ "a": { "b": null } }), false);
    check(json!({ "a": { "b": [{ "exists": false }] } }), json!({ "a": [{ "c": 1 }, { "b": 1 }] }), false);
    check(json!({ "a": [{ "exists": true }] }), json!({ "a": { "b": 1 } }), false);
    check(json!({ "a": [{ "exists": true }] }), json!({ "a": null }), true);
    check(json!({ "a": [null] }), json!({}), false);
    check(json!({ "a": [null] }), json!({ "a": null }), true);
    check(json!({ "a": [{ "exists": false }, "x"], "b": ["y"] }), json!({ "b": "y" }), true);
    check(json!({ "a": [{ "exists": false }, "x"], "b": ["y"] }), json!({ "a": "z", "b": "y" }), false);
}

#[test]
fn dots_are_steps_on_both_sides() {
    check(json!({ "a.b": ["x"] }), json!({ "a": { "b": "x" } }), true);
    check(json!({ "a": { "b": ["x"] } }), json!({ "a.b": "x" }), true);
    check(json!({ "a": { "b": ["x"] } }), json!({ "a.b": { "b": "x" } }), false);
}

#[test]
fn a_mismatch_names_the_first_field_and_its_operands() {
    let pattern = json!({ "event": ["Product Added"], "properties": { "price": [{ "numeric": [">=", 5] }, null] } });
    let pattern = Pattern::from_json(&pattern).unwrap();
    let mismatch = |document: Value| pattern.mismatch(&document).unwrap();
    assert_eq!(
        mismatch(json!({ "event": "Product Added", "properties": { "price": 3 } })),
        "properties.price is 3, wanted >= 5 or null"
    );
    assert_eq!(mismatch(json!({ "event": "Product Added" })), "properties.price is missing, wanted >= 5 or null");
    assert_eq!(mismatch(json!({ "event": "Cart Viewed" })), "event is `Cart Viewed`, wanted `Product Added`");
}

#[test]
fn what_is_not_supported_yet_is_told_from_what_is_wrong() {
    let refused = |json: Value| -> PatternError { Pattern::from_json(&json).unwrap_err() };
    for later in [
        json!({ "a": [{ "suffix": "x" }] }),
        json!({ "a": [{ "anything-but": "x" }] }),
        json!({ "a": [{ "prefix": { "equals-ignore-case": "x" } }] }),
        json!({ "$or": [{ "a": ["x"] }] }),
    ] {
        assert!(refused(later.clone()).later, "{later}");
    }
    for wrong in [
        json!({}),
        json!({ "a": {} }),
        json!({ "a": [] }),
        json!({ "a": "x" }),
        json!({ "a": [["x"]] }),
        json!({ "a": [{ "prefix": 1 }] }),
        json!({ "a": [{ "numeric": [">", 5, "<", 5] }] }),
        json!({ "a": [{ "numeric": ["<", 5, ">", 1] }] }),
        json!({ "a": [{ "numeric": [] }] }),
        json!([]),
    ] {
        assert!(!refused(wrong.clone()).later, "{wrong}");
    }
    assert_eq!(refused(json!({ "a": [{ "EXISTS": true }] })).nearest, Some("exists"));
    let (_, problems) = parse(&json!({ "a": { "b": ["x", { "cidr": "1.2.3.4/8" }] }, "c": 1 }));
    assert_eq!(problems.len(), 2);
    let at = [Step::Key("a".into()), Step::Key("b".into()), Step::Index(1), Step::Key("cidr".into())];
    assert_eq!(problems[0].at, at);
}

/// 104 cases checked against AWS by others; only their answers are ours to copy, and only where the data is present.
#[test]
fn real_data_published_cases_agree_wherever_our_operators_suffice() {
    let root = std::env::var("CARILLON_TEST_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let path = std::path::Path::new(&root).join("C_webhooks/eventbridge_patterns/localstack_event_patterns.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("not run: {} is absent", path.display());
        return;
    };
    let cases: Value = serde_json::from_str(&text).unwrap();
    let (mut checked, mut later) = (0, 0);
    for case in cases["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        match (Pattern::from_json(&case["pattern"]), case["expected"].as_bool()) {
            (Err(problem), _) if problem.later => later += 1,
            (Err(problem), expected) => {
                assert_eq!(expected, None, "{name} was refused: {problem}");
                checked += 1;
            }
            (Ok(pattern), expected) => {
                assert_eq!(Some(pattern.matches(&case["event"])), expected, "{name}");
                checked += 1;
            }
        }
    }
    println!("{checked} published cases checked, {later} need operators not supported yet");
    assert_eq!((checked, later), (34, 70));
}
