//! What customers do with the links in their mail, and what operators do about permission, over real HTTP.

use serde_json::{Value, json};

use crate::house::{Answer, House};

const FORM: &str = "application/x-www-form-urlencoded";
const ANN: &str = "ann@example.com";
const SHOP: &str = "http://shop.example";

impl House {
    /// The newest mail to somebody: its HTML and its source.
    async fn newest_mail(&self, to: &str) -> (String, String) {
        let inbox = self.get("/api/v1/inbox").await.ok();
        let to_them = inbox["messages"].as_array().unwrap().iter().find(|message| message["to"] == to);
        let id = to_them.unwrap_or_else(|| panic!("nothing to {to}: {inbox}"))["message"].as_str().unwrap().to_owned();
        let part = |part: &'static str| format!("/inbox/{id}/{part}");
        (self.get(&part("html")).await.text, self.get(&part("source")).await.text)
    }

    /// The path of a link in the newest mail to somebody: `u`, `preferences` or `confirm`.
    async fn link(&self, to: &str, kind: &str) -> String {
        let (html, _) = self.newest_mail(to).await;
        let start = html.find(&format!("{SHOP}/{kind}/")).unwrap_or_else(|| panic!("no {kind} link in {html}"));
        html[start + SHOP.len()..].chars().take_while(|letter| *letter != '"').collect()
    }

    /// As a browser or a mail provider asks: without token or cookie.
    async fn visit(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        self.ask(self.request(method, path).header("content-type", kind).body(body.to_owned())).await
    }

    async fn posted(&self, path: &str, form: &str) -> Answer {
        let answer = self.visit("POST", path, FORM, form).await;
        self.forward("1s").await;
        answer
    }

    async fn permission(&self, who: &str) -> Value {
        self.get(&format!("/api/v1/profiles/{who}/consent")).await.ok()
    }

    /// Everything a person answered: about, state, way.
    async fn ledger(&self, who: &str) -> Vec<String> {
        let told = self.permission(who).await;
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = told["ledger"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {} by {}", text(row, "about"), text(row, "state"), text(row, "via"))).collect()
    }

    /// Somebody with an address, who has answered nothing.
    async fn meet(&self, key: &str, who: &str, email: &str) {
        let traits = json!({ "userId": who, "messageId": format!("i-{who}"), "traits": { "email": email } });
        self.send(key, "identify", traits).await;
    }

    async fn track(&self, key: &str, who: &str, event: &str, properties: Value) {
        let id = format!("{who}-{event}-{properties}");
        let call = json!({ "userId": who, "messageId": id, "event": event, "properties": properties });
        self.send(key, "track", call).await;
    }

    async fn leave_a_cart(&self, key: &str, who: &str, cart: &str) {
        let item = json!({ "cart_id": cart, "product_id": "p1", "name": "Lamp", "price": 40, "currency": "EUR" });
        self.track(key, who, "Product Added", item).await;
    }
}

/// A house in which Ann got a reminder.
async fn reminded() -> (House, String) {
    let house = House::furnished().await;
    let key = house.key().await;
    house.meet_ann(&key).await;
    house.put_in_cart(&key, "c1").await;
    house.forward("1h").await;
    (house, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_behind_the_link_changes_what_is_posted_and_only_that() {
    let (house, key) = reminded().await;
    let page = house.link(ANN, "preferences").await;
    let seen = house.visit("GET", &page, FORM, "do=none").await;
    assert_eq!((seen.status, seen.kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(seen.text.contains("a***@example.com") && !seen.text.contains(ANN), "{}", seen.text);
    let boxes = ["channel:email\" checked", "topic:cart_reminders\" checked", "topic:offers\" checked"];
    for shown in boxes.into_iter().chain(["topic:new_products\">", "Reminders of your cart"]) {
        assert!(seen.text.contains(shown), "{shown} is not in {}", seen.text);
    }
    assert_eq!(house.visit("HEAD", &page, FORM, "").await.status, 200);
    house.forward("1s").await;
    assert_eq!(house.ledger("ann").await, ["email granted by api"], "looking is no answer");

    let form = "do=save&shown=channel:email&on=channel:email&shown=topic:cart_reminders&shown=topic:new_products\
                &on=topic:new_products";
    let saved = house.posted(&page, form).await;
    assert!(saved.status == 200 && saved.text.contains("Saved"), "{saved:?}");
    house.forward("1s").await;
    let seen = house.visit("GET", &page, FORM, "").await.text;
    assert!(seen.contains("channel:email\" checked") && !seen.contains("topic:cart_reminders\" checked"), "{seen}");
    let told = house.permission("ann").await;
    assert_eq!(told["topics"]["cart_reminders"]["state"], "denied");
    assert_eq!(told["topics"]["cart_reminders"]["source"], "preference page");
    assert_eq!(told["topics"]["new_products"]["state"], "granted");
    assert_eq!((&told["channels"]["email"]["via"], &told["topics"]["offers"]), (&"api".into(), &Value::Null));
    house.put_in_cart(&key, "c2").await;
    house.forward("1h").await;
    assert_eq!(house.listed("reason=topic_unsubscribed").await.len(), 1);

    // Leaving everything, and coming back by the same page.
    house.posted(&page, "do=none").await;
    assert_eq!(house.permission("ann").await["channels"]["email"]["state"], "denied");
    let back = "do=save&shown=channel:email&on=channel:email&shown=topic:cart_reminders&on=topic:cart_reminders";
    house.posted(&page, back).await;
    house.put_in_cart(&key, "c3").await;
    house.forward("1h").await;
    assert_eq!(house.listed("profile=ann&status=sent").await.len(), 2, "{:?}", house.ledger("ann").await);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_click_unsubscribes_as_mail_providers_post_it_however_old_the_mail() {
    let (house, key) = reminded().await;
    let (_, source) = house.newest_mail(ANN).await;
    assert!(source.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{source}");
    let header = source.split("List-Unsubscribe:").nth(1).unwrap();
    let address = header.split_once('<').unwrap().1.split_once('>').unwrap().0;
    let path = address.strip_prefix(SHOP).unwrap().to_owned();
    house.forward("90d").await;
    let scanned = house.visit("GET", &path, FORM, "List-Unsubscribe=One-Click").await;
    assert!(scanned.status == 200 && scanned.text.contains("<button>Unsubscribe</button>"), "{scanned:?}");
    house.forward("1s").await;
    assert_eq!(house.ledger("ann").await, ["email granted by api"], "a scanner that opens the link does nothing");
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    for (kind, body) in [("multipart/form-data; boundary=b", multipart), (FORM, "List-Unsubscribe=One-Click")] {
        let said = house.visit("POST", &path, kind, body).await;
        assert!(said.status == 200 && said.text.contains("Unsubscribed"), "{said:?}");
    }
    house.forward("1s").await;
    let told = house.permission("ann").await;
    assert_eq!(
        (&told["channels"]["email"]["state"], &told["channels"]["email"]["via"]),
        (&"denied".into(), &"link".into())
    );
    assert_eq!(
        (&told["suppressions"][0]["kind"], &told["suppressions"][0]["address"]),
        (&"unsubscribed".into(), &ANN.into())
    );
    // Whoever else has this address, however it is written, is not written to either.
    house.meet(&key, "bob", "Ann@Example.COM").await;
    house.post("/api/v1/profiles/bob/consent", json!({ "channel": "email", "state": "granted" })).await.ok();
    house.leave_a_cart(&key, "bob", "c7").await;
    house.leave_a_cart(&key, "ann", "c8").await;
    house.forward("1h").await;
    assert_eq!(house.listed("profile=bob&reason=address_suppressed").await.len(), 1);
    assert_eq!(house.listed("profile=ann&reason=consent_denied").await.len(), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_acts_for_the_person_it_was_sent_to_and_a_forged_one_for_nobody() {
    let (house, key) = reminded().await;
    house.meet(&key, "bob", "bob@example.com").await;
    house.post("/api/v1/profiles/bob/consent", json!({ "channel": "email", "state": "granted" })).await.ok();
    house.leave_a_cart(&key, "bob", "c7").await;
    house.forward("1h").await;
    let (anns, bobs) = (house.link(ANN, "preferences").await, house.link("bob@example.com", "preferences").await);
    let before = (house.ledger("ann").await, house.ledger("bob").await);
    let flipped = |path: &str, at: usize| -> String {
        let letter = path.as_bytes()[at];
        let other = if letter == b'A' { 'B' } else { 'A' };
        format!("{}{other}{}", &path[..at], &path[at + 1..])
    };
    let start = "/preferences/".len();
    // Ann's ids under Bob's signature, and the other way round.
    let half = start + 40;
    let spliced = [format!("{}{}", &anns[..half], &bobs[half..]), format!("{}{}", &bobs[..half], &anns[half..])];
    let bits = (start..anns.len()).step_by(7).map(|at| flipped(&anns, at));
    let others = ["/u/", "/confirm/"].map(|kind| anns.replace("/preferences/", kind));
    let mut answers = Vec::new();
    for path in bits.chain(spliced).chain(others).chain([anns[..anns.len() - 1].to_owned(), format!("{anns}A")]) {
        let (seen, posted) =
            (house.visit("GET", &path, FORM, "").await, house.visit("POST", &path, FORM, "do=none").await);
        assert_eq!((seen.status, posted.status), (404, 404), "{path}");
        answers.extend([seen.text, posted.text]);
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "the answer says what was wrong with it");
    house.forward("1s").await;
    assert_eq!((house.ledger("ann").await, house.ledger("bob").await), before);
    house.posted(&bobs, "do=none").await;
    assert_eq!(house.ledger("ann").await, before.0);
    assert_eq!(house.ledger("bob").await, ["email granted by api", "email denied by page"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_marketer_wrote_is_text_on_the_page_and_what_a_form_adds_is_ignored() {
    let (house, _) = reminded().await;
    let text =
        "kind: topic\nkey: odd\nname: \"<script>alert(1)</script>\"\ndescription: \"\\\"><img src=x onerror=y>\"\n";
    let body = json!({ "files": [{ "name": "odd.yaml", "text": text }] });
    house.post("/api/v1/definitions", body).await.ok();
    house.forward("1s").await;
    let page = house.link(ANN, "preferences").await;
    let seen = house.visit("GET", &page, FORM, "").await.text;
    assert!(seen.contains("&lt;script&gt;") && !seen.contains("<script") && !seen.contains("<img"), "{seen}");
    let odd =
        "do=save&shown=topic:%3Cscript%3E&on=topic:%3Cscript%3E&shown=channel:fax&on=channel:fax&shown=topic:none";
    let saved = house.posted(&page, odd).await.text;
    assert!(!saved.contains("<script") && !saved.contains("fax"), "{saved}");
    assert_eq!(house.ledger("ann").await, ["email granted by api"]);
    for (odd, status) in [("%", 400), ("\0", 400), (&*"a=b&".repeat(80_000), 413), ("do=save&shown=%ff&on=%ff", 400)] {
        let said = house.posted(&page, odd).await;
        assert_eq!(said.status, status);
        assert!(said.text.contains("Nothing was changed"), "{said:?}");
    }
    assert_eq!(house.ledger("ann").await, ["email granted by api"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_is_confirmed_by_the_mailbox_before_anything_is_sold_to_it() {
    let house = House::furnished().await;
    let key = house.key().await;
    let yes = json!({ "channel": "email", "state": "granted", "source": "newsletter form", "text_version": "v3" });
    for who in ["zoe", "mia"] {
        house.meet(&key, who, &format!("{who}@example.com")).await;
        house.track(&key, who, "Consent Changed", yes.clone()).await;
    }
    house.leave_a_cart(&key, "zoe", "c1").await;
    house.forward("1h").await;
    assert_eq!(house.permission("zoe").await["channels"]["email"]["state"], "pending");
    assert_eq!(house.listed("profile=zoe&reason=consent_pending").await.len(), 1);
    let (zoes, mias) = (house.link("zoe@example.com", "confirm").await, house.link("mia@example.com", "confirm").await);

    let seen = house.visit("GET", &zoes, FORM, "").await;
    assert!(seen.status == 200 && seen.text.contains("<button>Confirm your subscription</button>"), "{seen:?}");
    house.forward("1s").await;
    assert_eq!(house.permission("zoe").await["channels"]["email"]["state"], "pending", "a scanner confirms nothing");
    for _ in 0..2 {
        let said = house.posted(&zoes, "").await;
        assert!(said.status == 200 && said.text.contains("Confirmed"), "{said:?}");
    }
    assert_eq!(house.ledger("zoe").await, ["email pending by event", "email granted by confirmation"]);
    assert_eq!(house.permission("zoe").await["ledger"][0]["text_version"], "v3");
    house.leave_a_cart(&key, "zoe", "c2").await;
    house.forward("1h").await;
    let sent = house.listed("profile=zoe&campaign=cart_reminder&status=sent").await;
    assert_eq!(sent.len(), 1);

    house.forward("7d").await;
    for method in ["GET", "POST"] {
        let said = house.visit(method, &mias, FORM, "").await;
        assert!(said.status == 200 && said.text.contains("This confirmation is over"), "{said:?}");
    }
    house.forward("1s").await;
    assert_eq!(house.ledger("mia").await, ["email pending by event"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_profiles_of_one_mailbox_get_the_same_thing_once() {
    let house = House::furnished().await;
    let key = house.key().await;
    for (who, email) in [("ann", ANN), ("app-7", "ANN@example.com")] {
        house.meet(&key, who, email).await;
        house
            .post(&format!("/api/v1/profiles/{who}/consent"), json!({ "channel": "email", "state": "granted" }))
            .await
            .ok();
        house.leave_a_cart(&key, who, "c1").await;
    }
    house.forward("1h").await;
    let (sent, held) = (house.listed("status=sent").await, house.listed("reason=same_address").await);
    assert_eq!((sent.len(), held.len()), (1, 1));
    assert_eq!(held[0]["reason"]["operands"]["message"], sent[0]["id"], "{held:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_says_answers_and_wrong_ones_are_refused_by_field() {
    let (house, _) = reminded().await;
    let path = "/api/v1/profiles/ann/consent";
    let wrong = [
        (json!({ "channel": "fax", "state": "granted" }), "fax"),
        (json!({ "channel": "email", "state": "pending" }), "pending"),
        (json!({ "channel": "email", "state": "yes" }), "granted, denied and unknown"),
        (json!({ "topic": "offer", "state": "denied" }), "did you mean `offers`?"),
        (json!({ "channel": "email", "topic": "offers", "state": "denied" }), "one of them"),
        (json!({ "state": "denied" }), "one of them"),
        (json!({ "channel": "email", "state": "denied", "source": "x".repeat(201) }), "200 characters"),
    ];
    for (body, part) in wrong {
        let refused = house.post(path, body.clone()).await;
        assert_eq!(refused.problem(), (400, "invalid_parameter".to_owned()), "{body}");
        assert!(refused.text.contains(part), "{part} is not in {}", refused.text);
    }
    let unknown = house.post(path, json!({ "channel": "email", "state": "denied", "colour": "red" })).await;
    assert_eq!(unknown.problem(), (400, "invalid_body".to_owned()));
    let nobody = house.post("/api/v1/profiles/nobody/consent", json!({ "channel": "email", "state": "denied" })).await;
    assert_eq!(nobody.problem(), (404, "unknown_profile".to_owned()));
    house.forward("1s").await;
    assert_eq!(house.ledger("ann").await, ["email granted by api"]);
    for body in [
        json!({ "topic": "offers", "state": "unsubscribed", "source": "by telephone" }),
        json!({ "channel": "email", "state": "denied", "text_version": "v4" }),
        json!({ "channel": "email", "state": "unknown" }),
    ] {
        assert!(house.post(path, body).await.ok()["position"].as_i64().is_some());
    }
    house.forward("1s").await;
    let said = ["topic:offers denied by api", "email denied by api", "email unknown by api"];
    assert_eq!(house.ledger("ann").await[1..], said);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suppression_list_is_kept_read_in_pages_and_never_forgets() {
    let (house, key) = reminded().await;
    let one = |address: &str, kind: &str| json!({ "channel": "email", "address": address, "kind": kind });
    let many: Vec<Value> = (0..5).map(|n| one(&format!("p{n}@example.com"), "bounced")).collect();
    let with_ann = [many.clone(), vec![one("ANN@example.com", "manual")]].concat();
    let all = json!({ "suppressions": with_ann });
    let added = house.post("/api/v1/suppressions", all.clone()).await.ok();
    assert_eq!((&added["added"], &added["known"]), (&6.into(), &0.into()));
    assert_eq!(house.post("/api/v1/suppressions", all).await.ok()["known"], 6);
    house.put_in_cart(&key, "c2").await;
    house.forward("1h").await;
    assert_eq!(house.listed("profile=ann&reason=address_suppressed").await.len(), 1);

    let (mut cursor, mut found) = (String::new(), Vec::new());
    loop {
        let page = house.get(&format!("/api/v1/suppressions?kind=bounced&limit=2{cursor}")).await.ok();
        let rows = page["suppressions"].as_array().unwrap();
        assert!(rows.len() <= 2);
        found.extend(rows.iter().map(|row| row["address"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, (0..5).map(|n| format!("p{n}@example.com")).collect::<Vec<_>>());

    let off = json!({ "channel": "email", "address": " Ann@Example.com", "source": "asked us to" });
    assert_eq!(house.post("/api/v1/suppressions/remove", off.clone()).await.ok()["removed"], true);
    assert_eq!(house.post("/api/v1/suppressions/remove", off).await.ok()["removed"], false);
    let now = house.get("/api/v1/suppressions?address=ann%40example.com").await.ok();
    assert_eq!(now["suppressions"], json!([]));
    let then = house.get("/api/v1/suppressions?address=ann%40example.com&history=true").await.ok();
    assert_eq!(then["suppressions"][0]["removed_by"], "asked us to", "{then}");
    house.put_in_cart(&key, "c3").await;
    house.forward("1h").await;
    assert_eq!(house.listed("profile=ann&status=sent").await.len(), 2);

    let too_many: Vec<Value> = (0..1_001).map(|n| one(&format!("q{n}@example.com"), "manual")).collect();
    for (body, part) in [
        (json!({ "suppressions": [one("nowhere", "manual")] }), "nowhere"),
        (json!({ "suppressions": [one("a@example.com", "tired")] }), "tired"),
        (json!({ "suppressions": [many[0], { "channel": "fax", "address": "a@example.com" }] }), "fax"),
        (json!({ "suppressions": too_many }), "at most 1000"),
    ] {
        let refused = house.post("/api/v1/suppressions", body).await;
        assert_eq!(refused.problem(), (400, "invalid_parameter".to_owned()));
        assert!(refused.text.contains(part), "{part} is not in {}", refused.text);
    }
    for question in ["kind=tired", "channel=fax", "limit=0", "limit=100000"] {
        assert_eq!(house.get(&format!("/api/v1/suppressions?{question}")).await.status, 400, "{question}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_tells_who_is_in_it_since_when_and_why() {
    let (house, key) = reminded().await;
    for n in 1..=3 {
        house.track(&key, "ann", "Order Completed", json!({ "order_id": n, "revenue": 10, "currency": "EUR" })).await;
    }
    house.meet(&key, "bob", "bob@example.com").await;
    house.forward("1m").await;
    let listed = house.get("/api/v1/segments").await.ok();
    let sizes: Vec<(&str, u64)> = listed["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["key"].as_str().unwrap(), one["size"].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes, [("gone_quiet", 0), ("lapsed", 0), ("vip", 1)]);
    let vip = house.get("/api/v1/segments/vip?profile=ann").await.ok();
    assert_eq!((&vip["sample"][0]["user_id"], &vip["is_complete"]), (&"ann".into(), &true.into()), "{vip}");
    let person = &vip["person"];
    assert_eq!(person["is_member"], true);
    assert!(person["because"].as_str().unwrap().contains("Order Completed performed 3 times"), "{person}");
    assert!(person["until"].as_str().unwrap().starts_with("2026-05-30T11:0"), "{person}");
    assert_eq!(house.get("/api/v1/segments/vip?profile=bob").await.ok()["person"]["is_member"], false);
    house.forward("90d").await;
    let lapsed = house.get("/api/v1/segments/lapsed").await.ok();
    assert_eq!((&lapsed["size"], &lapsed["sample"][0]["user_id"]), (&1.into(), &"ann".into()));
    assert_eq!(house.get("/api/v1/segments/vip").await.ok()["size"], 0);
    let near = house.get("/api/v1/segments/vipp").await;
    assert_eq!((near.problem(), near.json()["nearest"].as_str()), ((404, "unknown_segment".to_owned()), Some("vip")));
    assert_eq!(house.get("/api/v1/segments/vip?profile=nobody").await.problem().0, 404);
    assert_eq!(house.get("/api/v1/segments/vip?limit=0").await.problem().0, 400);
    house.close().await;
}
