//! The scan against the JSON library: what passes here reads there, and the other way round.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn code(text: &[u8]) -> &'static str {
    check(text).map_or_else(|fault| fault.code(), |_| "ok")
}

#[test]
fn each_unfaithful_text_is_refused_by_its_own_name() {
    for (text, expected) in [
        (&b"{\"a\":\"\xff\"}"[..], "invalid_utf8"),
        (b"{\"a\":\"\xed\xa0\x80\"}", "invalid_utf8"),
        (br#"{"a":"\u0000"}"#, "nul_character"),
        (b"{\"a\":\"\0\"}", "nul_character"),
        (b"{\"a\":1}\0", "nul_character"),
        (br#"{"a":"\ud800"}"#, "lone_surrogate"),
        (br#"{"a":"\uD83D\n"}"#, "lone_surrogate"),
        (br#"{"a":"\ud800\ud800"}"#, "lone_surrogate"),
        (br#"{"a":"\udc00"}"#, "lone_surrogate"),
        (br#"{"\udfff":1}"#, "lone_surrogate"),
        (br#"{"$serde_json::private::Number":"1"}"#, "reserved_name"),
        (br#"{"\u0024serde_json::priv\u0061te::RawValue":"1"}"#, "reserved_name"),
        (br#"{"a":"\ud83d\ude00 \\u0000 \\ud800","$price":1}"#, "ok"),
        (br#"{"n":[1e400,-0,9223372036854775808,0.1000000000000000055511151231257827]}"#, "ok"),
    ] {
        assert_eq!(code(text), expected, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn depth_is_bounded_without_recursion() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(code(nested(DEPTH_MAX).as_bytes()), "ok");
    assert_eq!(code(nested(DEPTH_MAX + 1).as_bytes()), "too_deep");
    assert_eq!(code(nested(1_000_000).as_bytes()), "too_deep");
    assert_eq!(code(format!("[{}]", "[],".repeat(100_000)).as_bytes()), "ok");
}

#[test]
fn a_number_is_kept_to_four_hundred_characters() {
    assert_eq!(code("9".repeat(NUMBER_CHARS_MAX).as_bytes()), "ok");
    assert_eq!(code("9".repeat(NUMBER_CHARS_MAX + 1).as_bytes()), "number_too_long");
    assert_eq!(code("9".repeat(10_000_000).as_bytes()), "number_too_long");
}

#[test]
fn paths_stop_at_null_and_at_what_is_not_an_object() {
    let document = serde_json::json!({ "a": { "b": 1, "c": null }, "d": [ { "b": 1 } ] });
    assert_eq!(lookup(&document, "a.b").unwrap(), 1);
    for missing in ["a.c", "a.x", "d.b", "d.0.b", "", "a.", "."] {
        assert!(lookup(&document, missing).is_none(), "{missing}");
    }
}

/// Scraps that, strung together, are often JSON and often nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let scraps = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "{\"k\":",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "\\u0000",
        "\"\\ud83d\\ude00\"",
        "\"\\udbff\"",
        "1",
        "-0",
        "1e400",
        "null",
        "true",
        " ",
        "é",
        "\u{0}",
        "\"$serde_json::private::Number\"",
        "\"$x\"",
    ]);
    prop::collection::vec(scraps, 0..12).prop_map(|scraps| scraps.concat())
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::from_iter(members.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

fn says_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(says_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || says_nul(value)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn the_scan_answers_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes);
    }

    #[test]
    fn what_passes_and_has_the_grammar_reads_without_nul(text in nearly_json()) {
        let passes = check(text.as_bytes()).is_ok() && serde_json::from_str::<&RawValue>(&text).is_ok();
        let read = serde_json::from_str::<Value>(&text).ok().filter(|value| !says_nul(value));
        let reserved = text.contains(RESERVED);
        prop_assert_eq!(passes, read.is_some() && !reserved, "{}", text);
    }

    #[test]
    fn every_written_document_passes_unless_it_says_nul(value in document()) {
        let text = value.to_string();
        prop_assert_eq!(check(text.as_bytes()).is_ok(), !says_nul(&value));
    }
}

#[test]
fn a_text_that_ends_in_the_middle_of_an_escape_is_read_to_its_end() {
    for text in ["\"\\", "{\"a\":\"\\", "\"\\u00", "\"abc\\", "[\"\\ud800\\"] {
        let _ = check(text.as_bytes());
        assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
    }
    assert!(check(b"\"\\").is_ok(), "the grammar is judged by whoever reads it");
}

#[test]
fn a_name_is_missed_in_no_document_that_has_it_however_its_letters_are_written() {
    use crate::event::Body;
    let has = |text: &str| Body::new(text).may_name("consent");
    assert!(has(r#"{"context":{"consent":{"email":true}}}"#));
    assert!(has(r#"{"context":{"\u0063onsent":{"email":true}}}"#));
    assert!(!has(r#"{"context":{"locale":"en"},"note":"con\nsent"}"#));
}
