//! `kind: quiet_hours`: when which messages wait.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use crate::audience::whereabouts::places::{country_code, region_code};
use crate::definition::problem::Code;
use crate::definition::reader::{At, Map, Target};
use crate::guard::quiet_hours::{ClockTime, Day, Window, allowed_at};
use crate::ids::Timestamp;
use crate::message::{Channel, Purpose};

const WINDOWS_MAX: usize = 100;
const PURPOSES: [(&str, Purpose); 2] = [("marketing", Purpose::Marketing), ("transactional", Purpose::Transactional)];
const DAYS: [(&str, i8); 7] = [("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6), ("sun", 7)];
const FIELDS: [&str; 8] = ["channels", "purposes", "from", "to", "countries", "regions", "days", "dates"];

/// An empty list of windows is an answer, too: nothing waits.
pub fn read(at: &At<'_>) -> Option<Vec<Window>> {
    let map = at.map(&["kind", "key", "name", "owner", "windows"], &[])?;
    let windows = map.required("windows")?;
    let items = windows.list()?;
    if items.len() > WINDOWS_MAX {
        windows.problem(Code::Limit, format!("has {} windows; at most {WINDOWS_MAX} are allowed", items.len()));
    }
    let read: Vec<Option<Window>> = items.iter().map(window).collect();
    let read: Vec<Window> = read.into_iter().collect::<Option<_>>()?;
    for channel in Channel::ALL {
        for (name, purpose) in PURPOSES {
            if !leaves_time(&read, channel, purpose) {
                let channel = channel.as_str();
                return windows.wrong(format!("together they leave no time at all for {name} by {channel}"));
            }
        }
    }
    Some(read)
}

fn window(at: &At<'_>) -> Option<Window> {
    let map = at.map(&FIELDS, &[])?;
    let channels = map.required("channels").and_then(|at| {
        let all = some(&at, |at| at.channel())?;
        if all.is_empty() { at.wrong("name at least one channel") } else { Some(all) }
    });
    let both = BTreeSet::from([Purpose::Marketing, Purpose::Transactional]);
    let purposes = map.optional("purposes", both, |at| {
        let named = some(&at, |at| at.choice(&PURPOSES, &[]))?;
        if named.is_empty() { at.wrong("name at least one purpose") } else { Some(named) }
    });
    let (from, to) = (time(&map, "from"), time(&map, "to"));
    let countries = map.optional("countries", BTreeSet::new(), |at| some(&at, country));
    let regions = map.optional("regions", BTreeSet::new(), |at| some(&at, region));
    let days = map.optional("days", BTreeSet::new(), |at| some(&at, |at| at.choice(&DAYS, &[])));
    let dates = map.optional("dates", BTreeSet::new(), |at| some(&at, day));
    let (from, to) = (from?, to?);
    if from == to {
        return at.wrong(format!("from {from} to {to} is no time at all; a whole day is from 00:00 to 24:00"));
    }
    let (channels, purposes) = (channels?, purposes?);
    Some(Window { channels, purposes, from, to, countries: countries?, regions: regions?, days: days?, dates: dates? })
}

fn some<T: Ord>(at: &At<'_>, read: impl Fn(&At<'_>) -> Option<T>) -> Option<BTreeSet<T>> {
    let each: Vec<Option<T>> = at.list()?.iter().map(read).collect();
    each.into_iter().collect()
}

fn time(map: &Map<'_>, field: &str) -> Option<ClockTime> {
    let at = map.required(field)?;
    match at.raw().and_then(ClockTime::parse) {
        Some(time) => Some(time),
        None => at.wrong("wanted a time of day as \"HH:MM\", from \"00:00\" to \"24:00\""),
    }
}

/// ISO 3166-1. One that there is none of is told beside other names that lead nowhere: what was applied before this was
/// looked at is read as ever.
pub fn country(at: &At<'_>) -> Option<String> {
    let Some(code) = country_code(&at.name()?) else {
        return at.wrong("wanted a country by its two letters (ISO 3166-1), such as GB");
    };
    at.refers(Target::Country(code.clone()));
    Some(code)
}

fn region(at: &At<'_>) -> Option<String> {
    let Some(code) = region_code(&at.name()?) else {
        return at.wrong("wanted a region as ISO 3166-2 writes it, such as US-FL");
    };
    at.refers(Target::Region(code.clone()));
    Some(code)
}

fn day(at: &At<'_>) -> Option<Day> {
    match at.raw().and_then(Day::parse) {
        Some(day) => Some(day),
        None => at.wrong("wanted a date such as 2026-12-24, or --12-24 for every year"),
    }
}

/// Whether anything may ever go to somebody of whom only the clock matters.
fn leaves_time(windows: &[Window], channel: Channel, purpose: Purpose) -> bool {
    let is_everywhere = |window: &&Window| window.countries.is_empty() && window.regions.is_empty();
    let binds = |window: &&Window| window.channels.contains(&channel) && window.purposes.contains(&purpose);
    let binding: Vec<&Window> = windows.iter().filter(is_everywhere).filter(binds).collect();
    // Any year will do.
    let from = Timestamp::from_millis(1_800_000_000_000);
    allowed_at(from, &[TimeZone::UTC], &binding).is_some()
}
