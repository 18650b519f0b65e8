//! quamina, wherever it accepts the pattern.

use carillon::event::pattern::Pattern;
use proptest::prelude::*;
use quamina::Quamina;
use serde_json::Value;

use crate::generate::{Scope, event, pattern};

const SCOPE: Scope = Scope { arrays_of_objects: true, whole_language: false, dotted: false };

/// quamina takes no notice of what stands beside `exists` in one field, nor always of absence beside another field.
/// moto and the oracle are asked instead.
fn is_about_absence(pattern: &Value) -> bool {
    match pattern {
        Value::Object(members) => members.values().any(is_about_absence),
        Value::Array(any_of) => any_of.iter().any(|one| match one.get("exists") {
            Some(exists) => any_of.len() > 1 || exists == false,
            None => false,
        }),
        _ => false,
    }
}

/// Of a range with two bounds quamina takes the lower one for inside, also after `>`, where its encoding begins the upper
/// one's: 2 is in `[">", 2, "<", 3.5]`.
fn is_range_above(pattern: &Value) -> bool {
    match pattern {
        Value::Object(members) => members.iter().any(|(name, below)| match below.as_array() {
            Some(range) if name == "numeric" => range.len() == 4 && range[0] == ">",
            _ => is_range_above(below),
        }),
        Value::Array(any_of) => any_of.iter().any(is_range_above),
        _ => false,
    }
}

/// quamina compares numbers by an encoding that other scalars fall between; where it is asked about numbers, the event
/// has nothing else.
fn only_numbers(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, below)| (name.clone(), only_numbers(below))).collect(),
        Value::Array(items) => items.iter().map(only_numbers).collect(),
        Value::Number(_) => value.clone(),
        Value::String(_) | Value::Bool(_) | Value::Null => Value::from(7),
    }
}

/// None where quamina refuses the pattern or misreads it.
fn accepted(pattern: &Value) -> Option<Quamina<usize>> {
    // Nor does it read an address of version 6 that is abbreviated.
    let text = pattern.to_string();
    if is_about_absence(pattern) || is_range_above(pattern) || text.contains("::/") {
        return None;
    }
    let mut quamina = Quamina::new();
    quamina.add_pattern(0, &text).ok()?;
    Some(quamina)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn ours_and_quaminas_answers_are_the_same(pattern in pattern(SCOPE), events in prop::collection::vec(event(SCOPE), 1..5)) {
        let ours = Pattern::from_json(&pattern).expect("generated patterns are valid");
        let with_numbers = pattern.to_string().contains("\"numeric\"");
        let Some(quamina) = accepted(&pattern) else { return Ok(()) };
        for event in events {
            let event = if with_numbers { only_numbers(&event) } else { event };
            let theirs = quamina.has_matches(event.to_string().as_bytes()).expect("events are valid JSON");
            prop_assert_eq!(ours.matches(&event), theirs, "{} over {}", pattern, event);
        }
    }
}
