//! `sequence`: one event followed by another in time, or not followed until the time was over.
//!
//! Each first is looked at by itself, over all of the history: so an event that arrives late is judged like any other,
//! and what became true by nobody coming is taken back when it turns out that somebody came.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;

use crate::audience::condition::performed::past;
use crate::audience::condition::{Detail, Evaluation, Facts, Sequence, Step};
use crate::audience::field::{Place, spelled};
use crate::audience::period::Period;
use crate::audience::stay::Stay;
use crate::audience::value_test::Whens;
use crate::event::Event;
use crate::ids::{Position, Timestamp};

/// When an event happened; of one instant, in the order of the log.
type Moment = (Timestamp, Position);

/// Changes of what counts that are looked ahead to; the rest is looked at when the last of them has come.
const CHANGES_MAX: usize = 64;

/// The answer now, and when it next turns: where nothing but time changes what counts, once at most.
pub fn evaluate(sequence: &Sequence, facts: &Facts<'_>) -> Evaluation {
    let Sequence { first, then, same, .. } = sequence;
    let (ours, theirs) = same.as_ref().map(|(ours, theirs)| (ours.as_str(), theirs.as_str())).unzip();
    let ((firsts, one), (thens, other)) = (steps(first, ours, facts), steps(then, theirs, facts));
    let told = [one, other].into_iter().flatten().min();
    let (count, holds_from) = turning(sequence, (&firsts, &thens), facts, facts.now);
    let holds = holds_from.is_some_and(|(from, _)| from <= facts.now);
    if facts.detail == Detail::Holds {
        return facts.constant(holds, String::new);
    }
    let until = changes(&[&firsts, &thens], facts.now);
    let ends = until.iter().skip(1).map(|end| Some(*end)).chain([None]);
    let stretches = until.iter().copied().zip(ends).take(CHANGES_MAX);
    let turns = stretches.into_iter().find_map(|(begins, ends)| {
        // What counts is the same all the while.
        let from = turning(sequence, (&firsts, &thens), facts, begins).1.map(|(from, _)| from.max(begins));
        let from = from.filter(|from| ends.is_none_or(|ends| *from < ends));
        if holds { (from != Some(begins)).then_some(begins) } else { from }
    });
    let unseen = until.get(CHANGES_MAX).copied();
    let until = [turns.or(unseen), told].into_iter().flatten().min();
    Evaluation { until, ..facts.constant(holds, || words(sequence, count, holds_from.filter(|_| holds))) }
}

/// How many firsts count at an instant, and when the earliest of what they lead to turns the answer, with the first that
/// does.
fn turning(
    sequence: &Sequence,
    (firsts, thens): (&[Known], &[Known]),
    facts: &Facts<'_>,
    now: Timestamp,
) -> (usize, Option<(Timestamp, Timestamp)>) {
    let Sequence { is_not, within, .. } = sequence;
    let zone = if within.is_some_and(Period::is_civil) { facts.zone() } else { TimeZone::UTC };
    let followers = followers(thens, now);
    let (mut count, mut turning): (usize, Option<(Timestamp, Timestamp)>) = (0, None);
    for Known { moment, values, .. } in firsts.iter().filter(|known| known.counts(now)) {
        count += 1;
        let ends = within.map(|within| within.after(moment.0, &zone));
        let next = values.iter().filter_map(|value| followers.get(value.as_str())?.range_after(*moment)).min();
        let next = next.map(|(at, _)| at).filter(|at| ends.is_none_or(|ends| *at < ends));
        let turns = match (is_not, next) {
            (false, next) => next,
            (true, Some(_)) => None,
            (true, None) => ends,
        };
        if let Some(turns) = turns {
            turning = turning.into_iter().chain([(turns, moment.0)]).min();
        }
    }
    (count, turning)
}

/// An event that is a step in the time in which its fields are as wanted.
struct Known {
    moment: Moment,
    /// What it has in common with others; one for all where nothing is asked.
    values: Vec<String>,
    stays: Vec<Stay>,
}

impl Known {
    fn counts(&self, now: Timestamp) -> bool {
        self.stays.iter().any(|stay| stay.contains(now))
    }
}

/// From now on, the instants at which an event begins or ends to count; the first is now.
fn changes(steps: &[&[Known]; 2], now: Timestamp) -> Vec<Timestamp> {
    let stays = steps.iter().flat_map(|known| known.iter()).flat_map(|known| &known.stays);
    let later = stays.flat_map(|stay| [Some(stay.from), stay.to]).flatten().filter(|at| *at > now);
    let all: BTreeSet<Timestamp> = later.chain([now]).collect();
    all.into_iter().collect()
}

/// Moments in order.
struct Moments(Vec<Moment>);

impl Moments {
    fn range_after(&self, moment: Moment) -> Option<Moment> {
        self.0.get(self.0.partition_point(|one| *one <= moment)).copied()
    }
}

/// When the second step happened, by the value it must have in common with the first.
fn followers(thens: &[Known], now: Timestamp) -> BTreeMap<&str, Moments> {
    let mut by_value: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
    for Known { moment, values, .. } in thens.iter().filter(|known| known.counts(now)) {
        values.iter().for_each(|value| by_value.entry(value).or_default().push(*moment));
    }
    let in_order = |mut moments: Vec<Moment>| {
        moments.sort_unstable();
        Moments(moments)
    };
    by_value.into_iter().map(|(value, moments)| (value, in_order(moments))).collect()
}

/// Events of one step, each once, with what stands at the path they are compared by; and up to when that is told. What
/// cannot be compared begins nothing and follows nothing: we stay silent.
fn steps(step: &Step, path: Option<&str>, facts: &Facts<'_>) -> (Vec<Known>, Option<Timestamp>) {
    let each = past(facts, &step.events);
    let (mut steps, mut told) = (Vec::with_capacity(each.len()), None);
    for (position, at) in each {
        let body = facts.bodies.get(&position).map(AsRef::as_ref);
        let values = match (path, body) {
            (None, _) => vec![String::new()],
            (Some(path), Some(event)) => Place::event(event).values(path).iter().map(spelled).collect(),
            (Some(_), None) => Vec::new(),
        };
        let whens = fits(step, body, facts);
        if !values.is_empty() {
            told = [told, whens.told].into_iter().flatten().min();
            steps.push(Known { moment: (at, position), values, stays: whens.stays });
        }
    }
    (steps, told)
}

/// When the event's own fields are as wanted.
fn fits(step: &Step, body: Option<&Event>, facts: &Facts<'_>) -> Whens {
    let always = Whens { stays: vec![Whens::ALWAYS], told: None };
    if step.filter.is_empty() {
        return always;
    }
    let Some(event) = body else { return Whens::default() };
    let place = Place::event(event);
    let tests = step.filter.iter().map(|(path, test)| test.whens(&place.values(path), facts));
    tests.fold(always, |all, one| all.and(&one))
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
