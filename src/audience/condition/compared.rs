//! Fields beside their tests: which holds, until when, and what stood there in words.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::audience::condition::{Detail, Evaluation, Facts};
use crate::audience::field::{Found, trait_values};
use crate::audience::value_test::{Outcome, Test};
use crate::ids::Timestamp;

/// What was compared, in words; empty where nobody asks why.
#[derive(Debug, Default)]
pub struct Compared {
    pub found: String,
    pub wanted: String,
    /// The currency is part of the words.
    pub is_money: bool,
    /// Rates without which it cannot be compared.
    pub unrated: BTreeSet<String>,
}

/// Every named field satisfies its test.
pub fn fields<P: Display>(
    what: &str,
    tests: &[(P, Test)],
    facts: &Facts<'_>,
    ask: impl Fn(&P, &Test) -> (Outcome, Compared),
) -> Evaluation {
    let mut because = Vec::new();
    let mut until: Option<Timestamp> = None;
    // The first that does not hold is the reason; all that do not must come to hold before the answer changes.
    let mut failed: Option<Evaluation> = None;
    for (path, test) in tests {
        let (outcome, Compared { found, wanted, unrated, .. }) = ask(path, test);
        let rates = if outcome.is_of_now { facts.terms.exchange.rates.next_change(facts.now) } else { None };
        let turns = [outcome.until, rates].into_iter().flatten().min();
        let note = || if outcome.currency_unknown { without_rate(&unrated) } else { String::new() };
        let line = || format!("{what}{path} is {found}, wanted {wanted}{}", note());
        if outcome.holds {
            until = [until, turns].into_iter().flatten().min();
            because.push(facts.because(line));
            continue;
        }
        let before = failed.take();
        let until = before.as_ref().map_or(turns, |before| before.until.zip(turns).map(|(one, other)| one.max(other)));
        let Outcome { currency_unknown, .. } = outcome;
        let first = before.unwrap_or_else(|| Evaluation { currency_unknown, ..facts.constant(false, line) });
        if until.is_none() || facts.detail == Detail::Holds {
            return Evaluation { until, ..first };
        }
        failed = Some(Evaluation { until, ..first });
    }
    failed.unwrap_or_else(|| Evaluation { until, ..facts.constant(true, || because.join(" and ")) })
}

/// What a test says of these values.
pub fn asked(test: &Test, found: &[Found<'_>], facts: &Facts<'_>) -> (Outcome, Compared) {
    let outcome = test.ask(found, facts);
    if facts.detail != Detail::Because {
        return (outcome, Compared::default());
    }
    let unrated = if outcome.currency_unknown { test.unrated(found, facts) } else { BTreeSet::new() };
    let is_money = test.is_about_money(facts);
    (outcome, Compared { found: test.seen(found, facts), wanted: test.spoken(facts), is_money, unrated })
}

/// The same of a trait. One that would be worked out of money in a currency without a rate is not known, and not merely
/// missing.
pub fn asked_of_trait(test: &Test, path: &str, facts: &Facts<'_>) -> (Outcome, Compared) {
    let (outcome, words) = asked(test, &trait_values(facts.profile, path, facts.now), facts);
    match facts.profile.remembered.unrated(path) {
        Some(currency) if !outcome.holds => {
            let unrated = BTreeSet::from([currency.to_owned()]);
            (Outcome { currency_unknown: true, ..outcome }, Compared { found: "unknown".to_owned(), unrated, ..words })
        }
        _ => (outcome, words),
    }
}

/// ` (JPY has no rate)`.
pub fn without_rate(currencies: &BTreeSet<String>) -> String {
    let names = currencies.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match currencies.len() {
        0 => " (its currency has no rate)".to_owned(),
        1 => format!(" ({names} has no rate)"),
        _ => format!(" ({names} have no rate)"),
    }
}
