//! Real shapes of official clients, the clock rule, faults by name, and arbitrary bytes.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const RECEIVED: &str = "2026-11-20T10:00:10Z";

fn arrival() -> Arrival<'static> {
    Arrival {
        workspace: WorkspaceId(1),
        source: "shop",
        correlation_id: "c",
        trace: None,
        received_at: RECEIVED.parse().unwrap(),
        times: Times::Corrected,
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/track_api/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn events(body: &[u8]) -> Vec<Result<Event, ItemFault>> {
    let mut made = 0;
    let new_id = || {
        made += 1;
        format!("made-{made}")
    };
    parse_batch(&BatchText::of(body)).unwrap().events(&arrival(), new_id).unwrap()
}

fn single(kind: Kind, body: &str) -> Result<Event, ItemFault> {
    parse_single(body.as_bytes()).unwrap().event(kind, &arrival(), || "made".into())
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_node_batch_is_corrected_by_its_one_sending_time() {
    let body = fixture("segment_node_batch");
    let text = BatchText::of(&body);
    let batch = parse_batch(&text).unwrap();
    assert_eq!(batch.write_key().unwrap(), "wk_demo");
    let events: Vec<Event> = events(&body).into_iter().map(Result::unwrap).collect();
    assert_eq!((events[0].at, events[1].at), (time("2026-11-20T10:00:08Z"), time("2026-11-20T10:00:09Z")));
    assert_eq!(events[0].original_at, Some(time("2026-11-20T10:00:00Z")));
    assert_eq!((events[0].name.as_str(), events[1].name.as_str()), ("Product Added", "Page Viewed"));
    assert_eq!(events[0].lookup("properties.price").unwrap().to_string(), "40.10");
    assert!(std::str::from_utf8(&body).unwrap().contains(events[0].body.text()), "verbatim");
    assert!(events[0].message_id.starts_with("node-next-"));
}

#[test]
fn a_browser_single_has_a_null_user_and_its_own_sending_time() {
    let body = String::from_utf8(fixture("segment_browser_single")).unwrap();
    let event = single(Kind::Track, body.trim_end()).unwrap();
    assert_eq!((event.user_id, event.anonymous_id.unwrap().len()), (None, 36));
    assert_eq!(event.at, time("2026-11-20T10:00:09.750Z"));
    assert_eq!(event.body.text(), body.trim_end());
    assert_eq!(event.version, 1, "context.library.version is another version");
}

#[test]
fn a_python_batch_sends_null_and_microseconds_and_offsets() {
    let events: Vec<Event> = events(&fixture("segment_python_batch")).into_iter().map(Result::unwrap).collect();
    assert_eq!(events[0].anonymous_id, None);
    assert_eq!(events[0].traits().unwrap()["email"], "ann@example.com");
    assert_eq!(events[0].at, time("2026-11-20T10:00:08.123Z"));
    assert_eq!(events[1].at, time("2026-11-20T10:00:09Z"));
}

#[test]
fn rudder_clients_use_other_fields_for_time_and_traits() {
    let node = events(&fixture("rudder_node_batch")).remove(0).unwrap();
    assert_eq!(node.at, time("2026-11-20T10:00:07Z"));
    let python = events(&fixture("rudder_python_batch")).remove(0).unwrap();
    assert_eq!(python.traits().unwrap()["tier"], "gold");
}

#[test]
fn traits_come_from_both_places_and_a_name_in_both_is_what_the_call_itself_says() {
    use serde_json::{Value, json};
    let traits = |fields: &str| {
        let event = single(Kind::Identify, &format!(r#"{{"userId":"ann","messageId":"m",{fields}}}"#)).unwrap();
        event.traits().map(|traits| Value::Object(traits.into_owned()))
    };
    let context = r#""context":{"traits":{"email":"ann@example.com","x":1}}"#;
    assert_eq!(
        traits(&format!(r#""traits":{{"x":2}},{context}"#)),
        Some(json!({ "email": "ann@example.com", "x": 2 }))
    );
    assert_eq!(
        traits(&format!(r#""traits":{{"x":null}},{context}"#)),
        Some(json!({ "email": "ann@example.com", "x": null }))
    );
    assert_eq!(traits(&format!(r#""traits":null,{context}"#)), Some(json!({ "email": "ann@example.com", "x": 1 })));
    assert_eq!(traits(context), Some(json!({ "email": "ann@example.com", "x": 1 })));
    assert_eq!(traits(r#""traits":{"x":2},"context":{"traits":{"x":1}}"#), Some(json!({ "x": 2 })));
    assert_eq!(traits(r#""traits":{"x":2}"#), Some(json!({ "x": 2 })));
    assert_eq!(traits(r#""context":{}"#), None);
}

#[test]
fn the_batch_s_context_reaches_the_items_that_lack_it() {
    let events: Vec<Event> = events(&fixture("shared_context_batch")).into_iter().map(Result::unwrap).collect();
    assert_eq!(events[0].user_id.as_deref(), Some("4711"));
    assert_eq!(events[0].lookup("context.library.name").unwrap(), "ours");
    assert_eq!(events[0].lookup("integrations.All").unwrap(), true);
    assert_eq!(events[1].lookup("context.ip").unwrap(), "198.51.100.7");
    assert_eq!(events[1].lookup("context.library.name").unwrap(), "ours");
    assert_eq!(events[2].lookup("integrations.All").unwrap(), false);
    assert_eq!([events[0].version, events[1].version, events[2].version], [2, 3, 2]);
    let made: Vec<&str> = events.iter().map(|event| event.message_id.as_str()).collect();
    assert_eq!(made, ["made-1", "made-2", "made-3"]);
}

#[test]
fn a_small_body_cannot_grow_by_merging() {
    let context = format!(r#"{{"a":"{}"}}"#, "x".repeat(20_000));
    let items = vec![r#"{"type":"track","event":"E","userId":"u"}"#; 2_000].join(",");
    let body = format!(r#"{{"context":{context},"batch":[{items}]}}"#);
    let fault = parse_batch(&BatchText::of(body.as_bytes())).unwrap().events(&arrival(), String::new).unwrap_err();
    assert_eq!(fault, Fault::TooLargeMerged);
}

#[test]
fn each_faulty_call_is_refused_by_code_and_field() {
    let long = "x".repeat(NAME_CHARS_MAX + 1);
    let cases = [
        (Kind::Track, r#"{"event":"E"}"#.to_owned(), "missing_identity", "userId"),
        (Kind::Track, r#"{"event":"E","userId":" ","anonymousId":null}"#.into(), "missing_identity", "userId"),
        (Kind::Track, r#"{"userId":"u"}"#.into(), "missing_event", "event"),
        (Kind::Track, r#"{"userId":"u","event":""}"#.into(), "missing_event", "event"),
        (Kind::Track, r#"{"userId":"u","event":{}}"#.into(), "wrong_type", "event"),
        (Kind::Track, format!(r#"{{"userId":"u","event":"{long}"}}"#), "too_long", "event"),
        (Kind::Track, format!(r#"{{"userId":"{long}","event":"E"}}"#), "too_long", "userId"),
        (Kind::Track, r#"{"userId":["u"],"event":"E"}"#.into(), "wrong_type", "userId"),
        (Kind::Track, r#"{"userId":"u","event":"E","messageId":{}}"#.into(), "wrong_type", "messageId"),
        (Kind::Group, r#"{"userId":"u"}"#.into(), "missing_group_id", "groupId"),
        (Kind::Alias, r#"{"userId":"u"}"#.into(), "missing_previous_id", "previousId"),
        (Kind::Alias, r#"{"previousId":"u"}"#.into(), "missing_user_id", "userId"),
    ];
    for (kind, body, code, field) in cases {
        let fault = single(kind, &body).unwrap_err();
        assert_eq!((fault.code, fault.field), (code, Some(field)), "{body}");
    }
}

#[test]
fn one_bad_item_leaves_the_others_and_is_named() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let large = "x".repeat(EVENT_BYTES_MAX);
    let faulty = [
        (r#"{"event":"E","userId":"u"}"#.to_owned(), "missing_type"),
        (r#"{"type":"own","userId":"u"}"#.into(), "unknown_type"),
        (r#"{"type":7,"userId":"u"}"#.into(), "wrong_type"),
        (r#"{"type":"track","event":"\ud800","userId":"u"}"#.into(), "lone_surrogate"),
        (r#"{"type":"track","event":"E","userId":"\u0000"}"#.into(), "nul_character"),
        (format!(r#"{{"type":"track","event":"E","userId":"u","p":{deep}}}"#), "too_deep"),
        (format!(r#"{{"type":"track","event":"E","userId":"u","p":"{large}"}}"#), "event_too_large"),
        ("7".into(), "not_an_object"),
        ("null".into(), "not_an_object"),
    ];
    let good = r#"{"type":"Track","event":"E","userId":"u","messageId":"m"}"#;
    let items: Vec<&str> = faulty.iter().flat_map(|(item, _)| [item.as_str(), good]).collect();
    let results = events(format!(r#"{{"batch":[{}]}}"#, items.join(",")).as_bytes());
    for (n, (_, code)) in faulty.iter().enumerate() {
        let fault = results[2 * n].as_ref().unwrap_err();
        assert_eq!((fault.index, fault.code), (2 * n, *code));
        assert!(results[2 * n + 1].is_ok());
    }
}

#[test]
fn an_item_that_is_no_utf_8_costs_no_other_item() {
    let good = "{\"type\":\"track\",\"userId\":\"u\",\"event\":\"Caf\u{e9}\u{fffd}\"}".as_bytes().to_vec();
    let bad = [br#"{"type":"track","userId":"u","event":"Caf"#.to_vec(), vec![0xE9, b'"', b'}']].concat();
    let items = [good.clone(), bad.clone(), good.clone(), bad, good].join(&b","[..]);
    let results = events(&[br#"{"batch":["#.to_vec(), items, b"]}".to_vec()].concat());
    let codes: Vec<_> = results.iter().map(|it| it.as_ref().map(|_| "").unwrap_or_else(|fault| fault.code)).collect();
    assert_eq!(codes, ["", "invalid_utf8", "", "invalid_utf8", ""]);
    assert_eq!(results[3].as_ref().unwrap_err().index, 3);
    assert_eq!(results[4].as_ref().unwrap().name, "Caf\u{e9}\u{fffd}", "what somebody wrote stands");
    let all = [br#"{"batch":[""#.to_vec(), vec![0xFF; 500_000], b"\"]}".to_vec()].concat();
    let fault = parse_batch(&BatchText::of(&all)).unwrap_err();
    assert_eq!(fault, Fault::Json(JsonFault::InvalidUtf8 { at: 11 }), "a text of nothing else");
}

#[test]
fn bodies_that_are_no_batch_are_refused_whole() {
    for (body, code) in [
        (&b"{"[..], "Json(Syntax"),
        (b"", "Json(Syntax"),
        (b"[]", "NotABatch"),
        (b"{}", "NotABatch"),
        (br#"{"batch":null}"#, "NotABatch"),
        (br#"{"batch":{}}"#, "NotABatch"),
        (br#"{"batch":[]} x"#, "Json(Syntax"),
        (b"{\"batch\":[1],\"context\":\"\xff\"}", "Json(InvalidUtf8"),
        (b"{\"context\":\"\xff\",\"batch\":[\"\xff\"]}", "Json(InvalidUtf8"),
        (b"{\"batch\":[\xff]}", "Json(InvalidUtf8"),
        (br#"{"batch":[NaN]}"#, "Json(Syntax"),
    ] {
        let fault = format!("{:?}", parse_batch(&BatchText::of(body)).unwrap_err());
        assert!(fault.starts_with(code), "{fault}");
    }
    let many = vec!["1"; BATCH_ITEMS_MAX + 1].join(",");
    let many = format!(r#"{{"batch":[{many}]}}"#);
    assert_eq!(parse_batch(&BatchText::of(many.as_bytes())).unwrap_err(), Fault::TooManyItems);
    assert!(
        parse_batch(&BatchText::of(b"\xef\xbb\xbf{\"batch\":[]}")).unwrap().is_empty(),
        "a byte order mark is no fault"
    );
}

#[test]
fn a_message_id_is_opaque_and_a_long_one_is_still_recognised() {
    let with = |id: &str| single(Kind::Track, &format!(r#"{{"userId":"u","event":"E","messageId":"{id}"}}"#)).unwrap();
    let kept = "é".repeat(MESSAGE_ID_CHARS_MAX);
    assert_eq!(with(&kept).message_id, kept);
    let (one, other) = ("x".repeat(101), "x".repeat(102));
    assert_eq!(with(&one).id, with(&one).id);
    assert_ne!(with(&one).id, with(&other).id);
    assert!(with(&one).message_id.chars().count() <= MESSAGE_ID_CHARS_MAX);
    assert_eq!(with(&one).id, event_id(WorkspaceId(1), &with(&one).message_id));
}

#[test]
fn instants_are_read_in_every_form_clients_send() {
    for (raw, expected) in [
        (r#""2026-03-01T10:00:00.123456+00:00""#, "2026-03-01T10:00:00.123Z"),
        (r#""2026-03-01T11:00:00+01:00""#, "2026-03-01T10:00:00Z"),
        (r#""2026-03-01T10:00:00""#, "2026-03-01T10:00:00Z"),
        (r#""2026-03-01 10:00:00Z""#, "2026-03-01T10:00:00Z"),
        (r#""2026-03-01""#, "2026-03-01T00:00:00Z"),
        ("1772359200000", "2026-03-01T10:00:00Z"),
        ("1772359200", "2026-03-01T10:00:00Z"),
        (r#""1772359200000""#, "2026-03-01T10:00:00Z"),
        ("1772359200.5", "2026-03-01T10:00:00.500Z"),
    ] {
        assert_eq!(instant::read(Some(raw)), Some(time(expected)), "{raw}");
    }
    for garbage in [r#""yesterday""#, "1e400", r#""NaN""#, "{}", "true", r#""""#, "null"] {
        assert_eq!(instant::read(Some(garbage)), None, "{garbage}");
    }
    let event = single(Kind::Track, r#"{"userId":"u","event":"E","timestamp":"soon"}"#).unwrap();
    assert_eq!((event.at, event.original_at), (time(RECEIVED), None));
}

#[test]
fn an_import_keeps_its_times_and_live_traffic_corrects_them() {
    let body = br#"{"batch":[{"type":"track","event":"E","userId":"u","timestamp":"2020-01-01T00:00:00Z"}],
        "sentAt":"2026-11-20T10:00:09Z"}"#;
    let text = BatchText::of(body);
    let batch = parse_batch(&text).unwrap();
    let at = |times| batch.events(&Arrival { times, ..arrival() }, String::new).unwrap().remove(0).unwrap().at;
    assert_eq!(at(Times::AsGiven), time("2020-01-01T00:00:00Z"));
    assert_eq!(at(Times::Corrected), time("2020-01-01T00:00:01Z"));
}

#[test]
fn real_data_the_spec_s_example_calls_are_taken_or_refused_for_a_stated_reason() {
    let root = std::env::var("CARILLON_TEST_DATA").unwrap_or_else(|_| "../shared/data".into());
    let path = format!("{root}/C_webhooks/segment/spec_example_calls.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("not run: {path} is absent");
        return;
    };
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (mut taken, mut refused) = (0, std::collections::BTreeMap::new());
    for case in cases["cases"].as_array().unwrap() {
        let item = case.get("body").cloned().unwrap_or_else(|| as_call(case));
        let body = serde_json::json!({ "batch": [item] }).to_string();
        match events(body.as_bytes()).remove(0) {
            Ok(event) => {
                taken += 1;
                assert_eq!(event.body.document(), &item);
            }
            Err(fault) => *refused.entry(fault.code).or_insert(0) += 1,
        }
    }
    // Five e-mail examples write `user_id`, one screen example names nobody, one passes a whole call as the name.
    assert_eq!((taken, refused), (66, [("missing_identity", 6), ("wrong_type", 1)].into()));
}

/// What a client library would send for `analytics.track(…)` and its like.
fn as_call(case: &serde_json::Value) -> serde_json::Value {
    let (method, args) = (case["method"].as_str().unwrap(), case["args"].as_array().unwrap());
    let mut call = serde_json::json!({ "type": method, "anonymousId": "a1" });
    match (method, args.as_slice()) {
        ("track", [event, rest @ ..]) => {
            call["event"] = event.clone();
            call["properties"] = rest.first().cloned().unwrap_or_default();
        }
        ("identify", [traits]) if traits.is_object() => call["traits"] = traits.clone(),
        ("identify", [user, rest @ ..]) => {
            call["userId"] = user.clone();
            call["traits"] = rest.first().cloned().unwrap_or_default();
        }
        ("alias", [user, ..]) => {
            call["userId"] = user.clone();
            call["previousId"] = "a1".into();
        }
        _ => call["properties"] = args.last().cloned().unwrap_or_default(),
    }
    call
}

fn instant_text() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(-62_135_596_800_000_i64..253_402_300_799_999)
}

proptest! {
    #[test]
    fn no_bytes_make_a_body_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(batch) = parse_batch(&BatchText::of(&bytes)) {
            let _ = batch.events(&arrival(), String::new);
        }
        if let Ok(single) = parse_single(&bytes) {
            let _ = single.event(Kind::Track, &arrival(), String::new);
        }
    }

    #[test]
    fn odd_values_in_any_field_never_panic_and_what_is_taken_is_verbatim(
        values in prop::collection::vec(prop::sample::select(vec![
            "null", "1", "-0", "1e999", "\"\"", "\"x\"", "\"2026-01-01\"", "[]", "{}", "{\"version\":9}", "true",
            "\"track\"", "\"\\ud83d\\ude00\"", "{\"a\":1,\"version\":null}",
        ]), 12),
        shared in prop::sample::select(vec!["null", "{}", "7", "{\"a\":2,\"b\":3}"]),
    ) {
        let names = ["type", "event", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp",
            "originalTimestamp", "sentAt", "context", "integrations"];
        let members: Vec<String> = names.iter().zip(&values).map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let item = format!("{{{}}}", members.join(" , "));
        let body = format!(r#"{{"context":{shared},"batch":[{item}]}}"#);
        for event in events(body.as_bytes()).into_iter().flatten() {
            prop_assert!(event.at <= event.received_at);
            prop_assert!(event.body.document().is_object());
            if !shared.contains(':') {
                prop_assert_eq!(event.body.text(), &item);
            }
        }
        if let Ok(event) = single(Kind::Track, &item) {
            prop_assert_eq!(event.body.text(), &item);
        }
    }

    #[test]
    fn the_clock_rule_shifts_by_the_skew_and_never_past_receipt(
        received in -62_135_596_800_000_i64..253_402_300_799_999, sent in instant_text(), original in instant_text(),
    ) {
        let of = Timestamp::from_millis;
        let at = instant::corrected(of(received), sent.map(of), original.map(of)).millis();
        prop_assert!(at <= received);
        let expected = match (sent, original) {
            (Some(sent), Some(original)) => received - (sent - original),
            (None, Some(original)) => original,
            (_, None) => received,
        };
        prop_assert_eq!(at, Timestamp::from_millis(expected).millis().min(received));
    }
}
