//! Who may ask, and what bad questions get: a problem with a stable code, and never a failure.

use serde_json::{Value, json};

use crate::house::{House, TOKEN};

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/events/1"),
    ("GET", "/api/v1/accounting"),
    ("GET", "/api/v1/messages"),
    ("GET", "/api/v1/messages/1"),
    ("GET", "/api/v1/explain?profile=ann"),
    ("GET", "/api/v1/explain/instant?profile=ann&campaign=cart_reminder&now=true"),
    ("GET", "/api/v1/profiles/ann"),
    ("GET", "/api/v1/profiles/ann/consent"),
    ("POST", "/api/v1/profiles/ann/consent"),
    ("GET", "/api/v1/suppressions"),
    ("POST", "/api/v1/suppressions"),
    ("POST", "/api/v1/suppressions/remove"),
    ("GET", "/api/v1/segments"),
    ("GET", "/api/v1/segments/vip"),
    ("GET", "/api/v1/definitions"),
    ("POST", "/api/v1/definitions"),
    ("POST", "/api/v1/definitions/plan"),
    ("POST", "/api/v1/definitions/backtest"),
    ("POST", "/api/v1/definitions/count"),
    ("POST", "/api/v1/definitions/test"),
    ("GET", "/api/v1/keys"),
    ("POST", "/api/v1/keys"),
    ("DELETE", "/api/v1/keys/1"),
    ("POST", "/api/v1/pause"),
    ("POST", "/api/v1/resume"),
    ("GET", "/api/v1/pauses"),
    ("GET", "/api/v1/parked"),
    ("POST", "/api/v1/parked/1/redrive"),
    ("POST", "/api/v1/messages/1/redrive"),
    ("POST", "/api/v1/messages/redrive"),
    ("POST", "/api/v1/demo/forward"),
    ("GET", "/api/v1/dead-letters"),
    ("GET", "/api/v1/tokens"),
    ("POST", "/api/v1/tokens"),
    ("GET", "/api/v1/tokens/1"),
    ("DELETE", "/api/v1/tokens/1"),
    ("POST", "/api/v1/tokens/1/rotate"),
    ("POST", "/api/v1/send-test"),
    ("GET", "/api/v1/doctor"),
    ("GET", "/api/v1/caps?profile=ann"),
    ("GET", "/api/v1/nothing-here"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_without_the_token() {
    let house = House::new().await;
    for (method, path) in ROUTES {
        let bare = house.ask(house.request(method, path)).await;
        assert_eq!(bare.problem(), (401, "missing_token".to_owned()), "{method} {path}");
        for wrong in ["", "wrong", &TOKEN[1..], &format!("{TOKEN}x")] {
            let refused = house.ask(house.request(method, path).bearer_auth(wrong)).await;
            assert_eq!(refused.status, 401, "{method} {path} {wrong}");
        }
        let basic = house.ask(house.request(method, path).basic_auth(TOKEN, None::<&str>)).await;
        assert_eq!(basic.status, 401, "{method} {path}");
    }
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(house.ask(house.request("GET", open)).await.status, 200, "{open}");
    }
    for asked in ["/healthz", "/readyz", "/metrics", "/"] {
        let (whole, head) =
            (house.ask(house.request("GET", asked)).await, house.ask(house.request("HEAD", asked)).await);
        assert_eq!((head.status, &head.kind, head.text.as_str()), (whole.status, &whole.kind, ""), "{asked}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_get_a_problem_with_its_code() {
    let house = House::furnished().await;
    let questions = [
        ("/api/v1/events?limit=0", 400, "invalid_parameter"),
        ("/api/v1/events?limit=1001", 400, "invalid_parameter"),
        ("/api/v1/events?limit=x", 400, "invalid_parameter"),
        ("/api/v1/events?since=1", 400, "unknown_parameter"),
        ("/api/v1/accounting?colour=red", 400, "unknown_parameter"),
        ("/api/v1/events?after=0&name=Viewed", 400, "invalid_parameter"),
        ("/api/v1/events?cursor=x", 400, "invalid_parameter"),
        ("/api/v1/events?profile=nobody", 404, "unknown_profile"),
        ("/api/v1/parked?cursor=x", 400, "invalid_parameter"),
        ("/api/v1/suppressions?cursor=x", 400, "invalid_parameter"),
        ("/api/v1/messages?channel=pigeon", 400, "invalid_parameter"),
        ("/api/v1/tokens/none", 404, "unknown_token"),
        ("/api/v1/events/999999", 404, "unknown_event"),
        ("/api/v1/events/%00", 404, "not_found"),
        ("/api/v1/events?name=%00", 400, "invalid_query"),
        ("/api/v1/events?after=-1", 400, "invalid_parameter"),
        ("/api/v1/messages?limit=201", 400, "invalid_parameter"),
        ("/api/v1/messages?status=gone", 400, "invalid_parameter"),
        ("/api/v1/messages?cursor=x", 400, "invalid_parameter"),
        ("/api/v1/messages?profile=nobody", 404, "unknown_profile"),
        ("/api/v1/messages/zz", 404, "unknown_message"),
        ("/api/v1/messages/00000000000000000000000000000000", 404, "unknown_message"),
        ("/api/v1/explain", 400, "invalid_parameter"),
        ("/api/v1/explain?profile=nobody", 404, "unknown_profile"),
        ("/api/v1/explain?profile=9223372036854775807", 404, "unknown_profile"),
        ("/api/v1/explain?profile=profile:9223372036854775807", 404, "unknown_profile"),
        ("/api/v1/profiles/nobody", 404, "unknown_profile"),
        ("/api/v1/parked?limit=0", 400, "invalid_parameter"),
        ("/api/v1/nothing-here", 404, "not_found"),
        ("/nothing-here", 404, "not_found"),
        ("/u/", 404, "not_found"),
        ("/inbox/", 404, "not_found"),
        ("/api/v1/pause", 405, "method_not_allowed"),
    ];
    for (path, status, code) in questions {
        assert_eq!(house.get(path).await.problem(), (status, code.to_owned()), "{path}");
    }
    let near = house.get("/api/v1/messages?campain=cart_reminder").await;
    assert_eq!(near.problem(), (400, "unknown_parameter".to_owned()));
    assert_eq!(near.json()["nearest"], "campaign");
    let near = house.get("/api/v1/explain?profile=ann&campaign=cart_remider").await;
    assert_eq!(near.problem(), (404, "unknown_campaign".to_owned()));
    assert_eq!(near.json()["nearest"], "cart_reminder");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_change_nothing_and_say_why() {
    let house = House::furnished().await;
    let orders: Vec<(&str, Value, u16, &str)> = vec![
        ("/api/v1/keys", json!({}), 400, "invalid_body"),
        ("/api/v1/keys", json!({ "source": "web", "colour": "red" }), 400, "invalid_body"),
        ("/api/v1/keys", json!({ "source": "No Such" }), 400, "invalid_parameter"),
        ("/api/v1/keys", json!([]), 400, "invalid_body"),
        ("/api/v1/keys", json!({ "source": "web", "name": "\u{0}" }), 400, "nul_character"),
        ("/api/v1/pause", json!({ "scope": "cart_remider" }), 404, "unknown_campaign"),
        ("/api/v1/demo/forward", json!({ "by": "an hour" }), 400, "invalid_parameter"),
        ("/api/v1/demo/forward", json!({ "by": "-1h" }), 400, "invalid_parameter"),
        ("/api/v1/demo/forward", json!({ "by": "99999d" }), 400, "invalid_parameter"),
        ("/api/v1/parked/1/redrive", json!({}), 404, "not_parked"),
        ("/api/v1/parked/x/redrive", json!({}), 404, "not_parked"),
        ("/api/v1/messages/x/redrive", json!({}), 404, "unknown_message"),
        ("/api/v1/messages/redrive", json!({ "campaign": "none_such" }), 404, "unknown_campaign"),
        ("/api/v1/definitions", json!({ "files": [] }), 400, "invalid_parameter"),
        ("/api/v1/definitions?dry_run=perhaps", json!({ "files": [] }), 400, "invalid_query"),
        (
            "/api/v1/send-test",
            json!({ "template": "cart_remindr", "channel": "email", "to": "a@b.example" }),
            404,
            "unknown_template",
        ),
        (
            "/api/v1/send-test",
            json!({ "template": "cart_reminder", "channel": "pigeon", "to": "a" }),
            400,
            "invalid_parameter",
        ),
        (
            "/api/v1/send-test",
            json!({ "template": "cart_reminder", "channel": "email", "to": "nowhere" }),
            422,
            "test_not_sent",
        ),
        (
            "/api/v1/send-test",
            json!({ "template": "cart_reminder", "channel": "webhook", "to": "https://shop.example/hook" }),
            422,
            "test_not_sent",
        ),
        (
            "/api/v1/send-test",
            json!({ "template": "cart_reminder", "channel": "email", "to": "a@b.example",
            "sample": {} }),
            422,
            "test_not_sent",
        ),
    ];
    for (path, body, status, code) in orders {
        assert_eq!(house.post(path, body.clone()).await.problem(), (status, code.to_owned()), "{path} {body}");
    }
    for odd in ["{", "nul", "\u{feff}{}", &"[".repeat(100_000)] {
        let request = house.request("POST", "/api/v1/pause").bearer_auth(TOKEN).body(odd.to_owned());
        let answer = house.ask(request).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        answer.problem();
    }
    let revoked = house.ask(house.request("DELETE", "/api/v1/keys/none").bearer_auth(TOKEN)).await;
    assert_eq!(revoked.problem(), (404, "unknown_key".to_owned()));
    assert_eq!(house.get("/api/v1/keys").await.ok()["keys"], json!([]));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_with_problems_are_refused_with_all_of_them() {
    let house = House::new().await;
    let text = "kind: campaign\nkey: a\nnmae: b\ntype: journey\n";
    let body = json!({ "files": [{ "name": "bad.yaml", "text": text }] });
    let refused = house.post("/api/v1/definitions", body).await;
    assert_eq!(refused.problem(), (422, "invalid_definitions".to_owned()));
    let problems = refused.json()["problems"].clone();
    let unknown = problems.as_array().unwrap().iter().find(|one| one["code"] == "unknown_field").unwrap().clone();
    assert_eq!(
        (&unknown["file"], &unknown["line"], &unknown["nearest"]),
        (&"bad.yaml".into(), &3.into(), &"name".into())
    );
    assert!(problems.as_array().unwrap().iter().any(|one| one["code"] == "not_yet_supported"));
    house.furnish().await;
    let exported = house.get("/api/v1/definitions").await.ok();
    let again = house.post("/api/v1/definitions?dry_run=true", exported).await.ok();
    assert_eq!((&again["created"], &again["changed"]), (&json!([]), &json!([])), "{again}");
    house.close().await;
}
