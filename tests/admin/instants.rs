//! Where somebody stood with a campaign at an instant of the past: by what was in force and known then, not now.

use std::collections::BTreeSet;

use carillon::worker::explain::instant::Standing;
use serde_json::{Value, json};

use crate::house::House;

const CAMPAIGN: &str = "undecided";

fn campaign(condition: &str) -> Value {
    let text = format!(
        "kind: campaign\nkey: {CAMPAIGN}\nname: Undecided\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
         purpose: marketing\ndelay: 1h\nsend: {{ channel: email, template: cart_reminder }}\n\
         exit: [ {{ event: Order Completed }}, {{ trait: {{ plan: stopped }} }} ]\n\
         entry: {{ event: Product Viewed, where: {condition} }}\n"
    );
    json!({ "files": [ { "name": "undecided.yaml", "text": text } ] })
}

const TWICE: &str = "{ all: [ { performed: { event: Product Viewed, where: { properties.product_id: p1 }, \
                     at_least: 2, within: 1d } }, { trait: { plan: pro } } ] }";

impl House {
    async fn viewed(&self, key: &str, n: u32) {
        let body = json!({ "userId": "ann", "messageId": format!("view-{n}"), "event": "Product Viewed",
            "properties": { "product_id": "p1", "name": "Lamp", "price": 40, "currency": "EUR" } });
        self.send(key, "track", body).await;
        self.forward("1m").await;
    }

    async fn plan(&self, key: &str, plan: &str) {
        let body = json!({ "userId": "ann", "messageId": format!("plan-{plan}"), "traits": { "plan": plan } });
        self.send(key, "identify", body).await;
        self.forward("1m").await;
    }

    /// What is answered for an instant, or for now.
    async fn instant(&self, at: Option<&str>, campaign: &str) -> Value {
        let when = at.map_or("now=true".to_owned(), |at| format!("at={at}"));
        self.get(&format!("/api/v1/explain/instant?profile=ann&campaign={campaign}&{when}")).await.ok()
    }
}

fn code(told: &Value) -> &str {
    told["answer"]["code"].as_str().unwrap()
}

fn leaf<'t>(tree: &'t Value, condition: &str) -> &'t Value {
    fn find<'t>(node: &'t Value, condition: &str) -> Option<&'t Value> {
        if node["condition"] == condition {
            return Some(node);
        }
        node["children"].as_array()?.iter().find_map(|child| find(child, condition))
    }
    find(tree, condition).unwrap_or_else(|| panic!("{condition} is not in {tree:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instant_is_answered_by_what_held_then() {
    // From 10:00 on, a minute a step.
    let house = House::furnished().await;
    let key = house.key().await;
    house.forward("1m").await;
    house.meet_ann(&key).await;
    house.post("/api/v1/definitions", campaign(TWICE)).await.ok();
    house.forward("1m").await;
    house.plan(&key, "free").await;
    house.viewed(&key, 1).await; // 10:03
    house.plan(&key, "pro").await; // 10:04
    house.viewed(&key, 2).await; // 10:05: begins
    house.post("/api/v1/definitions", campaign("{ trait: { plan: gold } }")).await.ok();
    house.forward("2h").await;

    assert_eq!(code(&house.instant(Some("2026-03-01T10:00:30Z"), CAMPAIGN).await), "campaign_unknown");
    let before = house.instant(Some("2026-03-01T10:02:30Z"), CAMPAIGN).await;
    assert_eq!(code(&before), "nothing_to_begin_with", "{before:#}");
    assert_eq!(before["answer"]["change"], "one more Product Viewed");

    let refused = house.instant(Some("2026-03-01T10:04:30Z"), CAMPAIGN).await;
    assert_eq!((code(&refused), &refused["versions"]["campaign"]), ("condition_not_met", &json!(1)), "{refused:#}");
    let event = &refused["events"][0];
    assert_eq!(
        (&event["name"], &event["apart"], &event["entered"]),
        (&json!("Product Viewed"), &json!(2), &json!(false))
    );
    assert!(event["recorded"].as_str().unwrap().contains("did not enter undecided@v1"), "{event:#}");
    let seen = leaf(&event["tree"], "performed Product Viewed");
    assert_eq!((&seen["values"]["seen"], &seen["values"]["wanted"]), (&json!(1), &json!("at least 2")));
    assert_eq!(seen["values"]["from"], "2026-02-28T10:03:00Z");
    assert_eq!(seen["change"], "one more Product Viewed with properties.product_id `p1` before 2026-03-02T10:03:00Z");
    let plan = leaf(&event["tree"], "trait plan");
    assert_eq!(
        (&plan["values"]["is"], &plan["change"]),
        (&json!("free"), &json!("trait plan is `free`, wanted: `pro`"))
    );

    let waits = house.instant(Some("2026-03-01T10:30:00Z"), CAMPAIGN).await;
    assert_eq!(code(&waits), "waiting", "{waits:#}");
    assert_eq!(waits["enrollments"][0]["until"], "2026-03-01T11:05:00Z");
    assert_eq!(waits["enrollments"][0]["exits"][1]["tree"]["values"]["is"], "pro", "{waits:#}");
    assert!(waits["events"][0]["entered"].as_bool().unwrap(), "{waits:#}");

    let sent = house.instant(Some("2026-03-01T12:00:00Z"), CAMPAIGN).await;
    assert_eq!(code(&sent), "sent", "{sent:#}");
    assert_eq!((&sent["versions"]["campaign"], &sent["enrollments"][0]["version"]), (&json!(2), &json!(1)));
    assert!(sent["text"].as_str().unwrap().contains("✓ Consent for the channel: granted"), "{}", sent["text"]);

    let afresh = house.instant(None, CAMPAIGN).await;
    assert_eq!((code(&afresh), &afresh["how"]), ("condition_not_met", &json!("afresh")), "{afresh:#}");
    assert_eq!(afresh["answer"]["change"], "trait plan is `pro`, wanted: `gold`");
    assert!(afresh["text"].as_str().unwrap().contains("evaluated afresh by the present definitions"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_who_turn_out_to_be_one_were_two_before() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.post("/api/v1/definitions", campaign(TWICE)).await.ok();
    let device = json!({ "anonymousId": "device", "messageId": "d1", "event": "Product Viewed",
        "properties": { "product_id": "p1" } });
    house.send(&key, "track", device).await;
    house.forward("1m").await;
    house.meet_ann(&key).await;
    house.plan(&key, "pro").await;
    house.viewed(&key, 1).await; // 10:02: one view of her own
    let login = json!({ "userId": "ann", "anonymousId": "device", "messageId": "login" });
    house.send(&key, "identify", login).await;
    house.forward("1m").await;
    house.viewed(&key, 2).await; // 10:04: three of the one person
    house.forward("10m").await;
    let seen =
        |told: &Value, n: usize| leaf(&told["events"][n]["tree"], "performed Product Viewed")["values"]["seen"].clone();
    let before = house.instant(Some("2026-03-01T10:03:00Z"), CAMPAIGN).await;
    assert_eq!((code(&before), seen(&before, 0)), ("condition_not_met", json!(1)), "{before:#}");
    let after = house.instant(Some("2026-03-01T10:10:00Z"), CAMPAIGN).await;
    assert_eq!((code(&after), seen(&after, 0)), ("waiting", json!(3)), "{after:#}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_did_before_logging_in_is_theirs_from_then_on_and_somebody_elses_before() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.post("/api/v1/definitions", campaign("{ event: { properties.price: { gte: 20 } } }")).await.ok();
    house.forward("1m").await;
    house.meet_ann(&key).await;
    let device = |n: u32, price: u32| {
        json!({ "anonymousId": "device", "messageId": format!("d{n}"), "event": "Product Viewed",
            "properties": { "product_id": "p1", "price": price } })
    };
    house.forward("1m").await;
    house.send(&key, "track", device(1, 10)).await; // 10:02: too cheap
    house.forward("1m").await;
    house.send(&key, "track", device(2, 30)).await; // 10:03: begins for the device
    house.forward("2m").await;
    let login = json!({ "userId": "ann", "anonymousId": "device", "messageId": "login" });
    house.send(&key, "identify", login).await; // 10:05
    house.forward("5m").await;

    // Ann had done nothing, and was in nothing.
    let before = house.instant(Some("2026-03-01T10:04:30Z"), CAMPAIGN).await;
    assert_eq!((code(&before), &before["enrollments"]), ("nothing_to_begin_with", &json!([])), "{before:#}");
    // The device had, and is asked for by its own id.
    let query = |at: &str| format!("/api/v1/explain/instant?profile=device&campaign={CAMPAIGN}&at={at}");
    let refused = house.get(&query("2026-03-01T10:02:30Z")).await.ok();
    assert_eq!(code(&refused), "condition_not_met", "{refused:#}");
    let waited = house.get(&query("2026-03-01T10:04:30Z")).await.ok();
    assert_eq!((code(&waited), waited["enrollments"].as_array().unwrap().len()), ("waiting", 1), "{waited:#}");
    // Since she logged in both are hers.
    let since = house.instant(Some("2026-03-01T10:08:00Z"), CAMPAIGN).await;
    assert_eq!((code(&since), since["events"].as_array().unwrap().len()), ("waiting", 2), "{since:#}");
    let afresh = house.instant(None, CAMPAIGN).await;
    assert_eq!((code(&afresh), &afresh["events"][1]["code"]), ("entered", &json!("condition_not_met")), "{afresh:#}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_were_enrolled_each_keep_their_own_until_they_are_one() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.post("/api/v1/definitions", campaign("{ all: [] }")).await.ok();
    house.forward("1m").await;
    house.meet_ann(&key).await;
    let device = json!({ "anonymousId": "device", "messageId": "d1", "event": "Product Viewed",
        "properties": { "product_id": "p1" } });
    house.send(&key, "track", device).await; // 10:01
    house.forward("1m").await;
    house.viewed(&key, 1).await; // 10:02
    let login = json!({ "userId": "ann", "anonymousId": "device", "messageId": "login" });
    house.send(&key, "identify", login).await; // 10:03
    house.forward("5m").await;
    let before = house.instant(Some("2026-03-01T10:02:30Z"), CAMPAIGN).await;
    assert_eq!((code(&before), before["enrollments"].as_array().unwrap().len()), ("waiting", 1), "{before:#}");
    assert_eq!(before["events"].as_array().unwrap().len(), 1, "{before:#}");
    let since = house.instant(Some("2026-03-01T10:06:00Z"), CAMPAIGN).await;
    for event in since["events"].as_array().unwrap() {
        let refused = event["checks"].as_array().unwrap().iter().any(|check| check["code"] == "already_enrolled");
        assert!(event["entered"].as_bool().unwrap() && !refused, "{event:#}");
    }
    assert_eq!(since["events"].as_array().unwrap().len(), 2, "{since:#}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stopped_says_what_would_have_let_it_go() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.post("/api/v1/definitions", campaign("{ all: [] }")).await.ok();
    let nameless = json!({ "userId": "ann", "messageId": "i1", "traits": { "email": "ann@example.com" } });
    house.send(&key, "identify", nameless).await;
    house.viewed(&key, 1).await;
    house.forward("2h").await;
    let stopped = house.instant(Some("2026-03-01T11:30:00Z"), CAMPAIGN).await;
    assert_eq!(code(&stopped), "consent_unknown", "{stopped:#}");
    assert_eq!(stopped["answer"]["change"], "consent for email, given before the message is due");
    let afresh = house.instant(None, CAMPAIGN).await;
    let said = afresh["answer"]["sentence"].as_str().unwrap();
    assert!(said.contains("would have begun for ann; but its message would not go: consent for email"), "{afresh:#}");
    assert_eq!(afresh["answer"]["change"], "consent for email, given before the message is due");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_names_the_segment_that_time_brought_somebody_into() {
    let house = House::furnished().await;
    let key = house.key().await;
    let text = "kind: segment\nkey: quiet\nname: Quiet\nowner: crm@shop.example\nwhere: \
                { not: { performed: { event: Product Viewed, within: 1h } } }\n";
    let files = json!({ "files": [ { "name": "quiet.yaml", "text": text } ] });
    house.post("/api/v1/definitions", files).await.ok();
    house.viewed(&key, 1).await;
    house.forward("2h").await;
    let told = house.get("/api/v1/explain?profile=ann").await.ok();
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("Segment Entered: quiet, received (position "), "{text}");
    assert!(text.contains("entered segment quiet: not (Product Viewed performed 0 times within 1h"), "{text}");
    let entered = told["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["text"].as_str().unwrap().starts_with("Segment Entered"));
    let position = entered.unwrap()["position"].to_string();
    let one = house.get(&format!("/api/v1/explain?profile=ann&event={position}")).await.ok();
    assert!(one["text"].as_str().unwrap().contains("entered segment quiet: not ("), "{one:#}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_refused_with_why() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    for (query, wanted) in [
        ("profile=ann&campaign=cart_reminder", (400, "invalid_parameter")),
        ("profile=ann&campaign=cart_reminder&at=2026-03-01T10:00Z&now=true", (400, "invalid_parameter")),
        ("profile=ann&campaign=cart_reminder&at=yesterday", (400, "invalid_parameter")),
        ("profile=ann&campaign=cart_reminder&at=2030-01-01T00:00Z", (400, "invalid_parameter")),
        ("profile=ann&campaign=cart_remider&now=true", (404, "unknown_campaign")),
        ("profile=nobody&campaign=cart_reminder&now=true", (404, "unknown_profile")),
    ] {
        let (status, code) = house.get(&format!("/api/v1/explain/instant?{query}")).await.problem();
        assert_eq!((status, code.as_str()), wanted, "{query}");
    }
    house.close().await;
}

/// Codes in the first column of the guide's tables.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string("docs/explaining.md").unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(code, _)| code.to_owned()).collect()
}

#[test]
fn every_code_is_documented_and_no_other() {
    let reasons = std::fs::read_to_string("src/message/reason.rs").unwrap();
    let (_, codes) = reasons.split_once("pub const fn code(&self)").unwrap();
    let (codes, _) = codes.split_once("\n    }\n").unwrap();
    let of_reasons = codes.lines().filter_map(|line| line.split_once("=> \"")?.1.split_once('"'));
    let mut known: BTreeSet<String> = of_reasons.map(|(code, _)| code.to_owned()).collect();
    assert!(known.len() > 40, "{known:?}");
    known.extend(Standing::CODES.map(str::to_owned));
    assert_eq!(documented(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_somebody_could_be_reached_is_answered_by_the_suppression_list_of_that_instant() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.post("/api/v1/definitions", campaign("{ reachable: email }")).await.ok();
    house.forward("1m").await;
    let stopped = json!({ "suppressions": [ { "channel": "email", "address": "Ann@example.com", "kind": "manual",
        "source": "a letter" } ] });
    house.post("/api/v1/suppressions", stopped).await.ok(); // 10:01
    house.forward("1m").await;
    house.viewed(&key, 1).await; // 10:02
    let freed = json!({ "channel": "email", "address": "ann@example.com", "source": "she wrote" });
    house.post("/api/v1/suppressions/remove", freed).await.ok(); // 10:03
    house.forward("1m").await;
    house.viewed(&key, 2).await; // 10:04: begins
    house.forward("1m").await;

    let refused = house.instant(Some("2026-03-01T10:02:30Z"), CAMPAIGN).await;
    assert_eq!(code(&refused), "condition_not_met", "{refused:#}");
    let seen = leaf(&refused["events"][0]["tree"], "reachable email");
    let values = &seen["values"];
    assert_eq!((&values["is"], &values["source"]), (&json!("suppressed"), &json!("a letter")), "{seen:#}");
    assert!(seen["change"].as_str().unwrap().contains("taken off the suppression list"), "{seen:#}");
    assert!(!refused.to_string().contains("ann@example.com"), "no address is shown");
    let waits = house.instant(Some("2026-03-01T10:04:30Z"), CAMPAIGN).await;
    assert_eq!(code(&waits), "waiting", "{waits:#}");
    assert_eq!(leaf(&waits["events"][0]["tree"], "reachable email")["values"]["is"], "usable", "{waits:#}");
    house.close().await;
}
