//! `performed`: how many such events the profile has in a window, and when that answer next changes.

use std::collections::BTreeMap;

use crate::audience::History;
use crate::audience::condition::{Count, Evaluation, Facts, Performed, Window, holds_for_any, values_at};
use crate::ids::{Position, Timestamp};

/// The answer now; `until` is the first later instant at which events entering or leaving the window turn it.
pub fn evaluate(performed: &Performed, facts: &Facts<'_>) -> Evaluation {
    let stays: Vec<Stay> =
        counted(performed, facts).into_values().filter_map(|at| performed.window.stay(at, facts.entry_at)).collect();
    let inside = stays.iter().filter(|stay| stay.contains(facts.now)).count();
    let holds = performed.count.accepts(inside);
    let because = format!(
        "{} performed {inside} times{}, wanted {}",
        performed.events.join(" or "),
        performed.window.words(facts.entry_at),
        performed.count.words()
    );
    Evaluation { holds, until: turn(&stays, facts.now, inside, performed.count), because }
}

/// Event times by position, so that an event in two pages still counts once.
fn counted(performed: &Performed, facts: &Facts<'_>) -> BTreeMap<Position, Timestamp> {
    facts
        .older
        .iter()
        .chain([&facts.profile.history])
        .flat_map(History::iter)
        .filter(|past| performed.events.iter().any(|name| name == past.name))
        .filter(|past| {
            performed.filter.is_empty()
                || facts.bodies.get(&past.position).is_some_and(|event| {
                    let document = event.body.document();
                    performed.filter.iter().all(|(path, test)| holds_for_any(test, &values_at(document, path)))
                })
        })
        .map(|past| (past.position, past.at))
        .collect()
}

/// The first instant after `now` at which the count is accepted differently; `inside` are counted now.
fn turn(stays: &[Stay], now: Timestamp, inside: usize, count: Count) -> Option<Timestamp> {
    let mut changes: BTreeMap<Timestamp, i64> = BTreeMap::new();
    for stay in stays {
        if stay.from > now {
            *changes.entry(stay.from).or_default() += 1;
        }
        if let Some(to) = stay.to.filter(|to| *to > now) {
            *changes.entry(to).or_default() -= 1;
        }
    }
    let mut inside = i64::try_from(inside).unwrap_or(i64::MAX);
    let accepted = |inside: i64| count.accepts(usize::try_from(inside).unwrap_or(0));
    let holds = accepted(inside);
    changes.into_iter().find_map(|(at, change)| {
        inside += change;
        (accepted(inside) != holds).then_some(at)
    })
}

/// When an event is inside a window: `from` included, `to` excluded.
struct Stay {
    from: Timestamp,
    to: Option<Timestamp>,
}

impl Stay {
    fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && self.to.is_none_or(|to| now < to)
    }
}

impl Window {
    /// The stay of an event that happened at `at`; none where it is never inside.
    fn stay(self, at: Timestamp, entry_at: Option<Timestamp>) -> Option<Stay> {
        let since = |start: Timestamp| (at >= start).then_some(Stay { from: at, to: None });
        match self {
            Self::Ever => Some(Stay { from: at, to: None }),
            Self::Within(length) => Some(Stay { from: at, to: Some(at.plus(length)) }),
            Self::Between(near, far) => Some(Stay { from: at.plus(near), to: Some(at.plus(far)) }),
            Self::Since(start) => since(start),
            Self::SinceEntry => since(entry_at?),
        }
        .filter(|stay| stay.to.is_none_or(|to| stay.from < to))
    }

    fn words(self, entry_at: Option<Timestamp>) -> String {
        match (self, entry_at) {
            (Self::Ever, _) => String::new(),
            (Self::Within(length), _) => format!(" within {length}"),
            (Self::Between(near, far), _) => format!(" between {near} and {far} ago"),
            (Self::Since(start), _) => format!(" since {start}"),
            (Self::SinceEntry, Some(entry_at)) => format!(" since entry at {entry_at}"),
            (Self::SinceEntry, None) => " since an entry that never was".to_owned(),
        }
    }
}

impl Count {
    fn accepts(self, n: usize) -> bool {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.at_least.is_none_or(|least| n >= least) && self.at_most.is_none_or(|most| n <= most)
    }

    fn words(self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if least == most => format!("exactly {least}"),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "any number".to_owned(),
        }
    }
}
