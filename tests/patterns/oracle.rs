//! Arrays of objects against brute force: every choice of one scalar for each field is tried, and two may be chosen
//! together unless they stand in different elements of one array.

use std::collections::BTreeMap;

use carillon::event::pattern::Pattern;
use proptest::prelude::*;
use serde_json::Value;

use crate::generate::{Scope, event, pattern};

const SCOPE: Scope = Scope { arrays_of_objects: true, whole_language: true, dotted: true };

/// A scalar with its dotted path and the elements it stands in, by array.
struct Leaf {
    path: String,
    value: Value,
    elements: BTreeMap<usize, usize>,
}

fn flatten(value: &Value, path: &str, elements: &BTreeMap<usize, usize>, arrays: &mut usize, found: &mut Vec<Leaf>) {
    match value {
        Value::Object(members) => {
            for (name, below) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(below, &path, elements, arrays, found);
            }
        }
        Value::Array(items) => {
            *arrays += 1;
            let array = *arrays;
            for (index, item) in items.iter().enumerate() {
                let mut inside = elements.clone();
                if item.is_object() || item.is_array() {
                    inside.insert(array, index);
                }
                flatten(item, path, &inside, arrays, found);
            }
        }
        scalar => found.push(Leaf { path: path.to_owned(), value: scalar.clone(), elements: elements.clone() }),
    }
}

type Fields = Vec<(String, Vec<Value>)>;

/// The pattern as alternatives of fields, each with its path.
fn alternatives(pattern: &Value, path: &str) -> Vec<Fields> {
    let mut all: Vec<Fields> = vec![Vec::new()];
    for (name, value) in pattern.as_object().unwrap() {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let more = match value {
            Value::Array(items) if name == "$or" => items.iter().flat_map(|item| alternatives(item, path)).collect(),
            Value::Array(items) => vec![vec![(below, items.clone())]],
            object => alternatives(object, &below),
        };
        all = all.iter().flat_map(|one| more.iter().map(move |other| [one.clone(), other.clone()].concat())).collect();
    }
    all
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|_| value.is_number())
}

fn accepts(wanted: &Value, value: &Value) -> bool {
    let Value::Object(operator) = wanted else { return equal(wanted, value) };
    let (operator, operand) = operator.iter().next().unwrap();
    let lower = |text: &str| text.to_lowercase();
    match (operator.as_str(), operand, value) {
        ("exists", exists, _) => exists == &Value::Bool(true),
        ("anything-but", Value::Object(inner), _) => {
            let (operator, operand) = inner.iter().next().unwrap();
            let each = operand.as_array().cloned().unwrap_or_else(|| vec![operand.clone()]);
            let test = |operand: Value| Value::Object([(operator.clone(), operand)].into_iter().collect());
            !each.into_iter().any(|operand| accepts(&test(operand), value))
        }
        ("anything-but", Value::Array(items), _) => !items.iter().any(|item| equal(item, value)),
        ("anything-but", item, _) => !equal(item, value),
        ("prefix", Value::Object(blind), Value::String(text)) => {
            lower(text).starts_with(&lower(blind["equals-ignore-case"].as_str().unwrap()))
        }
        ("suffix", Value::Object(blind), Value::String(text)) => {
            lower(text).ends_with(&lower(blind["equals-ignore-case"].as_str().unwrap()))
        }
        ("prefix", Value::String(end), Value::String(text)) => text.starts_with(end.as_str()),
        ("suffix", Value::String(end), Value::String(text)) => text.ends_with(end.as_str()),
        ("equals-ignore-case", Value::String(whole), Value::String(text)) => lower(whole) == lower(text),
        ("wildcard", Value::String(written), Value::String(text)) => wild(written.as_bytes(), text.as_bytes()),
        ("cidr", Value::String(range), Value::String(text)) => {
            // Of the ranges that are generated.
            match range.as_str() {
                "10.0.0.0/24" => text.starts_with("10.0.0.") && text != "10.0.0.256",
                "10.0.0.0/8" => text.starts_with("10.0.") && text != "10.0.0.256",
                _ => text.starts_with("2001:db8:"),
            }
        }
        ("numeric", Value::Array(parts), value) => number(value).is_some_and(|value| {
            parts.chunks(2).all(|pair| {
                let bound = number(&pair[1]).unwrap();
                match pair[0].as_str().unwrap() {
                    "=" => value == bound,
                    "<" => value < bound,
                    "<=" => value <= bound,
                    ">" => value > bound,
                    _ => value >= bound,
                }
            })
        }),
        _ => false,
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// By trying every length for every star.
fn wild(written: &[u8], text: &[u8]) -> bool {
    match written {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skip| wild(rest, &text[skip..])),
        [b'\\', letter, rest @ ..] | [letter, rest @ ..] => text.first() == Some(letter) && wild(rest, &text[1..]),
    }
}

fn choose(fields: &[(String, Vec<Value>)], leaves: &[Leaf], chosen: &BTreeMap<usize, usize>) -> bool {
    let Some(((path, any_of), rest)) = fields.split_first() else { return true };
    let mut at_path = leaves.iter().filter(|leaf| leaf.path == *path).peekable();
    if at_path.peek().is_none() {
        let absent = serde_json::json!({ "exists": false });
        return any_of.contains(&absent) && choose(rest, leaves, chosen);
    }
    at_path.filter(|leaf| any_of.iter().any(|wanted| accepts(wanted, &leaf.value))).any(|leaf| {
        let fits = leaf.elements.iter().all(|(array, index)| chosen.get(array).is_none_or(|known| known == index));
        let mut both = chosen.clone();
        both.extend(&leaf.elements);
        fits && choose(rest, leaves, &both)
    })
}

pub fn matches(pattern: &Value, event: &Value) -> bool {
    let mut leaves = Vec::new();
    flatten(event, "", &BTreeMap::new(), &mut 0, &mut leaves);
    alternatives(pattern, "").iter().any(|fields| choose(fields, &leaves, &BTreeMap::new()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_element_of_each_array_meets_all_that_is_asked_of_it(
        pattern in pattern(SCOPE), events in prop::collection::vec(event(SCOPE), 1..5)
    ) {
        let ours = Pattern::from_json(&pattern).expect("generated patterns are valid");
        for event in events {
            prop_assert_eq!(ours.matches(&event), matches(&pattern, &event), "{} over {}", pattern, event);
            prop_assert_eq!(ours.mismatch(&event).is_none(), ours.matches(&event));
        }
    }
}

/// Event Ruler's own cases about arrays have no published answers; ours and the oracle's are compared.
#[test]
fn real_data_of_event_ruler_is_read_as_the_oracle_reads_it() {
    let root = std::env::var("CARILLON_TEST_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let path = std::path::Path::new(&root).join("C_webhooks/eventbridge_patterns/event-ruler-correctness-cases.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("not run: {} is absent", path.display());
        return;
    };
    let cases: Value = serde_json::from_str(&text).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    for case in cases {
        let (pattern, event) = (&case["rule"], &case["event"]);
        let ours = Pattern::from_json(pattern).unwrap_or_else(|error| panic!("{}: {error:?}", case["name"]));
        assert_eq!(ours.matches(event), matches(pattern, event), "{}", case["name"]);
    }
    assert_eq!(cases.len(), 30);
}
