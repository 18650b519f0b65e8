//! Where somebody is, as far as is known: the zones their clock may be in, and the country.
//!
//! Asked in this order, and the first that leaves one zone is believed: the trait `timezone`, the area of their
//! telephone, their postal country and region, the zone of the last event of theirs that named one. Where none does, all
//! zones of the first that leaves several are possible; of whom nothing is known, the workspace's is. The tables beside
//! this file are made by `tables.py`.

pub mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use jiff::tz::TimeZone;

use crate::audience::Profile;
use crate::audience::consent::country_of;
use places::region_code;

type Table = BTreeMap<&'static str, Vec<&'static str>>;

static COUNTRIES: LazyLock<Table> = LazyLock::new(|| table(include_str!("whereabouts/countries.tsv")));
static REGIONS: LazyLock<Table> = LazyLock::new(|| table(include_str!("whereabouts/regions.tsv")));
static PHONES: LazyLock<Table> = LazyLock::new(|| table(include_str!("whereabouts/phones.tsv")));
static COUNTRY_OF_ZONE: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let each = COUNTRIES.iter().flat_map(|(country, zones)| zones.iter().map(|zone| (*zone, *country)));
    each.collect()
});

/// The longest first digits of a telephone number that name an area.
const AREA_DIGITS_MAX: usize = 9;
/// The traits that hold telephone numbers.
const PHONES_OF: [&str; 2] = ["phone", "whatsapp"];

/// What told where somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Trait,
    Phone,
    Country,
    LastEvent,
    Workspace,
}

/// Where somebody may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Whereabouts {
    /// At least one; several where it is only guessed.
    pub zones: Vec<TimeZone>,
    pub source: Source,
    /// ISO 3166-1; several where only their telephone tells, none where nothing does.
    pub countries: BTreeSet<String>,
    /// ISO 3166-2, such as `US-FL`.
    pub region: Option<String>,
}

impl Whereabouts {
    /// Of a person; `workspace` is the zone of those of whom nothing is known.
    pub fn of(profile: &Profile, workspace: &TimeZone) -> Self {
        let region = region_of(profile);
        let postal = country_of(profile);
        let phone = PHONES_OF.iter().find_map(|name| zones_of_phone(profile.address(name)?));
        let of_country = || {
            let zones = region.as_deref().and_then(|region| REGIONS.get(region));
            zones.or_else(|| COUNTRIES.get(postal.as_deref()?)).cloned()
        };
        let own = |name: Option<&str>| name.and_then(zone).map(|zone| vec![zone]);
        let asked = [
            (Source::Trait, own(profile.traits.get("timezone").and_then(|name| name.as_str()))),
            (Source::Phone, phone.as_deref().map(zones)),
            (Source::Country, of_country().as_deref().map(zones)),
            (Source::LastEvent, own(profile.last_zone.as_deref())),
        ];
        let told: Vec<(Source, Vec<TimeZone>)> =
            asked.into_iter().filter_map(|(source, zones)| Some((source, zones?))).collect();
        let found = told.iter().find(|(_, zones)| zones.len() == 1).or(told.first()).cloned();
        let (source, zones) = found.unwrap_or_else(|| (Source::Workspace, vec![workspace.clone()]));
        let countries = match &postal {
            Some(country) => BTreeSet::from([country.clone()]),
            None => {
                let names = phone.unwrap_or_else(|| zones.iter().filter_map(static_name).collect());
                let is_told = source != Source::Workspace;
                names.into_iter().filter(|_| is_told).filter_map(country_of_zone).collect()
            }
        };
        Self { zones, source, countries, region }
    }

    /// Whether a rule for these countries and regions is about them; without either it is about everybody. Of whom it
    /// is not known, it is.
    pub fn may_be_in(&self, countries: &BTreeSet<String>, regions: &BTreeSet<String>) -> bool {
        let in_country = self.countries.is_empty() || !self.countries.is_disjoint(countries);
        let in_region = match &self.region {
            Some(region) => regions.contains(region),
            None => {
                let mut of = regions.iter().filter_map(|region| region.split('-').next());
                self.countries.is_empty() || of.any(|country| self.countries.contains(country))
            }
        };
        (countries.is_empty() && regions.is_empty())
            || (!countries.is_empty() && in_country)
            || (!regions.is_empty() && in_region)
    }
}

/// For people: `Europe/Paris, by the telephone`, or how many zones it may be.
impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.source {
            Source::Trait => "by the trait `timezone`",
            Source::Phone => "by the telephone",
            Source::Country => "by the country",
            Source::LastEvent => "by the last event",
            Source::Workspace => "the workspace's",
        };
        match self.zones.as_slice() {
            [zone] => write!(f, "{}, {by}", zone.iana_name().unwrap_or("the local zone")),
            zones => write!(f, "any of {} zones, {by}", zones.len()),
        }
    }
}

/// The zones of the longest first digits that the table knows.
fn zones_of_phone(number: &str) -> Option<Vec<&'static str>> {
    let digits: String = number.strip_prefix('+')?.chars().filter(char::is_ascii_digit).take(AREA_DIGITS_MAX).collect();
    (1..=digits.len()).rev().find_map(|length| PHONES.get(&digits[..length])).cloned()
}

/// The region by the traits `address.state`, `address.region`, `state` or `region`: `US-FL`, or `FL` beside a country.
fn region_of(profile: &Profile) -> Option<String> {
    let named = ["address.state", "address.region", "state", "region"];
    let text = named.iter().find_map(|path| profile.trait_at(path)?.as_str())?.trim();
    region_code(text).or_else(|| region_code(&format!("{}-{text}", country_of(profile)?)))
}

fn country_of_zone(name: &str) -> Option<String> {
    COUNTRY_OF_ZONE.get(name).map(|country| (*country).to_owned())
}

fn static_name(zone: &TimeZone) -> Option<&'static str> {
    COUNTRY_OF_ZONE.get_key_value(zone.iana_name()?).map(|(name, _)| *name)
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// Whether there is a time zone of this name.
pub fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

/// The names of all of them.
pub fn zone_names() -> Vec<String> {
    jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
}

fn zones(names: &[&str]) -> Vec<TimeZone> {
    names.iter().filter_map(|name| zone(name)).collect()
}

fn table(text: &'static str) -> Table {
    let rows = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
    rows.map(|(key, zones)| (key, zones.split(' ').collect())).collect()
}

#[cfg(test)]
mod tests;
