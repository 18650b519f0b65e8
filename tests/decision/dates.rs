//! Campaigns that begin at a date: by each person's own clock, once for each date, whatever changes before.

use std::collections::BTreeSet;

use carillon::audience::condition::Terms;
use carillon::audience::occasion::{Feb29, Occasion, Offset};
use carillon::audience::segment::{Bases, SegmentSet};
use carillon::decision::{Effect, Input, Other, Snapshot, decide_joined};
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use jiff::ToSpan;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::support::{Life, campaign_called, event, verdicts};

const BIRTHDAY: &str = "entry: { date: { trait: birthday, yearly: true, at: \"09:00\" } }";

fn life(campaigns: &[(&str, &str)]) -> Life {
    let mut life = Life::of(campaigns.iter().map(|(key, fields)| campaign_called(key, 1, fields)).collect());
    follow(&mut life, 1);
    life
}

/// The campaigns with dates are in force from this position on.
fn follow(life: &mut Life, since: i64) {
    let bases = Bases { dates: Position(since), ..Bases::default() };
    let terms = Terms { segments: SegmentSet::new(Vec::new(), &bases), ..Terms::default() };
    life.catalog = std::mem::take(&mut life.catalog).with_terms(terms);
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Decides an input and whatever follows; the answer is each date that was reached, and every verdict.
fn live(life: &mut Life, now: Timestamp, input: &Input) -> Vec<String> {
    let mut told = Vec::new();
    let mut open = vec![(now, input.clone())];
    while !open.is_empty() {
        let (now, input) = open.remove(0);
        let decision = life.decide(now, &input);
        told.extend(verdicts(&decision).into_iter().filter(|it| *it != "other").map(str::to_owned));
        for effect in decision.effects {
            let Effect::Happen(own) = effect else { continue };
            assert_eq!(own.name, "Date Reached");
            told.push(format!("{} at {}", own.properties["date"].as_str().unwrap(), own.at));
            open.push((own.at, Input::Event(own.into_event().into())));
        }
    }
    told
}

fn identified(life: &mut Life, when: &str, traits: &str) -> Vec<String> {
    let at = instant(when);
    let body = format!(r#"{{"traits":{traits}}}"#);
    live(life, at, &Input::Event(event("Identified", at, at, &body).into()))
}

/// Lets everybody be woken until then; the answer is what came of it.
fn pass(life: &mut Life, until: &str) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..100 {
        let Some(now) = life.person.wake_at.filter(|now| *now <= instant(until)) else { return told };
        life.person.wake_at = None;
        told.extend(live(life, now, &Input::Timer));
    }
    panic!("it does not come to an end: {told:?}")
}

#[test]
fn a_birthday_is_kept_every_year_on_the_morning_where_the_person_lives() {
    let mut life = life(&[("birthday", BIRTHDAY)]);
    identified(&mut life, "2026-02-01T10:00Z", r#"{"birthday":"1990-03-29","timezone":"Europe/Berlin"}"#);
    assert_eq!(life.person.wake_at, Some(instant("2026-03-29T07:00Z")), "clocks are set forward that night");
    let told = pass(&mut life, "2028-01-01T00:00Z");
    let wanted = ["2026-03-29 at 2026-03-29T07:00:00Z", "entered", "queued"];
    assert_eq!(told[..3], wanted);
    assert_eq!(told[3..], ["2027-03-29 at 2027-03-29T07:00:00Z", "already_enrolled"], "its message never went");
}

#[test]
fn a_day_of_no_year_and_29_february_come_every_year() {
    let years = |campaign: &str| {
        let mut life = life(&[("birthday", campaign)]);
        identified(&mut life, "2026-01-01T10:00Z", r#"{"birthday":"--02-29"}"#);
        let told = pass(&mut life, "2029-01-01T00:00Z");
        told.into_iter().filter(|it| it.starts_with("20")).map(|it| it[..10].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(years(BIRTHDAY), ["2026-02-28", "2027-02-28", "2028-02-29"]);
    let march = BIRTHDAY.replace("at:", "feb29: mar1, at:");
    assert_eq!(years(&march), ["2026-03-01", "2027-03-01", "2028-02-29"]);
}

#[test]
fn a_renewal_is_told_seven_days_before_and_moves_with_its_date() {
    let renewal = "entry: { date: { trait: renews_at, offset: -7d } }";
    let mut life = life(&[("renewal", renewal)]);
    identified(&mut life, "2026-03-01T10:00Z", r#"{"renews_at":"2026-06-20T15:30:00Z"}"#);
    assert_eq!(life.person.wake_at, Some(instant("2026-06-13T15:30Z")), "an instant keeps its time");
    identified(&mut life, "2026-03-02T10:00Z", r#"{"renews_at":"2026-05-20"}"#);
    assert_eq!(life.person.wake_at, Some(instant("2026-05-13T09:00Z")), "a day has nine in the morning");
    identified(&mut life, "2026-03-03T10:00Z", r#"{"timezone":"America/New_York"}"#);
    assert_eq!(life.person.wake_at, Some(instant("2026-05-13T13:00Z")), "where they live now");
    assert_eq!(pass(&mut life, "2026-05-14T00:00Z")[..2], ["2026-05-20 at 2026-05-13T13:00:00Z", "entered"]);
    identified(&mut life, "2026-05-15T10:00Z", r#"{"renews_at":"2026-05-18"}"#);
    assert_eq!(life.person.profile.remembered.dates["renewal"].next, None, "that day is over");
    identified(&mut life, "2026-05-15T11:00Z", r#"{"renews_at":null}"#);
    assert_eq!(life.person.profile.remembered.dates["renewal"].next, None);
}

#[test]
fn one_date_is_told_once_though_the_person_moves_to_where_it_is_still_to_come() {
    let mut life = life(&[("birthday", BIRTHDAY)]);
    identified(&mut life, "2026-02-01T10:00Z", r#"{"birthday":"1990-03-29","timezone":"Asia/Tokyo"}"#);
    assert_eq!(pass(&mut life, "2026-03-29T00:00Z")[0], "2026-03-29 at 2026-03-29T00:00:00Z");
    identified(&mut life, "2026-03-29T01:00Z", r#"{"timezone":"America/Los_Angeles"}"#);
    let next = life.person.profile.remembered.dates["birthday"].next.map(|(at, _)| at);
    assert_eq!(next, Some(instant("2027-03-29T16:00Z")));
}

#[test]
fn what_was_due_before_an_event_came_is_told_first_with_its_own_instant() {
    let mut life = life(&[("birthday", BIRTHDAY)]);
    identified(&mut life, "2026-02-01T10:00Z", r#"{"birthday":"1990-03-29"}"#);
    // Nobody was woken at nine; at noon they say that it is another day.
    let told = identified(&mut life, "2026-03-29T12:00Z", r#"{"birthday":"1990-04-02"}"#);
    assert_eq!(told[..2], ["2026-03-29 at 2026-03-29T09:00:00Z", "entered"]);
    assert_eq!(pass(&mut life, "2026-12-31T00:00Z")[..1], ["2026-04-02 at 2026-04-02T09:00:00Z"], "another date");
}

#[test]
fn a_campaign_applied_today_waits_for_the_dates_of_people_who_do_nothing() {
    let mut life = Life::of(vec![campaign_called("birthday", 1, "entry: { event: Never }")]);
    identified(&mut life, "2026-02-01T10:00Z", r#"{"birthday":"1990-03-29"}"#);
    assert_eq!(life.person.wake_at, None);
    life.catalog = crate::support::catalog(vec![campaign_called("birthday", 2, BIRTHDAY)]);
    follow(&mut life, 2);
    assert_eq!(live(&mut life, instant("2026-02-02T10:00Z"), &Input::Timer), Vec::<String>::new());
    assert_eq!(life.person.wake_at, Some(instant("2026-03-29T09:00Z")));
}

#[test]
fn two_profiles_that_become_one_person_are_told_once() {
    let mut winner = life(&[("birthday", BIRTHDAY)]);
    identified(&mut winner, "2026-02-01T10:00Z", r#"{"birthday":"1990-03-29","timezone":"America/New_York"}"#);
    let mut loser = life(&[("birthday", BIRTHDAY)]);
    loser.person.profile.id = ProfileId(2);
    identified(&mut loser, "2026-02-01T10:00Z", r#"{"birthday":"1990-03-29"}"#);
    assert_eq!(pass(&mut loser, "2026-03-29T10:00Z")[..2], ["2026-03-29 at 2026-03-29T09:00:00Z", "entered"]);
    let now = instant("2026-03-29T10:00Z");
    let Life { catalog, person, loaded, .. } = &winner;
    let snapshot = Snapshot { catalog, person, loaded, settle: Span::ZERO };
    let other = Other { person: &loser.person, loaded: &loser.loaded };
    let place = carillon::decision::At { position: Position(99), now };
    let input = Input::Event(event("Page Viewed", now, now, "{}").into());
    let decision = decide_joined(place, &snapshot, other, &input);
    let mut person = person.clone();
    decision.effects.iter().for_each(|effect| person.apply(effect));
    assert!(!decision.effects.iter().any(|effect| matches!(effect, Effect::Happen(_))));
    let next = person.profile.remembered.dates["birthday"].next.map(|(at, _)| at);
    assert_eq!(next, Some(instant("2027-03-29T13:00Z")), "at nine in New York, a year later");
}

/// The instant of a local time, by the offsets the zone has around it: where no instant shows that time, as much later as
/// the clocks were set forward; where two do, the first.
fn by_offsets(zone: &TimeZone, local: DateTime) -> i64 {
    let as_if_utc = local.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
    let offset_at = |at: i64| i64::from(zone.to_offset(jiff::Timestamp::from_second(at).unwrap()).seconds());
    let offsets: BTreeSet<i64> = (-5..=5).map(|n| offset_at(as_if_utc + n * 6 * 3600)).collect();
    let shown = offsets.iter().map(|offset| as_if_utc - offset).filter(|at| offset_at(*at) + at == as_if_utc);
    // Before the gap the offset is the smaller one.
    shown.min().unwrap_or_else(|| as_if_utc - offsets.first().unwrap())
}

/// Every zone there is, a day now and then and every day on which its clocks change, at hours that changes skip and repeat.
#[test]
fn the_hour_is_that_of_every_zone_also_where_clocks_skip_it_or_show_it_twice() {
    let (mut looked, mut skipped) = (0_u32, 0_u32);
    for name in jiff::tz::db().available() {
        let zone = TimeZone::get(name.as_str()).unwrap();
        let start = date(2024, 1, 1);
        let mut days: BTreeSet<Date> = (0..30).map(|n| start.checked_add((n * 43).days()).unwrap()).collect();
        let from = jiff::Timestamp::from_second(1_704_067_200).unwrap();
        let changes = zone.following(from).take_while(|it| it.timestamp().as_second() < 1_830_000_000);
        days.extend(changes.map(|change| change.timestamp().to_zoned(zone.clone()).date()));
        for day in days {
            for (hour, minute) in [(0, 0), (0, 30), (1, 30), (2, 0), (2, 30), (9, 0), (23, 45)] {
                let local = day.at(hour, minute, 0, 0);
                let occasion = Occasion {
                    of: "day".into(),
                    yearly: false,
                    offset: Offset::Days(0),
                    at: Some(local.time()),
                    feb29: Feb29::Feb28,
                };
                let wanted = Timestamp::from_millis(by_offsets(&zone, local) * 1000);
                let value = json!(day.to_string());
                let just_before = Timestamp::from_millis(wanted.millis() - 1);
                assert_eq!(occasion.next(&value, just_before, &zone, None), Some((wanted, day)), "{local} {name}");
                assert_eq!(occasion.next(&value, wanted, &zone, None), None, "{local} {name}");
                looked += 1;
                let seen = jiff::Timestamp::from_millisecond(wanted.millis()).unwrap().to_zoned(zone.clone());
                skipped += u32::from(seen.datetime() != local);
            }
        }
    }
    assert!(looked > 100_000 && skipped > 300, "{looked} {skipped}");
}

/// Every day of years with and without 29 February, a few offsets: the next one is the first that lies ahead.
#[test]
fn the_next_date_is_the_first_of_all_years_that_lies_ahead() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let offsets = [Offset::Days(0), Offset::Days(-3), Offset::Days(10), Offset::Months(-1), Offset::Days(-400)];
    for offset in offsets {
        let at = Some(jiff::civil::time(9, 0, 0, 0));
        let occasion = Occasion { of: "b".into(), yearly: true, offset, at, feb29: Feb29::Feb28 };
        for n in (0..1_500).step_by(7) {
            let born = date(1999, 12, 1).checked_add(n.days()).unwrap();
            let now = date(2026, 3, 1).checked_add((n * 5 % 900).days()).unwrap().at(12, 0, 0, 0);
            let now = Timestamp::from_millis(now.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond());
            let of_year = |year: i16| {
                let day = Date::new(year, born.month(), born.day()).or_else(|_| Date::new(year, 2, 28)).unwrap();
                let moved = match offset {
                    Offset::Days(days) => day.checked_add(i64::from(days).days()).unwrap(),
                    Offset::Months(months) => day.checked_add(i64::from(months).months()).unwrap(),
                };
                Timestamp::from_millis(by_offsets(&zone, moved.at(9, 0, 0, 0)) * 1000)
            };
            let wanted = (2015..2040).map(of_year).filter(|it| *it > now).min();
            let found = occasion.next(&Value::from(born.to_string()), now, &zone, None).map(|(at, _)| at);
            assert_eq!(found, wanted, "{born} {offset:?} {now}");
        }
    }
}
