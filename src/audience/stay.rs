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
}

/// The same time in stretches that do not touch, in order.
pub fn united(mut stays: Vec<Stay>) -> Vec<Stay> {
    stays.retain(|stay| stay.to.is_none_or(|to| stay.from < to));
    stays.sort_by_key(|stay| stay.from);
    let mut united: Vec<Stay> = Vec::with_capacity(stays.len());
    for stay in stays {
        match united.last_mut() {
            Some(Stay { to: None, .. }) => break,
            Some(Stay { to: Some(end), .. }) if stay.from <= *end => {
                let to = stay.to.map(|to| to.max(*end));
                if let Some(last) = united.last_mut() {
                    last.to = to;
                }
            }
            Some(_) | None => united.push(stay),
        }
    }
    united
}

/// The time that both have; each in order and without touching.
pub fn common(one: &[Stay], other: &[Stay]) -> Vec<Stay> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut common = Vec::new();
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        let (from, to) = (left.from.max(right.from), [left.to, right.to].into_iter().flatten().min());
        if to.is_none_or(|to| from < to) {
            common.push(Stay { from, to });
        }
        // Whichever ends first has nothing more to give.
        let left_ends = left.to.is_some_and(|end| right.to.is_none_or(|other| end <= other));
        if left_ends {
            one.next()
        } else {
            other.next()
        };
    }
    common
}

/// Whether one of them holds `now`, and the instant at which that changes.
pub fn any_of(now: Timestamp, mut stays: Vec<Stay>) -> (bool, Option<Timestamp>) {
    stays.retain(|stay| stay.to.is_none_or(|to| now < to));
    match united(stays).first() {
        None => (false, None),
        Some(first) if first.from <= now => (true, first.to),
        Some(first) => (false, Some(first.from)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stays() -> impl Strategy<Value = Vec<(i64, Option<i64>)>> {
        prop::collection::vec((0_i64..30, prop::option::weighted(0.8, 0_i64..40)), 0..6)
    }

    fn of(stays: &[(i64, Option<i64>)]) -> Vec<Stay> {
        let at = Timestamp::from_millis;
        stays.iter().map(|(from, to)| Stay { from: at(*from), to: to.map(at) }).collect()
    }

    fn holds(stays: &[(i64, Option<i64>)], t: i64) -> bool {
        stays.iter().any(|(from, to)| *from <= t && to.is_none_or(|to| t < to))
    }

    proptest! {
        #[test]
        fn time_is_what_it_is_instant_by_instant(one in stays(), other in stays(), now in 0_i64..45) {
            let at = Timestamp::from_millis;
            let (all, both) = (united(of(&one)), common(&united(of(&one)), &united(of(&other))));
            for t in 0..50 {
                prop_assert_eq!(all.iter().any(|stay| stay.contains(at(t))), holds(&one, t));
                prop_assert_eq!(both.iter().any(|stay| stay.contains(at(t))), holds(&one, t) && holds(&other, t));
            }
            let (is_so, until) = any_of(at(now), of(&one));
            prop_assert_eq!(is_so, holds(&one, now));
            let turns = (now..50).find(|t| holds(&one, *t) != is_so);
            prop_assert_eq!(until.map(Timestamp::millis), turns);
        }
    }
}
