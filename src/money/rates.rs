//! What money of one currency is worth in another, by the workspace's dated table.
//!
//! A rate is what one unit of a currency is worth in the table's base, from the first instant of its date (UTC) on. A
//! conversion that does not come out even is rounded once, half to even, at the twelfth decimal.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::ids::Timestamp;
use crate::money::{Amount, Currency};

/// Decimals of a converted amount.
const CONVERTED_DECIMALS: u32 = 12;
/// Digits of a rate, before and after the point: converting stays exact for every amount of a shop.
pub const RATE_DIGITS_MAX: usize = 12;

/// The workspace's own currency and its rate table.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// The currency of a number that names none.
    pub home: Currency,
    pub rates: Rates,
}

impl Default for Exchange {
    fn default() -> Self {
        Self { home: Currency::EUR, rates: Rates::default() }
    }
}

impl Exchange {
    /// Which of two currencies has no rate at this instant, the other one before the workspace's own.
    pub fn unrated(&self, from: Currency, to: Currency, at: Timestamp) -> Option<Currency> {
        let mut either = vec![from, to];
        either.retain(|currency| from != to && self.rates.rate(*currency, at).is_none());
        either.into_iter().min_by_key(|currency| *currency == self.home)
    }
}

/// Rates by currency and the instant from which on each holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rates {
    base: Option<Currency>,
    by_currency: BTreeMap<Currency, BTreeMap<Timestamp, Decimal>>,
}

impl Rates {
    /// An empty table: only amounts of one currency compare.
    pub fn of(base: Currency) -> Self {
        Self { base: Some(base), by_currency: BTreeMap::new() }
    }

    /// One unit of `currency` is worth `rate` of the base from `from` on; false where that is said already.
    pub fn add(&mut self, currency: Currency, from: Timestamp, rate: Decimal) -> bool {
        self.by_currency.entry(currency).or_default().insert(from, rate).is_none()
    }

    pub fn base(&self) -> Option<Currency> {
        self.base
    }

    fn rate(&self, currency: Currency, at: Timestamp) -> Option<Decimal> {
        if self.base == Some(currency) {
            return Some(Decimal::ONE);
        }
        self.by_currency.get(&currency)?.range(..=at).next_back().map(|(_, rate)| *rate)
    }

    /// The amount in another currency by the rates of `at`; none where a rate is missing, or the numbers are too large
    /// to be exact.
    pub fn convert(&self, amount: Amount, to: Currency, at: Timestamp) -> Option<Decimal> {
        if amount.currency == to {
            return Some(amount.value);
        }
        let (from, to) = (self.rate(amount.currency, at)?, self.rate(to, at)?);
        let product = amount.value.mantissa().checked_mul(from.mantissa())?;
        let scale = amount.value.scale() + from.scale();
        divided(product, scale, to)
    }

    /// When a conversion by the rates of the moment may next come out differently.
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let later = |rates: &BTreeMap<Timestamp, Decimal>| {
            rates.range(after..).map(|(from, _)| *from).find(|from| *from > after)
        };
        self.by_currency.values().filter_map(later).min()
    }
}

/// `product` × 10^-scale ÷ `by`, rounded half to even; exact where `by` is one.
fn divided(product: i128, scale: u32, by: Decimal) -> Option<Decimal> {
    if by == Decimal::ONE && scale <= CONVERTED_DECIMALS {
        return Decimal::try_from_i128_with_scale(product, scale).ok();
    }
    // units = product × 10^(12 + scale of `by` - scale) ÷ mantissa of `by`
    let ten = |n: u32| 10_i128.checked_pow(n);
    let up = CONVERTED_DECIMALS + by.scale();
    let (numerator, divisor) = match up.checked_sub(scale) {
        Some(up) => (product.checked_mul(ten(up)?)?, by.mantissa()),
        None => (product, by.mantissa().checked_mul(ten(scale - up)?)?),
    };
    let (units, rest) = (numerator.checked_div_euclid(divisor)?, numerator.checked_rem_euclid(divisor)?);
    let up = match rest.checked_mul(2)?.cmp(&divisor) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Greater => 1,
        std::cmp::Ordering::Equal => units.rem_euclid(2),
    };
    Decimal::try_from_i128_with_scale(units + up, CONVERTED_DECIMALS).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table() -> Rates {
        let mut rates = Rates::of(Currency::EUR);
        for (currency, day, rate) in
            [("USD", "2026-01-01", "0.90"), ("USD", "2026-02-01", "0.80"), ("GBP", "2026-01-15", "1.20")]
        {
            let from = format!("{day}T00:00:00Z").parse().unwrap();
            assert!(rates.add(currency.parse().unwrap(), from, rate.parse().unwrap()));
        }
        rates
    }

    fn converted(amount: &str, to: &str, at: &str) -> Option<String> {
        let worth = table().convert(amount.parse().unwrap(), to.parse().unwrap(), at.parse().unwrap())?;
        Some(worth.normalize().to_string())
    }

    #[test]
    fn an_amount_is_worth_what_the_rate_of_its_day_says() {
        for (amount, to, at, worth) in [
            ("USD 100", "EUR", "2026-01-31T23:59:59Z", Some("90")),
            ("USD 100", "EUR", "2026-02-01T00:00:00Z", Some("80")),
            ("EUR 90", "USD", "2026-01-10T00:00Z", Some("100")),
            ("USD 100", "GBP", "2026-01-20T00:00Z", Some("75")),
            ("EUR 1", "USD", "2026-01-20T00:00Z", Some("1.111111111111")),
            ("EUR -5", "USD", "2026-01-20T00:00Z", Some("-5.555555555556")),
            ("USD 100", "GBP", "2026-01-10T00:00Z", None),
            ("USD 100", "EUR", "2025-12-31T23:59Z", None),
            ("JPY 100", "EUR", "2026-02-01T00:00Z", None),
            ("JPY 100.25", "JPY", "2020-01-01T00:00Z", Some("100.25")),
        ] {
            assert_eq!(converted(amount, to, at), worth.map(str::to_owned), "{amount} in {to} at {at}");
        }
    }

    #[test]
    fn what_cannot_be_exact_is_no_amount() {
        assert_eq!(converted("USD 79228162514264337593543950335", "EUR", "2026-01-10T00:00Z"), None);
    }

    #[test]
    fn the_next_change_is_the_next_date_of_the_table() {
        let next = |at: &str| table().next_change(at.parse().unwrap()).map(|at| at.to_string());
        assert_eq!(next("2026-01-01T00:00Z").as_deref(), Some("2026-01-15T00:00:00Z"));
        assert_eq!(next("2026-02-01T00:00Z"), None);
    }
}
