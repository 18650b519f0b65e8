//! Dead letters by cause, put back by several hands at once.
//!
//! To see it fail, let `status::redrive` take a letter that is in the queue again: then every hand counts it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use carillon::channel::{Channel, Unusable};
use carillon::ids::MessageId;
use carillon::message::Outcome;
use carillon::render::Rendered;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all, ready};
use serde_json::json;

use super::world::World;

const LETTERS: usize = 30;
const HANDS: usize = 4;

/// Refuses everything until it is told to take it; remembers what it took.
#[derive(Default)]
struct Provider {
    takes: AtomicBool,
    taken: Mutex<BTreeMap<MessageId, usize>>,
}

impl Channel for Provider {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        if !self.takes.load(Ordering::SeqCst) {
            let cause = "550 5.7.1 blocked".to_owned();
            return ready(Outcome::Rejected { cause, suppress: false }).boxed();
        }
        *self.taken.lock().unwrap().entry(rendered.message()).or_default() += 1;
        ready(Outcome::Accepted { reply: "250 ok".to_owned() }).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        ready(Ok("a script".to_owned())).boxed()
    }
}

pub const SHOP: &str = "kind: campaign\nkey: receipt\nname: Receipt\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
    purpose: transactional\nentry: { event: Order Completed, key: properties.order_id }\n\
    send: { channel: email, template: receipt }\n---\nkind: template\nkey: receipt\n\
    email: { subject: Thanks, html: '<p>{{event.properties.order_id}}</p>' }\n";

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_redriven_by_several_hands_at_once_go_out_once() {
    let provider = Arc::new(Provider::default());
    let world = World::carried_by(provider.clone()).await;
    let files = json!([{ "name": "shop.yaml", "text": SHOP }]);
    world.post("/api/v1/definitions", json!({ "files": files })).await.ok();
    let key = world.key().await;
    let ann = json!({ "userId": "ann", "messageId": "i1", "traits": { "email": "ann@example.com" } });
    world.send(&key, "identify", ann).await;
    for n in 0..LETTERS {
        let order = json!({ "userId": "ann", "messageId": format!("o{n}"), "event": "Order Completed",
            "properties": { "order_id": format!("o{n}") } });
        world.send(&key, "track", order).await;
    }
    world.forward("1m").await;
    let cause = "status=failed&reason=provider_refused&limit=100";
    assert_eq!(world.listed(cause).await.len(), LETTERS, "a dead letter each, by its cause");

    provider.takes.store(true, Ordering::SeqCst);
    let none = world.post("/api/v1/messages/redrive", json!({ "reason": "retries_exhausted" })).await.ok();
    assert_eq!(none["redriven"], 0, "of another cause");
    let hands = (0..HANDS).map(|_| world.post("/api/v1/messages/redrive", json!({ "reason": "provider_refused" })));
    let redriven = join_all(hands).await.iter().map(|answer| answer.ok()["redriven"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(redriven, u64::try_from(LETTERS).unwrap(), "each by one hand alone");
    world.forward("1h").await;
    assert_eq!(world.listed("status=sent&limit=100").await.len(), LETTERS);
    let taken = provider.taken.lock().unwrap().clone();
    assert!(taken.len() == LETTERS && taken.values().all(|count| *count == 1), "{taken:?}");
    world.close().await;
}
