//! The index answers what asking every pattern one by one answers, whatever was added and removed before, and reads
//! the same from an event's text as is read from its document.

use carillon::event::Body;
use carillon::event::pattern::{Index, Pattern};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::generate::{Scope, event, pattern};

const SCOPE: Scope = Scope { arrays_of_objects: true, whole_language: true, dotted: true };

fn one_by_one(patterns: &[Option<Pattern>], event: &Value) -> Vec<u32> {
    let matching = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(|pattern| pattern.matches(event));
    (0..patterns.len() as u32).filter(|rule| matching(&patterns[*rule as usize])).collect()
}

/// The same document in another spelling: spaces, escapes, and every key written before with another value.
fn respelled(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let each = members.iter().map(|(name, below)| {
                let escaped: String = name.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
                format!(
                    " {}: [{{\"x\": 3}}, \"shoes\" ] ,\n\"{escaped}\" :{}",
                    Value::from(name.as_str()),
                    respelled(below)
                )
            });
            format!("{{{}\t}}", each.collect::<Vec<_>>().join(" ,"))
        }
        Value::Array(items) => format!("[ {} ]", items.iter().map(respelled).collect::<Vec<_>>().join(" , ")),
        scalar => scalar.to_string(),
    }
}

/// Clauses of several fields, of which an event may have all, some or none: what stands beside a clause is asked for.
#[test]
fn patterns_of_several_values_are_met_by_the_events_that_have_them_all() {
    let of = |n: u64| {
        let (country, plan) = (format!("C{}", n % 5), format!("P{}", n % 7));
        json!({ "country": [country], "plan": [plan, "none"], "total": [{ "numeric": [">", n % 11] }], "vip": [n.is_multiple_of(2)] })
    };
    let known: Vec<Option<Pattern>> =
        (0..200).map(|n| Some(Pattern::from_json(&of(n)).expect("it is valid"))).collect();
    let mut index = Index::default();
    for (rule, pattern) in (0..).zip(known.iter().flatten()) {
        index.add(rule, pattern);
    }
    let mut met = 0;
    for n in 0..300_u64 {
        let event = json!({ "country": format!("C{}", n % 6), "plan": ["x", format!("P{}", n % 8)], "total": n % 13,
                            "vip": n.is_multiple_of(3) });
        let ours = index.matches(&Body::new(event.to_string()));
        assert_eq!(ours, one_by_one(&known, &event), "{event}");
        met += ours.len();
    }
    assert!(met > 200, "{met} are met: that shows little");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_index_and_each_pattern_alone_agree(
        patterns in prop::collection::vec(pattern(SCOPE), 1..30),
        events in prop::collection::vec(event(SCOPE), 1..8),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut known: Vec<Option<Pattern>> =
            patterns.iter().map(|pattern| Some(Pattern::from_json(pattern).expect("generated patterns are valid"))).collect();
        let mut index = Index::default();
        for (rule, pattern) in known.iter().enumerate() {
            index.add(rule as u32, pattern.as_ref().expect("none is removed yet"));
        }
        let whole = index.clone();
        let before: Vec<Vec<u32>> = events.iter().map(|event| one_by_one(&known, event)).collect();
        for rule in removed {
            let rule = rule.index(known.len());
            known[rule] = None;
            index.remove(rule as u32);
        }
        for (event, before) in events.iter().zip(before) {
            let body = Body::new(event.to_string());
            prop_assert_eq!(index.matches(&body), one_by_one(&known, event), "{}", event);
            prop_assert_eq!(whole.matches(&body), before.clone(), "a copy made before the removals: {}", event);
            prop_assert_eq!(whole.matches(&Body::new(respelled(event))), before, "{}", respelled(event));
        }
    }

    #[test]
    fn a_broken_text_is_answered_like_no_document_or_its_readable_part(
        pattern in pattern(SCOPE), event in event(SCOPE), cut in any::<prop::sample::Index>(), byte in 0x20..0x7f_u8,
    ) {
        let mut index = Index::default();
        index.add(0, &Pattern::from_json(&pattern).expect("generated patterns are valid"));
        let text = event.to_string();
        let at = cut.index(text.len());
        let mut changed = text.clone().into_bytes();
        changed[at] = byte;
        for broken in [text.as_bytes()[..at].to_vec(), changed] {
            if let Ok(broken) = String::from_utf8(broken) {
                let document = serde_json::from_str::<Value>(&broken);
                let answer = index.matches(&Body::new(broken));
                if let Ok(document) = document {
                    let alone = Pattern::from_json(&pattern).expect("as before").matches(&document);
                    prop_assert_eq!(answer.len(), usize::from(alone));
                }
            }
        }
    }
}

/// Thousands of patterns over the same fields: neighbours in every table, and tables of many chunks.
#[test]
fn ten_thousand_patterns_are_found_as_one_by_one() {
    let each = |n: i64| match n % 7 {
        0 => json!({ "sku": [format!("sku-{n}")] }),
        1 => json!({ "price": [{ "numeric": [">=", n, "<", n + 40] }] }),
        2 => json!({ "price": [{ "numeric": [">", n] }], "category": ["shoes"] }),
        3 => json!({ "sku": [{ "prefix": format!("sku-{}", n % 100) }], "price": [{ "numeric": ["<=", n] }] }),
        4 => json!({ "category": [{ "equals-ignore-case": "SHOES" }], "price": [n, n + 1] }),
        5 => json!({ "sku": [{ "suffix": format!("{}", n % 50) }], "category": [{ "anything-but": "hats" }] }),
        _ => json!({ "category": ["shoes", "hats"], "sku": [{ "wildcard": format!("sku-*{}", n % 1_000) }] }),
    };
    let patterns: Vec<Option<Pattern>> = (0..10_000).map(|n| Some(Pattern::from_json(&each(n)).unwrap())).collect();
    let mut index = Index::default();
    for (rule, pattern) in patterns.iter().enumerate() {
        index.add(rule as u32, pattern.as_ref().unwrap());
    }
    for n in [0, 7, 49, 350, 4_999, 9_996] {
        for category in ["shoes", "hats", "Shoes"] {
            let event = json!({ "sku": format!("sku-{n}"), "price": n, "category": category });
            assert_eq!(index.matches(&Body::new(event.to_string())), one_by_one(&patterns, &event), "{event}");
        }
    }
}
