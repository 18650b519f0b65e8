//! What belongs to a person or opens a door stands in no line of the log, however much is logged and whatever goes wrong.
//!
//! To see it fail, let `public` in `src/channel/smtp/reply.rs` keep what a server repeats of an address.

use serde_json::{Value, json};

use crate::shop::Shop;

const EMAIL: &str = "gone@example.com";
const PHONE: &str = "+4917099900017";
const SURNAME: &str = "Canarysson";
const WRONG_KEY: &str = "wk_planted_and_wrong";
const WRONG_TOKEN: &str = "planted-token-of-nobody";
const PASSWORD: &str = "planted-password";
/// All that can be told.
const ALL: (&str, &str) = ("CARILLON_LOG__LEVEL", "debug");

/// Posts this with these words in `Authorization`; the status.
async fn post(shop: &Shop, path: &str, authorization: &str, body: String) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}{path}", shop.server.address())).header("authorization", authorization);
    request.header("content-type", "application/json").body(body).send().await.unwrap().status().as_u16()
}

/// Whatever is found in the log of all that was planted, each with its first line.
fn found(shop: &Shop, planted: &[&str]) -> Vec<(String, Value)> {
    let lines = planted.iter().map(|text| (*text, shop.log_with(text)));
    lines.filter_map(|(text, lines)| Some((text.to_owned(), lines.into_iter().next()?))).collect()
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn no_line_of_the_log_has_anything_of_a_person_or_a_key_however_much_is_logged() {
    let shop = Shop::open(&[ALL]);
    let key = base64(&format!("{}:", shop.key));
    let traits = json!({ "email": EMAIL, "phone": PHONE, "lastName": SURNAME });
    let called = json!({ "batch": [
        { "type": "identify", "userId": "u7", "messageId": "i7", "traits": traits },
        { "type": "track", "userId": "u7", "messageId": "t7", "event": "Order Completed",
          "properties": { "order_id": "o7", "shipping": { "name": SURNAME, "phone": PHONE } } },
        { "type": "track", "userId": EMAIL, "messageId": "t8", "event": "", "properties": { "phone": PHONE } },
    ] });
    now(async {
        assert_eq!(post(&shop, "/v1/batch", &format!("Basic {key}"), called.to_string()).await, 200);
        // The same, cut off, with a wrong key, and with a token that nobody has.
        let cut = called.to_string()[..90].to_owned();
        assert_eq!(post(&shop, "/v1/batch", &format!("Basic {key}"), cut).await, 400);
        let wrong = format!("Basic {}", base64(&format!("{WRONG_KEY}:")));
        assert_eq!(post(&shop, "/v1/batch", &wrong, called.to_string()).await, 401);
        let nobody = format!("Bearer {WRONG_TOKEN}");
        assert_eq!(post(&shop, &format!("/api/v1/profiles?search={EMAIL}"), &nobody, "{}".to_owned()).await, 401);
    });
    // The server repeats the address in its refusal, and a person is asked about by it.
    shop.until("failed", 1);
    shop.folder.run(&["explain", EMAIL]);
    assert!(!shop.log_with("550 5.1.1").is_empty(), "the refusal is logged");
    let token = std::fs::read_to_string(shop.folder.data().join("server.json")).unwrap();
    let token: Value = serde_json::from_str(&token).unwrap();
    let secrets = [shop.key.as_str(), &key, token["token"].as_str().unwrap()];
    let planted = [EMAIL, "gone%40example.com", PHONE, SURNAME, WRONG_KEY, WRONG_TOKEN];
    assert_eq!(found(&shop, &[&planted[..], &secrets].concat()), []);
}

#[test]
fn no_line_of_the_log_has_a_password_of_a_server_that_cannot_be_reached() {
    let smtp = format!("smtps://planted-user:{PASSWORD}@localhost:9");
    let redis = format!("redis://:{PASSWORD}@127.0.0.1:9");
    let shop = Shop::open(&[ALL, ("CARILLON_SMTP__URL", &smtp), ("CARILLON_REDIS__URL", &redis)]);
    shop.order("o7", "ann@example.com", &[]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while shop.log_with("refused").is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody says that the relay is away");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(found(&shop, &[PASSWORD, &base64(PASSWORD)]), []);
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
