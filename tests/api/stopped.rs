//! A provider that does not take our login: everything waits and says so, no try is spent, a person is told what to do,
//! and when the credentials are right what waited goes. By a script that counts what it was asked, and by a real mail
//! server, at which the password is put right, or whose right password we are given with a new start.
//!
//! To see it fail, let `Outcome::TransportDown` spend an attempt, or the gate stay open.

use std::collections::BTreeSet;
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
use crate::smtp::Real;

const LETTERS: usize = 12;
const CAUSE: &str = "535 5.7.8";

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
            false => Outcome::TransportDown { cause: format!("{CAUSE} wrong login") },
        };
        ready(outcome).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        let known = self.knows_us.load(Ordering::SeqCst);
        ready(if known { Ok("a script".to_owned()) } else { Err(Unusable(format!("{CAUSE} wrong login"))) }).boxed()
    }
}

/// As many people have ordered, each at a domain of their own.
async fn ordered(world: &World) {
    let files = json!([{ "name": "shop.yaml", "text": SHOP }]);
    world.post("/api/v1/definitions", json!({ "files": files })).await.ok();
    let key = world.key().await;
    for n in 0..LETTERS {
        let traits = json!({ "email": format!("p{n}@d{n}.example") });
        let person = json!({ "userId": format!("p{n}"), "messageId": format!("i{n}"), "traits": traits });
        world.send(&key, "identify", person).await;
        let order = json!({ "userId": format!("p{n}"), "messageId": format!("o{n}"), "event": "Order Completed",
            "properties": { "order_id": format!("o{n}") } });
        world.send(&key, "track", order).await;
    }
    world.forward("5s").await;
}

/// Everything waits, and whoever looks is told why and what to do.
async fn waits_and_says_so(world: &World) {
    let waiting = world.listed("limit=100").await;
    assert_eq!(waiting.len(), LETTERS);
    for message in &waiting {
        let reason = &message["reason"];
        assert_eq!((&message["attempts"], &reason["code"]), (&0.into(), &"transport_stopped".into()), "{message}");
        assert!(reason["sentence"].as_str().unwrap().contains(CAUSE), "{reason}");
    }
    let told = world.get("/api/v1/doctor").await.ok();
    for name in ["channel stopped", "channel"] {
        let is_told = |check: &&Value| check["name"] == name && check.to_string().contains(CAUSE);
        let check = told["checks"].as_array().unwrap().iter().find(is_told).unwrap_or_else(|| panic!("{told}"));
        assert!(check.to_string().contains("correct the provider's settings"), "{check}");
    }
    let metrics = world.get("/metrics").await.text;
    assert!(metrics.contains("carillon_transport_stopped{channel=\"email\"} 1"), "{metrics}");
    let page = world.page(&format!("/why?message={}", waiting[0]["id"].as_str().unwrap())).await;
    assert!(page.contains(CAUSE) && page.contains("Mail transport stopped"), "{page}");
}

/// Everything has gone, each with its first try.
async fn has_gone(world: &World) {
    let sent = world.listed("status=sent&limit=100").await;
    assert!(sent.len() == LETTERS && sent.iter().all(|message| message["attempts"] == 1), "{sent:?}");
    let told = world.get("/api/v1/doctor").await.ok();
    assert!(!told.to_string().contains(CAUSE), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_keeps_everything_says_why_and_goes_on_when_it_is_right() {
    let provider = Arc::new(Provider::default());
    let world = World::carried_by(provider.clone()).await;
    ordered(&world).await;
    waits_and_says_so(&world).await;
    let asked = provider.asked.load(Ordering::SeqCst);
    assert!(asked < LETTERS, "{asked}: nobody else tries what failed for one");

    provider.knows_us.store(true, Ordering::SeqCst);
    world.forward("15m").await;
    has_gone(&world).await;
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked + LETTERS, "each once");
    world.close().await;
}

/// Who has a mail, each of one.
fn recipients(server: &Real) -> BTreeSet<String> {
    let mails: Vec<String> = (1..).map_while(|n| server.message(n)).collect();
    let to = mails.iter().map(|mail| mail.lines().nth(1).unwrap().to_owned());
    let all: BTreeSet<String> = to.collect();
    assert_eq!(all.len(), mails.len(), "somebody has two");
    all
}

fn everybody() -> BTreeSet<String> {
    (0..LETTERS).map(|n| format!("p{n}@d{n}.example")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_server_refused_to_hear_goes_when_it_knows_the_password_and_nobody_starts_anything() {
    let server = Real::start("tls");
    server.takes("another one");
    let world = World::carried_by(Arc::new(server.channel("smtps://shop:the-new-one@localhost:PORT"))).await;
    ordered(&world).await;
    waits_and_says_so(&world).await;
    // Hours later it is still wrong, and costs nobody a try.
    world.forward("2h").await;
    waits_and_says_so(&world).await;
    assert!(recipients(&server).is_empty());

    server.takes("the-new-one");
    world.forward("15m").await;
    has_gone(&world).await;
    assert_eq!(recipients(&server), everybody());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_server_refused_to_hear_goes_when_we_are_started_with_the_right_password() {
    let server = Real::start("tls");
    server.takes("the-right-one");
    let world = World::carried_by(Arc::new(server.channel("smtps://shop:a-wrong-one@localhost:PORT"))).await;
    ordered(&world).await;
    waits_and_says_so(&world).await;
    let world = world.again(Arc::new(server.channel("smtps://shop:the-right-one@localhost:PORT"))).await;
    world.forward("1m").await;
    has_gone(&world).await;
    assert_eq!(recipients(&server), everybody());
    world.close().await;
}
