//! What an event says of a cart: which one, which goods, how many, at what price.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::audience::cart::{Change, Goods, LINES_MAX, Line, Step};
use crate::event::number::decimal;
use crate::event::{Event, Kind};
use crate::ids::{EventId, Position};

/// Of one line; with the bounds below, the value of a full cart is exact.
pub(super) const QUANTITY_MAX: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
const QUANTITY_DECIMALS: u32 = 3;
const PRICE_LIMIT: Decimal = Decimal::from_parts(1_410_065_408, 2, 0, false, 0);
const PRICE_DECIMALS: u32 = 6;
/// Characters of an id that are kept; a longer one is told apart by its hash.
const ID_CHARS_MAX: usize = 128;
const NAME_CHARS_MAX: usize = 200;
/// Characters of a link that is kept; half a link leads nowhere.
const LINK_CHARS_MAX: usize = 1_000;
const CURRENCY_CHARS_MAX: usize = 16;

/// The id of the cart that an event names.
pub fn cart_of(event: &Event) -> Option<String> {
    id(event.lookup("properties.cart_id")?)
}

/// What the event does to a cart; none where it does nothing.
pub fn step(event: &Event, position: Position) -> Option<Step> {
    if event.kind != Kind::Track {
        return None;
    }
    let change = match event.name.as_str() {
        "Product Added" => Change::Add(cart_of(event), product(event)?),
        "Product Removed" => Change::Remove(cart_of(event), product(event)?.bare()),
        "Cart Viewed" | "Checkout Started" => Change::Replace(cart_of(event), products(event)?),
        "Order Completed" => match cart_of(event) {
            Some(cart) => Change::Replace(Some(cart), Vec::new()),
            None => Change::EmptyAll,
        },
        _ => return None,
    };
    Some(Step { at: event.at, position, change })
}

fn product(event: &Event) -> Option<Line> {
    line(event.lookup("properties")?, None)
}

/// Of a list there is: without one nothing is replaced.
fn products(event: &Event) -> Option<Vec<Line>> {
    let products = event.lookup("properties.products")?.as_array()?;
    let beside = event.lookup("properties.currency");
    let lines = products.iter().filter(|one| one.is_object()).filter_map(|one| line(one, beside));
    let mut lines: Vec<Line> = lines.collect();
    // The same bound as of a cart that was filled one by one: the last are in it.
    Some(lines.split_off(lines.len().saturating_sub(LINES_MAX)))
}

/// None of something, or less, is no line.
fn line(object: &Value, beside: Option<&Value>) -> Option<Line> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let link = |name: &str| text(name).filter(|text| text.chars().nth(LINK_CHARS_MAX).is_none()).map(str::to_owned);
    let known = |name: &str| object.get(name).and_then(id);
    let quantity = match object.get("quantity").and_then(decimal) {
        // A missing one is one; what is no number is missing.
        None => Decimal::ONE,
        Some(quantity) => quantity.round_dp(QUANTITY_DECIMALS),
    };
    let price = object.get("price").and_then(decimal).map(|price| price.normalize());
    let currency = object.get("currency").filter(|it| !it.is_null()).or(beside);
    let currency = currency.and_then(Value::as_str).filter(|text| !text.is_empty());
    let price = price.filter(|price| price.abs() < PRICE_LIMIT && price.scale() <= PRICE_DECIMALS);
    let line = Line {
        goods: Goods { product: known("product_id"), sku: known("sku"), variant: known("variant") },
        quantity: quantity.min(QUANTITY_MAX).normalize(),
        currency: currency.filter(|_| price.is_some()).map(|text| text.chars().take(CURRENCY_CHARS_MAX).collect()),
        price,
        name: text("name").map(|text| text.chars().take(NAME_CHARS_MAX).collect()),
        image: link("image_url").or_else(|| link("image")),
        url: link("url"),
    };
    (line.quantity > Decimal::ZERO).then_some(line)
}

impl Line {
    /// Which and how many, and nothing else of it.
    fn bare(self) -> Self {
        let (price, currency, name, image, url) = (None, None, None, None, None);
        Self { price, currency, name, image, url, ..self }
    }
}

/// Text as it is, a number in plain digits: shops send either for one and the same thing.
fn id(value: &Value) -> Option<String> {
    let text: Cow<'_, str> = match value {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => {
            decimal(value).map_or_else(|| number.to_string(), |it| it.normalize().to_string()).into()
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let text = text.trim();
    match text.chars().nth(ID_CHARS_MAX) {
        _ if text.is_empty() => None,
        None => Some(text.to_owned()),
        Some(_) => Some(EventId::derive(&[text.as_bytes()]).to_string()),
    }
}
