//! What every client is asked to send: one list of calls, translated by each driver into its client's own API.
//!
//! The list is the single source of truth: the drivers read it from standard input, the checks compare the stored
//! events with it. `call` travels in `context.call`, the one place that all six calls of all clients carry unchanged.

use serde_json::{Value, json};

/// The person whom the calls are about, once known.
pub const USER: &str = "ann-7";
/// The same person before that.
pub const ANONYMOUS: &str = "3f0c0f1a-visitor";

/// Twelve calls, anonymous first, as a storefront makes them.
/// `at` is present where the caller sets the time, which may lie in the past.
pub fn calls() -> Vec<Value> {
    let item = json!({
        "cart_id": "c1", "sku": "PATE-250", "title": "Pâté de campagne, 250 g 🥐", "price": 19.99, "quantity": 2,
        "gift": false, "coupon": null, "tags": ["deli", "new"], "seller": { "city": "Łódź", "rating": 4.5 },
    });
    let order = |n: u32| json!({ "order_id": format!("o-{n}"), "total": "119.97", "currency": "EUR", "items": n });
    let mut calls = vec![
        json!({ "type": "track", "anonymous": ANONYMOUS, "event": "Product Viewed", "properties": { "sku": "PATE-250" } }),
        json!({ "type": "identify", "user": USER,
                "traits": { "email": "ann@example.test", "plan": "gold", "age": 41, "address": { "city": "Lyon" } } }),
        json!({ "type": "alias", "user": USER, "previous": ANONYMOUS }),
        json!({ "type": "group", "user": USER, "group": "club-3", "traits": { "name": "Cheese club", "seats": 12 } }),
        json!({ "type": "page", "user": USER, "name": "Cart", "category": "Shop", "properties": { "items": 2 } }),
        json!({ "type": "screen", "user": USER, "name": "Home", "properties": { "dark": true } }),
        json!({ "type": "track", "user": USER, "event": "Product Added", "properties": item }),
        json!({ "type": "track", "user": USER, "event": "Product Added", "at": "2026-01-02T03:04:05.678Z",
                "properties": { "cart_id": "c2", "price": 5 } }),
    ];
    calls.extend((1..=4).map(|n| {
        json!({ "type": "track", "user": USER, "event": "Order Completed", "at": format!("2025-12-{:02}T23:59:59.250Z", n + 10),
                "properties": order(n) })
    }));
    for (n, call) in calls.iter_mut().enumerate() {
        call["call"] = json!(n);
    }
    calls
}
