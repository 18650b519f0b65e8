//! Clicks and opens of real mails over real HTTP: heard of, led on, and machines told apart.

use serde_json::{Value, json};

use crate::house::House;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const DEFINITIONS: &str = "
kind: template
key: receipt
email: { subject: Thanks, html: '<body><a href=\"https://shop.example/o?a=1&amp;b={{event.properties.order_id}}\">Your order</a></body>' }
---
kind: template
key: plain
track: { clicks: false, opens: false }
email: { subject: More, html: '<body><a href=\"https://shop.example/more\">More</a></body>' }
---
kind: campaign
key: receipt
name: Receipt
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Order Completed, key: properties.order_id }
send: { channel: email, template: receipt }
---
kind: campaign
key: follow_up
name: Follow up
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Email Link Clicked, match: { properties: { campaign: [ receipt ] } }, key: properties.message }
send: { channel: email, template: plain }
";

impl House {
    async fn define(&self, text: &str) -> crate::house::Answer {
        self.post("/api/v1/definitions", json!({ "files": [ { "name": "all.yaml", "text": text } ] })).await
    }

    async fn html(&self, campaign: &str) -> String {
        let inbox = self.get("/api/v1/inbox").await.ok();
        let mail = inbox["messages"].as_array().unwrap().iter().find(|mail| mail["campaign"] == campaign).unwrap();
        self.get(&format!("/inbox/{}/html", mail["message"].as_str().unwrap())).await.text
    }

    async fn follow(&self, method: &str, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let request = self.request(method, path).header("user-agent", FIREFOX).build().unwrap();
        let answer = client.execute(request).await.unwrap();
        let location = answer.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location.unwrap_or_default())
    }

    async fn follow_ups(&self) -> usize {
        self.listed("profile=ann&campaign=follow_up").await.len()
    }
}

/// The path behind the first address of this kind in a mail.
fn path_in(html: &str, kind: &str) -> String {
    let start = html.find(&format!("http://shop.example/{kind}/")).unwrap_or_else(|| panic!("no /{kind}/ in {html}"));
    html[start + "http://shop.example".len()..].chars().take_while(|c| *c != '"').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_by_hand_starts_what_waits_for_it_and_a_scanners_does_not() {
    let house = House::new().await;
    house.define(DEFINITIONS).await.ok();
    let key = house.key().await;
    house.meet_ann(&key).await;
    let order = json!({ "userId": "ann", "messageId": "o1", "event": "Order Completed",
        "properties": { "order_id": "o1" } });
    house.send(&key, "track", order).await;
    house.forward("1s").await;
    let html = house.html("receipt").await;
    let (click, open) = (path_in(&html, "c"), path_in(&html, "o"));

    // A scanner, a moment after delivery; then one that only asks.
    assert_eq!(house.follow("GET", &open).await.0, 200);
    assert_eq!(house.follow("GET", &click).await, (302, "https://shop.example/o?a=1&b=o1".to_owned()));
    house.forward("1h").await;
    assert_eq!(house.follow("HEAD", &click).await.0, 302);
    house.forward("1m").await;
    assert_eq!(house.follow_ups().await, 0, "machines start nothing");
    let told = house.get("/api/v1/doctor").await;
    assert_eq!(told.status, 200, "{told:?}");

    // Ann.
    assert_eq!(house.follow("GET", &click).await.0, 302);
    assert_eq!(house.follow_ups().await, 0, "what comes beside it is waited for");
    house.forward("10s").await;
    assert_eq!(house.follow_ups().await, 1);
    let plain = house.html("follow_up").await;
    assert!(plain.contains("href=\"https://shop.example/more\"") && !plain.contains("<img"), "{plain}");

    let sent = &house.listed("profile=ann&campaign=receipt").await[0];
    let shown = house.get(&format!("/api/v1/messages/{}", sent["id"].as_str().unwrap())).await.ok();
    let hits: Vec<_> = shown["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["what"].as_str().unwrap(), it["machine"].as_str()))
        .collect();
    let machines = [("click", Some("head")), ("click", Some("too_soon")), ("open", Some("too_soon"))];
    assert_eq!(hits[0], ("click", None), "{shown}");
    assert!(machines.iter().all(|it| hits.contains(it)) && hits.len() == 4, "both are shown: {hits:?}");
    let altered = click.replace("/c/", "/c/A");
    assert_eq!(house.follow("GET", &altered).await.0, 404);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_alone_may_start_nothing() {
    let house = House::new().await;
    let answer = house.define(&DEFINITIONS.replace("Email Link Clicked", "Email Opened")).await;
    assert!(answer.status == 422 || answer.status == 400, "{answer:?}");
    let told: Value = serde_json::from_str(&answer.text).unwrap();
    assert!(told.to_string().contains("mail programs open by themselves"), "{told}");
    house.close().await;
}
