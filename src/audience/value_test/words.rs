//! Tests in the words they were written in, for reasons and explanations.

use std::fmt;

use crate::audience::value_test::{Check, Operand, Reference, Test};
use crate::event::pattern::clipped;

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks: Vec<String> = self.checks.iter().map(ToString::to_string).collect();
        f.write_str(&checks.join(" and "))?;
        if self.ignore_case { f.write_str(" in any case") } else { Ok(()) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |operands: &[Operand]| operands.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let quoted = |operand: &Operand| match operand {
            Operand::Value(value) => format!("`{}`", value.as_str().unwrap_or_default()),
            other => other.to_string(),
        };
        let plain = |operand: &Operand| match operand {
            Operand::Value(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            other => other.to_string(),
        };
        match self {
            Self::Eq(one) => write!(f, "{one}"),
            Self::Ne(one) => write!(f, "ne {one}"),
            Self::In(many) => write!(f, "any of {}", list(many)),
            Self::NotIn(many) => write!(f, "none of {}", list(many)),
            Self::Gt(bound) => write!(f, "gt {bound}"),
            Self::Gte(bound) => write!(f, "gte {bound}"),
            Self::Lt(bound) => write!(f, "lt {bound}"),
            Self::Lte(bound) => write!(f, "lte {bound}"),
            Self::Between(low, high) => write!(f, "between {low} and {high}"),
            Self::Prefix(text) => write!(f, "prefix {}", quoted(text)),
            Self::Suffix(text) => write!(f, "suffix {}", quoted(text)),
            Self::Contains(text) => write!(f, "contains {}", quoted(text)),
            Self::Exists(true) => f.write_str("any value"),
            Self::Exists(false) => f.write_str("no value"),
            Self::Before(at) => write!(f, "before {}", plain(at)),
            Self::After(at) => write!(f, "after {}", plain(at)),
            Self::Relative(relative) => write!(f, "{relative}"),
        }
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
