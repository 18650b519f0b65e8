//! A shop on a clock that moves when told: opened in any folder, over any database.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use carillon::app::{Carillon, Options, WORKSPACE};
use carillon::channel::{Channel, Unusable};
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::fault::Faults;
use carillon::http;
use carillon::ids::{EventId, Span, Timestamp};
use carillon::message::{Message, Outcome, Purpose, RetryPolicy};
use carillon::render::{Rendered, Sender, Workspace};
use carillon::store::{self, Address, Rows};
use carillon::worker::apply::apply;
use futures::FutureExt;
use futures::future::BoxFuture;

pub const START: i64 = 1_772_000_000_000;

const DEFINITIONS: &str = "kind: template
key: hello
email: { subject: 'Hi {{profile.traits.name}}', html: '<p>{{event.properties.cart_id}}</p>' }
---
kind: consent_policy
rules: [ { channel: email, unknown: allowed } ]
---
kind: caps
rules: [ { at_most: 3, per: 1d } ]
---
kind: campaign
key: cart
name: cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 4h
exit: [ { event: Order Completed } ]
send: { channel: email, template: hello }
---
kind: campaign
key: receipt
name: receipt
owner: crm@shop.example
type: trigger
status: live
purpose: transactional
entry: { event: Order Placed, key: properties.cart_id }
send: { channel: email, template: hello }
";

/// Takes everything, and remembers for what purpose; or refuses everything, or is away.
#[derive(Clone, Default)]
pub struct Carrier(Arc<Mutex<Vec<Purpose>>>, Arc<AtomicBool>, Arc<AtomicBool>);

impl Carrier {
    pub fn refuses(&self, everything: bool) {
        self.1.store(everything, Ordering::SeqCst);
    }

    pub fn is_away(&self, away: bool) {
        self.2.store(away, Ordering::SeqCst);
    }

    /// How much marketing, and how much else, was handed over.
    pub fn taken(&self) -> (usize, usize) {
        let taken = self.0.lock().unwrap();
        let marketing = taken.iter().filter(|purpose| **purpose == Purpose::Marketing).count();
        (marketing, taken.len() - marketing)
    }
}

impl Channel for Carrier {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        if self.2.load(Ordering::SeqCst) {
            return futures::future::ready(Outcome::TransportDown { cause: "nobody answers".to_owned() }).boxed();
        }
        if self.1.load(Ordering::SeqCst) {
            let no = Outcome::Rejected { cause: "554 no".to_owned(), suppress: false };
            return futures::future::ready(no).boxed();
        }
        self.0.lock().unwrap().push(rendered.purpose());
        futures::future::ready(Outcome::Accepted { reply: "250 ok".to_owned() }).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        futures::future::ready(Ok("a carrier".to_owned())).boxed()
    }
}

pub struct Shop {
    pub house: Carillon,
    pub clock: Clock,
    pub carrier: Carrier,
}

impl Shop {
    /// Starts the service there at this instant.
    pub async fn open(folder: &Path, address: Address, now: i64, redis: Option<&str>) -> Self {
        let carrier = Carrier::default();
        Self::with(folder, address, now, redis, Some(carrier)).await
    }

    /// The same; without a carrier, into the sandbox.
    pub async fn with(
        folder: &Path,
        address: Address,
        now: i64,
        redis: Option<&str>,
        carrier: Option<Carrier>,
    ) -> Self {
        let (house, clock) = Self::opened(folder, address, now, redis, carrier.clone()).await;
        house.take_all().await.unwrap();
        Self { house, clock, carrier: carrier.unwrap_or_default() }
    }

    /// As a command opens it, which works on nothing.
    pub async fn opened(
        folder: &Path,
        address: Address,
        now: i64,
        redis: Option<&str>,
        carrier: Option<Carrier>,
    ) -> (Carillon, Clock) {
        let clock = Clock::fixed(Timestamp::from_millis(now));
        let options = Options {
            threads: 1,
            data: folder.to_owned(),
            database: Some(address),
            ingest: http::config::Config::default(),
            smtp: None,
            sender: Sender::new(Some("Shop"), "shop@shop.example", None).unwrap(),
            workspace: Workspace { name: "Shop".into(), postal_address: None, timezone: String::new() },
            currency: carillon::money::Currency::EUR,
            public_url: "https://shop.example".into(),
            tracks: carillon::render::links::Tracks::NONE,
            resolver: None,
            inside: Vec::new(),
            redis: redis.map(|url| url.to_owned().into()),
            zone: jiff::tz::TimeZone::UTC,
            settle: Span::from_seconds(2),
            looked_at_per_second: None,
            per_second: std::collections::BTreeMap::new(),
            retry: RetryPolicy::default(),
            clock: Some(clock.clone()),
            faults: Faults::none(),
            carrier: carrier.map(|carrier| Arc::new(carrier) as Arc<dyn Channel>),
        };
        let house = Carillon::open(options).await.unwrap();
        if house.database.is_postgres() {
            // The process before was last seen long ago. That nobody waits for it is all that is not as in life.
            let rows = Rows(&house.database.writer);
            rows.run("UPDATE leases SET expires_at = 1", vec![]).await.unwrap();
            rows.run("UPDATE nodes SET seen_at = 1", vec![]).await.unwrap();
        }
        (house, clock)
    }

    pub async fn furnish(&self) {
        self.apply(DEFINITIONS).await;
    }

    /// What the person who applies it is warned of.
    pub async fn apply(&self, text: &str) -> Vec<String> {
        let files = vec![SourceFile { name: "shop.yaml".into(), text: text.into() }];
        let house = &self.house;
        let applied = apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, false).await.unwrap();
        applied.unwrap_or_else(|problems| panic!("{problems:?}")).warnings
    }

    /// An event of this person, now.
    pub async fn hear(&self, user: &str, kind: Kind, name: &str, body: &str) {
        self.hear_of(Some(user), None, kind, name, body).await;
    }

    /// Alias: `from` is called `to` from now on.
    pub async fn renamed(&self, from: &str, to: &str, body: &str) {
        let event =
            Event { previous_id: Some(from.to_owned()), ..self.event(Some(to), None, Kind::Alias, "alias", body) };
        self.house.log.append(WORKSPACE, vec![event]).await.unwrap();
    }

    async fn hear_of(&self, user: Option<&str>, device: Option<&str>, kind: Kind, name: &str, body: &str) {
        let event = self.event(user, device, kind, name, body);
        self.house.log.append(WORKSPACE, vec![event]).await.unwrap();
    }

    /// An event of the past that a file told.
    pub async fn import(&self, user: &str, name: &str, body: &str, origin: Origin) {
        let event = Event { origin, ..self.event(Some(user), None, Kind::Track, name, body) };
        self.house.log.append(WORKSPACE, vec![event]).await.unwrap();
    }

    fn event(&self, user: Option<&str>, device: Option<&str>, kind: Kind, name: &str, body: &str) -> Event {
        let now = self.clock.now();
        let id = format!("{user:?}/{device:?}/{name}/{body}/{}", now.millis());
        Event {
            id: EventId::derive(&[id.as_bytes()]),
            kind,
            name: name.to_owned(),
            message_id: id.clone(),
            version: 1,
            source: "shop".into(),
            correlation_id: id,
            trace: None,
            user_id: user.map(ToOwned::to_owned),
            anonymous_id: device.map(ToOwned::to_owned),
            previous_id: None,
            at: now,
            received_at: now,
            original_at: None,
            sent_at: None,
            origin: Origin::Live,
            body: Body::new(body.to_owned()),
        }
    }

    pub async fn on_device(&self, device: &str, name: &str, body: &str) {
        self.hear_of(None, Some(device), Kind::Track, name, body).await;
    }

    pub async fn log_in(&self, user: &str, device: &str, traits: &str) {
        let body = format!(r#"{{"traits":{traits}}}"#);
        self.hear_of(Some(user), Some(device), Kind::Identify, "identify", &body).await;
    }

    pub async fn identify(&self, user: &str, traits: &str) {
        self.hear(user, Kind::Identify, "identify", &format!(r#"{{"traits":{traits}}}"#)).await;
    }

    pub async fn track(&self, user: &str, name: &str, cart: &str) {
        self.hear(user, Kind::Track, name, &format!(r#"{{"properties":{{"cart_id":"{cart}"}}}}"#)).await;
    }

    pub async fn after(&self, minutes: i64) {
        self.house.workers.forward(Span::from_seconds(minutes * 60)).await.unwrap();
    }

    pub async fn settle(&self) {
        self.house.workers.settle().await.unwrap();
    }

    /// Every message, oldest first.
    pub async fn messages(&self) -> Vec<Message> {
        let sql = format!("{} ORDER BY created_at, entry, id", store::messages::SELECT);
        let rows = Rows(self.house.store.reader()).all(&sql, vec![]).await.unwrap();
        rows.iter().map(|row| store::messages::read(row).unwrap()).collect()
    }

    pub async fn close(self) {
        self.house.close().await;
    }
}
