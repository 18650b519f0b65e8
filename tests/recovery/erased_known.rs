//! What is kept with people beside what they said: worked-out traits, dates to come, lists and turns. All of it is in what a
//! person gets of themselves, goes when they are erased, and begins afresh when they come again.

use std::path::PathBuf;

use carillon::app::WORKSPACE;
use carillon::event::{Kind, Origin};
use carillon::ids::ProfileId;
use carillon::store::Rows;
use carillon::worker::lists::{Mode, upload};
use carillon::worker::personal_data::export;
use serde_json::{Value, json};

use super::BACKEND;
use super::erased::{erase, files_with, tables_with};
use crate::database::Place;
use crate::house::{START, Shop};

const BRAND: &str = "brand-canary-3";
const NICK: &str = "nick-canary-8";
/// Nobody else's birthday.
const BORN: &str = "1999-07-17";

fn campaign(key: &str, entry: &str) -> String {
    format!(
        "kind: campaign\nkey: {key}\nname: {key}\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\nentry: {entry}\ndelay: 60d\nsend: {{ channel: email, template: hello }}\n---\n"
    )
}

fn known() -> String {
    let segment = |key: &str, fields: &str| {
        format!("kind: segment\nkey: {key}\nname: {key}\nowner: crm@shop.example\n{fields}\n---\n")
    };
    [
        "kind: computed_trait\nkey: brand\ncompute: { most_frequent: properties.brand, over: Order Placed }\n---\n"
            .to_owned(),
        segment("fans", &format!("where: {{ trait: {{ brand: {BRAND} }} }}")),
        segment("staff", "static: true"),
        segment("lookers", "where: { performed: { event: Product Viewed, within: 30d } }"),
        campaign("renamed", "{ trait: nick }"),
        campaign("branded", "{ trait: brand }"),
        campaign("birthday", "{ date: { trait: born, yearly: true } }"),
        campaign("hello_staff", "{ segment: staff, on: entered, include_existing: { pace: 1/d } }"),
        campaign("hello_fans", "{ segment: fans, on: entered, include_existing: { pace: 1/d } }"),
    ]
    .concat()
    .trim_end_matches("---\n")
    .to_owned()
}

/// Orders of a brand, a nickname, a birthday, a place on a list, and turns to come behind somebody else's.
async fn somebody(shop: &Shop) -> ProfileId {
    for who in ["aaa", "zebedee"] {
        shop.identify(who, &format!(r#"{{"born":"{BORN}"}}"#)).await;
        let order = format!(r#"{{"properties":{{"brand":"{BRAND}","cart_id":"{who}"}}}}"#);
        shop.hear(who, Kind::Track, "Order Placed", &order).await;
        shop.hear(who, Kind::Track, "Product Viewed", "{}").await;
        shop.settle().await;
        shop.after(1).await;
    }
    shop.apply(&known()).await;
    shop.settle().await;
    shop.identify("zebedee", &format!(r#"{{"nick":"{NICK}"}}"#)).await;
    let named = ["aaa", "zebedee"].map(str::to_owned);
    upload(&shop.house.log, &shop.house.store, WORKSPACE, ("staff", Mode::Replace), &named).await.unwrap().unwrap();
    shop.settle().await;
    shop.house.store.workspace(WORKSPACE).profile_by_id("zebedee").await.unwrap().unwrap()
}

async fn count(shop: &Shop, sql: &str, profile: ProfileId) -> i64 {
    Rows(shop.house.store.reader()).scalar(sql, vec![profile.0.into()]).await.unwrap().unwrap()
}

async fn told(shop: &Shop, profile: ProfileId) -> Value {
    export(&shop.house.store, &shop.house.sandbox, WORKSPACE, profile, shop.clock.now()).await.unwrap()
}

#[tokio::test]
async fn what_is_kept_with_a_person_is_theirs_to_get_and_goes_with_them() {
    let place = Place::new(BACKEND).await;
    let shop = Shop::with(place.folder.path(), place.address(), START, None, None).await;
    shop.furnish().await;
    let profile = somebody(&shop).await;
    let data = told(&shop, profile).await;
    let known = &data["profile"];
    assert_eq!(known["computed_traits"]["brand"]["value"], BRAND, "{known:#}");
    assert!(known["dates"]["birthday"]["next"].is_array(), "{known:#}");
    assert!(known["lists"]["staff"].is_string(), "{known:#}");
    assert!(known["turns"]["hello_fans"].is_object() && known["turns"]["hello_staff"].is_object(), "{known:#}");
    for segment in ["fans", "staff", "lookers"] {
        assert!(data["segments"][segment]["in"].is_string(), "{segment}: {data:#}");
    }
    let names: Vec<&str> = data["events"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.contains(&"List Changed") && names.contains(&"Trait Changed"), "{names:?}");
    let waiting = "SELECT count(*) FROM inclusions WHERE profile = ?";
    let standing = "SELECT count(*) FROM segment_members WHERE profile = ?";
    assert_eq!((count(&shop, waiting, profile).await, count(&shop, standing, profile).await), (2, 3));
    for needle in [NICK, "zebedee"] {
        assert!(!tables_with(&shop.house.database, needle).await.is_empty(), "{needle} was stored before");
    }

    assert!(erase(&shop, profile).await.finished_at.is_some());
    for needle in [NICK, "zebedee"] {
        assert_eq!(tables_with(&shop.house.database, needle).await, Vec::<String>::new(), "{needle}");
        assert_eq!(files_with(place.folder.path(), needle), Vec::<PathBuf>::new(), "{needle}");
    }
    assert_eq!((count(&shop, waiting, profile).await, count(&shop, standing, profile).await), (0, 0));
    let timers =
        "SELECT count(*) FROM profiles WHERE id = ? AND (wake_at IS NOT NULL OR remembered <> '' OR segments <> '')";
    assert_eq!(count(&shop, timers, profile).await, 0, "no timer, nothing kept");
    let own = "SELECT count(*) FROM entries WHERE profile = ?";
    let before = count(&shop, own, profile).await;
    // Their birthday, the days of their turns and another definition pass, and they are in none of it.
    let quiet = "kind: segment\nkey: quiet\nname: Quiet\nowner: crm@shop.example\n\
        where: { not: { performed: { event: Order Placed } } }\n";
    shop.apply(quiet).await;
    shop.after(400 * 24 * 60).await;
    assert_eq!(count(&shop, own, profile).await, before, "nothing happens to them any more");
    assert_eq!((count(&shop, waiting, profile).await, count(&shop, standing, profile).await), (0, 0));
    assert!(!shop.house.store.workspace(WORKSPACE).segment_sizes().await.unwrap().contains_key("quiet"));
}

#[tokio::test]
async fn whoever_comes_again_after_an_erasure_begins_afresh() {
    let place = Place::new(BACKEND).await;
    let shop = Shop::with(place.folder.path(), place.address(), START, None, None).await;
    shop.furnish().await;
    let profile = somebody(&shop).await;
    erase(&shop, profile).await;
    let order = r#"{"properties":{"brand":"another","cart_id":"c9"}}"#;
    let import = Origin::Import { file: "orders.csv".to_owned(), row: 1 };
    shop.import("zebedee", "Order Placed", order, import).await;
    shop.settle().await;
    let db = shop.house.store.workspace(WORKSPACE);
    let again = db.profile_by_id("zebedee").await.unwrap().unwrap();
    assert_ne!(again, profile);
    let known = told(&shop, again).await["profile"].clone();
    assert_eq!(known["computed_traits"]["brand"]["value"], "another");
    assert_eq!((&known["lists"], &known["turns"]), (&json!({}), &json!({})), "{known:#}");
    assert_eq!(known["dates"], json!({}), "{known:#}");
    let walks = db.enrollments_of(again, None, 9).await.unwrap();
    let begun: Vec<&str> = walks.iter().map(|one| one.campaign.as_str()).collect();
    assert_eq!(begun, ["receipt"], "the order itself is recent; what it made of them starts nothing");
}
