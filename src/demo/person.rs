//! A customer of the demo shop, made from a seed and a number.

use serde_json::{Value, json};

use super::chance::Chance;
use super::shop::{Locale, Shop};

/// Ann is the reader of the tour: nobody but she acts in her name.
pub(super) const ANN: &str = "ann";

#[derive(Debug, Clone)]
pub(super) struct Person<'a> {
    pub(super) user_id: String,
    pub(super) number: i64,
    pub(super) locale: &'a Locale,
    pub(super) traits: Value,
    /// Visits in the shop's whole time.
    pub(super) visits: u64,
    /// By channel: `granted`, `denied`; no entry where the question was never answered.
    pub(super) consents: Vec<(&'a str, &'static str)>,
}

impl<'a> Person<'a> {
    /// `number` from 0; none where the shop has no locales.
    pub(super) fn new(shop: &'a Shop, seed: u64, number: i64) -> Option<Self> {
        let mut chance = Chance::new(seed, "person", &[number]);
        let locale = chance.weighted(&shop.people.locales, |locale| locale.weight)?;
        let first = chance.one_of(&locale.first)?;
        let last = chance.one_of(&locale.last)?;
        let phone = phone(locale, number);
        let visitors = chance.weighted(&shop.rhythm.visitors, |visitors| visitors.percent)?;
        let mut traits = json!({
            "email": format!("{}.{}{number}@example.com", plain(first), plain(last)),
            "firstName": first, "lastName": last, "name": format!("{first} {last}"),
            "timezone": locale.time_zone, "locale": locale.locale, "address": { "country": locale.country },
        });
        if let Some(phone) = &phone {
            traits["phone"] = json!(phone);
        }
        let asked = shop.people.consent.iter().filter(|mix| mix.channel != "sms" || phone.is_some());
        let consents = asked.filter_map(|mix| match chance.roll(100) {
            roll if roll < mix.granted => Some((mix.channel.as_str(), "granted")),
            roll if roll < mix.granted + mix.denied => Some((mix.channel.as_str(), "denied")),
            _ => None,
        });
        let consents = consents.collect();
        Some(Self { user_id: format!("c{number:04}"), number, locale, traits, visits: visitors.visits, consents })
    }

    pub(super) fn ann(shop: &'a Shop) -> Option<Self> {
        let locale = shop.people.locales.iter().find(|locale| locale.time_zone == "Europe/Paris")?;
        let traits = json!({
            "email": "ann@example.com", "firstName": "Ann", "lastName": "Martin", "name": "Ann Martin",
            "timezone": locale.time_zone, "locale": "en-GB", "address": { "country": locale.country },
        });
        let consents = vec![("email", "granted")];
        Some(Self { user_id: ANN.to_owned(), number: -1, locale, traits, visits: 0, consents })
    }
}

/// The number's own place in a range that reaches nobody.
fn phone(locale: &Locale, number: i64) -> Option<String> {
    let offset = u64::try_from(number).ok().filter(|number| *number < locale.phones)?;
    let digits = locale.phone.strip_prefix('+')?;
    Some(format!("+{}", digits.parse::<u64>().ok()? + offset))
}

/// A name as it stands in an address.
fn plain(name: &str) -> String {
    let letter = |c: char| match c {
        'à' | 'â' | 'ä' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'î' | 'ï' | 'í' => 'i',
        'ô' | 'ö' | 'ø' => 'o',
        'ü' | 'û' | 'ú' => 'u',
        'ç' => 'c',
        other => other,
    };
    name.to_lowercase().chars().map(letter).filter(char::is_ascii_lowercase).collect()
}
