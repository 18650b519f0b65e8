//! Tests on a value: `{ gte: 18 }`, `[gold, platinum]`, `pro`.
//!
//! A missing or null value satisfies only `exists: false`, `ne` and `not_in`. Text and numbers are never coerced;
//! numbers compare exactly, as decimals.

use std::cmp::Ordering;
use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

use crate::event::number::decimal;
use crate::event::pattern::{clipped, same};
use crate::ids::Timestamp;

/// Every check must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    pub checks: Vec<Check>,
    /// Text compares without regard to case.
    pub ignore_case: bool,
}

/// One comparison; literals are scalars.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    Eq(Value),
    Ne(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Gt(Value),
    Gte(Value),
    Lt(Value),
    Lte(Value),
    /// Both ends included.
    Between(Value, Value),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Exists(bool),
    Before(Timestamp),
    After(Timestamp),
}

impl Test {
    /// A scalar written alone: equals.
    pub fn equals(value: Value) -> Self {
        Self { checks: vec![Check::Eq(value)], ignore_case: false }
    }

    /// A list written alone: any of.
    pub fn any_of(values: Vec<Value>) -> Self {
        Self { checks: vec![Check::In(values)], ignore_case: false }
    }

    /// Whether a value satisfies every check. An array does when any of its elements does; an empty one is missing.
    pub fn holds(&self, value: Option<&Value>) -> bool {
        match value {
            None | Some(Value::Null) => self.checks.iter().all(Check::holds_when_missing),
            Some(Value::Array(elements)) if elements.is_empty() => self.holds(None),
            Some(Value::Array(elements)) => elements.iter().any(|element| self.holds(Some(element))),
            Some(value) => self.checks.iter().all(|check| check.holds(value, self.ignore_case)),
        }
    }
}

impl Check {
    fn holds_when_missing(&self) -> bool {
        matches!(self, Self::Exists(false) | Self::Ne(_) | Self::NotIn(_))
    }

    /// `value` is neither null nor an array.
    fn holds(&self, value: &Value, ignore_case: bool) -> bool {
        let equal = |wanted: &Value| equal(value, wanted, ignore_case);
        let ordered =
            |wanted: &Value, fits: fn(Ordering) -> bool| compare(value, wanted, ignore_case).is_some_and(fits);
        let text = |wanted: &str, fits: fn(&str, &str) -> bool| {
            value.as_str().is_some_and(|text| match ignore_case {
                true => fits(&text.to_lowercase(), &wanted.to_lowercase()),
                false => fits(text, wanted),
            })
        };
        match self {
            Self::Eq(wanted) => equal(wanted),
            Self::Ne(wanted) => !equal(wanted),
            Self::In(wanted) => wanted.iter().any(equal),
            Self::NotIn(wanted) => !wanted.iter().any(equal),
            Self::Gt(bound) => ordered(bound, Ordering::is_gt),
            Self::Gte(bound) => ordered(bound, Ordering::is_ge),
            Self::Lt(bound) => ordered(bound, Ordering::is_lt),
            Self::Lte(bound) => ordered(bound, Ordering::is_le),
            Self::Between(low, high) => ordered(low, Ordering::is_ge) && ordered(high, Ordering::is_le),
            Self::Prefix(wanted) => text(wanted, |text, wanted| text.starts_with(wanted)),
            Self::Suffix(wanted) => text(wanted, |text, wanted| text.ends_with(wanted)),
            Self::Contains(wanted) => text(wanted, |text, wanted| text.contains(wanted)),
            Self::Exists(wanted) => *wanted,
            Self::Before(bound) => instant(value).is_some_and(|at| at < *bound),
            Self::After(bound) => instant(value).is_some_and(|at| at > *bound),
        }
    }
}

/// Scalars of one kind and value; numbers exactly, as decimals.
pub fn equal(value: &Value, wanted: &Value, ignore_case: bool) -> bool {
    match (value, wanted) {
        (Value::String(one), Value::String(other)) if ignore_case => one.to_lowercase() == other.to_lowercase(),
        _ => same(value, wanted),
    }
}

/// Numbers with numbers and text with text; nothing else has an order.
fn compare(value: &Value, wanted: &Value, ignore_case: bool) -> Option<Ordering> {
    match (value, wanted) {
        (Value::String(one), Value::String(other)) if ignore_case => {
            Some(one.to_lowercase().cmp(&other.to_lowercase()))
        }
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => Some(decimal(value)?.cmp(&decimal(wanted)?)),
    }
}

/// The instant a value names: RFC 3339 text, `YYYY-MM-DD` (its first instant in UTC), or Unix seconds as a number.
pub fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => instant_of_text(text),
        Value::Number(_) => {
            let millis = decimal(value)?.checked_mul(Decimal::ONE_THOUSAND)?;
            Some(Timestamp::from_millis(millis.floor().to_i64()?))
        }
        _ => None,
    }
}

/// RFC 3339 text, or a date.
pub fn instant_of_text(text: &str) -> Option<Timestamp> {
    match text.len() {
        10 => {
            let date: jiff::civil::Date = text.parse().ok()?;
            let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Timestamp::from_millis(midnight.timestamp().as_millisecond()))
        }
        _ => text.parse().ok(),
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks: Vec<String> = self.checks.iter().map(ToString::to_string).collect();
        f.write_str(&checks.join(" and "))?;
        if self.ignore_case { f.write_str(" in any case") } else { Ok(()) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[Value]| values.iter().map(clipped).collect::<Vec<_>>().join(", ");
        match self {
            Self::Eq(value) => f.write_str(&clipped(value)),
            Self::Ne(value) => write!(f, "ne {}", clipped(value)),
            Self::In(values) => write!(f, "any of {}", list(values)),
            Self::NotIn(values) => write!(f, "none of {}", list(values)),
            Self::Gt(bound) => write!(f, "gt {}", clipped(bound)),
            Self::Gte(bound) => write!(f, "gte {}", clipped(bound)),
            Self::Lt(bound) => write!(f, "lt {}", clipped(bound)),
            Self::Lte(bound) => write!(f, "lte {}", clipped(bound)),
            Self::Between(low, high) => write!(f, "between {} and {}", clipped(low), clipped(high)),
            Self::Prefix(text) => write!(f, "prefix `{text}`"),
            Self::Suffix(text) => write!(f, "suffix `{text}`"),
            Self::Contains(text) => write!(f, "contains `{text}`"),
            Self::Exists(true) => f.write_str("any value"),
            Self::Exists(false) => f.write_str("no value"),
            Self::Before(at) => write!(f, "before {at}"),
            Self::After(at) => write!(f, "after {at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn check(checks: Vec<Check>, value: &str, expected: bool) {
        let test = Test { checks, ignore_case: false };
        let value: Option<Value> = (value != "missing").then(|| serde_json::from_str(value).unwrap());
        assert_eq!(test.holds(value.as_ref()), expected, "{test} over {value:?}");
    }

    #[test]
    fn a_missing_or_null_value_satisfies_only_its_three_checks() {
        for value in ["missing", "null", "[]"] {
            for yes in [Check::Exists(false), Check::Ne(json!(1)), Check::NotIn(vec![json!("a")])] {
                check(vec![yes], value, true);
            }
            for no in [
                Check::Exists(true),
                Check::Eq(json!(1)),
                Check::In(vec![json!(1)]),
                Check::Lt(json!(1)),
                Check::Gte(json!(1)),
                Check::Prefix(String::new()),
                Check::Contains(String::new()),
                Check::Before(Timestamp::from_millis(0)),
                Check::Between(json!(0), json!(1)),
            ] {
                check(vec![no], value, false);
            }
        }
    }

    #[test]
    fn numbers_are_exact_and_never_text() {
        check(vec![Check::Eq(json!(40))], "40.00", true);
        check(vec![Check::Eq(json!(40))], "\"40\"", false);
        check(vec![Check::Gte(json!(5))], "4.9999999999999999999999999", false);
        check(vec![Check::Lt(json!(5))], "\"3\"", false);
        check(vec![Check::Gt(json!(5))], "1e400", false);
        check(vec![Check::Eq(serde_json::from_str("1e400").unwrap())], "1e400", false);
        check(vec![Check::Between(json!(1), json!(2))], "1", true);
        check(vec![Check::Between(json!(1), json!(2))], "2.0", true);
        check(vec![Check::Between(json!(1), json!(2))], "2.01", false);
    }

    #[test]
    fn text_compares_by_code_point_unless_case_is_ignored() {
        check(vec![Check::Eq(json!("Gold"))], "\"gold\"", false);
        let test = Test { checks: vec![Check::Eq(json!("GOLD"))], ignore_case: true };
        assert!(test.holds(Some(&json!("gold"))));
        let test = Test { checks: vec![Check::Prefix("ÉT".into())], ignore_case: true };
        assert!(test.holds(Some(&json!("été"))));
        check(vec![Check::Gt(json!("Z"))], "\"a\"", true);
        check(vec![Check::Suffix(".png".into()), Check::Contains("/".into())], "\"a/b.png\"", true);
        check(vec![Check::Eq(json!(true))], "\"true\"", false);
    }

    #[test]
    fn an_array_satisfies_a_test_when_one_element_does() {
        check(vec![Check::Gt(json!(1)), Check::Lt(json!(3))], "[0, 4]", false);
        check(vec![Check::Gt(json!(1)), Check::Lt(json!(3))], "[0, 2]", true);
        check(vec![Check::In(vec![json!("a"), json!("b")])], "[\"c\", \"b\"]", true);
    }

    #[test]
    fn dates_come_in_three_spellings() {
        let noon: Timestamp = "2026-03-01T12:00Z".parse().unwrap();
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
            check(vec![Check::Before(noon)], value, before);
        }
        check(vec![Check::After(noon)], "1772366401", true);
        check(vec![Check::After(noon)], "1772366400", false);
    }
}
