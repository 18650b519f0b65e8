//! Writes that are named and repeated: done once, whoever asks again and wherever; and problems that lead to their page.

use carillon::store::Rows;
use serde_json::{Value, json};

use super::world::World;
use crate::house::{Answer, House, TOKEN};

async fn named(house: &House, key: &str, path: &str, body: &Value) -> (Answer, bool) {
    let request = house.request("POST", path).bearer_auth(TOKEN).header("Idempotency-Key", key);
    let answer = request.body(body.to_string()).send().await.unwrap();
    let replayed = answer.headers().get("idempotency-replayed").is_some();
    let status = answer.status().as_u16();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (Answer { status, kind, text: answer.text().await.unwrap() }, replayed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_gets_the_first_answer_again_also_from_another_process() {
    let world = World::new().await;
    let neighbour = world.neighbour().await;
    let order = json!({ "source": "web", "name": "the shop" });
    let (first, replayed) = named(&world, "k1", "/api/v1/keys", &order).await;
    assert!(!replayed);
    for house in [Some(&world.house), neighbour.as_ref()].into_iter().flatten() {
        let (again, replayed) = named(house, "k1", "/api/v1/keys", &order).await;
        assert!(replayed);
        assert_eq!((again.status, &again.text, &again.kind), (200, &first.text, &first.kind));
    }
    let keys = world.get("/api/v1/keys").await.ok();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
    let (other, _) = named(&world, "k2", "/api/v1/keys", &order).await;
    assert_ne!(other.ok()["key"], first.ok()["key"]);
    if let Some(house) = neighbour {
        house.close().await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_one_request_of_one_caller_for_a_day() {
    let world = World::new().await;
    let (one, other) = (json!({ "source": "web" }), json!({ "source": "app" }));
    named(&world, "k", "/api/v1/keys", &one).await.0.ok();
    assert_eq!(named(&world, "k", "/api/v1/keys", &other).await.0.problem(), (422, "idempotency_key_reused".into()));
    assert_eq!(named(&world, "k", "/api/v1/tokens", &one).await.0.problem(), (422, "idempotency_key_reused".into()));
    let (_, secret) = world.token(&["keys:write"]).await;
    let request = world.request("POST", "/api/v1/keys").bearer_auth(&secret).header("Idempotency-Key", "k");
    assert_eq!(world.ask(request.body(other.to_string())).await.status, 200, "another caller's own name");
    world.forward("24h").await;
    let (later, replayed) = named(&world, "k", "/api/v1/keys", &other).await;
    assert_eq!((later.status, replayed), (200, false));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_done_and_the_others_are_told_to_wait_or_what_came_of_it() {
    let world = World::new().await;
    let order = json!({ "source": "web" });
    let all = (0..16).map(|_| named(&world, "at-once", "/api/v1/keys", &order));
    let answers = futures::future::join_all(all).await;
    let mut keys: Vec<Value> = Vec::new();
    for (answer, _) in &answers {
        match answer.status {
            200 => keys.push(answer.json()["key"].clone()),
            _ => assert_eq!(answer.problem(), (409, "idempotency_conflict".into())),
        }
    }
    keys.dedup();
    assert_eq!(keys.len(), 1);
    assert_eq!(world.get("/api/v1/keys").await.ok()["keys"].as_array().unwrap().len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_may_come_again_put_right_and_an_odd_name_is_refused() {
    let world = World::new().await;
    let bad = json!({ "source": "No Such" });
    for _ in 0..2 {
        let (refused, replayed) = named(&world, "k", "/api/v1/keys", &bad).await;
        assert_eq!((refused.problem(), replayed), ((400, "invalid_parameter".into()), false));
    }
    let (made, replayed) = named(&world, "k", "/api/v1/keys", &json!({ "source": "web" })).await;
    assert_eq!((made.status, replayed), (200, false));
    for odd in ["a b", &"x".repeat(256)] {
        let (refused, _) = named(&world, odd, "/api/v1/keys", &bad).await;
        assert_eq!(refused.problem(), (400, "invalid_idempotency_key".into()), "{odd}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_kept_answer_is_in_the_database() {
    let world = World::new().await;
    let (made, _) = named(&world, "k", "/api/v1/keys", &json!({ "source": "web" })).await;
    let key = made.ok()["key"].as_str().unwrap().to_owned();
    let rows = Rows(world.house.store().reader()).all("SELECT answer FROM idempotent_answers", vec![]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let kept: Vec<u8> = rows[0].try_get_by_index(0).unwrap();
    assert!(!kept.windows(key.len()).any(|part| part == key.as_bytes()));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_takes_the_kept_answers_and_nothing_is_done_again() {
    let world = World::new().await;
    let key = world.key().await;
    world.meet_ann(&key).await;
    world.forward("1s").await;
    let no = json!({ "channel": "email", "state": "denied", "source": "by telephone" });
    let consent = async || named(&world, "no", "/api/v1/profiles/ann/consent", &no).await.0;
    consent().await.ok();
    world.forward("1s").await;
    let why = json!({ "by": "the officer", "reason": "request 12" });
    let erase = async || named(&world, "erase", "/api/v1/profiles/ann/erase", &why).await;
    let (first, _) = erase().await;
    assert_eq!(first.ok()["reason"], "request 12");
    let (again, replayed) = erase().await;
    assert!(replayed);
    assert_eq!(again.text, first.text, "whoever did not hear the answer hears that it is done");
    let told = consent().await;
    assert_eq!(told.problem(), (409, "idempotency_answer_erased".into()));
    assert!(told.json()["detail"].as_str().unwrap().contains("200"), "{}", told.text);
    let rows = Rows(world.house.store().reader()).all("SELECT answer FROM idempotent_answers", vec![]).await.unwrap();
    let left: Vec<usize> = rows.iter().map(|row| row.try_get_by_index::<Vec<u8>>(0).unwrap().len()).collect();
    assert_eq!(left.iter().filter(|length| **length == 0).count(), 1, "{left:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_a_problem_leads_to_a_page_that_says_what_to_do() {
    let world = World::new().await;
    let problem = world.get("/api/v1/messages/none").await.json();
    let path = problem["type"].as_str().unwrap();
    assert_eq!(path, "/problems/unknown_message");
    let page = world.ask(world.request("GET", path)).await;
    assert_eq!((page.status, page.kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("unknown_message") && page.text.contains("404"), "{}", page.text);
    let all = world.ask(world.request("GET", "/problems")).await;
    assert!(all.text.contains("/problems/idempotency_conflict"));
    assert_eq!(world.ask(world.request("GET", "/problems/none")).await.problem(), (404, "not_found".into()));
    world.close().await;
}
