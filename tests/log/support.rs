//! A house with a database, a log and a processor on a hand-set clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carillon::clock::Clock;
use carillon::decision::Enrollment;
use carillon::definition::SourceFile;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::eventlog::{EventLog, Queue, Receipt};
use carillon::fault::Faults;
use carillon::ids::{EventId, Position, ProfileId, Span, Timestamp, WorkspaceId};
use carillon::message::Address;
use carillon::store::entries::{Entry, Logged};
use carillon::store::{Database, Store, Workspace};
use carillon::worker::apply::apply;
use carillon::worker::leases::Leases;
use carillon::worker::live::Definitions;
use carillon::worker::processors::Processors;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use secrecy::ExposeSecret;

use super::BACKEND;
use crate::database::{Backend, Place};

pub const WORKSPACE: WorkspaceId = WorkspaceId(1);

pub struct House {
    place: Arc<Place>,
    pub database: Database,
    pub log: EventLog,
    pub store: Store,
    pub clock: Clock,
    pub definitions: Arc<Definitions>,
}

impl House {
    pub async fn new() -> Self {
        Self::open(Arc::new(Place::new(BACKEND).await), Clock::fixed("2026-03-01T10:00:00Z".parse().unwrap())).await
    }

    async fn open(place: Arc<Place>, clock: Clock) -> Self {
        let database = carillon::store::open(place.address()).await.unwrap();
        let log = EventLog::start(&database, clock.clone()).await.unwrap();
        let store = Store::new(database.reader.clone());
        let definitions = Arc::new(Definitions::load(store.clone()).await.unwrap());
        Self { place, database, log, store, clock, definitions }
    }

    pub async fn restart(self) -> Self {
        self.log.stop().await;
        self.database.reader.close().await.unwrap();
        self.database.writer.close().await.unwrap();
        Self::open(self.place, self.clock).await
    }

    /// Another process on the same database, by the same clock.
    #[allow(dead_code, reason = "SQLite has one")]
    pub async fn joined(&self) -> Self {
        Self::open(self.place.clone(), self.clock.clone()).await
    }

    /// Whether the address stands on the suppression list.
    #[allow(dead_code, reason = "for whoever compares with it")]
    pub async fn is_listed(&self, address: &Address) -> bool {
        let subjects = BTreeSet::from([address.subject()]);
        !self.workspace().suppressions_of(&subjects).await.unwrap().is_empty()
    }

    pub async fn append(&self, events: Vec<Event>) -> Vec<Receipt> {
        self.log.append(WORKSPACE, events).await.unwrap()
    }

    /// Forgets event ids that are out of date; returns how many.
    pub async fn forget_ids(&self) -> u64 {
        let now = self.clock.now();
        let forget = self.log.writer().change(Queue::Effects, move |tx, appender| {
            Box::pin(async move {
                appender.store_ids(tx).await?;
                Ok(carillon::store::event_ids::forget_old(tx, now, 100).await?)
            })
        });
        forget.await.unwrap()
    }

    /// Appends one by one and returns whose each was.
    pub async fn profiles(&self, events: Vec<Event>) -> Vec<ProfileId> {
        let mut profiles = Vec::new();
        for event in events {
            let receipts = self.append(vec![event]).await;
            let Receipt::Stored { profile: Some(profile), .. } = receipts[0] else { panic!("not stored") };
            profiles.push(profile);
        }
        profiles
    }

    /// A connection of somebody else's to the same PostgreSQL.
    #[allow(dead_code, reason = "SQLite has one writer")]
    pub async fn beside(&self) -> DatabaseConnection {
        let carillon::store::Address::Postgres(url) = self.place.address() else { panic!("not on PostgreSQL") };
        let mut options = sea_orm::ConnectOptions::new(url.expose_secret());
        options.max_connections(1).sqlx_logging(false);
        sea_orm::Database::connect(options).await.unwrap()
    }

    pub async fn fail_a_change(&self) {
        let failed: anyhow::Result<()> =
            self.log.writer().change(Queue::Effects, |_, _| Box::pin(async { anyhow::bail!("no") })).await;
        assert!(failed.is_err());
    }

    pub async fn apply(&self, text: &str) {
        let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
        let applied = apply(&self.log, &self.store, &self.definitions, WORKSPACE, files, false).await.unwrap();
        applied.unwrap_or_else(|problems| panic!("{problems:?}"));
    }

    /// Damages what is stored, behind everybody's back.
    pub async fn damage(&self, sql: &str) {
        let sql = match BACKEND {
            Backend::Sqlite => sql.to_owned(),
            Backend::Postgres => sql.replace("x'", "'\\x"),
        };
        self.database.writer.execute_unprepared(&sql).await.unwrap();
    }

    pub async fn enrollments(&self, user: &str) -> Vec<Enrollment> {
        let id = self.workspace().profile_by_id(user).await.unwrap().unwrap();
        self.workspace().enrollments_of(id, None, 100).await.unwrap()
    }

    /// Where the event of this id stands.
    pub async fn at(&self, message_id: &str) -> Position {
        let id = EventId::derive(&[b"test", message_id.as_bytes()]);
        let found = self.workspace().entry_of_event(id).await.unwrap();
        found.unwrap_or_else(|| panic!("{message_id} is not in the log")).position
    }

    /// Entries whose effects are stored: all that are not waiting.
    pub async fn processed(&self) -> i64 {
        let cursors = carillon::store::shards::cursors(self.store.reader()).await.unwrap();
        let layout = self.store.layout();
        layout.all().iter().map(|shard| layout.between(shard.start(), cursors.of(shard))).sum()
    }

    pub fn workspace(&self) -> Workspace<'_, DatabaseConnection> {
        self.store.workspace(WORKSPACE)
    }

    /// Faults that fail nothing: between a processor's look and its commit another process changes the database so, once.
    /// The test needs a second thread.
    pub fn changed_meanwhile(&self, sql: String) -> Faults {
        let (writer, handle) = (self.database.writer.clone(), tokio::runtime::Handle::current());
        let is_first = AtomicBool::new(true);
        Faults::new(move |point| {
            if point == "processor.decided" && is_first.swap(false, Ordering::SeqCst) {
                let (writer, sql, (done, is_done)) = (writer.clone(), sql.clone(), std::sync::mpsc::channel());
                handle.spawn(async move {
                    writer.execute_unprepared(&sql).await.unwrap();
                    done.send(()).unwrap();
                });
                is_done.recv().unwrap();
            }
            false
        })
    }

    pub async fn processor(&self, faults: Faults) -> Processors {
        let (log, store, definitions) = (self.log.clone(), self.store.clone(), self.definitions.clone());
        {
            let leases = Leases::alone(store.layout());
            Processors::new(log, store, definitions, faults, Span::from_seconds(2), leases)
        }
    }

    /// Processes until nothing is left.
    pub async fn process(&self) {
        let mut processor = self.processor(Faults::none()).await;
        while processor.tick().await.unwrap() > 0 {}
    }

    /// The pass over everybody and the log, until both are through; the answer is how many had their turn.
    pub async fn look_at_everybody(&self) -> usize {
        let mut processor = self.processor(Faults::none()).await;
        let mut backfill = processor.backfill();
        let mut people = 0;
        loop {
            let mut worked = processor.tick().await.unwrap();
            let slice = backfill.tick().await.unwrap();
            people += slice;
            worked += slice;
            if worked == 0 && !backfill.is_under_way() {
                return people;
            }
        }
    }
}

pub fn event(message_id: &str, user: &str, name: &str) -> Event {
    build(message_id, Kind::Track, name, Some(user), None, "{}")
}

pub fn anonymous(message_id: &str, anonymous_id: &str, name: &str) -> Event {
    build(message_id, Kind::Track, name, None, Some(anonymous_id), "{}")
}

pub fn identify(message_id: &str, user: Option<&str>, anonymous_id: Option<&str>) -> Event {
    build(message_id, Kind::Identify, "Identified", user, anonymous_id, r#"{"traits":{"email":"ann@example.com"}}"#)
}

pub fn build(
    message_id: &str,
    kind: Kind,
    name: &str,
    user: Option<&str>,
    anonymous: Option<&str>,
    body: &str,
) -> Event {
    let at: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
    Event {
        id: EventId::derive(&[b"test", message_id.as_bytes()]),
        kind,
        name: name.to_owned(),
        message_id: message_id.to_owned(),
        version: 1,
        source: "web".to_owned(),
        correlation_id: format!("c-{message_id}"),
        trace: None,
        user_id: user.map(ToOwned::to_owned),
        anonymous_id: anonymous.map(ToOwned::to_owned),
        previous_id: None,
        at,
        received_at: at,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body),
    }
}

pub fn name_of(entry: &Entry) -> String {
    match &entry.logged {
        Logged::Event(event) => event.name.clone(),
        other => other.kind().to_owned(),
    }
}

/// The how-manieth of its shard an entry is: 1, 2, 3.
pub fn sequence(position: Position) -> i64 {
    match BACKEND {
        Backend::Sqlite => position.0,
        Backend::Postgres => position.0 / 16,
    }
}

/// What the receipt says: the how-manieth of its shard the event is, none for a repeat.
pub fn position(receipt: &Receipt) -> Option<i64> {
    match receipt {
        Receipt::Stored { position, .. } => Some(sequence(*position)),
        Receipt::Duplicate => None,
    }
}
