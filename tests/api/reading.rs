//! What a program reads: people and their lives in pages, definitions with their versions, counts, settings, and the
//! document that describes it all.

use serde_json::{Value, json};

use super::world::World;
use crate::house::Answer;

/// Follows `next` to the end; every row of every page under this name.
async fn all(world: &World, path: &str, name: &str) -> Vec<Value> {
    let (mut rows, mut next) = (Vec::new(), String::new());
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let page = world.get(&format!("{path}{sign}limit=2{next}")).await.ok();
        rows.extend(page[name].as_array().unwrap().iter().cloned());
        let Some(cursor) = page["next"].as_str() else { return rows };
        next = format!("&cursor={cursor}");
    }
}

/// Ann with a reminder sent, and others with nothing.
async fn shop() -> World {
    let world = World::furnished().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    for user in ["ben", "cleo", "dan"] {
        world.send(&key, "identify", json!({ "userId": user, "messageId": format!("i-{user}") })).await;
    }
    world.forward("1s").await;
    world.put_in_cart(&key, "c1").await;
    world.forward("1h").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_rows_that_is_none_is_refused_with_what_was_expected() {
    let world = World::small().await;
    let lists = ["messages", "events", "profiles", "parked", "imports", "suppressions", "profiles/ann/timeline"];
    for list in lists {
        for asked in ["-1", "0", "201.5", "many", "99999999999"] {
            let answer = world.get(&format!("/api/v1/{list}?limit={asked}")).await;
            assert_eq!(answer.status, 400, "{list} {asked}: {answer:?}");
            let said = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(said.contains("`limit` is 1 to 200"), "{list} {asked}: {said}");
        }
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_paged_and_one_life_is_told_in_order() {
    let world = shop().await;
    let people = all(&world, "/api/v1/profiles", "profiles").await;
    let mut names: Vec<&str> = people.iter().filter_map(|person| person["user_id"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ann", "ben", "cleo", "dan"]);
    let found = world.get("/api/v1/profiles?q=ann").await.ok();
    assert_eq!(found["profiles"][0]["traits"]["email"], "ann@example.com");
    for typed in ["ANN@exam", "ann", "nn@example.com", "ben"] {
        let answer = world.get(&format!("/api/v1/profiles?q={typed}")).await.ok();
        let names: Vec<&str> =
            answer["profiles"].as_array().unwrap().iter().filter_map(|it| it["user_id"].as_str()).collect();
        assert_eq!(names.contains(&"ann"), typed.to_lowercase().starts_with("ann"), "{typed}: {names:?}");
    }
    let life = all(&world, "/api/v1/profiles/ann/timeline", "moments").await;
    let at_once = world.get("/api/v1/profiles/ann/timeline?limit=200").await.ok();
    assert_eq!(&life, at_once["moments"].as_array().unwrap());
    let kinds: Vec<&str> = life.iter().map(|moment| moment["kind"].as_str().unwrap()).collect();
    for kind in ["event", "answer", "entered", "message", "ended"] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
    let sent = life.iter().find(|moment| moment["kind"] == "message").unwrap();
    assert_eq!(sent["message"]["status"], "sent");
    let added = life.iter().find(|moment| moment["name"] == "Product Added").unwrap();
    assert_eq!(added["findings"][0]["found"], "entered");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_newest_first_by_name_and_by_person_and_messages_by_what_they_are() {
    let world = shop().await;
    let events = all(&world, "/api/v1/events", "events").await;
    assert_eq!(events.len(), 5, "{events:?}");
    assert_eq!(events[0]["name"], "Product Added");
    assert_eq!(all(&world, "/api/v1/events?name=Product%20Added", "events").await.len(), 1);
    let everything = all(&world, "/api/v1/events?own=true", "events").await;
    assert!(everything.len() > events.len(), "something is told by Carillon itself: {everything:?}");
    for event in &everything {
        let name = event["name"].as_str().unwrap();
        let named = all(&world, &format!("/api/v1/events?name={}", name.replace(' ', "%20")), "events").await;
        assert!(named.contains(event), "{name}");
    }
    let anns = all(&world, "/api/v1/events?profile=ann", "events").await;
    assert!(anns.iter().all(|event| event["user_id"] == "ann") && anns.len() >= 2, "{anns:?}");
    let sent = all(&world, "/api/v1/messages?template=cart_reminder&channel=email&status=sent", "messages").await;
    assert_eq!(sent.len(), 1);
    assert!(all(&world, "/api/v1/messages?template=none", "messages").await.is_empty());
    let request = world.request("GET", "/api/v1/events?limit=2&own=false").bearer_auth(crate::house::TOKEN);
    let link = request.send().await.unwrap().headers()["link"].to_str().unwrap().to_owned();
    let path = link.trim_start_matches('<').split('>').next().unwrap();
    assert!(path.starts_with("/api/v1/events?limit=2&own=false&cursor=") && link.ends_with("rel=\"next\""), "{link}");
    assert_eq!(world.get(path).await.ok()["events"].as_array().unwrap().len(), 2);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_tells_what_spoke_for_it_at_every_check() {
    let world = shop().await;
    let sent = &world.listed("status=sent").await[0];
    let path = world.get(&format!("/api/v1/messages/{}", sent["id"].as_str().unwrap())).await.ok();
    let checks = path["checks"].as_array().unwrap();
    let of = |start: &str| checks.iter().find(|one| one["check"].as_str().unwrap().starts_with(start)).unwrap();
    assert_eq!(checks.len(), 10);
    let consent = of("Consent");
    assert_eq!((&consent["result"], &consent["values"]["state"]), (&json!("passed"), &json!("granted")));
    assert_eq!(consent["values"]["source"], "by telephone");
    let caps = of("Room")["values"].as_object().unwrap();
    let rules: Vec<&Value> = caps.iter().filter(|(name, _)| name.contains("at most")).map(|(_, used)| used).collect();
    assert!(!rules.is_empty() && rules.iter().all(|used| used.as_str().unwrap().starts_with("1 of ")), "{caps:?}");
    assert_eq!(of("Still wanted")["values"]["expires_at"], sent["expires_at"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_read_one_by_one_with_every_version() {
    let world = World::furnished().await;
    let all = world.get("/api/v1/definitions/all").await.ok();
    let campaigns = world.get("/api/v1/definitions/campaign").await.ok();
    let count = |answer: &Value| answer["definitions"].as_array().unwrap().len();
    assert!(count(&all) > count(&campaigns) && count(&campaigns) > 0);
    let one = world.get("/api/v1/definitions/campaign/cart_reminder").await.ok();
    assert_eq!((&one["version"], &one["versions"].as_array().unwrap().len()), (&json!(1), &1));
    assert!(one["files"][0]["text"].as_str().unwrap().contains("cart_reminder"));
    let wrong: [(&str, Option<&str>); 3] = [
        ("/api/v1/definitions/campaing", Some("campaign")),
        ("/api/v1/definitions/campaign/cart_remider", Some("cart_reminder")),
        ("/api/v1/definitions/campaign/cart_reminder?version=9", None),
    ];
    for (path, nearest) in wrong {
        let refused: Answer = world.get(path).await;
        assert_eq!(refused.problem(), (404, "unknown_definition".to_owned()), "{path}");
        assert_eq!(refused.json()["nearest"].as_str(), nearest, "{path}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_segments_definitions_erasures_and_the_inbox_are_read_page_by_page_to_their_end() {
    let world = World::small().await;
    let key = world.key().await;
    for source in ["app", "till", "phone"] {
        world.post("/api/v1/keys", json!({ "source": source })).await.ok();
    }
    for name in ["Reachable", "To be reached", "Known"] {
        let version = |key: &str| {
            let text = format!(
                "kind: segment\nkey: {key}\nname: {name}\nowner: crm@shop.example\nwhere: {{ trait: {{ email: {{ exists: true }} }} }}\n"
            );
            json!({ "name": format!("{key}.yaml"), "text": text })
        };
        let files = ["s1", "s2", "s3"].map(version);
        world.post("/api/v1/definitions", json!({ "files": files })).await.ok();
    }
    world.meet_ann(&key).await;
    for user in ["ben", "cleo", "dan"] {
        let traits = json!({ "email": format!("{user}@example.com") });
        world
            .send(&key, "identify", json!({ "userId": user, "messageId": format!("e-{user}"), "traits": traits }))
            .await;
    }
    for cart in ["c1", "c2", "c3"] {
        world.put_in_cart(&key, cart).await;
    }
    world.forward("61m").await;
    let lists = [
        ("/api/v1/keys", "keys", "id", 4),
        ("/api/v1/segments", "segments", "key", 4),
        ("/api/v1/segments/s1", "sample", "profile", 4),
        ("/api/v1/definitions/all", "definitions", "key", 6),
        ("/api/v1/definitions/segment", "definitions", "key", 4),
        ("/api/v1/definitions/segment/s1", "versions", "version", 3),
        ("/api/v1/inbox", "messages", "message", 3),
    ];
    for (path, name, id, least) in lists {
        pages_say_what_one_says(&world, path, name, id, least).await;
    }
    for user in ["ben", "cleo", "dan"] {
        let asked = json!({ "by": "the desk", "reason": "asked by letter" });
        world.post(&format!("/api/v1/profiles/{user}/erase"), asked).await.ok();
    }
    pages_say_what_one_says(&world, "/api/v1/erasures", "erasures", "profile", 3).await;
    // A cursor is of its own list alone.
    let next = world.get("/api/v1/keys?limit=1").await.ok()["next"].as_str().unwrap().to_owned();
    for list in ["erasures", "segments", "segments/s1", "definitions/all", "definitions/segment/s1", "tokens", "inbox"]
    {
        let refused = world.get(&format!("/api/v1/{list}?cursor={next}")).await;
        assert_eq!(refused.problem(), (400, "invalid_parameter".to_owned()), "{list}");
    }
    world.close().await;
}

/// Pages of two hold what one page of all holds, in its order, each row once.
async fn pages_say_what_one_says(world: &World, path: &str, name: &str, id: &str, least: usize) {
    let whole = world.get(&format!("{path}?limit=200")).await.ok();
    assert!(whole["next"].is_null(), "{path}");
    let paged = all(world, path, name).await;
    assert_eq!(&paged, whole[name].as_array().unwrap(), "{path}");
    let ids: std::collections::BTreeSet<String> = paged.iter().map(|row| row[id].to_string()).collect();
    assert!(ids.len() >= least, "{path}: {paged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_shown_with_its_sample_or_another_and_nothing_is_sent() {
    let world = World::furnished().await;
    let path = "/api/v1/templates/cart_reminder/render";
    world.post("/api/v1/pause", json!({ "scope": "all" })).await.ok();
    let made = world.post(path, json!({ "channel": "email" })).await.ok();
    assert_eq!((&made["template"], &made["content"]["kind"]), (&json!("cart_reminder"), &json!("email")));
    assert!(made["content"]["html"].as_str().unwrap().contains("<html") && made["content"]["subject"].is_string());
    let bare = world.post(path, json!({ "channel": "email", "sample": {} })).await;
    assert_eq!(bare.problem(), (422, "not_rendered".to_owned()));
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.put_in_cart(&key, "c1").await;
    world.forward("1s").await;
    let anns = world.post(path, json!({ "channel": "email", "profile": "ann" })).await.ok();
    assert!(anns["content"]["html"].as_str().unwrap().contains("Walnut desk lamp"), "her newest cart: {anns}");
    assert_eq!((&anns["content"]["to"]["address"], anns["event"].is_string()), (&json!("ann@example.com"), true));
    let about = world.post(path, json!({ "channel": "email", "event": "add-c1", "locale": "de" })).await.ok();
    assert_eq!((&about["profile"], &about["event"]), (&anns["profile"], &anns["event"]));
    for (body, status, code) in [
        (json!({ "channel": "email", "profile": "nobody" }), 404, "unknown_profile"),
        (json!({ "channel": "email", "event": "none" }), 404, "unknown_event"),
        (json!({ "channel": "email", "profile": "ann", "sample": {} }), 400, "invalid_parameter"),
        (json!({ "channel": "email", "locale": "x".repeat(81) }), 400, "invalid_parameter"),
    ] {
        assert_eq!(world.post(path, body.clone()).await.problem(), (status, code.to_owned()), "{body}");
    }
    let (_, secret) = world.token(&["definitions:read"]).await;
    let asked = Some(json!({ "channel": "email", "profile": "ann" }));
    let refused = world.as_bearer(&secret, "POST", path, asked).await;
    assert_eq!((refused.problem(), &refused.json()["scope"]), ((403, "missing_scope".into()), &json!("profiles:read")));
    let near = world.post("/api/v1/templates/cart_remindr/render", json!({ "channel": "email" })).await;
    assert_eq!((near.problem(), &near.json()["nearest"]), ((404, "unknown_template".into()), &json!("cart_reminder")));
    assert_eq!(world.get("/api/v1/messages").await.ok()["messages"], json!([]));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_counted_as_they_are_and_settings_hold_no_secret() {
    let world = shop().await;
    let counted = world.get("/api/v1/statistics?campaign=cart_reminder").await.ok();
    let sent = &counted["counts"][0];
    assert_eq!(
        (&sent["status"], &sent["count"], &sent["day"]),
        (&json!("sent"), &json!(1), &json!("2026-03-01T00:00:00Z"))
    );
    let none = world.get("/api/v1/statistics?until=2026-02-01T00:00:00Z&period=7d").await.ok();
    assert_eq!(none["counts"], json!([]));
    for (path, code) in [("period=93d", "invalid_parameter"), ("until=soon", "invalid_parameter")] {
        assert_eq!(world.get(&format!("/api/v1/statistics?{path}")).await.problem(), (400, code.to_owned()));
    }
    let settings = world.get("/api/v1/settings").await.ok();
    assert_eq!(
        (&settings["settings"]["sending"], &settings["now"]),
        (&json!("sandbox"), &json!("2026-03-01T11:00:01Z"))
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recognised_restore_stands_in_the_head_of_every_page_with_what_to_do() {
    let world = World::new().await;
    assert!(!world.page("/").await.contains("confirm-restore"));
    world
        .change(
            "INSERT INTO settings (name, value) VALUES ('restore_unconfirmed', 'true')
                  ON CONFLICT (name) DO UPDATE SET value = 'true'",
        )
        .await;
    for path in ["/", "/customers", "/dead-letters"] {
        let page = world.page(path).await;
        assert!(
            page.contains("Marketing waits: restored") && page.contains("carillon confirm-restore"),
            "{path}: {page}"
        );
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_page_of_all_requests_ask_for_no_token() {
    let world = World::new().await;
    let served = world.ask(world.request("GET", "/api/v1/openapi.json")).await.ok();
    assert_eq!(served["openapi"], "3.1.0");
    let page = world.ask(world.request("GET", "/api")).await;
    assert!(page.status == 200 && page.text.contains("/api/v1/profiles/{id}/timeline"), "{}", page.text);
    // What is documented is there: no request of the document is answered with "nothing at this address".
    for (path, methods) in served["paths"].as_object().unwrap() {
        // What the pages show to whoever sits here needs none.
        let needs_token = |operation: &Value| !operation["security"].as_array().unwrap().contains(&json!({}));
        for (method, _) in methods.as_object().unwrap().iter().filter(|(_, operation)| needs_token(operation)) {
            let path = path.replace(['{', '}'], "");
            let answer = world.ask(world.request(&method.to_uppercase(), &path)).await;
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            let wanted = if path.starts_with("/api/") { "missing_token" } else { "invalid_json" };
            assert_eq!(code, wanted, "{method} {path}: {answer:?}");
        }
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stories_are_told_without_being_applied_and_a_broken_one_is_refused_with_its_line() {
    let world = World::new().await;
    let text = "kind: campaign\nkey: hello\nname: Hello\nowner: crm@shop.example\ntype: trigger\nstatus: draft\n\
        purpose: transactional\nentry: { event: Signed Up }\nsend: { channel: email, template: hello }\n---\n\
        kind: template\nkey: hello\nemail: { subject: Hello, html: \"<p>Hello</p>\" }\n---\n\
        kind: story\nname: who signs up is greeted\ncampaigns: [ hello ]\n\
        profiles: { ann: { traits: { email: ann@example.com } } }\n\
        given: [ { at: \"2026-03-01T10:00Z\", ann: Signed Up } ]\nexpect: [ { ann: sent, template: hello } ]\n---\n\
        kind: story\nname: who signs up is left alone\ncampaigns: [ hello ]\n\
        profiles: { ann: { traits: { email: ann@example.com } } }\n\
        given: [ { at: \"2026-03-01T10:00Z\", ann: Signed Up } ]\nexpect: [ { ann: never sent, template: hello } ]\n";
    let files = |text: &str| json!({ "files": [ { "name": "hello.yaml", "text": text } ] });
    let told = world.post("/api/v1/definitions/test", files(text)).await.ok();
    assert_eq!((&told["passed"], &told["failed"]), (&json!(1), &json!(1)), "{told}");
    let (good, bad) = (&told["stories"][0], &told["stories"][1]);
    assert_eq!((&good["passed"], &good["failures"]), (&json!(true), &json!([])));
    assert!(good["timeline"].to_string().contains("sent email hello"), "{good}");
    assert!(bad["failures"][0].as_str().unwrap().contains("line"), "{bad}");
    assert_eq!(good["hints"], json!([]));
    let newcomer = format!(
        "{}---\nkind: segment\nkey: idle\nname: Idle\nowner: crm@shop.example\n\
         where: {{ not: {{ performed: {{ event: Order Completed }} }} }}\n",
        text.replace("entry: { event: Signed Up }", "entry: { segment: idle, on: entered }")
    );
    let told = world.post("/api/v1/definitions/test", files(&newcomer)).await.ok();
    assert!(told["stories"][1]["hints"][0].as_str().unwrap().contains("ann: { new: true }"), "{told}");
    let newcomer = newcomer.replace("{ ann: { traits: { email: ann@example.com } } }", "{ ann: { new: true } }");
    let told = world.post("/api/v1/definitions/test", files(&newcomer)).await.ok();
    let timeline = told["stories"][1]["timeline"].to_string();
    assert!(timeline.contains("entered segment idle"), "{told}");
    assert_eq!(told["stories"][1]["hints"], json!([]));
    assert!(world.get("/api/v1/definitions").await.ok()["files"].as_array().unwrap().is_empty());
    let refused =
        world.post("/api/v1/definitions/test", files(&text.replace("Signed Up }\nsend", "Signed }\nsnd"))).await;
    assert_eq!(refused.problem().0, 422);
    assert!(refused.text.contains("\"line\":9"), "{}", refused.text);
    world.close().await;
}
