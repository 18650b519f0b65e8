//! Tests on a value: `{ gte: 18 }`, `[gold, platinum]`, `pro`.
//!
//! A missing or null value satisfies only `exists: false`, `ne` and `not_in`. Text and numbers are never coerced;
//! numbers compare exactly, as decimals.

use serde_json::Value;

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
