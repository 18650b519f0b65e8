//! What the database refuses to store of one person: that entry is parked with the cause, and nobody else waits. What
//! passes by itself parks nothing.

use carillon::event::{Event, Kind};
use carillon::eventlog::{AppendError, Receipt};
use carillon::fault::Faults;
use carillon::ids::{Position, Span};
use carillon::store::controls::Parked;
use carillon::store::trace::MessageFilter;
use carillon::worker::explain::{Question, explain};
use carillon::worker::processor::redrive;
use carillon::worker::scheduler::Scheduler;
use futures::future::join_all;

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
        Backend::Postgres => {
            format!("ALTER TABLE {table} ADD CONSTRAINT refused CHECK (NOT ({})) NOT VALID", is_refused(""))
        }
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

/// From now on a trigger takes no change of a row of this table for which a condition holds.
async fn raise_on_update(house: &House, table: &str, is_refused: &str) {
    let rule = match BACKEND {
        Backend::Sqlite => format!(
            "CREATE TRIGGER raised BEFORE UPDATE ON {table} WHEN {is_refused} BEGIN SELECT RAISE(ABORT, 'no'); END"
        ),
        Backend::Postgres => format!(
            "CREATE FUNCTION raised() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
             CREATE TRIGGER raised BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({is_refused}) EXECUTE FUNCTION raised()"
        ),
    };
    house.damage(&rule).await;
}

async fn raise_no_more(house: &House, table: &str) {
    let rule = match BACKEND {
        Backend::Sqlite => "DROP TRIGGER raised".to_owned(),
        Backend::Postgres => format!("DROP TRIGGER raised ON {table}; DROP FUNCTION raised()"),
    };
    house.damage(&rule).await;
}

#[tokio::test]
async fn a_plain_word_of_a_trigger_parks_the_entry_it_is_about() {
    let house = shop().await;
    let bob = house.workspace().profile_by_id("p7").await.unwrap().unwrap();
    raise_on_update(&house, "profiles", &format!("OLD.id = {}", bob.0)).await;
    house.append((0..PEOPLE).map(|n| event(&format!("v{n}"), &format!("p{n}"), "Product Viewed")).collect()).await;
    house.process().await;
    let waiting = parked(&house).await;
    assert_eq!(waiting.iter().map(|one| one.profile).collect::<Vec<_>>(), [Some(bob)]);
    raise_no_more(&house, "profiles").await;
    assert!(redriven(&house, waiting[0].position).await);
    house.process().await;
    assert_eq!(house.workspace().accounts().await.unwrap().events.unprocessed, 0);
    assert_eq!(parked(&house).await, []);
    balances(&house).await;
}

/// Everybody's reminder is due in an hour; the timer of one is refused, by one rule or the other.
#[tokio::test]
async fn a_timer_that_is_refused_is_set_aside_and_those_of_everybody_else_are_told() {
    for is_of_the_row in [false, true] {
        let house = shop().await;
        let users: Vec<String> = (0..PEOPLE).map(|n| format!("p{n}")).collect();
        house.append(users.iter().map(|user| added(&format!("a-{user}"), user)).collect()).await;
        house.process().await;
        let bob = house.workspace().profile_by_id("p7").await.unwrap().unwrap();
        if is_of_the_row {
            raise_on_update(&house, "profiles", &format!("OLD.id = {}", bob.0)).await;
        } else {
            refuse(&house, "entries", |row| format!("{row}kind = 'timer' AND {row}profile = {}", bob.0)).await;
        }
        let due = house.clock.now().plus(Span::from_hours(1));
        house.clock.advance(Span::from_hours(1));
        let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
        assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), PEOPLE - 1);
        house.process().await;
        // It is due, and nobody looks at it again and again.
        assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 0);
        let again = scheduler.next_due().await.unwrap().unwrap();
        assert_eq!(again, due.plus(Span::from_seconds(5)));
        house.clock.advance(Span::from_seconds(5));
        assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 0);
        assert_eq!(scheduler.next_due().await.unwrap(), Some(again.plus(Span::from_seconds(10))));
        // Who comes later is not in its way.
        house.append(vec![added("later", "somebody else")]).await;
        house.process().await;
        house.clock.advance(Span::from_hours(1));
        assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 1);
        // Taken again, it is told with the instant at which it was due.
        if is_of_the_row {
            raise_no_more(&house, "profiles").await;
        } else {
            take_again(&house, "entries").await;
        }
        house.clock.advance(Span::from_hours(1));
        assert_eq!(scheduler.tick(house.clock.now()).await.unwrap(), 1);
        house.process().await;
        let all = MessageFilter { limit: 99, ..MessageFilter::default() };
        let messages = house.workspace().list_messages(&all).await.unwrap();
        assert_eq!(messages.len(), PEOPLE + 1);
        let bobs: Vec<_> = messages.iter().filter(|message| message.profile == bob).collect();
        assert_eq!(bobs.iter().map(|message| message.created_at).collect::<Vec<_>>(), [due]);
        assert_eq!(parked(&house).await, []);
        assert_eq!(scheduler.next_due().await.unwrap(), None);
        balances(&house).await;
    }
}

/// What each call heard: how many of its events are stored, or the places that are refused.
async fn heard(house: &House, calls: Vec<Vec<Event>>) -> Vec<Result<usize, Vec<usize>>> {
    let told = calls.into_iter().map(|events| house.log.append(WORKSPACE, events));
    let answers = join_all(told).await.into_iter().map(|answer| match answer {
        Ok(receipts) => Ok(receipts.len()),
        Err(AppendError::Refused(refused)) => Err(refused.into_keys().collect()),
        Err(error) => panic!("{error}"),
    });
    answers.collect()
}

#[tokio::test]
async fn an_event_that_is_refused_is_told_to_its_sender_alone_and_its_neighbours_are_stored() {
    let house = shop().await;
    refuse(&house, "entries", |row| format!("{row}name = 'Unwanted'")).await;
    let one = |n: usize, name: &str| event(&format!("e{n}-{name}"), &format!("p{n}"), name);
    let calls: Vec<Vec<Event>> = (0..40)
        .map(|n| match n {
            9 | 17 => vec![one(n, "Unwanted")],
            30 => vec![one(n, "Product Viewed"), one(n, "Unwanted"), one(n, "Order Completed"), one(n, "Unwanted")],
            _ => vec![one(n, "Product Viewed")],
        })
        .collect();
    let before = house.log.appended().borrow().to_owned();
    let answers = heard(&house, calls.clone()).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let expected = match n {
            9 | 17 => Err(vec![0]),
            // The second has its id: it is a repeat of what was not stored.
            30 => Err(vec![1, 3]),
            _ => Ok(1),
        };
        assert_eq!(answer, expected, "call {n}");
    }
    // What is left of a call is stored without them; who sends again what was refused hears the same.
    let apart = house.log.append_apart(WORKSPACE, calls[30].clone()).await.unwrap();
    let stored: Vec<bool> = apart.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [true, false, true, false]);
    let why = apart[1].clone().unwrap_err();
    let code = if BACKEND == Backend::Sqlite { "1811" } else { "23514" };
    assert_eq!((why.code.as_str(), why.message_id.as_deref()), (code, Some("e30-Unwanted")));
    assert_eq!(heard(&house, vec![calls[9].clone()]).await, [Err(vec![0])]);
    let repeated = house.append(calls[3].clone()).await;
    assert_eq!(repeated, [Receipt::Duplicate]);
    house.process().await;
    let books = house.workspace().accounts().await.unwrap();
    assert_eq!((books.events.accepted, books.events.unprocessed), (PEOPLE as i64 + 39, 0));
    assert!(before < house.log.appended().borrow().to_owned());
    // Taken again, it is stored like any other, and nothing has a hole.
    take_again(&house, "entries").await;
    assert_eq!(heard(&house, vec![calls[9].clone()]).await, [Ok(1)]);
    let house = house.restart().await;
    house.process().await;
    assert_eq!(house.workspace().accounts().await.unwrap().events.accepted, PEOPLE as i64 + 40);
    balances(&house).await;
}

/// Where whatever is given is refused, nobody is told that it is their event's fault: they come again.
#[tokio::test]
async fn a_database_that_refuses_everything_is_its_own_fault() {
    let house = shop().await;
    for rule in ["1 = 1", "kind = 'track'"] {
        refuse(&house, "entries", |row| rule.replace("kind", &format!("{row}kind"))).await;
        for n in 0..3 {
            let answer = house.log.append(WORKSPACE, vec![event(&format!("m{n}"), "p1", "Product Viewed")]).await;
            assert!(matches!(answer, Err(AppendError::Failing(_))), "{rule}: {answer:?}");
        }
        take_again(&house, "entries").await;
        assert_eq!(house.append(vec![event(&format!("m-{rule}"), "p1", "Product Viewed")]).await.len(), 1);
    }
    house.process().await;
    balances(&house).await;
}
