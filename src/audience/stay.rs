//! Stretches of time in which something holds, and what they come to together.

use crate::ids::Timestamp;

/// From an instant, included, to another, excluded; without an end for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    pub from: Timestamp,
    pub to: Option<Timestamp>,
}

impl Stay {
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && self.to.is_none_or(|to| now < to)
    }

    /// The part both have.
    pub fn both(self, other: Self) -> Option<Self> {
        let to = [self.to, other.to].into_iter().flatten().min();
        let both = Self { from: self.from.max(other.from), to };
        both.to.is_none_or(|to| both.from < to).then_some(both)
    }
}

/// Whether one of them holds `now`, and the instant at which that changes.
pub fn any_of(now: Timestamp, mut stays: Vec<Stay>) -> (bool, Option<Timestamp>) {
    stays.retain(|stay| stay.to.is_none_or(|to| now < to && stay.from < to));
    stays.sort_by_key(|stay| stay.from);
    let mut held_to = None;
    for Stay { from, to } in stays {
        if from > held_to.unwrap_or(now) {
            // Later than now, or than what holds now: the first to come, or nothing more to it.
            return (held_to.is_some(), held_to.or(Some(from)));
        }
        let Some(to) = to else { return (true, None) };
        held_to = held_to.max(Some(to));
    }
    (held_to.is_some(), held_to)
}
