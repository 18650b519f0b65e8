//! The demo shop is the same every time, in order, and believable.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ids::{EventId, Span, Timestamp};

const WORKSPACE: WorkspaceId = WorkspaceId(1);

fn until() -> Timestamp {
    "2026-03-01T15:30:00Z".parse().unwrap()
}

fn all(seed: u64) -> Vec<Event> {
    history(WORKSPACE, seed, until()).unwrap().collect()
}

fn count(events: &[Event], name: &str) -> usize {
    events.iter().filter(|event| event.name == name).count()
}

fn text<'a>(event: &'a Event, path: &str) -> Option<&'a str> {
    event.lookup(path)?.as_str()
}

#[test]
fn the_same_seed_tells_the_same_history_and_another_seed_another() {
    let told = |seed| all(seed).iter().map(|event| format!("{event:?}")).collect::<Vec<_>>();
    let first = told(7);
    assert_eq!(first, told(7));
    assert_ne!(first, told(8));
}

#[test]
fn history_is_in_order_each_event_once_and_none_after_now() {
    let events = all(1);
    assert!(events.is_sorted_by_key(|event| event.at));
    assert!(events.last().unwrap().at <= until());
    assert!(events.last().unwrap().at > until().minus(Span::from_hours(1)), "it reaches up to now");
    assert!(events[0].at >= until().minus(Span::from_days(91)));
    let ids: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    assert!((30_000..60_000).contains(&events.len()), "{} events", events.len());
}

#[test]
fn everybody_has_an_account_before_doing_anything() {
    let mut known = BTreeSet::new();
    for event in all(1) {
        let user_id = event.user_id.clone().unwrap();
        if event.kind == Kind::Identify {
            assert!(known.insert(user_id), "an account is made once");
        } else {
            assert!(known.contains(&user_id), "{user_id} {}", event.name);
        }
    }
    assert_eq!(known.len(), 2_001, "two thousand and ann");
}

#[test]
fn ann_has_an_account_and_a_consent_and_does_nothing() {
    let acts: Vec<(Kind, String)> = all(1)
        .into_iter()
        .filter(|event| event.user_id.as_deref() == Some("ann") || event.body.text().contains("ann@"))
        .map(|event| (event.kind, event.name))
        .collect();
    let expected = [(Kind::Identify, "Identified".to_owned()), (Kind::Own, "Consent Changed".to_owned())];
    assert_eq!(acts, expected);
    let live = trickle(WORKSPACE, 1, until(), until().plus(Span::from_hours(6))).unwrap();
    assert!(live.iter().all(|event| event.user_id.as_deref() != Some("ann")));
    let ann = all(1).into_iter().find(|event| event.kind == Kind::Own && event.user_id.as_deref() == Some("ann"));
    let ann = ann.unwrap();
    assert_eq!((text(&ann, "properties.channel"), text(&ann, "properties.state")), (Some("email"), Some("granted")));
}

#[test]
fn the_funnel_is_believable() {
    let events = all(1);
    let carts: BTreeSet<&str> = events
        .iter()
        .filter(|event| event.name == "Product Added")
        .filter_map(|e| text(e, "properties.cart_id"))
        .collect();
    let bought: BTreeSet<&str> =
        events.iter().filter(|e| e.name == "Order Completed").filter_map(|e| text(e, "properties.cart_id")).collect();
    let abandoned = 100 - bought.len() * 100 / carts.len();
    assert!((65..=75).contains(&abandoned), "{abandoned}% of {} carts abandoned", carts.len());
    assert!(bought.is_subset(&carts));
    let (views, orders) = (count(&events, "Product Viewed"), count(&events, "Order Completed"));
    assert!(views > 5 * carts.len() && carts.len() > 2_000 && orders > 500, "{views} {} {orders}", carts.len());
    let refunds = count(&events, "Order Refunded") * 1000 / orders;
    assert!((20..=80).contains(&refunds), "{refunds}‰ refunded");
    assert!(count(&events, "Newsletter Subscribed") > 20);
}

#[test]
fn a_few_customers_come_all_the_time_and_evenings_are_busier_than_nights() {
    let events = all(1);
    let mut by_person = BTreeMap::<&str, usize>::new();
    let mut by_hour = [0_usize; 24];
    for event in events.iter().filter(|event| event.name == "Product Viewed") {
        *by_person.entry(event.user_id.as_deref().unwrap()).or_default() += 1;
        by_hour[(event.at.millis().rem_euclid(86_400_000) / 3_600_000) as usize] += 1;
    }
    let mut counts: Vec<usize> = by_person.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let share = counts.iter().take(200).sum::<usize>() * 100 / counts.iter().sum::<usize>();
    assert!((30..=60).contains(&share), "the busiest 200 are {share}% of the views");
    assert!(by_hour[18] > 4 * by_hour[3], "{by_hour:?}");
}

#[test]
fn people_have_addresses_and_numbers_that_reach_nobody_and_no_two_the_same() {
    let (mut emails, mut phones) = (BTreeSet::new(), BTreeSet::new());
    let mut consents = BTreeMap::<(String, String), usize>::new();
    for event in all(1) {
        if let Some(email) = text(&event, "traits.email") {
            assert!(email.ends_with("@example.com") && email.is_ascii(), "{email}");
            assert!(emails.insert(email.to_owned()), "{email} twice");
            let zone = text(&event, "traits.timezone").unwrap();
            assert!(jiff::tz::TimeZone::get(zone).is_ok(), "{zone}");
        }
        if let Some(phone) = text(&event, "traits.phone") {
            let fictional = ["+4477009000", "+447700900", "+3363998", "+491713920", "+46701740", "+121255501"];
            assert!(fictional.iter().any(|prefix| phone.starts_with(prefix)), "{phone}");
            assert!(phones.insert(phone.to_owned()), "{phone} twice");
        }
        if let (Some(channel), Some(state)) = (text(&event, "properties.channel"), text(&event, "properties.state")) {
            *consents.entry((channel.to_owned(), state.to_owned())).or_default() += 1;
        }
    }
    assert_eq!(emails.len(), 2_001);
    assert!(phones.len() > 500, "{}", phones.len());
    assert_eq!(consents.len(), 4, "{consents:?}");
}

#[test]
fn prices_are_the_catalogs_and_orders_add_up() {
    for event in all(1).iter().filter(|event| event.name == "Order Completed") {
        let products = event.lookup("properties.products").unwrap().as_array().unwrap();
        let decimal = |value: &serde_json::Value| crate::money::parse(&value.to_string()).unwrap();
        let sum: rust_decimal::Decimal =
            products.iter().map(|product| decimal(&product["price"]) * decimal(&product["quantity"])).sum();
        assert_eq!(decimal(event.lookup("properties.revenue").unwrap()), sum);
        assert_eq!(text(event, "properties.currency"), Some("EUR"));
    }
}

#[test]
fn the_catalog_has_a_page_and_a_picture_for_every_product_once() {
    let catalog = &shop::Shop::get().unwrap().catalog;
    assert_eq!(catalog.products.len(), 120);
    let said = |product: &shop::Product| [product.id.clone(), product.name.clone(), product.url.clone()];
    assert_eq!(catalog.products.iter().flat_map(said).collect::<BTreeSet<_>>().len(), 3 * 120);
    for product in &catalog.products {
        let ours = |url: &str| url.starts_with("https://shop.example/");
        assert!(ours(&product.url) && ours(&product.image_url) && !product.amount.is_zero(), "{}", product.id);
        let png = pictures::drawn(&product.category).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() < 10_000, "{}", product.category);
    }
}

#[test]
fn the_shops_own_pictures_are_put_into_a_mail_that_is_shown_and_no_others() {
    let html = |src: &str| format!("<img alt=\"\" src=\"{src}\"><p>https://shop.example/images/</p>");
    let shown = with_pictures(&html("https://shop.example/images/enamel-kettle.png")).into_owned();
    assert!(shown.starts_with("<img alt=\"\" src=\"data:image/png;base64,iVBOR"), "{shown}");
    assert!(shown.ends_with("\"><p>https://shop.example/images/</p>"), "{shown}");
    for other in ["https://shop.example/images/unknown.png", "https://example.com/images/enamel-kettle.png", ""] {
        assert_eq!(with_pictures(&html(other)), html(other));
    }
}

#[test]
fn the_trickle_is_about_one_event_in_two_seconds() {
    let hour = trickle(WORKSPACE, 1, until(), until().plus(Span::from_hours(1))).unwrap();
    assert!((1_400..=2_300).contains(&hour.len()), "{} events in an hour", hour.len());
    assert!(hour.is_sorted_by_key(|event| event.at));
    assert!(hour.iter().all(|event| event.origin == Origin::Live && event.at >= until()));
    assert!(trickle(WORKSPACE, 1, until(), until()).unwrap().is_empty());
    assert!(trickle(WORKSPACE, 1, until().plus(Span::from_days(1)), until()).unwrap().is_empty());
    let known: BTreeSet<Option<String>> = all(1).into_iter().map(|event| event.user_id).collect();
    assert!(hour.iter().all(|event| known.contains(&event.user_id)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn stretches_of_the_trickle_join_without_a_gap_or_a_repeat(seed in any::<u64>(), cut in 1_i64..600, more in 1_i64..600) {
        let middle = until().plus(Span::from_seconds(cut));
        let end = middle.plus(Span::from_seconds(more));
        let told = |from, to| trickle(WORKSPACE, seed, from, to).unwrap().iter().map(|e| format!("{e:?}")).collect::<Vec<_>>();
        let whole = told(until(), end);
        let parts: Vec<String> = told(until(), middle).into_iter().chain(told(middle, end)).collect();
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn any_seed_and_day_make_a_shop(seed in any::<u64>(), day in 0_i64..30_000) {
        let until = Timestamp::from_millis(day * 86_400_000 + 12_345);
        let mut last = Timestamp::from_millis(i64::MIN);
        for event in history(WORKSPACE, seed, until).unwrap() {
            prop_assert!(last <= event.at && event.at <= until);
            last = event.at;
        }
    }
}
