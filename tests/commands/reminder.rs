//! A reminder for each item left in a cart, with its caps, its policy and its template, for tests of what becomes of it.

use serde_json::Value;

use crate::program::Folder;

/// A purchase of that item ends it.
pub const CAMPAIGN: &str = "\
kind: campaign
key: item_reminder
name: Item reminder
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.product_id }
delay: 1h
exit: [ { event: Order Completed, same: properties.product_id } ]
send: { channel: email, template: item_reminder }
";

pub const SHARED: &str = "\
kind: caps
rules: [ { at_most: 2, per: 1d } ]
---
kind: consent_policy
rules: [ { channel: email, unknown: blocked } ]
";

/// All of it, written to `defs`.
pub fn written(folder: &Folder) {
    folder.write("defs/reminder.yaml", CAMPAIGN);
    folder.write("defs/shared.yaml", SHARED);
    let template = "kind: template\nsample: { event: { properties: { product_id: p1 } } }\n";
    folder.write("defs/item_reminder/template.yaml", template);
    folder.write("defs/item_reminder/subject", "Item {{event.properties.product_id}} waits for you");
    folder.write(
        "defs/item_reminder/email.html",
        "<p>Item {{event.properties.product_id}}</p><a href=\"{{links.unsubscribe}}\">Unsubscribe</a>",
    );
}

pub fn defs(folder: &Folder) -> String {
    folder.path("defs").display().to_string()
}

/// A line of a file of calls: the `n`th, so many seconds after the first of September 2026 began, within two months.
pub fn line_of(n: usize, seconds: u64, mut call: Value) -> String {
    call["messageId"] = format!("call-{n}").into();
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (month, day) = if day < 30 { (9, day + 1) } else { (10, day - 29) };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    call["timestamp"] = format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").into();
    format!("{call}\n")
}
