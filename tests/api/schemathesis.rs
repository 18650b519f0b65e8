//! The document held against the service by schemathesis: thousands of requests, right and wrong, and no answer that is
//! a failure, not documented, or not of its schema.

use std::path::Path;
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
        .args(["run", "--url", &house.address(), "--seed", "1", "--max-examples", "12", "--workers", "1"])
        .args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none", "--no-color"])
        .args(["--include-path-regex", "^/api/v1/"])
        // One never ends, one examines the machine, one moves the clock under everybody.
        .args(["--exclude-path", "/api/v1/live", "--exclude-path", "/api/v1/doctor"])
        .args(["--exclude-path", "/api/v1/demo/forward"])
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
    let books = house.get("/api/v1/accounting").await.ok();
    assert_eq!(books["imbalances"], json!([]), "{books}");
    house.close().await;
}
