//! The switches work at once: keys, pauses, redriving, and a test message.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::house::{House, Moody, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_when_it_is_shown_and_not_after_it_is_revoked() {
    let house = House::new().await;
    let made = house.post("/api/v1/keys", json!({ "source": "web", "name": "the shop" })).await.ok();
    let key = made["key"].as_str().unwrap();
    let call = json!({ "userId": "ann", "event": "Seen" });
    house.send(key, "track", call.clone()).await;
    let listed = house.get("/api/v1/keys").await;
    assert!(!listed.text.contains(key), "{listed:?}");
    assert_eq!(listed.ok()["keys"][0]["prefix"], made["prefix"]);
    let id = made["id"].as_str().unwrap();
    house.ask(house.request("DELETE", &format!("/api/v1/keys/{id}")).bearer_auth(TOKEN)).await.ok();
    let refused = house.request("POST", "/v1/track").basic_auth(key, Some("")).body(call.to_string());
    assert_eq!(house.ask(refused).await.problem(), (401, "unknown_write_key".to_owned()));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pause_holds_goes_out_after_it() {
    for scope in ["all", "cart_reminder"] {
        let house = House::furnished().await;
        let key = house.key().await;
        house.meet_ann(&key).await;
        house.put_in_cart(&key, "c1").await;
        let paused = house.post("/api/v1/pause", json!({ "scope": scope })).await.ok();
        assert_eq!(paused["pauses"], json!([scope]));
        assert_eq!(house.get("/api/v1/pauses").await.ok()["pauses"], json!([scope]));
        house.forward("61m").await;
        assert_eq!(house.listed("status=deferred").await.len(), 1);
        house.post("/api/v1/resume", json!({ "scope": scope })).await.ok();
        house.forward("1m").await;
        let text = house.explain().await;
        assert_eq!(house.listed("status=sent").await.len(), 1, "{scope}: {text}");
        assert!(text.contains("is paused"), "{scope}: {text}");
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_go_out_when_they_are_redriven() {
    let moody = Arc::new(Moody::default());
    let house = House::with(Some(moody.clone())).await;
    house.furnish().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    for cart in ["c1", "c2"] {
        house.put_in_cart(&key, cart).await;
    }
    house.forward("1h").await;
    let failed = house.listed("status=failed&reason=provider_refused").await;
    assert_eq!(failed.len(), 2);
    moody.0.store(true, Ordering::SeqCst);
    let one = format!("/api/v1/messages/{}/redrive", failed[0]["id"].as_str().unwrap());
    house.post(&one, json!({})).await.ok();
    let rest = house.post("/api/v1/messages/redrive", json!({ "reason": "provider_refused" })).await.ok();
    assert_eq!(rest["more"], false);
    house.forward("1m").await;
    assert_eq!(house.listed("status=sent").await.len(), 2);
    let again = house.post(&one, json!({})).await;
    assert_eq!(again.problem(), (409, "not_a_dead_letter".to_owned()));
    // Every attempt has its own number, and none took another's place.
    let path = house.get(&format!("/api/v1/messages/{}", failed[0]["id"].as_str().unwrap())).await.ok();
    let attempts: Vec<_> = path["tries"].as_array().unwrap().iter().map(|one| one["attempt"].as_u64()).collect();
    assert_eq!(attempts, [Some(1), Some(2)], "{path:#}");
    assert!(path["tries"][0]["outcome"].to_string().contains("550 no such mailbox"), "{path:#}");
    let text = house.explain().await;
    assert!(text.contains("attempt 1 began") && text.contains("attempt 2 began"), "{text}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_arrives_and_stands_in_no_book() {
    let house = House::furnished().await;
    let order = json!({ "template": "cart_reminder", "channel": "email", "to": "me@shop.example" });
    let sent = house.post("/api/v1/send-test", order.clone()).await.ok();
    assert_eq!(sent["outcome"], "accepted", "{sent}");
    let inbox = house.get("/api/v1/inbox").await.ok();
    assert_eq!(
        (&inbox["messages"][0]["message"], &inbox["messages"][0]["to"]),
        (&sent["message"], &"me@shop.example".into())
    );
    assert_eq!(house.listed("").await, Vec::<Value>::new());
    house.post("/api/v1/pause", json!({ "scope": "all" })).await.ok();
    assert_eq!(house.post("/api/v1/send-test", order).await.problem(), (422, "test_not_sent".to_owned()));
    house.close().await;
}
