//! The event pattern language (part of it): `{ properties: { price: [ { numeric: [ ">=", 5 ] } ] } }`.
//!
//! Fields are ANDed, the values of one field ORed; an array in the event matches when any element does.

use rust_decimal::Decimal;
use serde_json::Value;

/// A pattern over an event's document: (dotted path as steps, alternatives).
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub path: Vec<String>,
    pub any_of: Vec<Matcher>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Matcher {
    /// A scalar, null included.
    Exact(Value),
    Prefix(String),
    Exists(bool),
    /// Every comparison holds.
    Numeric(Vec<(Comparison, Decimal)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}
