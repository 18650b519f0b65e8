//! Valid patterns and the events they are about, from few names and values so that they often meet.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// What a test can cope with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Objects, empty arrays and arrays within arrays.
    pub arrays_of_objects: bool,
    /// `$or`, `anything-but` with an operator, case-blind prefix and suffix.
    pub whole_language: bool,
    /// Some members of an event are written `o.x` instead of nested.
    pub dotted: bool,
}

const TEXTS: [&str; 22] = [
    "",
    "s",
    "shoes",
    "Shoes",
    "SHOES",
    "shoe",
    "oes",
    "hats",
    "10.0.0.5",
    "10.0.1.9",
    "10.0.0.256",
    "2001:db8::1",
    "2001:db9::1",
    "a*b",
    "a\\b",
    "école",
    "ÉCOLE",
    "ж",
    "Ж",
    "null",
    "true",
    "3",
];
const NUMBERS: [&str; 10] = ["-2", "-0.5", "2", "3", "3.0", "3.5", "10", "100.25", "1e2", "100"];

fn number() -> impl Strategy<Value = Value> {
    prop::sample::select(&NUMBERS[..]).prop_map(|text| serde_json::from_str(text).unwrap())
}

fn text() -> impl Strategy<Value = Value> {
    prop::sample::select(&TEXTS[..]).prop_map(Value::from)
}

/// A scalar that is no boolean: Python takes `true` for 1.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![5 => text(), 4 => number(), 1 => Just(Value::Null)]
}

fn numeric() -> impl Strategy<Value = Value> {
    let one = (prop::sample::select(vec!["=", "<", "<=", ">", ">="]), number())
        .prop_map(|(sign, bound)| json!({ "numeric": [sign, bound] }));
    let low = prop::sample::select(vec![("-2", "2"), ("-0.5", "3"), ("2", "3.5"), ("3", "100"), ("3.5", "100.25")]);
    let two = (low, any::<bool>(), any::<bool>()).prop_map(|((low, high), open, shut)| {
        let of = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        json!({ "numeric": [if open { ">" } else { ">=" }, of(low), if shut { "<=" } else { "<" }, of(high)] })
    });
    prop_oneof![one, two]
}

fn wildcard() -> impl Strategy<Value = Value> {
    let written =
        ["*", "", "s*", "*s", "s*s", "*o*s", "S*", "10.*.5", "a\\*b", "a\\\\b", "*:*", "*é*", "sho*oes", "*shoe*s"];
    prop::sample::select(written.to_vec()).prop_map(Value::from)
}

fn operator(scope: Scope) -> BoxedStrategy<Value> {
    let simple = prop_oneof![
        text().prop_map(|text| json!({ "prefix": text })),
        text().prop_map(|text| json!({ "suffix": text })),
        text().prop_map(|text| json!({ "equals-ignore-case": text })),
        wildcard().prop_map(|written| json!({ "wildcard": written })),
        numeric(),
        prop::sample::select(vec!["10.0.0.0/24", "10.0.0.0/8", "2001:db8::/32"])
            .prop_map(|range| json!({ "cidr": range })),
        any::<bool>().prop_map(|exists| json!({ "exists": exists })),
        text().prop_map(|text| json!({ "anything-but": text })),
        number().prop_map(|number| json!({ "anything-but": number })),
        prop::collection::vec(text(), 1..4).prop_map(|texts| json!({ "anything-but": texts })),
        prop::collection::vec(number(), 1..4).prop_map(|numbers| json!({ "anything-but": numbers })),
    ];
    if !scope.whole_language {
        return simple.boxed();
    }
    let full = || text().prop_filter("every text has an empty end", |text| text != "");
    let excluding = prop_oneof![
        (prop::sample::select(vec!["prefix", "suffix", "equals-ignore-case"]), full(), full(), any::<bool>()).prop_map(
            |(operator, one, other, list)| {
                let operand = if list { json!([one, other]) } else { one };
                json!({ "anything-but": { operator: operand } })
            }
        ),
        wildcard().prop_map(|written| json!({ "anything-but": { "wildcard": written } })),
        (prop::sample::select(vec!["prefix", "suffix"]), text())
            .prop_map(|(operator, text)| json!({ operator: { "equals-ignore-case": text } })),
    ];
    prop_oneof![3 => simple, 1 => excluding].boxed()
}

fn alternatives(scope: Scope) -> BoxedStrategy<Value> {
    let one = prop_oneof![2 => scalar(), 3 => operator(scope)];
    prop::collection::vec(one, 1..4).prop_map(Value::from).boxed()
}

fn flag() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!([true])),
        Just(json!([false])),
        Just(json!([{ "exists": true }])),
        Just(json!([{ "exists": false }]))
    ]
}

/// Fields of one mapping; `o` nests.
fn mapping(scope: Scope, depth: u32) -> BoxedStrategy<Map<String, Value>> {
    let name = prop::sample::select(vec!["a", "b", "x", "y"]);
    let leaf = (name, alternatives(scope)).prop_map(|(name, any)| (name.to_owned(), any));
    let switch = flag().prop_map(|any| ("flag".to_owned(), any));
    let member = if depth == 0 {
        prop_oneof![6 => leaf, 1 => switch].boxed()
    } else {
        let nested = (prop::sample::select(vec!["o", "items"]), mapping(scope, depth - 1))
            .prop_map(|(name, inner)| (name.to_owned(), Value::Object(inner)));
        prop_oneof![4 => leaf, 1 => switch, 3 => nested].boxed()
    };
    let plain = prop::collection::vec(member, 1..4).prop_map(|members| members.into_iter().collect::<Map<_, _>>());
    if !scope.whole_language {
        return plain.boxed();
    }
    let inner = plain.clone().prop_map(Value::Object);
    let or = prop::collection::vec(inner, 2..4).prop_map(Value::from);
    (plain, prop::option::weighted(0.3, or))
        .prop_map(|(mut plain, or)| {
            plain.extend(or.map(|or| ("$or".to_owned(), or)));
            plain
        })
        .boxed()
}

pub fn pattern(scope: Scope) -> impl Strategy<Value = Value> {
    let all = mapping(scope, 2).prop_map(Value::Object);
    all.prop_filter("more combinations than a pattern may have", |pattern| combinations(pattern) <= 1_000)
}

/// Of the alternatives of every `$or`.
fn combinations(pattern: &Value) -> usize {
    let members = pattern.as_object().into_iter().flatten();
    let each = members.map(|(name, below)| match below.as_array() {
        Some(any_of) if name == "$or" => any_of.iter().map(combinations).sum(),
        _ => combinations(below),
    });
    each.product()
}

fn leaf_value(scope: Scope) -> BoxedStrategy<Value> {
    let least = usize::from(!scope.arrays_of_objects);
    let list = prop::collection::vec(scalar(), least..4).prop_map(Value::from).boxed();
    if scope.arrays_of_objects {
        let lists = prop::collection::vec(list.clone(), 0..3).prop_map(Value::from);
        prop_oneof![5 => scalar(), 2 => list, 1 => lists].boxed()
    } else {
        prop_oneof![5 => scalar(), 2 => list].boxed()
    }
}

fn document(scope: Scope, depth: u32) -> BoxedStrategy<Map<String, Value>> {
    let name = prop::sample::select(vec!["a", "b", "x", "y"]);
    let leaf = (name, leaf_value(scope)).prop_map(|(name, value)| (name.to_owned(), value));
    let switch = any::<bool>().prop_map(|value| ("flag".to_owned(), Value::Bool(value)));
    let member = if depth == 0 {
        prop_oneof![8 => leaf, 1 => switch].boxed()
    } else {
        let object = document(scope, depth - 1).prop_map(Value::Object);
        let below = if scope.arrays_of_objects {
            let mixed = prop_oneof![5 => object.clone(), 1 => scalar()];
            let list = prop::collection::vec(mixed, 0..4).prop_map(Value::from).boxed();
            let lists = prop::collection::vec(list.clone(), 0..3).prop_map(Value::from);
            prop_oneof![2 => object, 4 => list, 1 => lists].boxed()
        } else {
            object.boxed()
        };
        let nested =
            (prop::sample::select(vec!["o", "items"]), below).prop_map(|(name, below)| (name.to_owned(), below));
        prop_oneof![4 => leaf, 1 => switch, 5 => nested].boxed()
    };
    (prop::collection::vec(member, 1..6), any::<bool>())
        .prop_map(move |(members, dotted)| {
            let members: Map<String, Value> = members.into_iter().collect();
            if scope.dotted && dotted { joined(members) } else { members }
        })
        .boxed()
}

/// `{ o: { x: 1 } }` as `{ "o.x": 1 }`.
fn joined(members: Map<String, Value>) -> Map<String, Value> {
    let each = members.into_iter().flat_map(|(name, value)| match value {
        Value::Object(inner) if name == "o" => {
            inner.into_iter().map(|(below, value)| (format!("o.{below}"), value)).collect::<Vec<_>>()
        }
        other => vec![(name, other)],
    });
    each.collect()
}

pub fn event(scope: Scope) -> impl Strategy<Value = Value> {
    document(scope, 3).prop_map(Value::Object)
}
