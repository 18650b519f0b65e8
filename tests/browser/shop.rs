//! A shop in real use: ten customers over five days, with campaigns of the starter set, refusals and bounces among them.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::house::House;

/// Of the starter set's campaigns, those that are live here beside the cart reminder.
const LIVE: [&str; 4] = ["welcome", "order_confirmation", "shipping_update", "browse_reminder"];
const PEOPLE: [(&str, &str, &str); 10] = [
    ("bea", "Bea", "en-GB"),
    ("cem", "Cem", "de"),
    ("dora", "Dora", "en-GB"),
    ("emil", "Emil", "de"),
    ("fay", "Fay", "en-GB"),
    ("gustav", "Gustav", "en-GB"),
    ("hana", "Hana", "en-GB"),
    ("ivo", "Ivo", "de"),
    ("june", "June", "en-GB"),
    ("kim", "Kim", "en-GB"),
];
const PRODUCTS: [(&str, &str, &str, f64); 3] = [
    ("p001", "Enamel Kettle", "enamel-kettle", 49.90),
    ("p021", "Reading Lamp", "reading-lamp", 64.90),
    ("p031", "Watering Can", "watering-can", 34.50),
];

/// Lets them live; what is sent on the fourth day is refused where there is somebody to refuse it.
pub async fn live(house: &House, key: &str, takes: Option<&AtomicBool>) {
    let recipes: Vec<Value> = LIVE.iter().map(|name| recipe(name)).collect();
    house.post("/api/v1/definitions", json!({ "files": recipes })).await.ok();
    for (n, (user, name, locale)) in PEOPLE.into_iter().enumerate() {
        let traits = json!({ "email": format!("{user}@example.com"), "firstName": name, "locale": locale });
        house
            .send(key, "identify", json!({ "userId": user, "messageId": format!("i-{user}"), "traits": traits }))
            .await;
        let state = if n == 7 { "denied" } else { "granted" };
        let said = json!({ "channel": "email", "state": state, "source": "checkout" });
        house.post(&format!("/api/v1/profiles/{user}/consent"), said).await.ok();
    }
    for day in 0..5 {
        if let Some(takes) = takes {
            takes.store(day != 3, Ordering::SeqCst);
        }
        let of = |n: usize| PEOPLE[(day * 2 + n) % PEOPLE.len()].0;
        track(house, key, of(0), "Signed Up", format!("s{day}"), json!({ "url": "https://shop.example/" })).await;
        for n in 0..2 {
            track(house, key, of(1), "Product Viewed", format!("v{day}-{n}"), product(day)).await;
        }
        let mut cart = product(day + 1);
        cart["cart_id"] = json!(format!("cart-{day}"));
        track(house, key, of(2), "Product Added", format!("a{day}"), cart.clone()).await;
        track(house, key, of(7), "Product Added", format!("b{day}"), cart).await;
        house.forward("3h").await;
        track(house, key, of(3), "Order Completed", format!("o{day}"), order(day)).await;
        house.forward("9h").await;
        let parcel = json!({ "order_id": format!("o-10{day}"), "tracking_number": format!("6A1234567890{day}"),
            "carrier": "Colissimo", "tracking_url": format!("https://shop.example/parcels/{day}"),
            "estimated_delivery": format!("2026-03-0{}", day + 3), "products": [product(day)] });
        track(house, key, of(3), "Order Shipped", format!("p{day}"), parcel).await;
        house.forward("12h").await;
    }
}

fn recipe(name: &str) -> Value {
    let path = format!("templates/recipes/{name}.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("status: draft"), "{path}");
    json!({ "name": path, "text": text.replace("status: draft", "status: live") })
}

async fn track(house: &House, key: &str, user: &str, event: &str, id: String, properties: Value) {
    house
        .send(key, "track", json!({ "userId": user, "messageId": id, "event": event, "properties": properties }))
        .await;
}

fn product(n: usize) -> Value {
    let (id, name, file, price) = PRODUCTS[n % PRODUCTS.len()];
    json!({ "product_id": id, "name": name, "price": price, "currency": "EUR", "quantity": 1,
        "image_url": format!("https://shop.example/images/{file}.png"),
        "url": format!("https://shop.example/products/{file}") })
}

fn order(day: usize) -> Value {
    let (one, other) = (product(day), product(day + 1));
    let revenue = one["price"].as_f64().unwrap() + other["price"].as_f64().unwrap() + 4.90;
    json!({ "order_id": format!("o-10{day}"), "revenue": (revenue * 100.0).round() / 100.0, "shipping": 4.90,
        "currency": "EUR", "url": format!("https://shop.example/orders/o-10{day}"), "products": [one, other] })
}
