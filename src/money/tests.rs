//! What must hold for money: nothing is lost on the way, and one rounding, half to even, at the end.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn total(values: &[&str]) -> Total {
    values.iter().map(|text| parse(text).unwrap()).collect()
}

#[test]
fn plain_decimals_are_read_and_nothing_else() {
    for (text, printed) in [("12", "12"), ("-3.505", "-3.505"), ("+1.10", "1.10"), ("0.0", "0.0"), ("007.5", "7.5")] {
        assert_eq!(parse(text).unwrap().to_string(), printed, "{text}");
    }
    let too_fine = format!("0.{}1", "0".repeat(28));
    let too_large = "9".repeat(40);
    for wrong in ["", "-", ".5", "5.", "1e3", "1_000", "1,5", " 1", "NaN", "--1", "1.2.3", "٣", &too_fine, &too_large]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_total_rounds_once_and_half_to_even() {
    // Rounded row by row these three would be 0.00 + 0.00 + 0.02.
    assert_eq!(total(&["0.004", "0.004", "0.017"]).rounded(Currency::EUR), "0.02");
    for (values, minor_units) in [
        (["0.005", "0"], 0),
        (["0.015", "0"], 2),
        (["0.025", "0"], 2),
        (["-0.005", "0"], 0),
        (["-0.015", "0"], -2),
        (["-0.025", "0"], -2),
        (["-0.0251", "0"], -3),
        (["0.0249999999999999999999999999", "0.0000000000000000000000000001"], 2),
        (["0.0249999999999999999999999999", "0.0000000000000000000000000002"], 3),
    ] {
        assert_eq!(total(&values).minor_units(Currency::EUR), minor_units, "{values:?}");
    }
}

#[test]
fn currencies_have_their_own_smallest_unit() {
    let sum = total(&["1234.5678"]);
    for (code, rounded) in [("JPY", "1235"), ("EUR", "1234.57"), ("KWD", "1234.568"), ("CLF", "1234.5678")] {
        assert_eq!(sum.rounded(code.parse().unwrap()), rounded, "{code}");
    }
    for wrong in ["eur", "EU", "EUR ", "XXX", "", "EUR GBP", " "] {
        assert!(wrong.parse::<Currency>().is_err(), "{wrong:?}");
    }
}

#[test]
fn no_currency_is_listed_twice() {
    let mut codes: Vec<&str> = currency::BY_MINOR_DIGITS.iter().flat_map(|(_, codes)| codes.split(' ')).collect();
    let listed = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), listed);
    assert!(codes.iter().all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())));
}

#[test]
fn amounts_read_both_ways_round() {
    let fifty: Amount = "EUR 50".parse().unwrap();
    assert_eq!(fifty, "50 EUR".parse().unwrap());
    assert_eq!(fifty.to_string(), "50 EUR");
    for wrong in ["50", "EUR", "EUR fifty", "ABC 50", "EUR  50", ""] {
        assert!(wrong.parse::<Amount>().is_err(), "{wrong:?}");
    }
}

#[test]
fn amounts_that_a_decimal_could_not_add_exactly_still_add_up() {
    let large = "79228162514264337593543950335";
    assert_eq!(
        total(&[large, "0.0000000000000000000000000001"]).to_string(),
        format!("{large}.0000000000000000000000000001")
    );
}

fn a_decimal() -> impl Strategy<Value = Decimal> {
    (any::<i64>(), 0_u32..=28).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

proptest! {
    #[test]
    fn the_order_of_adding_changes_nothing(mut values in proptest::collection::vec(a_decimal(), 0..40), cut in 0_usize..40) {
        let forwards: Total = values.iter().copied().collect();
        let cut = cut.min(values.len());
        let mut in_two: Total = values[..cut].iter().copied().collect();
        in_two.merge(values[cut..].iter().copied().collect());
        prop_assert_eq!(forwards, in_two);
        values.reverse();
        prop_assert_eq!(forwards, values.into_iter().collect());
    }

    #[test]
    fn adding_and_taking_away_leaves_nothing(values in proptest::collection::vec(a_decimal(), 0..40)) {
        let there_and_back: Total = values.iter().flat_map(|value| [*value, -*value]).collect();
        prop_assert_eq!(there_and_back, Total::default());
    }

    #[test]
    fn a_single_value_prints_and_rounds_as_the_decimal_does(mantissa in any::<i64>(), scale in 0_u32..=20) {
        let value = Decimal::new(mantissa, scale);
        let sum: Total = [value].into_iter().collect();
        prop_assert_eq!(sum.to_string(), value.normalize().to_string());
        let rounded = value.round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointNearestEven);
        prop_assert_eq!(parse(&sum.rounded(Currency::EUR)).unwrap(), rounded);
    }

    #[test]
    fn plain_text_round_trips(mantissa in any::<i64>(), scale in 0_u32..=28) {
        let value = Decimal::new(mantissa, scale);
        prop_assert_eq!(parse(&value.to_string()).unwrap(), value);
    }
}
