//! Tests on single values, check by check.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;
use crate::audience::Profile;
use crate::audience::field::trait_values;
use crate::ids::ProfileId;

/// Nothing to refer to, and no rates.
struct Nowhere(Exchange);

impl Surroundings for Nowhere {
    fn values(&self, _: &Reference) -> Vec<Found<'_>> {
        Vec::new()
    }

    fn exchange(&self) -> &Exchange {
        &self.0
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }
}

fn holds(test: &Test, value: Option<Value>) -> bool {
    let now = Timestamp::from_millis(0);
    let mut profile = Profile::new(ProfileId(1), now);
    value.into_iter().for_each(|value| drop(profile.traits.insert("a".to_owned(), value)));
    test.ask(&trait_values(&profile, "a", now), &Nowhere(Exchange::default())).holds
}

fn check(checks: Vec<Check>, value: &str, expected: bool) {
    let test = Test { checks, ignore_case: false };
    let value: Option<Value> = (value != "missing").then(|| serde_json::from_str(value).unwrap());
    assert_eq!(holds(&test, value.clone()), expected, "{test} over {value:?}");
}

#[test]
fn a_missing_or_null_value_satisfies_only_its_three_checks() {
    for value in ["missing", "null", "[]"] {
        for yes in [Check::Exists(false), Check::Ne(json!(1).into()), Check::NotIn(vec![json!("a").into()])] {
            check(vec![yes], value, true);
        }
        for no in [
            Check::Exists(true),
            Check::Eq(json!(1).into()),
            Check::In(vec![json!(1).into()]),
            Check::Lt(json!(1).into()),
            Check::Gte(json!(1).into()),
            Check::Prefix(json!("").into()),
            Check::Contains(json!("").into()),
            Check::Before(json!("1970-01-01").into()),
            Check::Between(json!(0).into(), json!(1).into()),
        ] {
            check(vec![no], value, false);
        }
    }
}

#[test]
fn numbers_are_exact_and_never_text() {
    check(vec![Check::Eq(json!(40).into())], "40.00", true);
    check(vec![Check::Eq(json!(40).into())], "\"40\"", false);
    check(vec![Check::Gte(json!(5).into())], "4.9999999999999999999999999", false);
    check(vec![Check::Lt(json!(5).into())], "\"3\"", false);
    check(vec![Check::Gt(json!(5).into())], "1e400", false);
    check(vec![Check::Eq(Operand::Value(serde_json::from_str("1e400").unwrap()))], "1e400", false);
    check(vec![Check::Between(json!(1).into(), json!(2).into())], "1", true);
    check(vec![Check::Between(json!(1).into(), json!(2).into())], "2.0", true);
    check(vec![Check::Between(json!(1).into(), json!(2).into())], "2.01", false);
}

#[test]
fn text_compares_by_code_point_unless_case_is_ignored() {
    check(vec![Check::Eq(json!("Gold").into())], "\"gold\"", false);
    let test = Test { checks: vec![Check::Eq(json!("GOLD").into())], ignore_case: true };
    assert!(holds(&test, Some(json!("gold"))));
    let test = Test { checks: vec![Check::Prefix(json!("ÉT").into())], ignore_case: true };
    assert!(holds(&test, Some(json!("été"))));
    check(vec![Check::Gt(json!("Z").into())], "\"a\"", true);
    check(vec![Check::Suffix(json!(".png").into()), Check::Contains(json!("/").into())], "\"a/b.png\"", true);
    check(vec![Check::Eq(json!(true).into())], "\"true\"", false);
}

#[test]
fn an_array_satisfies_a_test_when_one_element_does() {
    check(vec![Check::Gt(json!(1).into()), Check::Lt(json!(3).into())], "[0, 4]", false);
    check(vec![Check::Gt(json!(1).into()), Check::Lt(json!(3).into())], "[0, 2]", true);
    check(vec![Check::In(vec![json!("a").into(), json!("b").into()])], "[\"c\", \"b\"]", true);
}

#[test]
fn dates_come_in_three_spellings() {
    let noon = || Operand::from(json!("2026-03-01T12:00Z"));
    for (value, before) in [
        ("\"2026-03-01\"", true),
        ("\"2026-03-01T12:59:59+01:00\"", true),
        ("\"2026-03-01T12:00:00Z\"", false),
        ("1772366399.999", true),
        ("1772366400", false),
        ("\"1772366399\"", false),
        ("\"yesterday\"", false),
        ("1e400", false),
    ] {
        check(vec![Check::Before(noon())], value, before);
    }
    check(vec![Check::After(noon())], "1772366401", true);
    check(vec![Check::After(noon())], "1772366400", false);
}
