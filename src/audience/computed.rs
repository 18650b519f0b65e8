//! Computed traits: what a person's events come to, kept with the person and asked like a trait that somebody set.
//!
//! A value is worked out anew from all of the stored history whenever an event it counts arrives or leaves its window, or
//! its definition changes; in between it is read from the profile, and a condition on it costs what any trait costs.

mod set;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::audience::condition::performed::{Piece, counted, unrated};
use crate::audience::condition::tally::Tally;
use crate::audience::condition::without_rate;
use crate::audience::condition::{Aggregate, Count, Facts, Function as Aggregated, NetOf, Performed, Window};
use crate::audience::field::{Found, Place, UnknownCurrency, spelled};
use crate::audience::remembered::Worked;
use crate::audience::value_test::Test;
use crate::event::pattern::clipped;
use crate::ids::Span;
use crate::money::Currency;
pub use set::{ComputedSet, Defined, SHIPPED, shipped};

/// The path that means when an event happened, as we know it.
pub const TIMESTAMP: &str = "timestamp";

/// Bytes of a value as JSON; a longer one is passed over.
const VALUE_BYTES_MAX: usize = 1_024;
/// Decimals of a mean time between events.
const INTERVAL_DECIMALS: u32 = 4;

/// A trait that is worked out.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputedTrait {
    pub key: String,
    /// 1 for the first text applied under this key; 0: shipped, nobody has written one.
    pub version: u32,
    pub name: Option<String>,
    pub compute: Compute,
}

/// What of which events.
#[derive(Debug, Clone, PartialEq)]
pub struct Compute {
    pub function: Function,
    /// Which events count, and when; the path a function looks at is that of its aggregate.
    over: Box<Performed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// How many; of none zero.
    Count,
    /// Of none zero.
    Sum(Worth),
    First,
    Last,
    /// Of values equally often there, the one that was there last; of those, the first by its spelling.
    MostFrequent,
    /// The mean time between one event and the next; of fewer than two none.
    AverageInterval(Unit),
}

/// What numbers are added as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    AsItStands,
    /// Money in the workspace's own currency.
    Home,
    In(Currency),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
}

/// Which events count.
#[derive(Debug, Clone, PartialEq)]
pub struct Over {
    pub events: Vec<String>,
    pub filter: Vec<(String, Test)>,
    pub net_of: Option<NetOf>,
    pub window: Window,
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub worked: Worked,
    pub because: String,
}

impl Compute {
    /// `path` is what the function looks at in each event; the first and the last without one are the event's own time.
    pub fn new(function: Function, path: Option<String>, over: Over) -> Self {
        let Over { events, filter, net_of, window } = over;
        let path = path.filter(|path| path != TIMESTAMP || !matches!(function, Function::First | Function::Last));
        let aggregated = if matches!(function, Function::Sum(_)) { Aggregated::Sum } else { Aggregated::Distinct };
        let test = Test { checks: Vec::new(), ignore_case: false };
        let aggregate = path.map(|path| Aggregate { function: aggregated, path, test });
        let count = Count { at_least: None, at_most: None };
        let over = Performed { events, filter, same: None, count, aggregate, net_of, window };
        Self { function, over: Box::new(over) }
    }

    pub fn path(&self) -> Option<&str> {
        self.over.aggregate.as_ref().map(|aggregate| aggregate.path.as_str())
    }

    /// Which events count, as conditions say it.
    pub fn over(&self) -> &Performed {
        &self.over
    }

    /// What it comes to for this person at this instant.
    pub fn work_out(&self, facts: &Facts<'_>) -> Answer {
        let currency = match self.function {
            Function::Sum(Worth::Home) => Some(facts.terms.exchange.home),
            Function::Sum(Worth::In(currency)) => Some(currency),
            _ => None,
        };
        let alone = Facts { event: None, entry: None, entry_at: None, item: None, ..*facts };
        let (pieces, told) = counted(&self.over, &alone, currency);
        let turns = pieces.iter().flat_map(|piece| [Some(piece.stay.from), piece.stay.to, told]).flatten();
        let next = turns.filter(|at| *at > facts.now).min();
        let mut there: Vec<&Piece<'_>> = pieces.iter().filter(|piece| piece.stay.contains(facts.now)).collect();
        there.sort_by_key(|piece| (piece.at, piece.position));
        let (value, unit, note) = match self.value(&there, currency) {
            Ok(found) => found.map_or((None, None, None), |(value, unit)| (Some(value), unit, None)),
            Err(UnknownCurrency) => {
                let unrated = unrated(&self.over, &alone, currency);
                let first = unrated.first().cloned().unwrap_or_else(|| "?".to_owned());
                (None, Some(Value::from(first)), Some(without_rate(&unrated)))
            }
        };
        let because = self.words(there.len(), value.as_ref(), unit.as_ref()) + &note.unwrap_or_default();
        Answer { worked: Worked { value, currency: unit, next }, because }
    }

    /// The value, with its currency where it has one.
    fn value(
        &self,
        there: &[&Piece<'_>],
        currency: Option<Currency>,
    ) -> Result<Option<(Value, Option<Value>)>, UnknownCurrency> {
        let first_of = |mut pieces: Box<dyn Iterator<Item = &&Piece<'_>> + '_>| match self.path() {
            None => pieces.next().map(|piece| (Value::from(piece.at.to_string()), None)),
            Some(path) => pieces.find_map(|piece| {
                let found = values(piece, path).into_iter().next()?;
                // Text beside a currency is no amount of it.
                let unit = found.currency().filter(|_| found.number().is_some()).cloned();
                Some((found.value.clone().into_owned(), unit))
            }),
        };
        Ok(match self.function {
            Function::Count => Some((there.len().into(), None)),
            Function::Sum(_) => {
                let mut tally = Tally::default();
                there.iter().for_each(|piece| tally.add(&piece.share));
                if tally.is_unknown() {
                    return Err(UnknownCurrency);
                }
                let total = tally.aggregate(Aggregated::Sum, currency)?.map(|(total, _)| total.to_string());
                let unit = currency.map(|currency| Value::from(currency.to_string()));
                total.and_then(|text| serde_json::from_str(&text).ok()).map(|number| (number, unit))
            }
            Function::First => first_of(Box::new(there.iter())),
            Function::Last => first_of(Box::new(there.iter().rev())),
            Function::MostFrequent => self.most_frequent(there).map(|value| (value, None)),
            Function::AverageInterval(unit) => mean_interval(there, unit).map(|value| (value, None)),
        })
    }

    fn most_frequent(&self, there: &[&Piece<'_>]) -> Option<Value> {
        let path = self.path()?;
        let mut seen: BTreeMap<String, (u32, usize, Value)> = BTreeMap::new();
        for (n, piece) in there.iter().enumerate() {
            for found in values(piece, path) {
                let of = seen.entry(spelled(&found)).or_insert_with(|| (0, n, found.value.clone().into_owned()));
                (of.0, of.1) = (of.0 + 1, n);
            }
        }
        let best =
            seen.into_iter().max_by_key(|(spelling, (count, last, _))| (*count, *last, Reverse(spelling.clone())));
        best.map(|(_, (.., value))| value)
    }

    fn words(&self, events: usize, value: Option<&Value>, unit: Option<&Value>) -> String {
        let Performed { events: names, net_of, window, .. } = &*self.over;
        let net = net_of.as_ref().map_or_else(String::new, |it| format!(" net of {}", it.events.join(" or ")));
        let what = match self.path() {
            Some(path) => format!("{} {path}", self.function),
            None => self.function.to_string(),
        };
        let value = match (value, unit.and_then(Value::as_str)) {
            (Some(value), Some(unit)) => format!("{unit} {}", clipped(value)),
            (Some(value), None) => clipped(value),
            (None, Some(_)) => "unknown".to_owned(),
            (None, None) => "missing".to_owned(),
        };
        let times = format!("{} performed {events} times{net}{}", names.join(" or "), window.words(None));
        format!("{times}; {what} is {value}")
    }
}

/// What an event has at a path, as far as a trait may hold it.
fn values<'a>(piece: &Piece<'a>, path: &str) -> Vec<Found<'a>> {
    let found = piece.body.map(|event| Place::event(event).values(path)).unwrap_or_default();
    let fits = |found: &Found<'_>| !found.value.is_object() && found.value.to_string().len() <= VALUE_BYTES_MAX;
    found.into_iter().filter(fits).collect()
}

fn mean_interval(there: &[&Piece<'_>], unit: Unit) -> Option<Value> {
    let (first, last) = (there.first()?, there.last()?);
    let intervals = i64::try_from(there.len()).ok()?.checked_sub(1).filter(|count| *count > 0)?;
    let millis = Decimal::from(last.at.millis().checked_sub(first.at.millis())?);
    let parts = Decimal::from(intervals).checked_mul(Decimal::from(unit.span().millis()))?;
    let mean = millis.checked_div(parts)?.round_dp(INTERVAL_DECIMALS).normalize();
    serde_json::from_str(&mean.to_string()).ok()
}

impl Unit {
    const fn span(self) -> Span {
        match self {
            Self::Seconds => Span::from_seconds(1),
            Self::Minutes => Span::from_seconds(60),
            Self::Hours => Span::from_hours(1),
            Self::Days => Span::from_days(1),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Days => "days",
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::Sum(_) => f.write_str("sum of"),
            Self::First => f.write_str("first"),
            Self::Last => f.write_str("last"),
            Self::MostFrequent => f.write_str("most frequent"),
            Self::AverageInterval(unit) => write!(f, "average interval in {}", unit.as_str()),
        }
    }
}

/// Two values that are the same to any test: numbers as numbers, in the same currency.
pub fn is_same(one: &Worked, other: &Worked) -> bool {
    let (left, right) = (&one.currency, &other.currency);
    match (&one.value, &other.value) {
        // Text has no currency, whatever stood beside it.
        (Some(one), Some(other)) => {
            crate::audience::value_test::equal(one, other, false) && (!one.is_number() || left == right)
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
