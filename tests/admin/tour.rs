//! The README's tour, by its routes: a cart is reminded of, a bought one is not, and the fourth in a day is capped.

use serde_json::{Value, json};

use crate::house::House;

fn column<'v>(rows: &'v [Value], name: &str) -> Vec<&'v str> {
    rows.iter().map(|row| row[name].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsubscribe_is_shown_where_it_kept_a_message_back() {
    unsubscribed(("channel", "email"), "consent_denied", "email denied", "consent for email is denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_the_leaving_of_a_topic_and_it_is_her_own_doing() {
    let kept = "this person is not subscribed to cart_reminders";
    unsubscribed(("topic", "cart_reminders"), "topic_unsubscribed", "topic cart_reminders denied", kept).await;
}

async fn unsubscribed((of, name): (&str, &str), reason: &str, denied: &str, kept: &str) {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1m").await;
    assert!(!house.explain().await.contains("Consent Changed"), "it stopped nothing");
    let off = serde_json::json!({ "userId": "ann", "messageId": "off", "event": "Consent Changed",
        "properties": { of: name, "state": "denied", "source": "unsubscribe link" } });
    house.send(&key, "track", off).await;
    house.forward("1h").await;
    let stopped = &house.listed(&format!("profile=ann&reason={reason}")).await[0];
    for question in
        ["profile=ann&campaign=cart_reminder".to_owned(), format!("message={}", stopped["id"].as_str().unwrap())]
    {
        let told = house.get(&format!("/api/v1/explain?{question}")).await.ok();
        let text = told["text"].as_str().unwrap();
        let (denied, kept) = (text.find(&format!("Consent Changed: {denied}")), text.find(kept));
        assert!(denied.is_some() && denied < kept, "{text}");
        assert_eq!(text.matches("Consent Changed").count(), 1, "the consent given before is not the reason: {text}");
    }
    let told = house.get("/api/v1/explain?profile=ann").await.ok();
    let all = told["text"].as_str().unwrap();
    assert!(all.contains("Identified received") && all.matches("Consent Changed").count() == 2, "all she did: {all}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_can_be_taken_and_every_step_is_explained() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1h").await;
    let inbox = house.get("/api/v1/inbox").await.ok();
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1, "{inbox}");
    let first = &house.listed("profile=ann&campaign=cart_reminder").await[0];
    assert_eq!(
        (&first["status"], &first["address"], &first["user_id"]),
        (&"sent".into(), &"a***@example.com".into(), &"ann".into())
    );
    let text = house.explain().await;
    for part in [
        "Product Added received",
        "entered cart_reminder@v1 with key c1",
        "queued email cart_reminder",
        "rendered email cart_reminder from template cart_reminder version 1",
        "sent email cart_reminder to a***@example.com at 2026-03-01T11:00",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }

    house.put_in_cart(&key, "c2").await;
    house
        .send(
            &key,
            "track",
            serde_json::json!({ "userId": "ann", "messageId": "o1", "event": "Order Completed",
            "properties": { "order_id": "o1", "revenue": 40, "currency": "EUR" } }),
        )
        .await;
    house.forward("1h").await;
    assert_eq!(house.listed("profile=ann&campaign=cart_reminder").await.len(), 1);
    let text = house.explain().await;
    assert!(text.contains("exited: Order Completed at 2026-03-01T11:00"), "{text}");

    for cart in ["c3", "c4", "c5"] {
        house.put_in_cart(&key, cart).await;
    }
    house.forward("1h").await;
    assert_eq!(house.listed("profile=ann&status=sent").await.len(), 3);
    let capped = house.listed("profile=ann&reason=capped").await;
    assert_eq!(capped.len(), 1);
    let reason = &capped[0]["reason"];
    assert_eq!(reason["operands"]["by"].as_array().unwrap().len(), 3);
    let text = house.explain().await;
    let line = text.lines().find(|line| line.contains("capped by")).unwrap_or_else(|| panic!("{text}"));
    for cart in ["cart_reminder c1", "cart_reminder c3", "cart_reminder c4"] {
        assert!(line.contains(cart), "{cart} is not in {line}");
        assert!(reason["sentence"].as_str().unwrap().contains(cart));
    }
    assert!(line.contains("a slot frees at 2026-03-02T11:00"), "{line}");
    the_caps_show_what_filled_them(&house).await;
    the_books_balance(&house).await;
    a_message_and_an_event_tell_their_path(&house).await;
    house.close().await;
}

async fn the_caps_show_what_filled_them(house: &House) {
    let caps = house.get("/api/v1/caps?profile=ann").await.ok();
    let names: Vec<&str> = column(caps["subjects"].as_array().unwrap(), "subject");
    assert_eq!(names, ["person", "email a***@example.com"]);
    for subject in caps["subjects"].as_array().unwrap() {
        let rule = &subject["rules"][0];
        assert_eq!((&rule["used"], &rule["at_most"]), (&3.into(), &3.into()), "{caps}");
        let mut keys = column(rule["by"].as_array().unwrap(), "key");
        keys.sort_unstable();
        assert_eq!(keys, ["c1", "c3", "c4"], "two took their slots in the same instant");
        assert_eq!(rule["by"][0]["frees_at"], "2026-03-02T11:00:00Z");
    }
    // The page of the person has them, too.
    let page = house.page("/caps?profile=ann").await;
    for part in ["<h1>ann", "3 of 3", "cart_reminder c1", "2026-03-02T11:00:00Z"] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert_eq!(house.get("/api/v1/caps?profile=nobody").await.problem().0, 404);
    assert_eq!(house.get("/api/v1/caps").await.problem().0, 400);
}

async fn the_books_balance(house: &House) {
    let books = house.get("/api/v1/accounting").await.ok();
    assert_eq!(books["imbalances"], serde_json::json!([]), "{books}");
    assert_eq!(books["events"]["accepted"], 7);
    assert_eq!(books["messages"]["by_status"], serde_json::json!({ "sent": 3, "suppressed": 1 }));
    let doctor = house.get("/api/v1/doctor").await.ok();
    assert_eq!(doctor["ok"], true, "{doctor}");
}

async fn a_message_and_an_event_tell_their_path(house: &House) {
    let capped = &house.listed("reason=capped").await[0];
    let id = capped["id"].as_str().unwrap();
    let path = house.get(&format!("/api/v1/messages/{id}")).await.ok();
    assert_eq!(path["cause_event"]["body"]["properties"]["cart_id"], "c5");
    assert_eq!(path["enrollment_state"]["key"], "c5");
    assert_eq!(column(path["states"].as_array().unwrap(), "status"), ["queued", "suppressed"]);
    let told = house.get(&format!("/api/v1/explain?message={id}")).await.ok();
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("key c5") && text.contains("capped by") && !text.contains("key c4"), "{text}");

    let position = path["cause_event"]["position"].as_i64().unwrap();
    for asked in [position.to_string(), "add-c5".to_owned(), path["cause_event"]["id"].as_str().unwrap().to_owned()] {
        let event = house.get(&format!("/api/v1/events/{asked}")).await.ok();
        assert_eq!(event["position"], position);
        assert_eq!((&event["processed"], &event["messages"][0]["id"]), (&true.into(), &id.into()));
        assert_eq!(event["findings"][0]["found"], "entered");
    }
    let told = house.get(&format!("/api/v1/explain?event={position}")).await.ok();
    assert!(told["text"].as_str().unwrap().contains("capped by"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_in_pages_with_the_client_s_own_json() {
    let house = House::furnished().await;
    let key = house.key().await;
    for cart in ["c1", "c2", "c3"] {
        house.put_in_cart(&key, cart).await;
    }
    let (mut after, mut carts) = (serde_json::json!(0), Vec::new());
    while !after.is_null() {
        let page = house.get(&format!("/api/v1/events?after={after}&limit=2")).await.ok();
        for event in page["events"].as_array().unwrap() {
            assert_eq!((&event["type"], &event["name"]), (&"track".into(), &"Product Added".into()));
            carts.push(event["body"]["properties"]["cart_id"].as_str().unwrap().to_owned());
        }
        after = page["next"].clone();
    }
    assert_eq!(carts, ["c1", "c2", "c3"]);
    let profile = house.get("/api/v1/profiles/ann").await.ok();
    assert_eq!(profile["user_ids"], serde_json::json!(["ann"]));
    house.meet_ann(&key).await;
    house.forward("1s").await;
    let profile = house.get("/api/v1/profiles/ann").await.ok();
    assert_eq!((&profile["traits"]["first_name"], &profile["is_behind"]), (&"Ann".into(), &false.into()));
    assert_eq!(profile["consent"]["email"]["state"], "granted");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_before_the_login_is_found_under_every_id() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    let added = json!({ "anonymousId": "device-1", "messageId": "before", "event": "Product Added",
        "properties": { "cart_id": "c1", "product_id": "p1", "name": "Kettle", "price": 40, "currency": "EUR" } });
    house.send(&key, "track", added).await;
    house.forward("1s").await;
    let before = house.get("/api/v1/profiles/device-1").await.ok()["id"].clone();
    house.send(&key, "identify", json!({ "userId": "ann", "anonymousId": "device-1", "messageId": "login" })).await;
    house.send(&key, "alias", json!({ "previousId": "ann", "userId": "anna", "messageId": "rename" })).await;
    house.forward("1h").await;
    for asked in ["ann", "anna", "device-1", &format!("profile:{before}")] {
        let profile = house.get(&format!("/api/v1/profiles/{asked}")).await.ok();
        assert_ne!(profile["id"], before);
        assert_eq!((&profile["user_id"], &profile["traits"]["first_name"]), (&"anna".into(), &"Ann".into()));
        let listed = house.listed(&format!("profile={asked}")).await;
        assert_eq!(column(&listed, "status"), ["sent"], "{asked}");
        let told = house.get(&format!("/api/v1/explain?profile={asked}")).await.ok();
        let text = told["text"].as_str().unwrap();
        for part in [
            &format!("profile {before} (anonymous) is the same person: 1 event, 1 active enrollment came with it"),
            "Product Added received",
            "sent email cart_reminder",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
    let event = house.get("/api/v1/events/before").await.ok();
    assert_eq!(event["messages"].as_array().unwrap().len(), 1, "what the device did led to her message");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fits_no_pattern_is_explained_by_the_version_of_its_time() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    let campaign = |wanted: u32| {
        let text = format!(
            "kind: campaign\nkey: dear\nname: Dear\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
             purpose: marketing\nsend: {{ channel: email, template: cart_reminder }}\n\
             entry: {{ event: Product Added, match: {{ properties: {{ price: [ {{ numeric: [ '>=', {wanted} ] }} ] }} }} }}\n"
        );
        json!({ "files": [ { "name": "dear.yaml", "text": text } ] })
    };
    house.post("/api/v1/definitions", campaign(100)).await.ok();
    house.put_in_cart(&key, "c1").await;
    house.forward("1m").await;
    house.post("/api/v1/definitions", campaign(200)).await.ok();
    house.put_in_cart(&key, "c2").await;
    house.forward("1m").await;
    let told = house.get("/api/v1/explain?profile=ann&campaign=dear").await.ok();
    let text = told["text"].as_str().unwrap();
    let wanted = "did not enter dear@v1: the event pattern did not match: properties.price is 40, wanted >= 100";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("did not enter dear@v2: the event pattern did not match"), "{text}");
    assert_eq!(text.matches("Product Added received").count(), 2, "{text}");
    let event = house.get("/api/v1/events/add-c1").await.ok();
    let found: Vec<(&Value, &Value)> =
        event["findings"].as_array().unwrap().iter().map(|one| (&one["campaign"], &one["version"])).collect();
    assert!(found.contains(&(&"dear".into(), &1.into())), "{event}");
    house.close().await;
}
