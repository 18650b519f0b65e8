//! Lengths of time as people mean them: fixed ones, months and years of the calendar, and what is left of a day or a week,
//! each counted in a zone.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use crate::audience::Profile;
use crate::ids::{Span, Timestamp};

/// The longest civil day: offsets from UTC lie between -12:00 and +14:00, so none exceeds 50 hours.
pub const DAY_MAX: Span = Span::from_hours(50);
pub const WEEK_MAX: Span = Span::from_hours(6 * 24 + 50);
/// A hundred years, as for fixed lengths.
const MONTHS_MAX: u32 = 1_200;

/// A length of time, counted from an instant in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Fixed(Span),
    /// To the same day and time so many months later; the last day of a shorter month.
    Months(u32),
    /// To the end of the local day.
    CalendarDay,
    /// To the end of the local week, which begins on Monday.
    CalendarWeek,
}

impl Period {
    /// The instant at which the period ends that begins at `at`.
    pub fn after(self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        match self {
            Self::Fixed(span) => at.plus(span),
            Self::Months(months) => moved(at, zone, i64::from(months)),
            Self::CalendarDay => day(at, zone).1,
            Self::CalendarWeek => week(at, zone).1,
        }
    }

    /// The instant at which the period begins that ends at `at`: of a day or a week, that in which `at` lies.
    pub fn before(self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        match self {
            Self::Fixed(span) => at.minus(span),
            Self::Months(months) => moved(at, zone, -i64::from(months)),
            Self::CalendarDay => day(at, zone).0,
            Self::CalendarWeek => week(at, zone).0,
        }
    }

    /// Whether the person's zone matters.
    pub const fn is_civil(self) -> bool {
        !matches!(self, Self::Fixed(_))
    }

    /// No period of this kind is longer, whatever the zone.
    pub fn longest(self) -> Span {
        match self {
            Self::Fixed(span) => span,
            // A month of 31 days whose zone moves by a day.
            Self::Months(months) => Span::from_days(i64::from(months) * 31 + 2),
            Self::CalendarDay => DAY_MAX,
            Self::CalendarWeek => WEEK_MAX,
        }
    }

    /// None is shorter.
    pub fn shortest(self) -> Span {
        match self {
            Self::Fixed(span) => span,
            Self::Months(months) => Span::from_days((i64::from(months) * 28 - 2).max(0)),
            Self::CalendarDay | Self::CalendarWeek => Span::ZERO,
        }
    }
}

impl From<Span> for Period {
    fn from(span: Span) -> Self {
        Self::Fixed(span)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(span) => write!(f, "{span}"),
            Self::Months(months) if months % 12 == 0 && *months > 0 => write!(f, "{}y", months / 12),
            Self::Months(months) => write!(f, "{months}mo"),
            Self::CalendarDay => f.write_str("the calendar day"),
            Self::CalendarWeek => f.write_str("the calendar week"),
        }
    }
}

/// Text that is no length of time.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not a duration such as 30s, 5m, 2h, 7d, 2w, 1mo, 1y, calendar_day or calendar_week")]
pub struct NotAPeriod(pub String);

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let wrong = || NotAPeriod(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let in_months = match &text[digits.len()..] {
            "mo" => 1,
            "y" => 12,
            _ => {
                return match text {
                    "calendar_day" => Ok(Self::CalendarDay),
                    "calendar_week" => Ok(Self::CalendarWeek),
                    _ => text.parse().map(Self::Fixed).map_err(|_| wrong()),
                };
            }
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let months = digits.parse::<u32>().ok().and_then(|count| count.checked_mul(in_months));
        months.filter(|months| *months <= MONTHS_MAX).map(Self::Months).ok_or_else(wrong)
    }
}

/// Where a person lives, by the trait `timezone`; none where it is missing or names no zone.
pub fn zone_of(profile: &Profile) -> Option<TimeZone> {
    profile.traits.get("timezone")?.as_str().and_then(|name| TimeZone::get(name).ok())
}

/// The local date at an instant; none at the ends of time.
pub fn date_of(at: Timestamp, zone: &TimeZone) -> Option<Date> {
    let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
    Some(Zoned::new(at, zone.clone()).date())
}

/// The first instant of a local day: where clocks skip midnight what follows, where they show it twice the first time.
pub fn start_of(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    let midnight = zone.to_ambiguous_zoned(date.to_datetime(jiff::civil::Time::midnight())).compatible().ok()?;
    Some(Timestamp::from_millis(midnight.timestamp().as_millisecond()))
}

/// The local day that holds an instant: its first instant, and the first of the next.
pub fn day(at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
    calendar(at, zone, |today| (Some(today), today.tomorrow().ok()))
}

/// The local week that holds an instant, from Monday to Monday.
pub fn week(at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
    calendar(at, zone, |today| {
        let monday = today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok();
        (monday, monday.and_then(|monday| monday.checked_add(7.days()).ok()))
    })
}

/// From the first instant of one date to the first of another; at the ends of time, from or to there.
fn calendar(
    at: Timestamp,
    zone: &TimeZone,
    dates: impl Fn(Date) -> (Option<Date>, Option<Date>),
) -> (Timestamp, Timestamp) {
    let (first, next) = date_of(at, zone).map_or((None, None), dates);
    let since = first.and_then(|date| start_of(date, zone)).unwrap_or(Timestamp::from_millis(i64::MIN));
    let again = |date: Date| {
        let midnight = zone.to_ambiguous_zoned(date.to_datetime(jiff::civil::Time::midnight())).later().ok()?;
        Some(Timestamp::from_millis(midnight.timestamp().as_millisecond()))
    };
    // Clocks set back over midnight make a date begin, stop and begin again.
    let ends = next.and_then(|date| start_of(date, zone).filter(|ends| *ends > at).or_else(|| again(date)));
    (since, ends.unwrap_or(Timestamp::from_millis(i64::MAX)))
}

/// The same time of day so many months later or earlier; saturates at the ends of time.
fn moved(at: Timestamp, zone: &TimeZone, months: i64) -> Timestamp {
    let end = Timestamp::from_millis(if months < 0 { i64::MIN } else { i64::MAX });
    let Ok(instant) = jiff::Timestamp::from_millisecond(at.millis()) else { return end };
    match Zoned::new(instant, zone.clone()).checked_add(months.months()) {
        Ok(moved) => Timestamp::from_millis(moved.timestamp().as_millisecond()),
        Err(_) => end,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn periods_read_as_people_write_them_and_print_what_they_are() {
        for (text, period) in [
            ("90d", Period::Fixed(Span::from_days(90))),
            ("1mo", Period::Months(1)),
            ("18mo", Period::Months(18)),
            ("2y", Period::Months(24)),
        ] {
            assert_eq!(text.parse::<Period>().unwrap(), period);
            assert_eq!(period.to_string(), text);
        }
        assert_eq!("calendar_week".parse::<Period>().unwrap(), Period::CalendarWeek);
        for wrong in ["", "mo", "1", "-1mo", "1.5y", "1 mo", "101y", "1M", "calendar_month", "99999999999mo", "é"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_month_ends_on_the_same_day_and_hour_or_on_the_last_there_is() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let month = |from: &str| Period::Months(1).after(at(from), &berlin).to_string();
        assert_eq!(month("2026-01-31T11:00:00Z"), "2026-02-28T11:00:00Z");
        assert_eq!(month("2028-01-31T11:00:00Z"), "2028-02-29T11:00:00Z");
        assert_eq!(month("2026-03-10T11:00:00Z"), "2026-04-10T10:00:00Z", "noon stays noon");
        let year = Period::Months(12);
        assert_eq!(year.after(at("2028-02-29T11:00:00Z"), &berlin).to_string(), "2029-02-28T11:00:00Z");
        assert_eq!(year.before(at("2028-02-29T11:00:00Z"), &berlin).to_string(), "2027-02-28T11:00:00Z");
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(year.after(last, &TimeZone::UTC), last);
    }

    #[test]
    fn a_calendar_day_ends_at_local_midnight() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let ends = |period: Period| period.after(at("2026-03-05T20:00:00Z"), &zone).to_string();
        assert_eq!(ends(Period::CalendarDay), "2026-03-06T05:00:00Z");
        assert_eq!(ends(Period::CalendarWeek), "2026-03-09T04:00:00Z", "the clocks change on Sunday");
    }
}
