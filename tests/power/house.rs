//! A house whose disk can lose its power: orders come from several clients at once while its loops run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use carillon::app::{Carillon, Options, WORKSPACE};
use carillon::channel::{Channel, Unusable};
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::eventlog::Receipt;
use carillon::fault::Faults;
use carillon::http;
use carillon::ids::{EventId, MessageId, Span};
use carillon::message::{Outcome, Purpose, RetryPolicy};
use carillon::render::{Rendered, Sender, Workspace};
use carillon::store::Rows;
use carillon::store::soundness::quick_check;
use carillon::worker::apply::apply;
use forgetful_disk::Loss;
use futures::future::{BoxFuture, join_all};
use sea_orm::ConnectionTrait;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::chance::Chance;

const CLIENTS: usize = 4;
const DEFINITIONS: &str = r#"
kind: campaign
key: thanks
name: Thanks
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Order Completed, key: properties.order_id }
send: { channel: email, template: note }
---
kind: campaign
key: offer
name: Offer
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Order Completed, key: properties.order_id }
caps: { obey: false, count: false }
send: { channel: email, template: note }
---
kind: consent_policy
rules: [ { channel: email, unknown: allowed } ]
---
kind: template
key: note
email: { subject: A note, html: "<p>Yours. <a href=\"{{links.unsubscribe}}\">stop</a></p>" }
"#;

/// Whether the log's writer syncs each commit, as it does, or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    EachCommit,
    Sometimes,
}

/// How often each message was handed over, and what for.
pub type Taken = BTreeMap<MessageId, (usize, Purpose)>;

/// A life up to the loss of power.
pub struct Life {
    /// Orders that were answered for.
    pub accepted: Vec<Event>,
    pub taken: Taken,
    pub loss: Loss,
    /// What the disk still has.
    pub left: TempDir,
}

#[derive(Clone, Default)]
struct Carrier(Arc<Mutex<Taken>>);

impl Carrier {
    fn taken(&self) -> Taken {
        self.0.lock().unwrap().clone()
    }
}

impl Channel for Carrier {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        self.0.lock().unwrap().entry(rendered.message()).or_insert((0, rendered.purpose())).0 += 1;
        Box::pin(std::future::ready(Outcome::Accepted { reply: "250 ok".into() }))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        Box::pin(std::future::ready(Ok("takes everything".into())))
    }
}

/// What the clients were answered.
#[derive(Default)]
struct Counter {
    accepted: Mutex<Vec<Event>>,
    answered: Notify,
    is_over: AtomicBool,
}

impl Counter {
    fn accepted(&self) -> MutexGuard<'_, Vec<Event>> {
        self.accepted.lock().unwrap()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// The power goes in the midst of a commit, so many writes from now.
async fn cut(writes: u64, seed: u64, house: &House, counter: &Arc<Counter>, into: &Path) -> (Vec<Event>, Taken, Loss) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let (counter, carrier) = (counter.clone(), house.carrier.clone());
    let (folder, into) = (house.folder.path().to_owned(), into.to_owned());
    let mut chance = Chance::new(seed);
    forgetful_disk::install().after_writes(writes, move |disk| {
        // In this order: whatever was answered or handed over by now must be known afterwards.
        let (accepted, taken) = (counter.accepted().clone(), carrier.taken());
        let loss = disk.copy(&folder, &into, || chance.percent(50)).unwrap();
        let _ = tell.send((accepted, taken, loss));
    });
    told.await.unwrap()
}

pub struct House {
    carillon: Carillon,
    clock: Clock,
    carrier: Carrier,
    folder: TempDir,
}

impl House {
    /// Opens on what is in a folder.
    pub async fn on(folder: TempDir) -> Self {
        forgetful_disk::install();
        let clock = Clock::fixed("2026-03-01T00:00:00Z".parse().unwrap());
        let carrier = Carrier::default();
        let options = Options {
            threads: 1,
            data: folder.path().to_owned(),
            database: Some((&folder.path().join("carillon.db")).into()),
            ingest: http::config::Config::default(),
            smtp: None,
            sender: Sender::new(Some("Shop"), "shop@shop.example", None).unwrap(),
            workspace: Workspace { name: "Shop".into(), postal_address: None, timezone: String::new() },
            currency: carillon::money::Currency::EUR,
            public_url: "https://shop.example".into(),
            tracks: carillon::render::links::Tracks::NONE,
            resolver: None,
            inside: Vec::new(),
            redis: None,
            zone: jiff::tz::TimeZone::UTC,
            settle: Span::from_seconds(2),
            looked_at_per_second: None,
            per_second: BTreeMap::new(),
            retry: RetryPolicy::default(),
            clock: Some(clock.clone()),
            faults: Faults::none(),
            carrier: Some(Arc::new(carrier.clone())),
        };
        let carillon = Carillon::open(options).await.unwrap();
        carillon.take_all().await.unwrap();
        Self { carillon, clock, carrier, folder }
    }

    /// Takes orders until chance ends it.
    pub async fn until_the_power_goes(chance: &mut Chance, synced: Synced) -> Life {
        let house = Self::on(tempfile::tempdir().unwrap()).await;
        let files = vec![SourceFile { name: "shop.yaml".into(), text: DEFINITIONS.into() }];
        let parts = &house.carillon;
        let applied = apply(&parts.log, &parts.store, &parts.definitions, WORKSPACE, files, false).await.unwrap();
        applied.unwrap_or_else(|problems| panic!("{problems:?}"));
        if synced == Synced::Sometimes {
            parts.database.writer.execute_unprepared("PRAGMA synchronous = NORMAL").await.unwrap();
        }
        // What was set up is on the disk; the test is about what comes now.
        parts.database.writer.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        let orders = 60 + usize::try_from(chance.below(240)).unwrap();
        let counter = Arc::new(Counter::default());
        let left = tempfile::tempdir().unwrap();
        let clients = join_all((0..CLIENTS).map(|client| house.order(client, &counter)));
        let working = async {
            while !counter.is_over() {
                parts.workers.settle().await.unwrap();
            }
        };
        // While orders come without end, the loops' own turn would not come to sending.
        let sending = async {
            while !counter.is_over() {
                parts.workers.dispatcher().tick(house.clock.now()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let cutting = async {
            while counter.accepted().len() < orders {
                counter.answered.notified().await;
                house.copy_log(chance).await;
            }
            let writes = 1 + chance.below(60);
            let cut = cut(writes, chance.next(), &house, &counter, left.path()).await;
            counter.is_over.store(true, Ordering::SeqCst);
            cut
        };
        let (_, (), (), (accepted, taken, loss)) = futures::join!(clients, working, sending, cutting);
        house.carillon.database.close().await;
        Life { accepted, taken, loss, left }
    }

    /// Orders come while the disk has room, while it has room for some, and when it has room again: those that were
    /// accepted, and how many were not.
    pub async fn on_a_full_disk(&self, chance: &mut Chance) -> (Vec<Event>, usize) {
        let (disk, mut accepted, mut refused) = (forgetful_disk::install(), Vec::new(), 0);
        for n in 0..60 {
            match n {
                10 => {
                    let (mut writes, share) = (Chance::new(chance.next()), 10 + chance.below(91));
                    disk.fills(Some(Box::new(move || writes.percent(share))));
                }
                40 => disk.fills(None),
                _ => {}
            }
            let events = self.events(&n.to_string());
            match self.carillon.log.append(WORKSPACE, events.clone()).await {
                Ok(_) => accepted.extend(events),
                Err(error) => {
                    assert!((10..40).contains(&n), "there is room: {error}");
                    refused += 1;
                }
            }
        }
        (accepted, refused)
    }

    /// Stops it, and leaves what it stored.
    pub async fn closed(self) -> TempDir {
        self.carillon.close().await;
        self.folder
    }

    /// One client: an order, its answer, the next.
    async fn order(&self, client: usize, counter: &Counter) {
        let mut n = 0;
        while !counter.is_over() {
            let events = self.events(&format!("{client}-{n}"));
            self.carillon.log.append(WORKSPACE, events.clone()).await.unwrap();
            counter.accepted().extend(events);
            counter.answered.notify_one();
            self.clock.advance(Span::from_seconds(1));
            n += 1;
        }
    }

    /// Somebody with an address, and their order.
    fn events(&self, order: &str) -> Vec<Event> {
        let at = self.clock.now();
        let event = |kind: Kind, name: &str, body: String| Event {
            id: EventId::derive(&[name.as_bytes(), order.as_bytes()]),
            kind,
            name: name.into(),
            message_id: format!("{name} {order}"),
            version: 1,
            source: "web".into(),
            correlation_id: String::new(),
            trace: None,
            user_id: Some(format!("u{order}")),
            anonymous_id: None,
            previous_id: None,
            at,
            received_at: at,
            original_at: None,
            sent_at: None,
            origin: Origin::Live,
            body: Body::new(body),
        };
        let traits = format!(r#"{{"traits":{{"email":"a{order}@example.com"}}}}"#);
        let properties = format!(r#"{{"properties":{{"order_id":"{order}"}}}}"#);
        vec![event(Kind::Identify, "Identified", traits), event(Kind::Track, "Order Completed", properties)]
    }

    /// Now and then, the log's way back into the file.
    async fn copy_log(&self, chance: &mut Chance) {
        match chance.below(40) {
            0 => self.run(&self.carillon.database.reader, "PRAGMA wal_checkpoint(PASSIVE)").await,
            1 => self.run(&self.carillon.database.writer, "PRAGMA wal_checkpoint(RESTART)").await,
            _ => {}
        }
    }

    /// A checkpoint that cannot be had at present is no failure.
    async fn run(&self, connection: &sea_orm::DatabaseConnection, sql: &str) {
        let _ = connection.execute_unprepared(sql).await;
    }

    pub fn taken(&self) -> Taken {
        self.carrier.taken()
    }

    /// Orders this house has never heard of, by their ids: sent again, they are new to it.
    pub async fn missing(&self, accepted: &[Event]) -> Vec<String> {
        let mut missing = Vec::new();
        for event in accepted {
            let receipts = self.carillon.log.append(WORKSPACE, vec![event.clone()]).await.unwrap();
            if !matches!(receipts[0], Receipt::Duplicate) {
                missing.push(event.message_id.clone());
            }
        }
        missing
    }

    /// Hours pass: leases run out, tries are made again.
    pub async fn come_to_rest(&self) {
        for _ in 0..12 {
            self.carillon.workers.settle().await.unwrap();
            self.clock.advance(Span::from_hours(1));
        }
    }

    pub async fn check_books(&self) {
        let books = self.carillon.store.workspace(WORKSPACE).accounts().await.unwrap();
        assert_eq!(books.imbalances(), Vec::<String>::new());
        assert_eq!(books.events.unprocessed + books.events.parked, 0);
        assert_eq!(quick_check(self.carillon.store.reader()).await.unwrap(), Vec::<String>::new());
    }

    /// Messages of a campaign.
    pub async fn created(&self, campaign: &str) -> i64 {
        let sql = "SELECT count(*) FROM messages WHERE campaign = ?";
        Rows(self.carillon.store.reader()).scalar(sql, vec![campaign.into()]).await.unwrap().unwrap_or(0)
    }
}
