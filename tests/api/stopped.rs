//! A provider that does not take our login: everything waits and says so, no try is spent, a person is told what to do,
//! and when the credentials are right what waited goes.
//!
//! To see it fail, let `Outcome::TransportDown` spend an attempt, or the gate stay open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use carillon::channel::{Channel, Unusable};
use carillon::message::Outcome;
use carillon::render::Rendered;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use serde_json::{Value, json};

use super::redriven::SHOP;
use super::world::World;

const LETTERS: usize = 12;
const CAUSE: &str = "535 5.7.8 wrong login";

#[derive(Default)]
struct Provider {
    knows_us: AtomicBool,
    asked: AtomicUsize,
}

impl Channel for Provider {
    fn send<'a>(&'a self, _: &'a Rendered) -> BoxFuture<'a, Outcome> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let outcome = match self.knows_us.load(Ordering::SeqCst) {
            true => Outcome::Accepted { reply: "250 ok".to_owned() },
            false => Outcome::TransportDown { cause: CAUSE.to_owned() },
        };
        ready(outcome).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        let known = self.knows_us.load(Ordering::SeqCst);
        ready(if known { Ok("a script".to_owned()) } else { Err(Unusable(CAUSE.to_owned())) }).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_keeps_everything_says_why_and_goes_on_when_it_is_right() {
    let provider = Arc::new(Provider::default());
    let world = World::carried_by(provider.clone()).await;
    let files = json!([{ "name": "shop.yaml", "text": SHOP }]);
    world.post("/api/v1/definitions", json!({ "files": files })).await.ok();
    let key = world.key().await;
    for n in 0..LETTERS {
        let traits = json!({ "email": format!("p{n}@d{n}.example") });
        world
            .send(
                &key,
                "identify",
                json!({ "userId": format!("p{n}"), "messageId": format!("i{n}"), "traits": traits }),
            )
            .await;
        let order = json!({ "userId": format!("p{n}"), "messageId": format!("o{n}"), "event": "Order Completed",
            "properties": { "order_id": format!("o{n}") } });
        world.send(&key, "track", order).await;
    }
    world.forward("5s").await;
    let waiting = world.listed("limit=100").await;
    assert_eq!(waiting.len(), LETTERS);
    for message in &waiting {
        let reason = &message["reason"];
        assert_eq!((&message["attempts"], &reason["code"]), (&0.into(), &"transport_stopped".into()), "{message}");
        assert!(reason["sentence"].as_str().unwrap().contains(CAUSE), "{reason}");
    }
    let asked = provider.asked.load(Ordering::SeqCst);
    assert!(asked < LETTERS, "{asked}: nobody else tries what failed for one");
    let told = world.get("/api/v1/doctor").await.ok();
    let is_told = |check: &&Value| check["name"] == "channel stopped" && check.to_string().contains(CAUSE);
    let check = told["checks"].as_array().unwrap().iter().find(is_told).unwrap_or_else(|| panic!("{told}"));
    assert!(check.to_string().contains("correct the provider's settings"), "{check}");
    let metrics = world.get("/metrics").await.text;
    assert!(metrics.contains("carillon_transport_stopped{channel=\"email\"} 1"), "{metrics}");
    let page = world.page(&format!("/why?message={}", waiting[0]["id"].as_str().unwrap())).await;
    assert!(page.contains(CAUSE), "{page}");

    provider.knows_us.store(true, Ordering::SeqCst);
    world.forward("15m").await;
    let sent = world.listed("status=sent&limit=100").await;
    assert!(sent.len() == LETTERS && sent.iter().all(|message| message["attempts"] == 1), "{sent:?}");
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked + LETTERS, "each once");
    world.close().await;
}
