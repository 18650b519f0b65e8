//! Values at paths, with what tells the currency of a bare number: the `currency` beside it in the same object, else
//! the event's `properties.currency`, else the workspace's own.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::audience::Profile;
use crate::event::Event;
use crate::event::number::decimal;
use crate::ids::Timestamp;
use crate::money::{Amount, Currency, Exchange};

/// A value found at a path; never null and never an array.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    pub value: Cow<'a, Value>,
    currency: Option<Cow<'a, Value>>,
    at: Timestamp,
    /// Known from now on only, so that its rate is that of the moment.
    is_of_now: bool,
}

/// An object to look into: an event, one element of an array in it, or the person's traits.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    root: &'a Value,
    currency: Option<&'a Value>,
    at: Timestamp,
}

impl<'a> Place<'a> {
    pub fn event(event: &'a Event) -> Self {
        let root = event.body.document();
        Self { root, currency: root.get("properties").and_then(|it| it.get("currency")), at: event.at }
    }

    /// Every value at the path; one that crosses an array yields that of each element.
    pub fn values(&self, path: &str) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        collect(self.root, Some(path), self.currency, &mut |value, currency| {
            let currency = currency.map(Cow::Borrowed);
            found.push(Found { value: Cow::Borrowed(value), currency, at: self.at, is_of_now: false });
        });
        found
    }

    /// The elements of the array at the path, each a place of its own.
    pub fn elements(&self, path: &str) -> Vec<Self> {
        let mut found = Vec::new();
        collect(self.root, Some(path), self.currency, &mut |value, _| found.push(Self { root: value, ..*self }));
        found
    }
}

/// The values of a trait: a computed one wins over one that somebody set. A trait whose own name has dots wins over a path
/// into an object.
pub fn trait_values<'a>(profile: &'a Profile, path: &str, now: Timestamp) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    if let Some(worked) = profile.remembered.computed.get(path) {
        let found = |value| {
            let currency = worked.currency.as_ref().map(Cow::Borrowed);
            Found { value: Cow::Borrowed(value), currency, at: now, is_of_now: true }
        };
        return worked.value.iter().map(found).collect();
    }
    let beside = currency_in(&profile.traits);
    let mut push = |value, currency: Option<&'a Value>| {
        let currency = currency.map(Cow::Borrowed);
        found.push(Found { value: Cow::Borrowed(value), currency, at: now, is_of_now: true });
    };
    match (profile.traits.get(path), path.split_once('.')) {
        (Some(value), _) => collect(value, None, beside, &mut push),
        (None, Some((first, rest))) => {
            if let Some(value) = profile.traits.get(first) {
                collect(value, Some(rest), beside, &mut push);
            }
        }
        (None, None) => {}
    }
    found
}

impl<'a> Found<'a> {
    /// A value of our own, such as the person's id.
    pub fn own(value: Value, now: Timestamp) -> Self {
        Self { value: Cow::Owned(value), currency: None, at: now, is_of_now: true }
    }

    /// What events made of it by `at`, with the currency that goes with it.
    pub fn stated(value: Value, currency: Option<Value>, at: Timestamp) -> Self {
        Self { value: Cow::Owned(value), currency: currency.map(Cow::Owned), at, is_of_now: false }
    }

    /// The currency that was found with it.
    pub fn currency(&self) -> Option<&Value> {
        self.currency.as_deref()
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<Decimal> {
        decimal(&self.value)
    }

    /// The number as money: none where it is no number, an error where its currency is none we know.
    pub fn amount(&self, exchange: &Exchange) -> Option<Result<Amount, UnknownCurrency>> {
        let value = self.number()?;
        let currency = match self.currency.as_deref() {
            None | Some(Value::Null) => exchange.home,
            Some(named) => match named.as_str().and_then(|code| code.parse().ok()) {
                Some(currency) => currency,
                None => return Some(Err(UnknownCurrency)),
            },
        };
        Some(Ok(Amount { value, currency }))
    }

    /// The currency for want of whose rate it is not worth anything in this one; none where it is, or is no number.
    pub fn unrated(&self, to: Currency, exchange: &Exchange) -> Option<String> {
        let named = || self.currency.as_deref().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned));
        match self.amount(exchange)? {
            Err(UnknownCurrency) => named(),
            Ok(amount) => exchange.unrated(amount.currency, to, self.at).map(|currency| currency.to_string()),
        }
    }

    /// The instant whose rates it is converted by.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether another day's rates may make it worth something else.
    pub fn is_of_now(&self) -> bool {
        self.is_of_now
    }
}

/// A currency that is not in ISO 4217, or has no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCurrency;

/// Equal values in equal words.
pub fn spelled(found: &Found<'_>) -> String {
    match found.number() {
        Some(number) => number.normalize().to_string(),
        None => found.value.to_string(),
    }
}

/// Every value at a dotted path of a document.
pub fn values_at<'a>(document: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    walk(document, Some(path), &mut found);
    found
}

/// As [`collect`], where nobody asks for currencies.
fn walk<'a>(value: &'a Value, path: Option<&str>, found: &mut Vec<&'a Value>) {
    match (value, path) {
        (Value::Array(elements), _) => elements.iter().for_each(|one| walk(one, path, found)),
        (Value::Object(object), Some(path)) => {
            let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
            if let Some(below) = object.get(first) {
                walk(below, rest, found);
            }
        }
        (_, Some(_)) | (Value::Null, None) => {}
        (value, None) => found.push(value),
    }
}

fn collect<'a>(
    value: &'a Value,
    path: Option<&str>,
    currency: Option<&'a Value>,
    found: &mut impl FnMut(&'a Value, Option<&'a Value>),
) {
    match (value, path) {
        (Value::Array(elements), _) => elements.iter().for_each(|one| collect(one, path, currency, found)),
        (Value::Object(object), Some(path)) => {
            let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
            if let Some(below) = object.get(first) {
                // An object without a currency of its own leaves that of the whole.
                let beside = if rest.is_none() { currency_in(object).or(currency) } else { currency };
                collect(below, rest, beside, found);
            }
        }
        (_, Some(_)) | (Value::Null, None) => {}
        (value, None) => found(value, currency),
    }
}

fn currency_in(object: &Map<String, Value>) -> Option<&Value> {
    object.get("currency").filter(|value| !value.is_null())
}
