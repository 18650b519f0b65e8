//! What real shops' customers lead to, confirmed by loops of another language over the same file: who belongs to a
//! segment and when, who is written to and when, what everybody buys most.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use carillon::ids::Timestamp;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::database::Backend;
use crate::import::{invoice_lines, real};
use crate::program::{Folder, root};
use crate::reminder::defs;

const POLICY: &str = "---\nkind: consent_policy\nrules: [ { channel: email, unknown: blocked } ]\n";

const CUSTOMERS: &str = "\
kind: computed_trait
key: favourite
compute: { most_frequent: properties.products.product_id, over: Order Completed }
---
kind: segment
key: vip
name: Three orders and 2,000 pounds within 90 days
owner: crm@shop.example
where:
  all:
    - performed: { event: Order Completed, at_least: 3, within: 90d }
    - performed: { event: Order Completed, sum: properties.revenue, gte: GBP 2000, within: 90d }
---
kind: segment
key: lapsed
name: Ordered twice, and not for 60 days
owner: crm@shop.example
where:
  all:
    - performed: { event: Order Completed, at_least: 2 }
    - not: { performed: { event: Order Completed, within: 60d } }
---
kind: segment
key: hearts
name: Buys the white hanging heart most
owner: crm@shop.example
where: { trait: { favourite: 85123A } }
---
kind: campaign
key: come_back
name: Come back
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { segment: lapsed, on: entered }
exit: [ { event: Order Completed } ]
send: { channel: email, template: come_back }
";

const REMINDERS: &str = "\
kind: campaign
key: look_again
name: Look again
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Viewed, key: properties.product_id, on_repeat: restart, reentry: { after: 2d } }
delay: 30m
exit:
  - { event: Product Added, same: properties.product_id }
  - { event: Order Completed, same: { entry: properties.product_id, event: properties.products.product_id } }
send: { channel: email, template: look_again }
---
kind: campaign
key: left_behind
name: Left behind
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.product_id }
delay: 1h
exit: [ { event: Order Completed, same: { entry: properties.product_id, event: properties.products.product_id } } ]
send: { channel: email, template: left_behind }
";

/// A folder with these definitions in force, and templates of these names.
fn with(definitions: &str, templates: &[&str]) -> Folder {
    let folder = Folder::on(Backend::Sqlite);
    folder.write("defs/all.yaml", &(definitions.to_owned() + POLICY));
    for key in templates {
        folder.write(&format!("defs/{key}/template.yaml"), "kind: template\n");
        folder.write(&format!("defs/{key}/subject"), "Hello");
        folder
            .write(&format!("defs/{key}/email.html"), "<p>Hello</p><a href=\"{{links.unsubscribe}}\">Unsubscribe</a>");
    }
    folder.ok(&["apply", &defs(&folder)]);
    folder
}

/// Its first lines.
fn head(folder: &Folder, file: &Path, lines: usize) -> PathBuf {
    let lines = BufReader::new(GzDecoder::new(File::open(file).unwrap())).lines().take(lines);
    folder.write("head.csv", &lines.collect::<Result<Vec<_>, _>>().unwrap().join("\n"))
}

fn oracle(script: &str, file: &Path) -> Value {
    let output = Command::new("python3").arg(root().join("tests/oracles").join(script)).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn import(folder: &Folder, file: &Path, format: &str) -> Value {
    let file = file.to_str().unwrap();
    let arguments = ["--address-domain", "example.com", "--consent", "email=granted", "--json"];
    folder.json(&[&["import", file, "--format", format], &arguments[..]].concat())
}

/// As the oracles tell of many lines.
fn told(mut lines: Vec<String>) -> Value {
    lines.sort_unstable();
    let digest: String = Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "count": lines.len(), "digest": digest })
}

/// Whom a campaign wrote to, and when.
fn written(folder: &Folder, campaign: &str) -> Vec<String> {
    let listed = folder.json(&["messages", "--campaign", campaign, "--status", "sent", "--json", "--limit", "1000000"]);
    let line = |message: &Value| {
        let at: Timestamp = message["created_at"].as_str().unwrap().parse().unwrap();
        format!("{} {}", message["user_id"].as_str().unwrap(), at.millis())
    };
    listed["messages"].as_array().unwrap().iter().map(line).collect()
}

/// Everybody's ways into a segment and out of it, as the log has them.
fn moves(folder: &Folder, segment: &str) -> Vec<String> {
    let database = rusqlite::Connection::open(folder.data().join("carillon.db")).unwrap();
    let sql = "SELECT value, entries.now, name = 'Segment Entered' FROM entries JOIN identifiers USING (profile)
               WHERE name IN ('Segment Entered', 'Segment Left') AND body ->> '$.properties.segment' = ?";
    let mut rows = database.prepare(sql).unwrap();
    let line = |row: &rusqlite::Row<'_>| {
        let (who, at, entered): (String, i64, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("{who} {at} {}", if entered { "in" } else { "out" }))
    };
    rows.query_map([segment], line).unwrap().collect::<Result<_, _>>().unwrap()
}

/// What is kept of everybody who has it.
fn favourites(folder: &Folder) -> Vec<String> {
    let database = rusqlite::Connection::open(folder.data().join("carillon.db")).unwrap();
    let sql = "SELECT user_id, remembered FROM profiles";
    let mut rows = database.prepare(sql).unwrap();
    let found = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?));
    let found = rows.query_map([], found).unwrap().map(Result::unwrap);
    let line = |(who, remembered): (String, Option<String>)| {
        let remembered: Value = serde_json::from_str(&remembered?).unwrap();
        Some(format!("{who} {}", remembered["computed"]["favourite"]["value"].as_str()?))
    };
    found.filter_map(line).collect()
}

#[test]
fn real_data_of_uci_says_who_is_good_who_stopped_coming_and_what_they_like() {
    let name = "real_data_of_uci_says_who_is_good_who_stopped_coming_and_what_they_like";
    let Some(file) = real(name, "A_purchases/uci_online_retail_2010-12_to_2011-08.csv.gz") else { return };
    let folder = with(CUSTOMERS, &["come_back"]);
    let file = head(&folder, &file, invoice_lines().saturating_mul(3));
    let expected = oracle("customers.py", &file);
    let answer = import(&folder, &file, "uci-retail");
    assert_eq!(answer["sent"], expected["come_back"]["count"], "{answer:#}");
    assert_eq!(told(moves(&folder, "vip")), expected["vip"]);
    assert_eq!(told(moves(&folder, "lapsed")), expected["lapsed"]);
    let came_back = written(&folder, "come_back").into_iter().map(|line| line + " in").collect();
    assert_eq!(told(came_back), expected["come_back"]);
    assert_eq!(told(favourites(&folder)), expected["favourite"]);
    let sizes = folder.json(&["segments", "hearts", "--json"]);
    assert_eq!(sizes["size"], expected["hearts"], "{sizes:#}");
    assert!(expected["vip"]["count"].as_u64() > Some(0) && expected["hearts"].as_u64() > Some(0), "{expected}");
}

/// Of clicks, far more lead to a message than of invoices' lines.
fn reminders_agree(name: &str, file: &str, format: &str) {
    let Some(file) = real(name, file) else { return };
    let folder = with(REMINDERS, &["look_again", "left_behind"]);
    let file = head(&folder, &file, invoice_lines() / 7);
    let expected = oracle("triggers.py", &file);
    let answer = import(&folder, &file, format);
    for campaign in ["look_again", "left_behind"] {
        let expected = &expected[campaign];
        let of_it = |one: &&Value| one["campaign"] == campaign;
        let matched = answer["campaigns"].as_array().unwrap().iter().find(of_it).unwrap();
        assert_eq!(matched["matched"], expected["entered"], "{campaign}: {answer:#}");
        assert_eq!(told(written(&folder, campaign)), expected["sent"], "{campaign}");
        let (entered, exited) = (expected["entered"].as_u64().unwrap(), expected["exited"].as_u64().unwrap());
        assert!(exited > 0 && expected["sent"]["count"] == entered - exited, "{campaign}: {expected}");
    }
}

#[test]
fn real_data_of_retailrocket_reminds_of_what_was_looked_at_and_left() {
    let name = "real_data_of_retailrocket_reminds_of_what_was_looked_at_and_left";
    reminders_agree(name, "A_behaviour/retailrocket_sample.csv.gz", "retailrocket");
}

#[test]
fn real_data_of_taobao_reminds_of_what_was_looked_at_and_left() {
    let name = "real_data_of_taobao_reminds_of_what_was_looked_at_and_left";
    reminders_agree(name, "A_behaviour/taobao_userbehavior_full_histories.csv.gz", "taobao");
}
