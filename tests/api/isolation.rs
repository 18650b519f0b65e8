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
const OF_THE_PROCESS: [&str; 7] =
    ["settings", "nodes", "boots", "leases", "idempotent_answers", "counters", "seaql_migrations"];
/// A thing of each class that exists nowhere.
const NOWHERE: &str = "0123456789abcdef0123456789abcdef";

/// By which names something is asked for: first in a path, or of a parameter or field.
type Ids = BTreeMap<&'static str, Vec<String>>;

/// Everything a shop can have, and for each class of things the ids by which one of it is asked for.
async fn shop(world: &World) -> Ids {
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.send(&key, "identify", json!({ "userId": "ann", "anonymousId": "device-1", "messageId": "i2" })).await;
    world.forward("1s").await;
    world.put_in_cart(&key, "c1").await;
    world.forward("1h").await;
    let park = "INSERT INTO parked (position, workspace, profile, cause, parked_at) SELECT position, workspace, profile, 'odd', now
                FROM entries WHERE workspace = 1 AND profile IS NOT NULL ORDER BY position LIMIT 1";
    world.change(park).await;
    let name = "/api/v1/imports?format=profiles&name=people.jsonl";
    let imported =
        world.ask(world.request("POST", name).bearer_auth(crate::house::TOKEN).body("{\"userId\":\"bo\"}\nx\n"));
    let import = imported.await.json()["id"].as_str().unwrap().to_owned();
    super::imports::ended(world, &import).await;
    let (token, _) = world.token(&["events:read"]).await;
    let stopped = json!({ "suppressions": [{ "channel": "email", "address": "bo@b.example" }] });
    world.post("/api/v1/suppressions", stopped).await.ok();
    let given = |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.to_owned()).collect() };
    let mut ids: Ids = BTreeMap::from([
        ("person", given(&["ann", "device-1", "ann@example.com"])),
        ("event", given(&["add-c1"])),
        ("address", given(&["bo@b.example"])),
        ("token", vec![token]),
        ("import", vec![import]),
    ]);
    for (path, list, name, class) in [
        ("profiles", "profiles", "id", "person"),
        ("events", "events", "position", "event"),
        ("events", "events", "id", "event"),
        ("events", "events", "correlation_id", "correlation"),
        ("messages", "messages", "id", "message"),
        ("keys", "keys", "id", "key"),
        ("keys", "keys", "prefix", "key"),
        ("parked", "parked", "position", "parked"),
        ("segments", "segments", "key", "definition"),
        ("definitions/campaign", "definitions", "key", "definition"),
        ("definitions/template", "definitions", "key", "definition"),
    ] {
        let page = world.get(&format!("/api/v1/{path}")).await.ok();
        let row = page[list].as_array().unwrap().first().unwrap_or_else(|| panic!("the shop has none of {path}"));
        let id = match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        ids.entry(class).or_default().push(id);
    }
    ids
}

/// Which ids a name asks by; all of them where nobody has said it here.
fn asked_by<'i>(ids: &'i Ids, name: &str) -> Vec<&'i String> {
    let class = match name {
        "profile" | "profiles" | "q" => "person",
        "event" | "events" => "event",
        "message" | "messages" | "inbox" => "message",
        "campaign" | "template" | "definitions" | "segments" | "templates" | "pause" | "resume" | "send-test" => {
            "definition"
        }
        "keys" => "key",
        "tokens" => "token",
        "imports" => "import",
        "parked" => "parked",
        "correlation_id" => "correlation",
        "address" | "suppressions" => "address",
        _ => return ids.values().flatten().collect(),
    };
    ids[class].iter().collect()
}

/// What a write needs beside an id to be understood.
fn body_of(operation: &Operation, id: &str) -> Option<Value> {
    let body = match operation.id {
        "sayConsent" => json!({ "channel": "email", "state": "denied" }),
        "eraseProfile" => json!({ "by": "me", "reason": "asked" }),
        "renderTemplate" => json!({ "channel": "email" }),
        "pause" | "resume" => json!({ "scope": id }),
        "sendTest" => json!({ "template": id, "channel": "email", "to": "a@example.com" }),
        "uploadSegmentMembers" => json!({ "members": ["ann"] }),
        "redriveMessages" => json!({ "campaign": id }),
        "unsuppress" => json!({ "channel": "email", "address": id }),
        "rotateToken" | "redriveParked" | "redriveMessage" | "stopImport" => json!({}),
        _ => return None,
    };
    Some(body)
}

/// Method, path and body.
type Asked = (String, String, Option<Value>);

/// Where a request names an id.
#[derive(Debug, Clone)]
enum Place {
    Path,
    Query(String),
    Body,
}

/// Every place in which an operation can name one of these ids.
fn places<'i>(operation: &Operation, ids: &'i Ids) -> Vec<(&'i String, Place)> {
    let first = operation.path.split('/').nth(1).unwrap_or_default();
    // A kind of definitions is no id.
    if operation.path.replace("{kind}", "").contains('{') {
        return asked_by(ids, first).into_iter().map(|id| (id, Place::Path)).collect();
    }
    let mut all = Vec::new();
    let names = ["profile", "event", "message", "campaign", "template", "id", "q", "correlation_id", "address"];
    for parameter in operation.parameters.iter().filter(|one| names.contains(&one.name.as_str())) {
        let name = if parameter.name == "id" { first } else { parameter.name.as_str() };
        all.extend(asked_by(ids, name).into_iter().map(|id| (id, Place::Query(parameter.name.clone()))));
    }
    if body_of(operation, "").is_some() {
        all.extend(asked_by(ids, first).into_iter().map(|id| (id, Place::Body)));
    }
    all
}

/// The request that names this id there.
fn request(operation: &Operation, place: &Place, id: &str) -> Asked {
    let path = operation.path.replace("{kind}", "campaign");
    let escaped = id.replace('%', "%25").replace('/', "%2F").replace('@', "%40");
    let (path, body) = match place {
        Place::Path => {
            let (before, after) = path.split_once('{').unwrap();
            (format!("{before}{escaped}{}", after.split_once('}').unwrap().1), body_of(operation, id))
        }
        Place::Query(name) => (format!("{path}?{name}={escaped}"), None),
        Place::Body => (path, body_of(operation, id)),
    };
    (operation.method.to_string(), format!("/api/v1{path}"), body)
}

async fn ask(world: &World, (method, path, body): &Asked) -> Answer {
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
    let world = World::small().await;
    let ids = shop(&world).await;
    let world = world.given_away().await;
    let before = rows(&world).await;
    for table in [
        "entries",
        "profiles",
        "messages",
        "enrollments",
        "identifiers",
        "definitions",
        "api_tokens",
        "parked",
        "imports",
        "import_rejects",
    ] {
        assert!(before[table].is_some(), "{table} has nothing of another workspace");
    }
    let (mut asked, mut operations_asked) = (0, 0);
    for operation in operations().iter().filter(|one| !NOT_ASKED.contains(&one.id)) {
        let all = places(operation, &ids);
        operations_asked += usize::from(!all.is_empty());
        for (id, place) in &all {
            // A number is asked for as one that nobody has, and so is an address.
            let other = match id {
                id if id.parse::<i64>().is_ok() => "987654321",
                id if id.contains('@') => "nobody@nowhere.example",
                _ => NOWHERE,
            };
            let (theirs, nobodys) = (request(operation, place, id), request(operation, place, other));
            let (answer, none) = (ask(&world, &theirs).await, ask(&world, &nobodys).await);
            assert_eq!(answer.status, none.status, "{theirs:?}: {answer:?}");
            // A refusal repeats the beginning of what was asked for.
            let said = |answer: &Answer, id: &str| match answer.status {
                200 => answer.text.replace(id, "ID"),
                _ => answer.problem().1,
            };
            assert_eq!(said(&answer, id), said(&none, other), "{theirs:?}");
            assert!(!matches!(place, Place::Path) || answer.status == 404, "{theirs:?}: {answer:?}");
            asked += 1;
        }
    }
    assert!(operations_asked > 25 && asked > 60, "{operations_asked} operations, {asked} requests");
    for path in
        ["profiles", "events", "messages", "parked", "suppressions", "keys", "tokens", "erasures", "pauses", "imports"]
    {
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
