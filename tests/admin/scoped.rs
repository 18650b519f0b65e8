//! Pages as the holders of API tokens see them: what their token may read is shown, what it may do works, the rest is
//! refused in words, and a token that ends takes its sessions with it.

use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::house::{House, TOKEN};

/// Far from the machine, with a cookie where they signed in.
struct Visitor<'h> {
    house: &'h House,
    browser: reqwest::Client,
    cookie: String,
}

impl<'h> Visitor<'h> {
    async fn sign_in(house: &'h House, secret: &str) -> Option<Self> {
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut visitor = Self { house, browser, cookie: String::new() };
        let answer = visitor.post("/sign-in", &[("secret", secret), ("to", "/")]).await;
        let kept = answer.headers().get("set-cookie")?.to_str().unwrap().to_owned();
        visitor.cookie = kept.split(';').next().unwrap().to_owned();
        Some(visitor)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let request = self.browser.get(self.house.url(path)).header("host", "shop.example");
        let answer = request.header("cookie", &self.cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(fields).finish();
        let request = self.browser.post(self.house.url(path)).header("host", "shop.example");
        request.header("cookie", &self.cookie).body(form).send().await.unwrap()
    }
}

async fn token(house: &House, scopes: &[&str]) -> (String, String) {
    let made = house.post("/api/v1/tokens", json!({ "name": "a person", "scopes": scopes })).await.ok();
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn hidden(page: &str) -> String {
    let start = page.find("name=\"token\" value=\"").expect("a form with a token") + "name=\"token\" value=\"".len();
    page[start..].split('"').next().unwrap().to_owned()
}

async fn lived() -> House {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1h").await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_sees_everything_and_no_button_that_works() {
    let house = lived().await;
    let all = ["events:read", "messages:read", "profiles:read", "permission:read", "definitions:read"];
    let (_, secret) = token(&house, &all).await;
    let reader = Visitor::sign_in(&house, &secret).await.unwrap();
    for path in [
        "/",
        "/why",
        "/why?profile=ann",
        "/customers/profile:1",
        "/preview/cart_reminder?as=ann",
        "/dead-letters",
        "/inbox",
    ] {
        let (status, page) = reader.get(path).await;
        assert_eq!(status, 200, "{path}: {page}");
        for button in ["Pause all sending", "Put back all", "action=\"/pause\""] {
            assert!(!page.contains(button), "{path} has {button}");
        }
    }
    let (_, page) = reader.get("/").await;
    let order = [("token", hidden(&page)), ("who", "me".into()), ("why", "so".into()), ("sure", "yes".into())];
    let order: Vec<(&str, &str)> = order.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let refused = reader.post("/pause", &order).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("control:write"));
    assert_eq!(house.get("/api/v1/pauses").await.ok()["pauses"], json!([]));
    assert_eq!(reader.post("/dead-letters/redrive", &[order[0], ("reason", "provider_refused")]).await.status(), 403);
    assert_eq!(reader.get("/dead-letters/redrive?reason=provider_refused").await.0, 403);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_beyond_a_token_says_what_it_lacks_and_is_in_no_menu() {
    let house = lived().await;
    let (_, secret) = token(&house, &["definitions:read"]).await;
    let writer = Visitor::sign_in(&house, &secret).await.unwrap();
    let (status, page) = writer.get("/preview/cart_reminder").await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("href=\"/preview\"") && !page.contains("href=\"/customers\"") && !page.contains("name=\"as\"")
    );
    for (path, scope) in [
        ("/", "messages:read"),
        ("/why", "messages:read"),
        ("/why?q=ann", "profiles:read"),
        ("/why?profile=ann", "profiles:read"),
        ("/why?event=add-c1", "events:read"),
        ("/customers", "profiles:read"),
        ("/customers/profile:1", "profiles:read"),
        ("/caps?profile=ann", "profiles:read"),
        ("/preview/cart_reminder?as=ann", "profiles:read"),
        ("/preview/cart_reminder/html?as=ann", "profiles:read"),
        ("/dead-letters", "messages:read"),
        ("/inbox", "messages:read"),
        ("/api/v1/inbox", "messages:read"),
    ] {
        let (status, page) = writer.get(path).await;
        // The frame of a mail says it in the mail's place.
        let expected = if path.contains("/html") { 404 } else { 403 };
        assert!(status == expected && page.contains(scope) && !page.contains("ann@example"), "{path}: {status} {page}");
    }
    let (_, people) = token(&house, &["profiles:read"]).await;
    let people = Visitor::sign_in(&house, &people).await.unwrap();
    let (_, ann) = people.get("/customers/profile:1").await;
    assert!(ann.contains("Frequency caps") && !ann.contains("by telephone") && !ann.contains("Suppressions"), "{ann}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_which_answer_a_message_went_is_told_to_those_who_may_read_answers_alone() {
    let house = lived().await;
    let message = house.listed("campaign=cart_reminder").await[0]["id"].as_str().unwrap().to_owned();
    let (path, page) = (format!("/api/v1/messages/{message}"), format!("/why?message={message}"));
    for (scopes, reads_answers) in [(vec!["messages:read"], false), (vec!["messages:read", "permission:read"], true)] {
        let (_, secret) = token(&house, &scopes).await;
        let told = house.ask(house.request("GET", &path).bearer_auth(&secret)).await.ok();
        let check = told["checks"].as_array().unwrap().iter().find(|check| check["check"] == "Consent for the channel");
        let check = check.unwrap();
        assert_eq!(check["result"], "passed", "{check}");
        assert_eq!(check["sentence"].is_string(), reads_answers, "{check}");
        assert_eq!(check["values"]["source"] == "by telephone", reads_answers, "{check}");
        assert_eq!(check["values"] != json!({}), reads_answers, "{check}");
        let (status, shown) = Visitor::sign_in(&house, &secret).await.unwrap().get(&page).await;
        assert_eq!((status, shown.contains("by telephone")), (200, reads_answers), "{shown}");
        assert!(shown.contains("Consent for the channel"), "{shown}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_read_signs_nobody_out() {
    let house = lived().await;
    let (_, secret) = token(&house, &["messages:read", "control:write"]).await;
    let operator = Visitor::sign_in(&house, &secret).await.unwrap();
    let (status, page) = operator.get("/").await;
    assert_eq!(status, 200);
    let field = hidden(&page);
    let file = format!("sqlite://{}", house.folder().join("carillon.db").display());
    let database = sea_orm::Database::connect(file).await.unwrap();
    let rename = async |from: &str, to: &str| {
        database.execute_unprepared(&format!("ALTER TABLE {from} RENAME TO {to}")).await.unwrap();
    };
    rename("api_token_secrets", "not_to_be_read").await;
    let order = [("token", field.as_str()), ("who", "me"), ("why", "so"), ("sure", "yes")];
    let answer = operator.post("/pause", &order).await;
    let status = answer.status().as_u16();
    let says = answer.text().await.unwrap();
    assert!(status == 503 && says.contains("You are still signed in"), "{status} {says}");
    assert_eq!(operator.get("/why").await.0, 503);
    let again = operator.post("/sign-in", &[("secret", secret.as_str()), ("to", "/")]).await;
    assert_eq!(again.status(), 503, "nor is their token said to be none");
    let inbox = house.request("GET", "/api/v1/inbox").header("host", "shop.example").header("cookie", &operator.cookie);
    assert_eq!(house.ask(inbox).await.status, 503);
    rename("not_to_be_read", "api_token_secrets").await;
    assert_eq!(operator.get("/").await.0, 200);
    assert_eq!(operator.post("/pause", &order).await.status(), 303, "the same form is taken");
    database.close().await.unwrap();
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_and_what_may_act_acts() {
    let house = lived().await;
    let (id, secret) = token(&house, &["messages:read", "control:write"]).await;
    let operator = Visitor::sign_in(&house, &secret).await.unwrap();
    let (_, page) = operator.get("/").await;
    let field = hidden(&page);
    let order = [("token", field.as_str()), ("who", "me"), ("why", "so"), ("sure", "yes")];
    assert_eq!(operator.post("/pause", &order).await.status(), 303);
    assert!(house.page("/").await.contains("Sending is paused"));
    house.ask(house.request("DELETE", &format!("/api/v1/tokens/{id}")).bearer_auth(TOKEN)).await.ok();
    assert_eq!(operator.get("/").await.0, 303, "it is asked for anew");
    assert_eq!(operator.post("/resume", &order).await.status(), 303);
    assert!(house.page("/").await.contains("Sending is paused"), "nobody resumed");
    assert!(Visitor::sign_in(&house, &secret).await.is_none());
    assert!(Visitor::sign_in(&house, "cat_nonsense").await.is_none());
    let inbox = |secret: &str| house.request("GET", "/api/v1/inbox").header("host", "shop.example").bearer_auth(secret);
    assert_eq!(house.ask(inbox(&secret)).await.status, 401);
    let (_, reader) = token(&house, &["messages:read"]).await;
    assert_eq!(house.ask(inbox(&reader)).await.ok()["messages"].as_array().unwrap().len(), 1);
    let nobody = house.request("GET", "/api/v1/inbox").header("host", "shop.example");
    assert_eq!(house.ask(nobody).await.problem(), (401, "missing_token".to_owned()));
    house.close().await;
}
