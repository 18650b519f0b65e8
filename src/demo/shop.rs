//! What the shop sells, who buys there and how it lives, as `demo/*.yaml` say.

use std::sync::OnceLock;

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Number;

use crate::definition::yaml;
use crate::money::{self, Currency};

/// The shop's figures are wrong; a test holds the compiled-in ones.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("demo/{file}: {message}")]
pub struct BadShop {
    pub file: &'static str,
    pub message: String,
}

#[derive(Debug)]
pub(super) struct Shop {
    pub(super) catalog: Catalog,
    pub(super) people: People,
    pub(super) rhythm: Rhythm,
}

impl Shop {
    /// The one shop there is.
    pub(super) fn get() -> Result<&'static Self, BadShop> {
        static SHOP: OnceLock<Result<Shop, BadShop>> = OnceLock::new();
        SHOP.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, BadShop> {
        let mut catalog: Catalog = read("catalog.yaml", include_str!("../../demo/catalog.yaml"))?;
        for product in &mut catalog.products {
            let message = |error: money::NotADecimal| error.to_string();
            product.amount = money::parse(&product.price.to_string())
                .map_err(|error| BadShop { file: "catalog.yaml", message: message(error) })?;
        }
        let mut people: People = read("people.yaml", include_str!("../../demo/people.yaml"))?;
        for locale in &mut people.locales {
            locale.zone = TimeZone::get(&locale.time_zone)
                .map_err(|error| BadShop { file: "people.yaml", message: error.to_string() })?;
        }
        let rhythm = read("rhythm.yaml", include_str!("../../demo/rhythm.yaml"))?;
        Ok(Self { catalog, people, rhythm })
    }
}

fn read<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, BadShop> {
    let bad = |message: String| BadShop { file, message };
    let said = |faults: Vec<yaml::Fault>| faults.into_iter().map(|fault| format!("{}: {}", fault.line, fault.message));
    let documents = yaml::parse(text).map_err(|faults| bad(said(faults).collect::<Vec<_>>().join("; ")))?;
    let document = documents.first().ok_or_else(|| bad("is empty".to_owned()))?;
    serde_json::from_value(document.root.to_json()).map_err(|error| bad(error.to_string()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalog {
    pub(super) currency: Currency,
    pub(super) products: Vec<Product>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Product {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) category: String,
    /// As written, two decimals and all.
    pub(super) price: Number,
    pub(super) weight: u64,
    pub(super) url: String,
    pub(super) image_url: String,
    #[serde(skip)]
    pub(super) amount: Decimal,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct People {
    pub(super) locales: Vec<Locale>,
    pub(super) consent: Vec<ConsentMix>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Locale {
    pub(super) locale: String,
    pub(super) time_zone: String,
    pub(super) country: String,
    pub(super) weight: u64,
    /// The first of `phones` numbers nobody has.
    pub(super) phone: String,
    pub(super) phones: u64,
    pub(super) first: Vec<String>,
    pub(super) last: Vec<String>,
    #[serde(skip, default = "utc")]
    pub(super) zone: TimeZone,
}

fn utc() -> TimeZone {
    TimeZone::UTC
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsentMix {
    pub(super) channel: String,
    pub(super) granted: u64,
    pub(super) denied: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rhythm {
    pub(super) customers: u64,
    pub(super) days: u64,
    pub(super) visitors: Vec<Visitors>,
    pub(super) known_before: u64,
    pub(super) weekdays: [u64; 7],
    pub(super) hours: [u64; 24],
    pub(super) visit: Visit,
    pub(super) pause: Pause,
    pub(super) trickle: Trickle,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Visitors {
    pub(super) percent: u64,
    pub(super) visits: u64,
}

/// Percentages of those who got so far, and the most steps of a kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Visit {
    pub(super) list_viewed: u64,
    pub(super) views_max: u64,
    pub(super) another_view: u64,
    pub(super) cart: u64,
    pub(super) another_item: u64,
    pub(super) items_max: u64,
    pub(super) item_removed: u64,
    pub(super) checkout: u64,
    pub(super) order: u64,
    pub(super) refund: u64,
    pub(super) newsletter: u64,
}

/// Seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trickle {
    /// Seconds.
    pub(super) visit_every: u64,
}
