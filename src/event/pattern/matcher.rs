//! What one value of an event may have to be: a scalar, a test of text, a range of numbers or addresses, or anything but.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::event::number::{decimal, decimal_of_text};
use crate::event::pattern::cidr::Cidr;
use crate::event::pattern::text::TextTest;

/// Characters of one value shown to people.
const VALUE_CHARS_SHOWN_MAX: usize = 80;
/// A number written in so few characters and without an exponent is always a decimal.
const SURE_DECIMAL_CHARS_MAX: usize = 20;

/// A scalar of an event, as its text has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(Cow<'a, str>),
}

/// A number as written, and the float nearest to it, which tells most numbers apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number<'a> {
    pub text: &'a str,
    pub near: f64,
}

/// A number of a pattern: exact, and the float nearest to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    pub exact: Decimal,
    pub near: f64,
}

/// One alternative of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Matcher {
    Null,
    Bool(bool),
    Number(Bound),
    Text(TextTest),
    /// `true`: any scalar. `false`: no scalar anywhere, which a field decides before it looks at values.
    Exists(bool),
    /// Every comparison holds.
    Numeric(Vec<(Comparison, Bound)>),
    Cidr(Cidr),
    AnythingBut(Excluded),
}

/// What `anything-but` leaves out; a value of another type is never left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Excluded {
    Numbers(Vec<Bound>),
    Texts(Vec<TextTest>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl<'a> Scalar<'a> {
    /// `None` for objects and arrays.
    pub fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => Some(Self::Number(Number::new(number.as_str()))),
            Value::String(text) => Some(Self::Text(Cow::Borrowed(text))),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// As a person reads it, cut where it would fill the page.
    pub fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => cut(number.text.to_owned()),
            Self::Text(text) => clipped_text(text),
        }
    }
}

impl<'a> Number<'a> {
    /// `text` in JSON's number grammar; anything else compares with nothing.
    pub fn new(text: &'a str) -> Self {
        Self { text, near: text.parse().unwrap_or(f64::NAN) }
    }

    /// `None` where no decimal holds this number exactly. Rounding keeps the order, so that floats that differ decide.
    fn compare(self, bound: &Bound) -> Option<Ordering> {
        let sure = self.text.len() <= SURE_DECIMAL_CHARS_MAX && !self.text.bytes().any(|byte| byte | 0x20 == b'e');
        match self.near.partial_cmp(&bound.near) {
            Some(order @ (Ordering::Less | Ordering::Greater)) if sure => Some(order),
            _ => decimal_of_text(self.text).map(|number| number.cmp(&bound.exact)),
        }
    }

    fn equals(self, bound: &Bound) -> bool {
        self.compare(bound) == Some(Ordering::Equal)
    }
}

impl Bound {
    /// `None` for what is no number, and for numbers that no decimal holds exactly.
    pub fn of(value: &Value) -> Option<Self> {
        let Value::Number(number) = value else { return None };
        Some(Self { exact: decimal(value)?, near: number.as_str().parse().ok()? })
    }
}

impl Matcher {
    /// Whether a scalar that is there is accepted.
    pub fn accepts(&self, value: &Scalar<'_>) -> bool {
        match (self, value) {
            (Self::Exists(wanted), _) => *wanted,
            (Self::Null, Scalar::Null) => true,
            (Self::Bool(wanted), Scalar::Bool(value)) => wanted == value,
            (Self::Number(wanted), Scalar::Number(number)) => number.equals(wanted),
            (Self::Text(test), Scalar::Text(text)) => test.holds(text),
            (Self::Numeric(comparisons), Scalar::Number(number)) => comparisons
                .iter()
                .all(|(comparison, bound)| number.compare(bound).is_some_and(|order| comparison.holds(order))),
            (Self::Cidr(range), Scalar::Text(text)) => range.contains(text),
            (Self::AnythingBut(excluded), value) => !excluded.contains(value),
            (
                Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Numeric(_) | Self::Cidr(_),
                Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Text(_),
            ) => false,
        }
    }
}

impl Excluded {
    fn contains(&self, value: &Scalar<'_>) -> bool {
        match (self, value) {
            (Self::Numbers(numbers), Scalar::Number(number)) => numbers.iter().any(|bound| number.equals(bound)),
            (Self::Texts(tests), Scalar::Text(text)) => tests.iter().any(|test| test.holds(text)),
            (Self::Numbers(_) | Self::Texts(_), _) => false,
        }
    }
}

impl Comparison {
    const ALL: [(&'static str, Self); 5] = [
        ("=", Self::Equal),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(sign, _)| *sign == text).map(|(_, comparison)| *comparison)
    }

    fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(_, comparison)| *comparison == self).map_or("", |(sign, _)| sign)
    }
}

/// Equality of scalars: numbers as exact decimals, no coercion between types.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => decimal(one).is_some_and(|number| Some(number) == decimal(other)),
        _ => one == other,
    }
}

/// A value as a person reads it, cut where it would fill the page.
pub fn clipped(value: &Value) -> String {
    match value {
        Value::String(text) => clipped_text(text),
        other => cut(other.to_string()),
    }
}

pub fn clipped_text(text: &str) -> String {
    cut(format!("`{text}`"))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(VALUE_CHARS_SHOWN_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn listed<T: fmt::Display>(items: impl Iterator<Item = T>, between: &str) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(bound) => write!(f, "{}", bound.exact),
            Self::Text(test) => write!(f, "{test}"),
            Self::Exists(true) => f.write_str("anything"),
            Self::Exists(false) => f.write_str("nothing"),
            Self::Numeric(comparisons) => {
                let each =
                    comparisons.iter().map(|(comparison, bound)| format!("{} {}", comparison.sign(), bound.exact));
                f.write_str(&listed(each, " and "))
            }
            Self::Cidr(range) => write!(f, "{range}"),
            Self::AnythingBut(Excluded::Numbers(bounds)) => {
                write!(f, "anything but {}", listed(bounds.iter().map(|bound| bound.exact), " or "))
            }
            Self::AnythingBut(Excluded::Texts(tests)) => {
                write!(f, "anything but {}", listed(tests.iter(), " or "))
            }
        }
    }
}
