//! What is another workspace's is nobody's here: every request that names something, with every id of everything another
//! workspace has, is answered as if there were no such thing, and changes nothing of it.
//!
//! A process serves one workspace. So a shop with everything in it is made, all its rows are given to another workspace,
//! and the service is started again on that database.

use std::collections::BTreeMap;

use carillon::http::admin::operation::Operation;
use carillon::http::admin::operations;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};

use super::world::World;
use crate::house::Answer;

/// Never ends, examines the machine, moves the clock.
const NOT_ASKED: [&str; 3] = ["watch", "examine", "forwardClock"];
/// Tables that say something of the process, not of a workspace.
const OF_THE_PROCESS: [&str; 6] = ["settings", "boots", "leases", "idempotent_answers", "counters", "seaql_migrations"];
/// A thing of each class that exists nowhere.
const NOWHERE: &str = "0123456789abcdef0123456789abcdef";

/// Everything a shop can have, and every id by which any of it is asked for.
async fn shop(world: &World) -> Vec<String> {
    world.furnish().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.send(&key, "identify", json!({ "userId": "ann", "anonymousId": "device-1", "messageId": "i2" })).await;
    world.forward("1s").await;
    world.put_in_cart(&key, "c1").await;
    world.forward("1h").await;
    let park = "INSERT INTO parked (position, workspace, profile, cause, parked_at) SELECT position, workspace, profile, 'odd', now
                FROM entries WHERE workspace = 1 AND profile IS NOT NULL ORDER BY position LIMIT 1";
    world.change(park).await;
    let (token, _) = world.token(&["events:read"]).await;
    let stopped = json!({ "suppressions": [{ "channel": "email", "address": "bo@b.example" }] });
    world.post("/api/v1/suppressions", stopped).await.ok();
    let mut ids: Vec<String> = ["ann", "device-1", "i1", "add-c1", "bo@b.example"].map(str::to_owned).into();
    ids.push(token);
    for (path, list, name) in [
        ("profiles", "profiles", "id"),
        ("events", "events", "position"),
        ("events", "events", "id"),
        ("events", "events", "correlation_id"),
        ("messages", "messages", "id"),
        ("messages", "messages", "enrollment"),
        ("keys", "keys", "id"),
        ("keys", "keys", "prefix"),
        ("parked", "parked", "position"),
        ("segments", "segments", "key"),
        ("definitions/all", "definitions", "key"),
    ] {
        let page = world.get(&format!("/api/v1/{path}")).await.ok();
        let found = page[list].as_array().unwrap().iter().map(|row| match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let before = ids.len();
        ids.extend(found);
        assert!(ids.len() > before, "the shop has none of {path}");
    }
    ids.sort();
    ids.dedup();
    ids
}

/// What a write needs beside an id to be understood.
fn body_of(operation: &Operation, id: &str) -> Option<Value> {
    let body = match operation.id {
        "sayConsent" => json!({ "channel": "email", "state": "denied" }),
        "eraseProfile" => json!({ "by": "me", "reason": "asked" }),
        "renderTemplate" => json!({ "channel": "email" }),
        "pause" | "resume" => json!({ "scope": id }),
        "sendTest" => json!({ "template": id, "channel": "email", "to": "a@example.com" }),
        "redriveMessages" => json!({ "campaign": id }),
        "unsuppress" => json!({ "channel": "email", "address": id }),
        "rotateToken" | "redriveParked" | "redriveMessage" => json!({}),
        _ => return None,
    };
    Some(body)
}

/// Every request in which this operation can name this id: method, path and body.
fn requests(operation: &Operation, id: &str) -> Vec<(String, String, Option<Value>)> {
    let id_in_path = id.replace('%', "%25").replace('/', "%2F").replace('@', "%40");
    let path = operation.path.replace("{kind}", "campaign");
    let method = operation.method.to_string();
    let body = body_of(operation, id);
    let mut all = Vec::new();
    if let Some((before, after)) = path.split_once('{') {
        let after = after.split_once('}').unwrap().1;
        all.push((method, format!("/api/v1{before}{id_in_path}{after}"), body));
        return all;
    }
    let names = ["profile", "event", "message", "campaign", "template", "id", "q", "name", "correlation_id", "address"];
    for parameter in &operation.parameters {
        if names.contains(&parameter.name.as_str()) {
            let query = format!("{}={id_in_path}", parameter.name);
            all.push((method.clone(), format!("/api/v1{path}?{query}"), None));
        }
    }
    if let Some(body) = body {
        all.push((method, format!("/api/v1{path}"), Some(body)));
    }
    all
}

async fn ask(world: &World, (method, path, body): &(String, String, Option<Value>)) -> Answer {
    let mut request = world.request(method, path).bearer_auth(crate::house::TOKEN);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    world.ask(request).await
}

/// Every row of every table, but those of the process and of the workspace that is served.
async fn rows(world: &World) -> BTreeMap<String, Option<String>> {
    let reader = world.house.store().reader();
    let backend = reader.get_database_backend();
    let all = async |sql: String| reader.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    let names = match backend {
        DbBackend::Postgres => "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        _ => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    };
    let mut rows = BTreeMap::new();
    for row in all(names.to_owned()).await {
        let table: String = row.try_get_by_index(0).unwrap();
        if OF_THE_PROCESS.contains(&table.as_str()) {
            continue;
        }
        let columns = match backend {
            DbBackend::Postgres => {
                format!("SELECT column_name::text FROM information_schema.columns WHERE table_name = '{table}'")
            }
            _ => format!("SELECT name FROM pragma_table_info('{table}')"),
        };
        let columns: Vec<String> = all(columns).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        let ours = if columns.contains(&"workspace".to_owned()) { "WHERE workspace <> 1" } else { "" };
        let sql = match backend {
            DbBackend::Postgres => {
                format!("SELECT string_agg(t, ';' ORDER BY t) FROM (SELECT x::text AS t FROM {table} x {ours}) AS y")
            }
            _ => {
                let quoted: Vec<String> = columns.iter().map(|name| format!("quote({name})")).collect();
                format!(
                    "SELECT group_concat(t, ';') FROM (SELECT {} AS t FROM {table} {ours} ORDER BY t)",
                    quoted.join("||','||")
                )
            }
        };
        rows.insert(table, all(sql).await[0].try_get_by_index::<Option<String>>(0).unwrap());
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_workspace_is_seen_or_changed_by_any_request_that_names_it() {
    let world = World::new().await;
    let ids = shop(&world).await;
    let world = world.given_away().await;
    let before = rows(&world).await;
    for table in
        ["entries", "profiles", "messages", "enrollments", "identifiers", "definitions", "api_tokens", "parked"]
    {
        assert!(before[table].is_some(), "{table} has nothing of another workspace");
    }
    let (mut asked, mut operations_asked) = (0, 0);
    for operation in operations().iter().filter(|one| !NOT_ASKED.contains(&one.id)) {
        operations_asked += usize::from(!requests(operation, "x").is_empty());
        for id in &ids {
            // A number is asked for as one that nobody has.
            let other = if id.parse::<i64>().is_ok() { "987654321" } else { NOWHERE };
            for (theirs, nobodys) in requests(operation, id).iter().zip(&requests(operation, other)) {
                let (answer, none) = (ask(&world, theirs).await, ask(&world, nobodys).await);
                let (method, path, body) = theirs;
                assert_eq!(answer.status, none.status, "{method} {path} {body:?}: {answer:?}");
                // Short numbers stand in many places.
                let plain = |answer: &Answer, id: &str| match answer.text.replace(&format!("`{id}`"), "`ID`") {
                    text if id.len() < 8 => text,
                    text => text.replace(id, "ID"),
                };
                assert_eq!(plain(&answer, id), plain(&none, other), "{method} {path} {body:?}");
                let is_named = operation.path.contains('{');
                assert!(!is_named || answer.status == 404, "{method} {path} {body:?}: {answer:?}");
                asked += 1;
            }
        }
    }
    assert!(operations_asked > 25 && asked > 500, "{operations_asked} operations, {asked} requests");
    for path in ["profiles", "events", "messages", "parked", "suppressions", "keys", "tokens", "erasures", "pauses"] {
        let listed = world.get(&format!("/api/v1/{path}")).await.ok();
        let empty = listed.as_object().unwrap().values().all(|value| value.is_null() || *value == json!([]));
        assert!(empty, "{path}: {listed}");
    }
    let after = rows(&world).await;
    for (table, rows) in &before {
        assert_eq!(rows, &after[table], "{table} was changed");
    }
    world.close().await;
}
