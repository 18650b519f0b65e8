//! Quiet hours against an oracle that knows nothing of windows' ends and clocks' changes: it looks at every quarter of
//! an hour.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use jiff::Timestamp as Instant;
use jiff::tz::db;

use super::*;
use crate::audience::whereabouts::Source;

const QUARTER: i64 = 15 * 60;
/// Quarters looked at before and after a change of the clock.
const AROUND: i64 = 2 * 24 * 4;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn window(from: &str, to: &str) -> Window {
    let mut window = shipped().remove(0);
    (window.from, window.to) = (ClockTime::parse(from).unwrap(), ClockTime::parse(to).unwrap());
    window
}

fn allowed(from: &str, name: &str, windows: &[&Window]) -> String {
    allowed_at(at(from), &[zone(name)], windows).unwrap().to_string()
}

#[test]
fn a_message_waits_for_the_end_of_the_night_where_the_person_is() {
    let night = window("21:00", "09:00");
    assert_eq!(allowed("2026-03-01T20:59:59.999Z", "UTC", &[&night]), "2026-03-01T20:59:59.999Z");
    assert_eq!(allowed("2026-03-01T21:00:00Z", "UTC", &[&night]), "2026-03-02T09:00:00Z");
    assert_eq!(allowed("2026-03-02T08:59:59.999Z", "UTC", &[&night]), "2026-03-02T09:00:00Z");
    assert_eq!(allowed("2026-03-02T09:00:00Z", "UTC", &[&night]), "2026-03-02T09:00:00Z");
    assert_eq!(allowed("2026-03-01T21:00:00Z", "Asia/Tokyo", &[&night]), "2026-03-02T00:00:00Z");
    assert_eq!(allowed("2026-03-01T12:30:00Z", "Pacific/Kiritimati", &[&night]), "2026-03-01T19:00:00Z");
    let noon = window("12:00", "13:00");
    assert_eq!(allowed("2026-03-01T12:30:00Z", "UTC", &[&noon]), "2026-03-01T13:00:00Z");
    assert_eq!(allowed("2026-03-01T22:30:00Z", "UTC", &[&window("22:00", "24:00")]), "2026-03-02T00:00:00Z");
}

#[test]
fn windows_that_follow_each_other_are_waited_out_together() {
    let (night, noon, morning) = (window("21:00", "09:00"), window("12:00", "13:00"), window("08:00", "12:15"));
    assert_eq!(allowed("2026-03-01T23:00:00Z", "UTC", &[&noon, &night, &morning]), "2026-03-02T13:00:00Z");
}

#[test]
fn days_and_dates_are_those_on_which_a_window_begins() {
    let mut sunday = window("20:00", "10:00");
    sunday.days = BTreeSet::from([7]);
    // 2026-03-01 is a Sunday.
    assert_eq!(allowed("2026-03-02T09:00:00Z", "UTC", &[&sunday]), "2026-03-02T10:00:00Z");
    assert_eq!(allowed("2026-03-02T20:30:00Z", "UTC", &[&sunday]), "2026-03-02T20:30:00Z");
    assert_eq!(allowed("2026-03-01T09:00:00Z", "UTC", &[&sunday]), "2026-03-01T09:00:00Z");
    let mut holidays = window("00:00", "24:00");
    holidays.dates = ["--12-25", "2026-12-26"].map(|day| Day::parse(day).unwrap()).into();
    assert_eq!(allowed("2026-12-25T01:00:00Z", "UTC", &[&holidays]), "2026-12-27T00:00:00Z");
    assert_eq!(allowed("2027-12-25T01:00:00Z", "UTC", &[&holidays]), "2027-12-26T00:00:00Z");
    assert_eq!(holidays.to_string(), "00:00–24:00 for sms, push, whatsapp on --12-25, 2026-12-26");
}

#[test]
fn where_a_clock_skips_or_repeats_the_end_nobody_is_woken_and_nobody_waits_for_ever() {
    let night = window("22:00", "08:00");
    for (from, name, allowed_from) in [
        ("2027-04-29T20:30:00Z", "Africa/Cairo", "2027-04-30T05:00:00Z"),
        ("2027-11-07T03:30:00Z", "America/Havana", "2027-11-07T13:00:00Z"),
        ("2027-04-03T12:00:00Z", "Australia/Lord_Howe", "2027-04-03T21:30:00Z"),
        ("2027-10-02T12:00:00Z", "Australia/Lord_Howe", "2027-10-02T21:00:00Z"),
        ("2027-03-27T23:00:00Z", "Antarctica/Troll", "2027-03-28T06:00:00Z"),
        ("2027-10-30T21:00:00Z", "Antarctica/Troll", "2027-10-31T08:00:00Z"),
        ("2027-01-01T09:00:00Z", "Pacific/Kiritimati", "2027-01-01T18:00:00Z"),
    ] {
        assert_eq!(allowed(from, name, &[&night]), allowed_from, "{name}");
    }
    // The end is skipped: midnight does not exist in Cairo on this day.
    assert_eq!(allowed("2027-04-29T20:30:00Z", "Africa/Cairo", &[&window("22:00", "24:00")]), "2027-04-29T22:00:00Z");
    // The end comes twice: after the first the hour before it is shown again, and is as quiet.
    let early = window("23:00", "01:30");
    assert_eq!(allowed("2027-11-07T05:15:00Z", "America/New_York", &[&early]), "2027-11-07T05:30:00Z");
    assert_eq!(allowed("2027-11-07T06:15:00Z", "America/New_York", &[&early]), "2027-11-07T06:30:00Z");
}

#[test]
fn whose_zone_is_only_guessed_is_written_to_when_all_of_them_allow_it() {
    let zones = ["Europe/Kaliningrad", "Europe/Moscow", "Asia/Kamchatka"].map(zone).to_vec();
    let there = Whereabouts { zones, source: Source::Phone, countries: BTreeSet::new(), region: None };
    let windows = shipped();
    let binding: Vec<&Window> = windows.iter().collect();
    // 09:00 in Kaliningrad is 07:00Z; in Kamchatka it is 19:00 then, and 21:00 at 09:00Z.
    assert_eq!(allowed_at(at("2026-03-01T09:00:00Z"), &there.zones, &binding), Some(at("2026-03-02T07:00:00Z")));
    assert_eq!(allowed_at(at("2026-03-02T08:59:00Z"), &there.zones, &binding), Some(at("2026-03-02T08:59:00Z")));
    // Where two never allow it together, nothing ever goes.
    let apart = ["Pacific/Kiritimati", "America/New_York"].map(zone);
    let short = window("10:00", "08:00");
    assert_eq!(allowed_at(at("2026-03-01T09:00:00Z"), &apart, &[&short]), None);
}

#[test]
fn clock_times_and_days_are_read_exactly() {
    let times = ["00:00", "09:30", "24:00", "24:01", "9:30", "12:60", "1200", "-1:00", "", "aa:bb", "12:3x", "99:99"];
    let read: Vec<Option<String>> =
        times.iter().map(|text| ClockTime::parse(text).map(|time| time.to_string())).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(read[..3], [some("00:00"), some("09:30"), some("24:00")]);
    assert!(read[3..].iter().all(Option::is_none), "{read:?}");
    for text in ["2026-12-24", "--12-24", "--02-29"] {
        assert_eq!(Day::parse(text).unwrap().to_string(), text);
    }
    for text in ["12-24", "--13-01", "--02-30", "2026-02-29", "--2-9", "2026-12-24T00:00", "", "20261224"] {
        assert_eq!(Day::parse(text), None, "{text}");
    }
}

/// What a clock shows from each of these instants on, in seconds east of Greenwich.
type Shows = Vec<(Instant, i32)>;

/// Of all names jiff knows one for each clock, with the instants at which it changes.
fn distinct() -> Vec<(TimeZone, Vec<Instant>)> {
    let names = db().available();
    let (since, until): (Instant, Instant) = ("2024-01-01T00Z".parse().unwrap(), "2037-12-31T00Z".parse().unwrap());
    let mut distinct: BTreeMap<Shows, (TimeZone, Vec<Instant>)> = BTreeMap::new();
    let mut count = 0;
    for name in names {
        count += 1;
        let zone = zone(name.as_str());
        let changes: Vec<Instant> =
            zone.following(since).map(|change| change.timestamp()).take_while(|change| *change < until).collect();
        let shows = |instant: &Instant| (*instant, zone.to_offset(*instant).seconds());
        let does = [since].iter().chain(&changes).map(shows).collect();
        distinct.entry(does).or_insert((zone, changes));
    }
    assert!(count >= 590, "{count} names");
    distinct.into_values().collect()
}

/// 96 windows: they begin at every full hour and last from a quarter of an hour to almost a day.
fn windows() -> Vec<Window> {
    let lasting = [15, 90, 12 * 60, 23 * 60 + 45];
    let each = (0..24).flat_map(|hour| {
        lasting.map(|minutes| {
            let mut window = window("00:00", "24:00");
            let from = hour * 60 + (hour % 4) * 15;
            (window.from, window.to) = (ClockTime(from), ClockTime((from + minutes) % MINUTES_OF_DAY));
            window
        })
    });
    each.collect()
}

/// Every zone × every change of its clock from 2024 to 2037 × 96 windows, against what each quarter of an hour shows.
fn agrees_with_every_quarter(part: usize, of: usize) {
    let windows = windows();
    assert_eq!(windows.len(), 96);
    let mut asked = 0;
    for (zone, changes) in distinct().into_iter().skip(part).step_by(of) {
        // A zone whose clock never changes has its nights, too.
        let around = if changes.is_empty() { vec!["2026-06-01T00Z".parse().unwrap()] } else { changes };
        for change in around {
            let first = change.as_second() - AROUND * QUARTER;
            let minutes: Vec<u16> = (0..2 * AROUND)
                .map(|n| {
                    let local = zone.to_datetime(Instant::from_second(first + n * QUARTER).unwrap());
                    local.hour().unsigned_abs() as u16 * 60 + u16::from(local.minute().unsigned_abs())
                })
                .collect();
            for window in &windows {
                asked += agree(&zone, first, &minutes, window);
            }
        }
    }
    assert!(asked > 100_000 / of, "{asked}");
}

fn agree(zone: &TimeZone, first: i64, minutes: &[u16], window: &Window) -> usize {
    let (from, to) = (window.from.0, window.to.0);
    let is_quiet = |minute: u16| if from < to { from <= minute && minute < to } else { from <= minute || minute < to };
    let mut next_allowed = None;
    let mut asked = 0;
    for n in (0..minutes.len()).rev() {
        let is_edge = n > 0 && is_quiet(minutes[n]) != is_quiet(minutes[n - 1]);
        if !is_quiet(minutes[n]) {
            next_allowed = Some(n);
        }
        // Where it begins and ends, at the change itself, and now and then between.
        let is_asked = is_edge || n.is_multiple_of(29) || n.abs_diff(minutes.len() / 2) <= 1;
        let Some(allowed) = next_allowed.filter(|_| is_asked) else { continue };
        let instant = |n: usize| Timestamp::from_millis((first + n as i64 * QUARTER) * 1_000);
        let found = allowed_at(instant(n), std::slice::from_ref(zone), &[window]);
        assert_eq!(found, Some(instant(allowed)), "{window} in {:?} from {}", zone.iana_name(), instant(n));
        asked += 1;
    }
    asked
}

#[test]
fn no_zone_no_change_of_a_clock_and_no_window_lets_anything_go_too_early_or_too_late_1() {
    agrees_with_every_quarter(0, 4);
}

#[test]
fn no_zone_no_change_of_a_clock_and_no_window_lets_anything_go_too_early_or_too_late_2() {
    agrees_with_every_quarter(1, 4);
}

#[test]
fn no_zone_no_change_of_a_clock_and_no_window_lets_anything_go_too_early_or_too_late_3() {
    agrees_with_every_quarter(2, 4);
}

#[test]
fn no_zone_no_change_of_a_clock_and_no_window_lets_anything_go_too_early_or_too_late_4() {
    agrees_with_every_quarter(3, 4);
}

#[test]
fn real_data_on_both_sides_of_every_recorded_change_the_night_is_the_night() {
    let root = std::env::var("CARILLON_TEST_DATA").unwrap_or_else(|_| "../shared/data".to_owned());
    let path = format!("{root}/F_phone_time_address/moment-timezone_transitions_2010_2030.json.gz");
    let Ok(packed) = std::fs::File::open(&path) else {
        eprintln!("not run: {path} is absent");
        return;
    };
    let rows: serde_json::Value = serde_json::from_reader(flate2::read::GzDecoder::new(packed)).unwrap();
    let night = window("21:00", "09:00");
    let (mut looked, mut changed) = (0, BTreeSet::new());
    for of_zone in rows["zones"].as_array().unwrap() {
        let name = of_zone["zone"].as_str().unwrap();
        let zone = zone(name);
        for row in of_zone["rows"].as_array().unwrap() {
            let (utc, expected) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
            let now = at(utc);
            let (local, _) = clock(now, &zone).unwrap();
            if local.strftime("%H:%M:%S").to_string() != expected {
                changed.insert((name.to_owned(), utc[..4].to_owned()));
                continue;
            }
            looked += 1;
            let is_night = !("09:00:00".."21:00:00").contains(&expected);
            let allowed = allowed_at(now, std::slice::from_ref(&zone), &[&night]).unwrap();
            assert_eq!(allowed != now, is_night, "{name} {utc} shows {expected}");
            let (then, _) = clock(allowed, &zone).unwrap();
            assert!(!is_night || (then.hour(), then.minute()) >= (9, 0) && then.hour() < 21, "{name} {utc}: {then}");
        }
    }
    eprintln!("{looked} rows; other rules since: {changed:?}");
    assert!(looked > 5_000, "{looked}");
    assert!(changed.len() < looked / 50, "{changed:?}");
}
