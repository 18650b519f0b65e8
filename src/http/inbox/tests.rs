//! The inbox over HTTP, with messages a hostile customer had a hand in.
#![allow(clippy::unwrap_used)]

use actix_web::{App, test};
use serde_json::{Value, json};

use super::*;
use crate::channel::sandbox::Sandbox;
use crate::render::Rendered;
use crate::render::tests::{email, sms};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>";

/// Status, headers as text, body.
async fn ask(sandbox: &Sandbox, path: &str) -> (u16, String, String) {
    let kept: Arc<dyn KeptMessages> = Arc::new(sandbox.clone());
    let app = test::init_service(App::new().configure(configure(web::Data::from(kept)))).await;
    let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
    let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
    (status, headers, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
}

async fn filled(messages: &[Rendered]) -> (tempfile::TempDir, Sandbox) {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(folder.path()).unwrap();
    for message in messages {
        sandbox.keep(message).await;
    }
    (folder, sandbox)
}

fn hostile_mail() -> Rendered {
    let traits = json!({ "name": HOSTILE, "first_name": HOSTILE });
    email("Hi {{profile.traits.name}}", "<p>{{profile.traits.name}}</p>").traits(traits).done()
}

#[actix_web::test]
async fn a_mail_is_shown_as_html_text_headers_and_source() {
    let mail = email("Your cart", "<p>It <b>waits</b></p>").done();
    let (_folder, sandbox) = filled(std::slice::from_ref(&mail)).await;
    let (status, _, list) = ask(&sandbox, "/inbox").await;
    assert_eq!(status, 200);
    assert!(list.contains("Your cart") && list.contains("ann@example.com"), "{list}");
    assert!(list.contains("2026-03-01 11:00:00"), "{list}");
    let id = mail.message();
    let (_, _, page) = ask(&sandbox, &format!("/inbox/{id}")).await;
    let frame = "<iframe sandbox=\"allow-popups allow-popups-to-escape-sandbox\" src=";
    for part in [frame, "List-Unsubscribe", "cart_reminder, version 3", "Message-ID", "waits"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (_, headers, html) = ask(&sandbox, &format!("/inbox/{id}/html")).await;
    assert_eq!(html, "<base target=\"_blank\"><p>It <b>waits</b></p>");
    let policy =
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src https: data:; style-src";
    assert!(headers.contains(policy) && !headers.contains("allow-scripts"), "{headers}");
    assert_eq!(with_links_beside("<html><head><title>x"), "<html><head><base target=\"_blank\"><title>x");
    let (_, headers, source) = ask(&sandbox, &format!("/inbox/{id}/source")).await;
    assert!(source.starts_with("From: ") && headers.contains("text/plain"), "{source}");
}

#[actix_web::test]
async fn what_a_customer_wrote_is_text_on_every_page() {
    let mail = hostile_mail();
    let text = sms("{{profile.traits.name}}").traits(json!({ "name": HOSTILE })).seed("two").done();
    let (_folder, sandbox) = filled(&[mail.clone(), text.clone()]).await;
    for path in ["/inbox".to_owned(), format!("/inbox/{}", mail.message()), format!("/inbox/{}", text.message())] {
        let (status, headers, page) = ask(&sandbox, &path).await;
        assert_eq!(status, 200);
        assert!(!page.contains("<script") && !page.contains("<img"), "{path}: {page}");
        assert!(page.contains("&lt;script&gt;"), "{path}: {page}");
        assert!(headers.contains("default-src 'none'") && headers.contains("nosniff"), "{headers}");
    }
}

#[actix_web::test]
async fn the_list_is_read_page_by_page_to_its_end() {
    let messages: Vec<Rendered> = (0..5).map(|n| email("x", "<p>x</p>").seed(&n.to_string()).done()).collect();
    let (_folder, sandbox) = filled(&messages).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/inbox?limit=2".to_owned();
    loop {
        let (status, _, body) = ask(&sandbox, &path).await;
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        seen.extend(page["messages"].as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/inbox?limit=2&after={next}");
    }
    let mut expected: Vec<String> = messages.iter().map(|it| it.message().to_string()).collect();
    expected.sort_by(|a, b| b.cmp(a));
    assert_eq!(seen, expected);
    let (_, _, one) = ask(&sandbox, &format!("/api/v1/inbox/{}", seen[0])).await;
    assert_eq!(serde_json::from_str::<Kept>(&one).unwrap().message.to_string(), seen[0]);
    let (_, _, first) = ask(&sandbox, "/inbox?limit=2").await;
    assert!(first.contains("Older messages"), "{first}");
}

#[actix_web::test]
async fn strange_addresses_are_not_found() {
    let text = sms("x").done();
    let (_folder, sandbox) = filled(std::slice::from_ref(&text)).await;
    let none = "0".repeat(32);
    for path in [
        format!("/inbox/{none}"),
        format!("/inbox/{none}/html"),
        format!("/inbox/{none}/source"),
        format!("/inbox/{}/html", text.message()),
        format!("/inbox/{}/source", text.message()),
        "/inbox/..%2f..%2fsecret".to_owned(),
        "/inbox/%00".to_owned(),
        "/inbox?after=x".to_owned(),
        "/inbox?after=1-2-3".to_owned(),
        "/api/v1/inbox?after=99999999999999999999-0".to_owned(),
        format!("/api/v1/inbox/{none}"),
    ] {
        assert_eq!(ask(&sandbox, &path).await.0, 404, "{path}");
    }
    assert_eq!(ask(&sandbox, "/inbox?limit=0").await.0, 200);
    for path in ["/inbox?limit=many", "/inbox?limit=-1"] {
        let (status, _, page) = ask(&sandbox, path).await;
        assert!(status == 400 && page.contains("Nothing to show"), "{path}: {page}");
    }
    let (status, _, answer) = ask(&sandbox, "/api/v1/inbox?limit=many").await;
    assert!(status == 400 && answer.contains("\"invalid_query\""), "{answer}");
    let (status, headers, _) = ask(&sandbox, "/").await;
    assert!(status == 303 && headers.contains("/inbox"), "{headers}");
    assert!(ask(&filled(&[]).await.1, "/inbox").await.2.contains("No messages yet"));
}
