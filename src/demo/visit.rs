//! One visit to the shop: looking, putting into the cart, going to the checkout, buying; most carts are left behind.

use rust_decimal::Decimal;
use serde_json::{Map, Number, Value, json};

use super::chance::Chance;
use super::person::Person;
use super::shop::{Product, Rhythm, Shop};
use crate::event::Kind;
use crate::ids::{Span, Timestamp};

/// What somebody did, before it is an event.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    /// Properties of a track call, traits of an identify.
    pub(super) content: Value,
}

/// Longer than any visit lasts, refunds aside.
pub(super) fn longest(rhythm: &Rhythm) -> Span {
    // A list, the newsletter, a removal, the checkout and the order beside the products.
    let steps = rhythm.visit.views_max + rhythm.visit.items_max + 5;
    Span::from_seconds(i64::try_from(steps * rhythm.pause.to).unwrap_or(i64::MAX))
}

/// The person's first act: the account, and what they answered when asked.
pub(super) fn sign_up(person: &Person<'_>, at: Timestamp) -> Vec<Act> {
    let mut acts =
        vec![Act { at, kind: Kind::Identify, name: Kind::Identify.event_name(), content: person.traits.clone() }];
    let answers = person.consents.iter().map(|(channel, state)| consent(at, channel, state, "account form"));
    acts.extend(answers);
    acts
}

fn consent(at: Timestamp, channel: &str, state: &str, source: &str) -> Act {
    let content = json!({ "channel": channel, "state": state, "source": source });
    Act { at, kind: Kind::Own, name: crate::decision::CONSENT_CHANGED, content }
}

/// All acts of a visit in order of time; a refund follows days later.
pub(super) fn visit(shop: &Shop, person: &Person<'_>, start: Timestamp, chance: &mut Chance) -> Vec<Act> {
    let mut walk = Walk { shop, at: start, acts: Vec::new() };
    let seen = walk.look_around(chance);
    let odds = &shop.rhythm.visit;
    if chance.percent(odds.newsletter) && !person.consents.iter().any(|(channel, _)| *channel == "email") {
        walk.pause(chance);
        let at = walk.at;
        walk.act("Newsletter Subscribed", json!({ "list": "offers" }));
        // As the form on the page sends it: the shop's policy has it confirmed.
        walk.acts.push(Act { kind: Kind::Track, ..consent(at, "email", "granted", "newsletter form") });
    }
    if chance.percent(odds.cart) {
        walk.fill_a_cart(&seen, chance);
    }
    walk.acts
}

struct Walk<'a> {
    shop: &'a Shop,
    at: Timestamp,
    acts: Vec<Act>,
}

impl<'a> Walk<'a> {
    fn act(&mut self, name: &'static str, content: Value) {
        self.acts.push(Act { at: self.at, kind: Kind::Track, name, content });
    }

    fn pause(&mut self, chance: &mut Chance) {
        let pause = &self.shop.rhythm.pause;
        let millis = chance.between(pause.from * 1000, pause.to * 1000);
        self.at = self.at.plus_millis(i64::try_from(millis).unwrap_or(0));
    }

    /// Products looked at, never the same twice.
    fn look_around(&mut self, chance: &mut Chance) -> Vec<&'a Product> {
        let shop = self.shop;
        let odds = &shop.rhythm.visit;
        let mut seen: Vec<&Product> = Vec::new();
        while seen.len() < odds.views_max as usize {
            let Some(product) = chance.weighted(&shop.catalog.products, |product| product.weight) else { break };
            if seen.is_empty() && chance.percent(odds.list_viewed) {
                self.act("Product List Viewed", json!({ "category": product.category }));
                self.pause(chance);
            }
            if !seen.iter().any(|other| other.id == product.id) {
                self.act("Product Viewed", Value::Object(self.said_of(product)));
                self.pause(chance);
                seen.push(product);
            }
            if !chance.percent(odds.another_view) {
                break;
            }
        }
        seen
    }

    fn fill_a_cart(&mut self, seen: &[&'a Product], chance: &mut Chance) {
        let odds = &self.shop.rhythm.visit;
        let cart_id = format!("cart-{}", chance.code());
        let mut cart: Vec<(&Product, u64)> = Vec::new();
        for product in seen.iter().rev().take(odds.items_max as usize) {
            let quantity = if chance.percent(85) { 1 } else { chance.between(2, 3) };
            self.act("Product Added", self.item(&cart_id, product, quantity));
            self.pause(chance);
            cart.push((product, quantity));
            if !chance.percent(odds.another_item) {
                break;
            }
        }
        if cart.len() > 1 && chance.percent(odds.item_removed) {
            let (product, quantity) = cart.remove(0);
            self.act("Product Removed", self.item(&cart_id, product, quantity));
            self.pause(chance);
        }
        if chance.percent(odds.checkout) && !cart.is_empty() {
            self.check_out(&cart_id, &cart, chance);
        }
    }

    fn check_out(&mut self, cart_id: &str, cart: &[(&Product, u64)], chance: &mut Chance) {
        let odds = &self.shop.rhythm.visit;
        let value: Decimal = cart.iter().map(|(product, quantity)| product.amount * Decimal::from(*quantity)).sum();
        let order_id = format!("o-{}", chance.code());
        let with = |amount_name: &str| {
            let mut order = Map::new();
            order.insert("order_id".to_owned(), json!(order_id));
            order.insert("cart_id".to_owned(), json!(cart_id));
            order.insert(amount_name.to_owned(), number(value));
            order.insert("currency".to_owned(), json!(self.shop.catalog.currency));
            let products = cart.iter().map(|(product, quantity)| {
                let mut said = self.said_of(product);
                said.insert("quantity".to_owned(), json!(quantity));
                Value::Object(said)
            });
            order.insert("products".to_owned(), products.collect());
            Value::Object(order)
        };
        let (checkout, order) = (with("value"), with("revenue"));
        self.act("Checkout Started", checkout);
        self.pause(chance);
        if !chance.percent(odds.order) {
            return;
        }
        self.act("Order Completed", order.clone());
        if chance.percent(odds.refund) {
            let days = i64::try_from(chance.between(2, 12)).unwrap_or(2);
            self.at = self.at.plus(Span::from_days(days));
            self.pause(chance);
            self.act("Order Refunded", order);
        }
    }

    fn item(&self, cart_id: &str, product: &Product, quantity: u64) -> Value {
        let mut item = Map::new();
        item.insert("cart_id".to_owned(), json!(cart_id));
        item.extend(self.said_of(product));
        item.insert("quantity".to_owned(), json!(quantity));
        Value::Object(item)
    }

    fn said_of(&self, product: &Product) -> Map<String, Value> {
        let mut said = Map::new();
        said.insert("product_id".to_owned(), json!(product.id));
        said.insert("name".to_owned(), json!(product.name));
        said.insert("category".to_owned(), json!(product.category));
        said.insert("price".to_owned(), Value::Number(product.price.clone()));
        said.insert("currency".to_owned(), json!(self.shop.catalog.currency));
        said.insert("url".to_owned(), json!(product.url));
        said.insert("image_url".to_owned(), json!(product.image_url));
        said
    }
}

fn number(value: Decimal) -> Value {
    value.to_string().parse::<Number>().map_or(Value::Null, Value::Number)
}
