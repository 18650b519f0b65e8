//! Tests on a value: `{ gte: 18 }`, `[gold, platinum]`, `pro`, `{ lt: EUR 50 }`, `{ ref: profile.traits.size }`.
//!
//! A missing or null value satisfies only `exists: false`, `ne` and `not_in`. Text and numbers are never coerced;
//! numbers compare exactly, as decimals. A reference to several values is like a list of them: `eq` wants any, `ne`
//! wants none; one that leads nowhere and has no default makes the whole test false.

pub mod dates;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::audience::cart;
use crate::audience::field::{Found, UnknownCurrency};
use crate::audience::stay::{Stay, any_of, common, united};
use crate::audience::value_test::dates::{Relative, dated};
use crate::event::number::decimal;
use crate::event::pattern::same;
use crate::ids::Timestamp;
use crate::money::{Amount, Currency, Exchange, Total};
pub use words::{VALUES_SHOWN_MAX, values_of};

/// Every check must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    pub checks: Vec<Check>,
    /// Text compares without regard to case.
    pub ignore_case: bool,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    Eq(Operand),
    Ne(Operand),
    In(Vec<Operand>),
    NotIn(Vec<Operand>),
    Gt(Operand),
    Gte(Operand),
    Lt(Operand),
    Lte(Operand),
    /// Both ends included.
    Between(Operand, Operand),
    Prefix(Operand),
    Suffix(Operand),
    Contains(Operand),
    Exists(bool),
    Before(Operand),
    After(Operand),
    /// A date against the moment.
    Relative(Relative),
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A scalar as written.
    Value(Value),
    Money(Amount),
    Ref {
        reference: Reference,
        default: Option<Box<Operand>>,
    },
}

/// Where a computed value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// In the triggering event.
    Event(String),
    /// In the event that began the enrollment.
    Entry(String),
    Trait(String),
    UserId,
    ProfileId,
    /// In the element that `item` looks at.
    Item(String),
    /// Of the enrollment's cart, elsewhere of the cart changed last.
    Cart(cart::Field),
}

impl From<Value> for Operand {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// What an operand comes to.
#[derive(Debug, Clone)]
enum Literal<'a> {
    Value(Cow<'a, Value>),
    Money(Amount),
}

/// What a test may look at beside the value.
pub trait Surroundings {
    /// Every value a reference leads to.
    fn values(&self, reference: &Reference) -> Vec<Found<'_>>;
    fn exchange(&self) -> &Exchange;
    fn now(&self) -> Timestamp;
    /// Where the person lives.
    fn zone(&self) -> TimeZone;
}

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    pub holds: bool,
    /// A currency without a rate stood in the way.
    pub currency_unknown: bool,
    /// It rests on the rates of the moment.
    pub is_of_now: bool,
    /// By the calendar alone it does not change before.
    pub until: Option<Timestamp>,
}

/// When something holds, from now on, and up to when that is told (none: for ever).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whens {
    /// In order, and none touches another.
    pub stays: Vec<Stay>,
    pub told: Option<Timestamp>,
}

impl Whens {
    pub const ALWAYS: Stay = Stay { from: Timestamp::FIRST, to: None };

    /// When both hold.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let stays = common(&self.stays, &other.stays);
        Self { stays, told: [self.told, other.told].into_iter().flatten().min() }
    }
}

/// What is tested: a value found, or a number over many events.
enum Subject<'a> {
    Found(&'a Found<'a>),
    Number(&'a Number<'a>),
}

/// A number in the asked currency (none: as it stands), as a sum over so many.
pub type Number<'a> = dyn Fn(Option<Currency>) -> Result<(Total, u32), UnknownCurrency> + 'a;

impl Test {
    /// A scalar written alone: equals.
    pub fn equals(operand: impl Into<Operand>) -> Self {
        Self { checks: vec![Check::Eq(operand.into())], ignore_case: false }
    }

    /// A list written alone: any of.
    pub fn any_of(operands: Vec<Operand>) -> Self {
        Self { checks: vec![Check::In(operands)], ignore_case: false }
    }

    /// Whether any of the values satisfies every check; without values it is missing.
    pub fn ask(&self, values: &[Found<'_>], around: &dyn Surroundings) -> Outcome {
        let mut asked = Asked::new(self, around);
        let Some(checks) = asked.resolve() else { return asked.outcome };
        if self.is_relative() {
            let Whens { stays, told } = asked.whens(&checks, values);
            let (holds, until) = any_of(around.now(), stays);
            return Outcome { holds, until: [until, told].into_iter().flatten().min(), ..asked.outcome };
        }
        asked.outcome.holds = match values {
            [] => self.checks.iter().all(Check::holds_when_missing),
            some => some.iter().any(|value| asked.all_hold(&checks, &Subject::Found(value))),
        };
        asked.outcome
    }

    /// When any of the values satisfies every check, from now on.
    pub fn whens(&self, values: &[Found<'_>], around: &dyn Surroundings) -> Whens {
        if self.is_relative() {
            let mut asked = Asked::new(self, around);
            return asked.resolve().map(|checks| asked.whens(&checks, values)).unwrap_or_default();
        }
        let stays = if self.ask(values, around).holds { vec![Whens::ALWAYS] } else { Vec::new() };
        Whens { stays, told: None }
    }

    /// Whether time alone may change what it says of a value.
    pub fn is_relative(&self) -> bool {
        self.checks.iter().any(|check| matches!(check, Check::Relative(_)))
    }

    /// Whether what it says depends on where the person lives.
    pub fn is_local(&self) -> bool {
        self.checks.iter().any(|check| matches!(check, Check::Relative(_) | Check::Before(_) | Check::After(_)))
    }

    /// The same for a number over many events; none is missing.
    pub fn ask_number(&self, number: Option<&Number<'_>>, around: &dyn Surroundings) -> Outcome {
        let mut asked = Asked::new(self, around);
        let Some(checks) = asked.resolve() else { return asked.outcome };
        asked.outcome.holds = match number {
            None => self.checks.iter().all(Check::holds_when_missing),
            Some(number) => asked.all_hold(&checks, &Subject::Number(number)),
        };
        asked.outcome
    }

    /// Every operand of every check.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.checks.iter().flat_map(Check::operands)
    }

    /// The numbers it is compared with, as they stand or as money of a currency; none where a reference leads nowhere.
    pub fn bounds(&self, around: &dyn Surroundings) -> Option<Vec<(Option<Currency>, Decimal)>> {
        let literals = Asked::new(self, around).resolve()?.into_iter().flatten().flatten();
        let bound = |literal: Literal<'_>| match literal {
            Literal::Value(value) => decimal(&value).map(|bound| (None, bound)),
            Literal::Money(amount) => Some((Some(amount.currency), amount.value)),
        };
        Some(literals.filter_map(bound).collect())
    }

    /// The currencies its operands name; none among them stands for a bare number.
    pub fn currencies(&self, around: &dyn Surroundings) -> Vec<Option<Currency>> {
        let mut asked = Asked::new(self, around);
        let literals = asked.resolve().unwrap_or_default().into_iter().flatten().flatten();
        let mut currencies: Vec<_> = literals
            .map(|literal| match literal {
                Literal::Value(_) => None,
                Literal::Money(amount) => Some(amount.currency),
            })
            .collect();
        currencies.sort_unstable();
        currencies.dedup();
        currencies
    }
}

/// One asking of a test.
struct Asked<'a> {
    test: &'a Test,
    around: &'a dyn Surroundings,
    outcome: Outcome,
}

/// What the operands of a check come to, operand by operand.
type Literals<'a> = Vec<Vec<Literal<'a>>>;

impl<'a> Asked<'a> {
    fn new(test: &'a Test, around: &'a dyn Surroundings) -> Self {
        Self { test, around, outcome: Outcome::default() }
    }

    /// What the operands of each check come to; none where a reference leads nowhere.
    fn resolve(&mut self) -> Option<Vec<Literals<'a>>> {
        let test = self.test;
        let resolved = test.checks.iter().map(|check| {
            let operands = check.operands().into_iter().map(|operand| {
                let literals = self.literals(operand);
                (!literals.is_empty()).then_some(literals)
            });
            operands.collect::<Option<Literals<'a>>>()
        });
        resolved.collect()
    }

    fn literals(&mut self, operand: &'a Operand) -> Vec<Literal<'a>> {
        let (reference, default) = match operand {
            Operand::Value(value) => return vec![Literal::Value(Cow::Borrowed(value))],
            Operand::Money(amount) => return vec![Literal::Money(*amount)],
            Operand::Ref { reference, default } => (reference, default.as_deref()),
        };
        // Where the default is money, so is what stands in its place.
        let is_money = matches!(default, Some(Operand::Money(_)));
        let mut literals = Vec::new();
        for one in self.around.values(reference) {
            match one.amount(self.around.exchange()).filter(|_| is_money) {
                Some(Ok(amount)) => literals.push(Literal::Money(amount)),
                Some(Err(UnknownCurrency)) => self.outcome.currency_unknown = true,
                None => literals.push(Literal::Value(one.value)),
            }
        }
        match default {
            Some(default) if literals.is_empty() => self.literals(default),
            _ => literals,
        }
    }

    fn all_hold(&mut self, checks: &[Literals<'a>], subject: &Subject<'_>) -> bool {
        let test = self.test;
        test.checks.iter().zip(checks).all(|(check, literals)| self.holds(check, literals, subject))
    }

    /// When any of the values satisfies every check: those that time does not change now, the others from now on.
    fn whens(&mut self, checks: &[Literals<'a>], values: &[Found<'_>]) -> Whens {
        let (now, zone) = (self.around.now(), self.around.zone());
        let mut any = Whens::default();
        for value in values {
            let Some(date) = dated(&value.value) else { continue };
            if !self.all_hold(checks, &Subject::Found(value)) {
                continue;
            }
            let mut of_it = Whens { stays: vec![Whens::ALWAYS], told: None };
            for check in &self.test.checks {
                if let Check::Relative(relative) = check {
                    let (stays, told) = relative.stays(date, now, &zone);
                    of_it = of_it.and(&Whens { stays: united(stays), told });
                }
            }
            any.stays.extend(of_it.stays);
            any.told = [any.told, of_it.told].into_iter().flatten().min();
        }
        any.stays = united(any.stays);
        any
    }

    fn holds(&mut self, check: &Check, operands: &Literals<'a>, subject: &Subject<'_>) -> bool {
        let all = || operands.iter().flatten();
        let first = operands.first().map_or(&[][..], Vec::as_slice);
        match check {
            Check::Eq(_) | Check::In(_) => all().any(|one| self.equal(subject, one) == Some(true)),
            // What cannot be told is not told apart.
            Check::Ne(_) | Check::NotIn(_) => all().all(|one| self.equal(subject, one) == Some(false)),
            Check::Gt(_) => self.ordered(subject, first, Ordering::is_gt),
            Check::Gte(_) => self.ordered(subject, first, Ordering::is_ge),
            Check::Lt(_) => self.ordered(subject, first, Ordering::is_lt),
            Check::Lte(_) => self.ordered(subject, first, Ordering::is_le),
            Check::Between(..) => {
                let high = operands.get(1).map_or(&[][..], Vec::as_slice);
                self.ordered(subject, first, Ordering::is_ge) && self.ordered(subject, high, Ordering::is_le)
            }
            Check::Prefix(_) => self.text(subject, first, |text, wanted| text.starts_with(wanted)),
            Check::Suffix(_) => self.text(subject, first, |text, wanted| text.ends_with(wanted)),
            Check::Contains(_) => self.text(subject, first, |text, wanted| text.contains(wanted)),
            Check::Exists(wanted) => *wanted,
            Check::Before(_) => self.by_date(subject, first, Ordering::is_lt),
            Check::After(_) => self.by_date(subject, first, Ordering::is_gt),
            // Told apart: these change with time.
            Check::Relative(_) => true,
        }
    }

    fn by_date(&self, subject: &Subject<'_>, wanted: &[Literal<'a>], fits: fn(Ordering) -> bool) -> bool {
        let instant = |value: &Value| dated(value)?.instant(|| self.around.zone());
        let Subject::Found(found) = subject else { return false };
        let Some(at) = instant(&found.value) else { return false };
        wanted.iter().any(|one| match one {
            Literal::Value(wanted) => instant(wanted).is_some_and(|wanted| fits(at.cmp(&wanted))),
            Literal::Money(_) => false,
        })
    }

    /// Whether the subject is this; none where a currency is unknown.
    fn equal(&mut self, subject: &Subject<'_>, wanted: &Literal<'a>) -> Option<bool> {
        match (subject, wanted) {
            (Subject::Found(found), Literal::Value(wanted)) => Some(equal(&found.value, wanted, self.test.ignore_case)),
            _ => match self.compare(subject, wanted) {
                Ok(order) => Some(order == Some(Ordering::Equal)),
                Err(UnknownCurrency) => None,
            },
        }
    }

    fn ordered(&mut self, subject: &Subject<'_>, wanted: &[Literal<'a>], fits: fn(Ordering) -> bool) -> bool {
        wanted.iter().any(|one| matches!(self.compare(subject, one), Ok(Some(order)) if fits(order)))
    }

    /// Numbers with numbers, money with money and text with text; nothing else has an order.
    fn compare(&mut self, subject: &Subject<'_>, wanted: &Literal<'a>) -> Result<Option<Ordering>, UnknownCurrency> {
        let compared = match (subject, wanted) {
            (Subject::Found(found), Literal::Value(wanted)) => Ok(compare(&found.value, wanted, self.test.ignore_case)),
            (Subject::Found(found), Literal::Money(bound)) => self.worth(found, bound.currency).map(|worth| {
                let worth = worth?;
                Some(worth.cmp(&bound.value))
            }),
            (Subject::Number(number), Literal::Value(bound)) => match decimal(bound) {
                Some(bound) => number(None).map(|(total, over)| Some(total.cmp(&Total::from(bound).times(over)))),
                None => Ok(None),
            },
            (Subject::Number(number), Literal::Money(bound)) => {
                let bound_total = Total::from(bound.value);
                number(Some(bound.currency)).map(|(total, over)| Some(total.cmp(&bound_total.times(over))))
            }
        };
        self.outcome.currency_unknown |= compared.is_err();
        compared
    }

    /// The value as money of this currency; none where it is no number.
    fn worth(&mut self, found: &Found<'_>, currency: Currency) -> Result<Option<Decimal>, UnknownCurrency> {
        let exchange = self.around.exchange();
        let Some(amount) = found.amount(exchange) else { return Ok(None) };
        let amount = amount?;
        self.outcome.is_of_now |= found.is_of_now() && amount.currency != currency;
        exchange.rates.convert(amount, currency, found.at()).map(Some).ok_or(UnknownCurrency)
    }

    fn text(&self, subject: &Subject<'_>, wanted: &[Literal<'a>], fits: fn(&str, &str) -> bool) -> bool {
        let Subject::Found(found) = subject else { return false };
        let Some(text) = found.value.as_str() else { return false };
        wanted.iter().any(|one| match one {
            Literal::Value(wanted) => wanted.as_str().is_some_and(|wanted| match self.test.ignore_case {
                true => fits(&text.to_lowercase(), &wanted.to_lowercase()),
                false => fits(text, wanted),
            }),
            Literal::Money(_) => false,
        })
    }
}

impl Check {
    fn holds_when_missing(&self) -> bool {
        matches!(self, Self::Exists(false) | Self::Ne(_) | Self::NotIn(_))
    }

    pub fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Exists(_) | Self::Relative(_) => Vec::new(),
            Self::In(operands) | Self::NotIn(operands) => operands.iter().collect(),
            Self::Between(low, high) => vec![low, high],
            Self::Eq(one)
            | Self::Ne(one)
            | Self::Gt(one)
            | Self::Gte(one)
            | Self::Lt(one)
            | Self::Lte(one)
            | Self::Prefix(one)
            | Self::Suffix(one)
            | Self::Contains(one)
            | Self::Before(one)
            | Self::After(one) => vec![one],
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

/// Numbers with numbers and text with text.
fn compare(value: &Value, wanted: &Value, ignore_case: bool) -> Option<Ordering> {
    match (value, wanted) {
        (Value::String(one), Value::String(other)) if ignore_case => {
            Some(one.to_lowercase().cmp(&other.to_lowercase()))
        }
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => Some(decimal(value)?.cmp(&decimal(wanted)?)),
    }
}
