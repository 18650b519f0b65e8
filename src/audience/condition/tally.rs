//! What the events that count come to: how many, and sums, means, extremes and distinct values over them. Events come
//! and go one by one, so that the instant at which an answer turns is found without counting again.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::audience::condition::Function;
use crate::audience::field::UnknownCurrency;
use crate::money::{Currency, Total};

/// What one event adds while it counts.
#[derive(Debug, Clone, Default)]
pub struct Share {
    /// By currency asked for (none: as they stand), the numbers; an amount without a rate makes it unknown.
    pub numbers: BTreeMap<Option<Currency>, Result<Vec<Decimal>, UnknownCurrency>>,
    /// Distinct values, in a spelling that is the same for equal ones.
    pub values: Vec<String>,
    /// Its refunds cannot be compared with it.
    pub is_unknown: bool,
}

/// The events that count at one instant.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub events: usize,
    unknown: usize,
    by_currency: BTreeMap<Option<Currency>, Numbers>,
    values: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Default)]
struct Numbers {
    total: Total,
    count: u32,
    unknown: usize,
    /// How often each stands.
    each: BTreeMap<Total, usize>,
}

impl Tally {
    pub fn add(&mut self, share: &Share) {
        self.events += 1;
        self.unknown += usize::from(share.is_unknown);
        for (currency, numbers) in &share.numbers {
            let known = self.by_currency.entry(*currency).or_default();
            match numbers {
                Ok(numbers) => numbers.iter().for_each(|number| {
                    known.total.add(*number);
                    known.count += 1;
                    *known.each.entry((*number).into()).or_default() += 1;
                }),
                Err(UnknownCurrency) => known.unknown += 1,
            }
        }
        share.values.iter().for_each(|value| *self.values.entry(value.clone()).or_default() += 1);
    }

    /// Takes back what was added before.
    pub fn remove(&mut self, share: &Share) {
        self.events = self.events.saturating_sub(1);
        self.unknown -= usize::from(share.is_unknown);
        for (currency, numbers) in &share.numbers {
            let known = self.by_currency.entry(*currency).or_default();
            match numbers {
                Ok(numbers) => numbers.iter().for_each(|number| {
                    known.total.merge(Total::from(*number).negated());
                    known.count = known.count.saturating_sub(1);
                    take(&mut known.each, &(*number).into());
                }),
                Err(UnknownCurrency) => known.unknown -= 1,
            }
        }
        share.values.iter().for_each(|value| take(&mut self.values, value));
    }

    /// Whether refunds of some event cannot be compared with it.
    pub fn is_unknown(&self) -> bool {
        self.unknown > 0
    }

    /// Whether this is among the distinct values.
    pub fn has(&self, value: &str) -> bool {
        self.values.contains_key(value)
    }

    /// The aggregate in a currency, as a total over so many; `Ok(None)` where there is nothing to take it of.
    pub fn aggregate(
        &self,
        function: Function,
        currency: Option<Currency>,
    ) -> Result<Option<(Total, u32)>, UnknownCurrency> {
        let numbers = self.by_currency.get(&currency);
        if numbers.is_some_and(|numbers| numbers.unknown > 0) {
            return Err(UnknownCurrency);
        }
        let each = numbers.map(|numbers| &numbers.each);
        Ok(match function {
            Function::Sum => Some((numbers.map_or_else(Total::default, |numbers| numbers.total), 1)),
            Function::Avg => numbers.filter(|it| it.count > 0).map(|it| (it.total, it.count)),
            Function::Min => each.and_then(BTreeMap::first_key_value).map(|(total, _)| (*total, 1)),
            Function::Max => each.and_then(BTreeMap::last_key_value).map(|(total, _)| (*total, 1)),
            Function::Distinct => Some((Decimal::from(self.values.len()).into(), 1)),
        })
    }
}

fn take<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    match counts.get_mut(key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(counts.remove(key)),
    }
}
