//! Backups over HTTP: made while the service goes on, fetched whole, and removed; nothing else of the folder is handed
//! out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::World;
use crate::house::{Moody, TOKEN};

async fn made(world: &World) -> Value {
    let answer = world.post("/api/v1/backups", json!({})).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/x-ndjson"));
    let last: Value = serde_json::from_str(answer.text.lines().last().unwrap()).unwrap();
    assert!(last["backup"].is_object(), "{}", answer.text);
    last["backup"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_while_events_come_and_what_is_fetched_has_its_checksums() {
    let world = World::small().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.forward("1s").await;
    assert_eq!(world.get("/api/v1/backups").await.ok(), json!({ "backups": [] }));
    let first = made(&world).await;
    world.put_in_cart(&key, "c1").await;
    let second = made(&world).await;
    assert_eq!((&first["manifest"]["profiles"], first["manifest"]["carillon"].is_string()), (&json!(1), true));
    assert!(second["manifest"]["position"].as_i64() > first["manifest"]["position"].as_i64(), "{first} {second}");
    let listed = world.get("/api/v1/backups").await.ok();
    let names: Vec<&Value> = listed["backups"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&second["name"], &first["name"]]);
    let name = first["name"].as_str().unwrap();
    assert_eq!(world.get(&format!("/api/v1/backups/{name}")).await.ok(), first);
    for (file, known) in first["manifest"]["files"].as_object().unwrap() {
        let asked = world.request("GET", &format!("/api/v1/backups/{name}/files/{file}")).bearer_auth(TOKEN);
        let answer = asked.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/octet-stream".parse().unwrap())
        );
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(known["bytes"], bytes.len() as u64, "{file}");
        assert_eq!(known["blake3"], blake3::hash(&bytes).to_hex().to_string(), "{file}");
    }
    let removed = world.ask(world.request("DELETE", &format!("/api/v1/backups/{name}")).bearer_auth(TOKEN)).await;
    assert_eq!(removed.ok()["name"], name);
    assert_eq!(world.get("/api/v1/backups").await.ok()["backups"].as_array().unwrap().len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_a_backup_is_handed_out_and_to_nobody_without_the_scope() {
    let world = World::small().await;
    let backup = made(&world).await;
    let name = backup["name"].as_str().unwrap();
    for path in [
        "/api/v1/backups/nothing".to_owned(),
        "/api/v1/backups/..".to_owned(),
        "/api/v1/backups/%2e%2e%2f%2e%2e".to_owned(),
        format!("/api/v1/backups/{name}/files/other"),
        format!("/api/v1/backups/{name}/files/..%2f..%2f..%2fcarillon.db"),
        format!("/api/v1/backups/{name}.partial/files/manifest.json"),
    ] {
        let answer = world.get(&path).await;
        assert!(answer.status == 404, "{path}: {answer:?}");
    }
    let (_, other) = world.token(&["privacy:write", "settings:read"]).await;
    let (_, may) = world.token(&["backups:write"]).await;
    for path in ["/api/v1/backups".to_owned(), format!("/api/v1/backups/{name}/files/manifest.json")] {
        let refused = world.as_bearer(&other, "GET", &path, None).await;
        assert_eq!(refused.problem(), (403, "missing_scope".to_owned()));
        assert_eq!(world.as_bearer(&may, "GET", &path, None).await.status, 200, "{path}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_asked_for_twice_by_one_name_is_made_once() {
    let world = World::small().await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let request =
            world.request("POST", "/api/v1/backups").bearer_auth(TOKEN).header("Idempotency-Key", "nightly-1");
        told.push(world.ask(request.body("{}")).await.text);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(world.get("/api/v1/backups").await.ok()["backups"].as_array().unwrap().len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_failed_is_made_when_it_is_asked_for_again_by_the_same_name() {
    let world = World::small().await;
    let in_the_way = world.folder().join("backups");
    std::fs::write(&in_the_way, "a file").unwrap();
    let ask = async || {
        let request =
            world.request("POST", "/api/v1/backups").bearer_auth(TOKEN).header("Idempotency-Key", "nightly-1");
        let told = world.ask(request.body("{}")).await.text;
        serde_json::from_str::<Value>(told.lines().last().unwrap()).unwrap()
    };
    for _ in 0..2 {
        let failed = ask().await;
        assert!(failed["error"].is_string(), "{failed}");
    }
    std::fs::remove_file(&in_the_way).unwrap();
    let made = ask().await;
    assert!(made["backup"].is_object(), "{made}");
    assert_eq!(ask().await, made, "what was made is not made again");
    assert_eq!(world.get("/api/v1/backups").await.ok()["backups"].as_array().unwrap().len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_folder_is_listed_after_a_restart_and_whoever_put_it_there() {
    let world = World::small().await;
    let ours = made(&world).await;
    let world = world.again(Arc::new(Moody::default())).await;
    // As `carillon backup` beside the service leaves one: another process, another name.
    let folder = world.folder().join("backups");
    let (from, to) = (folder.join(ours["name"].as_str().unwrap()), folder.join("monday"));
    std::fs::create_dir(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let listed = world.get("/api/v1/backups").await.ok();
    let names: Vec<&Value> = listed["backups"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&json!("monday"), &ours["name"]], "{listed}");
    let manifest = world.get("/api/v1/backups/monday/files/manifest.json").await;
    assert_eq!((manifest.status, manifest.json()), (200, ours["manifest"].clone()));
    let third = made(&world).await;
    assert_ne!(third["name"], ours["name"]);
    assert_eq!(world.get("/api/v1/backups").await.ok()["backups"].as_array().unwrap().len(), 3);
    world.close().await;
}
