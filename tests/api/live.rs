//! The live stream: what is decided is told in order, and who was away misses nothing and hears nothing twice.

use std::collections::BTreeSet;

use serde_json::Value;

use super::world::World;
use crate::house::{House, TOKEN};

/// One event of the stream.
#[derive(Debug)]
struct Told {
    name: String,
    id: Option<String>,
    data: Value,
}

struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(house: &House, last_event_id: Option<&str>) -> Self {
        Self::open_as(house, TOKEN, last_event_id).await
    }

    async fn open_as(house: &House, token: &str, last_event_id: Option<&str>) -> Self {
        let mut request = house.request("GET", "/api/v1/live").bearer_auth(token);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { answer, text: String::new() }
    }

    async fn next(&mut self) -> Told {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(ToOwned::to_owned);
                let Some(name) = field("event: ") else { continue };
                let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                return Told { name, id: field("id: "), data };
            }
            let piece = self.answer.chunk().await.unwrap().expect("the stream ended");
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    async fn next_called(&mut self, name: &str) -> Told {
        loop {
            let told = self.next().await;
            if told.name == name {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_as_they_are_decided_then_messages_then_counts() {
    let world = World::furnished().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.forward("1s").await;
    let mut stream = Stream::open(&world, None).await;
    let before = stream.next_called("counts").await;
    world.put_in_cart(&key, "c1").await;
    let added = stream.next_called("event").await;
    assert_eq!((&added.data["name"], &added.data["user_id"]), (&"Product Added".into(), &"ann".into()));
    assert_eq!(added.data["findings"][0]["found"], "entered");
    assert!(added.data.get("body").is_none());
    world.forward("1h").await;
    let sent = stream.next_called("message").await;
    assert_eq!((&sent.data["status"], &sent.data["campaign"]), (&"sent".into(), &"cart_reminder".into()));
    let accepted = |counts: &Told| counts.data["events"]["accepted"].as_i64().unwrap();
    let mut counts = stream.next_called("counts").await;
    while counts.data["messages"]["by_status"]["sent"] != 1 {
        counts = stream.next_called("counts").await;
    }
    assert_eq!(accepted(&counts), accepted(&before) + 1);
    drop(stream);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_is_told_what_they_missed_and_nothing_twice_also_by_another_process() {
    let world = World::furnished().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.forward("1s").await;
    let mut stream = Stream::open(&world, None).await;
    world.put_in_cart(&key, "c0").await;
    let first = stream.next_called("event").await;
    drop(stream);
    for cart in 1..80 {
        world.put_in_cart(&key, &format!("c{cart}")).await;
    }
    world.forward("1s").await;
    let neighbour = world.neighbour().await;
    let there = neighbour.as_ref().unwrap_or(&world.house);
    let mut last = first.id.unwrap();
    let mut positions = BTreeSet::new();
    // Left and taken up again in the middle.
    for part in [30, 49] {
        let mut stream = Stream::open(there, Some(&last)).await;
        for _ in 0..part {
            let told = stream.next_called("event").await;
            assert_eq!(told.data["name"], "Product Added");
            assert!(positions.insert(told.data["position"].as_i64().unwrap()), "told twice: {told:?}");
            last = told.id.unwrap();
        }
    }
    assert_eq!(positions.len(), 79);
    assert!(!positions.contains(&first.data["position"].as_i64().unwrap()));
    if let Some(house) = neighbour {
        house.close().await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_is_refused_and_so_is_who_may_not_read_events() {
    let world = World::new().await;
    let odd = world.request("GET", "/api/v1/live").bearer_auth(TOKEN).header("Last-Event-ID", "17");
    assert_eq!(world.ask(odd).await.problem(), (400, "invalid_parameter".to_owned()));
    let (_, secret) = world.token(&["messages:read"]).await;
    let refused = world.as_bearer(&secret, "GET", "/api/v1/live", None).await;
    assert_eq!(refused.problem(), (403, "missing_scope".to_owned()));
    world.close().await;
}

/// A way to ask, the status it is answered with, and what that is.
type Way = (&'static str, reqwest::RequestBuilder, u16, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_stream_is_one_its_document_knows() {
    let world = World::new().await;
    let served: Value = world.get("/api/v1/openapi.json").await.ok();
    let documented = &served["paths"]["/api/v1/live"];
    assert_eq!(documented.as_object().unwrap().keys().collect::<Vec<_>>(), ["get"]);
    let (_, secret) = world.token(&["messages:read"]).await;
    let live = |method: &str| world.request(method, "/api/v1/live");
    let problem = "application/problem+json";
    let ways: [Way; 8] = [
        ("a stream", live("GET").bearer_auth(TOKEN), 200, "text/event-stream"),
        ("no token", live("GET"), 401, problem),
        ("a wrong token", live("GET").bearer_auth("guessed"), 401, problem),
        ("a token for less", live("GET").bearer_auth(secret), 403, problem),
        ("an id that is none", live("GET").bearer_auth(TOKEN).header("Last-Event-ID", "17"), 400, problem),
        ("a query", world.request("GET", "/api/v1/live?since=1").bearer_auth(TOKEN), 400, problem),
        ("another method", live("POST").bearer_auth(TOKEN).body("{}"), 405, problem),
        ("another method still", live("DELETE").bearer_auth(TOKEN), 405, problem),
    ];
    for (what, request, status, kind) in ways {
        let answer = request.send().await.unwrap();
        let said = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!((answer.status().as_u16(), said.as_str()), (status, kind), "{what}");
        if status == 405 {
            assert_eq!(answer.headers()["allow"], "GET", "{what}");
        } else {
            let known = &documented["get"]["responses"][status.to_string()];
            let known = match known["$ref"].as_str() {
                Some(to) => served.pointer(to.trim_start_matches('#')).unwrap(),
                None => known,
            };
            assert!(known["content"][kind].is_object(), "{what} is not documented: {known}");
        }
    }
    // What it may answer beside: too many of them, and what an unwell service answers.
    for status in ["429", "503"] {
        assert!(documented["get"]["responses"][status].is_object(), "{status}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_opened_it_and_not_with_another() {
    let world = World::new().await;
    let (id, secret) = world.token(&["events:read"]).await;
    let (_, other) = world.token(&["events:read"]).await;
    let mut ended = Stream::open_as(&world, &secret, None).await;
    let mut goes_on = Stream::open_as(&world, &other, None).await;
    ended.next_called("counts").await;
    world.ask(world.request("DELETE", &format!("/api/v1/tokens/{id}")).bearer_auth(TOKEN)).await.ok();
    while ended.answer.chunk().await.unwrap().is_some() {}
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.forward("1s").await;
    assert_eq!(goes_on.next_called("event").await.data["user_id"], "ann");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_streams_are_served_as_are_promised_and_a_closed_one_makes_room() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(Stream::open(&world, None).await);
    }
    let refused = world.get("/api/v1/live").await;
    assert_eq!(refused.problem(), (429, "too_many_streams".to_owned()));
    drop(streams);
    loop {
        let answer = world.request("GET", "/api/v1/live").bearer_auth(TOKEN).send().await.unwrap();
        if answer.status() == 200 {
            break;
        }
    }
    world.close().await;
}
