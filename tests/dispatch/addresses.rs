//! Two processes over one PostgreSQL, each in the middle of a transaction about one address: whose people are of
//! different shards, so that no lock of a shard tells them apart.

use std::pin::pin;
use std::time::Duration;

use carillon::ids::{ProfileId, Span, Timestamp};
use carillon::message::{Message, Outcome};
use carillon::store::Rows;
use carillon::store::shards::{Shard, ShardSet};
use futures::channel::oneshot;
use futures::future::{Either, select};
use sea_orm::{ConnectionTrait, DatabaseConnection};

#[allow(dead_code, reason = "some of it serves one process")]
mod world;

use world::{World, campaign, is_sent, reason_of};

pub const BACKEND: crate::database::Backend = crate::database::Backend::Postgres;
pub const SLOTS: crate::slots::Slots = crate::slots::Slots::Process;

const DENIED: &str = r#""properties":{"channel":"email","state":"denied","source":"account page"}"#;
/// The two campaigns compete: each message waits two seconds for a rival.
const SETTLED: Span = Span::from_seconds(3);
const WITHIN: Duration = Duration::from_secs(30);
/// The lock that the test holds.
const HELD: i64 = 4_711;

/// Two people with one mailbox, in different shards.
struct Shared {
    world: World,
    other: String,
    shards: [ShardSet; 2],
    profiles: [ProfileId; 2],
}

impl Shared {
    async fn new() -> Self {
        let campaigns = [campaign("cart", "Product Added", ""), campaign("view", "Product Viewed", "")];
        let world = World::with(&campaigns).await;
        world.identify("ann", "ann@example.com").await;
        let ann = world.profile("ann").await;
        let shard_of = |profile: ProfileId| -> Shard { world.store.layout().shard_of(profile) };
        for n in 0.. {
            let other = format!("bob{n}");
            world.identify(&other, "ANN@Example.com").await;
            let bob = world.profile(&other).await;
            if shard_of(bob) != shard_of(ann) {
                let shards = [ann, bob].map(|profile| [shard_of(profile)].into_iter().collect());
                return Self { world, other, shards, profiles: [ann, bob] };
            }
        }
        unreachable!("there are 16 shards")
    }

    async fn bobs_message(&self) -> Message {
        let messages = self.world.messages().await;
        messages.into_iter().find(|message| message.profile == self.profiles[1]).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}

/// Holds messages up on their way into a state, in the middle of the transaction that takes them there.
struct Hand(DatabaseConnection);

impl Hand {
    async fn hold(world: &World, status: &str, condition: &str) -> Self {
        let hand = Self(world.connection().await);
        hand.run(&format!("SELECT pg_advisory_lock({HELD})")).await;
        hand.run(&format!(
            "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN NEW; END $$"
        ))
        .await;
        hand.run(&format!(
            "CREATE TRIGGER held BEFORE UPDATE ON messages FOR EACH ROW
             WHEN (NEW.status = '{status}' AND {condition}) EXECUTE FUNCTION held()"
        ))
        .await;
        hand
    }

    async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap();
    }

    /// Until so many transactions wait for a lock, this one's or one of the program's.
    async fn until_waiting(&self, count: i64) {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let waiting = async {
            while Rows(&self.0).scalar::<i64>(sql, vec![]).await.unwrap() != Some(count) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WITHIN, waiting).await.expect("nobody waits");
    }

    async fn let_go(&self) {
        self.run(&format!("SELECT pg_advisory_unlock({HELD})")).await;
    }
}

/// While bob's message is on its way into `status`, and the books were looked at for it, his address is stopped.
async fn stopped_meanwhile(shared: &Shared, status: &str, stopping: impl Future<Output = ()>) {
    let hand = Hand::hold(&shared.world, status, &format!("NEW.profile = {}", shared.profiles[1].0)).await;
    let meanwhile = async {
        hand.until_waiting(1).await;
        match select(pin!(stopping), pin!(hand.until_waiting(2))).await {
            Either::Left(_) => panic!("the address was stopped while a message to it became {status}"),
            Either::Right(((), stopping)) => {
                hand.let_go().await;
                stopping.await;
            }
        }
    };
    let (sent, ()) = futures::join!(shared.world.dispatcher.tick(shared.now()), meanwhile);
    sent.unwrap();
}

/// What was claimed a moment before is not begun; what was begun a moment before is sent.
async fn check_what_came_of_it(shared: &Shared, status: &str) {
    while shared.world.dispatcher.tick(shared.now()).await.unwrap() > 0 {}
    let message = shared.bobs_message().await;
    let path = shared.world.path(message.id).await;
    let handed: Vec<_> = shared.world.carrier.handed().into_iter().filter(|(id, _)| *id == message.id).collect();
    match status {
        "claimed" => {
            assert_eq!((path.as_slice(), handed.len()), (&["queued", "claimed", "queued", "suppressed"][..], 0))
        }
        _ => assert_eq!((path.as_slice(), handed.len()), (&["queued", "claimed", "sending", "sent"][..], 1)),
    }
}

#[tokio::test]
async fn the_no_of_another_shard_comes_before_a_claim_and_a_first_byte_or_after_them() {
    for status in ["claimed", "sending"] {
        let mut shared = Shared::new().await;
        shared.world.track(&shared.other, "Product Added", "c1").await;
        shared.world.process().await;
        shared.world.clock.advance(SETTLED);
        shared.world.tell("ann", "Consent Changed", DENIED).await;
        let mut second = shared.world.beside(ShardSet::NONE).await;
        stopped_meanwhile(&shared, status, second.process()).await;
        check_what_came_of_it(&shared, status).await;
    }
}

#[tokio::test]
async fn the_bounce_of_another_shard_comes_before_a_claim_and_a_first_byte_or_after_them() {
    for status in ["claimed", "sending"] {
        let mut shared = Shared::new().await;
        shared.world.track("ann", "Product Viewed", "v1").await;
        shared.world.track(&shared.other, "Product Added", "c1").await;
        shared.world.process().await;
        shared.world.clock.advance(SETTLED);
        let second = shared.world.beside(shared.shards[0]).await;
        shared.world = shared.world.keeping_to(shared.shards[1]);
        // Ann's is with the provider, who will say that there is no such mailbox.
        let (begun, has_begun) = oneshot::channel();
        let (go, may_go) = oneshot::channel::<()>();
        second.carrier.meanwhile(async move {
            begun.send(()).unwrap();
            may_go.await.unwrap();
        });
        second.carrier.will([Outcome::Rejected { cause: "550 5.1.1 no such user".into(), suppress: true }]);
        let now = shared.now();
        let bouncing = tokio::spawn(async move { second.dispatcher.tick(now).await.unwrap() });
        has_begun.await.unwrap();
        let stopping = async {
            go.send(()).unwrap();
            bouncing.await.unwrap();
        };
        stopped_meanwhile(&shared, status, stopping).await;
        check_what_came_of_it(&shared, status).await;
    }
}

/// The commit of the mark fails, as where the database goes away.
#[tokio::test]
async fn what_could_not_be_begun_is_in_the_queue_again_as_soon_as_the_database_is_back() {
    let mut shared = Shared::new().await;
    shared.world.track("ann", "Product Added", "c1").await;
    shared.world.process().await;
    shared.world.clock.advance(SETTLED);
    let hand = Hand(shared.world.connection().await);
    hand.run("CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'away'; END $$").await;
    hand.run("CREATE TRIGGER away BEFORE UPDATE ON messages FOR EACH ROW WHEN (NEW.status = 'sending') EXECUTE FUNCTION away()")
        .await;
    shared.world.dispatcher.tick(shared.now()).await.expect_err("the commit fails");
    hand.run("DROP TRIGGER away ON messages").await;
    shared.world.settle().await;
    let message = shared.world.only().await;
    let path = shared.world.path(message.id).await;
    assert_eq!(path, ["queued", "claimed", "queued", "claimed", "sending", "sent"]);
    assert_eq!(shared.world.carrier.handed().len(), 1);
}

#[tokio::test]
async fn the_same_to_one_address_goes_once_also_from_two_processes() {
    let mut shared = Shared::new().await;
    shared.world.track("ann", "Product Added", "c1").await;
    shared.world.track(&shared.other, "Product Added", "c1").await;
    shared.world.process().await;
    shared.world.clock.advance(SETTLED);
    let mut second = shared.world.beside(shared.shards[1]).await;
    shared.world = shared.world.keeping_to(shared.shards[0]);
    let hand = Hand::hold(&shared.world, "claimed", "true").await;
    let letting = async {
        hand.until_waiting(2).await;
        hand.let_go().await;
    };
    let now = shared.now();
    let (one, two, ()) = futures::join!(shared.world.dispatcher.tick(now), second.dispatcher.tick(now), letting);
    one.unwrap();
    two.unwrap();
    shared.world.settle().await;
    second.settle().await;
    assert_eq!(shared.world.carrier.handed().len() + second.carrier.handed().len(), 1);
    let messages = shared.world.messages().await;
    let (sent, not): (Vec<_>, Vec<_>) = messages.iter().partition(|message| is_sent(&message.status));
    assert_eq!((sent.len(), not.len(), reason_of(not[0])), (1, 1, "same_address"));
}
