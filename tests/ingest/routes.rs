//! Which addresses there are, who may call them, and what a browser asks before it dares.

use base64::Engine;
use carillon::event::Kind;
use carillon::http::config::Config;

use super::world::World;
use crate::client::Request;

const TRACK: &str = r#"{"event":"Product Added","userId":"ann"}"#;

#[test]
fn every_call_has_a_long_and_a_short_address() {
    let world = World::start();
    let body = r#"{"event":"E","userId":"u","previousId":"p","groupId":"g"}"#;
    for (long, short, kind) in [
        ("track", "t", Kind::Track),
        ("identify", "i", Kind::Identify),
        ("page", "p", Kind::Page),
        ("screen", "s", Kind::Screen),
        ("group", "g", Kind::Group),
        ("alias", "a", Kind::Alias),
    ] {
        for path in [long, short] {
            let answer = world.send(&Request::post(&format!("/v1/{path}"), body).key("wk"));
            assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#));
            assert_eq!(world.log.last().kind, kind);
        }
    }
    let batch = r#"{"batch":[{"type":"track","event":"E","userId":"u"}]}"#;
    for path in ["/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"] {
        assert_eq!(world.send(&Request::post(path, batch).key("wk")).status, 200, "{path}");
    }
    assert_eq!(world.send(&Request::post("/beacon/v1/batch?writeKey=wk", batch)).status, 200);
    assert_eq!(world.log.events().len(), 17);
}

#[test]
fn other_addresses_and_methods_are_refused_by_name() {
    let world = World::start();
    assert_eq!(world.send(&Request::post("/v1/tracks", TRACK).key("wk")).code(), "not_found");
    assert_eq!(world.send(&Request::post("/v1/track/x/y", TRACK).key("wk")).code(), "not_found");
    let answer = world.send(&Request::new("GET", "/v1/track"));
    assert_eq!((answer.code().as_str(), answer.header("allow")), ("method_not_allowed", Some("POST")));
}

#[test]
fn a_key_is_taken_from_header_body_or_both() {
    let world = World::start();
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let with_key = r#"{"event":"E","userId":"ann","writeKey":"wk"}"#;
    let with_wrong = r#"{"event":"E","userId":"ann","writeKey":"nope"}"#;
    let post = |body: &str, authorization: Option<String>| {
        let request = Request::post("/v1/t", body);
        let request = authorization.iter().fold(request, |request, value| request.header("Authorization", value));
        world.send(&request)
    };
    assert_eq!(post(TRACK, Some(format!("Basic {}", encode("wk:")))).status, 200);
    assert_eq!(post(TRACK, Some(format!("Basic {}", encode("wk")))).status, 200);
    assert_eq!(post(with_key, None).status, 200);
    assert_eq!(post(with_key, Some("Bearer some.token".into())).status, 200);
    assert_eq!(post(with_wrong, Some(format!("Basic {}", encode("wk:")))).status, 200, "the header decides");

    assert_eq!(post(TRACK, None).code(), "missing_write_key");
    assert_eq!(post(TRACK, Some("Bearer some.token".into())).code(), "missing_write_key");
    assert_eq!(post(with_wrong, None).code(), "unknown_write_key");
    assert_eq!(post(with_key, Some(format!("Basic {}", encode("nope:")))).code(), "unknown_write_key");
    let answer = post(with_key, Some("Basic %%%".into()));
    assert_eq!((answer.status, answer.code().as_str()), (401, "unreadable_authorization"));
    assert!(!answer.header("www-authenticate").unwrap().starts_with("Basic"), "browsers would ask for a password");
}

#[test]
fn a_wrong_key_in_a_header_is_answered_before_the_body() {
    let world = World::start();
    let mut connection = world.connect();
    connection.write(&Request::post("/v1/batch", "").key("nope").head(400_000));
    assert_eq!(connection.read().status, 401);
}

#[test]
fn keys_that_cannot_be_read_are_nobody_s_fault() {
    let world = World::start();
    world.keys.mark_unreadable();
    assert_eq!(world.send(&Request::post("/v1/t", TRACK).key("wk")).status, 200);
    let answer = world.send(&Request::post("/v1/t", TRACK).key("newer"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "keys_unreadable"));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn a_removed_key_is_refused_from_then_on() {
    let world = World::start();
    assert_eq!(world.send(&Request::post("/v1/t", TRACK).key("wk")).status, 200);
    world.keys.replace([]);
    assert_eq!(world.send(&Request::post("/v1/t", TRACK).key("wk")).code(), "unknown_write_key");
}

#[test]
fn a_browser_may_ask_from_any_page_and_remember_the_answer() {
    let world = World::start();
    for path in ["/v1/t", "/v1/batch", "/v1/import", "/v1/projects/wk/settings", "/beacon/v1/batch"] {
        let preflight = Request::new("OPTIONS", path)
            .header("Origin", "https://shop.example")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type,x-retry-count");
        let answer = world.send(&preflight);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-max-age"), Some("86400"));
        let allowed = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        for name in ["authorization", "content-type", "x-retry-count"] {
            assert!(allowed.contains(name), "{allowed}");
        }
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    }
    let posted = Request::post("/v1/t", TRACK).key("wk").header("Origin", "https://shop.example");
    assert_eq!(world.send(&posted).header("access-control-allow-origin"), Some("*"));
    let refused = Request::post("/v1/t", TRACK).key("nope").header("Origin", "null");
    let answer = world.send(&refused);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("*")));
}

#[test]
fn the_browser_client_learns_where_to_send() {
    let world = World::start();
    let path = "/v1/projects/wk/settings";
    let answer = world.send(&Request::new("GET", path));
    let segment = answer.json()["integrations"]["Segment.io"].clone();
    assert_eq!((&segment["apiKey"], &segment["apiHost"]), (&"wk".into(), &"shop.test/v1".into()));
    assert_eq!(segment["protocol"], "http");
    assert_eq!(answer.json()["plan"]["track"]["__default"]["enabled"], true);
    let behind = world.send(&Request::new("GET", path).header("X-Forwarded-Proto", "https"));
    assert_eq!(behind.json()["integrations"]["Segment.io"]["protocol"], "https");
    assert_eq!(world.send(&Request::new("GET", "/v1/projects/nope/settings")).code(), "not_found");

    let public_url = Some("https://in.shop.example".into());
    let configured = World::with(Config { public_url, ..Config::default() });
    let segment = configured.send(&Request::new("GET", path)).json()["integrations"]["Segment.io"].clone();
    assert_eq!((&segment["apiHost"], &segment["protocol"]), (&"in.shop.example/v1".into(), &"https".into()));
}

#[test]
fn a_request_s_id_goes_into_the_event_and_onto_the_answer() {
    let world = World::start();
    let answer = world.send(&Request::post("/v1/t", TRACK).key("wk").header("X-Request-Id", "req-7"));
    assert_eq!(answer.header("x-request-id"), Some("req-7"));
    assert_eq!(world.log.last().correlation_id, "req-7");
    let answer = world.send(&Request::post("/v1/t", TRACK).key("wk"));
    assert_eq!(answer.header("x-request-id"), Some(world.log.last().correlation_id.as_str()));
    assert_eq!(world.log.last().correlation_id.len(), 32);
    let refused = world.send(&Request::post("/v1/t", "{").key("wk").header("X-Request-Id", "ann@example.com"));
    assert_eq!(refused.status, 400);
    assert_eq!(refused.header("x-request-id").unwrap().len(), 32);
}
