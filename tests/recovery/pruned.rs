//! What is old goes, and what may still be asked stays: counts, caps, goals, the present.

use carillon::app::WORKSPACE;
use carillon::ids::Span;
use carillon::store::Rows;
use carillon::worker::explain::{Question, explain};
use carillon::worker::retention::{Pruned, Retention, prune};
use tokio::sync::watch;

use super::BACKEND;
use crate::database::Place;
use crate::house::{START, Shop};

async fn pruned(shop: &Shop, days: i64) -> Pruned {
    let span = Span::from_days(days);
    keeping(shop, Retention { messages: span, reasons: span, hits: span, ..Retention::default() }).await
}

async fn keeping(shop: &Shop, retention: Retention) -> Pruned {
    let (_stop, stopped) = watch::channel(false);
    let house = &shop.house;
    prune(&house.log, &house.store, &house.definitions, retention, &stopped).await.unwrap()
}

async fn count(shop: &Shop, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    Rows(shop.house.store.reader()).scalar(&sql, vec![]).await.unwrap().unwrap()
}

/// A shop in which three people got receipts and reminders.
async fn shop(place: &Place) -> Shop {
    let shop = Shop::open(place.folder.path(), place.address(), START, None).await;
    shop.furnish().await;
    for user in ["ann", "bob", "cem"] {
        shop.identify(user, &format!(r#"{{"email":"{user}@example.com","name":"{user}"}}"#)).await;
        shop.track(user, "Order Placed", "c1").await;
        shop.track(user, "Product Added", "c1").await;
    }
    shop.after(5 * 60).await;
    assert_eq!(shop.carrier.taken(), (3, 3));
    shop
}

#[tokio::test]
async fn old_messages_leave_their_counts_and_the_books_balance() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    assert_eq!(pruned(&shop, 40).await, Pruned::default(), "nothing is old");
    shop.after(41 * 24 * 60).await;
    shop.track("ann", "Order Placed", "c2").await;
    shop.settle().await;
    let gone = pruned(&shop, 40).await;
    assert_eq!(gone.messages, 6);
    assert!(gone.reasons > 0, "{gone:?}");
    let books = shop.house.store.workspace(WORKSPACE).accounts().await.unwrap();
    assert_eq!(books.imbalances(), Vec::<String>::new());
    assert_eq!((books.messages.created, books.messages.by_status["sent"], books.messages.rolled_up["sent"]), (7, 1, 6));
    assert_eq!((count(&shop, "messages").await, count(&shop, "attempts").await), (1, 1));
    assert_eq!(count(&shop, "entries WHERE kind = 'track'").await, 7, "events stay");
    let rolled = "SELECT sum(count) FROM message_rollups WHERE campaign = 'cart' AND status = 'sent'";
    let rolled = rolled.replace("sum(count)", "CAST(sum(count) AS BIGINT)");
    assert_eq!(Rows(shop.house.store.reader()).scalar::<i64>(&rolled, vec![]).await.unwrap(), Some(3));
    let again = pruned(&shop, 40).await;
    assert_eq!(again, Pruned::default());
}

#[tokio::test]
async fn a_slot_that_counts_in_a_cap_stays_as_long_as_the_cap_asks() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    shop.apply("kind: caps\nrules: [ { at_most: 3, per: 90d } ]\n").await;
    shop.after(60 * 24 * 60).await;
    assert_eq!(pruned(&shop, 40).await.messages, 3, "receipts use no slot");
    assert!(shop.messages().await.iter().all(|message| message.slot_at.is_some()));
    shop.after(31 * 24 * 60).await;
    assert_eq!(pruned(&shop, 40).await.messages, 3);
}

#[tokio::test]
async fn who_applies_a_cap_that_counts_further_back_than_what_is_left_is_told_until_it_is_exact() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let caps = |per: &str| format!("kind: caps\nrules: [ {{ at_most: 3, per: {per} }} ]\n");
    let told = |warnings: Vec<String>| warnings.into_iter().find(|one| one.contains("counts the messages of"));
    assert_eq!(told(shop.apply(&caps("90d")).await), None, "nothing was pruned");
    shop.apply(&caps("1d")).await;
    shop.after(60 * 24 * 60).await;
    assert_eq!(pruned(&shop, 40).await.messages, 6);
    assert_eq!(told(shop.apply(&caps("30d")).await), None, "so much is left");
    let warned = told(shop.apply(&caps("90d")).await).expect("50 days are missing");
    let (pruned_to, exact_at) = ("2026-03-17", "2026-06-15");
    assert!(warned.contains(&format!("before {pruned_to} are pruned: until {exact_at}")), "{warned}");
    assert_eq!(told(shop.apply(&caps("calendar_week")).await), None, "of this week all is left");
    // The longer rule now holds what it counts, which does not bring back what went before.
    shop.apply(&caps("90d")).await;
    shop.track("ann", "Order Placed", "c2").await;
    shop.settle().await;
    shop.after(42 * 24 * 60).await;
    assert_eq!(pruned(&shop, 40).await.messages, 1, "a receipt");
    assert!(told(shop.apply(&caps("89d")).await).is_some());
    shop.after(10 * 24 * 60).await;
    assert_eq!(told(shop.apply(&caps("90d")).await), None, "90 days after what went, all of it counts");
}

#[tokio::test]
async fn what_waits_is_never_pruned_and_who_asks_is_told_what_was() {
    let place = Place::new(BACKEND).await;
    let shop = shop(&place).await;
    let ann = shop.house.store.workspace(WORKSPACE).profile_by_id("ann").await.unwrap().unwrap();
    shop.after(41 * 24 * 60).await;
    shop.track("ann", "Product Added", "c9").await;
    shop.settle().await;
    pruned(&shop, 40).await;
    let question = Question { profile: ann, person: "ann".to_owned(), campaign: None, event: None, message: None };
    let told = explain(shop.house.store.workspace(WORKSPACE), &question).await.unwrap().text;
    assert!(told.contains("were pruned"), "{told}");
    shop.after(5 * 60).await;
    assert_eq!(shop.carrier.taken().0, 4, "the reminder that waited went");
}

#[test]
fn a_span_shorter_than_a_month_is_refused_by_name() {
    let short = Retention { hits: Span::from_days(3), messages: Span::ZERO, ..Retention::default() };
    let wrong = short.wrong();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].0, "hits");
}
