//! The windows frequency caps count in: a length of time that ends now, or the day or week of the person's own calendar
//! that holds now.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::audience::period::{self, DAY_MAX, WEEK_MAX};
use crate::ids::{Span, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// A slot taken at `t` counts at every instant from `t` up to, not including, `t` and this length.
    Rolling(Span),
    /// From midnight to midnight in the person's zone.
    CalendarDay,
    /// From Monday to Monday in the person's zone.
    CalendarWeek,
}

/// A window as it stands at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The first instant whose slots count.
    pub since: Timestamp,
    pub frees: Frees,
}

/// When a slot in a window stops counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frees {
    /// Each this long after it was taken.
    After(Span),
    /// All together.
    At(Timestamp),
}

impl Window {
    /// How far back a slot can matter.
    pub const fn reach(self) -> Span {
        match self {
            Self::Rolling(length) => length,
            Self::CalendarDay => DAY_MAX,
            Self::CalendarWeek => WEEK_MAX,
        }
    }

    /// The window that holds `at`, for a person who lives in `zone`.
    pub fn open(self, at: Timestamp, zone: &TimeZone) -> Open {
        match self {
            Self::Rolling(length) => Open { since: at.minus(length).plus_millis(1), frees: Frees::After(length) },
            Self::CalendarDay => calendar(period::day(at, zone)),
            Self::CalendarWeek => calendar(period::week(at, zone)),
        }
    }
}

fn calendar((since, ends): (Timestamp, Timestamp)) -> Open {
    Open { since, frees: Frees::At(ends) }
}

impl From<Span> for Window {
    fn from(length: Span) -> Self {
        Self::Rolling(length)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(length) => write!(f, "{length}"),
            Self::CalendarDay => f.write_str("calendar day"),
            Self::CalendarWeek => f.write_str("calendar week"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn day(zone: &str, at: &str) -> (String, String) {
        span_of(Window::CalendarDay, zone, at)
    }

    fn span_of(window: Window, zone: &str, at: &str) -> (String, String) {
        let open = window.open(at.parse().unwrap(), &TimeZone::get(zone).unwrap());
        let Frees::At(ends) = open.frees else { panic!("{open:?}") };
        (open.since.to_string(), ends.to_string())
    }

    fn texts(since: &str, ends: &str) -> (String, String) {
        (since.to_owned(), ends.to_owned())
    }

    #[test]
    fn a_day_is_the_customers_own() {
        let at = "2026-03-01T23:30:00Z";
        assert_eq!(day("UTC", at), texts("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"));
        assert_eq!(day("Europe/Berlin", at), texts("2026-03-01T23:00:00Z", "2026-03-02T23:00:00Z"));
        assert_eq!(day("America/New_York", at), texts("2026-03-01T05:00:00Z", "2026-03-02T05:00:00Z"));
        assert_eq!(day("Asia/Kathmandu", at), texts("2026-03-01T18:15:00Z", "2026-03-02T18:15:00Z"));
    }

    #[test]
    fn a_day_of_a_clock_change_is_as_long_as_it_is() {
        let summer = day("Europe/Berlin", "2026-03-29T12:00:00Z");
        assert_eq!(summer, texts("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), "23 hours");
        let winter = day("Europe/Berlin", "2026-10-25T12:00:00Z");
        assert_eq!(winter, texts("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), "25 hours");
        // Cairo's clocks skip the first hour of this Friday: it begins at one.
        assert_eq!(day("Africa/Cairo", "2026-04-24T08:00:00Z").0, "2026-04-23T22:00:00Z");
        // Samoa had no 30 December 2011.
        let last = day("Pacific/Apia", "2011-12-29T12:00:00Z");
        assert_eq!(last, texts("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"));
        assert_eq!(day("Pacific/Apia", "2011-12-30T10:00:00Z").0, "2011-12-30T10:00:00Z");
    }

    #[test]
    fn a_window_never_ends_before_the_instant_it_holds() {
        // St. John's set its clocks back from a minute past midnight: the new day began, stopped, and began again.
        let minute = 60_000;
        let change: Timestamp = "2009-11-01T02:31:00Z".parse().unwrap();
        let zone = TimeZone::get("America/St_Johns").unwrap();
        for window in [Window::CalendarDay, Window::CalendarWeek] {
            for n in -200..200 {
                let at = change.plus_millis(n * minute);
                let open = window.open(at, &zone);
                let Frees::At(ends) = open.frees else { panic!("{open:?}") };
                assert!(open.since <= at && at < ends, "{at} in {open:?}");
                assert!(ends.millis() - open.since.millis() <= window.reach().millis());
            }
        }
    }

    #[test]
    fn a_week_begins_on_monday() {
        let week = |at| span_of(Window::CalendarWeek, "Europe/Berlin", at);
        let second = texts("2026-03-01T23:00:00Z", "2026-03-08T23:00:00Z");
        assert_eq!(week("2026-03-01T23:00:00Z"), second);
        assert_eq!(week("2026-03-08T22:59:59Z"), second);
        assert_eq!(week("2026-03-01T22:59:59Z").1, "2026-03-01T23:00:00Z");
    }

    #[test]
    fn the_ends_of_time_are_ends_of_windows_too() {
        for at in [i64::MIN, i64::MAX] {
            let at = Timestamp::from_millis(at);
            for window in [Window::CalendarDay, Window::CalendarWeek] {
                assert!(window.open(at, &TimeZone::UTC).since <= at);
            }
        }
    }
}
