//! The shop of the bench: who its people are, what they do, and the hundred campaigns that look on.
//!
//! One event in twenty carries one of twenty names that campaigns wait for; five campaigns share each name and tell
//! events apart by category, and one in five of those events has a category that is wanted. So one event in a hundred
//! starts a campaign, and one in twenty is weighed by five of them.

use std::fmt::Write;

use carillon::event::{Body, Event, Kind, Origin};
use carillon::ids::{EventId, Timestamp, WorkspaceId};

pub const WORKSPACE: WorkspaceId = WorkspaceId(1);
pub const CAMPAIGNS: u64 = 100;
const WATCHED_NAMES: u64 = 20;

/// Zero-padded, so that the order of numbers is the order of keys.
pub fn user_id(person: u64) -> String {
    format!("customer-{person:07}")
}

/// The name of an event for a throw of 0..100,000.
pub fn name_of(dice: u64) -> String {
    if dice.is_multiple_of(20) { watched_name(dice / 20 % WATCHED_NAMES) } else { "Product Viewed".to_owned() }
}

pub fn watched_name(n: u64) -> String {
    format!("Product Added {n:02}")
}

/// Its properties; one in twenty-five categories is wanted by each campaign, five of them in all.
pub fn properties(dice: u64) -> String {
    let category = dice / 400 % 25;
    let mut text = String::with_capacity(160);
    let _ = write!(
        text,
        r#"{{"product_id":"p-{dice}","sku":"SKU-{dice:06}","category":"category-{category:02}","name":"Walnut desk lamp","price":40.50,"currency":"EUR","quantity":1,"cart_id":"cart-{dice}"}}"#
    );
    text
}

/// All campaigns, one document each: (key, text).
pub fn campaigns() -> Vec<(String, String)> {
    (0..CAMPAIGNS)
        .map(|n| {
            let (key, name, category) = (format!("campaign_{n:03}"), watched_name(n % WATCHED_NAMES), n / WATCHED_NAMES);
            let text = format!(
                "kind: campaign\nkey: {key}\nname: Campaign {n}\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
                 purpose: transactional\nentry:\n  event: {name}\n  match: {{ properties: {{ category: [ category-{category:02} ] }} }}\n  \
                 reentry: always\nsend: {{ channel: email, template: cart_reminder }}\n"
            );
            (key, text)
        })
        .collect()
}

/// Whether one of the campaigns starts for this event.
pub fn is_matched(event: &Event) -> bool {
    let wanted = |n: u64| event.body.text().contains(&format!(r#""category-{n:02}""#));
    event.name != "Product Viewed" && (0..CAMPAIGNS / WATCHED_NAMES).any(wanted)
}

/// The trigger whose mail is timed from POST to DATA: (key, text).
pub fn receipt_campaign() -> (String, String) {
    let text = "kind: campaign\nkey: receipt\nname: Receipt\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
                purpose: transactional\nentry: { event: Order Completed, reentry: always, key: properties.order_id }\n\
                send: { channel: email, template: receipt }\n";
    ("receipt".to_owned(), text.to_owned())
}

/// The same event as the HTTP load posts, for loads that skip the door.
pub fn event(nonce: &str, n: u64, person: u64, dice: u64, at: Timestamp) -> Event {
    let (name, user) = (name_of(dice), user_id(person));
    let message_id = format!("ajs-{nonce}-{n:012}");
    let body = format!(
        r#"{{"type":"track","messageId":"{message_id}","userId":"{user}","event":"{name}","timestamp":"{at}","properties":{},"context":{{"ip":"203.0.113.7","userAgent":"Mozilla/5.0 (X11; Linux x86_64)","page":{{"url":"https://shop.test/p/{dice}"}}}}}}"#,
        properties(dice)
    );
    Event {
        id: EventId::derive(&[b"bench", message_id.as_bytes()]),
        kind: Kind::Track,
        name,
        message_id,
        version: 1,
        source: "shop".to_owned(),
        correlation_id: format!("bench-{n}"),
        trace: None,
        user_id: Some(user),
        anonymous_id: None,
        previous_id: None,
        at,
        received_at: at,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body),
    }
}
