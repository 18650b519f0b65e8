//! Numbers in JSON as exact decimals, so that 0.1 is a tenth and 40.00 equals 40.
//!
//! A number no decimal of 28 digits can hold exactly is no number here: it equals nothing and compares with nothing.

use rust_decimal::Decimal;
use serde_json::Value;

/// Digits a decimal can hold on both sides of the point.
const DIGITS_MAX: usize = 29;
/// Exponents beyond this cannot fit, whatever the digits.
const EXPONENT_MAX: i64 = 60;

/// The exact decimal of a JSON number; `None` for anything else and for numbers out of range.
pub fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => decimal_of_text(number.as_str()),
        _ => None,
    }
}

/// The exact decimal written in JSON's number grammar (`40.00`, `-1.5e3`).
pub fn decimal_of_text(text: &str) -> Option<Decimal> {
    short_decimal(text).or_else(|| any_decimal(text))
}

/// Numbers of up to 18 digits without exponent, which nearly all are.
fn short_decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    if digits.len() > 19 || !digits.first()?.is_ascii_digit() {
        return None;
    }
    let (mut units, mut scale, mut point) = (0_i64, 0_u32, false);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if at < 18 || point => {
                units = units * 10 + i64::from(byte - b'0');
                scale += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    while scale > 0 && units % 10 == 0 {
        units /= 10;
        scale -= 1;
    }
    let units = if digits.len() < text.len() { -units } else { units };
    Some(Decimal::new(units, scale))
}

fn any_decimal(text: &str) -> Option<Decimal> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (text, Some(0)),
    };
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(Decimal::ZERO);
    }
    // The value is `significant` × 10^scale; trailing zeros move into the scale.
    let exponent = exponent.filter(|exponent| exponent.abs() <= EXPONENT_MAX)?;
    let short = significant.trim_end_matches('0');
    let scale = exponent - fraction.len() as i64 + (significant.len() - short.len()) as i64;
    if short.len() > DIGITS_MAX {
        return None;
    }
    let units: i128 = short.parse().ok()?;
    let units = if negative { -units } else { units };
    if scale <= 0 {
        return Decimal::try_from_i128_with_scale(units, u32::try_from(-scale).ok()?).ok();
    }
    let scaled = units.checked_mul(10_i128.checked_pow(u32::try_from(scale).ok()?)?)?;
    Decimal::try_from_i128_with_scale(scaled, 0).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_exact_whatever_their_spelling() {
        for (text, same) in [
            ("40.00", "40"),
            ("4e1", "40"),
            ("4.0E+1", "40"),
            ("-0.1", "-0.1"),
            ("0.10000000000000000000000000000000000000", "0.1"),
            ("1e-28", "0.0000000000000000000000000001"),
            ("0e9999", "0"),
            ("-0", "0"),
            ("100000000000000000000", "1e20"),
        ] {
            assert_eq!(decimal_of_text(text), Some(decimal_of_text(same).unwrap()), "{text}");
        }
        assert_ne!(decimal_of_text("0.1"), decimal_of_text("0.1000000000000000000000000001"));
    }

    #[test]
    fn numbers_out_of_range_are_no_numbers() {
        for text in
            ["1e40", "1e999999999999999999999", "1e-29", "0.12345678901234567890123456789012345", "x", "", "-", "1.2.3"]
        {
            assert_eq!(decimal_of_text(text), None, "{text}");
        }
    }
}
