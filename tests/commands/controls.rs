//! The switches a person needs, with a server and without, and the check-up.

use carillon::store::controls::{DEMO_SHOP, set_setting};
use serde_json::json;

use crate::database::Backend;
use crate::program::{Folder, Server, root};

/// What `carillon demo` leaves in a folder by which its clock may be moved.
pub fn made_a_demo(folder: &Folder) {
    std::fs::write(folder.data().join("demo-key"), "as a demo has one").unwrap();
    let making = async {
        let database = carillon::store::open(folder.address()).await.unwrap();
        set_setting(&database.writer, DEMO_SHOP, "1 0").await.unwrap();
        database.close().await;
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(making);
}

fn shop() -> Folder {
    let folder = Folder::new();
    folder.ok(&["apply", root().join("templates").to_str().unwrap()]);
    folder
}

#[test]
fn sending_is_paused_and_resumed() {
    let folder = shop();
    let _server = Server::start(&folder, &["serve"]);
    assert_eq!(folder.json(&["pause", "--all", "--json"])["pauses"], json!(["all"]));
    let both = folder.json(&["pause", "--campaign", "cart_reminder", "--json"]);
    assert_eq!(both["pauses"], json!(["all", "cart_reminder"]));
    assert_eq!(folder.json(&["resume", "--all", "--json"])["pauses"], json!(["cart_reminder"]));
    for arguments in [&["pause"][..], &["pause", "--json"], &["pause", "--all", "--campaign", "x"], &["redrive"]] {
        assert_eq!(folder.run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_list_that_is_cut_says_so_and_who_enters_a_paused_campaign_is_told() {
    let folder = shop();
    for arguments in [["pause", "--help"], ["resume", "--help"]] {
        assert!(folder.ok(&arguments).contains("nobody new enters it"));
    }
    let calls: String = (0..3)
        .flat_map(|n| {
            let who = format!(r#""userId":"u{n}","timestamp":"2026-03-01T10:00:00Z""#);
            let traits = format!(r#""traits":{{"email":"u{n}@example.com"}}"#);
            [
                format!("{{\"type\":\"identify\",\"messageId\":\"i{n}\",{who},{traits}}}\n"),
                format!(
                    "{{\"type\":\"track\",\"messageId\":\"t{n}\",{who},\"event\":\"Product Added\",\"properties\":{{\"cart_id\":\"c\"}}}}\n"
                ),
            ]
        })
        .collect();
    let file = folder.write("calls.jsonl", &calls);
    folder.ok(&["import", file.to_str().unwrap(), "--format", "jsonl", "--consent", "email=granted"]);
    let said = folder.run(&["messages", "--limit", "2"]);
    assert!(said.code == 0 && said.err.contains("2 of 3; --limit N shows more"), "{said:?}");
    let said = folder.run(&["messages"]);
    assert!(said.code == 0 && !said.err.contains("shows more"), "{said:?}");
    assert_eq!(folder.run(&["messages", "--limit", "0"]).code, 2);
}

#[test]
fn a_test_message_is_in_the_inbox_and_a_wrong_name_is_told_the_nearest() {
    let folder = shop();
    let sent = folder.ok(&["send-test", "--template", "cart_reminder", "--to", "me@example.com"]);
    assert!(sent.contains("sandbox"), "{sent}");
    let said = folder.run(&["send-test", "--template", "cart_remainder", "--to", "me@example.com"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("did you mean `cart_reminder`?"), "{}", said.err);
}

#[test]
fn the_doctor_names_what_is_paused_and_how_it_goes_on() {
    let folder = shop();
    assert!(folder.ok(&["doctor"]).contains("nothing is paused"));
    folder.ok(&["pause", "--campaign", "cart_reminder"]);
    let told = folder.ok(&["doctor"]);
    assert!(told.contains("paused: cart_reminder") && told.contains("resume --campaign"), "{told}");
    folder.ok(&["pause", "--all"]);
    let told = folder.ok(&["doctor"]);
    assert!(told.contains("all sending is paused") && told.contains("resume --all"), "{told}");
}

#[test]
fn a_folder_whose_clock_was_moved_never_sends_for_real() {
    let folder = shop();
    let said = folder.run(&["demo", "forward", "1h"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("not a demo's folder") && said.err.contains("carillon demo --data"), "{}", said.err);
    let server = Server::start(&folder, &["serve"]);
    for with_a_key_like_a_demos in [false, true] {
        if with_a_key_like_a_demos {
            std::fs::write(folder.data().join("demo-key"), "as if a demo had made this folder").unwrap();
        }
        let said = folder.run(&["demo", "forward", "1h"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("only a demo's clock can be moved"), "{}", said.err);
    }
    drop(server);
    assert_eq!(folder.run(&["demo", "forward", "1h"]).code, 1);

    made_a_demo(&folder);
    folder.ok(&["demo", "forward", "1h"]);
    let mut serve = folder.command();
    serve.args(["serve", "--listen", "127.0.0.1:0"]).env("CARILLON_SMTP__URL", "smtp://127.0.0.1:1");
    let said = crate::program::said(&mut serve);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("fresh data folder"), "{}", said.err);
    drop(Server::start(&folder, &["serve"]));
}

#[test]
fn the_doctor_works_with_a_server_and_without_and_finds_all_well() {
    examine(&shop());
}

#[test]
fn on_postgres_the_doctor_finds_all_well_and_counts_the_processes() {
    let folder = Folder::on(Backend::Postgres);
    folder.write("defs/shop.yaml", "kind: consent_policy\nrules: [ { channel: email, unknown: blocked } ]\n");
    folder.ok(&["apply", folder.path("defs").to_str().unwrap()]);
    assert!(folder.ok(&["doctor"]).contains("none runs on this database"));
    examine(&folder);
}

fn examine(folder: &Folder) {
    let told = folder.ok(&["doctor"]);
    assert!(told.contains('\u{2713}') && !told.contains('\u{2717}') && told.ends_with("all is well\n"), "{told}");
    let _server = Server::start(folder, &["serve"]);
    let told = folder.json(&["doctor", "--json"]);
    assert!(told["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{told:#}");
}
