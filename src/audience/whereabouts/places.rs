//! Countries and their parts by the codes of ISO 3166: as people and rules write them, which there are, and which may have
//! been meant.

use std::sync::LazyLock;

use super::{COUNTRIES, Table, table};

static PARTS: LazyLock<Table> = LazyLock::new(|| table(include_str!("parts.tsv")));

/// Countries without a time zone of their own in the table: nobody lives on the first two, and of the third the code is
/// agreed on by those who use it.
const WITHOUT_ZONE: [&str; 3] = ["BV", "HM", "XK"];
/// Codes of languages, and of the European Union, that are taken for countries'.
const MEANT: [(&str, &str); 8] =
    [("CS", "CZ"), ("DA", "DK"), ("EL", "GR"), ("EN", "GB"), ("JA", "JP"), ("KO", "KR"), ("SP", "ES"), ("ZH", "CN")];

/// A country's code: two letters, upper case, and GB for what is also called UK. Whether there is such a country is
/// another question.
pub fn country_code(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    let is_code = code.len() == 2 && code.bytes().all(|letter| letter.is_ascii_uppercase());
    match code.as_str() {
        "UK" => Some("GB".to_owned()),
        _ => is_code.then_some(code),
    }
}

/// The code of a part of a country, such as `US-FL`, upper case, with the country as [`country_code`] has it.
pub fn region_code(text: &str) -> Option<String> {
    let (country, part) = text.split_once('-')?;
    let (country, part) = (country_code(country)?, part.trim().to_ascii_uppercase());
    let is_part = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_part.then(|| format!("{country}-{part}"))
}

pub fn is_country(code: &str) -> bool {
    COUNTRIES.contains_key(code) || WITHOUT_ZONE.contains(&code)
}

pub fn is_region(code: &str) -> bool {
    let Some((country, part)) = code.split_once('-') else { return false };
    PARTS.get(country).is_some_and(|parts| parts.contains(&part))
}

/// The country that a code which is none may have been meant for, where that is known.
pub fn meant(code: &str) -> Option<&'static str> {
    MEANT.iter().find(|(wrong, _)| *wrong == code).map(|(_, right)| *right)
}

pub fn countries() -> impl Iterator<Item = &'static str> {
    COUNTRIES.keys().copied().chain(WITHOUT_ZONE)
}

/// The parts of a country, as [`region_code`] writes them.
pub fn regions(country: &str) -> Vec<String> {
    let parts = PARTS.get(country).into_iter().flatten();
    parts.map(|part| format!("{country}-{part}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_country_is_the_same_however_it_is_written() {
        let same = [("GB", "GB"), ("uk", "GB"), (" gb ", "GB"), ("UK", "GB"), ("de", "DE"), ("ZZ", "ZZ")];
        assert!(same.iter().all(|(text, code)| country_code(text).as_deref() == Some(*code)));
        assert!(["", "G", "GBR", "G1", "England"].iter().all(|text| country_code(text).is_none()));
        for (text, code) in [("us-fl", Some("US-FL")), ("UK-lnd", Some("GB-LND")), ("AT-9", Some("AT-9")), ("US", None)]
        {
            assert_eq!(region_code(text).as_deref(), code, "{text}");
        }
        assert!(["US-FLOR", "US-", "-FL", "USA-FL", "US-F.L"].iter().all(|text| region_code(text).is_none()));
    }

    #[test]
    fn there_are_the_countries_of_the_table_and_the_parts_they_have() {
        assert_eq!(countries().count(), 250);
        assert!(["GB", "XK", "BV"].iter().all(|code| is_country(code)));
        assert!(["UK", "ZZ", "EN", "US-FL"].iter().all(|code| !is_country(code)));
        let there =
            ["US-FL", "US-PR", "CA-QC", "AU-NSW", "DE-BY", "GB-ENG", "GB-LND", "ES-CN", "PT-30", "NO-46", "NO-31"];
        assert!(there.iter().all(|code| is_region(code)), "{there:?}");
        assert!(["US-ZZ", "US-QC", "FL", "ZZ-ZZ", "DE-XX"].iter().all(|code| !is_region(code)));
        let counts: BTreeMap<&str, usize> = ["US", "CA", "AU", "ZZ"].map(|code| (code, regions(code).len())).into();
        assert_eq!(counts, BTreeMap::from([("AU", 8), ("CA", 13), ("US", 57), ("ZZ", 0)]));
        for (country, parts) in PARTS.iter() {
            assert!(is_country(country), "{country}");
            assert!(parts.iter().all(|part| region_code(&format!("{country}-{part}")).is_some()), "{country}");
        }
        assert!(super::super::REGIONS.keys().all(|code| is_region(code)));
    }
}
