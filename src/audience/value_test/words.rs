//! Tests in the words they were written in, for reasons and explanations; beside what they were asked of with what
//! references came to, and money with its currency and what it is worth in the one that is wanted.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::audience::field::{Found, UnknownCurrency};
use crate::audience::value_test::{Check, Operand, Reference, Surroundings, Test};
use crate::event::pattern::clipped;
use crate::money::Currency;

/// Values shown of a field that has many.
pub const VALUES_SHOWN_MAX: usize = 3;

impl Test {
    /// As it was written, with what its references come to: `profile.traits.plan (`pro`)`.
    pub fn spoken(&self, around: &dyn Surroundings) -> String {
        let checks: Vec<String> = self.checks.iter().map(|check| said(check, &|one| resolved(one, around))).collect();
        checks.join(" and ") + if self.ignore_case { " in any case" } else { "" }
    }

    /// What its references come to, by their paths.
    pub fn references(&self, around: &dyn Surroundings) -> Vec<(String, Value)> {
        let of = |operand: &Operand| match operand {
            Operand::Ref { reference, .. } => Some((reference.to_string(), values_of(&around.values(reference)))),
            Operand::Value(_) | Operand::Money(_) => None,
        };
        self.operands().filter_map(of).collect()
    }

    /// Values as the test reads them; where it asks for money each with its currency, and with what it is worth in another
    /// that is wanted.
    pub fn seen(&self, found: &[Found<'_>], around: &dyn Surroundings) -> String {
        let wanted = self.wanted_currencies(around);
        listed(found, |one| {
            let number = clipped(&one.value);
            let amount = match one.amount(around.exchange()).filter(|_| !wanted.is_empty()) {
                None => return number,
                Some(Err(UnknownCurrency)) => return format!("{} {number}", named(one)),
                Some(Ok(amount)) => amount,
            };
            let worth = wanted.iter().filter(|currency| **currency != amount.currency).filter_map(|currency| {
                let worth = around.exchange().rates.convert(amount, *currency, one.at())?;
                Some(format!("{currency} {}", worth.normalize()))
            });
            match worth.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => format!("{} {number}", amount.currency),
                worth => format!("{} {number} ({worth})", amount.currency),
            }
        })
    }

    /// The currencies without a rate that keep these values from being compared.
    pub fn unrated(&self, found: &[Found<'_>], around: &dyn Surroundings) -> BTreeSet<String> {
        let wanted = self.wanted_currencies(around);
        found.iter().flat_map(|one| wanted.iter().filter_map(move |to| one.unrated(*to, around.exchange()))).collect()
    }

    /// Whether it compares with money.
    pub fn is_about_money(&self, around: &dyn Surroundings) -> bool {
        !self.wanted_currencies(around).is_empty()
    }

    fn wanted_currencies(&self, around: &dyn Surroundings) -> Vec<Currency> {
        self.currencies(around).into_iter().flatten().collect()
    }
}

/// The currency as its event wrote it.
fn named(found: &Found<'_>) -> String {
    found.currency().map_or_else(String::new, clipped)
}

/// An operand with what it comes to.
fn resolved(operand: &Operand, around: &dyn Surroundings) -> String {
    let Operand::Ref { reference, default } = operand else { return operand.to_string() };
    let found = around.values(reference);
    match (found.as_slice(), default) {
        ([], None) => format!("{reference} (missing)"),
        ([], Some(default)) => format!("{reference} (missing, so {})", resolved(default, around)),
        (found, _) => format!("{reference} ({})", listed(found, |one| clipped(&one.value))),
    }
}

/// The first few of many values, in words.
fn listed(found: &[Found<'_>], one: impl FnMut(&Found<'_>) -> String) -> String {
    if found.is_empty() {
        return "missing".to_owned();
    }
    let mut text: Vec<String> = found.iter().take(VALUES_SHOWN_MAX).map(one).collect();
    if found.len() > VALUES_SHOWN_MAX {
        text.push(format!("{} more", found.len() - VALUES_SHOWN_MAX));
    }
    text.join(", ")
}

/// The first few of many values, for programs.
pub fn values_of(found: &[Found<'_>]) -> Value {
    let mut values: Vec<Value> = found.iter().take(VALUES_SHOWN_MAX).map(|one| one.value.as_ref().clone()).collect();
    if found.len() <= 1 { values.pop().unwrap_or(Value::Null) } else { Value::Array(values) }
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
        f.write_str(&said(self, &ToString::to_string))
    }
}

/// A check, with each operand in these words.
fn said(check: &Check, of: &dyn Fn(&Operand) -> String) -> String {
    let list = |operands: &[Operand]| operands.iter().map(of).collect::<Vec<_>>().join(", ");
    let quoted = |operand: &Operand| match operand {
        Operand::Value(value) => format!("`{}`", value.as_str().unwrap_or_default()),
        other => of(other),
    };
    let plain = |operand: &Operand| match operand {
        Operand::Value(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        other => of(other),
    };
    match check {
        Check::Eq(one) => of(one).to_string(),
        Check::Ne(one) => format!("ne {}", of(one)),
        Check::In(many) => format!("any of {}", list(many)),
        Check::NotIn(many) => format!("none of {}", list(many)),
        Check::Gt(bound) => format!("gt {}", of(bound)),
        Check::Gte(bound) => format!("gte {}", of(bound)),
        Check::Lt(bound) => format!("lt {}", of(bound)),
        Check::Lte(bound) => format!("lte {}", of(bound)),
        Check::Between(low, high) => format!("between {} and {}", of(low), of(high)),
        Check::Prefix(text) => format!("prefix {}", quoted(text)),
        Check::Suffix(text) => format!("suffix {}", quoted(text)),
        Check::Contains(text) => format!("contains {}", quoted(text)),
        Check::Exists(true) => "any value".to_owned(),
        Check::Exists(false) => "no value".to_owned(),
        Check::Before(at) => format!("before {}", plain(at)),
        Check::After(at) => format!("after {}", plain(at)),
        Check::Relative(relative) => relative.to_string(),
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => f.write_str(&clipped(value)),
            Self::Money(amount) => write!(f, "{} {}", amount.currency, amount.value),
            Self::Ref { reference, default: None } => write!(f, "{reference}"),
            Self::Ref { reference, default: Some(default) } => write!(f, "{reference} (default {default})"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(path) => write!(f, "event.{path}"),
            Self::Entry(path) => write!(f, "entry.{path}"),
            Self::Trait(path) => write!(f, "profile.traits.{path}"),
            Self::UserId => f.write_str("profile.user_id"),
            Self::ProfileId => f.write_str("profile.id"),
            Self::Item(path) => write!(f, "item.{path}"),
            Self::Cart(field) => write!(f, "cart.{field}"),
        }
    }
}
