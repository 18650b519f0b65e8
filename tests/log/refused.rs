//! What the database refuses to store of one person: that entry is parked with the cause, and nobody else waits. What
//! passes by itself parks nothing.

use carillon::event::{Event, Kind};
use carillon::fault::Faults;
use carillon::ids::{Position, Span};
use carillon::store::controls::Parked;
use carillon::store::trace::MessageFilter;
use carillon::worker::explain::{Question, explain};
use carillon::worker::processor::redrive;
use carillon::worker::scheduler::Scheduler;

use super::BACKEND;
use super::support::{House, WORKSPACE, build, event};
use crate::database::Backend;

const SHOP: &str = r#"
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 1h
send: { channel: email, template: note }
---
kind: template
key: note
sample: { profile: { traits: { first_name: Ann } } }
email: { subject: A note, html: "<p>Hello</p>" }
"#;
/// So many that each of sixteen shards has some.
const PEOPLE: usize = 64;

fn added(message_id: &str, user: &str) -> Event {
    build(message_id, Kind::Track, "Product Added", Some(user), None, r#"{"properties":{"cart_id":"c1"}}"#)
}

fn named(message_id: &str, user: &str, name: &str) -> Event {
    let body = format!(r#"{{"traits":{{"email":"{user}@example.com","first_name":"{name}"}}}}"#);
    build(message_id, Kind::Identify, "Identified", Some(user), None, &body)
}

async fn shop() -> House {
    let house = House::new().await;
    house.apply(SHOP).await;
    house.append((0..PEOPLE).map(|n| named(&format!("i{n}"), &format!("p{n}"), "Ann")).collect()).await;
    house.process().await;
    house
}

/// From now on the database takes no row of this table for which a condition on its columns holds.
async fn refuse(house: &House, table: &str, is_refused: impl Fn(&str) -> String) {
    let rule = match BACKEND {
        Backend::Sqlite => format!(
            "CREATE TRIGGER refused BEFORE INSERT ON {table} WHEN {} BEGIN SELECT RAISE(ABORT, 'not this one'); END",
            is_refused("NEW.")
        ),
        Backend::Postgres => format!("ALTER TABLE {table} ADD CONSTRAINT refused CHECK (NOT ({}))", is_refused("")),
    };
    house.damage(&rule).await;
}

async fn take_again(house: &House, table: &str) {
    let rule = match BACKEND {
        Backend::Sqlite => "DROP TRIGGER refused".to_owned(),
        Backend::Postgres => format!("ALTER TABLE {table} DROP CONSTRAINT refused"),
    };
    house.damage(&rule).await;
}

/// What waits to be redriven.
async fn parked(house: &House) -> Vec<Parked> {
    let all = house.workspace().parked(99).await.unwrap();
    all.into_iter().filter(|one| one.redriven_at.is_none()).collect()
}

async fn redriven(house: &House, position: Position) -> bool {
    redrive(&house.log, &house.store, WORKSPACE, position).await.unwrap()
}

fn says_why(parked: &Parked) {
    let said = match BACKEND {
        Backend::Sqlite => "the database refused it (1811): not this one",
        Backend::Postgres => "the database refused it (23514): new row for relation",
    };
    assert!(parked.cause.starts_with(said), "{}", parked.cause);
}

async fn balances(house: &House) {
    assert_eq!(house.workspace().accounts().await.unwrap().imbalances(), Vec::<String>::new());
}

#[tokio::test]
async fn the_entry_of_one_person_is_parked_everybody_else_goes_on_and_a_redrive_applies_it_once() {
    let house = shop().await;
    let bob = house.workspace().profile_by_id("p7").await.unwrap().unwrap();
    refuse(&house, "enrollments", |row| format!("{row}profile = {}", bob.0)).await;
    let users: Vec<String> = (0..PEOPLE).map(|n| format!("p{n}")).collect();
    house.append(users.iter().map(|user| added(&format!("a-{user}"), user)).collect()).await;
    house.append(users.iter().map(|user| event(&format!("v-{user}"), user, "Product Viewed")).collect()).await;
    house.process().await;

    let waiting = parked(&house).await;
    assert_eq!(waiting.iter().map(|one| one.position).collect::<Vec<_>>(), [house.at("a-p7").await]);
    assert_eq!(waiting[0].profile, Some(bob));
    says_why(&waiting[0]);
    for user in &users {
        let profile = house.workspace().profile_by_id(user).await.unwrap().unwrap();
        let history = house.workspace().person(profile).await.unwrap().unwrap().profile.history;
        let done: Vec<_> = history.iter().map(|past| past.name.to_owned()).collect();
        let expected: &[&str] = match *user == "p7" {
            true => &["Identified", "Product Viewed"],
            false => &["Identified", "Product Added", "Product Viewed"],
        };
        assert_eq!(done, expected, "{user}");
        assert_eq!(house.enrollments(user).await.len(), usize::from(user != "p7"), "{user}");
    }
    let books = house.workspace().accounts().await.unwrap();
    assert_eq!((books.events.unprocessed, books.events.parked), (0, 1));
    let question = Question { profile: bob, person: "p7".into(), campaign: None, event: None, message: None };
    let told = explain(house.workspace(), &question).await.unwrap().text;
    assert!(told.contains(&format!("entry {} is parked", waiting[0].position)), "{told}");

    // As long as it is refused, it is parked again at its new place.
    assert!(redriven(&house, waiting[0].position).await);
    house.process().await;
    let again = parked(&house).await;
    assert_eq!(again.len(), 1);
    assert!(again[0].position > waiting[0].position);
    take_again(&house, "enrollments").await;
    assert!(redriven(&house, again[0].position).await);
    for one in [&waiting[0], &again[0]] {
        assert!(!redriven(&house, one.position).await, "once only");
    }
    house.process().await;
    assert_eq!(house.enrollments("p7").await.len(), 1);
    assert_eq!(parked(&house).await, []);
    balances(&house).await;
}

#[tokio::test]
async fn a_trait_that_is_refused_is_not_had_and_the_others_are() {
    let house = shop().await;
    refuse(&house, "profiles", |row| format!("{row}traits LIKE '%Unwanted%'")).await;
    let name = |n: usize| if n % 20 == 3 { "Unwanted" } else { "Bea" };
    house.append((0..PEOPLE).map(|n| named(&format!("j{n}"), &format!("p{n}"), name(n))).collect()).await;
    house.process().await;
    let mut expected = Vec::new();
    for n in 0..PEOPLE {
        let profile = house.workspace().profile_by_id(&format!("p{n}")).await.unwrap().unwrap();
        let traits = house.workspace().person(profile).await.unwrap().unwrap().profile.traits;
        assert_eq!(traits["first_name"], if name(n) == "Bea" { "Bea" } else { "Ann" });
        if name(n) != "Bea" {
            expected.push(house.at(&format!("j{n}")).await);
        }
    }
    expected.sort();
    let mut waiting: Vec<Position> = parked(&house).await.iter().map(|one| one.position).collect();
    waiting.sort();
    assert_eq!((waiting.len(), waiting), (4, expected));
    balances(&house).await;
}

#[tokio::test]
async fn a_timer_whose_message_is_refused_is_parked_and_redriven_for_its_person() {
    let house = shop().await;
    house.append(vec![added("a1", "p1"), added("a2", "p2")]).await;
    house.process().await;
    let bob = house.workspace().profile_by_id("p1").await.unwrap().unwrap();
    refuse(&house, "messages", |row| format!("{row}profile = {}", bob.0)).await;
    house.clock.advance(Span::from_hours(1));
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 2);
    house.process().await;
    // Bob's messages, and everybody's.
    let messages = async || {
        let all = MessageFilter { limit: 9, ..MessageFilter::default() };
        let found = house.workspace().list_messages(&all).await.unwrap();
        (found.iter().filter(|message| message.profile == bob).count(), found.len())
    };
    assert_eq!(messages().await, (0, 1));
    let waiting = parked(&house).await;
    assert_eq!(waiting.iter().map(|one| one.profile).collect::<Vec<_>>(), [Some(bob)]);
    says_why(&waiting[0]);
    take_again(&house, "messages").await;
    assert!(redriven(&house, waiting[0].position).await);
    house.process().await;
    assert_eq!(messages().await, (1, 2));
    balances(&house).await;
}

/// The database is without room, or answers that a transaction came in another's way.
#[tokio::test]
async fn what_passes_by_itself_parks_nobody() {
    let passing = match BACKEND {
        // SQLite takes the present size where less is asked for: from here on the file cannot grow.
        Backend::Sqlite => vec![("PRAGMA max_page_count = 1".to_owned(), "PRAGMA max_page_count = 1073741823")],
        Backend::Postgres => {
            ["53100", "40001", "40P01", "55P03"].map(|code| (PASSES.replace("xxxxx", code), PASSED)).into()
        }
    };
    let house = shop().await;
    for (round, (begins, ends)) in passing.iter().enumerate() {
        let many = (0..4_000).map(|n| event(&format!("{round}-{n}"), &format!("p{}", n % 8), "Product Viewed"));
        house.append(many.collect()).await;
        house.damage(begins).await;
        let mut processor = house.processor(Faults::none()).await;
        for _ in 0..5 {
            let mut ticked = processor.tick().await;
            while ticked.as_ref().is_ok_and(|count| *count > 0) {
                ticked = processor.tick().await;
            }
            assert!(ticked.is_err(), "{begins}");
        }
        assert_eq!(parked(&house).await, [], "{begins}");
        house.damage(ends).await;
        while processor.tick().await.unwrap() > 0 {}
        assert_eq!(parked(&house).await, []);
        assert_eq!(house.workspace().accounts().await.unwrap().events.unprocessed, 0, "{begins}");
        balances(&house).await;
    }
}

const PASSES: &str = "CREATE FUNCTION passes() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'later' USING ERRCODE = 'xxxxx'; END $$;
    CREATE TRIGGER passes BEFORE INSERT ON history_pages EXECUTE FUNCTION passes()";
const PASSED: &str = "DROP TRIGGER passes ON history_pages; DROP FUNCTION passes()";
