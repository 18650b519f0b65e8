//! What a plan says would have happened is what happens when the same definitions are in force while the same people
//! do the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::database::Backend;
use crate::program::Folder;
use crate::reminder::{CAMPAIGN, defs, line_of, written};

/// Clicks of ten people over ten days: many carts, some bought within the hour, some people busy beyond the cap.
fn clicks() -> String {
    let (mut state, mut rows) = (7_u64, Vec::new());
    let mut draw = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    for _ in 0..240 {
        let (person, item) = (draw(10) + 1, draw(12) + 100);
        // From the first of October 2026 on.
        let at = 1_790_812_800 + draw(10) * 86_400 + draw(40_000);
        rows.push((at, format!("{person},{item},7,cart,{at}")));
        if draw(3) == 0 {
            let bought = at + draw(7_200);
            rows.push((bought, format!("{person},{item},7,buy,{bought}")));
        }
    }
    rows.sort();
    let rows = rows.into_iter().map(|(_, row)| row + "\n");
    std::iter::once("user_id,item_id,category_id,behavior,ts\n".to_owned()).chain(rows).collect()
}

pub fn import(folder: &Folder, consent: &str) -> Value {
    let file = folder.write("clicks.csv", &clicks());
    let domain = ["--address-domain", "example.com", "--consent", consent, "--json"];
    folder.json(&[&["import", file.to_str().unwrap(), "--format", "taobao"], &domain[..]].concat())
}

fn count(tally: &Value, name: &str) -> u64 {
    tally[name]["count"].as_u64().unwrap_or_else(|| panic!("{name} in {tally:#}"))
}

/// Applied and lived through; or lived through without, and planned.
fn compare(backend: Backend, consent: &str) -> (Value, Value) {
    let lived = Folder::on(backend);
    written(&lived);
    lived.ok(&["apply", &defs(&lived)]);
    let came = import(&lived, consent);
    let planned = Folder::on(backend);
    written(&planned);
    import(&planned, consent);
    let plan = planned.json(&["plan", &defs(&planned), "--json"]);
    (came, plan["campaigns"][0].clone())
}

#[test]
fn what_would_have_been_is_what_was_where_it_was_in_force() {
    let here = what_would_have_been_is_what_was(Backend::Sqlite);
    let there = what_would_have_been_is_what_was(Backend::Postgres);
    assert_eq!(here, there, "a plan is the same on every database");
}

fn what_would_have_been_is_what_was(backend: Backend) -> Value {
    let (came, plan) = compare(backend, "email=granted");
    let then = &plan["then"];
    assert!(count(then, "sent") > 20 && count(then, "capped") > 5 && count(then, "exited") > 20, "{plan:#}");
    assert_eq!(plan["now"], Value::Null);
    for (figure, name) in [("matched", "matched"), ("sent", "sent"), ("capped", "capped"), ("blocked", "suppressed")] {
        assert_eq!(count(then, figure), came[name].as_u64().unwrap(), "{figure}: {plan:#} {came:#}");
    }
    let ended = ["sent", "capped", "blocked", "exited", "waiting"].map(|name| count(then, name));
    assert_eq!(count(then, "matched"), ended.iter().sum::<u64>(), "{plan:#}");
    let names: BTreeSet<&str> =
        then["sent"]["names"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(names.len(), 5, "{plan:#}");
    plan
}

#[test]
fn without_consent_all_would_have_been_blocked() {
    let (came, plan) = compare(Backend::Sqlite, "email=denied");
    assert_eq!((count(&plan["then"], "sent"), came["sent"].as_u64().unwrap()), (0, 0));
    assert_eq!(count(&plan["then"], "blocked"), came["suppressed"].as_u64().unwrap());
    assert_eq!(plan["then"]["reasons"]["consent_denied"], came["suppressed"], "{plan:#}");
}

/// Calls of people who all said yes on the first of September 2026; the last thing done is on the 16th of October at
/// noon, so that the time looked at begins on the 16th of September at noon.
fn told(folder: &Folder, people: &[(&str, &str)], acts: &[(&str, &str, &str, &str)]) {
    let mut calls = Vec::new();
    for (who, email) in people {
        let call = |second: u32| json!({ "userId": who, "timestamp": format!("2026-09-01T08:00:0{second}Z") });
        let (mut identify, mut consent) = (call(0), call(1));
        identify["type"] = "identify".into();
        identify["traits"] = json!({ "email": email });
        consent["type"] = "track".into();
        consent["event"] = "Consent Changed".into();
        consent["properties"] = json!({ "channel": "email", "state": "granted", "source": "form" });
        calls.extend([identify, consent]);
    }
    let acts = acts.iter().chain(&[("2026-10-16T12:00:00Z", "nobody", "Page Viewed", "")]);
    calls.extend(acts.map(|(at, who, event, item)| {
        json!({ "type": "track", "userId": who, "timestamp": at, "event": event, "properties": { "product_id": item } })
    }));
    calls.sort_by_key(|call| call["timestamp"].to_string());
    let line = |(n, mut call): (usize, Value)| {
        call["messageId"] = format!("call-{n}").into();
        format!("{call}\n")
    };
    let file = folder.write("calls.jsonl", &calls.into_iter().enumerate().map(line).collect::<String>());
    folder.ok(&["import", file.to_str().unwrap(), "--format", "jsonl"]);
}

fn planned(folder: &Folder, campaign: &str) -> Value {
    let plan = folder.json(&["plan", &defs(folder), "--json"]);
    assert_eq!(plan["past"]["from"], "2026-09-16T12:00:00Z");
    plan["campaigns"].as_array().unwrap().iter().find(|one| one["campaign"] == campaign).unwrap().clone()
}

#[test]
fn the_caps_of_an_address_that_two_people_share_hold_in_a_plan_too() {
    let (lived, looked) = (Folder::new(), Folder::new());
    for folder in [&lived, &looked] {
        written(folder);
        if std::ptr::eq(folder, &lived) {
            folder.ok(&["apply", &defs(folder)]);
        }
        let people = [("ann", "family@example.com"), ("ben", "Family@Example.com"), ("eve", "eve@example.com")];
        let added = |at, who, item| (at, who, "Product Added", item);
        told(
            folder,
            &people,
            &[
                added("2026-10-01T08:00:00Z", "ann", "kettle"),
                added("2026-10-01T08:10:00Z", "ben", "apron"),
                added("2026-10-01T08:20:00Z", "ben", "board"),
                added("2026-10-01T08:20:00Z", "eve", "board"),
                added("2026-10-01T08:30:00Z", "ann", "spoon"),
            ],
        );
    }
    let then = planned(&looked, "item_reminder")["then"].clone();
    let messages = lived.json(&["messages", "--json"]);
    let of = |status: &str| {
        let is = |one: &&Value| one["status"] == status;
        messages["messages"].as_array().unwrap().iter().filter(is).count() as u64
    };
    assert_eq!((count(&then, "sent"), count(&then, "capped")), (3, 2), "{then:#}");
    assert_eq!((of("sent"), of("suppressed")), (3, 2), "{messages:#}");
    assert_eq!(then["capped"]["names"], json!(["ann", "ben"]));
}

/// The first sends at once, and where a cap is full within twenty hours; the second waits anew with every repeat.
const WISHED: &str = "\
kind: campaign
key: wished
name: Wished
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Wish Added, key: properties.product_id }
caps: { when_capped: { defer: 20h } }
send: { channel: email, template: item_reminder }
---
kind: campaign
key: renewed
name: Renewed
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Wish Renewed, on_repeat: restart }
delay: 6h
send: { channel: email, template: item_reminder }
";

#[test]
fn who_waited_as_the_time_looked_at_began_is_entered_once_and_what_they_get_is_counted() {
    waited(&Folder::new());
}

#[test]
fn on_postgres_who_waited_is_entered_once_too() {
    waited(&Folder::on(Backend::Postgres));
}

fn waited(folder: &Folder) {
    written(folder);
    folder.write("defs/shared.yaml", "kind: caps\nrules: [ { at_most: 1, per: 1d } ]\n");
    let slow = CAMPAIGN.replace("delay: 1h", "delay: 3d");
    folder.write("defs/reminder.yaml", &format!("{slow}---\n{WISHED}"));
    folder.ok(&["apply", &defs(folder)]);
    let people = ["ann", "ben", "eve", "kim", "old"].map(|name| (name, format!("{name}@example.com")));
    let people = people.each_ref().map(|(name, email)| (*name, email.as_str()));
    told(
        folder,
        &people,
        &[
            ("2026-09-10T12:00:00Z", "old", "Product Added", "kettle"),
            ("2026-09-15T12:00:00Z", "ann", "Product Added", "kettle"),
            ("2026-09-15T12:00:00Z", "ben", "Product Added", "kettle"),
            ("2026-09-15T16:00:00Z", "eve", "Wish Added", "kettle"),
            ("2026-09-16T02:00:00Z", "eve", "Wish Added", "apron"),
            ("2026-09-16T08:00:00Z", "kim", "Wish Renewed", "kettle"),
            ("2026-09-16T11:00:00Z", "kim", "Wish Renewed", "kettle"),
            ("2026-09-16T15:00:00Z", "kim", "Wish Renewed", "kettle"),
            ("2026-09-17T12:00:00Z", "ann", "Product Added", "kettle"),
            ("2026-09-17T12:00:00Z", "ben", "Order Completed", "kettle"),
        ],
    );
    let named = format!("{slow}---\n{WISHED}").replace("name: ", "name: The ");
    folder.write("defs/reminder.yaml", &named);
    let told = |plan: &Value| {
        assert_eq!(plan["now"], plan["then"], "only the names are others: {plan:#}");
        let then = &plan["then"];
        ["carried_over", "matched", "sent", "exited", "capped", "waiting", "not_entered"].map(|name| count(then, name))
    };
    let slow = planned(folder, "item_reminder");
    assert_eq!(told(&slow), [2, 0, 1, 1, 0, 0, 1], "{slow:#}");
    assert_eq!(slow["then"]["reasons"], json!({ "already_enrolled": 1 }));
    let wished = planned(folder, "wished");
    assert_eq!(told(&wished), [1, 0, 1, 0, 0, 0, 0], "what was deferred goes when its slot frees: {wished:#}");
    let renewed = planned(folder, "renewed");
    assert_eq!(told(&renewed), [1, 0, 1, 0, 0, 0, 0], "a wait that was started over goes on from there: {renewed:#}");
    let sent = folder.json(&["messages", "--json", "--status", "sent"]);
    let since = |one: &&Value| one["created_at"].as_str() >= Some("2026-09-16T02:00:00Z");
    assert_eq!(sent["messages"].as_array().unwrap().iter().filter(since).count(), 3, "{sent:#}");
}

#[test]
fn caps_are_told_in_words() {
    let folder = Folder::new();
    written(&folder);
    let said = folder.ok(&["migrate"]);
    assert!(!said.is_empty());
    assert!(folder.ok(&["plan", &defs(&folder)]).contains("+ caps default, version 1\n    at most 2 per 1d: new\n"));
    folder.ok(&["apply", &defs(&folder)]);
    let shared = crate::reminder::SHARED.replace("[ { at_most: 2, per: 1d } ]", "[ { at_most: 1, per: 1d } ]");
    folder.write("defs/shared.yaml", &shared);
    let said = folder.ok(&["plan", &defs(&folder)]);
    assert!(said.contains("~ caps default, version 2\n    at most 2 per 1d → at most 1 per 1d\n"), "{said}");
}

#[test]
fn fields_that_no_event_has_are_warned_of_and_what_is_right_as_written_is_applied() {
    let folder = Folder::new();
    written(&folder);
    told(
        &folder,
        &[],
        &[
            ("2026-10-01T08:00:00Z", "ann", "Product Added", "kettle"),
            ("2026-10-01T08:10:00Z", "ann", "Order Completed", "kettle"),
        ],
    );
    folder.write("defs/reminder.yaml", &CAMPAIGN.replace("same: properties.product_id", "same: properties.item"));
    let warning =
        "reminder.yaml:10: campaign item_reminder: the only `Order Completed` that came has no `properties.item`";
    for arguments in [&["plan"][..], &["apply", "--dry-run"], &["apply"]] {
        let said = folder.run(&[arguments, &[&defs(&folder)]].concat());
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.err.contains(warning), "{arguments:?}: {}", said.err);
    }
    folder.write(
        "defs/typo.yaml",
        &CAMPAIGN.replace("event: Product Added", "event: Product Aded").replace("key: item_reminder", "key: typo"),
    );
    let said = folder.run(&["apply", &defs(&folder)]);
    let typo = "typo.yaml:8: campaign typo: no `Product Aded` has come; did you mean `Product Added`?";
    assert!(said.code == 0 && said.err.contains(typo), "{said:?}");
    let again = folder.run(&["apply", &defs(&folder)]);
    assert_eq!((again.code, again.err.as_str()), (0, ""), "what is as before is not warned of again");
}

#[test]
fn a_plan_tells_each_difference_in_words_and_applies_nothing() {
    let folder = Folder::new();
    written(&folder);
    folder.write("defs/other.yaml", &CAMPAIGN.replace("key: item_reminder", "key: other"));
    folder.ok(&["apply", &defs(&folder)]);
    import(&folder, "email=granted");
    std::fs::remove_file(folder.path("defs/other.yaml")).unwrap();
    folder.write("defs/reminder.yaml", &CAMPAIGN.replace("delay: 1h", "delay: 3h"));
    folder.write("defs/vip.yaml", "kind: segment\nkey: buyers\nname: Buyers\nowner: crm@shop.example\nwhere: { performed: { event: Order Completed } }\n");
    let said = folder.ok(&["plan", &defs(&folder)]);
    for part in [
        "~ campaign item_reminder, version 2\n    delay: 1h → 3h\n",
        "+ segment buyers, version 1\n",
        "1 new, 1 changed, 3 as before, 1 more in force stay; nothing was applied\n",
        "people concerned\n",
        "\ncampaign item_reminder\n",
        "\nsegment buyers: - people now, ",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(said.contains("\ncampaign other\n"), "not in the files, and other slots are free for it:\n{said}");
    let plan = folder.json(&["plan", &defs(&folder), "--json"]);
    let ours = &plan["campaigns"].as_array().unwrap().iter().find(|one| one["campaign"] == "item_reminder").unwrap();
    assert!(count(&ours["then"], "exited") > count(&ours["now"], "exited"), "a longer wait ends more often: {ours:#}");
    let buyers = &plan["segments"][0];
    assert_eq!(buyers["then"], buyers["entering"]["count"], "{buyers:#}");
    assert_eq!(folder.json(&["plan", &defs(&folder), "--json"]), plan, "nothing was applied");
    folder.write("defs/reminder.yaml", CAMPAIGN);
    let said = folder.ok(&["plan", &defs(&folder)]);
    let is_told = said.contains("\nsegment buyers: ") && !said.contains("\ncampaign ");
    assert!(is_told, "for no campaign anything changes:\n{said}");
}

#[test]
fn a_plan_refuses_what_apply_refuses_and_says_what_it_can_of_an_empty_shop() {
    let folder = Folder::new();
    written(&folder);
    let before = folder.run(&["plan", &defs(&folder)]);
    assert_eq!(before.code, 2, "{before:?}");
    folder.ok(&["migrate"]);
    let said = folder.ok(&["plan", &defs(&folder)]);
    assert!(said.contains("+ campaign item_reminder, version 1\n"), "{said}");
    folder.write("defs/reminder.yaml", &CAMPAIGN.replace("delay: 1h", "delay: soon"));
    let plan = folder.run(&["plan", &defs(&folder)]);
    let apply = folder.run(&["apply", &defs(&folder)]);
    assert_eq!((plan.code, &plan.err), (1, &apply.err));
    assert!(plan.err.contains("reminder.yaml:9:8: delay: "), "{}", plan.err);
}

const CHOOSY: &str = "\
kind: campaign
key: choosy
name: Choosy
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
priority: 70
entry:
  event: Product Added
  key: properties.cart_id
  match: { properties: { price: [ { numeric: [ '>=', 10 ] } ] } }
  where:
    all:
      - { trait: { tier: gold } }
      - { performed: { event: Order Completed, where: { properties.total: { gte: 50 } }, at_most: 4, within: 20d } }
  reentry: { after: 2d }
delay: 30m
exit: [ { event: Order Completed, same: properties.cart_id } ]
send: { channel: email, template: item_reminder }
---
kind: campaign
key: regulars
name: Regulars
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Order Completed, where: { all: [ { in_segment: regular }, { not: { in_segment: big } } ] } }
send: { channel: email, template: item_reminder }
---
kind: segment
key: regular
name: Regular customers
owner: crm@shop.example
where: { performed: { event: Order Completed, at_least: 3, within: 25d } }
---
kind: segment
key: big
name: Big spenders
owner: crm@shop.example
where: { performed: { event: Order Completed, sum: properties.total, gte: 600, within: 30d } }
";

/// Calls of eight people over 46 days, in the first hours of each: they come to be known, buy, and change their minds.
/// The last of them is at noon, so that the time looked at begins at a noon when nobody does anything.
fn calls() -> String {
    let (mut state, mut calls) = (11_u64, Vec::new());
    let mut draw = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let at = |day: u64, second: u64| day * 86_400 + second;
    for day in 0..46 {
        for _ in 0..12 {
            let (second, person, dice) = (draw(20_000), draw(8), draw(12));
            let call = match dice {
                0 => json!({ "type": "identify", "traits": { "tier": if draw(3) == 0 { "silver" } else { "gold" } } }),
                1 => {
                    let state = if draw(14) == 0 { "denied" } else { "granted" };
                    json!({ "type": "track", "event": "Consent Changed",
                            "properties": { "channel": "email", "state": state, "source": "form" } })
                }
                2..=4 => json!({ "type": "track", "event": "Order Completed",
                    "properties": { "cart_id": format!("c{}", draw(6)), "product_id": "p1", "total": draw(100) } }),
                _ => json!({ "type": "track", "event": "Product Added",
                    "properties": { "cart_id": format!("c{}", draw(6)), "product_id": "p1", "price": draw(40) } }),
            };
            calls.push((at(day, second), person, call));
        }
    }
    for person in 0..8 {
        let email = format!("p{person}@example.com");
        calls.push((at(0, 0), person, json!({ "type": "identify", "traits": { "email": email, "tier": "gold" } })));
        let granted = json!({ "channel": "email", "state": "granted", "source": "form" });
        calls.push((at(0, 1), person, json!({ "type": "track", "event": "Consent Changed", "properties": granted })));
    }
    calls.push((at(45, 43_200), 0, json!({ "type": "track", "event": "Page Viewed" })));
    calls.sort_by_key(|(at, person, _)| (*at, *person));
    let line = |(n, (at, person, mut call)): (usize, (u64, u64, Value))| {
        call["userId"] = format!("p{person}").into();
        line_of(n, at, call)
    };
    calls.into_iter().enumerate().map(line).collect()
}

#[test]
fn who_people_were_before_the_time_looked_at_counts_as_it_did() {
    who_people_were_before_counts(Backend::Sqlite);
}

#[test]
fn on_postgres_who_people_were_before_the_time_looked_at_counts_too() {
    who_people_were_before_counts(Backend::Postgres);
}

fn who_people_were_before_counts(backend: Backend) {
    let (lived, planned) = (Folder::on(backend), Folder::on(backend));
    for folder in [&lived, &planned] {
        written(folder);
        folder.write("defs/reminder.yaml", CHOOSY);
        let file = folder.write("calls.jsonl", &calls());
        if std::ptr::eq(folder, &lived) {
            folder.ok(&["apply", &defs(folder)]);
        }
        folder.ok(&["import", file.to_str().unwrap(), "--format", "jsonl"]);
    }
    let plan = planned.json(&["plan", &defs(&planned), "--json"]);
    let from = plan["past"]["from"].as_str().unwrap().to_owned();
    assert_eq!(from, "2026-09-16T12:00:00Z");
    let messages = lived.json(&["messages", "--json", "--limit", "100000"]);
    let messages: Vec<&Value> = messages["messages"].as_array().unwrap().iter().collect();
    let of = |campaign: &str, status: &str, capped: bool| -> u64 {
        let fits = |one: &&&Value| {
            one["campaign"] == campaign
                && one["status"] == status
                && (one["reason"]["code"] == "capped") == capped
                && one["created_at"].as_str().unwrap() >= from.as_str()
        };
        messages.iter().filter(fits).count() as u64
    };
    for (campaign, least) in [("choosy", 10), ("regulars", 10)] {
        let ours = plan["campaigns"].as_array().unwrap().iter().find(|one| one["campaign"] == campaign).unwrap();
        let then = &ours["then"];
        assert!(count(then, "sent") > least && count(then, "blocked") > 0, "{ours:#}");
        assert_eq!(count(then, "sent"), of(campaign, "sent", false), "{ours:#}");
        assert_eq!(count(then, "capped"), of(campaign, "suppressed", true), "{ours:#}");
        assert_eq!(count(then, "blocked"), of(campaign, "suppressed", false), "{ours:#}");
    }
    for segment in plan["segments"].as_array().unwrap() {
        let key = segment["segment"].as_str().unwrap();
        let there = lived.json(&["segments", key, "--json"]);
        assert_eq!(segment["then"], there["size"], "{segment:#} {there:#}");
    }
}
