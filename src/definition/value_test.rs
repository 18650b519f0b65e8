//! Tests on values and what they compare with, as written: `18`, `EUR 50`, `{ ref: entry.properties.price, default: 0 }`.

use serde_json::Value;

use crate::audience::cart::Field;
use crate::audience::value_test::dates::{Relative, instant_of_text};
use crate::audience::value_test::{Check, Operand, Reference, Test};
use crate::definition::certain::whatever_the_value;
use crate::definition::condition::Scope;
use crate::definition::problem::{Code, nearest};
use crate::definition::reader::{At, shown};
use crate::money::{self, Amount, Currency};

const VALUES_MAX: usize = 1_000;
const TESTS: [&str; 21] = [
    "eq",
    "ne",
    "in",
    "not_in",
    "gt",
    "gte",
    "lt",
    "lte",
    "between",
    "prefix",
    "suffix",
    "contains",
    "ignore_case",
    "exists",
    "before",
    "after",
    "in_next",
    "in_last",
    "anniversary",
    "ref",
    "default",
];
/// Days before an anniversary.
const DAYS_BEFORE_MAX: u32 = 365;
/// What a number over many events can be tested for.
pub const NUMBER_TESTS: [&str; 8] = ["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte"];

/// What an operand must be for its check to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Text, number, truth value or money.
    Any,
    /// What has an order: text, number or money.
    Ordered,
    /// Number or money.
    Number,
    Text,
    Instant,
}

/// A scalar, a list, a reference, or a mapping of checks.
pub fn test(at: &At<'_>, scope: Scope) -> Option<Test> {
    if at.is_list() {
        return operands(at, scope, Kind::Any).map(Test::any_of);
    }
    if !at.is_map() {
        return operand(at, scope, Kind::Any).map(Test::equals);
    }
    let map = at.map(&TESTS, &[])?;
    if map.get("ref").is_some() {
        return operand(at, scope, Kind::Any).map(Test::equals);
    }
    let ignore_case = map.optional("ignore_case", false, |at| at.boolean())?;
    let checks = map.iter().filter(|(key, _)| key.text != "ignore_case");
    let read: Vec<Option<Check>> =
        checks.map(|(key, inner)| check(&key.text, &inner, scope, Kind::Any, Kind::Ordered)).collect();
    let checks: Vec<Check> = read.into_iter().collect::<Option<_>>()?;
    of_checks(at, checks, ignore_case)
}

/// A test of a number: a scalar, a list, a reference, or a mapping of checks that numbers can stand.
pub fn number_test(at: &At<'_>, scope: Scope) -> Option<Test> {
    if at.is_list() {
        return operands(at, scope, Kind::Number).map(Test::any_of);
    }
    if !at.is_map() {
        return operand(at, scope, Kind::Number).map(Test::equals);
    }
    let known: Vec<&str> = NUMBER_TESTS.into_iter().chain(["between", "exists", "ref", "default"]).collect();
    let map = at.map(&known, &[])?;
    if map.get("ref").is_some() {
        return operand(at, scope, Kind::Number).map(Test::equals);
    }
    let read: Vec<Option<Check>> = map.iter().map(|(key, inner)| number_check(&key.text, &inner, scope)).collect();
    let checks: Vec<Check> = read.into_iter().collect::<Option<_>>()?;
    of_checks(at, checks, false)
}

fn of_checks(at: &At<'_>, checks: Vec<Check>, ignore_case: bool) -> Option<Test> {
    match whatever_the_value(&checks, ignore_case) {
        _ if checks.is_empty() => at.wrong("checks nothing"),
        Some(said) => at.wrong(said),
        None => Some(Test { checks, ignore_case }),
    }
}

/// A check of a number over many events.
pub fn number_check(name: &str, at: &At<'_>, scope: Scope) -> Option<Check> {
    check(name, at, scope, Kind::Number, Kind::Number)
}

fn check(name: &str, at: &At<'_>, scope: Scope, any: Kind, ordered: Kind) -> Option<Check> {
    let one = |kind| operand(at, scope, kind);
    match name {
        "eq" => one(any).map(Check::Eq),
        "ne" => one(any).map(Check::Ne),
        "in" => operands(at, scope, any).map(Check::In),
        "not_in" => operands(at, scope, any).map(Check::NotIn),
        "gt" => one(ordered).map(Check::Gt),
        "gte" => one(ordered).map(Check::Gte),
        "lt" => one(ordered).map(Check::Lt),
        "lte" => one(ordered).map(Check::Lte),
        "between" => {
            let [low, high] = at.pair()?;
            Some(Check::Between(operand(&low, scope, ordered)?, operand(&high, scope, ordered)?))
        }
        "prefix" => one(Kind::Text).map(Check::Prefix),
        "suffix" => one(Kind::Text).map(Check::Suffix),
        "contains" => one(Kind::Text).map(Check::Contains),
        "exists" => at.boolean().map(Check::Exists),
        "before" => one(Kind::Instant).map(Check::Before),
        "after" => one(Kind::Instant).map(Check::After),
        "in_next" => at.period_above_zero().map(|period| Check::Relative(Relative::InNext(period))),
        "in_last" => at.period_above_zero().map(|period| Check::Relative(Relative::InLast(period))),
        "anniversary" => {
            let days =
                at.map(&["days_before"], &[])?.optional("days_before", 0, |at| at.integer(0, DAYS_BEFORE_MAX))?;
            Some(Check::Relative(Relative::Anniversary { days_before: u16::try_from(days).unwrap_or(u16::MAX) }))
        }
        "default" => at.wrong("`default` belongs to a `ref`"),
        // Noted when the mapping was opened.
        _ => None,
    }
}

/// A list of operands, or a reference to several values.
fn operands(at: &At<'_>, scope: Scope, kind: Kind) -> Option<Vec<Operand>> {
    if at.is_map() {
        return operand(at, scope, kind).map(|one| vec![one]);
    }
    let items = at.list()?;
    if items.is_empty() {
        return at.wrong("an empty list fits nothing");
    }
    if items.len() > VALUES_MAX {
        at.problem(Code::Limit, format!("has {} values; at most {VALUES_MAX} are allowed", items.len()));
        return None;
    }
    let read: Vec<_> = items.iter().map(|item| operand(item, scope, kind)).collect();
    read.into_iter().collect()
}

fn operand(at: &At<'_>, scope: Scope, kind: Kind) -> Option<Operand> {
    if !at.is_map() {
        return literal(at, kind);
    }
    let map = at.map(&["ref", "default"], &[])?;
    let reference = map.required("ref").and_then(|at| reference(&at, scope));
    let default = map.maybe("default", |at| if at.is_map() { at.wrong("wanted a value") } else { literal(&at, kind) });
    Some(Operand::Ref { reference: reference?, default: default?.map(Box::new) })
}

/// A value as written.
fn literal(at: &At<'_>, kind: Kind) -> Option<Operand> {
    match kind {
        Kind::Text => return at.text().map(|text| Operand::Value(text.into())),
        Kind::Instant => {
            let text = at.raw().filter(|text| instant_of_text(text).is_some());
            return match text {
                Some(text) => Some(Operand::Value(text.into())),
                None => at.wrong("wanted an instant such as 2026-03-01T10:00Z or a date such as 2026-03-01"),
            };
        }
        Kind::Any | Kind::Ordered | Kind::Number => {}
    }
    let value = at.literal()?;
    let money = value.as_str().and_then(as_money);
    match (money, &value, kind) {
        (Some(Ok(amount)), ..) => Some(Operand::Money(amount)),
        // `SKU 50` is text like any other, but nothing is above or below it.
        (Some(Err(said)), _, Kind::Ordered | Kind::Number) => at.wrong(said),
        (_, Value::Bool(_), Kind::Ordered) => at.wrong("wanted a number or text to compare with"),
        (_, Value::Bool(_) | Value::String(_), Kind::Number) => {
            at.wrong("wanted a number, or money such as EUR 50, to compare with")
        }
        _ => Some(Operand::Value(value)),
    }
}

/// `EUR 50`, with or without quotes; an error where only the currency is none we know.
fn as_money(text: &str) -> Option<Result<Amount, String>> {
    let (code, number) = text.split_once(' ')?;
    let is_code = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    let value = money::parse(number).ok().filter(|_| is_code)?;
    Some(match code.parse::<Currency>() {
        Ok(currency) => Ok(Amount { value, currency }),
        Err(unknown) => Err(unknown.to_string()),
    })
}

/// A path from `event.`, `entry.`, `profile.`, `item.` or `cart.`.
fn reference(at: &At<'_>, scope: Scope) -> Option<Reference> {
    let path = at.path()?;
    let Some((root, rest)) = path.split_once('.') else {
        return at.wrong(format!("`{}` is not a path from event., entry., profile., item. or cart.", shown(&path)));
    };
    let rest = rest.to_owned();
    match root {
        "event" if scope.event => Some(Reference::Event(rest)),
        "event" => at.wrong("no event is at hand here"),
        "entry" if scope.entry_event => Some(Reference::Entry(rest)),
        "entry" => at.wrong("there is no enrollment here whose entry could be meant"),
        "item" if scope.item => Some(Reference::Item(rest)),
        "item" => at.wrong("no item is at hand here; only the `where` of an `item` looks at one"),
        "profile" => Some(match rest.as_str() {
            "user_id" => Reference::UserId,
            "id" => Reference::ProfileId,
            _ => Reference::Trait(rest.strip_prefix("traits.").map(str::to_owned).unwrap_or(rest)),
        }),
        "cart" => match Field::parse(&rest) {
            Some(field) => Some(Reference::Cart(field)),
            None => {
                let known = Field::ALL.map(Field::as_str);
                let near =
                    nearest(&rest, known).map_or_else(String::new, |near| format!("; did you mean cart.{near}?"));
                at.wrong(format!("a cart has {}{near}", known.join(", ")))
            }
        },
        _ => at.wrong(format!("`{}` is none of event., entry., profile., item. and cart.", shown(root))),
    }
}
