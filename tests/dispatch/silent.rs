//! A cap store that takes calls and says nothing: whatever obeys no cap is sent as if it were not there, in the same
//! batch and in those that come meanwhile.
//!
//! To see it fail, let `Dispatcher::inquire` wait for the answer, or tell the store of a slot given up where it is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carillon::caps::{Ask, CapStore, Embedded, History, Released, Reserved, Unreachable};
use carillon::guard::{CapVersion, Subject};
use carillon::ids::{MessageId, Span};
use carillon::message::Outcome;
use carillon::worker::dispatcher::CapStores;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::world::{World, campaign, is_sent};

/// Answers whatever it was asked when it speaks again.
struct Silent {
    inner: Embedded,
    speaks: watch::Sender<bool>,
    asked: AtomicUsize,
}

impl Silent {
    fn speaks(&self, speaks: bool) {
        self.speaks.send_replace(speaks);
    }

    async fn call<T>(&self, answer: BoxFuture<'_, Result<T, Unreachable>>) -> Result<T, Unreachable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.speaks.subscribe().wait_for(|speaks| *speaks).await.unwrap();
        answer.await
    }
}

impl CapStore for Silent {
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>> {
        self.call(self.inner.reserve(ask)).boxed()
    }

    fn reseed<'a>(&'a self, subject: &'a Subject, history: History) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.call(self.inner.reseed(subject, history)).boxed()
    }

    fn withdraw<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        reserved: CapVersion,
        before: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.call(self.inner.withdraw(subject, message, reserved, before)).boxed()
    }

    fn release<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        expected: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>> {
        self.call(self.inner.release(subject, message, expected)).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>> {
        self.inner.check()
    }
}

async fn shop() -> (World, Arc<Silent>) {
    let mut world = World::with(&[
        campaign("cart", "Product Added", ""),
        campaign("receipt", "Order Placed", "purpose: transactional"),
        campaign("news", "Product Viewed", "caps: { obey: false, count: false }"),
        campaign("note", "Signed Up", "caps: { obey: false, count: true }"),
        "kind: caps\nrules: [ { at_most: 3, per: 20h } ]\n".to_owned(),
    ])
    .await;
    let (inner, asked) = (Embedded::default(), AtomicUsize::new(0));
    let silent = Arc::new(Silent { inner, speaks: watch::Sender::new(true), asked });
    let kept: Arc<dyn CapStore> = silent.clone();
    world.caps = CapStores::new(move |_| kept.clone());
    // With these slots.
    world.fail_at("nowhere");
    world.identify("ann", "ann@example.com").await;
    (world, silent)
}

/// Does all that can be done now; whoever waits for the store is found out.
async fn dispatch(world: &mut World) {
    world.process().await;
    let all = async { while world.dispatcher.advance(world.clock.now()).await.unwrap() > 0 {} };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("something waits for the cap store");
}

async fn sent(world: &World) -> [usize; 4] {
    let all = world.messages().await;
    ["cart", "receipt", "news", "note"]
        .map(|key| all.iter().filter(|one| one.campaign == key && is_sent(&one.status)).count())
}

#[tokio::test]
async fn while_the_cap_store_says_nothing_whatever_obeys_no_cap_goes_and_the_rest_when_it_speaks() {
    let (mut world, silent) = shop().await;
    silent.speaks(false);
    for name in ["Product Added", "Order Placed", "Product Viewed", "Signed Up"] {
        world.track("ann", name, "c1").await;
    }
    world.process().await;
    // The settle window passes: all are due in one batch.
    world.clock.advance(Span::from_seconds(3));
    dispatch(&mut world).await;
    assert_eq!(sent(&world).await, [0, 1, 1, 1]);
    // The question begins when it is waited for, which takes nothing from anybody.
    assert!(world.dispatcher.answered().now_or_never().is_none());
    for n in 2..40 {
        for name in ["Order Placed", "Product Viewed", "Signed Up"] {
            world.track("ann", name, &format!("c{n}")).await;
        }
        world.process().await;
        world.clock.advance(Span::from_seconds(3));
        dispatch(&mut world).await;
        assert_eq!(sent(&world).await, [0, n, n, n]);
        assert!(world.dispatcher.answered().now_or_never().is_none());
    }
    assert_eq!(silent.asked.load(Ordering::SeqCst), 1, "one question, and nobody asks again while it is open");

    silent.speaks(true);
    world.settle().await;
    let cart = world.messages().await.into_iter().find(|one| one.campaign == "cart").unwrap();
    assert_eq!(super::world::reason_of(&cart), "capped", "what counts without obeying was counted");
    world.identify("bob", "bob@example.com").await;
    world.track("bob", "Product Added", "c1").await;
    world.after(3).await;
    assert_eq!(sent(&world).await, [1, 39, 39, 39]);
}

#[tokio::test]
async fn a_slot_given_up_while_the_cap_store_says_nothing_delays_nobody_and_is_free() {
    let (mut world, silent) = shop().await;
    world.carrier.will([
        Outcome::Retry { cause: "451 later".into(), after: None, slow_domain: false, about_recipient: false },
        Outcome::Rejected { cause: "550 5.7.1 policy".into(), suppress: false },
    ]);
    world.track("ann", "Product Added", "c1").await;
    world.after(3).await;
    assert_eq!(world.statuses().await, ["retrying"]);
    // It asks again whether its slot is its own, and hears of it; then the store falls silent.
    let quiet = silent.clone();
    world.carrier.meanwhile(async move { quiet.speaks(false) });
    let failing = tokio::time::timeout(Duration::from_secs(30), world.after(120));
    failing.await.expect("the end of a message waits for the cap store");
    assert_eq!(world.statuses().await, ["failed"]);
    world.track("ann", "Order Placed", "o1").await;
    dispatch(&mut world).await;
    assert_eq!(sent(&world).await, [0, 1, 0, 0]);
    silent.speaks(true);
    for cart in ["c2", "c3", "c4"] {
        world.track("ann", "Product Added", cart).await;
        world.after(3).await;
    }
    assert_eq!(sent(&world).await, [3, 1, 0, 0], "the failed one holds no slot");
}
