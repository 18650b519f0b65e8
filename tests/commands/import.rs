//! An import prints what came of it, and every number opens with `messages`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::database::Backend;
use crate::program::{Folder, root};
use crate::reminder::{SHARED, defs, written};

/// Who bought and did not come back within a day.
const COME_BACK: &str = "\
kind: campaign
key: come_back
name: Come back
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry:
  event: Order Completed
  key: properties.order_id
  match: { properties: { revenue: [ { numeric: [ '>=', 5 ] } ] } }
delay: 1d
exit: [ { event: [ Order Completed, Order Refunded ] } ]
send: { channel: email, template: item_reminder }
";

fn applied(backend: Backend) -> Folder {
    let folder = Folder::on(backend);
    written(&folder);
    folder.ok(&["apply", &defs(&folder)]);
    folder
}

/// One letter a month at most.
fn with_come_back(backend: Backend) -> Folder {
    let folder = Folder::on(backend);
    written(&folder);
    folder.write("defs/reminder.yaml", COME_BACK);
    folder.write("defs/item_reminder/subject", "Your order {{event.properties.order_id}}");
    folder.write("defs/item_reminder/email.html", "<p>Again?</p><a href=\"{{links.unsubscribe}}\">Unsubscribe</a>");
    folder.write(
        "defs/item_reminder/template.yaml",
        "kind: template\nsample: { event: { properties: { order_id: o1 } } }\n",
    );
    folder.write("defs/shared.yaml", &SHARED.replace("at_most: 2, per: 1d", "at_most: 1, per: 30d"));
    folder.ok(&["apply", &defs(&folder)]);
    folder
}

fn import(folder: &Folder, file: &str, consent: &str) -> Value {
    import_as(folder, file, "taobao", consent)
}

fn import_as(folder: &Folder, file: &str, format: &str, consent: &str) -> Value {
    let arguments =
        ["import", file, "--format", format, "--address-domain", "example.com", "--consent", consent, "--json"];
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
fn invoices_lead_to_the_same_letters_on_both_databases() {
    let file = root().join("tests/fixtures/intake/invoices.csv");
    invoices(file.to_str().unwrap());
}

/// The answer on SQLite, which is that on PostgreSQL.
fn invoices(file: &str) -> Value {
    let folder = with_come_back(Backend::Sqlite);
    let answer = import_as(&folder, file, "uci-retail", "email=granted");
    for number in ["events", "matched", "sent"] {
        assert!(answer[number].as_u64().unwrap() > 0, "{number}: {answer:#}");
    }
    every_number_opens(&folder, &answer);
    let there = import_as(&with_come_back(Backend::Postgres), file, "uci-retail", "email=granted");
    assert_eq!(there, answer, "on PostgreSQL the figures are the same");
    answer
}

/// A file of the folder of real data; without it a line past the harness, which shows nothing of tests that pass.
fn real(test: &str, file: &str) -> Option<PathBuf> {
    let data = std::env::var_os("CARILLON_TEST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let path = root().join(data).join(file);
    if path.exists() {
        return Some(path);
    }
    let mut errors = std::io::stderr();
    writeln!(errors, "NOT RUN (no CARILLON_TEST_DATA): {test}").unwrap();
    None
}

#[test]
fn real_data_of_taobao_drives_a_cart_reminder_keyed_by_item() {
    let name = "real_data_of_taobao_drives_a_cart_reminder_keyed_by_item";
    let Some(file) = real(name, "A_behaviour/taobao_userbehavior_full_histories.csv.gz") else { return };
    let folder = applied(Backend::Sqlite);
    let answer = import(&folder, file.to_str().unwrap(), "email=granted");
    for number in ["events", "matched", "sent", "capped"] {
        assert!(answer[number].as_u64().unwrap() > 0, "{number}: {answer:#}");
    }
    every_number_opens(&folder, &answer);
    let there = import(&applied(Backend::Postgres), file.to_str().unwrap(), "email=granted");
    assert_eq!(there, answer, "on PostgreSQL the figures are the same");
}

#[test]
fn real_data_of_uci_brings_the_same_invoices_to_both_databases() {
    let name = "real_data_of_uci_brings_the_same_invoices_to_both_databases";
    let Some(file) = real(name, "A_purchases/uci_online_retail_2010-12_to_2011-08.csv.gz") else { return };
    // The first days of it: the whole takes unoptimised programs many minutes.
    let lines = BufReader::new(GzDecoder::new(File::open(file).unwrap())).lines();
    let days: Vec<String> = lines.take(7_000).collect::<Result<_, _>>().unwrap();
    let folder = Folder::new();
    let answer = invoices(folder.write("days.csv", &days.join("\n")).to_str().unwrap());
    assert!(answer["capped"].as_u64().unwrap() > 0, "{answer:#}");
}
