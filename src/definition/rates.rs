//! `kind: rates`: what money of one currency is worth in another, from which day on.
//!
//! ```yaml
//! kind: rates
//! base: EUR
//! rates:
//!   - { date: 2026-01-01, currency: USD, rate: 0.9215 }     # one USD is worth 0.9215 EUR
//! ```

use crate::audience::value_test::dates::instant_of_text;
use crate::definition::problem::Code;
use crate::definition::reader::At;
use crate::ids::Timestamp;
use crate::money::{self, Currency, RATE_DIGITS_MAX, Rates};

/// Rows of the table: thirty currencies daily for nine years.
const ROWS_MAX: usize = 100_000;

pub fn read(at: &At<'_>) -> Option<Rates> {
    let map = at.map(&["kind", "key", "name", "owner", "base", "rates"], &[])?;
    let base = map.required("base").and_then(|at| currency(&at));
    let rows = map.required("rates")?;
    let items = rows.list()?;
    if items.len() > ROWS_MAX {
        rows.problem(Code::Limit, format!("has {} rows; at most {ROWS_MAX} are allowed", items.len()));
        return None;
    }
    let mut rates = Rates::of(base?);
    let mut all_read = true;
    for item in &items {
        all_read &= row(item, &mut rates).is_some();
    }
    all_read.then_some(rates)
}

fn row(at: &At<'_>, rates: &mut Rates) -> Option<()> {
    let map = at.map(&["date", "currency", "rate"], &[])?;
    let date = map.required("date").and_then(|at| date(&at));
    let code = map.required("currency").and_then(|at| currency(&at));
    let rate = map.required("rate").and_then(|at| {
        let rate = at.raw().and_then(|text| money::parse(text).ok()).map(|rate| rate.normalize());
        let digits = rate.map_or(0, |rate| rate.mantissa().to_string().len().max(rate.scale() as usize));
        match rate.filter(|rate| rate.is_sign_positive() && !rate.is_zero() && digits <= RATE_DIGITS_MAX) {
            Some(rate) => Some(rate),
            None => at.wrong(format!("wanted a plain decimal above zero of at most {RATE_DIGITS_MAX} digits")),
        }
    });
    let (date, code, rate) = (date?, code?, rate?);
    if rates.base() == Some(code) {
        return at.wrong(format!("{code} is the base; it is always worth 1"));
    }
    match rates.add(code, date, rate) {
        true => Some(()),
        false => at.wrong(format!("a second rate for {code} on this day")),
    }
}

fn currency(at: &At<'_>) -> Option<Currency> {
    let text = at.raw().unwrap_or_default();
    match text.parse() {
        Ok(currency) => Some(currency),
        Err(_) => at.wrong("wanted a currency code of ISO 4217 such as EUR"),
    }
}

/// The first instant of a day, in UTC.
fn date(at: &At<'_>) -> Option<Timestamp> {
    let text = at.raw().filter(|text| text.len() == 10);
    match text.and_then(instant_of_text) {
        Some(date) => Some(date),
        None => at.wrong("wanted a date such as 2026-03-01"),
    }
}
