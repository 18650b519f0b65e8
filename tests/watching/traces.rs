//! Traces, as a collector that reads OTLP by the official definitions gets them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Folder, Server};
use crate::shop::{Shop, beside};

fn spans(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_trace_leads_from_the_request_over_the_log_to_the_provider() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.jsonl");
    let (_collector, port) = beside("tests/watching/spans.py", &[&file]);
    let endpoint = format!("http://127.0.0.1:{port}");
    let shop = Shop::open(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    shop.order("o1", "ann@example.com", &[("traceparent", &parent), ("x-request-id", "checkout-1")]);
    shop.order("o2", "gone@example.com", &[]);
    // The caller does not record this one, so nobody does.
    shop.order("o3", "bob@example.com", &[("traceparent", "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-00f067aa0ba902b7-00")]);
    shop.until("sent", 2);
    shop.until("failed", 1);
    let deadline = Instant::now() + Duration::from_secs(60);
    let ours = |spans: &[Value]| spans.iter().filter(|span| span["trace"] == trace).cloned().collect::<Vec<_>>();
    while ours(&spans(&file)).len() < 5 || !spans(&file).iter().any(|span| span["failed"] == true) {
        assert!(Instant::now() < deadline, "{:#?}", spans(&file));
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = spans(&file);
    let mine = ours(&all);
    let named: BTreeMap<&str, &Value> = mine.iter().map(|span| (span["name"].as_str().unwrap(), span)).collect();
    let request = named["POST batch"];
    assert_eq!((&request["parent"], &request["kind"]), (&"00f067aa0ba902b7".into(), &2.into()));
    assert_eq!(request["attributes"]["carillon.correlation_id"], "checkout-1");
    assert_eq!(request["attributes"]["http.response.status_code"], 200);
    for name in ["append", "decide", "send"] {
        assert_eq!(named[name]["parent"], request["span"], "{name}: {mine:#?}");
    }
    assert_eq!(named["send"]["attributes"]["carillon.campaign"], "thanks");
    assert_eq!(named["send"]["attributes"]["carillon.outcome"], "accepted");
    assert_eq!(request["resource"]["service.name"], "carillon");
    assert_eq!(request["resource"]["deployment.environment"], "test");
    assert_eq!((&request["path"], &request["type"]), (&"/v1/traces".into(), &"application/x-protobuf".into()));
    assert!(all.iter().all(|span| span["trace"] != "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "{all:#?}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("example.com"), "a span holds an address");
    assert_eq!(shop.server.stop(), 0);
}

#[test]
fn a_collector_with_tls_is_believed_by_its_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (file, authority) = (folder.path().join("spans.jsonl"), folder.path().join("authority.pem"));
    let (_collector, port) = beside("tests/watching/spans.py", &[&file, &authority]);
    let endpoint = format!("https://localhost:{port}");
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    // Nobody vouches for it here, so it gets nothing; the service sends its mail all the same.
    let stranger = Shop::open(&settings);
    stranger.order("o1", "ann@example.com", &[]);
    stranger.until("sent", 1);
    assert_eq!(stranger.server.stop(), 0);
    assert_eq!(spans(&file), Vec::<Value>::new());
    let shop = Shop::open(&[settings[0], settings[1], ("SSL_CERT_FILE", authority.to_str().unwrap())]);
    shop.order("o1", "ann@example.com", &[]);
    shop.until("sent", 1);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !spans(&file).iter().any(|span| span["name"] == "send") {
        assert!(Instant::now() < deadline, "{:#?}", spans(&file));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(shop.server.stop(), 0);
}

#[test]
fn the_demo_is_traced_as_a_shop_is() {
    let folder = Folder::new();
    let file = folder.path("spans.jsonl");
    let (_collector, port) = beside("tests/watching/spans.py", &[&file]);
    let endpoint = format!("http://127.0.0.1:{port}");
    let server = Server::start_with(&folder, &["demo"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    folder.ok(&["demo", "forward", "1h"]);
    // What waits is sent before the end.
    assert_eq!(server.stop(), 0);
    assert!(!spans(&file).is_empty());
}

#[test]
fn a_collector_that_is_away_stops_nothing() {
    // Nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let shop = Shop::open(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "100")]);
    for n in 0..20 {
        shop.order(&format!("o{n}"), "ann@example.com", &[]);
    }
    shop.until("sent", 20);
    let asked = Instant::now();
    assert_eq!(shop.server.stop(), 0);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[test]
fn variables_that_cannot_be_meant_are_refused_at_the_start() {
    let folder = crate::program::Folder::new();
    let mut command = folder.command();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317").env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let said = crate::program::said(&mut command);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("http/protobuf"), "{}", said.err);
    let mut command = folder.command();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318");
    let said = crate::program::said(&mut command);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("http:// or https://"), "{}", said.err);
}
