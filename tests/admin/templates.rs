//! What is told of templates when they are applied, beside what really happened.

use serde_json::{Value, json};

use crate::house::House;

const RECEIPT: &str = "
kind: template
key: receipt
sample: { event: { properties: { order_id: o1, gift: card } } }
email:
  subject: Thanks
  html: '<a href=\"/orders\">Your order {{event.properties.order_id}}</a><img src=\"https://shop.example/x.png\"> {{event.properties.gift}} {{profile.traits.size}}'
defaults: { profile.traits.size: M }
---
kind: campaign
key: receipt
name: Receipt
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Order Completed, match: { properties: { total: [ { numeric: [ \">\", 5 ] } ] } }, key: properties.order_id }
send: { channel: email, template: receipt }
";

impl House {
    async fn warned(&self, text: &str) -> Vec<String> {
        let files = json!({ "files": [ { "name": "all.yaml", "text": text } ] });
        let applied: Value = self.post("/api/v1/definitions", files).await.ok();
        applied["warnings"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_in_events_that_came_is_told_before_messages_fail_of_it() {
    let house = House::new().await;
    let first = house.warned(RECEIPT).await;
    let says = |told: &[String], what: &str| told.iter().any(|it| it.contains(what));
    assert!(says(&first, "template receipt: the link `/orders` works on no page but one's own"), "{first:?}");
    assert!(says(&first, "has no `alt`") && says(&first, "no preheader"), "{first:?}");
    assert!(says(&first, "{{links.unsubscribe}}"), "marketing mail must show the way out: {first:?}");
    assert!(!says(&first, "would fail"), "nothing has happened yet: {first:?}");

    let key = house.key().await;
    house.meet_ann(&key).await;
    let differences = [json!({ "gift": "card" }), json!({ "gift": null }), json!({}), json!({ "total": 1 })];
    for (n, more) in differences.iter().enumerate() {
        let mut properties = json!({ "order_id": format!("o{n}"), "total": 9 });
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let id = format!("o{n}");
        let call = json!({ "userId": "ann", "messageId": id, "event": "Order Completed", "properties": properties });
        house.send(&key, "track", call).await;
    }
    house.forward("1s").await;
    let told = house.warned(&RECEIPT.replace("Thanks", "Thank you")).await;
    let expected = "template receipt: `event.properties.gift` (email.html, line 1, column 102) is missing and has no \
                    default in 2 of the newest 3 `Order Completed` events that fit receipt; such messages would fail";
    assert!(told.contains(&expected.to_owned()), "{told:#?}");
    assert!(!says(&told, "profile.traits.size"), "{told:?}");
    let good = RECEIPT.replace("size: M }", "size: M, event.properties.gift: none }");
    assert!(!says(&house.warned(&good).await, "would fail"));
    house.close().await;
}
