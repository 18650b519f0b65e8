//! Templates as they are being written, and messages as their readers would see them.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::house::House;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn has_all(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_shown_for_a_person_and_an_event() {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1m").await;
    has_all(&house.page("/preview").await, &["cart_reminder", "order_thanks", "In force, version 1", "email, sms"]);
    let sample = house.page("/preview/cart_reminder").await;
    has_all(&sample, &["List-Unsubscribe-Post", "KB of the 102 KB", "narrow, 390", "wide, dark", "As text", "Subject"]);
    for query in ["as=ann&event=add-c1", "event=add-c1", "as=ann"] {
        let shown = house.page(&format!("/preview/cart_reminder?{query}")).await;
        has_all(&shown, &["ann@example.com", "value=\"add-c1\""]);
        let start = shown.find("/preview/cart_reminder/html?").unwrap();
        let src = shown[start..].split('"').next().unwrap().replace("&amp;", "&");
        let html = house.page(&src).await;
        assert!(html.contains("Walnut desk lamp"), "{query}: {html}");
    }
    let sms = house.page("/preview/cart_reminder?channel=sms&as=ann").await;
    has_all(&sms, &["class=\"bubble\"", "characters"]);
    // Made for a mail that tells where a parcel is, and a parcel there is none.
    let missing = house.page("/preview/shipping_update?as=ann&event=add-c1").await;
    has_all(&missing, &["It cannot be rendered", "has no value and no default", "such a message would fail"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_read_as_it_is_saved_and_what_is_wrong_stands_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "hello/template.yaml", "kind: template\nsample:\n  profile: { traits: { first_name: Ann } }\n");
    write(at, "hello/sms.hbs", "Hello {{profile.traits.first_name}}");
    write(at, "hello/de/sms.hbs", "Hallo {{profile.traits.first_name}}");
    let house = House::built(None, None, Some(at.to_owned())).await;
    has_all(&house.page("/preview").await, &["hello", "In the folder", "de"]);
    let page = house.page("/preview/hello").await;
    assert!(page.contains("Hello Ann"), "{page}");
    assert!(house.page("/preview/hello?locale=de").await.contains("Hallo Ann"));
    let start = page.find("data-changed=\"").unwrap() + "data-changed=\"".len();
    let waits = page[start..].split('"').next().unwrap().to_owned();
    let asking = tokio::spawn(house.request("GET", &waits).send());
    write(at, "hello/sms.hbs", "Hello\n{{profile.traits.frist_name}}");
    let told: serde_json::Value = asking.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(told, json!({ "changed": true }));
    let broken = house.page("/preview/hello").await;
    has_all(&broken, &["It cannot be read", "hello/sms.hbs:2:", "frist_name"]);
    write(at, "hello/sms.hbs", "Hello again, {{profile.traits.first_name}}");
    assert!(house.page("/preview/hello").await.contains("Hello again, Ann"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_kept_is_shown_as_html_text_headers_and_source() {
    let house = House::furnished().await;
    assert!(house.page("/inbox").await.contains("No messages yet"));
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1h").await;
    let id = house.listed("status=sent").await[0]["id"].as_str().unwrap().to_owned();
    has_all(&house.page("/inbox").await, &["ann@example.com", &format!("/inbox/{id}"), "2026-03-01 11:00:"]);
    let page = house.page(&format!("/inbox/{id}")).await;
    let frame = "<iframe sandbox=\"allow-popups allow-popups-to-escape-sandbox\" src=";
    has_all(&page, &[frame, "List-Unsubscribe", "cart_reminder</a>, version 1", "Message-ID", "Walnut desk lamp"]);
    let html = house.page(&format!("/inbox/{id}/html")).await;
    assert!(html.contains("<base target=\"_blank\">") && html.contains("Walnut desk lamp"), "{html}");
    let source = house.ask(house.request("GET", &format!("/inbox/{id}/source"))).await;
    assert!(source.kind.starts_with("text/plain") && source.text.starts_with("From: "), "{source:?}");
    house.close().await;
}
