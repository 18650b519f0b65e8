//! `reachable` beside the suppression list: whoever shares an address is told of each change of it, whatever came first,
//! and the same log leads to the same answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use carillon::audience::suppression::REACH_CHANGED;
use carillon::event::{Event, Kind};
use carillon::fault::Faults;
use carillon::message::{Address, Channel, SuppressionKind};
use carillon::store::entries::Logged;
use carillon::worker::leases::Leases;
use carillon::worker::permission::{ByHand, Desk};

use super::support::{House, WORKSPACE, build, event};

const OPEN: &str = "kind: segment\nkey: open\nname: Open\nowner: crm@shop.example\nwhere: { reachable: email }\n";

const HELLO: &str = "kind: campaign\nkey: hello\nname: Hello\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
    purpose: marketing\nentry: { event: Signed Up, where: { reachable: email } }\ndelay: 2h\n\
    exit: [ { not: { reachable: email } } ]\nsend: { channel: email, template: hello }\n---\nkind: template\nkey: hello\n\
    email: { subject: Hi, html: '<p>Hi</p>' }\n";

fn called(message_id: &str, user: &str, email: &str) -> Event {
    let body = format!(r#"{{"traits":{{"email":"{email}"}}}}"#);
    build(message_id, Kind::Identify, "Identified", Some(user), None, &body)
}

fn desk(house: &House) -> Desk {
    Desk { log: house.log.clone(), store: house.store.clone(), definitions: Arc::clone(&house.definitions) }
}

fn by_hand(email: &str, kind: Option<SuppressionKind>) -> ByHand {
    ByHand { address: Address::parse(Channel::Email, email).unwrap(), kind, source: "a letter".to_owned() }
}

pub async fn suppress(house: &House, email: &str) {
    desk(house).suppress(WORKSPACE, vec![by_hand(email, Some(SuppressionKind::Manual))]).await.unwrap();
}

async fn lift(house: &House, email: &str) {
    desk(house).unsuppress(WORKSPACE, vec![by_hand(email, None)]).await.unwrap();
}

/// Tells whoever is to be told now, without deciding on it.
async fn tell(house: &House) -> usize {
    house.processor(Faults::none()).await.tellings().tick(house.clock.now()).await.unwrap()
}

/// Until nothing is left: decisions, looks at everybody, tellings.
async fn settle(house: &House) {
    loop {
        house.look_at_everybody().await;
        if tell(house).await == 0 {
            return;
        }
    }
}

/// Who is in the segment.
async fn open(house: &House, users: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for user in users {
        let id = house.workspace().profile_by_id(user).await.unwrap().unwrap();
        let person = house.workspace().person(id).await.unwrap().unwrap();
        if person.profile.segments.memberships().contains("open") {
            found.insert((*user).to_owned());
        }
    }
    found
}

fn all(users: &[&str]) -> BTreeSet<String> {
    users.iter().map(|user| (*user).to_owned()).collect()
}

async fn state(house: &House, user: &str) -> String {
    house.enrollments(user).await.iter().map(|one| format!("{:?}", one.state)).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn everybody_with_an_address_leaves_and_comes_back_as_it_is_suppressed_and_freed() {
    let house = House::new().await;
    house.apply(OPEN).await;
    house.append(vec![called("1", "ann", "Ann@Example.com"), called("2", "bob", " ann@example.COM")]).await;
    house.append(vec![called("3", "cleo", "cleo@example.com"), called("4", "dan", "nowhere")]).await;
    settle(&house).await;
    let users = ["ann", "bob", "cleo", "dan"];
    assert_eq!(open(&house, &users).await, all(&["ann", "bob", "cleo"]));
    suppress(&house, "ann@example.com").await;
    settle(&house).await;
    assert_eq!(open(&house, &users).await, all(&["cleo"]));
    lift(&house, "ANN@example.com").await;
    settle(&house).await;
    assert_eq!(open(&house, &users).await, all(&["ann", "bob", "cleo"]));
    // A topic that somebody left closes no channel.
    let topic = by_hand("cleo@example.com", Some(SuppressionKind::Topic("offers".to_owned())));
    desk(&house).suppress(WORKSPACE, vec![topic]).await.unwrap();
    assert_eq!(tell(&house).await, 0);
}

#[tokio::test]
async fn an_exit_ends_who_waits_and_a_suppressed_address_enters_nobody_from_its_first_instant() {
    let house = House::new().await;
    house.apply(HELLO).await;
    suppress(&house, "old@example.com").await;
    house.append(vec![called("1", "ann", "ann@example.com"), event("2", "ann", "Signed Up")]).await;
    house.append(vec![called("3", "bob", "Old@example.com"), event("4", "bob", "Signed Up")]).await;
    house.process().await;
    assert!(state(&house, "ann").await.contains("Waiting"));
    assert_eq!(state(&house, "bob").await, "");
    suppress(&house, "ann@example.com").await;
    settle(&house).await;
    assert!(state(&house, "ann").await.contains("reachable"), "{}", state(&house, "ann").await);
}

/// The list changes while the call that gives the address is between the log and its decision; before; and after.
#[tokio::test]
async fn whatever_the_order_a_person_ends_as_the_list_says() {
    let house = House::new().await;
    house.apply(OPEN).await;
    house.process().await;
    // Told before anybody is known to have the address.
    house.append(vec![called("1", "ann", "ann@example.com")]).await;
    suppress(&house, "ann@example.com").await;
    assert_eq!(tell(&house).await, 1);
    settle(&house).await;
    // Decided first.
    house.append(vec![called("2", "bob", "bob@example.com")]).await;
    house.process().await;
    suppress(&house, "bob@example.com").await;
    settle(&house).await;
    // Stopped as it was appended, and freed before it is decided.
    suppress(&house, "cleo@example.com").await;
    tell(&house).await;
    house.append(vec![called("3", "cleo", "cleo@example.com")]).await;
    lift(&house, "cleo@example.com").await;
    assert_eq!(tell(&house).await, 1);
    settle(&house).await;
    assert_eq!(open(&house, &["ann", "bob", "cleo"]).await, all(&["cleo"]));
}

#[tokio::test]
async fn who_was_there_before_addresses_were_filed_is_told_by_the_pass_over_everybody() {
    let house = House::new().await;
    house.append(vec![called("1", "ann", "ann@example.com"), called("2", "bob", "bob@example.com")]).await;
    house.process().await;
    house.damage("DELETE FROM address_holders").await;
    suppress(&house, "ann@example.com").await;
    assert_eq!(tell(&house).await, 1);
    house.apply(OPEN).await;
    settle(&house).await;
    assert_eq!(open(&house, &["ann", "bob"]).await, all(&["ann", "bob"]), "nobody knows yet who has the address");
    let leases = Leases::alone(house.store.layout());
    use carillon::worker::filing::{Filed, tick};
    while tick(&house.log, &house.store, &leases).await.unwrap() != Filed::Everybody {}
    settle(&house).await;
    assert_eq!(open(&house, &["ann", "bob"]).await, all(&["bob"]));
}

#[tokio::test]
async fn two_profiles_that_become_one_are_reachable_by_what_both_were_told() {
    let house = House::new().await;
    house.apply(OPEN).await;
    suppress(&house, "old@example.com").await;
    let anonymous =
        build("1", Kind::Identify, "Identified", None, Some("a1"), r#"{"traits":{"email":"old@example.com"}}"#);
    house.append(vec![anonymous, event("2", "ann", "Page Viewed")]).await;
    settle(&house).await;
    house.append(vec![build("3", Kind::Identify, "Identified", Some("ann"), Some("a1"), "{}")]).await;
    settle(&house).await;
    assert_eq!(open(&house, &["ann"]).await, all(&[]));
    lift(&house, "old@example.com").await;
    settle(&house).await;
    assert_eq!(open(&house, &["ann"]).await, all(&["ann"]));
}

#[tokio::test]
async fn an_uploaded_list_is_told_in_pages_and_each_person_once() {
    let house = House::new().await;
    let people = 450;
    let calls = (0..people).map(|n| called(&format!("{n}"), &format!("u{n}"), &format!("u{n}@example.com")));
    house.append(calls.collect()).await;
    house.process().await;
    let list = (0..people).map(|n| by_hand(&format!("u{n}@example.com"), None)).collect();
    desk(&house).suppress(WORKSPACE, list).await.unwrap();
    let mut pages = Vec::new();
    loop {
        match tell(&house).await {
            0 => break,
            count => pages.push(count),
        }
    }
    assert_eq!(pages, [200, 200, 50]);
    house.process().await;
    let mut told = 0;
    for n in 0..people {
        let id = house.workspace().profile_by_id(&format!("u{n}")).await.unwrap().unwrap();
        let person = house.workspace().person(id).await.unwrap().unwrap();
        told += person.profile.history.iter().filter(|past| past.name == REACH_CHANGED).count();
        assert_eq!(person.profile.remembered.stopped.len(), 1);
    }
    assert_eq!(told, people);
}

/// A token longer than what a database takes into an index.
#[tokio::test]
async fn a_very_long_address_is_told_of_like_any_other() {
    let house = House::new().await;
    house.apply(&OPEN.replace("reachable: email", "reachable: push")).await;
    let digest =
        |n: u32| n.to_string().bytes().fold(1_u64, |sum, b| (sum ^ u64::from(b)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let token: String = (0..240).map(|n| format!("{:016x}", digest(n))).collect();
    let body = format!(r#"{{"traits":{{"push_token":"{token}"}}}}"#);
    house.append(vec![build("1", Kind::Identify, "Identified", Some("ann"), None, &body)]).await;
    settle(&house).await;
    assert_eq!(open(&house, &["ann"]).await, all(&["ann"]));
    let address = Address::parse(Channel::Push, &token).unwrap();
    let by_hand = || ByHand { address: address.clone(), kind: None, source: "a letter".to_owned() };
    assert_eq!(desk(&house).suppress(WORKSPACE, vec![by_hand()]).await.unwrap(), 1);
    assert_eq!(tell(&house).await, 1);
    house.process().await;
    assert_eq!(open(&house, &["ann"]).await, all(&[]));
    assert_eq!(desk(&house).unsuppress(WORKSPACE, vec![by_hand()]).await.unwrap(), 1);
    settle(&house).await;
    assert_eq!(open(&house, &["ann"]).await, all(&["ann"]));
    let id = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let person = house.workspace().person(id).await.unwrap().unwrap();
    assert_eq!(person.profile.history.iter().filter(|past| past.name == REACH_CHANGED).count(), 2);
}

/// Stored before long addresses were filed by their hashes.
#[tokio::test]
async fn a_long_address_that_was_listed_in_full_is_still_listed() {
    let house = House::new().await;
    let token = "0123456789abcdef".repeat(40);
    let (by_hand, other) = (|| Address::parse(Channel::Push, &token).unwrap(), Address::parse(Channel::Push, "short"));
    house
        .damage(&format!(
            "INSERT INTO suppressed_addresses (workspace, subject, kind, profile, at, channel, source)
         VALUES (1, '{}', 'manual', 0, 1, 'push', 'a letter'), (1, 'push:short', 'manual', 0, 1, 'push', 'a letter')",
            by_hand().subject()
        ))
        .await;
    assert!(!house.is_listed(&by_hand()).await, "in full it is not found");
    house.damage("DELETE FROM seaql_migrations WHERE version = 'm20261123_000235_long_addresses'").await;
    let house = house.restart().await;
    assert!(house.is_listed(&by_hand()).await && house.is_listed(&other.unwrap()).await);
    let lift = ByHand { address: by_hand(), kind: None, source: "a letter".to_owned() };
    assert_eq!(desk(&house).unsuppress(WORKSPACE, vec![lift]).await.unwrap(), 1);
    assert!(!house.is_listed(&by_hand()).await);
}

#[tokio::test]
async fn what_is_told_of_a_person_stands_in_the_log_before_the_call_and_is_counted_as_nobodys_call() {
    let house = House::new().await;
    suppress(&house, "ann@example.com").await;
    let receipts = house.append(vec![called("1", "ann", "ann@example.com")]).await;
    assert_eq!(receipts.len(), 1);
    house.process().await;
    let id = house.workspace().profile_by_id("ann").await.unwrap().unwrap();
    let person = house.workspace().person(id).await.unwrap().unwrap();
    let mut past: Vec<_> = person.profile.history.iter().map(|past| (past.position, past.name.to_owned())).collect();
    past.sort();
    assert_eq!(past.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), [REACH_CHANGED, "Identified"]);
    let entries = house.workspace().entries_at(&[past[0].0]).await.unwrap();
    let Some(Logged::Event(event)) = entries.into_values().next().map(|entry| entry.logged) else { panic!() };
    assert_eq!(
        (event.kind, &event.lookup("properties.suppressions").unwrap()[0]["kind"]),
        (Kind::Own, &"manual".into())
    );
}
