//! Bodies as clients really send them, and bodies nobody should send.

use std::time::Duration;

use carillon::clock::Stopwatch;
use carillon::event::EVENT_BYTES_MAX;
use carillon::event::track_api::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX};
use carillon::http::config::Config;
use carillon::ids::Span;

use super::world::World;
use crate::client::{Request, gzip};

const BATCH: &str = r#"{"batch":[{"type":"track","event":"E","userId":"u"}]}"#;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/track_api/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn bodies_are_read_whatever_their_type_says() {
    let world = World::start();
    let browser = Request::post("/v1/t", fixture("segment_browser_single")).header("Content-Type", "text/plain");
    assert_eq!(world.send(&browser.key("wk")).status, 200);
    assert_eq!(world.log.last().name, "Product Viewed");
    let rudder = Request::post("/v1/batch", gzip(&fixture("rudder_node_batch")))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Content-Encoding", "gzip");
    assert_eq!(world.send(&rudder.key("wk")).status, 200);
    assert_eq!(world.log.last().name, "Order Completed");
    let python = Request::post("/v1/batch", fixture("segment_python_batch")).header("Content-Type", "application/json");
    assert_eq!(world.send(&python).status, 200, "its key is in the body");
    for (name, value) in [("Content-Encoding", "identity"), ("Content-Encoding", ""), ("Content-Type", "????")] {
        assert_eq!(world.send(&Request::post("/v1/b", BATCH).header(name, value).key("wk")).status, 200, "{value}");
    }
}

#[test]
fn a_chunked_body_is_a_body() {
    let world = World::start();
    let mut connection = world.connect();
    let head = "POST /v1/t HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d2s6\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write(head.as_bytes());
    connection.write(b"b\r\n{\"event\":\"E\r\n");
    connection.write(b"f\r\n\",\"userId\":\"u\"}\r\n0\r\n\r\n");
    assert_eq!(connection.read().status, 200);
    assert_eq!(world.log.last().body.text(), r#"{"event":"E","userId":"u"}"#);
}

#[test]
fn other_encodings_are_refused_and_the_right_one_named() {
    let world = World::start();
    for value in ["br", "zstd", "deflate", "gzip, gzip", "gzip,br", "compress"] {
        let answer =
            world.send(&Request::post("/v1/b", gzip(BATCH.as_bytes())).header("Content-Encoding", value).key("wk"));
        assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_encoding"), "{value}");
        assert_eq!(answer.header("accept-encoding"), Some("gzip"));
    }
    let twice = gzip(&gzip(BATCH.as_bytes()));
    let two_headers =
        Request::post("/v1/b", twice.clone()).header("Content-Encoding", "gzip").header("Content-Encoding", "gzip");
    assert_eq!(world.send(&two_headers.key("wk")).status, 415);
    let inside = Request::post("/v1/b", twice).header("Content-Encoding", "gzip").key("wk");
    assert_eq!(world.send(&inside).status, 400, "gzip is not JSON");
    for broken in [&b"not gzip"[..], b"", &gzip(BATCH.as_bytes())[..20]] {
        let request = Request::post("/v1/b", broken).header("Content-Encoding", "gzip").key("wk");
        assert_eq!(world.send(&request).code(), "invalid_gzip");
    }
    assert!(world.log.events().is_empty());
}

#[test]
fn a_body_packed_in_several_members_is_their_whole_and_bounded_as_one() {
    let world = World::start();
    let (start, end) = BATCH.as_bytes().split_at(BATCH.len() / 2);
    let members = [gzip(start), gzip(b""), gzip(end)].concat();
    let send = |body: Vec<u8>| world.send(&Request::post("/v1/b", body).header("Content-Encoding", "gzip").key("wk"));
    assert_eq!(send(members.clone()).status, 200);
    let whole = world.log.events().len();
    assert!(whole > 0);
    for broken in [[&members[..], b"and more"].concat(), members[..members.len() - 3].to_vec()] {
        assert_eq!(send(broken).code(), "invalid_gzip");
    }
    // Each would fit.
    let large = gzip(&vec![b' '; 200 * 1024]);
    assert_eq!(send([&large[..], &large, &large].concat()).status, 413);
    assert_eq!(world.log.events().len(), whole);
}

#[test]
fn a_body_over_the_limit_is_refused_before_the_rest_and_the_connection_closed() {
    let world = World::start();
    for (path, limit) in [("/v1/batch", BATCH_BYTES_MAX), ("/v1/track", EVENT_BYTES_MAX)] {
        let mut connection = world.connect();
        connection.write(&Request::post(path, "").key("wk").head(limit + 1));
        let answer = connection.read();
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
        assert!(answer.json()["expected"].as_str().unwrap().contains(&limit.to_string()));
        assert!(connection.is_closed());
    }
    let mut connection = world.connect();
    connection.write(
        b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Basic d2s6\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x1_0000], b"\r\n".to_vec()].concat();
    // Eight of these pass the limit; the ninth is never asked for.
    assert!((0..8).all(|_| connection.write(&chunk)));
    assert_eq!(connection.read().status, 413);
    assert!(connection.is_closed());
}

#[test]
fn an_endless_body_to_nowhere_does_not_hold_its_connection() {
    let world = World::start();
    for head in ["POST /v1/nowhere/at/all", "PUT /v1/track"] {
        let mut connection = world.connect();
        connection
            .write(format!("{head} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n").as_bytes());
        let answer = connection.read();
        assert!([404, 405].contains(&answer.status), "{answer:?}");
        assert!(connection.is_closed());
    }
}

#[test]
fn a_body_of_exactly_the_limit_is_taken() {
    let world = World::start();
    let padded = |inner: &str, size: usize| format!("{inner}{}", " ".repeat(size - inner.len()));
    assert_eq!(world.send(&Request::post("/v1/batch", padded(BATCH, BATCH_BYTES_MAX)).key("wk")).status, 200);
    let event = format!(r#"{{"event":"E","userId":"u","p":"{}"}}"#, "x".repeat(EVENT_BYTES_MAX - 33));
    assert_eq!(event.len(), EVENT_BYTES_MAX);
    world.track(&event);
}

#[test]
fn a_batch_of_too_many_items_is_refused_with_the_limit() {
    let world = World::start();
    let batch = |count: usize| {
        let items = vec![r#"{"type":"track","event":"E","userId":"u"}"#; count].join(",");
        world.send(&Request::post("/v1/batch", format!(r#"{{"batch":[{items}]}}"#)).key("wk"))
    };
    let answer = batch(BATCH_ITEMS_MAX + 1);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_items"));
    assert!(answer.json()["expected"].as_str().unwrap().contains("2500"));
    assert_eq!(batch(BATCH_ITEMS_MAX).status, 200);
    assert_eq!(world.log.events().len(), BATCH_ITEMS_MAX);
}

#[test]
fn json_that_cannot_be_kept_is_refused_by_name() {
    let world = World::start();
    let call = |inner: &str| format!(r#"{{"event":"E","userId":"u","p":{inner}}}"#).into_bytes();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, code) in [
        (call(&deep), "too_deep"),
        (call("NaN"), "invalid_json"),
        (call(&"9".repeat(10_000)), "number_too_long"),
        (call(r#""\ud800""#), "lone_surrogate"),
        (call(r#""\u0000""#), "nul_character"),
        ([br#"{"event":""#.to_vec(), vec![0xFF], br#"","userId":"u"}"#.to_vec()].concat(), "invalid_utf8"),
        (b"[]".to_vec(), "not_an_object"),
        (b"".to_vec(), "invalid_json"),
    ] {
        let answer = world.send(&Request::post("/v1/t", body).key("wk"));
        assert_eq!((answer.status, answer.code().as_str()), (400, code));
    }
    assert!(world.log.events().is_empty());
    let exact = r#"[1e400,-0,9223372036854775808,1.10,0.1000000000000000055511151231257827]"#;
    let event = world.track(&format!(r#"{{"event":"E","userId":"u","p":{exact}}}"#));
    assert_eq!(event.lookup("p").unwrap().to_string(), exact.replace("1e400", "1e+400"));
    assert!(event.body.text().contains(exact));
}

#[test]
fn a_body_that_drips_is_cut_at_its_deadline() {
    let world = World::with(Config { body_deadline: Span::from_millis(300), ..Config::default() });
    let mut connection = world.connect();
    connection.write(&Request::post("/v1/t", "").key("wk").head(100));
    let watch = Stopwatch::start();
    connection.write(b"{");
    let answer = connection.read();
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_too_slow"));
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
    assert!(connection.is_closed());
    assert!(Config::default().body_deadline <= Span::from_seconds(10));
    assert!(carillon::http::HEAD_DEADLINE <= Duration::from_secs(5));
}

#[test]
fn a_head_that_never_ends_is_cut() {
    let world = World::start();
    let mut connection = world.connect();
    connection.write(b"POST /v1/t HTTP/1.1\r\nHost:");
    assert_eq!(connection.read().status, 408);
}
