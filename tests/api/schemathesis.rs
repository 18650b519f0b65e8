//! The document held against the service by schemathesis: thousands of requests, right and wrong, and no answer that is
//! a failure, not documented, or not of its schema.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::house::{House, TOKEN};

/// Requests are many, the time is not.
const SECONDS_MAX: &str = "240";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance,negative_data_rejection";

#[tokio::test(flavor = "multi_thread")]
async fn no_request_makes_it_fail_and_every_answer_is_as_documented() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    for cart in ["c1", "c2"] {
        house.put_in_cart(&key, cart).await;
    }
    house.forward("1h").await;
    house
        .post("/api/v1/suppressions", json!({ "suppressions": [{ "channel": "email", "address": "bo@b.example" }] }))
        .await
        .ok();
    house.send(&key, "identify", json!({ "userId": "cy", "traits": { "email": "cy@example.com" } })).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = root.join("target/test-services/python/bin");
    // By its interpreter: a script remembers the folder it was installed in, and a clone may be moved.
    let (python, program) = (scripts.join("python"), scripts.join("schemathesis"));
    assert!(program.exists(), "schemathesis is missing; run: make services");
    let document = house.folder().join("openapi.json");
    std::fs::write(&document, carillon::http::openapi::as_json()).unwrap();
    let report = root.join("target/schemathesis.txt");
    let out = std::fs::File::create(&report).unwrap();
    let mut command = Command::new("timeout");
    command
        .args([SECONDS_MAX, python.to_str().unwrap(), program.to_str().unwrap()])
        // Python 3.11 cannot parse in two threads at a time ("AST constructor recursion depth mismatch"): one worker.
        .args(["--config-file", known(&house).await.to_str().unwrap()])
        .args(["run", "--url", &house.address(), "--seed", "1", "--max-examples", "12", "--workers", "1"])
        // A plan compiles every template, which takes an unoptimised program on a busy machine its time.
        .args(["--request-timeout", "40"])
        .args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none", "--no-color"])
        .args(["--include-path-regex", "^/api/v1/"])
        // Its answer is read to the end before it is judged, and a live stream has none: `live.rs` holds what is said of it.
        .args(["--exclude-path", "/api/v1/live"])
        .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", CHECKS])
        .arg(&document)
        .env("NO_PROXY", "*")
        .current_dir(house.folder())
        .stdout(out.try_clone().unwrap())
        .stderr(out);
    let ended = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
    let said = std::fs::read_to_string(&report).unwrap();
    assert!(ended.success(), "{said}");
    assert!(said.contains("passed"), "{said}");
    for reached in
        ["GET /api/v1/profiles/{id}", "GET /api/v1/messages/{id}", "GET /api/v1/inbox/{id}", "GET /api/v1/imports/{id}"]
    {
        assert!(!said.contains(&format!("- {reached}\n")), "{reached} was never found: {said}");
    }
    let books = house.get("/api/v1/accounting").await.ok();
    assert_eq!(books["imbalances"], json!([]), "{books}");
    house.close().await;
}

/// What is there, so that requests are not all for what is not: ids by the addresses that take them.
async fn known(house: &House) -> PathBuf {
    let of = |answer: serde_json::Value, list: &str, field: &str| {
        answer[list][0][field].as_str().map(str::to_owned).unwrap_or_else(|| panic!("{answer}"))
    };
    let message = of(house.get("/api/v1/messages?profile=ann").await.ok(), "messages", "id");
    let event = of(house.get("/api/v1/events?profile=ann").await.ok(), "events", "id");
    let letter = of(house.get("/api/v1/inbox").await.ok(), "messages", "message");
    let people = house.request("POST", "/api/v1/imports?format=profiles&name=people.jsonl").bearer_auth(TOKEN);
    let taken = house.ask(people.body("{\"userId\":\"di\"}\nnobody\n")).await.json();
    let import = taken["id"].as_str().unwrap();
    let places = [
        (r"imports/\{id\}", "path.id", import),
        (r"profiles/\{id\}(/(consent|export|timeline))?$", "path.id", "ann"),
        (r"profiles/\{id\}/erase$", "path.id", "cy"),
        (r"messages/\{id\}", "path.id", &message),
        (r"events/\{id\}", "path.id", &event),
        (r"inbox/\{id\}", "path.id", &letter),
        ("(caps|explain)$", "query.profile", "ann"),
        (r"templates/\{key\}", "path.key", "cart_reminder"),
        (r"definitions/\{kind\}$", "path.kind", "campaign"),
        (r"segments/\{key\}", "path.key", "vip"),
    ];
    let mut text = String::new();
    for (path, name, value) in places {
        writeln!(
            text,
            "[[operations]]\ninclude-path-regex = '^/api/v1/{path}'\nparameters = {{ '{name}' = '{value}' }}"
        )
        .unwrap();
    }
    let file = house.folder().join("schemathesis.toml");
    std::fs::write(&file, text).unwrap();
    file
}
