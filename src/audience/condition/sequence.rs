//! `sequence`: one event followed by another in time, or not followed until the time was over.
//!
//! Each first is looked at by itself, over all of the history: so an event that arrives late is judged like any other,
//! and what became true by nobody coming is taken back when it turns out that somebody came.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::audience::History;
use crate::audience::condition::{Evaluation, Facts, Sequence, Step, cut};
use crate::audience::field::{Place, spelled};
use crate::audience::period::Period;
use crate::event::Event;
use crate::ids::{Position, Timestamp};

/// When an event happened; of one instant, in the order of the log.
type Moment = (Timestamp, Position);

/// The answer now; it turns once, at the earliest instant at which some first makes it true.
pub fn evaluate(sequence: &Sequence, facts: &Facts<'_>) -> Evaluation {
    let Sequence { first, then, is_not, within, same } = sequence;
    let zone = if within.is_some_and(Period::is_civil) { facts.zone() } else { TimeZone::UTC };
    let followers = followers(then, same.as_ref().map(|(_, theirs)| theirs.as_str()), facts);
    let mut firsts = 0_usize;
    let mut holds_from: Option<(Timestamp, Timestamp)> = None;
    for (moment, event) in past(first, facts) {
        let values = match (same, event) {
            (None, _) => vec![String::new()],
            (Some((ours, _)), Some(event)) => values(event, ours),
            (Some(_), None) => continue,
        };
        // What cannot be compared begins nothing: we stay silent.
        if values.is_empty() {
            continue;
        }
        firsts += 1;
        let ends = within.map(|within| within.after(moment.0, &zone));
        let next = values.iter().filter_map(|value| followers.get(value)?.range_after(moment)).min();
        let next = next.map(|(at, _)| at).filter(|at| ends.is_none_or(|ends| *at < ends));
        let turns = match (is_not, next) {
            (false, next) => next,
            (true, Some(_)) => None,
            (true, None) => ends,
        };
        if let Some(turns) = turns {
            holds_from = holds_from.into_iter().chain([(turns, moment.0)]).min();
        }
    }
    let holds = holds_from.is_some_and(|(from, _)| from <= facts.now);
    let until = holds_from.filter(|_| !holds).map(|(from, _)| from);
    Evaluation { until, ..Evaluation::constant(holds, cut(words(sequence, firsts, holds_from.filter(|_| holds)))) }
}

/// Moments in order.
struct Moments(Vec<Moment>);

impl Moments {
    fn range_after(&self, moment: Moment) -> Option<Moment> {
        self.0.get(self.0.partition_point(|one| *one <= moment)).copied()
    }
}

/// When the second step happened, by the value it must have in common with the first (one for all where none is asked).
fn followers(then: &Step, path: Option<&str>, facts: &Facts<'_>) -> BTreeMap<String, Moments> {
    let mut by_value: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
    for (moment, event) in past(then, facts) {
        match (path, event) {
            (None, _) => by_value.entry(String::new()).or_default().push(moment),
            (Some(path), Some(event)) => {
                values(event, path).into_iter().for_each(|value| by_value.entry(value).or_default().push(moment));
            }
            (Some(_), None) => {}
        }
    }
    let in_order = |mut moments: Vec<Moment>| {
        moments.sort_unstable();
        Moments(moments)
    };
    by_value.into_iter().map(|(value, moments)| (value, in_order(moments))).collect()
}

fn values(event: &Event, path: &str) -> Vec<String> {
    Place::event(event).values(path).iter().map(spelled).collect()
}

/// Events of one step, each once.
fn past<'a>(step: &'a Step, facts: &'a Facts<'a>) -> impl Iterator<Item = (Moment, Option<&'a Event>)> {
    let pages = facts.older.iter().chain([&facts.profile.history]);
    let named = pages.flat_map(History::iter).filter(|past| step.events.iter().any(|name| name == past.name));
    let each: BTreeMap<Position, Timestamp> = named.map(|past| (past.position, past.at)).collect();
    each.into_iter().filter_map(move |(position, at)| {
        let body = facts.bodies.get(&position).map(AsRef::as_ref);
        fits(step, body, facts).then_some(((at, position), body))
    })
}

/// Whether the event's own fields are as wanted.
fn fits(step: &Step, body: Option<&Event>, facts: &Facts<'_>) -> bool {
    if step.filter.is_empty() {
        return true;
    }
    let Some(event) = body else { return false };
    let place = Place::event(event);
    step.filter.iter().all(|(path, test)| test.ask(&place.values(path), facts).holds)
}

fn words(sequence: &Sequence, firsts: usize, since: Option<(Timestamp, Timestamp)>) -> String {
    let Sequence { first, then, is_not, within, .. } = sequence;
    let (first, then) = (first.events.join(" or "), then.events.join(" or "));
    let within = within.map_or_else(String::new, |within| format!(" within {within}"));
    match (since, is_not) {
        (Some((from, began)), false) => format!("{first} at {began} was followed by {then} at {from}"),
        (Some((_, began)), true) => format!("{first} at {began} was not followed by {then}{within}"),
        (None, false) => format!("none of {firsts} {first} was followed by {then}{within}"),
        (None, true) => format!("no {first} of {firsts} was left without {then}{within} so far"),
    }
}
