//! The log goes by age, and what is left of it says the same of everybody.

use std::collections::{BTreeMap, BTreeSet};

use carillon::app::WORKSPACE;
use carillon::decision::Person;
use carillon::ids::{Position, ProfileId, Span};
use carillon::render::kept::KeptMessages;
use carillon::store::Rows;
use carillon::store::baselines::{baselines, heirs_among};
use carillon::store::entries::{Entry, read_after};
use carillon::store::log_pruning::{Class, marks_of};
use carillon::store::shards::{Heads, Layout};
use carillon::worker::baseline::Fold;
use carillon::worker::dispatcher::redrive_message;
use carillon::worker::explain::instant::{Asked, How, at_instant};
use carillon::worker::explain::{Question, explain};
use carillon::worker::processor::redrive;
use carillon::worker::retention::{Pruned, Retention, prune};
use tokio::sync::watch;

use super::BACKEND;
use crate::database::Place;
use crate::house::{START, Shop};

const DAY: i64 = 24 * 60;

/// Bodies and entries are kept for so many days; nothing else goes.
async fn pruned(shop: &Shop, bodies: i64, entries: i64) -> Pruned {
    let none = Span::ZERO;
    let (bodies, entries) = (Span::from_days(bodies), Span::from_days(entries));
    let retention = Retention { messages: none, reasons: none, hits: none, bodies, entries };
    let (_stop, stopped) = watch::channel(false);
    let house = &shop.house;
    prune(&house.log, &house.store, &house.definitions, retention, &stopped).await.unwrap()
}

async fn shop(place: &Place) -> Shop {
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    shop.furnish().await;
    shop
}

async fn count(shop: &Shop, what: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {what}");
    Rows(shop.house.store.reader()).scalar(&sql, vec![]).await.unwrap().unwrap()
}

/// The log behind these positions, in the order in which it was decided.
async fn log(shop: &Shop, behind: &Heads) -> Vec<Entry> {
    let mut entries = Vec::new();
    for shard in shop.house.store.layout().all().iter() {
        let read = read_after(shop.house.store.reader(), behind.of(shard), 100_000).await.unwrap();
        entries.extend(read.into_iter().map(Result::unwrap));
    }
    // Everything in these tests happens at an instant of its own, but what one call makes.
    entries.sort_by_key(|entry| (entry.now, entry.position));
    entries
}

/// What the log says of people, from a beginning.
async fn folded(shop: &Shop, from: BTreeMap<ProfileId, Person>, entries: &[Entry]) -> BTreeMap<ProfileId, Person> {
    let ids: BTreeSet<ProfileId> = entries.iter().flat_map(|entry| [entry.profile, entry.joins]).flatten().collect();
    let heirs = heirs_among(shop.house.store.reader(), &ids.into_iter().collect::<Vec<_>>()).await.unwrap();
    let mut fold = Fold { people: from, heirs };
    entries.iter().for_each(|entry| fold.add(entry));
    fold.people
}

/// People as they are: ids, traits and times.
async fn stored(shop: &Shop, ids: &[ProfileId]) -> BTreeMap<ProfileId, Person> {
    let people = shop.house.store.workspace(WORKSPACE).people(ids).await.unwrap();
    let people = people.into_iter().map(|(id, person)| (id, person.unwrap()));
    people.filter(|(_, person)| person.merged_into.is_none()).collect()
}

fn outline(people: &BTreeMap<ProfileId, Person>) -> Vec<String> {
    let line = |person: &Person| {
        let profile = &person.profile;
        let (traits, seen) = (serde_json::to_string(&profile.traits).unwrap(), profile.last_seen_at);
        format!("{} {:?} {traits} {} {seen}", profile.id, profile.user_id, profile.created_at)
    };
    people.values().map(line).collect()
}

async fn of_user(shop: &Shop, user: &str) -> ProfileId {
    shop.house.store.workspace(WORKSPACE).profile_by_id(user).await.unwrap().unwrap()
}

/// Three people, one of whom was two, who change again and again.
async fn lives(shop: &Shop, weeks: i64) {
    for week in 0..weeks {
        for (n, user) in ["ann", "bob", "cem"].into_iter().enumerate() {
            shop.after(7).await;
            shop.identify(user, &format!(r#"{{"email":"{user}@example.com","week":{week},"n{week}":{n}}}"#)).await;
            shop.after(1).await;
            shop.track(user, "Product Viewed", &format!("c{week}")).await;
        }
        shop.after(1).await;
        shop.on_device("phone", "Product Viewed", r#"{"properties":{"cart_id":"p"}}"#).await;
        shop.after(1).await;
        if week == 1 {
            shop.log_in("ann", "phone", r#"{"phone":"+491700000000","week":null}"#).await;
        }
        if week == 3 {
            shop.identify("ann", r#"{"n0":null,"name":"Ann"}"#).await;
        }
        shop.settle().await;
        shop.after(7 * DAY - 60).await;
    }
}

#[tokio::test]
async fn folding_the_rest_onto_the_baseline_comes_to_what_folding_all_does() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    lives(&shop, 10).await;
    let beginning = Heads::default();
    let whole = log(&shop, &beginning).await;
    let all = folded(&shop, BTreeMap::new(), &whole).await;
    let ids: Vec<ProfileId> = all.keys().copied().collect();
    assert_eq!(outline(&all), outline(&stored(&shop, &ids).await), "the whole log says who they are");
    assert_eq!(ids.len(), 3, "the phone was Ann's");

    let gone = pruned(&shop, 35, 0).await;
    assert!(gone.bodies > 30 && gone.entries == 0, "{gone:?}");
    assert_eq!(pruned(&shop, 35, 0).await, Pruned::default());
    let reader = shop.house.store.reader();
    let marks = marks_of(reader, Class::Bodies).await.unwrap();
    let base = baselines(reader, &ids).await.unwrap();
    assert_ne!(outline(&base), outline(&all), "there is a rest");
    let rest = log(&shop, &marks).await;
    assert!(!rest.is_empty() && rest.len() < whole.len());
    assert_eq!(outline(&folded(&shop, base, &rest).await), outline(&all));
    assert_eq!(count(&shop, "entries WHERE kind = 'identify' AND body <> '{}'").await, rest_of(&rest, "identify"));

    let gone = pruned(&shop, 30, 30).await;
    let base = baselines(reader, &ids).await.unwrap();
    let rest = log(&shop, &marks_of(reader, Class::Bodies).await.unwrap()).await;
    assert_eq!(outline(&folded(&shop, base, &rest).await), outline(&all), "{gone:?}");
    lives(&shop, 1).await;
    let people = stored(&shop, &ids).await;
    assert!(people.values().all(|one| one.profile.traits["week"] == 0), "life goes on");
}

fn rest_of(rest: &[Entry], kind: &str) -> i64 {
    i64::try_from(rest.iter().filter(|entry| entry.logged.kind() == kind).count()).unwrap()
}

const LOYAL: &str = "kind: campaign
key: loyal
name: loyal
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry:
  event: Shop Entered
  where: { performed: { event: Order Placed, within: 80d, where: { properties.cart_id: c1 } } }
send: { channel: email, template: hello }
";

#[tokio::test]
async fn what_a_live_condition_looks_back_at_stays_until_it_does_not() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.apply(LOYAL).await;
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Order Placed", "c1").await;
    shop.track("ann", "Product Viewed", "c1").await;
    shop.settle().await;
    let receipts = shop.carrier.taken().1;
    shop.after(50 * DAY).await;
    assert_eq!(pruned(&shop, 40, 45).await.bodies, 2, "the call and the look, not the order");
    assert_eq!(count(&shop, "held_entries").await, 1);
    shop.track("ann", "Shop Entered", "").await;
    shop.settle().await;
    assert_eq!(shop.carrier.taken().1, receipts + 1, "the order of 50 days ago was found with its cart");
    shop.after(31 * DAY).await;
    assert_eq!(pruned(&shop, 40, 45).await.bodies, 1, "81 days");
    assert_eq!(count(&shop, "held_entries").await, 0);
}

#[tokio::test]
async fn a_message_that_waits_for_months_reads_the_event_that_began_it() {
    let place = Place::new(BACKEND).await;
    let shop = Shop::with(place.folder.path(), place.address(), START, None, None).await;
    shop.furnish().await;
    shop.apply(
        &LOYAL
            .replace(
                "  where: { performed: { event: Order Placed, within: 80d, where: { properties.cart_id: c1 } } }\n",
                "",
            )
            .replace("send:", "delay: 60d\nsend:"),
    )
    .await;
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Shop Entered", "cart-of-then").await;
    shop.track("ann", "Product Viewed", "c1").await;
    shop.settle().await;
    shop.after(50 * DAY).await;
    assert_eq!(pruned(&shop, 40, 40).await.bodies, 2);
    shop.after(11 * DAY).await;
    let sent = shop.messages().await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    let kept = shop.house.sandbox.get(sent[0].id).unwrap().unwrap();
    assert!(serde_json::to_string(&kept.content).unwrap().contains("cart-of-then"));
    assert_eq!(pruned(&shop, 40, 40).await.bodies, 1, "now it may go");
}

#[tokio::test]
async fn entries_leave_their_counts_the_books_balance_and_the_log_goes_on() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    let ann = of_user(&shop, "ann").await;
    for n in 0..130 {
        if n == 65 {
            shop.after(1).await;
        }
        shop.track("ann", "Product Viewed", &format!("c{n}")).await;
    }
    shop.settle().await;
    shop.after(41 * DAY).await;
    for n in 0..10 {
        shop.track("ann", "Product Viewed", &format!("d{n}")).await;
    }
    shop.settle().await;
    let gone = pruned(&shop, 40, 40).await;
    assert_eq!(gone.bodies, 131);
    assert!(gone.entries > 60, "{gone:?}");
    let store = shop.house.store.workspace(WORKSPACE);
    let books = store.accounts().await.unwrap();
    assert_eq!(books.imbalances(), Vec::<String>::new());
    assert_eq!(books.events.rolled_up, i64::try_from(gone.entries).unwrap());
    let left = count(&shop, "entries WHERE event_id IS NOT NULL AND kind <> 'own'").await;
    assert_eq!(left + books.events.rolled_up, books.events.accepted);
    assert_eq!(pruned(&shop, 40, 40).await, Pruned::default());

    let question = Question { profile: ann, person: "ann".to_owned(), campaign: None, event: None, message: None };
    let told = explain(store, &question).await.unwrap().text;
    let today = shop.clock.now().to_string();
    let today = today.split('T').next().unwrap();
    assert!(told.contains(&format!("carried was pruned by retention on {today}")), "{told}");
    assert!(told.contains(&format!("events of ann were pruned by retention on {today}")), "{told}");
    // No instant of what is gone is answered, and from when on one is, is said.
    let ask =
        |at| Asked { profile: ann, person: "ann".to_owned(), campaign: "cart".to_owned(), at, how: How::Recorded };
    let answered = async |at| {
        let (house, zone) = (&shop.house, jiff::tz::TimeZone::UTC);
        at_instant(&house.store, &house.definitions, (WORKSPACE, &zone), &ask(at)).await.unwrap()
    };
    let began = carillon::ids::Timestamp::from_millis(START);
    let early = answered(began.plus(Span::from_seconds(30))).await.answer;
    assert_eq!(early.code, "out_of_reach", "{early:?}");
    let from = early.change.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert_ne!(answered(from).await.answer.code, "out_of_reach");
    let history = store.person(ann).await.unwrap().unwrap().profile.history;
    assert_eq!(history.iter().count() + 32 * history.pages as usize, 141, "her history has all of it");

    shop.close().await;
    let shop = Shop::open(place.folder.path(), place.address(), START + 42 * DAY * 60_000, None).await;
    shop.track("ann", "Order Placed", "e1").await;
    shop.settle().await;
    assert_eq!(shop.carrier.taken().1, 1, "a receipt");
    assert_eq!(shop.house.store.workspace(WORKSPACE).accounts().await.unwrap().imbalances(), Vec::<String>::new());
}

#[tokio::test]
async fn what_failed_and_what_is_parked_is_put_back_after_the_log_around_it_went() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.carrier.refuses(true);
    shop.track("ann", "Order Placed", "c-failed").await;
    shop.track("ann", "Product Viewed", "c1").await;
    shop.settle().await;
    shop.carrier.refuses(false);
    let failed = shop.messages().await.remove(0);
    assert_eq!(failed.status.name(), "failed");
    shop.track("ann", "Order Placed", "c-parked").await;
    let sql = "SELECT position FROM entries WHERE name = 'Order Placed' ORDER BY now DESC, position DESC LIMIT 1";
    let parked: i64 = Rows(shop.house.store.reader()).scalar(sql, vec![]).await.unwrap().unwrap();
    shop.settle().await;
    let (ann, now) = (of_user(&shop, "ann").await, shop.clock.now().millis());
    let park = "INSERT INTO parked (position, workspace, profile, cause, parked_at) VALUES (?, 1, ?, 'odd', ?)";
    Rows(&shop.house.database.writer).run(park, vec![parked.into(), ann.0.into(), now.into()]).await.unwrap();

    shop.after(50 * DAY).await;
    let gone = pruned(&shop, 40, 40).await;
    assert_eq!(gone.bodies, 2, "the call and the look alone: {gone:?}");
    let now = shop.clock.now();
    assert!(redrive_message(&shop.house.log, WORKSPACE, failed.id, now).await.unwrap());
    assert!(redrive(&shop.house.log, &shop.house.store, WORKSPACE, Position(parked)).await.unwrap());
    assert!(!redrive(&shop.house.log, &shop.house.store, WORKSPACE, Position(parked)).await.unwrap(), "once");
    shop.settle().await;
    let again = shop.messages().await;
    let put_back = again.iter().find(|one| one.id == failed.id).unwrap();
    let reason = put_back.status.reason().map(|reason| reason.code());
    assert_eq!(reason, Some("expired"), "it was looked at again, and is too old for a receipt");
    let of = |cart: &str| format!("entries WHERE name = 'Order Placed' AND body LIKE '%{cart}%'");
    assert_eq!(count(&shop, &of("c-failed")).await, 1, "what it stands on is there");
    assert_eq!(count(&shop, &of("c-parked")).await, 2, "as it came, and again");
}

#[tokio::test]
async fn who_applies_a_rule_that_looks_back_further_than_what_is_left_is_told() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let looking_back = |span: &str| LOYAL.replace("within: 80d", &format!("within: {span}"));
    let told = |warnings: Vec<String>| warnings.iter().any(|one| one.contains("looks into Order Placed events"));
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Order Placed", "c1").await;
    shop.settle().await;
    assert!(!told(shop.apply(&looking_back("70d")).await), "all of it is there");
    shop.apply(&looking_back("70d").replace("status: live", "status: archived")).await;
    shop.after(80 * DAY).await;
    assert!(pruned(&shop, 40, 0).await.bodies > 0);
    assert!(!told(shop.apply(&looking_back("30d")).await), "so much is left");
    let warned = shop.apply(&looking_back("60d")).await;
    assert!(told(warned.clone()), "{warned:?}");
}

#[tokio::test]
async fn what_a_soft_opt_in_looks_back_at_stays_and_one_that_looks_back_further_is_told() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let own_customers = |span: &str| {
        format!(
            "kind: consent_policy\nrules:\n  - channel: email\n    soft_opt_in:\n      countries: [ GB ]\n      where: {{ \
             performed: {{ event: Order Placed, within: {span}, where: {{ properties.cart_id: c1 }} }} }}\n"
        )
    };
    let told = |warnings: Vec<String>| warnings.into_iter().find(|one| one.contains("looks into Order Placed events"));
    shop.identify("ann", r#"{"email":"ann@example.com","name":"Ann"}"#).await;
    shop.track("ann", "Order Placed", "c1").await;
    shop.settle().await;
    assert_eq!(told(shop.apply(&own_customers("80d")).await), None, "all of it is there");
    shop.after(50 * DAY).await;
    pruned(&shop, 40, 0).await;
    let orders = "entries WHERE name = 'Order Placed' AND body LIKE '%c1%'";
    assert_eq!(count(&shop, orders).await, 1, "the policy asks for it");
    shop.apply("kind: consent_policy\nrules: [ { channel: email, unknown: blocked } ]\n").await;
    pruned(&shop, 40, 0).await;
    assert_eq!(count(&shop, orders).await, 0, "nobody asks for it any more");
    assert_eq!(told(shop.apply(&own_customers("30d")).await), None, "so much is left");
    let warned = told(shop.apply(&own_customers("80d")).await).unwrap_or_default();
    assert!(warned.starts_with("consent_policy") && warned.contains("80d back"), "{warned}");
    assert!(warned.ends_with("it may find too few") && warned.contains("until 20"), "{warned}");
}

#[tokio::test]
async fn freed_space_is_used_again() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    if Layout::of(shop.house.database.reader.get_database_backend()).is_shared() {
        // PostgreSQL's vacuum gives the room of dead rows to new ones.
        return;
    }
    let text = "x".repeat(2_000);
    let fill = async |shop: &Shop, user: &str| {
        for n in 0..400 {
            shop.track(user, "Product Viewed", &format!("{n}{text}")).await;
        }
        shop.settle().await;
    };
    let pages = async |shop: &Shop, what: &str| -> i64 {
        let sql = format!("SELECT {what} FROM pragma_{what}");
        Rows(&shop.house.database.writer).scalar(&sql, vec![]).await.unwrap().unwrap()
    };
    fill(&shop, "ann").await;
    let filled = pages(&shop, "page_count").await;
    shop.after(41 * DAY).await;
    assert_eq!(pruned(&shop, 40, 0).await.bodies, 400);
    assert!(pages(&shop, "freelist_count").await > 150, "the bodies' pages are free");
    fill(&shop, "bob").await;
    assert!(pages(&shop, "page_count").await <= filled + 20, "the file did not grow by the same again");
}

#[tokio::test]
async fn what_is_not_processed_yet_stays() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.identify("ann", r#"{"email":"ann@example.com"}"#).await;
    shop.clock.advance(Span::from_days(50));
    assert_eq!(pruned(&shop, 40, 40).await, Pruned::default());
    assert_eq!(count(&shop, "entries WHERE kind = 'identify' AND body <> '{}'").await, 1);
    shop.settle().await;
    assert_eq!(pruned(&shop, 40, 40).await.bodies, 1);
    let position = Position(1);
    assert!(marks_of(shop.house.store.reader(), Class::Bodies).await.unwrap().last() >= position);
}
