//! Dates: what a value names, and tests of it against the moment: coming up, just past, or a day of every year.
//!
//! A date without a time is its first instant in the person's zone; one without a year comes every year, that of
//! 29 February on the 28th where there is no 29th.

use std::fmt;
use std::ops::RangeInclusive;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span as Days, ToSpan};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

use crate::audience::period::{Period, date_of, start_of};
use crate::audience::stay::Stay;
use crate::event::number::decimal;
use crate::ids::Timestamp;

/// Years that instants are told ahead of what comes every year.
const YEARS_AHEAD: i16 = 2;

/// What a value names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    At(Timestamp),
    Day(Date),
    /// `--MM-DD`
    Yearly {
        month: i8,
        day: i8,
    },
}

/// A test of a date against the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relative {
    /// A date at x is in the next D for x ⊖ D ≤ t < x.
    InNext(Period),
    /// It is in the last D for x ≤ t < x ⊕ D.
    InLast(Period),
    /// All of the local day that lies so many days before the date's day in a year after its own.
    Anniversary { days_before: u16 },
}

/// RFC 3339 text, `YYYY-MM-DD`, `--MM-DD`, or Unix seconds as a number.
pub fn dated(value: &Value) -> Option<Dated> {
    match value {
        Value::String(text) => dated_text(text),
        Value::Number(_) => {
            let millis = decimal(value)?.checked_mul(Decimal::ONE_THOUSAND)?;
            Some(Dated::At(Timestamp::from_millis(millis.floor().to_i64()?)))
        }
        _ => None,
    }
}

/// The same of text.
pub fn dated_text(text: &str) -> Option<Dated> {
    match (text.len(), text.strip_prefix("--")) {
        (7, Some(rest)) => {
            // Any leap year knows every day there is.
            let date: Date = format!("2000-{rest}").parse().ok()?;
            Some(Dated::Yearly { month: date.month(), day: date.day() })
        }
        (10, _) => text.parse().ok().map(Dated::Day),
        _ => text.parse().ok().map(Dated::At),
    }
}

/// RFC 3339 text, or a date of UTC.
pub fn instant_of_text(text: &str) -> Option<Timestamp> {
    dated_text(text)?.instant(|| TimeZone::UTC)
}

impl Dated {
    /// The instant it is; none for a day of every year.
    pub fn instant(self, zone: impl FnOnce() -> TimeZone) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Day(date) => start_of(date, &zone()),
            Self::Yearly { .. } => None,
        }
    }

    /// Each time it comes in these years, or the one time there is.
    fn occurrences(self, years: RangeInclusive<i16>, zone: &TimeZone) -> Vec<Timestamp> {
        match self {
            Self::At(at) => vec![at],
            Self::Day(date) => start_of(date, zone).into_iter().collect(),
            Self::Yearly { month, day } => {
                years.filter_map(|year| start_of(day_of_year(year, month, day)?, zone)).collect()
            }
        }
    }

    /// The day whose anniversary it is: year (none: of no year), month and day.
    fn day(self, zone: &TimeZone) -> Option<(Option<i16>, i8, i8)> {
        let of = |date: Date| (Some(date.year()), date.month(), date.day());
        match self {
            Self::At(at) => date_of(at, zone).map(of),
            Self::Day(date) => Some(of(date)),
            Self::Yearly { month, day } => Some((None, month, day)),
        }
    }
}

fn day_of_year(year: i16, month: i8, day: i8) -> Option<Date> {
    Date::new(year, month, day).ok().or_else(|| Date::new(year, month, 28).ok().filter(|_| (month, day) == (2, 29)))
}

impl Relative {
    /// When from `now` on it holds of the date, and up to when that is told; none: for ever.
    pub fn stays(self, date: Dated, now: Timestamp, zone: &TimeZone) -> (Vec<Stay>, Option<Timestamp>) {
        let Some(year) = date_of(now, zone).map(Date::year) else { return (Vec::new(), None) };
        let is_yearly = matches!(date, Dated::Yearly { .. });
        let (stays, last) = match self {
            Self::InNext(period) => {
                let years = year - 1..=year.saturating_add(YEARS_AHEAD + 1 + years_of(period));
                let stay = |at: Timestamp| Stay { from: period.before(at, zone), to: Some(at) };
                let stays: Vec<Stay> = date.occurrences(years, zone).into_iter().map(stay).collect();
                (stays, is_yearly.then_some(year))
            }
            Self::InLast(period) => {
                let years = year.saturating_sub(1 + years_of(period))..=year.saturating_add(YEARS_AHEAD);
                let stay = |at: Timestamp| Stay { from: at, to: Some(period.after(at, zone)) };
                let stays: Vec<Stay> = date.occurrences(years, zone).into_iter().map(stay).collect();
                (stays, is_yearly.then_some(year))
            }
            Self::Anniversary { days_before } => {
                let Some((born, month, day)) = date.day(zone) else { return (Vec::new(), None) };
                let base = born.map_or(year, |born| year.max(born.saturating_add(1)));
                let years = base - 1..=base.saturating_add(YEARS_AHEAD + 1);
                let before: Days = i64::from(days_before).days();
                let stay = |year: i16| {
                    let date = day_of_year(year, month, day)?.checked_sub(before).ok()?;
                    Some(Stay { from: start_of(date, zone)?, to: start_of(date.tomorrow().ok()?, zone) })
                };
                let stays = years.filter(|year| born.is_none_or(|born| *year > born)).filter_map(stay).collect();
                (stays, Some(base))
            }
        };
        let told = last.and_then(|year| start_of(Date::new(year.saturating_add(YEARS_AHEAD), 1, 1).ok()?, zone));
        (stays, told)
    }
}

/// Whole years that a period may reach, and one more.
fn years_of(period: Period) -> i16 {
    i16::try_from(period.longest().millis() / (365 * 86_400_000) + 1).unwrap_or(i16::MAX)
}

impl fmt::Display for Relative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InNext(period) => write!(f, "in the next {period}"),
            Self::InLast(period) => write!(f, "in the last {period}"),
            Self::Anniversary { days_before: 0 } => f.write_str("anniversary today"),
            Self::Anniversary { days_before } => write!(f, "anniversary in {days_before}d"),
        }
    }
}
