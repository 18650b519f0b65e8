//! Whom a text means. Shops number their customers, and so do we: the two must never be taken for one another.

use serde_json::json;

use crate::house::House;

const WHY: &str = "asked by letter";

/// A shop that numbers its customers: number 2 is called 7, and whoever we number 7 is called something else.
async fn numbered() -> House {
    let house = House::furnished().await;
    let key = house.key().await;
    for who in ["one", "7", "three", "four", "five", "six", "dora"] {
        let traits = json!({ "email": format!("{who}@example.com") });
        house.send(&key, "identify", json!({ "userId": who, "messageId": who, "traits": traits })).await;
    }
    house.forward("1s").await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_the_shops_own_name_for_a_customer_and_never_ours() {
    let house = numbered().await;
    let dora = house.get("/api/v1/profiles/dora").await.ok()["id"].as_i64().unwrap();
    assert_eq!(dora, 7, "our number for her is another's name");
    assert_eq!(house.get("/api/v1/profiles/7").await.ok()["user_id"], "7");
    let (at, erase) = ("/api/v1/profiles/7", json!({ "by": "desk", "reason": WHY }));
    house.post(&format!("{at}/erase"), erase.clone()).await.ok();
    // Who asks again is told that nobody is called so any more.
    for refused in [
        house.post(&format!("{at}/erase"), erase).await,
        house.post(&format!("{at}/consent"), json!({ "channel": "email", "state": "granted" })).await,
        house.get(&format!("{at}/export")).await,
        house.get(&format!("{at}/consent")).await,
        house.get(at).await,
        house.get("/api/v1/explain?profile=7").await,
        house.get("/api/v1/caps?profile=7").await,
        house.get("/api/v1/messages?profile=7").await,
    ] {
        assert_eq!(refused.problem(), (404, "unknown_profile".to_owned()), "{refused:?}");
        assert!(refused.text.contains("profile:17"), "it says how numbers are written: {}", refused.text);
    }
    assert_eq!(house.ask(house.request("GET", "/customers/7")).await.status, 404);
    assert_eq!(house.get("/api/v1/profiles/dora").await.ok()["traits"]["email"], "dora@example.com");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_our_number_somebody_is_found_in_one_way_of_writing_it() {
    let house = numbered().await;
    for asked in ["profile:7", "profile%3A7"] {
        assert_eq!(house.get(&format!("/api/v1/profiles/{asked}")).await.ok()["user_id"], "dora", "{asked}");
        assert!(house.page(&format!("/customers/{asked}")).await.contains("dora@example.com"), "{asked}");
    }
    for asked in ["profile:07", "profile:+7", "profile:", "profile:8", "Profile:7", "profile:%207"] {
        let refused = house.get(&format!("/api/v1/profiles/{asked}")).await;
        assert_eq!(refused.problem(), (404, "unknown_profile".to_owned()), "{asked}");
    }
    let found = house.get("/api/v1/profiles?q=profile:7").await.ok();
    assert_eq!(found["profiles"][0]["user_id"], "dora", "{found}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_themselves_as_another_is_numbered_gets_nobody_erased() {
    let house = numbered().await;
    let key = house.key().await;
    house.send(&key, "identify", json!({ "userId": "profile:7", "messageId": "sly" })).await;
    house.forward("1s").await;
    let asked = house.post("/api/v1/profiles/profile:7/erase", json!({ "by": "desk", "reason": WHY })).await;
    assert_eq!(asked.problem(), (400, "invalid_parameter".to_owned()));
    assert!(
        asked.text.contains("the number of one profile and an id of another, which is profile:8"),
        "{}",
        asked.text
    );
    assert_eq!(house.get("/api/v1/profiles/profile:8").await.ok()["user_id"], "profile:7");
    house.close().await;
}
