//! What clients are told: success only when stored, temporary trouble as temporary, each bad item by its place.

use std::num::NonZeroU32;

use carillon::eventlog::AppendError;
use carillon::http::config::Config;
use carillon::ids::{Span, WorkspaceId};

use super::world::World;
use crate::client::Request;
use crate::database::Backend;

const TRACK: &str = r#"{"event":"Product Added","userId":"ann","messageId":"m1"}"#;

#[test]
fn one_bad_item_of_a_thousand_is_named_and_the_others_stored() {
    let world = World::start();
    let item = |n: usize| match n {
        500 => r#"{"type":"track","userId":"u","messageId":"m500"}"#.to_owned(),
        _ => format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"m{n}"}}"#),
    };
    let items: Vec<String> = (0..1_000).map(item).collect();
    let request = Request::post("/v1/batch", format!(r#"{{"batch":[{}]}}"#, items.join(","))).key("wk");
    let answer = world.send(&request);
    assert_eq!(answer.status, 200);
    let expected = serde_json::json!({
        "success": true, "accepted": 999, "duplicates": 0,
        "rejected": [{
            "index": 500, "messageId": "m500", "code": "missing_event", "field": "event",
            "message": "track needs `event`, the name of what happened",
        }],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(world.send(&request).json()["duplicates"], 999);
    assert_eq!(world.log.events().len(), 999);
}

#[test]
fn a_single_bad_call_is_refused_with_its_field() {
    let world = World::start();
    let answer = world.send(&Request::post("/v1/t", r#"{"event":"E"}"#).key("wk"));
    assert_eq!((answer.status, answer.code().as_str()), (400, "missing_identity"));
    assert_eq!(answer.json()["field"], "userId");
    assert_eq!(answer.json()["type"], "/problems/missing_identity");
}

#[test]
fn a_repeat_is_answered_like_the_first_and_the_first_is_kept() {
    let world = World::start();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let address = world.address;
            std::thread::spawn(move || {
                let mut connection = crate::client::Connection::open(address);
                (0..25).for_each(|_| {
                    let answer = connection.send(&Request::post("/v1/t", TRACK).key("wk").header("X-Retry-Count", "1"));
                    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#));
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let other_body = r#"{"event":"Order Completed","userId":"ann","messageId":"m1"}"#;
    assert_eq!(world.send(&Request::post("/v1/t", other_body).key("wk")).status, 200);
    assert_eq!(world.log.events().len(), 1);
    assert_eq!(world.log.last().name, "Product Added");
    assert_eq!(world.send(&Request::post("/v1/t", TRACK).key("other")).status, 200);
    assert_eq!(world.log.events().len(), 2, "another tenant's event is another event");
}

#[test]
fn our_trouble_is_never_called_theirs() {
    let world = World::start();
    for (trouble, status, code) in [
        (AppendError::Overloaded, 429, "overloaded"),
        (AppendError::Failing("disk full".into()), 503, "storage_failing"),
        (AppendError::Stopping, 503, "stopping"),
    ] {
        world.log.fail_with(Some(trouble));
        for request in [
            Request::post("/v1/t", TRACK),
            Request::post("/v1/b", r#"{"batch":[{"type":"track","event":"E","userId":"u"},{}]}"#),
        ] {
            let answer = world.send(&request.key("wk"));
            assert_eq!((answer.status, answer.code().as_str()), (status, code));
            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            assert_eq!(answer.header("x-ratelimit-reset").is_some(), status == 429);
            assert!(!answer.body.contains("disk"), "what broke is for our log");
        }
    }
    world.log.fail_with(None);
    world.track(TRACK);
}

/// A rule of the database's own stands against some events: whoever sends one hears it, at its place in a batch, and
/// whoever sends another at the same time has it stored.
#[test]
fn an_event_that_the_database_does_not_take_is_told_to_its_sender_and_all_others_are_stored() {
    let world = World::start();
    world.refuse_events_named("Unwanted");
    let code = if super::BACKEND == Backend::Sqlite { "1811" } else { "23514" };
    let why = format!("the database does not take it ({code}); the same again is refused again");
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let (address, why) = (world.address, why.clone());
            std::thread::spawn(move || {
                let mut connection = crate::client::Connection::open(address);
                for n in 0..20 {
                    let is_unwanted = sender == 3 && n % 5 == 0;
                    let name = if is_unwanted { "Unwanted" } else { "Product Viewed" };
                    let body = format!(r#"{{"event":"{name}","userId":"u{sender}","messageId":"m{sender}-{n}"}}"#);
                    let answer = connection.send(&Request::post("/v1/t", body).key("wk"));
                    if is_unwanted {
                        assert_eq!((answer.status, answer.code().as_str()), (422, "not_storable"));
                        assert_eq!(answer.json()["detail"], why);
                        assert!(answer.header("retry-after").is_none());
                    } else {
                        assert_eq!(answer.body, r#"{"success":true}"#);
                    }
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!(world.log.events().len(), 8 * 20 - 4);
    let item = |n: usize, name: &str| format!(r#"{{"type":"track","event":"{name}","userId":"u","messageId":"b{n}"}}"#);
    let items = [item(0, "Viewed"), item(1, "Noise"), "{}".into(), item(3, "Unwanted"), item(4, "Viewed")];
    let answer = world.send(&Request::post("/v1/batch", format!(r#"{{"batch":[{}]}}"#, items.join(","))).key("ruled"));
    assert_eq!(answer.status, 200);
    let told = answer.json();
    assert_eq!((&told["accepted"], &told["dropped"], &told["duplicates"]), (&2.into(), &1.into(), &0.into()));
    let codes: Vec<_> = told["rejected"].as_array().unwrap().iter().map(|one| (&one["index"], &one["code"])).collect();
    assert_eq!(codes, [(&2.into(), &"missing_type".into()), (&3.into(), &"not_storable".into())]);
    assert_eq!((&told["rejected"][1]["messageId"], &told["rejected"][1]["message"]), (&"b3".into(), &why.into()));
    assert_eq!(world.log.events().len(), 8 * 20 - 2);
}

#[test]
fn a_log_that_hangs_is_not_waited_for_without_end() {
    let world = World::with(Config { append_deadline: Span::from_millis(200), ..Config::default() });
    world.log.get_stuck();
    let answer = world.send(&Request::post("/v1/t", TRACK).key("wk"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "storage_slow"));
}

#[test]
fn a_key_over_its_rate_is_asked_to_wait_and_others_are_not() {
    let few = NonZeroU32::new(3).unwrap();
    let one = NonZeroU32::MIN;
    let world = World::with(Config { requests_per_second: one, requests_burst: few, ..Config::default() });
    let mut connection = world.connect();
    let mut send = |key: &str| connection.send(&Request::post("/v1/t", TRACK).key(key));
    assert!((0..3).all(|_| send("wk").status == 200));
    let answer = send("wk");
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait));
    assert_eq!(answer.header("x-ratelimit-reset"), answer.header("retry-after"));
    assert_eq!(send("other").status, 200);
}

#[test]
fn ten_thousand_wrong_keys_from_one_address_are_held_back_but_a_right_key_is_not() {
    let world = World::start();
    let mut connection = world.connect();
    let mut statuses = std::collections::BTreeMap::new();
    for n in 0..10_000 {
        let answer = connection.send(&Request::post("/v1/t", TRACK).key(&format!("guess-{n}")));
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    assert!(statuses[&401] < 2_000 && statuses[&429] > 8_000, "{statuses:?}");
    let answer = connection.send(&Request::post("/v1/t", TRACK).key("guess"));
    assert_eq!(answer.code(), "too_many_wrong_keys");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(connection.send(&Request::post("/v1/t", TRACK).key("wk")).status, 200);
}

#[test]
fn a_source_s_rules_act_at_the_door_and_are_counted() {
    let world = World::start();
    let track = |name: &str| {
        let body = format!(r#"{{"event":"{name}","userId":"ann"}}"#);
        assert_eq!(world.send(&Request::post("/v1/t", body).key("ruled")).status, 200);
    };
    ["Noise", "Noise", "Viewed Product", "Cart Viewed"].into_iter().for_each(track);
    let names: Vec<String> = world.log.events().into_iter().map(|event| event.name.clone()).collect();
    assert_eq!(names, ["Product Viewed", "Cart Viewed"]);
    assert!(world.log.events()[0].body.text().contains("Viewed Product"), "what the client said stays");
    let counts = world.counts.take();
    assert_eq!(counts[&("shop".into(), 0)], 2);
    assert_eq!(counts[&("shop".into(), 1)], 1);
    assert!(world.counts.take().is_empty());
}

#[test]
fn an_event_carries_whose_it_is_and_when_it_came() {
    let world = World::start();
    let event = world.track(r#"{"event":"E","userId":7,"messageId":"m","timestamp":"2020-01-01T00:00:00Z"}"#);
    assert_eq!((event.source.as_str(), event.user_id.as_deref()), ("shop", Some("7")));
    assert_eq!(event.id, carillon::event::track_api::event_id(WorkspaceId(1), "m"));
    assert_eq!(event.at, "2020-01-01T00:00:00Z".parse().unwrap());
    assert!(event.received_at > event.at);
}
