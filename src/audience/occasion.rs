//! Dates at which something begins for a person: which day a trait names, moved by an offset, at a time of the person's own
//! clock. Told for one person, one trait's value and one zone at a time; who keeps the answer asks again when any of them
//! is another.
//!
//! Where clocks are set forward over the time, it comes as much later as they were set; where they show it twice, it comes
//! the first time.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span as Days, ToSpan, Zoned};
use serde_json::Value;

use crate::audience::value_test::dates::{Dated, dated};
use crate::ids::Timestamp;

/// The furthest an offset may lead, either way.
pub const OFFSET_DAYS_MAX: u32 = 366 * 2;
pub const OFFSET_MONTHS_MAX: u32 = 24;
/// Years around the moment that are looked at: those the longest offset may lead through, and one more.
const YEARS_AROUND: i16 = 4;
/// The hour of a day that names none.
const MORNING: Time = Time::constant(9, 0, 0, 0);

/// When a campaign is entered by a date.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// The path of the trait that names the date.
    pub of: String,
    /// Every year after the date's own; a date without a year comes every year anyway.
    pub yearly: bool,
    pub offset: Offset,
    /// None: an instant keeps its own time, a day has nine in the morning.
    pub at: Option<Time>,
    pub feb29: Feb29,
}

/// Whole days or months of the calendar before the date (negative) or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    Days(i32),
    Months(i32),
}

/// Where 29 February is in a year that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feb29 {
    Feb28,
    Mar1,
}

impl Occasion {
    /// The first instant after `now` at which it comes, with the date it is about; not the date that is done.
    pub fn next(
        &self,
        value: &Value,
        now: Timestamp,
        zone: &TimeZone,
        done: Option<Date>,
    ) -> Option<(Timestamp, Date)> {
        let dated = dated(value)?;
        let (date, time) = match dated {
            Dated::At(at) => {
                let local = Zoned::new(jiff::Timestamp::from_millisecond(at.millis()).ok()?, zone.clone());
                (Some(local.date()), Some(local.time()))
            }
            Dated::Day(date) => (Some(date), None),
            Dated::Yearly { .. } => (None, None),
        };
        let time = self.at.or(time).unwrap_or(MORNING);
        let dates: Vec<Date> = match (dated, date) {
            (Dated::Yearly { month, day }, _) => self.every_year(None, month, day, now, zone)?,
            (_, Some(date)) if self.yearly => {
                self.every_year(Some(date.year()), date.month(), date.day(), now, zone)?
            }
            (_, Some(date)) => vec![date],
            (_, None) => Vec::new(),
        };
        let to_come = dates.into_iter().filter(|date| Some(*date) != done);
        let instants = to_come.filter_map(|date| Some((self.instant(date, time, zone)?, date)));
        instants.filter(|(at, _)| *at > now).min()
    }

    /// The day in the years around the moment, after the year it was born in.
    fn every_year(&self, born: Option<i16>, month: i8, day: i8, now: Timestamp, zone: &TimeZone) -> Option<Vec<Date>> {
        let now = Zoned::new(jiff::Timestamp::from_millisecond(now.millis()).ok()?, zone.clone());
        let base = born.map_or(now.year(), |born| now.year().max(born.saturating_add(1)));
        let years = base.saturating_sub(YEARS_AROUND)..=base.saturating_add(YEARS_AROUND);
        let years = years.filter(|year| born.is_none_or(|born| *year > born));
        Some(years.filter_map(|year| self.day_of(year, month, day)).collect())
    }

    fn day_of(&self, year: i16, month: i8, day: i8) -> Option<Date> {
        let instead = match self.feb29 {
            Feb29::Feb28 => Date::new(year, 2, 28),
            Feb29::Mar1 => Date::new(year, 3, 1),
        };
        Date::new(year, month, day).or_else(|none| if (month, day) == (2, 29) { instead } else { Err(none) }).ok()
    }

    fn instant(&self, date: Date, time: Time, zone: &TimeZone) -> Option<Timestamp> {
        let moved: Days = match self.offset {
            Offset::Days(days) => i64::from(days).days(),
            Offset::Months(months) => i64::from(months).months(),
        };
        let local = date.checked_add(moved).ok()?.to_datetime(time);
        let at = zone.to_ambiguous_zoned(local).compatible().ok()?;
        Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
    }
}
