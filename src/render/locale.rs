//! How amounts, dates and counts are written where a reader lives.

mod table;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use table::LOCALES;

/// One place's ways; lists are separated by `|`, weeks begin with Sunday.
#[derive(Debug)]
pub(super) struct Locale {
    pub tag: &'static str,
    decimal: &'static str,
    group: &'static str,
    /// Whether four digits are grouped, too.
    groups_thousands: bool,
    /// `¤` is the currency, `#` the number: with a sign and with letters beside the number, each positive and negative.
    money: [&'static str; 4],
    /// `EUR=€`, with spaces between; others are written as their code.
    symbols: &'static str,
    months: &'static str,
    months_short: &'static str,
    days: &'static str,
    days_short: &'static str,
    /// Before and after noon.
    halves: [&'static str; 2],
    /// Short, medium, long, full; the time.
    dates: [&'static str; 5],
}

/// By a tag such as `de-AT`, `de_AT` or `de`; one of the same language where that place is not known.
pub(super) fn find(tag: &str) -> Option<&'static Locale> {
    let tag = tag.trim().replace('_', "-");
    let exact = LOCALES.iter().find(|it| it.tag.eq_ignore_ascii_case(&tag));
    let language = match language(&tag) {
        "no" | "nn" => "nb",
        other => other,
    };
    exact.or_else(|| LOCALES.iter().find(|it| it.language().eq_ignore_ascii_case(language)))
}

/// The language of a tag.
pub(super) fn language(tag: &str) -> &str {
    tag.trim().split(['-', '_']).next().unwrap_or_default()
}

impl Locale {
    fn language(&self) -> &'static str {
        self.tag.split('-').next().unwrap_or_default()
    }

    /// An amount with all its decimals, already rounded, and the currency's code.
    pub fn money(&self, amount: Decimal, code: &str) -> String {
        let symbol = self.symbols.split(' ').find_map(|it| it.strip_prefix(code)?.strip_prefix('='));
        let symbol = symbol.unwrap_or(code);
        let number = amount.abs().to_string();
        let (whole, rest) = number.split_once('.').unwrap_or((&number, ""));
        let mut written = self.grouped(whole);
        if !rest.is_empty() {
            written.push_str(self.decimal);
            written.push_str(rest);
        }
        let is_prefix = self.money[0].find('¤') < self.money[0].find('#');
        let beside = if is_prefix { symbol.chars().next_back() } else { symbol.chars().next() };
        let has_letters = beside.is_some_and(char::is_alphabetic);
        let is_negative = amount.is_sign_negative() && !amount.is_zero();
        let pattern = self.money[2 * usize::from(has_letters) + usize::from(is_negative)];
        pattern.replace('#', &written).replace('¤', symbol)
    }

    fn grouped(&self, whole: &str) -> String {
        if whole.len() == 4 && !self.groups_thousands {
            return whole.to_owned();
        }
        let mut grouped = String::with_capacity(whole.len() + 8);
        for (n, digit) in whole.chars().enumerate() {
            if n > 0 && (whole.len() - n).is_multiple_of(3) {
                grouped.push_str(self.group);
            }
            grouped.push(digit);
        }
        grouped
    }

    /// The pattern of `short`, `medium`, `long`, `full` or `time`.
    pub fn date_style(&self, name: &str) -> Option<&'static str> {
        let at = ["short", "medium", "long", "full", "time"].into_iter().position(|it| it == name)?;
        Some(self.dates[at])
    }

    /// A pattern with names of months, days and halves of the day in place of their marks.
    pub fn named(&self, pattern: &str, at: &jiff::Zoned) -> String {
        let nth = |list: &'static str, n: i8| list.split('|').nth(usize::try_from(n).unwrap_or(0)).unwrap_or_default();
        let (month, day) = (at.month() - 1, at.weekday().to_sunday_zero_offset());
        let mut out = String::with_capacity(pattern.len() + 16);
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('B') => out.push_str(nth(self.months, month)),
                Some('b' | 'h') => out.push_str(nth(self.months_short, month)),
                Some('A') => out.push_str(nth(self.days, day)),
                Some('a') => out.push_str(nth(self.days_short, day)),
                Some('p') => out.push_str(self.halves[usize::from(at.hour() >= 12)]),
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            }
        }
        out
    }

    /// Which form of a word goes with a count: CLDR's `one`, `few`, `many` or `other`.
    pub fn plural(&self, count: Decimal) -> &'static str {
        let count = count.abs().normalize();
        let (is_whole, whole) = (count.scale() == 0, count.trunc().to_u64().unwrap_or(u64::MAX));
        let (ones, tens) = (whole % 10, whole % 100);
        let is_few = (2..=4).contains(&ones) && !(12..=14).contains(&tens);
        match self.language() {
            "ja" => "other",
            "fr" if whole < 2 => "one",
            "pt" if self.tag == "pt-BR" && whole < 2 => "one",
            "da" if whole == 1 || (whole == 0 && !is_whole) => "one",
            "cs" if !is_whole => "many",
            "cs" if (2..=4).contains(&whole) => "few",
            "pl" if is_whole && whole != 1 => match is_few {
                true => "few",
                false => "many",
            },
            _ if is_whole && whole == 1 => "one",
            _ => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What ICU writes, by `Intl` of Node 20: place, what, of what, and the text.
    const VECTORS: &str = include_str!("locale/vectors.tsv");

    #[test]
    fn amounts_dates_and_counts_are_written_as_icu_writes_them() {
        let mut wrong = Vec::new();
        for line in VECTORS.lines() {
            let [tag, what, of, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let locale = find(tag).unwrap();
            assert_eq!(locale.tag, tag);
            let written = match what {
                "money" => {
                    let (amount, code) = of.split_once(' ').unwrap();
                    let digits = crate::render::formatting::minor_digits(code);
                    let mut amount = amount.parse::<Decimal>().unwrap().round_dp(digits);
                    amount.rescale(digits);
                    locale.money(amount, code)
                }
                "plural" => locale.plural(of.parse().unwrap()).to_owned(),
                style => {
                    let at = of.parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
                    let pattern = locale.named(locale.date_style(style).unwrap(), &at);
                    jiff::fmt::strtime::format(&pattern, &at).unwrap()
                }
            };
            if written != expected {
                wrong.push(format!("{line:?} is written {written:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), VECTORS.lines().count(), wrong.join("\n"));
    }

    #[test]
    fn a_place_that_is_not_known_is_written_as_its_language_is() {
        for (tag, found) in [
            ("de", "de-DE"),
            ("de_AT", "de-AT"),
            ("DE-li", "de-DE"),
            ("en-NZ", "en-US"),
            ("no", "nb-NO"),
            ("fr-FR-x", "fr-FR"),
        ] {
            assert_eq!(find(tag).map(|it| it.tag), Some(found), "{tag}");
        }
        assert!(find("tlh").is_none() && find("").is_none());
    }
}
