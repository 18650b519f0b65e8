//! A cell's text as what a mapping says it is: number, truth value, list, instant.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::envelope::number;
use crate::ids::Timestamp;

/// Values of one list.
const ITEMS_MAX: usize = 1_000;
/// Above it, seconds since 1970 would be of the year 5138: they are milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Number,
    Boolean,
    /// Text between these separators.
    List(String),
    /// A time in the file's way of writing it, stored as an instant.
    Instant,
}

/// How times are written.
#[derive(Debug, Clone)]
pub(super) struct Clockface {
    pub(super) writing: Writing,
    /// Of times that name none.
    pub(super) zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writing {
    /// ISO 8601, with or without an offset; or seconds or milliseconds since 1970.
    Any,
    /// A pattern such as `%d/%m/%Y %H:%M`.
    Pattern(String),
}

impl Clockface {
    pub(super) fn read(&self, text: &str) -> Option<Timestamp> {
        match &self.writing {
            Writing::Any => instant(text).or_else(|| self.civil(text)),
            Writing::Pattern(pattern) => {
                let broken = strtime::parse(pattern, text).ok()?;
                if let Ok(instant) = broken.to_timestamp() {
                    return Some(Timestamp::from_millis(instant.as_millisecond()));
                }
                let local = broken.to_datetime().or_else(|_| broken.to_date().map(midnight)).ok()?;
                self.local(local)
            }
        }
    }

    fn civil(&self, text: &str) -> Option<Timestamp> {
        let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(midnight));
        self.local(local.ok()?)
    }

    fn local(&self, local: DateTime) -> Option<Timestamp> {
        let instant = local.to_zoned(self.zone.clone()).ok()?.timestamp();
        Some(Timestamp::from_millis(instant.as_millisecond()))
    }

    pub(super) fn example(&self) -> String {
        match &self.writing {
            Writing::Any => "2026-03-01 10:00:00".to_owned(),
            Writing::Pattern(pattern) => format!("the pattern {pattern}"),
        }
    }
}

fn midnight(date: Date) -> DateTime {
    date.to_datetime(Time::midnight())
}

/// An instant that says itself which it is: RFC 3339, or seconds (with a fraction) or milliseconds since 1970.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let units = crate::money::parse(text).ok()?;
        let is_seconds = units < Decimal::from(SECONDS_MAX);
        let millis = if is_seconds { units.checked_mul(Decimal::from(1_000))? } else { units };
        let millis = i64::try_from(millis.trunc().mantissa()).ok().filter(|_| millis.trunc().scale() == 0)?;
        let at = Timestamp::from_millis(millis);
        // Eight digits are a date and not a day of 1970.
        return (at.millis() == millis && text.len() > 8).then_some(at);
    }
    text.parse().ok()
}

impl Type {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List(_) => "list",
            Self::Instant => "time",
        }
    }

    /// The value, or what was expected.
    pub(super) fn read(&self, text: &str, comma: bool, clock: &Clockface) -> Result<Value, String> {
        let wrong = |what: &str| format!("`{}` is no {what}", text.chars().take(60).collect::<String>().escape_debug());
        match self {
            Self::Text => Ok(json!(text)),
            Self::Number => decimal(text, comma).map(number).ok_or_else(|| wrong("number such as 1234.50")),
            Self::Boolean => truth(text).map(Value::Bool).ok_or_else(|| wrong("yes or no")),
            Self::List(separator) => {
                let items: Vec<&str> =
                    text.split(separator.as_str()).map(str::trim).filter(|it| !it.is_empty()).collect();
                if items.len() > ITEMS_MAX { Err(wrong("list of at most 1000 values")) } else { Ok(json!(items)) }
            }
            Self::Instant => {
                let at = clock.read(text).ok_or_else(|| wrong(&format!("time such as {}", clock.example())))?;
                Ok(json!(at.to_string()))
            }
        }
    }
}

/// Digits with thousands apart and a sign or a currency beside them: `1,234.50`, `€ 12`, and `1.234,50` where `comma` says
/// that the comma is the point.
pub(super) fn decimal(text: &str, comma: bool) -> Option<Decimal> {
    let (point, thousands) = if comma { (',', '.') } else { ('.', ',') };
    let is_around = |letter: char| letter.is_whitespace() || "€$£¥\u{a0}".contains(letter);
    let inner = text.trim_matches(is_around);
    let (sign, inner) = match inner.strip_prefix(['-', '−']) {
        Some(rest) => ("-", rest.trim_start_matches(is_around)),
        None => ("", inner.strip_prefix('+').unwrap_or(inner)),
    };
    let (whole, fraction) = inner.split_once(point).unwrap_or((inner, ""));
    let groups: Vec<&str> = whole.split([thousands, ' ', '\'', '\u{a0}', '\u{202f}']).collect();
    // Thousands stand in threes, or `1,5` would be fifteen.
    if groups.len() > 1 && (groups[0].len() > 3 || groups[1..].iter().any(|group| group.len() != 3)) {
        return None;
    }
    let whole = groups.concat();
    let plain = if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
    crate::money::parse(&plain).ok()
}

pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "y" | "1" | "t" | "on" | "ja" | "oui" | "si" | "sí" => Some(true),
        "false" | "no" | "n" | "0" | "f" | "off" | "nein" | "non" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them_and_never_mistaken() {
        let read = |text: &str, comma: bool| decimal(text, comma).map(|it| it.to_string());
        for (text, comma, wanted) in [
            ("1234.50", false, "1234.50"),
            ("1,234.50", false, "1234.50"),
            ("€ 1.234,50", true, "1234.50"),
            ("12 345,6 €", true, "12345.6"),
            ("-5", false, "-5"),
            ("−£5.10", false, "-5.10"),
            ("1'000'000", false, "1000000"),
        ] {
            assert_eq!(read(text, comma).as_deref(), Some(wanted), "{text}");
        }
        for (text, comma) in
            [("1,5", false), ("1.5", true), ("", false), ("12a", false), ("1e3", false), ("1.2.3", false)]
        {
            assert_eq!(read(text, comma), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_in_their_zone_across_the_change_of_clocks() {
        let london = TimeZone::get("Europe/London").unwrap();
        let face = |writing| Clockface { writing, zone: london.clone() };
        let pattern = |text: &str| face(Writing::Pattern(text.to_owned()));
        for (clock, text, wanted) in [
            (face(Writing::Any), "2026-01-10 09:00", "2026-01-10T09:00:00Z"),
            (face(Writing::Any), "2026-07-10T09:00:00", "2026-07-10T08:00:00Z"),
            (face(Writing::Any), "2026-07-10T09:00:00+02:00", "2026-07-10T07:00:00Z"),
            (face(Writing::Any), "2026-07-10", "2026-07-09T23:00:00Z"),
            (face(Writing::Any), "20260710", "2026-07-09T23:00:00Z"),
            (face(Writing::Any), "1396437466.94", "2014-04-02T11:17:46.94Z"),
            (face(Writing::Any), "1396437466940", "2014-04-02T11:17:46.94Z"),
            // The hour that the spring takes away, and the one that the autumn gives twice: the earlier.
            (face(Writing::Any), "2026-03-29 01:30:00", "2026-03-29T01:30:00Z"),
            (face(Writing::Any), "2026-10-25 01:30:00", "2026-10-25T00:30:00Z"),
            (pattern("%d/%m/%Y %H:%M"), "10/07/2026 09:00", "2026-07-10T08:00:00Z"),
            (pattern("%Y%m%d"), "20260710", "2026-07-09T23:00:00Z"),
            (pattern("%d.%m.%Y %H:%M %z"), "10.07.2026 09:00 +0200", "2026-07-10T07:00:00Z"),
        ] {
            assert_eq!(clock.read(text).map(|at| at.to_string()).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "20261310", "-5", "10/07/2026"] {
            assert_eq!(face(Writing::Any).read(text), None, "{text}");
        }
    }
}
