//! Tests whose answer is the same for everybody: nothing is both above 30 and below 20, and no number of things is below
//! zero. They are right as they are written and never do what was meant, so they are refused.

use rust_decimal::Decimal;

use crate::audience::value_test::dates::instant_of_text;
use crate::audience::value_test::{Check, Operand};
use crate::event::number::decimal;
use crate::ids::Timestamp;
use crate::money::Currency;

/// Why no value passes all of these checks, or any text passes one of them.
pub fn whatever_the_value(checks: &[Check], ignore_case: bool) -> Option<String> {
    let is_empty = |operand: &Operand| matches!(operand, Operand::Value(text) if text.as_str() == Some(""));
    let is_sure = |check: &Check| match check {
        Check::Prefix(text) | Check::Suffix(text) | Check::Contains(text) => is_empty(text),
        _ => false,
    };
    if checks.iter().any(is_sure) {
        return Some("is true of any text: an empty one is in all of them; write { exists: true }".to_owned());
    }
    let asks_for_one = |check: &Check| !matches!(check, Check::Exists(_) | Check::Ne(_) | Check::NotIn(_));
    if checks.contains(&Check::Exists(false)) && checks.iter().any(asks_for_one) {
        return Some("can never be true: a value that is missing passes no other check; write two tests".to_owned());
    }
    // Without regard to case texts stand in another order.
    let is_ordered = |bound: &Bound<'_>| !(ignore_case && matches!(bound.at, Place::Text(_)));
    let bounds: Vec<Bound<'_>> = checks.iter().flat_map(bounds).filter(is_ordered).collect();
    let (lower, upper): (Vec<&Bound<'_>>, Vec<&Bound<'_>>) = bounds.iter().partition(|bound| bound.is_lower);
    let crossed = lower.iter().find_map(|low| Some((low, upper.iter().find(|high| low.is_past(high))?)));
    crossed.map(|(low, high)| format!("can never be true: nothing is {} and {}", low.words, high.words))
}

/// The same for a number of things.
pub fn of_a_count(checks: &[Check]) -> Option<String> {
    let least =
        Bound { at: Place::Number(Decimal::ZERO), is_lower: true, is_open: false, words: "0 or more".to_owned() };
    let found: Vec<Bound<'_>> = checks.iter().flat_map(bounds).collect();
    if let Some(high) = found.iter().find(|bound| !bound.is_lower && least.is_past(bound)) {
        return Some(format!("can never be true: a number of things is never {}", high.words));
    }
    let always = |check: &Check| match check {
        Check::Gte(_) => bounds(check).iter().any(|bound| bound.at.number().is_some_and(|n| n <= Decimal::ZERO)),
        Check::Gt(_) => bounds(check).iter().any(|bound| bound.at.number().is_some_and(|n| n < Decimal::ZERO)),
        _ => false,
    };
    checks.iter().any(always).then(|| "is always true: a number of things is never below 0".to_owned())
}

/// One end of what a check lets pass.
struct Bound<'a> {
    at: Place<'a>,
    is_lower: bool,
    /// The end itself does not pass.
    is_open: bool,
    words: String,
}

#[derive(PartialEq)]
enum Place<'a> {
    Number(Decimal),
    Money(Decimal, Currency),
    Text(&'a str),
    Instant(Timestamp),
    /// Where it begins depends on where somebody lives.
    Day(Timestamp),
}

impl Place<'_> {
    fn number(&self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl Bound<'_> {
    /// Nothing lies between this lower end and that upper one.
    fn is_past(&self, high: &Self) -> bool {
        let (past, same) = match (&self.at, &high.at) {
            (Place::Number(low), Place::Number(high)) => (low > high, low == high),
            (Place::Money(low, here), Place::Money(high, there)) if here == there => (low > high, low == high),
            (Place::Text(low), Place::Text(high)) => (low > high, low == high),
            (Place::Instant(low), Place::Instant(high)) | (Place::Day(low), Place::Day(high)) => {
                (low > high, low == high)
            }
            _ => (false, false),
        };
        past || (same && (self.is_open || high.is_open))
    }
}

fn bounds<'c>(check: &'c Check) -> Vec<Bound<'c>> {
    let end = |operand: &'c Operand, is_lower, is_open, words: &str| -> Option<Bound<'c>> {
        Some(Bound { at: place(operand)?, is_lower, is_open, words: format!("{words} {}", written(operand)) })
    };
    let instant = |operand: &'c Operand, is_lower, words: &str| -> Option<Bound<'c>> {
        let Operand::Value(value) = operand else { return None };
        let (text, at) = (value.as_str()?, instant_of_text(value.as_str()?)?);
        let at = if text.contains('T') { Place::Instant(at) } else { Place::Day(at) };
        Some(Bound { at, is_lower, is_open: true, words: format!("{words} {}", written(operand)) })
    };
    let ends = match check {
        Check::Gt(it) => vec![end(it, true, true, "above")],
        Check::Gte(it) => vec![end(it, true, false, "at least")],
        Check::Lt(it) => vec![end(it, false, true, "below")],
        Check::Lte(it) => vec![end(it, false, false, "at most")],
        Check::Between(low, high) => vec![end(low, true, false, "at least"), end(high, false, false, "at most")],
        Check::Eq(it) => vec![end(it, true, false, "equal to"), end(it, false, false, "equal to")],
        Check::After(it) => vec![instant(it, true, "after")],
        Check::Before(it) => vec![instant(it, false, "before")],
        _ => Vec::new(),
    };
    ends.into_iter().flatten().collect()
}

fn place(operand: &Operand) -> Option<Place<'_>> {
    match operand {
        Operand::Value(value) => match value.as_str() {
            Some(text) => Some(Place::Text(text)),
            None => decimal(value).map(Place::Number),
        },
        Operand::Money(amount) => Some(Place::Money(amount.value, amount.currency)),
        Operand::Ref { .. } => None,
    }
}

fn written(operand: &Operand) -> String {
    match operand {
        Operand::Value(value) => crate::event::pattern::clipped(value),
        Operand::Money(amount) => amount.to_string(),
        Operand::Ref { .. } => String::new(),
    }
}
