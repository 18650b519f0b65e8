//! Time counted by hand: a die that falls the same way each time, lengths of the calendar, and dates.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

pub const HOUR: i64 = 3_600_000;

/// Numbers from a seed, the same on every machine.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

pub fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

pub fn local(t: i64, zone: &TimeZone) -> DateTime {
    zone.to_datetime(Timestamp::from_millisecond(t).unwrap())
}

fn instant(local: DateTime, zone: &TimeZone) -> i64 {
    local.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond()
}

pub fn midnight(date: Date, zone: &TimeZone) -> i64 {
    instant(date.at(0, 0, 0, 0), zone)
}

pub fn days_after(date: Date, days: i64) -> Date {
    date.checked_add(days.days()).unwrap()
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A length of time as a definition writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Long {
    Hours(i64),
    Months(i64),
    Day,
    Week,
}

impl Long {
    pub fn any(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0 => Self::Months(1),
            1 => Self::Months(dice.of(&[2, 3, 12])),
            2 => Self::Day,
            3 => Self::Week,
            4 => Self::Hours(dice.between(1, 6)),
            _ => Self::Hours(24 * dice.between(1, 40)),
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::Hours(hours) => format!("{hours}h"),
            Self::Months(12) => "1y".to_owned(),
            Self::Months(months) => format!("{months}mo"),
            Self::Day => "calendar_day".to_owned(),
            Self::Week => "calendar_week".to_owned(),
        }
    }

    /// `t ⊕ self`
    pub fn after(self, t: i64, zone: &TimeZone) -> i64 {
        let here = local(t, zone);
        match self {
            Self::Hours(hours) => t + hours * HOUR,
            Self::Months(months) => shifted(here, months, zone),
            Self::Day => midnight(days_after(here.date(), 1), zone),
            Self::Week => {
                let since_monday = i64::from(here.date().weekday().to_monday_zero_offset());
                midnight(days_after(here.date(), 7 - since_monday), zone)
            }
        }
    }

    /// The beginning of the length that ends at `t`.
    pub fn before(self, t: i64, zone: &TimeZone) -> i64 {
        let here = local(t, zone);
        match self {
            Self::Hours(hours) => t - hours * HOUR,
            Self::Months(months) => shifted(here, -months, zone),
            Self::Day => midnight(here.date(), zone),
            Self::Week => {
                midnight(days_after(here.date(), -i64::from(here.date().weekday().to_monday_zero_offset())), zone)
            }
        }
    }
}

fn shifted(here: DateTime, months: i64, zone: &TimeZone) -> i64 {
    let index = i64::from(here.year()) * 12 + i64::from(here.month()) - 1 + months;
    let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
    let day = i64::from(here.day()).min(month_length(year, month));
    let date = Date::new(year as i16, month as i8, day as i8).unwrap();
    instant(date.to_datetime(here.time()), zone)
}

/// A date as a trait or a property has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stamp {
    At(i64),
    Day(Date),
    Yearly(i8, i8),
}

/// A test of it against the moment, or against another date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DateTest {
    InNext(Long),
    InLast(Long),
    Anniversary(i64),
    Before(&'static str),
    After(&'static str),
}

impl DateTest {
    pub fn any(dice: &mut Dice) -> Self {
        let fixed = ["2028-02-14", "2028-03-01T00:00:00Z", "2028-03-26"];
        match dice.below(6) {
            0 | 1 => Self::InNext(Long::any(dice)),
            2 => Self::InLast(Long::any(dice)),
            3 => Self::Anniversary(dice.of(&[0, 1, 3, 30, 365])),
            4 => Self::Before(dice.of(&fixed)),
            _ => Self::After(dice.of(&fixed)),
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::InNext(long) => format!("{{ in_next: {} }}", long.text()),
            Self::InLast(long) => format!("{{ in_last: {} }}", long.text()),
            Self::Anniversary(0) => "{ anniversary: {} }".to_owned(),
            Self::Anniversary(days) => format!("{{ anniversary: {{ days_before: {days} }} }}"),
            Self::Before(text) => format!("{{ before: \"{text}\" }}"),
            Self::After(text) => format!("{{ after: \"{text}\" }}"),
        }
    }

    pub fn holds(self, stamp: Stamp, t: i64, zone: &TimeZone) -> bool {
        let comes = || comes(stamp, zone);
        match self {
            Self::InNext(long) => comes().into_iter().any(|x| long.before(x, zone) <= t && t < x),
            Self::InLast(long) => comes().into_iter().any(|x| x <= t && t < long.after(x, zone)),
            Self::Anniversary(days) => anniversaries(stamp, zone).into_iter().any(|date| {
                let date = days_after(date, -days);
                midnight(date, zone) <= t && t < midnight(days_after(date, 1), zone)
            }),
            Self::Before(text) => once(stamp, zone).is_some_and(|x| x < named(text, zone)),
            Self::After(text) => once(stamp, zone).is_some_and(|x| x > named(text, zone)),
        }
    }

    /// Where the answer may turn.
    pub fn instants(self, stamp: Stamp, zone: &TimeZone) -> Vec<i64> {
        let comes = || comes(stamp, zone).into_iter();
        match self {
            Self::InNext(long) => comes().flat_map(|x| [long.before(x, zone), x]).collect(),
            Self::InLast(long) => comes().flat_map(|x| [x, long.after(x, zone)]).collect(),
            Self::Anniversary(days) => anniversaries(stamp, zone)
                .into_iter()
                .flat_map(|date| [-days, 1 - days].map(|days| midnight(days_after(date, days), zone)))
                .collect(),
            Self::Before(_) | Self::After(_) => Vec::new(),
        }
    }
}

fn named(text: &str, zone: &TimeZone) -> i64 {
    if text.len() == 10 { midnight(text.parse().unwrap(), zone) } else { millis(text) }
}

fn once(stamp: Stamp, zone: &TimeZone) -> Option<i64> {
    match stamp {
        Stamp::At(t) => Some(t),
        Stamp::Day(date) => Some(midnight(date, zone)),
        Stamp::Yearly(..) => None,
    }
}

/// Each time it comes, as far as a case looks.
fn comes(stamp: Stamp, zone: &TimeZone) -> Vec<i64> {
    let Stamp::Yearly(month, day) = stamp else { return once(stamp, zone).into_iter().collect() };
    (2026..=2030).map(|year| midnight(in_year(year, month, day), zone)).collect()
}

fn in_year(year: i16, month: i8, day: i8) -> Date {
    let day = i64::from(day).min(month_length(year.into(), month.into())) as i8;
    Date::new(year, month, day).unwrap()
}

fn anniversaries(stamp: Stamp, zone: &TimeZone) -> Vec<Date> {
    let (born, month, day) = match stamp {
        Stamp::At(t) => (Some(local(t, zone).year()), local(t, zone).month(), local(t, zone).day()),
        Stamp::Day(date) => (Some(date.year()), date.month(), date.day()),
        Stamp::Yearly(month, day) => (None, month, day),
    };
    let years = (2026..=2030).filter(|year| born.is_none_or(|born| *year > born));
    years.map(|year| in_year(year, month, day)).collect()
}
