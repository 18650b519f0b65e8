//! A reminder for each item left in a cart, with its caps, its policy and its template, for tests of what becomes of it.

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
