//! Commands that once wanted a folder for themselves, beside a service that runs on it.

use serde_json::{Value, json};

use crate::database::Backend;
use crate::program::{Folder, Server, root};
use crate::reminder::{defs, written};

const PEOPLE: &str = "{\"userId\":\"ann\",\"traits\":{\"email\":\"ann@example.com\"},\"consent\":{\"email\":\"granted\"}}\n\
                      nobody at all\n\
                      {\"userId\":\"bob\",\"traits\":{\"email\":\"bob@example.com\"}}\n";

fn served(backend: Backend) -> (Folder, Server) {
    let folder = Folder::on(backend);
    written(&folder);
    folder.ok(&["apply", &defs(&folder)]);
    let server = Server::start(&folder, &["serve"]);
    (folder, server)
}

/// What both ways say of a file: all but where its refused rows are.
fn figures(answer: &Value) -> Value {
    let mut file = answer["file"].clone();
    file.as_object_mut().unwrap().remove("rejects");
    file
}

#[test]
fn people_go_into_a_running_service_with_the_report_they_would_have_without_one() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let (folder, server) = served(backend);
        let people = folder.write("people.jsonl", PEOPLE);
        let arguments = ["import", people.to_str().unwrap(), "--format", "profiles", "--json"];
        let answer = folder.json(&arguments);
        let rejects = std::fs::read_to_string(folder.path("people.jsonl.rejects.csv")).unwrap();
        assert!(rejects.starts_with("line,reason,row\n2,"), "{rejects}");
        assert_eq!(folder.json(&["consent", "--profile", "ann", "--json"])["channels"]["email"]["state"], "granted");
        let alone = Folder::on(backend);
        let there = alone.write("people.jsonl", PEOPLE);
        let without = alone.json(&["import", there.to_str().unwrap(), "--format", "profiles", "--json"]);
        assert_eq!(figures(&answer), figures(&without), "{answer:#}");
        // The same again, by another name and without the service: it is one file.
        let other = folder.write("crm.jsonl", PEOPLE);
        let again = folder.json(&["import", other.to_str().unwrap(), "--format", "profiles", "--json"]);
        let counts = |answer: &Value| json!([answer["file"]["stored"], answer["file"]["repeated"]]);
        assert_eq!((counts(&again), &again["file"]["known_as"]), (json!([0, 3]), &json!("people.jsonl")), "{again:#}");
        assert_eq!(server.stop(), 0);
        let again = folder.json(&["import", other.to_str().unwrap(), "--format", "profiles", "--json"]);
        assert_eq!((counts(&again), &again["file"]["known_as"]), (json!([0, 3]), &json!("people.jsonl")), "{again:#}");
    }
}

#[test]
fn history_goes_into_a_running_service_and_starts_nothing_which_is_said_with_what_to_do() {
    let (folder, _server) = served(Backend::Sqlite);
    let file = root().join("tests/fixtures/intake/clicks.csv");
    let file = file.to_str().unwrap();
    let made_up = folder.run(&["import", file, "--format", "taobao", "--address-domain", "example.com"]);
    assert_eq!(made_up.code, 2, "{made_up:?}");
    assert!(made_up.err.contains("a service runs on") && made_up.err.contains("--data"), "{made_up:?}");
    assert_eq!(folder.json(&["doctor", "--json"])["ok"], true);
    let said = folder.ok(&["import", file, "--format", "taobao", "--consent", "email=granted"]);
    for words in ["start nothing", "a new folder (--data)"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("matched"), "nothing was lived through: {said}");
    let again = folder.json(&["import", file, "--format", "taobao", "--consent", "email=granted", "--json"]);
    assert_eq!((&again["lived_through"], &again["file"]["stored"]), (&json!(false), &json!(0)), "{again:#}");
    assert!(again["file"]["repeated"].as_u64().unwrap() > 0, "{again:#}");
    assert_eq!(folder.json(&["messages", "--json"]), json!({ "messages": [] }));
}

#[test]
fn what_the_service_refuses_of_a_file_is_told() {
    let (folder, _server) = served(Backend::Sqlite);
    let file = folder.write("clicks.csv", "who,what\nann,cart\n");
    let said = folder.run(&["import", file.to_str().unwrap(), "--format", "taobao"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("has no column `user_id`"), "{said:?}");
}

#[test]
fn migrate_beside_a_service_says_that_the_schema_is_up_to_date() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let (folder, server) = served(backend);
        let said = folder.ok(&["migrate"]);
        assert!(said.contains("is up to date: the service at http://"), "{said}");
        let answer = folder.json(&["migrate", "--json"]);
        assert_eq!((&answer["state"], &answer["service"]), (&json!("up to date"), &json!(server.address())));
        assert_eq!(server.stop(), 0);
        let alone = folder.json(&["migrate", "--json"]);
        assert_eq!((&alone["schema"], &alone["service"]), (&answer["schema"], &Value::Null));
    }
}

#[test]
fn an_import_that_no_campaign_heard_says_what_would_help() {
    let folder = Folder::new();
    let file = root().join("tests/fixtures/intake/clicks.csv");
    let said = folder.ok(&["import", file.to_str().unwrap(), "--format", "taobao", "--consent", "email=granted"]);
    assert!(said.contains("No campaign matched") && said.contains("carillon backtest"), "{said}");
    // It does: a reminder for a cart of those days.
    written(&folder);
    let asked = ["backtest", &defs(&folder), "--from", "2017-11-20", "--to", "2017-12-10", "--json"];
    let report = folder.json(&asked);
    assert!(report["campaigns"].to_string().contains("\"entered\":"), "{report:#}");
}
