//! A client that means no good, or has a bug: odd ids, bodies, kinds of content and queries on every operation. Each is
//! answered by a documented status, and never by a failure.

use carillon::http::admin::operation::Operation;
use carillon::http::admin::operations;
use carillon::http::openapi::document;
use serde_json::{Value, json};

use super::world::World;
use crate::house::{Answer, TOKEN};

/// Never ends, examines the machine, moves the clock under everybody.
const NOT_ASKED: [&str; 3] = ["watch", "examine", "forwardClock"];

fn ids() -> Vec<String> {
    let odd = [
        "-1",
        "0",
        "9223372036854775807",
        "9223372036854775808",
        "1e9",
        "null",
        "%20",
        "..%2f..%2fetc",
        "%F0%9F%92%A5",
    ];
    let odd = odd.into_iter().chain([
        "%E2%80%AE",
        "%F0%28%8C%28",
        "'%20OR%201=1--",
        "%25s",
        "a%00b",
        "%EF%BB%BFann",
        "(select)",
    ]);
    odd.map(str::to_owned).chain(["a".repeat(6_000), "%C3%A9".repeat(900), "f".repeat(32)]).collect()
}

/// Bodies with the kind they say they are.
fn bodies() -> Vec<(Vec<u8>, &'static str)> {
    let json = "application/json";
    vec![
        (b"".to_vec(), json),
        (b"null".to_vec(), json),
        (b"[]".to_vec(), json),
        (b"\"text\"".to_vec(), json),
        (b"{\"scope\":1,\"scope\":2}".to_vec(), json),
        (b"{\"limit\":1e999}".to_vec(), json),
        (b"\xff\xfe{\x00}\x00".to_vec(), json),
        (b"{\"a\":\"\\ud800\"}".to_vec(), json),
        ("[".repeat(50_000).into_bytes(), json),
        (vec![b' '; 70_000], json),
        (b"{}".to_vec(), "text/xml"),
        (b"{}".to_vec(), "application/json; charset=utf-16"),
        (b"{}".to_vec(), "multipart/form-data"),
        (b"a=b".to_vec(), "application/x-www-form-urlencoded"),
        (b"{}".to_vec(), ""),
    ]
}

const QUERIES: [&str; 8] = [
    "limit=1&limit=2",
    "limit=99999999999999999999",
    "limit=-0",
    "cursor=%FF",
    "cursor=AAAAAAAAAAAAAAAAAAAA",
    "limit",
    "%",
    "limit=%F0%9F%92%A5",
];

fn documented(document: &Value, operation: &Operation) -> Vec<u16> {
    let method = operation.method.as_str().to_ascii_lowercase();
    let responses = &document["paths"][format!("/api/v1{}", operation.path)][method]["responses"];
    responses.as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect()
}

/// A documented status; a refusal is a problem.
fn check(known: &[u16], asked: &str, answer: &Answer) {
    assert!(known.contains(&answer.status) && answer.status < 500, "{asked}: {answer:?}");
    if answer.status >= 400 {
        answer.problem();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_of_whichever_operation_the_answer_is_a_documented_one() {
    let world = World::furnished().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.forward("1s").await;
    let document = document();
    for operation in operations().iter().filter(|one| !NOT_ASKED.contains(&one.id)) {
        let known = documented(&document, operation);
        let method = operation.method.as_str();
        let named = |id: &str| {
            let parts = operation.path.split('/').map(|part| if part.starts_with('{') { id } else { part });
            format!("/api/v1{}", parts.collect::<Vec<_>>().join("/"))
        };
        if operation.path.contains('{') {
            for id in ids() {
                let answer = world.ask(world.request(method, &named(&id)).bearer_auth(TOKEN)).await;
                check(&known, &format!("{method} {}", named(&id)), &answer);
            }
        }
        for query in QUERIES {
            let path = format!("{}?{query}", named("ann"));
            let answer = world.ask(world.request(method, &path).bearer_auth(TOKEN)).await;
            check(&known, &format!("{method} {path}"), &answer);
        }
        if operation.takes.is_some() {
            for (body, kind) in bodies() {
                let asked = format!(
                    "{method} {} {kind} {:?}",
                    named("ann"),
                    String::from_utf8_lossy(&body[..body.len().min(40)])
                );
                let request = world.request(method, &named("ann")).bearer_auth(TOKEN).header("content-type", kind);
                check(&known, &asked, &world.ask(request.body(body)).await);
            }
        }
    }
    let books = world.get("/api/v1/accounting").await.ok();
    assert_eq!(books["imbalances"], json!([]), "{books}");
    world.close().await;
}
