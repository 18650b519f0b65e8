//! The official track API clients, unmodified, against the real program, through a proxy that fails on purpose.
//!
//! A client is right to send again what it cannot know was stored, and wrong to send again what it was told is bad.
//! So after every run: each call is stored exactly once, with what the caller said, and nothing else is there.
//! The clients come from `tests/services/install`; a missing one is a failure, never a skip.

// A test says what is wrong by ending; and it runs beside other processes, so it waits by the wall clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod plan;
mod proxy;
mod server;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use proxy::Fault::{Answer, CutAnswer, CutBefore, Hang, Pass};
use proxy::{Fault, Proxy, Seen};
use server::{Server, Stored};

/// A client that has not finished by then never will.
const CLIENT_WITHIN: Duration = Duration::from_secs(40);
/// How far the stored time may lie from the caller's: the clock-skew rule adds the time between the client's
/// `sentAt` and our receipt, and some clients keep the first `sentAt` while they retry.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(15);

/// One fault after the other, for clients that have several requests on the way at once or try often enough.
const AT_ONCE: &[Fault] = &[Answer(429), Answer(500), CutAnswer, Answer(503), CutBefore, Hang];
/// One fault for each batch in turn, for clients that finish a batch before they start the next.
const IN_TURN: &[Fault] =
    &[Answer(429), Pass, Answer(500), Pass, CutAnswer, Pass, Answer(503), Pass, CutBefore, Pass, Hang, Pass];

#[test]
fn segment_analytics_node_loses_and_doubles_nothing() {
    let run = run(&node("analytics_node.cjs", &[]), AT_ONCE);
    assert!(run.posts().any(|it| it.header("x-retry-count").is_some()), "no request was marked as a retry");
    assert!(run.posts().all(|it| it.path == "/v1/batch"), "{:?}", run.paths());
}

#[test]
fn the_segment_browser_client_needs_only_a_key_and_an_address() {
    // The visitor's first event passes: sent again after `identify`, the client would give it the user's id.
    let faults: Vec<Fault> = [&[Pass], AT_ONCE].concat();
    let run = run(&node("analytics_next.cjs", &["drop-in"]), &faults);
    let paths = run.paths();
    for path in ["/v1/i", "/v1/t", "/v1/p", "/v1/s", "/v1/g", "/v1/a"] {
        assert!(paths.contains(&path), "{path} was not used: {paths:?}");
    }
    assert!(run.seen.iter().any(|it| it.method == "OPTIONS"), "the page made no preflight");
    assert!(run.posts().all(|it| it.header("content-type").is_some_and(|it| it.starts_with("text/plain"))));
}

#[test]
fn the_segment_browser_client_batches() {
    let run = run(&node("analytics_next.cjs", &["batching"]), AT_ONCE);
    assert!(run.posts().all(|it| it.path == "/v1/b"), "{:?}", run.paths());
}

#[test]
fn segment_analytics_python_loses_and_doubles_nothing() {
    let run = run(&python(&["segment", "plain"]), IN_TURN);
    assert!(run.posts().any(|it| it.header("x-retry-count").is_some()), "no request was marked as a retry");
    assert!(run.posts().all(|it| it.header("content-encoding").is_none()));
}

#[test]
fn segment_analytics_python_may_compress() {
    let run = run(&python(&["segment", "gzip"]), IN_TURN);
    assert!(run.posts().all(|it| it.header("content-encoding") == Some("gzip")));
}

#[test]
fn rudder_sdk_node_loses_and_doubles_nothing() {
    let run = run(&node("rudder_node.cjs", &[]), IN_TURN);
    // Compressed JSON that calls itself a form: bodies are read by their bytes.
    assert!(run.posts().all(|it| it.header("content-encoding") == Some("gzip")));
    assert!(run.posts().all(|it| it.header("content-type") == Some("application/x-www-form-urlencoded")));
}

#[test]
fn rudder_sdk_node_may_leave_bodies_plain() {
    let run = run(&node("rudder_node.cjs", &["plain"]), IN_TURN);
    assert!(run.posts().all(|it| it.header("content-encoding").is_none()));
}

#[test]
fn rudder_sdk_python_loses_and_doubles_nothing() {
    let run = run(&python(&["rudder", "gzip"]), IN_TURN);
    assert!(run.posts().all(|it| it.header("content-encoding") == Some("gzip")));
}

#[test]
fn rudder_sdk_python_may_leave_bodies_plain() {
    let run = run(&python(&["rudder", "plain"]), IN_TURN);
    assert!(run.posts().all(|it| it.header("content-encoding").is_none()));
}

/// What the proxy saw in a run whose stored events were found right.
struct Run {
    seen: Vec<Seen>,
}

impl Run {
    fn posts(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|it| it.method == "POST")
    }

    fn paths(&self) -> Vec<&str> {
        self.posts().map(|it| it.path.as_str()).collect()
    }
}

/// Server, proxy and client, then every check that holds for all clients.
fn run(driver: &[String], faults: &[Fault]) -> Run {
    let server = Server::start();
    let key = server.create_key();
    let proxy = Proxy::start(server.authority(), faults.to_vec());
    let plan = plan::calls();
    let began = wall_clock();
    drive(driver, &proxy, &key, &plan);
    let ended = wall_clock();

    let seen = proxy.seen();
    assert_eq!(proxy.unused(), [], "faults that no request met");
    let refused: Vec<_> = seen.iter().filter(|it| it.answered.is_some_and(|it| it != 200)).collect();
    assert!(refused.is_empty(), "answers other than 200: {refused:?}");

    let stored = server.events();
    every_call_is_stored_once(&plan, &stored);
    for event in &stored {
        let call = &plan[call_of(&event.body)];
        the_envelope_is_right(call, event);
        the_body_says_what_the_caller_said(call, &event.body);
        the_times_are_right(call, event, began, ended);
    }

    let counts = server.settled_accounting();
    let forwarded: u64 = seen.iter().filter(|it| it.method == "POST" && it.answered.is_some()).map(items_in).sum();
    let n_calls = plan.len() as u64;
    assert!(forwarded > n_calls, "nothing was sent twice, so nothing was shown");
    assert_eq!(counts.accepted, n_calls, "{counts:?}");
    assert_eq!(counts.duplicates, forwarded - n_calls, "repeats are counted: {counts:?}");
    assert_eq!((counts.processed, counts.parked, counts.dropped), (n_calls, 0, 0), "{counts:?}");
    Run { seen }
}

fn every_call_is_stored_once(plan: &[Value], stored: &[Stored]) {
    let mut times = vec![0; plan.len()];
    for event in stored {
        times[call_of(&event.body)] += 1;
    }
    let wrong: Vec<_> = times.iter().enumerate().filter(|(_, n)| **n != 1).map(|(call, n)| (&plan[call], n)).collect();
    assert!(wrong.is_empty(), "calls stored other than once: {wrong:#?}");
    let ids: BTreeMap<&str, i64> = stored.iter().map(|it| (it.message_id.as_str(), it.position)).collect();
    assert_eq!(ids.len(), stored.len(), "a message id was stored twice");
    assert!(stored.windows(2).all(|it| it[0].position < it[1].position), "positions do not rise");
}

fn the_envelope_is_right(call: &Value, event: &Stored) {
    let said = |field: &str| call[field].as_str();
    assert_eq!(Some(event.kind.as_str()), said("type"));
    assert_eq!(Some(event.message_id.as_str()), event.body["messageId"].as_str());
    assert_eq!(event.user_id.as_deref(), said("user"), "user of {call}");
    if call["user"].is_null() {
        assert_eq!(event.anonymous_id.as_deref(), said("anonymous"), "visitor of {call}");
    }
    // Calls without an event name of their own are stored, and matched by rules, under one of ours.
    let name = match event.kind.as_str() {
        "identify" => Some("Identified"),
        "alias" => Some("Aliased"),
        "group" => Some("Group Joined"),
        "page" => Some("Page Viewed"),
        "screen" => Some("Screen Viewed"),
        _ => said("event"),
    };
    assert_eq!(event.name.as_deref(), name, "name of {call}");
}

/// Clients add to properties and traits, so what the caller gave must be there, and more may be.
fn the_body_says_what_the_caller_said(call: &Value, body: &Value) {
    contains(&body["properties"], &call["properties"], "properties");
    let traits = if body["traits"].is_null() { &body["context"]["traits"] } else { &body["traits"] };
    contains(traits, &call["traits"], "traits");
    for (ours, theirs) in [("group", "groupId"), ("previous", "previousId"), ("event", "event"), ("name", "name")] {
        if !call[ours].is_null() {
            assert_eq!(body[theirs], call[ours], "{theirs} of {call}");
        }
    }
}

fn contains(stored: &Value, said: &Value, path: &str) {
    match said {
        Value::Object(fields) => {
            for (name, value) in fields {
                contains(&stored[name], value, &format!("{path}.{name}"));
            }
        }
        Value::Null => assert!(stored.is_null(), "{path}: {stored} instead of null"),
        _ => assert_eq!(stored, said, "{path}"),
    }
}

fn the_times_are_right(call: &Value, event: &Stored, began: Timestamp, ended: Timestamp) {
    let slack = SignedDuration::from_secs(1);
    let within = began - slack..=ended + slack;
    assert!(within.contains(&event.received_at), "received at {} outside {within:?}", event.received_at);
    let Some(said) = call["at"].as_str() else {
        assert!(within.contains(&event.at), "{call} happened at {} outside {within:?}", event.at);
        return;
    };
    let said: Timestamp = said.parse().unwrap();
    let field = ["originalTimestamp", "timestamp"].into_iter().find_map(|it| event.body[it].as_str()).unwrap();
    assert_eq!(field.parse::<Timestamp>().unwrap(), said, "the client's time of {call}");
    let late = event.at.duration_since(said);
    assert!(late.abs() <= SKEW_MAX, "{call} is stored as of {}, {late:?} away", event.at);
}

/// The clock that the clients and the server read; a bound for what they stored, never an expectation.
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

/// Which call of the plan an item carries.
fn call_of(item: &Value) -> usize {
    let call = item["context"]["call"].as_u64().unwrap_or_else(|| panic!("an event that nobody sent: {item}"));
    usize::try_from(call).unwrap()
}

/// The number of events in one request.
fn items_in(request: &Seen) -> u64 {
    let mut text = Vec::new();
    if request.header("content-encoding") == Some("gzip") {
        flate2::read::GzDecoder::new(request.body.as_slice()).read_to_end(&mut text).unwrap();
    } else {
        text.clone_from(&request.body);
    }
    let body: Value = serde_json::from_slice(&text).unwrap();
    body["batch"].as_array().map_or(1, |it| it.len() as u64)
}

/// Runs the driver to its end with the plan on its standard input.
fn drive(driver: &[String], proxy: &Proxy, key: &str, plan: &[Value]) {
    let mut child = Command::new(&driver[0])
        .args(&driver[1..])
        .env("NODE_PATH", services().join("node_modules"))
        .env("CARILLON_CLIENT_URL", format!("http://{}", proxy.address))
        .env("CARILLON_CLIENT_KEY", key)
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/services/install", driver[0]));
    child.stdin.take().unwrap().write_all(Value::from(plan).to_string().as_bytes()).unwrap();
    let deadline = Instant::now() + CLIENT_WITHIN;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{driver:?} ended with {status}:\n{said}\n{:#?}", proxy.seen());
}

fn node(driver: &str, arguments: &[&str]) -> Vec<String> {
    let modules = services().join("node_modules");
    assert!(modules.is_dir(), "no Node clients in {}; run tests/services/install", modules.display());
    ["node".to_owned(), drivers().join(driver).display().to_string()]
        .into_iter()
        .chain(arguments.iter().map(|it| (*it).to_owned()))
        .collect()
}

fn python(arguments: &[&str]) -> Vec<String> {
    let python = services().join("python/bin/python");
    assert!(python.exists(), "no Python clients in {}; run tests/services/install", services().display());
    [python.display().to_string(), drivers().join("python_clients.py").display().to_string()]
        .into_iter()
        .chain(arguments.iter().map(|it| (*it).to_owned()))
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn drivers() -> PathBuf {
    root().join("tests/clients/drivers")
}

fn services() -> PathBuf {
    root().join("target/test-services")
}
