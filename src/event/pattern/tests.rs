//! Small cases of our own, and the published ones.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use crate::event::pattern::{Pattern, PatternError, Step, Wrong, parse};

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
fn texts_are_tested_at_either_end_with_and_without_case() {
    let holds = |test: Value, text: &str| check(json!({ "a": [test] }), json!({ "a": text }), true);
    let fails = |test: Value, text: &str| check(json!({ "a": [test] }), json!({ "a": text }), false);
    holds(json!({ "suffix": ".png" }), "a.png");
    fails(json!({ "suffix": ".png" }), "a.PNG");
    holds(json!({ "suffix": { "equals-ignore-case": ".png" } }), "a.PnG");
    holds(json!({ "prefix": { "equals-ignore-case": "été" } }), "ÉTÉ 2026");
    fails(json!({ "prefix": { "equals-ignore-case": "shoes" } }), "shoe");
    holds(json!({ "equals-ignore-case": "Straße" }), "STRAßE");
    fails(json!({ "equals-ignore-case": "shoes" }), "shoes ");
    for (written, text, expected) in [
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("a*", "a", true),
        ("a*a", "a", false),
        ("a*b*a", "abba", true),
        ("*ab*ab", "abxab", true),
        ("*ab*ab", "abab", true),
        ("*ab*ab", "ab", false),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a\\\\*", "a\\b", true),
    ] {
        check(json!({ "a": [{ "wildcard": written }] }), json!({ "a": text }), expected);
    }
}

#[test]
fn anything_but_leaves_out_what_it_names_and_nothing_of_another_type() {
    let over = |excluded: Value, value: Value, expected: bool| {
        check(json!({ "a": [{ "anything-but": excluded }] }), json!({ "a": value }), expected);
    };
    over(json!("x"), json!("x"), false);
    over(json!("x"), json!(3), true);
    over(json!("x"), json!(null), true);
    over(json!([1, 2]), json!(2.0), false);
    over(json!([1, 2]), json!("2"), true);
    over(json!({ "prefix": ["sho", "ha"] }), json!("hats"), false);
    over(json!({ "suffix": "s" }), json!("shoe"), true);
    over(json!({ "equals-ignore-case": ["A", "B"] }), json!("b"), false);
    over(json!({ "wildcard": "*/init/*" }), json!("a/init/b"), false);
    over(json!("x"), json!(["x", "y"]), true);
    over(json!("x"), json!(["x"]), false);
    over(json!("x"), json!([]), false);
    check(json!({ "a": [{ "anything-but": "x" }] }), json!({}), false);
}

#[test]
fn addresses_are_within_a_range_of_their_own_version() {
    let over = |range: &str, address: Value, expected: bool| {
        check(json!({ "ip": [{ "cidr": range }] }), json!({ "ip": address }), expected);
    };
    over("10.0.0.0/24", json!("10.0.0.255"), true);
    over("10.0.0.0/24", json!("10.0.1.0"), false);
    over("10.0.0.7/24", json!("10.0.0.9"), true);
    over("0.0.0.0/0", json!("255.255.255.255"), true);
    over("10.0.0.1/32", json!("10.0.0.1"), true);
    over("10.0.0.0/8", json!(10), false);
    over("2001:db8::/32", json!("2001:0db8:0:0::1"), true);
    over("2001:db8::/32", json!("2001:db9::1"), false);
    over("::/0", json!("10.0.0.1"), false);
}

#[test]
fn one_mapping_of_an_or_is_enough_and_the_rest_holds_beside_it() {
    let pattern = json!({
        "items": { "size": ["L"], "$or": [{ "color": ["red"] }, { "price": [{ "numeric": ["<", 10] }] }] },
        "$or": [{ "vip": [true] }, { "country": ["FR"] }],
    });
    let item = |color: &str, price: i64| json!({ "size": "L", "color": color, "price": price });
    check(pattern.clone(), json!({ "items": [item("red", 90)], "vip": true }), true);
    check(pattern.clone(), json!({ "items": [item("blue", 9)], "country": "FR" }), true);
    check(pattern.clone(), json!({ "items": [item("blue", 90)], "country": "FR" }), false);
    check(pattern.clone(), json!({ "items": [item("red", 90)], "country": "DE" }), false);
    let apart = json!({ "items": [item("blue", 90), { "size": "S", "color": "red" }], "vip": true });
    check(pattern, apart, false);
    let told = Pattern::from_json(&json!({ "$or": [{ "a": [1] }, { "b": [2] }] })).unwrap();
    assert_eq!(told.mismatch(&json!({ "a": 3 })).unwrap(), "a is 3, wanted 1; b is missing, wanted 2");
}

#[test]
fn arrays_side_by_side_are_independent_and_nested_ones_are_not() {
    let pattern = json!({ "a": { "x": [1], "b": { "y": [2], "z": [3] } }, "c": { "w": [4] } });
    let inner = |y: i64, z: i64| json!({ "y": y, "z": z });
    let event = |a: Value| json!({ "a": a, "c": [{ "w": 5 }, { "w": 4 }] });
    check(pattern.clone(), event(json!([{ "x": 1, "b": [inner(2, 0), inner(2, 3)] }])), true);
    check(pattern.clone(), event(json!([{ "x": 1, "b": [inner(2, 0), inner(0, 3)] }])), false);
    check(pattern.clone(), event(json!([{ "x": 1, "b": [inner(2, 0)] }, { "x": 0, "b": [inner(2, 3)] }])), false);
    check(pattern, event(json!([[{ "x": 1 }], [{ "x": 1, "b": inner(2, 3) }]])), true);
    let scalars_bind_nothing = json!({ "a": ["x"], "a.b": ["y"] });
    check(scalars_bind_nothing, json!({ "a": ["x", { "b": "y" }, "z"] }), true);
    let both = json!({ "a": ["x"], "a.b": ["y"], "a.c": ["z"] });
    check(both, json!({ "a": [{ "b": "y", "c": "z" }, "x", { "b": "y" }] }), true);
}

#[test]
fn a_wildcard_of_a_thousand_stars_over_a_long_text_is_answered_at_once() {
    let wildcard = "a*".repeat(2_000) + "b";
    let pattern = Pattern::from_json(&json!({ "a": [{ "wildcard": wildcard }] })).unwrap();
    let near = "a".repeat(32_000);
    for _ in 0..200 {
        assert!(!pattern.matches(&json!({ "a": near })));
    }
    assert!(pattern.matches(&json!({ "a": near + "b" })));
}

#[test]
fn what_is_wrong_is_refused_where_it_stands_and_says_what_is_wanted() {
    let refused = |json: Value| -> PatternError { Pattern::from_json(&json).unwrap_err() };
    for (wrong, kind) in [
        (json!({}), Wrong::Value),
        (json!({ "a": {} }), Wrong::Value),
        (json!({ "a": [] }), Wrong::Value),
        (json!({ "a": "x" }), Wrong::Type),
        (json!({ "a": [["x"]] }), Wrong::Type),
        (json!({ "a": [{ "prefix": 1 }] }), Wrong::Type),
        (json!({ "a": [{ "suffix": ["x"] }] }), Wrong::Type),
        (json!({ "a": [{ "suffix": { "prefix": "x" } }] }), Wrong::Type),
        (json!({ "a": [{ "exists": "yes" }] }), Wrong::Type),
        (json!({ "a": [{ "numeric": 5 }] }), Wrong::Type),
        (json!({ "a": [{ "numeric": [">", 5, "<", 5] }] }), Wrong::Value),
        (json!({ "a": [{ "numeric": ["<", 5, ">", 1] }] }), Wrong::Value),
        (json!({ "a": [{ "numeric": [] }] }), Wrong::Value),
        (json!({ "a": [{ "numeric": [">", 5, "<"] }] }), Wrong::Value),
        (json!({ "a": [{ "cidr": "10.0.0.0" }] }), Wrong::Value),
        (json!({ "a": [{ "cidr": "10.0.0.0/33" }] }), Wrong::Value),
        (json!({ "a": [{ "cidr": "::/+8" }] }), Wrong::Value),
        (json!({ "a": [{ "wildcard": "a**b" }] }), Wrong::Value),
        (json!({ "a": [{ "wildcard": "a\\b" }] }), Wrong::Value),
        (json!({ "a": [{ "wildcard": "a\\" }] }), Wrong::Value),
        (json!({ "a": [{ "anything-but": true }] }), Wrong::Type),
        (json!({ "a": [{ "anything-but": [1, "x"] }] }), Wrong::Type),
        (json!({ "a": [{ "anything-but": [] }] }), Wrong::Value),
        (json!({ "a": [{ "anything-but": { "prefix": "" } }] }), Wrong::Value),
        (json!({ "a": [{ "anything-but": { "numeric": [">", 1] } }] }), Wrong::Operator),
        (json!({ "a": [{ "prefix": "x", "suffix": "y" }] }), Wrong::Value),
        (json!({ "$or": [{ "a": ["x"] }] }), Wrong::Value),
        (json!({ "$or": { "a": ["x"] } }), Wrong::Type),
        (json!({ "$or": [{ "a": ["x"] }, 1] }), Wrong::Type),
        (json!({ "$or": [{ "numeric": [">", 1] }, { "a": [1] }] }), Wrong::Value),
        (json!({ "a..b": [1] }), Wrong::Value),
        (json!([]), Wrong::Type),
    ] {
        assert_eq!(refused(wrong.clone()).wrong, kind, "{wrong}");
    }
    assert_eq!(refused(json!({ "a": [{ "EXISTS": true }] })).nearest, Some("exists"));
    assert_eq!(refused(json!({ "a": [{ "anything-but": { "sufix": "x" } }] })).nearest, Some("suffix"));
    assert_eq!(
        refused(json!({ "a": [{ "prefix": 1 }] })).message,
        "wanted text, or { equals-ignore-case: text }, found a number"
    );
    let (_, problems) = parse(&json!({ "a": { "b": ["x", { "cidr": "1.2.3.4/x" }] }, "c": 1 }));
    assert_eq!(problems.len(), 2);
    let at = [Step::Key("a".into()), Step::Key("b".into()), Step::Index(1), Step::Key("cidr".into())];
    assert_eq!(problems[0].at, at);
}

#[test]
fn patterns_beyond_their_bounds_are_refused_and_never_grow() {
    let limit = |json: Value| assert_eq!(Pattern::from_json(&json).unwrap_err().wrong, Wrong::Limit);
    let either = json!({ "$or": [{ "a": [1] }, { "b": [2] }] });
    let deep = (0..20).fold(json!({ "a": [1] }), |inner, _| json!({ "a": inner }));
    let deep_or = (0..20).fold(json!({ "a": [1] }), |inner, _| json!({ "$or": [inner, { "b": [1] }] }));
    let many: Value = (0..40).map(|n| (format!("f{n}"), either.clone())).collect::<serde_json::Map<_, _>>().into();
    let wide: Value = (0..65).map(|n| (format!("f{n}"), json!([n]))).collect::<serde_json::Map<_, _>>().into();
    limit(deep);
    limit(deep_or);
    limit(many);
    limit(wide);
    // A thousand alternatives and many fields more: told once, without multiplying each.
    let any: Vec<Value> = (0..1_000).map(|n| json!({ "a": [n] })).collect();
    let mut vast: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("f{n}"), json!([n]))).collect();
    vast.insert("$or".to_owned(), any.into());
    let (_, problems) = parse::parse(&vast.into());
    assert_eq!(problems.len(), 1, "{problems:?}");
    limit(json!({ "a": (0..1_001).collect::<Vec<_>>() }));
    limit(json!({ "a": [{ "anything-but": (0..1_001).collect::<Vec<_>>() }] }));
    limit(json!({ "a": ["x".repeat(5_000)] }));
}

/// 104 cases checked against AWS by others; only their answers are ours to copy, and only where the data is present.
#[test]
fn real_data_published_cases_all_agree_refusals_included() {
    let root = std::env::var("CARILLON_TEST_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let path = std::path::Path::new(&root).join("C_webhooks/eventbridge_patterns/localstack_event_patterns.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("not run: {} is absent", path.display());
        return;
    };
    let cases: Value = serde_json::from_str(&text).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    for case in cases {
        let ours = Pattern::from_json(&case["pattern"]).map(|pattern| pattern.matches(&case["event"]));
        match case["expected"].as_bool() {
            Some(expected) => assert_eq!(ours, Ok(expected), "{}", case["name"]),
            None => assert!(ours.is_err(), "{} is accepted", case["name"]),
        }
    }
    assert_eq!(cases.len(), 104);
}
