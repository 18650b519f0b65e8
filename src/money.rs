//! Money is exact: decimals in events and tests, minor units in totals, rounded once, half to even.
//!
//! No float ever holds an amount, and a sum never rounds on its way: [`Total`] keeps whole units and 10⁻²⁸ parts apart,
//! so any number of amounts adds up to the last digit before the one rounding at the end.

mod currency;
mod rates;

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use currency::{Currency, UnknownCurrency};
pub use rates::{Exchange, RATE_DIGITS_MAX, Rates};

/// Text that is not a plain decimal we can keep to the last digit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not a decimal number such as 12 or -3.505 of at most 28 digits")]
pub struct NotADecimal(pub String);

/// A decimal written plainly: an optional sign, digits, optionally a point and digits. No exponent, blanks, separators
/// or digits beyond what is kept exactly.
pub fn parse(text: &str) -> Result<Decimal, NotADecimal> {
    let wrong = || NotADecimal(text.chars().take(40).collect());
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if text.len() > 64 || !all_digits(whole) || !all_digits(fraction) {
        return Err(wrong());
    }
    Decimal::from_str_exact(text).map_err(|_| wrong())
}

/// An amount in a currency, exactly as it was said; it may have more digits than the currency's coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub value: Decimal,
    pub currency: Currency,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.currency)
    }
}

/// Text that is not an amount.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotAnAmount {
    #[error("`{0}` is not an amount such as `EUR 50` or `49.90 EUR`")]
    Shape(String),
    #[error(transparent)]
    Decimal(#[from] NotADecimal),
    #[error(transparent)]
    Currency(#[from] UnknownCurrency),
}

impl FromStr for Amount {
    type Err = NotAnAmount;

    /// `EUR 50`, as marketers write it, or `50 EUR`, as it is printed.
    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (first, second) =
            text.split_once(' ').ok_or_else(|| NotAnAmount::Shape(text.chars().take(40).collect()))?;
        let currency_first = first.starts_with(|c: char| c.is_ascii_alphabetic());
        let (code, number) = if currency_first { (first, second) } else { (second, first) };
        Ok(Self { value: parse(number)?, currency: code.parse()? })
    }
}

/// 10²⁸: the finest part a decimal can hold.
const PARTS: i128 = 10_i128.pow(Decimal::MAX_SCALE);

/// A sum that is exact however many amounts went in.
///
/// The value is `whole + parts / 10²⁸` with `0 <= parts < 10²⁸`; it saturates beyond ±10³⁸, which is 10⁹ times the
/// largest amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Total {
    whole: i128,
    parts: i128,
}

impl Total {
    pub fn add(&mut self, value: Decimal) {
        let unit = 10_i128.pow(value.scale());
        let whole = value.mantissa().div_euclid(unit);
        let parts = value.mantissa().rem_euclid(unit) * (PARTS / unit);
        self.merge(Self { whole, parts });
    }

    /// Adds another sum, as exactly.
    pub fn merge(&mut self, other: Self) {
        let parts = self.parts + other.parts;
        self.whole = self.whole.saturating_add(other.whole).saturating_add(parts / PARTS);
        self.parts = parts % PARTS;
    }

    /// The same with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        match self.parts {
            0 => Self { whole: self.whole.saturating_neg(), parts: 0 },
            // -(whole + parts) = (-whole - 1) + (1 - parts)
            parts => Self { whole: self.whole.saturating_neg().saturating_sub(1), parts: PARTS - parts },
        }
    }

    /// So many times the sum, as exactly.
    #[must_use]
    pub fn times(self, n: u32) -> Self {
        let n = i128::from(n);
        // Below 10²⁸ × 2³² there is room to spare.
        let parts = self.parts * n;
        Self { whole: self.whole.saturating_mul(n).saturating_add(parts / PARTS), parts: parts % PARTS }
    }

    /// The one rounding, half to even, to the currency's smallest unit: 12.345 EUR is 1,234 cents.
    pub fn minor_units(self, currency: Currency) -> i128 {
        let (units, rest, step) = self.split(currency.minor_digits());
        match (rest * 2).cmp(&step) {
            std::cmp::Ordering::Less => units,
            std::cmp::Ordering::Greater => units.saturating_add(1),
            std::cmp::Ordering::Equal => units.saturating_add(units.rem_euclid(2)),
        }
    }

    /// The rounded total as people write it: `5761931.38`.
    pub fn rounded(self, currency: Currency) -> String {
        let digits = currency.minor_digits();
        plain(self.minor_units(currency), digits)
    }

    /// The value in units of 10^-digits rounded down, what is left, and how much of it would be one more.
    fn split(self, digits: u32) -> (i128, i128, i128) {
        let step = PARTS / 10_i128.pow(digits);
        let units = self.whole.saturating_mul(10_i128.pow(digits)).saturating_add(self.parts / step);
        (units, self.parts % step, step)
    }
}

/// All digits of the exact sum, without trailing zeros: `5761931.382`.
impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A negative sum is `-(magnitude)`: the parts count upwards from the whole below it.
        let (sign, whole, parts) = match (self.whole < 0, self.parts) {
            (false, parts) => ("", self.whole.unsigned_abs(), parts),
            (true, 0) => ("-", self.whole.unsigned_abs(), 0),
            (true, parts) => ("-", self.whole.unsigned_abs() - 1, PARTS - parts),
        };
        let fraction = format!("{parts:028}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            fraction => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

impl From<Decimal> for Total {
    fn from(value: Decimal) -> Self {
        let mut total = Self::default();
        total.add(value);
        total
    }
}

impl FromIterator<Decimal> for Total {
    fn from_iter<I: IntoIterator<Item = Decimal>>(values: I) -> Self {
        let mut total = Self::default();
        values.into_iter().for_each(|value| total.add(value));
        total
    }
}

/// `units` of 10^-digits in plain digits.
fn plain(units: i128, digits: u32) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let one = 10_u128.pow(digits);
    let (whole, rest) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
    match digits {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{rest:0width$}", width = digits as usize),
    }
}

#[cfg(test)]
mod tests;
