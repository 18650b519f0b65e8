//! One simulated life: the house on a temporary folder, its people, what happens to them, and the faults it suffers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use carillon::app::{Carillon, Options, WORKSPACE};
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::eventlog::Receipt;
use carillon::fault::Faults;
use carillon::http;
use carillon::ids::{EventId, MessageId, Position, ProfileId, Span, Timestamp};
use carillon::message::RetryPolicy;
use carillon::render::{Sender, Workspace};
use carillon::store::Rows;
use carillon::worker::apply::apply;

use super::BACKEND;
use crate::carrier::Carrier;
use crate::chance::Chance;
use crate::database::{Backend, Place};

pub const PEOPLE: [&str; 4] = ["ann", "bob", "cem", "dot"];
/// Browsers, each anybody's: who uses one is anonymous until the login.
const DEVICES: u64 = 12;
/// User ids of guests, who may turn out to be one of the people.
const GUESTS: u64 = 6;
const POINTS: [&str; 8] = [
    "processor.decided",
    "processor.stored",
    "scheduler.due",
    "dispatcher.claimed",
    "dispatcher.rendered",
    "dispatcher.sending",
    "dispatcher.sent",
    "dispatcher.outcome",
];

pub struct World {
    place: Place,
    pub clock: Clock,
    pub carrier: Carrier,
    pub house: Carillon,
    chance: Chance,
    /// Hits left until the armed point fails; 0 is disarmed.
    fuse: Arc<AtomicU64>,
    armed: Arc<std::sync::Mutex<Option<&'static str>>>,
    pub story: Vec<String>,
    pub deaths: usize,
    events: u64,
    /// Every event that was accepted, for repeating.
    accepted: Vec<Event>,
    /// Whose each accepted event was, and when it happened.
    pub happened: BTreeMap<Position, (ProfileId, Timestamp)>,
    pub orders: Vec<Order>,
    /// Devices and guests that have an address.
    introduced: BTreeSet<String>,
    /// Profiles that were one person when the invariants were last checked, and the slots seen then.
    pub united: BTreeMap<ProfileId, ProfileId>,
    pub slots: BTreeMap<MessageId, Timestamp>,
}

/// Who calls: a user id, a device, or both.
#[derive(Clone, Default)]
pub struct Caller {
    user: Option<String>,
    device: Option<String>,
}

impl Caller {
    fn user(id: &str) -> Self {
        Self { user: Some(id.to_owned()), device: None }
    }

    fn device(id: &str) -> Self {
        Self { user: None, device: Some(id.to_owned()) }
    }

    fn name(&self) -> String {
        [&self.user, &self.device].into_iter().flatten().cloned().collect::<Vec<_>>().join(" on ")
    }
}

/// An order as it was accepted.
pub struct Order {
    pub position: Position,
    pub profile: ProfileId,
    pub at: Timestamp,
    /// What had gone out by then.
    pub taken_before: BTreeSet<MessageId>,
}

const DEFINITIONS: &str = r#"
kind: campaign
key: cart
name: Cart
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
entry: { event: Product Added, key: properties.cart_id }
delay: 1h
exit: [ { event: Order Completed } ]
caps: { when_capped: { defer: 12h } }
send: { channel: email, template: note }
---
kind: campaign
key: browse
name: Browse
owner: crm@shop.example
type: trigger
status: live
purpose: marketing
priority: 30
entry: { event: Product Viewed, on_repeat: restart, reentry: { after: 2h } }
delay: 30m
exit: [ { event: [ Product Added, Order Completed ] } ]
send: { channel: email, template: note }
---
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
kind: caps
rules:
  - { at_most: 2, per: 1d }
  - { at_most: 1, per: 3h, campaign: cart }
---
kind: consent_policy
rules: [ { channel: email, unknown: blocked } ]
---
kind: template
key: note
defaults: { profile.traits.first_name: there }
sample:
  profile: { traits: { first_name: Ann } }
email:
  subject: A note
  html: "<p>Hello {{profile.traits.first_name}} <a href=\"{{links.unsubscribe}}\">stop</a></p>"
"#;

impl World {
    pub async fn new(seed: u64) -> Self {
        let place = Place::new(BACKEND).await;
        let clock = Clock::fixed("2026-03-01T00:00:00Z".parse().unwrap());
        let carrier = Carrier::default();
        let fuse = Arc::new(AtomicU64::new(0));
        let armed = Arc::default();
        let house = open(&place, &clock, &carrier, &fuse, &armed).await;
        let files = vec![SourceFile { name: "shop.yaml".into(), text: DEFINITIONS.into() }];
        let applied = apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, false).await.unwrap();
        applied.unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut world = Self {
            place,
            clock,
            carrier,
            house,
            chance: Chance::new(seed),
            fuse,
            armed,
            story: Vec::new(),
            deaths: 0,
            events: 0,
            accepted: Vec::new(),
            happened: BTreeMap::new(),
            orders: Vec::new(),
            introduced: BTreeSet::new(),
            united: BTreeMap::new(),
            slots: BTreeMap::new(),
        };
        world.introduce().await;
        world
    }

    /// Everyone gets an address; all but one say yes to mail. Two share an address.
    async fn introduce(&mut self) {
        for person in PEOPLE {
            let address = if person == "dot" { "ann" } else { person };
            let body = format!(r#"{{"traits":{{"email":"{address}@example.com"}}}}"#);
            self.accept(&Caller::user(person), Kind::Identify, "Identified", body, 0).await;
            if person != "cem" {
                self.consent(&Caller::user(person), "granted").await;
            }
        }
    }

    async fn consent(&mut self, caller: &Caller, state: &str) {
        let body = format!(r#"{{"properties":{{"channel":"email","state":"{state}"}}}}"#);
        self.accept(caller, Kind::Track, "Consent Changed", body, 0).await;
    }

    /// Mostly somebody known; else somebody on a device, who left an address there, or a guest.
    async fn caller(&mut self) -> Caller {
        let caller = match self.chance.below(10) {
            0..2 => Caller::device(&format!("d{}", self.chance.below(DEVICES))),
            2 => Caller::user(&format!("g{}", self.chance.below(GUESTS))),
            _ => {
                let person = *self.chance.pick(&PEOPLE);
                return Caller::user(person);
            }
        };
        if self.introduced.insert(caller.name()) {
            let address = self.chance.below(8);
            let body = format!(r#"{{"traits":{{"email":"a{address}@example.com","seen":{}}}}}"#, self.events);
            self.accept(&caller, Kind::Identify, "Identified", body, 0).await;
            self.consent(&caller, "granted").await;
        }
        caller
    }

    /// Somebody says who they are: by a login on a device, or a guest by alias.
    async fn say_who(&mut self) {
        let person = *self.chance.pick(&PEOPLE);
        if self.chance.percent(70) {
            let device = format!("d{}", self.chance.below(DEVICES));
            let caller = Caller { device: Some(device), ..Caller::user(person) };
            self.accept(&caller, Kind::Identify, "Identified", "{}".into(), 0).await;
        } else {
            let guest = format!("g{}", self.chance.below(GUESTS));
            let body = format!(r#"{{"previousId":"{guest}"}}"#);
            self.accept(&Caller::user(person), Kind::Alias, "Aliased", body, 0).await;
        }
    }

    pub async fn step(&mut self) {
        let caller = self.caller().await;
        let person = &caller;
        let late = if self.chance.percent(15) { self.chance.below(36 * 3600) } else { 0 };
        match self.chance.below(100) {
            0..22 => {
                let body = format!(r#"{{"properties":{{"cart_id":"c{}","price":12.50}}}}"#, self.chance.below(6));
                self.accept(person, Kind::Track, "Product Added", body, late).await;
            }
            22..34 => self.accept(person, Kind::Track, "Product Viewed", "{}".into(), late).await,
            34..44 => {
                let body = format!(r#"{{"properties":{{"order_id":"o{}","revenue":20}}}}"#, self.events);
                self.accept(person, Kind::Track, "Order Completed", body, late).await;
            }
            44..50 => self.repeat().await,
            50..53 => self.consent(person, "denied").await,
            53..57 => self.consent(person, "granted").await,
            57..63 => self.say_who().await,
            63..70 => self.arm(),
            70..74 => self.die("killed").await,
            74..86 => self.pump().await,
            _ => {
                let minutes = 1 + self.chance.below(180);
                self.clock.advance(Span::from_seconds(i64::try_from(minutes * 60).unwrap()));
                self.tell(format!("{minutes} minutes pass"));
                self.pump().await;
            }
        }
    }

    async fn accept(&mut self, caller: &Caller, kind: Kind, name: &str, body: String, late_seconds: u64) {
        self.events += 1;
        let now = self.clock.now();
        let late = Span::from_seconds(i64::try_from(late_seconds).unwrap());
        let message_id = format!("m{}", self.events);
        let event = Event {
            id: EventId::derive(&[message_id.as_bytes()]),
            kind,
            name: name.into(),
            message_id,
            version: 1,
            source: "sim".into(),
            correlation_id: String::new(),
            trace: None,
            user_id: caller.user.clone(),
            anonymous_id: caller.device.clone(),
            previous_id: body.strip_prefix(r#"{"previousId":""#).map(|id| id.trim_end_matches("\"}").to_owned()),
            at: now.minus(late),
            received_at: now,
            original_at: None,
            sent_at: None,
            origin: Origin::Live,
            body: Body::new(body),
        };
        self.accepted.push(event.clone());
        self.tell(format!("{} {name} {} ({late_seconds} s late)", caller.name(), event.body.text()));
        let (name, at) = (event.name.clone(), event.at);
        let receipt = self.house.log.append(WORKSPACE, vec![event]).await.unwrap().remove(0);
        let Receipt::Stored { position, profile: Some(profile) } = receipt else { panic!("{receipt:?}") };
        self.happened.insert(position, (profile, at));
        if name == "Order Completed" {
            let taken_before = self.carrier.taken().into_keys().collect();
            self.orders.push(Order { position, profile, at, taken_before });
        }
    }

    /// A client that never saw the answer sends the same again.
    async fn repeat(&mut self) {
        let event = self.chance.pick(&self.accepted).clone();
        self.tell(format!("{} comes again", event.message_id));
        self.house.log.append(WORKSPACE, vec![event]).await.unwrap();
    }

    fn arm(&mut self) {
        let point = *self.chance.pick(&POINTS);
        let hits = 1 + self.chance.below(3);
        *self.armed.lock().unwrap() = Some(point);
        self.fuse.store(hits, Ordering::SeqCst);
        self.tell(format!("{point} will fail at hit {hits}"));
    }

    /// Runs the loops until nothing is due; a fault on the way kills the process.
    async fn pump(&mut self) {
        match self.house.workers.settle().await {
            Ok(done) => self.tell(format!("{done} done")),
            Err(error) => {
                self.tell(format!("{error:#}"));
                self.die("died of it").await;
            }
        }
        self.tell_messages().await;
    }

    /// The process ends without a word and starts again on the same folder.
    async fn die(&mut self, how: &str) {
        self.fuse.store(0, Ordering::SeqCst);
        self.deaths += 1;
        // The old parts are dropped without a stop; what was not committed is gone.
        self.house.database.close().await;
        self.house = open(&self.place, &self.clock, &self.carrier, &self.fuse, &self.armed).await;
        self.tell(format!("the process {how} and started again"));
    }

    pub async fn come_to_rest(&mut self) {
        self.fuse.store(0, Ordering::SeqCst);
        for _ in 0..40 {
            self.clock.advance(Span::from_hours(4));
            self.pump().await;
        }
    }

    pub fn tell(&mut self, what: String) {
        self.story.push(format!("{} {what}", self.clock.now()));
    }

    async fn tell_messages(&mut self) {
        let mut messages = self.messages().await;
        messages.sort_by_key(|message| (message.created_at, message.id));
        let lines = messages.iter().map(|message| format!("{} {} {:?}", message.campaign, message.id, message.status));
        let told: Vec<String> = lines.collect();
        let digest = EventId::derive(&told.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
        self.tell(format!("{} messages {digest}", told.len()));
    }
}

type Armed = Arc<std::sync::Mutex<Option<&'static str>>>;

async fn open(place: &Place, clock: &Clock, carrier: &Carrier, fuse: &Arc<AtomicU64>, armed: &Armed) -> Carillon {
    let (fuse, armed) = (fuse.clone(), armed.clone());
    let faults = Faults::new(move |point| {
        *armed.lock().unwrap() == Some(point)
            && fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
    });
    let options = Options {
        threads: 1,
        data: place.folder.path().to_owned(),
        database: Some(place.address()),
        ingest: http::config::Config::default(),
        smtp: None,
        sender: Sender::new(Some("Shop"), "shop@shop.example", None).unwrap(),
        workspace: Workspace { name: "Shop".into(), postal_address: None, timezone: String::new() },
        currency: carillon::money::Currency::EUR,
        public_url: "https://shop.example".into(),
        tracks: carillon::render::links::Tracks::NONE,
        resolver: None,
        redis: None,
        zone: jiff::tz::TimeZone::UTC,
        settle: Span::from_seconds(2),
        per_second: std::collections::BTreeMap::new(),
        retry: RetryPolicy::default(),
        clock: Some(clock.clone()),
        faults,
        carrier: Some(Arc::new(carrier.clone())),
    };
    let house = Carillon::open(options).await.unwrap();
    if BACKEND == Backend::Postgres {
        // The process before was last seen long ago. That nobody waits for it is all that is not as in life.
        let rows = Rows(&house.database.writer);
        rows.run("UPDATE leases SET expires_at = 1", vec![]).await.unwrap();
        rows.run("UPDATE nodes SET seen_at = 1", vec![]).await.unwrap();
    }
    house.take_all().await.unwrap();
    house
}
