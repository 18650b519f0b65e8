//! The service's own pages in Chromium: nothing cut off, nothing serious by axe, on a desk, in a hand and in the dark.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::browser::{Browser, Look, NARROW, Scheme, Sight, Step, WIDE};
use crate::house::{House, Moody};
use crate::shop::live;

/// What is kept of people beside what they say.
const KEPT: &str = "\
kind: computed_trait
key: favourite
compute: { most_frequent: properties.products.name, over: Order Completed, within: 1y }
---
kind: computed_trait
key: spent
compute: { sum: properties.revenue, over: Order Completed, within: 1y }
---
kind: segment
key: buyers
name: Bought within a year
owner: crm@shop.example
where: { performed: { event: Order Completed, within: 1y } }
";

/// In a shop in real use Ann got a reminder, was refused another and took her consent back; somebody paused everything in the end.
async fn lived() -> (House, Vec<(&'static str, String)>) {
    let moody = Arc::new(Moody::default());
    moody.0.store(true, Ordering::SeqCst);
    let house = House::with(Some(moody.clone())).await;
    house.furnish().await;
    let kept = json!([{ "name": "kept.yaml", "text": KEPT }]);
    house.post("/api/v1/definitions", json!({ "files": kept })).await.ok();
    let key = house.key().await;
    live(&house, &key, Some(&moody.0)).await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    // An hour, and the seconds in which messages that compete are gathered.
    house.forward("61m").await;
    moody.0.store(false, Ordering::SeqCst);
    house.put_in_cart(&key, "c2").await;
    house.forward("2h").await;
    let no = json!({ "channel": "email", "state": "denied", "source": "by telephone" });
    house.post("/api/v1/profiles/ann/consent", no).await.ok();
    house.put_in_cart(&key, "c3").await;
    house.forward("3h").await;
    let hers = house.listed("profile=ann").await;
    let id = |status: &str| {
        let found = hers.iter().find(|one| one["status"] == status);
        found.unwrap_or_else(|| panic!("no {status}: {hers:#?}"))["id"].as_str().unwrap().to_owned()
    };
    let (sent, denied) = (id("sent"), id("suppressed"));
    let pages = vec![
        ("overview", "/".to_owned()),
        ("messages", "/why".to_owned()),
        ("why-sent", format!("/why?message={sent}")),
        ("why-not", format!("/why?message={denied}")),
        ("why-event", "/why?event=add-c3".to_owned()),
        ("why-story", "/why?profile=ann".to_owned()),
        ("nothing", "/why?q=nobody".to_owned()),
        ("customers", "/customers?q=ann".to_owned()),
        ("customer", "/customers/ann".to_owned()),
        ("customer-who-bought", "/customers/emil".to_owned()),
        ("links-checked", "/preview/cart_reminder?as=ann".to_owned()),
        ("templates", "/preview".to_owned()),
        ("preview", "/preview/cart_reminder?as=ann".to_owned()),
        ("preview-sms", "/preview/cart_reminder?as=ann&channel=sms".to_owned()),
        ("dead-letters", "/dead-letters".to_owned()),
        ("put-back", "/dead-letters/redrive?reason=provider_refused".to_owned()),
        ("sign-in", "/sign-in".to_owned()),
    ];
    (house, pages)
}

fn look_at(browser: &mut Browser, house: &House, name: &str, path: &str) -> Vec<String> {
    let mut look = Look::at(house.url(path));
    if name == "links-checked" {
        look = look
            .after(Step::Click("form[action*='/links?'] button".to_owned()))
            .after(Step::Wait("td code".to_owned()));
    }
    let sights = seen(browser, name, &look);
    // What only this picture is for.
    let says: &[&str] = match name {
        "customer-who-bought" => {
            &["favourite (computed)", "spent (computed)", "buyers", "1 × Reading Lamp", "worth 64.90 EUR"]
        }
        "links-checked" => &["Not asked", "unsubscribe"],
        _ => &[],
    };
    for words in says {
        assert!(sights.iter().all(|sight| sight.text.contains(words)), "{path} does not show `{words}`: {sights:?}");
    }
    assert!(sights.iter().all(|sight| sight.title.ends_with("Carillon")), "{path}: {sights:?}");
    sights.iter().flat_map(|sight| faults_of(name, sight)).collect()
}

/// On a desk, in a hand and in the dark, each kept as a picture.
fn seen(browser: &mut Browser, name: &str, look: &Look) -> Vec<Sight> {
    let ways = [("wide", WIDE, Scheme::Light), ("narrow", NARROW, Scheme::Light), ("dark", WIDE, Scheme::Dark)];
    let mut sights = Vec::new();
    for (way, width, scheme) in ways {
        let look = look.clone().width(width).scheme(scheme).picture(&format!("pages/{name}-{way}"));
        sights.push(tokio::task::block_in_place(|| browser.look(&look)));
    }
    sights
}

fn faults_of(name: &str, sight: &Sight) -> Vec<String> {
    // The browser says so itself of a page that is not found, and of the picture that tells of opened mails, which
    // no page of ours fetches.
    let is_ours = |fault: &String| fault.contains("http://shop.example/o/");
    let expected = |fault: &String| sight.status == 404 && fault.contains("404") || is_ours(fault);
    sight.faults().into_iter().filter(|it| !expected(it)).map(|it| format!("{name}: {it}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_page_reads_well_on_a_desk_in_a_hand_and_in_the_dark() {
    let (house, pages) = lived().await;
    let mut browser = Browser::start();
    let mut faults: Vec<String> =
        pages.iter().flat_map(|(name, path)| look_at(&mut browser, &house, name, path)).collect();
    house.post("/api/v1/pause", json!({ "scope": "all" })).await.ok();
    faults.extend(look_at(&mut browser, &house, "paused", "/"));
    assert!(faults.is_empty(), "{faults:#?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_inbox_reads_well_with_what_a_shop_would_have_sent() {
    let house = House::new().await;
    house.furnish().await;
    let key = house.key().await;
    live(&house, &key, None).await;
    let listed = house.listed("status=sent&limit=200").await;
    let of = |template: &str| {
        let found = listed.iter().find(|one| one["campaign"] == template);
        format!("/inbox/{}", found.unwrap()["id"].as_str().unwrap())
    };
    let pages = [
        ("inbox", "/inbox".to_owned()),
        ("inbox-order", of("order_confirmation")),
        ("inbox-browse", of("browse_reminder")),
    ];
    let mut browser = Browser::start();
    let mut faults: Vec<String> =
        pages.iter().flat_map(|(name, path)| look_at(&mut browser, &house, name, path)).collect();
    let rows = house.page("/inbox").await;
    for subject in ["Welcome to", "ist bestätigt", "Still thinking about", "is confirmed"] {
        if !rows.contains(subject) {
            faults.push(format!("the inbox shows no `{subject}`"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    house.close().await;
}

/// The path of the first link of this kind in what the inbox has for an address.
async fn link_to(house: &House, address: &str, kind: &str) -> String {
    let rows = house.get("/api/v1/inbox").await.ok();
    let of = |row: &&serde_json::Value| row["to"].as_str().is_some_and(|to| to.contains(address));
    let row = rows["messages"].as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("{rows:#}"));
    let shown = house.page(&format!("/inbox/{}", row["message"].as_str().unwrap())).await;
    let from = shown.find(&format!("http://shop.example/{kind}/")).unwrap_or_else(|| panic!("no {kind}: {shown}"));
    let path = shown[from..].trim_start_matches("http://shop.example");
    path.split(|c: char| !(c.is_ascii_alphanumeric() || "/-_".contains(c))).next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_links_of_a_mail_lead_to_reads_well() {
    let house = House::new().await;
    house.furnish().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.send(&key, "identify", json!({ "userId": "bo", "traits": { "email": "bo@example.com" } })).await;
    let yes = json!({ "userId": "bo", "event": "Consent Changed", "properties": {
        "channel": "email", "state": "granted", "source": "newsletter form" } });
    house.send(&key, "track", yes).await;
    house.forward("61m").await;
    let unsubscribe = house.url(&link_to(&house, "ann@example.com", "u").await);
    let preferences = house.url(&link_to(&house, "ann@example.com", "preferences").await);
    let confirm = house.url(&link_to(&house, "bo@example.com", "confirm").await);
    let pressed = || Step::Click("form button".to_owned());
    let german = |look: Look| look.header("accept-language", "de");
    let looks = [
        ("preferences", Look::at(&preferences), ""),
        ("preferences-de", german(Look::at(&preferences)), "Ihre Einstellungen"),
        ("preferences-saved", Look::at(&preferences).after(pressed()), "Your choices are stored."),
        ("unsubscribe", Look::at(&unsubscribe), "Unsubscribe"),
        ("unsubscribe-de", german(Look::at(&unsubscribe)), "Abmelden"),
        ("unsubscribed", Look::at(&unsubscribe).after(pressed()), "Unsubscribed"),
        ("preferences-unsubscribed", Look::at(&preferences), ""),
        ("confirm", Look::at(&confirm), ""),
        ("confirmed", Look::at(&confirm), ""),
        ("link-broken", Look::at(house.url("/u/altered")), ""),
        ("api", Look::at(house.url("/api")), "/api/v1/profiles"),
        ("problems", Look::at(house.url("/problems")), ""),
    ];
    let mut browser = Browser::start();
    let mut faults = Vec::new();
    for (name, look, says) in looks {
        if name == "confirmed" {
            // Once: what is confirmed has no button any more.
            tokio::task::block_in_place(|| browser.look(&Look::at(&confirm).after(pressed())));
        }
        for sight in seen(&mut browser, name, &look) {
            let found = sight.text.contains(says) && (sight.status == 200 || name == "link-broken");
            faults.extend((!found).then(|| format!("{name}: {} {}", sight.status, sight.text)));
            faults.extend(faults_of(name, &sight));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    house.close().await;
}
