//! Links and pictures of templates, asked whether anybody answers, on request of a person or a program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::house::{House, TOKEN};

/// A little shop on this machine, which notes what it was asked for.
struct Little {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Little {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let noted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (mut stream, noted) = (stream, noted.clone());
                std::thread::spawn(move || {
                    let mut head = [0u8; 4096];
                    let read = stream.read(&mut head).unwrap_or(0);
                    let path = String::from_utf8_lossy(&head[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
                    noted.lock().unwrap().push(path.clone());
                    let (status, kind, body) = match path.as_str() {
                        "/good.png" => ("200 OK", "image/png", &b"\x89PNG\r\n\x1a\n"[..]),
                        "/page.png" => ("200 OK", "text/html", &b"<html>Not here"[..]),
                        "/gone" => ("404 Not Found", "text/html", &[][..]),
                        _ => ("200 OK", "text/html", &[][..]),
                    };
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
                    );
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
                });
            }
        });
        Self { address, asked }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn template(&self, house: &House) {
        let html = format!(
            "<p><a href=\"{}\">Shop</a> <a href=\"{}\">Sale</a> <a href=\"{{{{links.unsubscribe}}}}\">No more</a></p>\
             <img src=\"{}\" alt=\"\"><img src=\"{}\" alt=\"\">",
            self.at("/good"),
            self.at("/gone"),
            self.at("/good.png"),
            self.at("/page.png")
        );
        let german = format!(
            "<p><a href=\"{}\">Laden</a> <a href=\"{}\">Abmelden</a></p>",
            self.at("/laden"),
            self.at("/abmelden")
        );
        let files = json!({ "files": [
            { "name": "hello/template.yaml", "text": "kind: template\nlocale: en\nsample: { event: { properties: {} } }\n" },
            { "name": "hello/subject", "text": "Hello" },
            { "name": "hello/email.html", "text": html },
            { "name": "hello/sms.hbs", "text": format!("See {}", self.at("/good")) },
            { "name": "hello/de/subject", "text": "Hallo" },
            { "name": "hello/de/email.html", "text": german },
        ] });
        house.post("/api/v1/definitions", files).await.ok();
    }
}

fn report(answer: &str) -> Value {
    let last = answer.lines().last().unwrap_or_default();
    let line: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{answer}"));
    line["report"].clone()
}

fn one<'r>(report: &'r Value, url: &str) -> &'r Value {
    let all = report["addresses"].as_array().unwrap();
    all.iter().find(|one| one["url"] == url).unwrap_or_else(|| panic!("{url} is not in {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_template_is_asked_once_in_each_language_and_none_that_acts() {
    let (house, shop) = (House::new().await, Little::start());
    shop.template(&house).await;
    // Saving asked nobody.
    assert!(shop.asked.lock().unwrap().is_empty());
    let answer = house.post("/api/v1/templates/check-links", json!({})).await;
    assert_eq!((answer.status, answer.kind.as_str()), (200, "application/x-ndjson"));
    let told = report(&answer.text);
    assert_eq!([&told["broken"], &told["warnings"], &told["ok"], &told["not_asked"]], [2, 3, 0, 2], "{told:#}");
    let gone = one(&told, &shop.at("/gone"));
    assert_eq!((&gone["verdict"], &gone["status"]), (&json!("broken"), &json!(404)));
    assert_eq!(gone["places"], json!([{ "template": "hello", "channel": "email", "locale": null }]));
    assert_eq!(one(&told, &shop.at("/page.png"))["findings"][1]["code"], "not_a_picture");
    assert_eq!(one(&told, &shop.at("/laden"))["places"][0]["locale"], "de");
    // The text message has it, too.
    assert_eq!(one(&told, &shop.at("/good"))["places"].as_array().unwrap().len(), 3);
    assert_eq!(one(&told, &shop.at("/abmelden"))["findings"][0]["code"], "acts");
    assert_eq!(one(&told, "http://shop.example/u/preview")["verdict"], "not_asked");
    let mut asked = shop.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["/gone", "/good", "/good.png", "/laden", "/page.png"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_read_asks_nobody_and_a_template_must_be_known() {
    let (house, shop) = (House::new().await, Little::start());
    shop.template(&house).await;
    let unknown = house.post("/api/v1/templates/check-links", json!({ "templates": ["helo"] })).await;
    assert_eq!(unknown.problem(), (404, "unknown_template".to_owned()));
    assert_eq!(unknown.json()["nearest"], "hello");
    let made = json!({ "name": "reader", "scopes": ["definitions:read"] });
    let reader = house.post("/api/v1/tokens", made).await.ok()["secret"].as_str().unwrap().to_owned();
    let refused = house.request("POST", "/api/v1/templates/check-links").bearer_auth(reader).body("{}");
    assert_eq!(house.ask(refused).await.problem(), (403, "missing_scope".to_owned()));
    assert!(shop.asked.lock().unwrap().is_empty());
    let named =
        house.request("POST", "/api/v1/templates/check-links").bearer_auth(TOKEN).body(r#"{"templates":["hello"]}"#);
    assert_eq!(report(&house.ask(named).await.text)["broken"], 2);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_has_a_button_that_asks_for_what_is_shown() {
    let (house, shop) = (House::new().await, Little::start());
    shop.template(&house).await;
    let page = house.page("/preview/hello?locale=de").await;
    let from = page.find("action=\"/preview/hello/links?").unwrap_or_else(|| panic!("{page}")) + "action=\"".len();
    let action = page[from..].split('"').next().unwrap().replace("&amp;", "&");
    let token = page[from..].split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(shop.asked.lock().unwrap().is_empty(), "looking asks nobody");
    let pressed = house.request("POST", &action).body(format!("token={token}"));
    let shown = house.ask(pressed).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(shown.text.contains(&shop.at("/laden")) && !shown.text.contains("/page.png"), "{}", shown.text);
    assert!(shown.text.contains("Not asked") && shown.text.contains("without TLS"), "{}", shown.text);
    assert_eq!(*shop.asked.lock().unwrap(), ["/laden"]);
    let stranger = house.request("POST", &action).body("token=guessed");
    assert_eq!(house.ask(stranger).await.status, 403);
    house.close().await;
}
