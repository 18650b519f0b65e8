//! The pages a person looks at: what they say after real events, who sees them, and what they refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::house::{House, Moody, TOKEN};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'";

/// Ann got a reminder of one cart and, having taken her consent back, none of another.
async fn lived() -> (House, String) {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1h").await;
    let no = json!({ "channel": "email", "state": "denied", "source": "by telephone" });
    house.post("/api/v1/profiles/ann/consent", no).await.ok();
    house.put_in_cart(&key, "c2").await;
    house.forward("2h").await;
    (house, key)
}

/// The hidden field of a page's forms.
fn token_of(page: &str) -> String {
    let start = page.find("name=\"token\" value=\"").expect("a form with a token") + "name=\"token\" value=\"".len();
    page[start..].split('"').next().unwrap().to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish()
}

fn has_all(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
}

async fn only(house: &House, query: &str) -> Value {
    let listed = house.listed(query).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_counts_what_was_sent_and_what_was_not_and_why() {
    let (house, _) = lived().await;
    let page = house.page("/").await;
    has_all(
        &page,
        &["Running", "Consent denied", "of 2 sent", "cart_reminder", "Messages waiting", "Pause all sending"],
    );
    let denied = only(&house, "status=suppressed").await;
    has_all(&page, &[&format!("/why?message={}", denied["id"].as_str().unwrap()), "consent for email is denied"]);
    let empty = House::new().await;
    has_all(&empty.page("/").await, &["No campaign has decided", "No campaign has looked at anything yet", "none"]);
    empty.close().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_of_a_message_tells_every_check_and_what_came_of_it() {
    let (house, _) = lived().await;
    let sent = only(&house, "status=sent").await;
    let page = house.page(&format!("/why?message={}", sent["id"].as_str().unwrap())).await;
    has_all(
        &page,
        &["Received", "Product Added", "entered cart_reminder@v1", "took the slot of", "Accepted", "As it was sent"],
    );
    assert!(!page.contains("Stopped here") && !page.contains("Not reached"), "{page}");
    // What spoke for it is shown, too.
    has_all(
        &page,
        &[
            "granted at",
            "by telephone",
            "<dt>expires_at</dt>",
            "<dt>asked_at</dt>",
            "1 of 3",
            "nothing stood against it",
        ],
    );
    assert!(page.contains("a***@example.com") && !page.contains("to ann@example.com"), "{page}");
    let denied = only(&house, "status=suppressed").await;
    let page = house.page(&format!("/why?message={}", denied["id"].as_str().unwrap())).await;
    has_all(&page, &["consent for email is denied", "Stopped here", "Not reached", "No try was made"]);
    assert_eq!(page.matches("Stopped here").count(), 1);
    let passed = page.find("Passed").unwrap();
    assert!(passed < page.find("Stopped here").unwrap(), "the suppression list comes first");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_typed_leads_to_what_it_names() {
    let (house, key) = lived().await;
    house.send(&key, "page", json!({ "anonymousId": "visitor-1", "messageId": "p1", "name": "Home" })).await;
    house.forward("1m").await;
    let sent = only(&house, "status=sent").await;
    let message = sent["id"].as_str().unwrap();
    for (typed, leads_to) in [
        ("ann", "Why: ann"),
        ("ann@example.com", "Why: ann"),
        ("ANN@Exam", "Why: ann"),
        ("Ann", "Why: ann"),
        ("visitor-1", "Why: anonymous"),
        ("cart_reminder", "<option value=\"cart_reminder\" selected>"),
        ("add-c2", "Event Product Added"),
        (message, "Received"),
    ] {
        let page = house.page(&format!("/why?{}", form(&[("q", typed)]))).await;
        assert!(page.contains(leads_to), "{typed}: {page}");
    }
    let story = house.page("/why?profile=ann&campaign=cart_reminder").await;
    has_all(
        &story,
        &[
            "Product Added received",
            "not sent email cart_reminder: consent for email is denied",
            "sent email cart_reminder",
        ],
    );
    let event = house.page("/why?event=add-c2").await;
    has_all(&event, &["entered cart_reminder@v1 with key c2", "Not sent", "Walnut desk lamp"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_found_by_an_id_with_signs_that_addresses_have_too() {
    let (house, key) = lived().await;
    for (user, written) in
        [("a+b", "a%2Bb"), ("c/d", "c%2Fd"), ("e%f", "e%25f"), ("g%2Bh", "g%252Bh"), ("i j", "i%20j")]
    {
        let person = json!({ "userId": user, "messageId": user, "traits": { "first_name": user } });
        house.send(&key, "identify", person).await;
        house.forward("1s").await;
        let page = house.page(&format!("/customers/{written}")).await;
        assert!(page.contains(&format!("<h1>{user}")), "{user}: {page}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_a_page_that_says_so() {
    let (house, _) = lived().await;
    for path in [
        "/why?q=nobody",
        "/why?message=zz",
        "/why?message=00000000000000000000000000000000",
        "/why?event=999999",
        "/why?profile=nobody",
        "/why?person=999",
        "/why?person=ann",
        "/why?profile=ann&campaign=none_such",
        "/customers/nobody",
        "/customers/profile:999999999999999999999",
        "/customers/%00",
        "/caps?profile=nobody",
        "/preview/none_such",
        "/preview/cart_reminder?channel=pigeon",
        "/preview/cart_reminder?as=nobody",
        "/preview/cart_reminder?event=nothing",
        "/preview/none_such/html",
        "/dead-letters/redrive?message=zz",
        "/dead-letters/redrive?entry=77",
        "/inbox/00000000000000000000000000000000",
        "/inbox/00000000000000000000000000000000/html",
        "/inbox/..%2f..%2fsecret",
    ] {
        let answer = house.ask(house.request("GET", path)).await;
        assert_eq!((answer.status, answer.kind.as_str()), (404, "text/html; charset=utf-8"), "{path}: {}", answer.text);
    }
    for path in [
        "/why?status=gone",
        "/why?before=x",
        "/customers/profile:1?before=x",
        "/dead-letters/redrive",
        "/inbox?limit=many",
        "/inbox?after=x",
    ] {
        let answer = house.ask(house.request("GET", path)).await;
        assert_eq!((answer.status, answer.kind.as_str()), (400, "text/html; charset=utf-8"), "{path}: {}", answer.text);
    }
    assert_eq!(house.ask(house.request("DELETE", "/customers")).await.problem().0, 405);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_customer_wrote_is_text_on_every_page() {
    let house = House::furnished().await;
    let key = house.key().await;
    let traits = json!({ "email": "ann@example.com", "first_name": HOSTILE, "name": HOSTILE, HOSTILE: HOSTILE });
    house.send(&key, "identify", json!({ "userId": HOSTILE, "messageId": "i1", "traits": traits })).await;
    let cart = json!({ "cart_id": HOSTILE, "product_id": "p1", "name": HOSTILE, "price": 40, "currency": "EUR" });
    let added = json!({ "userId": HOSTILE, "messageId": HOSTILE, "event": "Product Added", "properties": cart });
    house.send(&key, "track", added).await;
    house.send(&key, "track", json!({ "userId": HOSTILE, "messageId": "x", "event": HOSTILE })).await;
    house.forward("2h").await;
    let one = house.listed("").await.remove(0);
    let (message, person) = (one["id"].as_str().unwrap().to_owned(), one["profile"].to_string());
    let asked = form(&[("q", HOSTILE)]);
    let mut pages = vec!["/".to_owned(), "/why".to_owned(), format!("/why?{asked}"), format!("/customers?{asked}")];
    pages.extend([
        format!("/why?message={message}"),
        format!("/why?person={person}"),
        format!("/customers/profile:{person}"),
    ]);
    pages.extend([format!("/why?{}", form(&[("event", HOSTILE)])), "/dead-letters".to_owned(), "/inbox".to_owned()]);
    pages.push(format!("/preview/cart_reminder?{}", form(&[("as", HOSTILE), ("event", HOSTILE)])));
    for path in pages {
        let page = house.page(&path).await;
        for bad in ["<script>alert", "<img src=x", "onerror=alert(1)>'\""] {
            assert!(!page.contains(bad), "{bad} in {path}: {page}");
        }
    }
    let strange =
        house.ask(house.request("GET", &format!("/why?{}", form(&[("q", "<script>alert(1)</script>")])))).await;
    assert!(strange.status == 404 && !strange.text.contains("<script>alert"), "{}", strange.text);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_let_nothing_run_that_is_not_theirs() {
    let (house, _) = lived().await;
    let answer = house.request("GET", "/").send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains(" onclick"), "{page}");
    for path in [
        "/preview/cart_reminder/html".to_owned(),
        format!("/inbox/{}/html", only(&house, "status=sent").await["id"].as_str().unwrap()),
    ] {
        let answer = house.request("GET", &path).send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("sandbox ") && !policy.contains("allow-scripts"), "{path}: {policy}");
        assert!(!policy.contains("allow-same-origin") && answer.status() == 200, "{path}: {policy}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_is_paused_and_resumed_by_somebody_who_says_why() {
    let house = House::furnished().await;
    let token = token_of(&house.page("/").await);
    let post = |path: &str, body: String| house.request("POST", path).body(body);
    let whole = |token: &str| form(&[("token", token), ("who", "Bea <b>"), ("why", "wrong price"), ("sure", "yes")]);
    let refused = [
        post("/pause", String::new()),
        post("/pause", whole("another")),
        post("/pause", whole(&token)).header("sec-fetch-site", "cross-site"),
        post("/pause", whole(&token)).header("origin", "https://evil.example"),
        post("/pause", whole(&token)).header("origin", "null"),
    ];
    for request in refused {
        assert_eq!(house.ask(request).await.status, 403);
    }
    for half in [form(&[("token", &token), ("who", "Bea"), ("why", "x")]), form(&[("token", &token), ("sure", "yes")])]
    {
        assert_eq!(house.ask(post("/pause", half)).await.status, 400);
    }
    assert_eq!(house.get("/api/v1/pauses").await.ok()["pauses"], json!([]));
    let own = house.url("").trim_end_matches('/').to_owned();
    let paused =
        house.ask(post("/pause", whole(&token)).header("origin", own).header("sec-fetch-site", "same-origin")).await;
    has_all(
        &paused.text,
        &["Sending is paused", "All sending is paused", "Bea &lt;b&gt;", "wrong price", "Resume sending"],
    );
    assert_eq!(house.get("/api/v1/pauses").await.ok()["pauses"], json!(["all"]));
    assert!(house.page("/customers").await.contains("All sending is paused"), "every page says so");
    let resumed = house.ask(post("/resume", whole(&token))).await;
    has_all(&resumed.text, &["Running", "Pause all sending"]);
    assert_eq!(house.get("/api/v1/pauses").await.ok()["pauses"], json!([]));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_at_this_machine_signs_in_first() {
    let (house, _) = lived().await;
    let still = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let far = |method: &str, path: &str| {
        still.request(method.parse().unwrap(), house.url(path)).header("host", "shop.example")
    };
    let paths = [
        "/",
        "/why",
        "/customers",
        "/customers/profile:1",
        "/preview",
        "/preview/cart_reminder",
        "/dead-letters",
        "/inbox",
        "/caps?profile=ann",
    ];
    for path in paths {
        for request in [far("GET", path), still.get(house.url(path)).header("x-forwarded-for", "10.0.0.1")] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 303, "{path}");
            assert!(answer.headers()["location"].to_str().unwrap().starts_with("/sign-in?to="), "{path}");
        }
    }
    assert_eq!(far("POST", "/pause").body("sure=yes").send().await.unwrap().status(), 303);
    let wrong = far("POST", "/sign-in").body(form(&[("secret", "wrong"), ("to", "/why")])).send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.headers().contains_key("set-cookie")), (403, false));
    let right = far("POST", "/sign-in").body(form(&[("secret", TOKEN), ("to", "/why")])).send().await.unwrap();
    assert_eq!((right.status().as_u16(), right.headers()["location"].to_str().unwrap()), (303, "/why"));
    let kept = right.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(kept.contains("HttpOnly") && kept.contains("SameSite=Strict") && !kept.contains(TOKEN), "{kept}");
    let cookie = kept.split(';').next().unwrap().to_owned();
    let page = far("GET", "/").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let token = token_of(&page.text().await.unwrap());
    let pause = form(&[("token", &token_of(&house.page("/").await)), ("who", "x"), ("why", "x"), ("sure", "yes")]);
    let foreign = far("POST", "/pause").header("cookie", &cookie).body(pause).send().await.unwrap();
    assert_eq!(foreign.status(), 403, "a token of another session");
    let out = far("POST", "/sign-out").header("cookie", &cookie).body(form(&[("token", &token)])).send().await.unwrap();
    assert_eq!(out.status(), 303);
    assert_eq!(far("GET", "/").header("cookie", &cookie).send().await.unwrap().status(), 303, "the session has ended");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_found_and_shown_with_all_that_is_known() {
    let (house, key) = lived().await;
    let bob = json!({ "email": "bob@example.com", "phone": "+44 7700 900123", "name": "Zed O’Neill" });
    house.send(&key, "identify", json!({ "userId": "bob", "messageId": "i2", "traits": bob })).await;
    house
        .send(&key, "identify", json!({ "userId": "bob", "messageId": "i3", "traits": { "name": "Rob O’Neill" } }))
        .await;
    for n in 0..60 {
        let body = json!({ "userId": "bob", "messageId": format!("v{n}"), "event": format!("Seen {n}.") });
        house.send(&key, "track", body).await;
        house.forward("1m").await;
    }
    for typed in ["bob", "bob@example", "+447700 900123", "Rob", "rob o’n", "o’neill"] {
        let page = house.page(&format!("/customers?{}", form(&[("q", typed)]))).await;
        assert!(page.contains(">bob</a>") && !page.contains(">ann</a>"), "{typed}: {page}");
    }
    let once = house.page("/customers?q=Zed").await;
    assert!(once.contains("Nobody is known by"), "what he was called once does not find him: {once}");
    let ann = house.page("/customers/ann").await;
    has_all(
        &ann,
        &["ann@example.com", "denied", "by telephone", "Product Added", "1 of 3", "Frequency caps", "Not sent"],
    );
    let first = house.page("/customers/bob").await;
    assert!(first.contains(">Seen 59.<") && !first.contains(">Seen 5.<"), "{first}");
    let start = first.find("?before=").unwrap();
    let older = first[..start].rfind("href=\"").unwrap() + 6;
    let older = first[older..].split('#').next().unwrap();
    let second = house.page(older).await;
    assert!(second.contains(">Seen 5.<") && !second.contains(">Seen 59.<"), "{second}");
    let both = |n: usize| [&first, &second].iter().filter(|page| page.contains(&format!(">Seen {n}.<"))).count();
    assert!((0..60).all(|n| both(n) == 1), "every event is on one page");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_put_back_once_however_often_it_is_pressed() {
    let moody = Arc::new(Moody::default());
    let house = House::with(Some(moody.clone())).await;
    house.furnish().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1h").await;
    let page = house.page("/dead-letters").await;
    has_all(&page, &["Refused by the provider", "550 no such mailbox", "cart_reminder", "Put back all of them"]);
    let asked = house.page("/dead-letters/redrive?reason=provider_refused").await;
    has_all(&asked, &["Put back?", "every message that failed for"]);
    let token = token_of(&asked);
    let press = || {
        let body = form(&[("token", &token), ("reason", "provider_refused")]);
        house.ask(house.request("POST", "/dead-letters/redrive").body(body))
    };
    let bare = house.request("POST", "/dead-letters/redrive").body("reason=provider_refused");
    assert_eq!(house.ask(bare).await.status, 403);
    assert_eq!(house.listed("status=failed").await.len(), 1, "nothing was put back");
    moody.0.store(true, Ordering::SeqCst);
    let (first, second) = (press().await, press().await);
    let counts = [&first, &second].map(|page| page.text.contains("1 put back"));
    assert_eq!(counts.iter().filter(|it| **it).count(), 1, "{}\n{}", first.text, second.text);
    house.forward("1m").await;
    assert_eq!(house.listed("status=failed").await.len(), 0);
    assert!(house.page("/dead-letters").await.contains("No message failed for good"));
    house.close().await;
}
