//! One cart as conditions and templates look at it: how many, worth what, in which currency, since when.

use std::fmt;

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::audience::cart::Line;
use crate::audience::field::{Found, UnknownCurrency};
use crate::ids::Timestamp;
use crate::money::{Amount, Currency, Exchange, Total};

/// What is in a cart, the oldest line first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    pub lines: Vec<Line>,
    /// When the last event that it is made of happened; none where there never was one.
    pub changed_at: Option<Timestamp>,
}

impl View {
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many things are in it.
    pub fn items(&self) -> Decimal {
        self.lines.iter().map(|line| line.quantity).sum::<Decimal>().normalize()
    }

    /// That of its oldest line with a price; the workspace's where nothing is said of it. None without a price.
    pub fn currency(&self, exchange: &Exchange) -> Option<Result<Currency, UnknownCurrency>> {
        self.lines.iter().find(|line| line.price.is_some()).map(|line| currency_of(line, exchange))
    }

    /// What it is worth in this currency, without one in its own: all lines that have a price, converted by the rates of
    /// the day on which the cart was changed. Nothing is worth nothing; none where it is full and no line has a price.
    pub fn value(&self, currency: Option<Currency>, exchange: &Exchange) -> Option<Result<Decimal, UnknownCurrency>> {
        if self.is_empty() {
            return Some(Ok(Decimal::ZERO));
        }
        let own = self.currency(exchange)?;
        Some(currency.map_or(own, Ok).and_then(|currency| self.worth(currency, exchange)))
    }

    fn worth(&self, currency: Currency, exchange: &Exchange) -> Result<Decimal, UnknownCurrency> {
        let mut sum = Decimal::ZERO;
        for line in &self.lines {
            let Some(price) = line.price else { continue };
            let value = price.checked_mul(line.quantity).ok_or(UnknownCurrency)?;
            let amount = Amount { value, currency: currency_of(line, exchange)? };
            let at = self.changed_at.unwrap_or(Timestamp::FIRST);
            let worth = exchange.rates.convert(amount, currency, at).ok_or(UnknownCurrency)?;
            sum = sum.checked_add(worth).ok_or(UnknownCurrency)?;
        }
        Ok(sum.normalize())
    }

    /// The value as sums are tested.
    pub fn total(&self, currency: Option<Currency>, exchange: &Exchange) -> Result<Total, UnknownCurrency> {
        self.value(currency, exchange).unwrap_or(Ok(Decimal::ZERO)).map(Total::from)
    }

    /// What conditions find at a field; nothing where it is not known.
    pub fn found(&self, field: Field, exchange: &Exchange) -> Option<Found<'static>> {
        let at = self.changed_at.unwrap_or(Timestamp::FIRST);
        let currency =
            || self.currency(exchange).and_then(Result::ok).map(|currency| Value::from(currency.to_string()));
        match field {
            Field::Items => Some(Found::stated(number(self.items()), None, at)),
            Field::Value => {
                let value = self.value(None, exchange)?.ok()?;
                Some(Found::stated(number(value), currency(), at))
            }
            Field::Currency => Some(Found::stated(currency()?, None, at)),
            Field::ChangedAt => Some(Found::stated(self.changed_at?.to_string().into(), None, at)),
        }
    }

    /// As templates see it: what is not known is not there.
    pub fn shown(&self, exchange: &Exchange) -> Value {
        let mut shown = Map::new();
        shown.insert("items".to_owned(), number(self.items()));
        let lines: Vec<Value> = self.lines.iter().map(|line| line.shown(Some(exchange))).collect();
        shown.insert("lines".to_owned(), lines.into());
        if let Some(Ok(value)) = self.value(None, exchange) {
            shown.insert("value".to_owned(), number(value));
        }
        if let Some(Ok(currency)) = self.currency(exchange) {
            shown.insert("currency".to_owned(), currency.to_string().into());
        }
        if let Some(at) = self.changed_at {
            shown.insert("changed_at".to_owned(), at.to_string().into());
        }
        shown.into()
    }

    /// As the events said it, and nothing added.
    pub fn said(&self) -> Value {
        let lines: Vec<Value> = self.lines.iter().map(|line| line.shown(None)).collect();
        json!({ "lines": lines, "changed_at": self.changed_at })
    }
}

impl Line {
    /// With the currency that counts, or as it was sent.
    fn shown(&self, exchange: Option<&Exchange>) -> Value {
        let Self { goods, quantity, price, currency, name, image, url } = self;
        let mut shown = Map::from_iter([("quantity".to_owned(), number(*quantity))]);
        let texts = [
            ("product_id", &goods.product),
            ("sku", &goods.sku),
            ("variant", &goods.variant),
            ("name", name),
            ("image", image),
            ("url", url),
        ];
        for (field, text) in texts {
            shown.extend(text.as_ref().map(|text| (field.to_owned(), json!(text))));
        }
        if let Some(price) = price {
            shown.insert("price".to_owned(), number(*price));
            shown.extend(price.checked_mul(*quantity).map(|total| ("total".to_owned(), number(total.normalize()))));
            let currency = match exchange {
                Some(exchange) => currency_of(self, exchange).ok().map(|it| it.to_string()),
                None => currency.clone(),
            };
            shown.extend(currency.map(|it| ("currency".to_owned(), it.into())));
        }
        shown.into()
    }
}

fn currency_of(line: &Line, exchange: &Exchange) -> Result<Currency, UnknownCurrency> {
    match &line.currency {
        None => Ok(exchange.home),
        Some(code) => code.parse().map_err(|_| UnknownCurrency),
    }
}

/// What of a cart conditions name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Items,
    Value,
    Currency,
    ChangedAt,
}

impl Field {
    pub const ALL: [Self; 4] = [Self::Items, Self::Value, Self::Currency, Self::ChangedAt];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Value => "value",
            Self::Currency => "currency",
            Self::ChangedAt => "changed_at",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == text)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A JSON number with these very digits.
pub fn number(value: Decimal) -> Value {
    let text = value.to_string();
    text.parse::<serde_json::Number>().map_or_else(|_| text.into(), Value::Number)
}
