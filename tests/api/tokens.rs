//! Who may do what: scopes, rotation without a gap, an end that is immediate, and secrets that are stored nowhere.

use serde_json::json;

use super::world::World;

const SCOPES: &[(&str, &str, &str)] = &[
    ("GET", "/api/v1/events", "events:read"),
    ("GET", "/api/v1/accounting", "events:read"),
    ("GET", "/api/v1/parked", "events:read"),
    ("GET", "/api/v1/messages", "messages:read"),
    ("GET", "/api/v1/dead-letters", "messages:read"),
    ("GET", "/api/v1/segments", "profiles:read"),
    ("GET", "/api/v1/traits", "profiles:read"),
    ("POST", "/api/v1/segments/vip/members", "definitions:write"),
    ("GET", "/api/v1/suppressions", "permission:read"),
    ("POST", "/api/v1/suppressions", "permission:write"),
    ("GET", "/api/v1/definitions", "definitions:read"),
    ("POST", "/api/v1/definitions", "definitions:write"),
    ("POST", "/api/v1/pause", "control:write"),
    ("GET", "/api/v1/keys", "keys:write"),
    ("GET", "/api/v1/tokens", "tokens:write"),
    ("GET", "/api/v1/doctor", "settings:read"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_its_scope_says_and_is_told_what_it_lacks() {
    let world = World::new().await;
    for (method, path, scope) in SCOPES {
        let (_, able) = world.token(&[scope]).await;
        let answer = world.as_bearer(&able, method, path, (*method == "POST").then(|| json!({}))).await;
        assert!(![401, 403].contains(&answer.status), "{method} {path}: {answer:?}");
        let others: Vec<&str> = SCOPES.iter().map(|(.., other)| *other).filter(|other| other != scope).collect();
        let (_, unable) = world.token(&others).await;
        let refused = world.as_bearer(&unable, method, path, None).await;
        assert_eq!(refused.problem(), (403, "missing_scope".to_owned()), "{method} {path}");
        assert_eq!(refused.json()["scope"], *scope);
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_or_renews_a_token_that_may_do_more_than_their_own() {
    let world = World::new().await;
    let (_, keeper) = world.token(&["tokens:write", "events:read"]).await;
    let (strong, _) = world.token(&["tokens:write", "control:write"]).await;
    let more = json!({ "name": "more", "scopes": ["events:read", "control:write"] });
    let refused = world.as_bearer(&keeper, "POST", "/api/v1/tokens", Some(more)).await;
    assert_eq!(refused.problem(), (403, "missing_scope".to_owned()));
    let same = json!({ "name": "same", "scopes": ["events:read"] });
    assert_eq!(world.as_bearer(&keeper, "POST", "/api/v1/tokens", Some(same)).await.status, 200);
    for (method, path) in
        [("POST", format!("/api/v1/tokens/{strong}/rotate")), ("DELETE", format!("/api/v1/tokens/{strong}"))]
    {
        let refused = world.as_bearer(&keeper, method, &path, None).await;
        assert_eq!(refused.problem(), (403, "missing_scope".to_owned()), "{method}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_is_taken_with_both_secrets_until_the_grace_is_over() {
    let world = World::new().await;
    let (id, old) = world.token(&["events:read"]).await;
    let made = world.post(&format!("/api/v1/tokens/{id}/rotate"), json!({ "grace": "1h" })).await.ok();
    let new = made["secret"].as_str().unwrap();
    assert_eq!((&made["id"], &made["scopes"]), (&json!(id), &json!(["events:read"])));
    assert_ne!(new, old);
    let status = async |secret: &str| world.as_bearer(secret, "GET", "/api/v1/events", None).await.status;
    assert_eq!((status(&old).await, status(new).await), (200, 200));
    world.forward("61m").await;
    assert_eq!((status(&old).await, status(new).await), (401, 200));
    let leaked = world.post(&format!("/api/v1/tokens/{id}/rotate"), json!({ "grace": "0s" })).await.ok();
    assert_eq!((status(new).await, status(leaked["secret"].as_str().unwrap()).await), (401, 200));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_at_once_by_every_process_and_an_expired_one_is_told_so() {
    let world = World::new().await;
    let neighbour = world.neighbour().await;
    let (id, secret) = world.token(&["events:read"]).await;
    let there = async || match &neighbour {
        Some(house) => house.ask(house.request("GET", "/api/v1/events").bearer_auth(&secret)).await.status,
        None => world.as_bearer(&secret, "GET", "/api/v1/events", None).await.status,
    };
    assert_eq!(there().await, 200);
    world.ask(world.request("DELETE", &format!("/api/v1/tokens/{id}")).bearer_auth(crate::house::TOKEN)).await.ok();
    assert_eq!(there().await, 401);
    let refused = world.as_bearer(&secret, "GET", "/api/v1/events", None).await;
    assert_eq!(refused.problem(), (401, "wrong_token".to_owned()));
    let again = world.post(&format!("/api/v1/tokens/{id}/rotate"), json!({})).await;
    assert_eq!(again.problem(), (404, "unknown_token".to_owned()));
    // It holds shards that whoever moves the clock needs.
    if let Some(house) = neighbour {
        house.close().await;
    }
    let short = json!({ "name": "short", "scopes": ["events:read"], "expires_in": "1h" });
    let short = world.post("/api/v1/tokens", short).await.ok();
    world.forward("2h").await;
    let expired = world.as_bearer(short["secret"].as_str().unwrap(), "GET", "/api/v1/events", None).await;
    assert_eq!(expired.problem(), (401, "expired_token".to_owned()));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_in_pages_without_their_secrets_and_with_their_last_use() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.token(&["events:read"]).await);
    }
    world.as_bearer(&made[0].1, "GET", "/api/v1/events", None).await.ok();
    let (mut seen, mut path) = (Vec::new(), "/api/v1/tokens?limit=2".to_owned());
    loop {
        let answer = world.get(&path).await;
        assert!(made.iter().all(|(_, secret)| !answer.text.contains(secret)), "a secret is shown once");
        let page = answer.ok();
        seen.extend(page["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tokens?limit=2&cursor={next}");
    }
    seen.sort();
    let mut wanted: Vec<String> = made.iter().map(|(id, _)| id.clone()).collect();
    wanted.sort();
    assert_eq!(seen, wanted);
    // It is noted beside the request.
    let used = async || world.get(&format!("/api/v1/tokens/{}", made[0].0)).await.ok()["last_used_at"].clone();
    while used().await.is_null() {
        tokio::task::yield_now().await;
    }
    assert_eq!(used().await, "2026-03-01T10:00:00Z");
    world.close().await;
}
