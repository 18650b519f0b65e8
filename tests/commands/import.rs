//! An import prints what came of it, and every number opens with `messages`.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::database::Backend;
use crate::program::{Folder, root};
use crate::reminder::{defs, written};

fn applied(backend: Backend) -> Folder {
    let folder = Folder::on(backend);
    written(&folder);
    folder.ok(&["apply", &defs(&folder)]);
    folder
}

fn import(folder: &Folder, file: &str, consent: &str) -> Value {
    let arguments =
        ["import", file, "--format", "taobao", "--address-domain", "example.com", "--consent", consent, "--json"];
    folder.json(&arguments)
}

/// Every number of the answer is the number of messages that its command lists.
fn every_number_opens(folder: &Folder, answer: &Value) {
    let outcomes = answer["outcomes"].as_array().unwrap();
    for outcome in outcomes {
        let words: Vec<&str> = outcome["open"].as_str().unwrap().split(' ').skip(1).collect();
        let listed = folder.json(&[&words[..], &["--json", "--limit", "100000"]].concat());
        let count = listed["messages"].as_array().unwrap().len();
        assert_eq!(outcome["count"], count, "{outcome}");
    }
    let sum = |fits: &dyn Fn(&Value) -> bool| -> u64 {
        outcomes.iter().filter(|it| fits(it)).map(|it| it["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(answer["messages"], sum(&|_| true));
    assert_eq!(answer["sent"], sum(&|it| it["status"] == "sent"));
    assert_eq!(answer["capped"], sum(&|it| it["reason"] == "capped"));
    assert_eq!(answer["suppressed"], sum(&|it| it["status"] == "suppressed" && it["reason"] != "capped"));
}

#[test]
fn clicks_lead_to_reminders_and_every_number_opens() {
    clicks(&applied(Backend::Sqlite));
}

#[test]
fn on_postgres_clicks_lead_to_the_same_reminders() {
    clicks(&applied(Backend::Postgres));
}

fn clicks(folder: &Folder) {
    let file = root().join("tests/fixtures/intake/clicks.csv");
    let answer = import(folder, file.to_str().unwrap(), "email=granted");
    assert_eq!(
        (&answer["events"], &answer["matched"], &answer["sent"]),
        (&9.into(), &2.into(), &1.into()),
        "{answer:#}"
    );
    every_number_opens(folder, &answer);
    let again = import(folder, file.to_str().unwrap(), "email=granted");
    assert_eq!(
        (&again["events"], &again["matched"], &again["file"]["repeated"]),
        (&0.into(), &0.into(), &9.into()),
        "{again:#}"
    );
}

#[test]
fn a_file_of_which_no_row_is_an_event_is_a_failure_and_says_so() {
    let folder = applied(Backend::Sqlite);
    let file = folder.write("calls.jsonl", "{\"no\": \"call\"}\nnot even JSON\n");
    let arguments = ["import", file.to_str().unwrap(), "--format", "jsonl"];
    let said = folder.run(&arguments);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("Nothing was imported: no row is an event of the format jsonl"), "{}", said.out);
    assert!(!said.out.contains("apply some"), "{}", said.out);
    let said = folder.run(&[&arguments[..], &["--json"]].concat());
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &answer["file"]["rows"], &answer["events"]), (1, &2.into(), &0.into()), "{answer:#}");
}

#[test]
fn without_consent_the_same_clicks_are_suppressed() {
    let folder = applied(Backend::Sqlite);
    let file = root().join("tests/fixtures/intake/clicks.csv");
    let answer = import(&folder, file.to_str().unwrap(), "email=denied");
    assert_eq!((&answer["sent"], &answer["suppressed"]), (&0.into(), &1.into()), "{answer:#}");
    every_number_opens(&folder, &answer);
}

#[test]
fn real_data_of_taobao_drives_a_cart_reminder_keyed_by_item() {
    let name = "real_data_of_taobao_drives_a_cart_reminder_keyed_by_item";
    let data = std::env::var_os("CARILLON_TEST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let file = root().join(data).join("A_behaviour/taobao_userbehavior_full_histories.csv.gz");
    if !file.exists() {
        // Past the harness, which shows nothing of tests that pass.
        writeln!(std::io::stderr(), "NOT RUN (no CARILLON_TEST_DATA): {name}").unwrap();
        return;
    }
    let folder = applied(Backend::Sqlite);
    let answer = import(&folder, file.to_str().unwrap(), "email=granted");
    for number in ["events", "matched", "sent", "capped"] {
        assert!(answer[number].as_u64().unwrap() > 0, "{number}: {answer:#}");
    }
    every_number_opens(&folder, &answer);
    let there = import(&applied(Backend::Postgres), file.to_str().unwrap(), "email=granted");
    assert_eq!(there, answer, "on PostgreSQL the figures are the same");
}
