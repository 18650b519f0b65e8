//! What a backtest says of what is in force is what happened; and what it says of a draft is seen before anybody applies
//! it.

use serde_json::{Value, json};

use crate::contents::contents;
use crate::database::Backend;
use crate::plan::import;
use crate::program::Folder;
use crate::reminder::{defs, written};

const TIME: [&str; 4] = ["--from", "2026-09-30T00:00Z", "--to", "2026-10-20T00:00Z"];

/// Takes slots from the reminder: it asks first, and sooner.
const RIVAL: &str = "\
kind: campaign
key: rival
name: Rival
owner: crm@shop.example
type: trigger
status: draft
purpose: marketing
priority: 90
entry: { event: Product Added, key: properties.product_id }
delay: 10m
goal: { event: Order Completed, within: 1d }
send: { channel: email, template: item_reminder }
";

/// Asks for whoever is in its segment already.
const CLUB: &str = "\
kind: segment
key: adders
name: Who put something into a cart
owner: crm@shop.example
where: { performed: { event: Product Added } }
---
kind: campaign
key: club
name: Club
owner: crm@shop.example
type: trigger
status: draft
purpose: marketing
entry: { segment: adders, on: entered, reentry: never, include_existing: { pace: 1/d } }
send: { channel: email, template: item_reminder }
";

fn lived(backend: Backend) -> Folder {
    let folder = Folder::on(backend);
    written(&folder);
    folder.ok(&["apply", &defs(&folder)]);
    import(&folder, "email=granted");
    folder
}

/// Of all that is stored, in the database and in Redis, nothing is another while this runs.
fn unchanged<T>(folder: &Folder, run: impl FnOnce() -> T) -> T {
    let before = contents(folder);
    for table in ["entries", "profiles", "messages", "message_states", "enrollments", "cap_subjects", "definitions"] {
        assert!(before[table].len() > 1, "{table} has little that could change");
    }
    let done = run();
    let after = contents(folder);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, rows) in &before {
        let changed: Vec<_> = rows.iter().zip(&after[name]).filter(|(was, is)| was != is).take(3).collect();
        assert!(changed.is_empty() && rows.len() == after[name].len(), "{name} changed: {changed:?}");
    }
    done
}

fn backtest(folder: &Folder, more: &[&str]) -> Value {
    folder.json(&[&["backtest", "--json"], more, &TIME].concat())
}

#[test]
fn what_is_in_force_differs_nowhere_from_what_happened_and_nothing_changes() {
    let told = [Backend::Sqlite, Backend::Postgres].map(|backend| {
        let folder = lived(backend);
        let messages = folder.json(&["messages", "--limit", "1000", "--json"]);
        let rival = folder.write("rival.yaml", RIVAL);
        let told = unchanged(&folder, || {
            let draft = backtest(&folder, &[rival.to_str().unwrap(), "--against", "live"]);
            assert!(draft["differences"].as_u64().unwrap() > 20, "it would take slots: {draft:#}");
            backtest(&folder, &["--against", "live"])
        });
        let of = |status: &str| {
            let all = messages["messages"].as_array().unwrap().iter();
            all.filter(|one| one["status"] == status).count() as u64
        };
        assert_eq!((&told["differences"], &told["unreadable"]), (&json!(0), &json!(0)), "{:#}", told["listed"]);
        let totals = &told["campaigns"][0]["totals"];
        assert!(of("sent") > 20 && of("suppressed") > 5);
        assert_eq!(totals["sent"]["count"], of("sent"), "{totals:#}");
        assert_eq!(totals["capped"]["count"], of("suppressed"), "{totals:#}");
        told
    });
    let [here, there] = told;
    assert_eq!(here["campaigns"], there["campaigns"], "a backtest is the same on every database");
}

#[test]
fn a_draft_is_seen_with_the_slots_it_would_take_and_what_followed() {
    let folder = lived(Backend::Sqlite);
    let file = folder.write("rival.yaml", RIVAL);
    let file = file.to_str().unwrap();
    let told = backtest(&folder, &[file]);
    let (campaigns, rival) = (told["campaigns"].as_array().unwrap(), &told["campaigns"][0]);
    assert_eq!((campaigns.len(), &rival["campaign"], &told["differences"]), (1, &json!("rival"), &Value::Null));
    let sent = rival["totals"]["sent"]["count"].as_u64().unwrap();
    assert!(sent > 20, "{rival:#}");
    let by_day = |name: &str| -> u64 {
        rival["days"].as_object().unwrap().values().map(|day| day[name].as_u64().unwrap()).sum()
    };
    assert_eq!((by_day("sent"), by_day("entered")), (sent, rival["totals"]["matched"]["count"].as_u64().unwrap()));
    let customers = told["customers"].as_array().unwrap();
    assert_eq!(customers.iter().map(|one| one["sent"].as_u64().unwrap()).sum::<u64>(), sent);
    assert_eq!(by_day("followed"), rival["followed"]["count"].as_u64().unwrap());
    assert!(by_day("followed") > 0, "{rival:#}");
    assert!(told["slots_taken"]["item_reminder"]["count"].as_u64().unwrap() > 5, "{:#}", told["slots_taken"]);
    let text = folder.ok(&[&["backtest", file], &TIME[..]].concat());
    assert!(text.contains("messages of item_reminder to") && text.contains("followed"), "{text}");
    assert!(text.contains("what is stored begins at 2026-10-"), "{text}");
    let before = folder.ok(&["backtest", file, "--from", "2026-01-01", "--to", "2026-02-01"]);
    assert!(before.contains("0 events") && before.contains(", after this time"), "{before}");
    let quiet = folder.ok(&["backtest", file, "--from", "2026-10-19T00:00Z", "--to", "2026-10-20"]);
    assert!(quiet.contains("0 events") && quiet.contains("nothing came in during this time"), "{quiet}");

    let against = backtest(&folder, &[file, "--against", "live"]);
    assert!(against["differences"].as_u64().unwrap() > sent, "{:#}", against["differences"]);
    let new = against["listed"].as_array().unwrap().iter().find(|one| one["campaign"] == "rival").unwrap();
    assert_eq!(new["recorded"], Value::Null);
}

#[test]
fn members_for_whom_a_backtest_gives_no_turns_are_counted() {
    let folder = lived(Backend::Sqlite);
    let file = folder.write("club.yaml", &CLUB.replace("item_reminder }", "club_note }"));
    let note = "kind: template\nkey: club_note\nemail: { subject: Hi, html: '<p>Hi <a href=\"{{links.unsubscribe}}\">x</a></p>' }\n";
    let note = folder.write("note.yaml", note);
    let files = [file.to_str().unwrap(), note.to_str().unwrap()];
    // By then everybody has become a member.
    let later = ["--from", "2026-10-03T00:00Z", "--to", "2026-10-20T00:00Z"];
    let told = folder.json(&[&["backtest", "--json"], &files[..], &later].concat());
    let plan = folder.json(&[&["plan", "--json"], &files[..]].concat());
    let of = |told: &Value| told["campaigns"].as_array().unwrap().iter().find(|one| one["campaign"] == "club").cloned();
    let (club, planned) = (of(&told).unwrap(), of(&plan).unwrap());
    let existing = club["existing"]["people"].as_u64().unwrap();
    // Whoever is a member before that time enters nothing by what they do in it.
    assert_eq!((&club["totals"]["matched"]["count"], existing > 5), (&json!(0), true), "{club:#}");
    assert_eq!(club["existing"], planned["existing"], "whoever is a member would have a turn");
    let text = folder.ok(&[&["backtest"], &files[..], &later].concat());
    assert!(text.contains(&format!("{existing} people are in its segment already and wait for a turn")), "{text}");
}

#[test]
fn what_is_wrong_with_a_backtest_is_said_before_it_begins() {
    let folder = Folder::new();
    written(&folder);
    folder.ok(&["apply", &defs(&folder)]);
    let file = folder.write("rival.yaml", &RIVAL.replace("priority", "priorety"));
    let said = folder.run(&["backtest", file.to_str().unwrap()]);
    assert!(said.code != 0 && said.err.contains("did you mean `priority`?"), "{said:?}");
    assert_eq!(folder.run(&["backtest"]).code, 2, "nothing to test");
    let file = folder.write("rival.yaml", RIVAL);
    let late = ["backtest", file.to_str().unwrap(), "--from", "2026-10-01T00:00Z", "--to", "2026-09-01T00:00Z"];
    assert!(folder.run(&late).err.contains("`to` does not lie after `from`"));
    let future = folder.run(&["backtest", file.to_str().unwrap(), "--from", "2999-01-01"]);
    assert!(future.code != 0 && future.err.contains("`from` is in the future"), "{future:?}");
    let unknown = folder.run(&["backtest", "cart_reminder_of_nobody"]);
    assert!(unknown.code != 0 && unknown.err.contains("cart_reminder_of_nobody"), "{unknown:?}");
    let empty = folder.ok(&["backtest", file.to_str().unwrap(), "--from", "2026-01-01", "--to", "2026-02-01"]);
    assert!(empty.contains("0 events, 0 people concerned") && empty.contains("nothing is stored yet"), "{empty}");
    assert!(empty.contains("campaign rival: 0 entered"), "{empty}");
}

#[test]
fn what_people_did_in_an_imported_history_lets_them_enter_by_a_segment_as_by_the_event_itself() {
    let folder = lived(Backend::Sqlite);
    let by = |entry: &str| {
        let (segment, campaign) = CLUB.split_once("---\n").unwrap();
        let entry = format!("entry: {entry}\n");
        let line = campaign.lines().find(|line| line.starts_with("entry:")).unwrap();
        let campaign = campaign.replace(&format!("{line}\n"), &entry);
        let file = folder.write("club.yaml", &format!("{segment}---\n{campaign}"));
        backtest(&folder, &[file.to_str().unwrap()])["campaigns"][0].clone()
    };
    let event = by("{ event: Product Added, reentry: never }");
    let segment = by("{ segment: adders, on: entered, reentry: never }");
    let entered = event["totals"]["matched"]["count"].as_u64().unwrap();
    assert_eq!(entered, 10, "{event:#}");
    assert_eq!(segment["totals"]["matched"]["count"], entered, "{segment:#}");
}
