//! A service whose commits fail is not ready, with the cause; and is ready again by itself when there is room, although
//! whoever shares out the traffic sends it none meanwhile.

use std::time::Duration;

use carillon::clock::Stopwatch;
use serde_json::{Value, json};

use super::BACKEND;
use super::world::World;
use crate::database::Backend;

async fn readiness(world: &World) -> (u16, Value) {
    let answer = world.get("/readyz").await;
    let checks = answer.json()["checks"].as_array().unwrap().clone();
    let writer = checks.into_iter().find(|check| check["name"] == "writer").unwrap();
    (answer.status, writer)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_commits_fail_a_service_is_unready_and_finds_out_by_itself_when_they_are_kept() {
    let world = World::small().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    assert_eq!(readiness(&world).await.0, 200);
    for table in ["entries", "settings"] {
        world.change(&refusing(table)).await;
    }
    let event = json!({ "userId": "ann", "messageId": "m1", "event": "Product Viewed" });
    let call = world.request("POST", "/v1/track").basic_auth(&key, Some("")).body(event.to_string());
    assert_eq!(world.ask(call).await.status, 503);
    for _ in 0..3 {
        let (status, writer) = readiness(&world).await;
        assert_eq!((status, &writer["ok"]), (503, &json!(false)), "{writer}");
        let cause = match BACKEND {
            Backend::Sqlite => "the service's log has the cause",
            Backend::Postgres => "the disk is full",
        };
        assert_eq!(writer["detail"], format!("the log cannot be written: {cause}"));
    }
    for table in ["entries", "settings"] {
        world.change(&allowing(table)).await;
    }
    // Nobody sends anything but the one who asks whether it is ready.
    let began = Stopwatch::start();
    while readiness(&world).await.0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "it stays unready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.close().await;
}

/// As a database fails that is in trouble: a plain word of a trigger would be about the row.
fn refusing(table: &str) -> String {
    match BACKEND {
        Backend::Sqlite => format!(
            "CREATE TRIGGER full_{table} BEFORE INSERT ON {table} BEGIN SELECT abs(-9223372036854775807 - 1); END"
        ),
        Backend::Postgres => format!(
            "CREATE OR REPLACE FUNCTION full() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = 'disk_full'; END $$;
             CREATE TRIGGER full_{table} BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION full()"
        ),
    }
}

fn allowing(table: &str) -> String {
    match BACKEND {
        Backend::Sqlite => format!("DROP TRIGGER full_{table}"),
        Backend::Postgres => format!("DROP TRIGGER full_{table} ON {table}"),
    }
}
