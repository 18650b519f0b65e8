//! Quiet hours: windows of local time in which we wait, and the first instant at which we need not.
//!
//! What counts is what a person's clock shows. Where clocks skip an hour, nobody waits for a time that never comes;
//! where they show one twice, both are quiet.

use std::collections::BTreeSet;
use std::fmt;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;

use crate::audience::whereabouts::Whereabouts;
use crate::ids::{Span, Timestamp};
use crate::message::{Channel, Message, Purpose, WhenQuiet};

/// Whoever finds nothing allowed within this time finds nothing at all.
const SEARCH_MAX: Span = Span::from_days(400);
const MINUTES_OF_DAY: u16 = 24 * 60;

/// A time on a clock without seconds: `21:00`; `24:00` ends a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockTime(u16);

impl ClockTime {
    /// Of `HH:MM`.
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |text: &str| {
            let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_two)
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let of_day = hours * 60 + minutes;
        (minutes < 60 && of_day <= MINUTES_OF_DAY).then_some(Self(of_day))
    }

    fn on(self, date: Date) -> Option<DateTime> {
        let midnight = date.to_datetime(jiff::civil::Time::midnight());
        midnight.checked_add(i64::from(self.0).minutes()).ok()
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A day of one year, or of every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    pub year: Option<i16>,
    pub month: i8,
    pub day: i8,
}

impl Day {
    /// Of `2026-12-24`, or `--12-24` for every year.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("--") {
            // A leap year has every day.
            let date: Date = format!("2024-{rest}").parse().ok()?;
            return (rest.len() == 5).then_some(Self { year: None, month: date.month(), day: date.day() });
        }
        let date: Date = text.parse().ok()?;
        (text.len() == 10).then_some(Self { year: Some(date.year()), month: date.month(), day: date.day() })
    }

    fn is(self, date: Date) -> bool {
        self.year.is_none_or(|year| year == date.year()) && (self.month, self.day) == (date.month(), date.day())
    }
}

/// A time of day in which some messages wait. `from` later than `to` ends on the day after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub channels: BTreeSet<Channel>,
    pub purposes: BTreeSet<Purpose>,
    pub from: ClockTime,
    pub to: ClockTime,
    /// ISO 3166-1; with `regions` empty too: everywhere.
    pub countries: BTreeSet<String>,
    /// ISO 3166-2.
    pub regions: BTreeSet<String>,
    /// Days on which it begins, Monday is 1; empty: every day.
    pub days: BTreeSet<i8>,
    /// Dates on which it begins; empty: every date.
    pub dates: BTreeSet<Day>,
}

/// In force where a workspace says nothing: nobody is woken by a telephone.
pub fn shipped() -> Vec<Window> {
    vec![Window {
        channels: BTreeSet::from([Channel::Sms, Channel::Push, Channel::Whatsapp]),
        purposes: BTreeSet::from([Purpose::Marketing, Purpose::Transactional]),
        from: ClockTime(21 * 60),
        to: ClockTime(9 * 60),
        countries: BTreeSet::new(),
        regions: BTreeSet::new(),
        days: BTreeSet::new(),
        dates: BTreeSet::new(),
    }]
}

/// The windows of all definitions together; the shipped ones where there is none.
pub fn in_force(definitions: impl Iterator<Item = Vec<Window>>) -> Vec<Window> {
    definitions.reduce(|all, more| [all, more].concat()).unwrap_or_else(shipped)
}

impl Window {
    /// Whether it binds such a message to somebody there.
    pub fn binds(&self, channel: Channel, purpose: Purpose, there: &Whereabouts) -> bool {
        self.is_about(channel, purpose) && there.may_be_in(&self.countries, &self.regions)
    }

    fn is_about(&self, channel: Channel, purpose: Purpose) -> bool {
        self.channels.contains(&channel) && self.purposes.contains(&purpose)
    }

    /// When it ends, where a clock that shows `local` is inside.
    fn end(&self, local: DateTime) -> Option<DateTime> {
        let today = local.date();
        [today.yesterday().ok(), Some(today)].into_iter().flatten().find_map(|day| {
            let ends_on = if self.from < self.to { day } else { day.tomorrow().ok()? };
            let (start, end) = (self.from.on(day)?, self.to.on(ends_on)?);
            (self.begins_on(day) && start <= local && local < end).then_some(end)
        })
    }

    fn begins_on(&self, date: Date) -> bool {
        (self.days.is_empty() || self.days.contains(&date.weekday().to_monday_one_offset()))
            && (self.dates.is_empty() || self.dates.iter().any(|day| day.is(date)))
    }
}

/// `21:00–09:00 for sms and push in GB`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.from, self.to)?;
        let channels: Vec<&str> = self.channels.iter().map(|channel| channel.as_str()).collect();
        write!(f, " for {}", channels.join(", "))?;
        if let [purpose] = self.purposes.iter().collect::<Vec<_>>().as_slice() {
            write!(f, ", {} only", purpose.as_str())?;
        }
        let places: Vec<&str> = self.countries.iter().chain(&self.regions).map(String::as_str).collect();
        if !places.is_empty() {
            write!(f, " in {}", places.join(", "))?;
        }
        let days: Vec<String> = self.days.iter().map(|day| name_of_day(*day)).collect();
        if !days.is_empty() {
            write!(f, " on {}", days.join(", "))?;
        }
        let dates: Vec<String> = self.dates.iter().map(ToString::to_string).collect();
        if !dates.is_empty() {
            write!(f, " on {}", dates.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.year {
            Some(year) => write!(f, "{year}-{:02}-{:02}", self.month, self.day),
            None => write!(f, "--{:02}-{:02}", self.month, self.day),
        }
    }
}

fn name_of_day(day: i8) -> String {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let at = Weekday::from_monday_one_offset(day).map_or(0, Weekday::to_monday_zero_offset);
    names.get(usize::from(at.unsigned_abs())).map_or_else(String::new, |name| (*name).to_owned())
}

/// Whether any of these windows may hold the message, wherever its person is.
pub fn may_hold(windows: &[Window], message: &Message) -> bool {
    message.quiet.when != WhenQuiet::Ignore
        && windows.iter().any(|window| window.is_about(message.channel, message.purpose))
}

/// What holds a message, and until when.
#[derive(Debug, Clone, PartialEq)]
pub struct Quiet<'a> {
    pub window: &'a Window,
    /// The first instant at which no window holds it; none within [`SEARCH_MAX`]: never.
    pub until: Option<Timestamp>,
}

/// Whether these windows hold the message at `now`, for somebody there: in every zone that is possible it must be
/// allowed.
pub fn holds<'a>(now: Timestamp, windows: &'a [Window], message: &Message, there: &Whereabouts) -> Option<Quiet<'a>> {
    let binding: Vec<&Window> =
        windows.iter().filter(|window| window.binds(message.channel, message.purpose, there)).collect();
    let window = there.zones.iter().find_map(|zone| inside(now, zone, &binding))?;
    Some(Quiet { window, until: allowed_at(now, &there.zones, &binding) })
}

/// The first instant from `from` on that is in no window, in none of these zones.
pub fn allowed_at(from: Timestamp, zones: &[TimeZone], windows: &[&Window]) -> Option<Timestamp> {
    let limit = from.plus(SEARCH_MAX);
    let mut at = from;
    while at < limit {
        // All zones look at the same instant; the one that lets us wait longest is the next to be believed.
        match zones.iter().filter_map(|zone| changes_at(at, zone, windows)).max() {
            Some(next) => at = next,
            None => return Some(at),
        }
    }
    None
}

fn inside<'a>(at: Timestamp, zone: &TimeZone, windows: &[&'a Window]) -> Option<&'a Window> {
    let (local, _) = clock(at, zone)?;
    windows.iter().copied().find(|window| window.end(local).is_some())
}

/// Where a window holds at `at`: the next instant at which that may be otherwise. Until then it does hold.
fn changes_at(at: Timestamp, zone: &TimeZone, windows: &[&Window]) -> Option<Timestamp> {
    let (local, now) = clock(at, zone)?;
    let end = windows.iter().filter_map(|window| window.end(local)).max()?;
    let by_clock = at.plus_millis(i64::try_from(end.duration_since(local).as_millis()).ok()?);
    let moved = zone.following(now).next();
    let moved = moved.map(|change| Timestamp::from_millis(change.timestamp().as_millisecond()));
    Some(moved.map_or(by_clock, |moved| moved.min(by_clock)))
}

/// What a clock there shows.
fn clock(at: Timestamp, zone: &TimeZone) -> Option<(DateTime, jiff::Timestamp)> {
    let now = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
    Some((zone.to_datetime(now), now))
}

#[cfg(test)]
mod tests;
