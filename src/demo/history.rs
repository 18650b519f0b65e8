//! The shop's days up to now, in order of time, one local day in memory at a time.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::chance::Chance;
use super::person::Person;
use super::shop::{BadShop, Rhythm, Shop};
use super::visit::{Act, sign_up, visit};
use super::{HISTORY, event};
use crate::event::{Event, Origin};
use crate::ids::{Span, Timestamp, WorkspaceId};

/// What happened in the shop's days before `until`: no event is later than it, and each is no earlier than the one
/// before. The same seed and day give the same events.
///
/// # Errors
/// The shop's own figures are wrong, which its tests rule out.
pub fn history(workspace: WorkspaceId, seed: u64, until: Timestamp) -> Result<History, BadShop> {
    let shop = Shop::get()?;
    let numbers = 0..i64::try_from(shop.rhythm.customers).unwrap_or(0);
    let people = numbers.filter_map(|number| Person::new(shop, seed, number)).collect();
    let first_day = until.day() - i64::try_from(shop.rhythm.days).unwrap_or(0);
    let start = Timestamp::from_millis(0).plus(Span::from_days(first_day));
    let waiting = BTreeMap::new();
    let mut history =
        History { workspace, seed, shop, people, first_day, day: first_day, until, waiting, kept: 0, row: 0 };
    if let Some(ann) = Person::ann(shop) {
        history.keep(&ann, first_day, sign_up(&ann, start));
    }
    Ok(history)
}

/// See [`history`].
pub struct History {
    workspace: WorkspaceId,
    seed: u64,
    shop: &'static Shop,
    people: Vec<Person<'static>>,
    first_day: i64,
    /// The next local day to be made, since 1970.
    day: i64,
    until: Timestamp,
    /// What is made and not told yet, by time and then as it was made.
    waiting: BTreeMap<(Timestamp, u64), (String, String, Act)>,
    kept: u64,
    row: u64,
}

/// No local day begins earlier before the same day of UTC.
const EASTERNMOST: Span = Span::from_hours(14);

impl Iterator for History {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let last_day = self.until.day() + 1;
        while self.day <= last_day && !self.is_settled() {
            self.make_day();
        }
        let ((at, _), (user_id, message_id, act)) = self.waiting.pop_first()?;
        if at > self.until {
            self.waiting.clear();
            return None;
        }
        self.row += 1;
        let origin = Origin::Import { file: HISTORY.to_owned(), row: self.row };
        Some(event(self.workspace, &user_id, act, message_id, origin))
    }
}

impl History {
    /// Whether nothing that is still to be made can come before what waits.
    fn is_settled(&self) -> bool {
        let next_made = day_start(self.day).minus(EASTERNMOST);
        self.waiting.first_key_value().is_some_and(|((at, _), _)| *at < next_made)
    }

    fn make_day(&mut self) {
        let people = std::mem::take(&mut self.people);
        for person in &people {
            let acts = self.acts_of(person);
            self.keep(person, self.day, acts);
        }
        self.people = people;
        self.day += 1;
    }

    /// What a person does on the local day to be made.
    fn acts_of(&self, person: &Person<'_>) -> Vec<Act> {
        let rhythm = &self.shop.rhythm;
        let joined = self.joined(person);
        let mut chance = Chance::new(self.seed, "day", &[self.day, person.number]);
        if self.day == joined && joined == self.first_day {
            // Accounts from before: all there when the first day begins, a second after each other.
            return sign_up(person, day_start(self.day).plus(Span::from_seconds(person.number)));
        }
        if self.day < joined || (self.day > joined && !comes(rhythm, person, self.day, &mut chance)) {
            return Vec::new();
        }
        let Some(start) = local_time(rhythm, person, self.day, &mut chance) else { return Vec::new() };
        let mut acts = if self.day == joined { sign_up(person, start) } else { Vec::new() };
        acts.extend(visit(self.shop, person, start.plus(Span::from_seconds(20)), &mut chance));
        acts
    }

    /// The day a person's account was made.
    fn joined(&self, person: &Person<'_>) -> i64 {
        let mut chance = Chance::new(self.seed, "joined", &[person.number]);
        if chance.percent(self.shop.rhythm.known_before) {
            return self.first_day;
        }
        let later = chance.between(1, self.shop.rhythm.days.saturating_sub(1));
        self.first_day + i64::try_from(later).unwrap_or(0)
    }

    fn keep(&mut self, person: &Person<'_>, day: i64, acts: Vec<Act>) {
        for (n, act) in acts.into_iter().enumerate() {
            let message_id = format!("demo-{}-{}-{day}-{}-{n}", self.seed, self.first_day, person.user_id);
            self.kept += 1;
            self.waiting.insert((act.at, self.kept), (person.user_id.clone(), message_id, act));
        }
    }
}

fn day_start(day: i64) -> Timestamp {
    Timestamp::from_millis(0).plus(Span::from_days(day))
}

const MILLION: u64 = 1_000_000;

/// Whether a person comes on a day: their visits spread over the shop's days, weighted by the day of the week.
fn comes(rhythm: &Rhythm, person: &Person<'_>, day: i64, chance: &mut Chance) -> bool {
    // 1970-01-01 was a Thursday, the fourth day from Monday.
    let weekday = (day + 3).rem_euclid(7) as usize;
    let usual: u64 = rhythm.weekdays.iter().sum();
    let odds = person.visits * MILLION / rhythm.days.max(1) * rhythm.weekdays[weekday] * 7 / usual.max(1);
    chance.roll(MILLION) < odds
}

/// A moment of the person's local day, at an hour people come.
fn local_time(rhythm: &Rhythm, person: &Person<'_>, day: i64, chance: &mut Chance) -> Option<Timestamp> {
    let hours: Vec<(i8, u64)> = (0..24).zip(rhythm.hours).collect();
    let (hour, _) = chance.weighted(&hours, |(_, weight)| *weight)?;
    let (minute, second) = (chance.roll(60) as i8, chance.roll(60) as i8);
    let date = Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(day).ok()?).ok()?;
    let local = date.at(*hour, minute, second, 0).to_zoned(person.locale.zone.clone()).ok()?;
    Some(Timestamp::from_millis(local.timestamp().as_millisecond()))
}
