//! Permission and segments by the command line: answers said for a person, the suppression list, who is in and why.

use serde_json::Value;

use crate::controls::made_a_demo;
use crate::program::{Folder, root};

const CALLS: &str = r#"{"type":"identify","userId":"ann","messageId":"m1","timestamp":"2026-03-01T09:00:00Z","traits":{"email":"ann@example.com","tier":"gold"}}
{"type":"track","event":"Consent Changed","userId":"ann","messageId":"m2","timestamp":"2026-03-01T09:00:00Z","properties":{"channel":"email","state":"granted","source":"old shop","text_version":"v1"}}
{"type":"identify","userId":"bob","messageId":"m3","timestamp":"2026-03-01T09:00:00Z","traits":{"email":"bob@example.com"}}
"#;

/// A shop of two people, whose clock may be moved.
fn shop() -> Folder {
    let folder = Folder::new();
    folder.ok(&["apply", root().join("templates").to_str().unwrap()]);
    let calls = folder.write("calls.jsonl", CALLS);
    folder.ok(&["import", calls.to_str().unwrap(), "--format", "jsonl"]);
    made_a_demo(&folder);
    folder
}

fn columns(rows: &Value, names: [&str; 3]) -> Vec<String> {
    let row = |row: &Value| names.map(|name| row[name].as_str().unwrap_or("-").to_owned()).join(" ");
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn answers_are_said_for_a_person_and_kept_with_way_and_source() {
    let folder = shop();
    let consent = |more: &[&str]| folder.run(&[&["consent", "--profile", "ann"], more].concat());
    assert!(
        consent(&["--set", "email=denied", "--source", "by telephone", "--text-version", "v2"]).out.contains("stored")
    );
    assert_eq!(consent(&["--set", "topic:offers=unsubscribed"]).code, 0);
    let behind = consent(&[]).out;
    assert!(behind.contains("not processed yet"), "{behind}");
    folder.ok(&["demo", "forward", "1s"]);
    let told = folder.json(&["consent", "--profile", "ann", "--json"]);
    assert_eq!(
        columns(&told["ledger"], ["about", "state", "via"]),
        ["email granted import", "email denied api", "topic:offers denied api"]
    );
    assert_eq!(columns(&told["suppressions"], ["channel", "address", "kind"])[0], "email ann@example.com unsubscribed");
    let shown = consent(&[]).out;
    for part in ["by telephone (text v2)", "topic:offers", "old shop (text v1)", "unsubscribed"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    for (wrong, part) in [
        ("email", "is no answer such as"),
        ("email=perhaps", "granted, denied and unknown"),
        ("fax=granted", "email, sms"),
        ("topic:offer=denied", "did you mean `offers`?"),
    ] {
        let said = consent(&["--set", wrong]);
        assert!(said.code != 0 && said.err.contains(part), "{wrong}: {said:?}");
    }
    assert_eq!(folder.run(&["consent", "--profile", "nobody"]).code, 1);
    for no_name in [".", "..", ""] {
        let said = folder.run(&["consent", "--profile", no_name]);
        assert!(said.code == 2 && said.err.contains("no address holds it"), "{no_name}: {said:?}");
    }
    assert_eq!(folder.run(&["consent", "--profile", "ann", "--source", "x"]).code, 2);
}

#[test]
fn addresses_come_onto_the_list_and_off_it_one_by_one_and_by_file() {
    let folder = shop();
    assert!(folder.ok(&["suppress", "list"]).contains("no addresses"));
    let ann = ["suppress", "add", "Ann@Example.com", "--source", "asked by letter"];
    assert!(folder.ok(&ann).contains("is on the list"));
    assert!(folder.ok(&ann).contains("was on the list already"));
    folder.ok(&["suppress", "add", "+44 20 7946 0000", "--channel", "sms", "--kind", "unsubscribed"]);
    let file = folder.write("old.csv", "\u{feff}Email,Kind\nbob@example.com,complaint\n\"ann@example.com\",\n,\n");
    let file = file.to_str().unwrap();
    assert!(
        folder.ok(&["suppress", "import", file, "--kind", "bounced"]).contains("2 addresses are on the list, 0 were")
    );
    assert!(
        folder.ok(&["suppress", "import", file, "--kind", "bounced"]).contains("0 addresses are on the list, 2 were")
    );
    let listed = |more: &[&str]| {
        let told = folder.json(&[&["suppress", "list", "--json"], more].concat());
        columns(&told["suppressions"], ["channel", "address", "kind"])
    };
    let mut all = listed(&[]);
    all.sort();
    let expected = [
        "email ann@example.com bounced",
        "email ann@example.com manual",
        "email bob@example.com complaint",
        "sms +442079460000 unsubscribed",
    ];
    assert_eq!(all, expected);
    assert_eq!(listed(&["--kind", "complaint"]), [expected[2]]);
    assert_eq!(listed(&["--address", "0044 20 7946 0000", "--channel", "sms"]), [expected[3]]);
    assert!(folder.ok(&["suppress", "remove", "ann@example.com", "--kind", "bounced"]).contains("is off the list"));
    let again = folder.run(&["suppress", "remove", "ann@example.com", "--kind", "bounced"]);
    assert!(again.code == 1 && again.out.contains("was not on the list"), "{again:?}");
    assert_eq!(listed(&["--address", "ANN@example.com"]), [expected[1]]);
    assert_eq!(listed(&["--address", "ANN@example.com", "--history"]).len(), 2);
    let shown = folder.ok(&["suppress", "list"]);
    assert!(shown.contains("asked by letter") && shown.contains("import old.csv"), "{shown}");
}

#[test]
fn a_source_with_line_ends_stays_on_its_row() {
    let folder = Folder::new();
    folder.ok(&["migrate"]);
    folder.ok(&["suppress", "add", "ann@example.com", "--source", "by letter\n\u{1b}[31mof May"]);
    let shown = folder.ok(&["suppress", "list"]);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("by letter\\n\\u{1b}[31mof May"), "{shown}");
}

#[test]
fn of_a_file_of_addresses_bad_rows_are_refused_alone_and_named() {
    let folder = shop();
    let long: String = (0..600).map(|n| format!("p{n}@example.com\n")).collect();
    let long = format!("email\n{long}nowhere\n");
    for (text, part, added) in [
        ("email\nann@example.com\nnowhere\n", "line 3: `nowhere` is no address for email", 1),
        (&long, "line 602: `nowhere`", 600),
        ("email,kind\neve@example.com,tired\n", "line 2: `tired` is no kind", 0),
        ("email,channel\neve@example.com,fax\n", "line 2: `fax` is no channel", 0),
        ("email,kind\neve@example.com\n", "line 2: 1 values, 2 columns", 0),
    ] {
        let file = folder.write("wrong.csv", text);
        let said = folder.run(&["suppress", "import", file.to_str().unwrap()]);
        assert!(said.code == 1 && said.out.contains(part), "{text:?}: {said:?}");
        assert!(said.out.contains(&format!("{added} addresses are on the list")), "{said:?}");
        let rejects = std::fs::read_to_string(folder.path("wrong.csv.rejects.csv")).unwrap();
        assert_eq!(rejects.lines().count(), 2, "{rejects}");
    }
    let file = folder.write("wrong.csv", "name\nann\n");
    let said = folder.run(&["suppress", "import", file.to_str().unwrap()]);
    assert!(said.code == 2 && said.err.contains("`address` or `email`"), "{said:?}");
    assert_ne!(folder.run(&["suppress", "import", "no-such-file.csv"]).code, 0);
    assert_ne!(folder.run(&["suppress", "add", "nowhere"]).code, 0);
}

#[test]
fn a_segment_is_counted_shown_and_explained() {
    let folder = shop();
    folder.ok(&["demo", "forward", "1s"]);
    let all = folder.ok(&["segments"]);
    assert!(all.contains("vip") && all.contains("No order for 90 days"), "{all}");
    let vip = folder.ok(&["segments", "vip"]);
    assert!(vip.contains("VIP customers: 1 people") && vip.contains("ann"), "{vip}");
    let ann = folder.run(&["segments", "vip", "--profile", "ann"]);
    assert!(ann.code == 0 && ann.out.contains("ann is in vip since") && ann.out.contains("gold"), "{ann:?}");
    let bob = folder.run(&["segments", "vip", "--profile", "bob"]);
    assert!(bob.code == 1 && bob.out.contains("bob is not in vip"), "{bob:?}");
    let near = folder.run(&["segments", "vipp"]);
    assert!(near.code != 0 && near.err.contains("did you mean `vip`?"), "{near:?}");
    let twin = |key: &str, filter: &str| {
        format!("kind: segment\nkey: {key}\nname: Twin\nowner: crm@shop.example\nwhere: {filter}\n")
    };
    let twins = twin("one", "{ trait: { emial: { exists: true } } }") + "---\n" + &twin("two", "{ all: [] }");
    let file = folder.write("twins.yaml", &twins);
    let said = folder.run(&["segments", "--count", file.to_str().unwrap()]);
    assert!(said.out.contains("one (Twin): 0 of ") && said.out.contains("two (Twin): "), "{said:?}");
    assert!(said.err.contains("trait `emial`; did you mean `email`?"), "{said:?}");
}

#[test]
fn a_story_asks_about_segments_and_topics_at_once() {
    let folder = Folder::new();
    let text = r#"
kind: campaign
key: first_look
name: First look
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
topic: new_products
entry: { event: Category Followed, where: { in_segment: vip } }
send: { channel: email, template: new_product }
---
kind: story
name: new things go to the best customers who want them
campaigns: [ first_look ]
profiles:
  ann: { traits: { email: ann@example.com, tier: gold } }
  bob: { traits: { email: bob@example.com, tier: gold } }
  cleo: { traits: { email: cleo@example.com } }
given:
  - { at: "2026-03-01T10:00Z", ann: Consent Changed, properties: { topic: new_products, state: subscribed } }
  - { at: "2026-03-01T10:00Z", cleo: Consent Changed, properties: { topic: new_products, state: subscribed } }
  - { at: "2026-03-01T11:00Z", ann: Category Followed, properties: { category: lamps } }
  - { at: "2026-03-01T11:00Z", bob: Category Followed, properties: { category: lamps } }
  - { at: "2026-03-01T11:00Z", cleo: Category Followed, properties: { category: lamps } }
  - { at: "2026-03-01T12:00Z", ann: Consent Changed, properties: { channel: email, state: denied, via: link } }
  - { at: "2026-03-01T13:00Z", ann: Category Followed, properties: { category: beds } }
expect:
  - { at: "2026-03-01T11:00Z", ann: sent, template: new_product }
  - { bob: not_sent, reason: topic_unsubscribed }
  - { cleo: not_sent, reason: in segment vip }
  - { at: "2026-03-01T13:00Z", ann: not_sent, reason: consent_denied }
"#;
    let file = folder.write("look.yaml", text);
    let told = folder.ok(&["test", root().join("templates").to_str().unwrap(), file.to_str().unwrap()]);
    assert!(told.contains("ok      new things go to the best customers who want them\n"), "{told}");
    assert!(told.ends_with(" passed, 0 failed\n"), "{told}");
    let twice = folder
        .write("again.yaml", "kind: consent_policy\nkey: mine\nrules: [ { channel: email, unknown: allowed } ]\n");
    let said = folder.run(&["apply", root().join("templates").to_str().unwrap(), twice.to_str().unwrap()]);
    assert!(said.code == 1 && said.err.contains("has a rule for email too"), "{said:?}");
}
