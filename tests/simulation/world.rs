//! One simulated life: the house on a temporary folder, what happens to it, and the faults it suffers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use carillon::app::{Carillon, Options, WORKSPACE};
use carillon::clock::Clock;
use carillon::definition::SourceFile;
use carillon::event::{Body, Event, Origin};
use carillon::eventlog::{Receipt, Unstorable};
use carillon::fault::{Faults, Injected};
use carillon::http;
use carillon::ids::{EventId, MessageId, Position, ProfileId, Span, Timestamp};
use carillon::message::RetryPolicy;
use carillon::render::{Sender, Workspace};
use carillon::store::Rows;
use carillon::worker::apply::apply;

use super::BACKEND;
use super::illness::Illness;
use super::turns::Turns;
use crate::carrier::Carrier;
use crate::database::{Backend, Place};
use crate::script::{CARTS_AT_FIRST, Call, Step};
use crate::slots::Slots;

/// What happened, line by line: whoever looks after a life was lost still has it.
#[derive(Clone, Default)]
pub struct Story(Arc<Mutex<Vec<String>>>);

impl Story {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

pub struct World {
    pub place: Place,
    pub clock: Clock,
    pub carrier: Carrier,
    slots_kept: Slots,
    pub house: Carillon,
    /// Hits left until the armed point fails; 0 is disarmed.
    fuse: Arc<AtomicU64>,
    armed: Armed,
    illness: Option<Illness>,
    pub story: Story,
    pub deaths: usize,
    /// Calls that the database refused for good.
    pub refused: usize,
    /// Every event that was accepted, for repeating.
    accepted: BTreeMap<u64, Event>,
    /// Written or sent, and not answered.
    unanswered: Vec<(u64, Event)>,
    /// Whose each accepted event was, and when it happened.
    pub happened: BTreeMap<Position, (ProfileId, Timestamp)>,
    pub orders: Vec<Order>,
    /// Profiles that were one person when the invariants were last checked, and the slots seen then.
    pub united: BTreeMap<ProfileId, ProfileId>,
    pub slots: BTreeMap<MessageId, Timestamp>,
    pub turns: Turns,
}

/// An order as it was accepted.
pub struct Order {
    pub position: Position,
    pub profile: ProfileId,
    pub at: Timestamp,
    /// What had gone out by then.
    pub taken_before: BTreeSet<MessageId>,
}

const DEFINITIONS: &str = include_str!("shop.yaml");

impl World {
    pub async fn new(shop: &Shop, story: Story, slots_kept: Slots) -> Self {
        let place = shop.place().await;
        let clock = Clock::fixed(beginning());
        let carrier = Carrier::default();
        let fuse = Arc::new(AtomicU64::new(0));
        let armed = Armed::default();
        let house = open(&place, &clock, &carrier, &slots_kept, faults(&fuse, &armed)).await;
        Self {
            place,
            clock,
            carrier,
            slots_kept,
            house,
            fuse,
            armed,
            illness: None,
            story,
            deaths: 0,
            refused: 0,
            accepted: BTreeMap::new(),
            unanswered: Vec::new(),
            happened: BTreeMap::new(),
            orders: Vec::new(),
            united: BTreeMap::new(),
            slots: BTreeMap::new(),
            turns: Turns::default(),
        }
    }

    pub async fn take(&mut self, step: &Step) {
        self.tell(step.to_string());
        match step {
            Step::Call(call) => {
                let event = self.written(call);
                self.send(vec![(call.number, event)]).await;
            }
            Step::Write(call) => {
                let event = self.written(call);
                self.unanswered.push((call.number, event));
            }
            Step::Connect => self.send_unanswered().await,
            Step::Repeat(number) => {
                if let Some(event) = self.accepted.get(number).cloned() {
                    self.send(vec![(*number, event)]).await;
                }
            }
            Step::Pump => self.pump().await,
            Step::Minutes(minutes) => self.clock.advance(Span::from_seconds(minutes * 60)),
            Step::Arm(point, hit) => {
                *self.armed.lock().unwrap() = Some(*point);
                self.fuse.store(*hit, Ordering::SeqCst);
            }
            Step::Kill => self.die().await,
            Step::Stop => self.stop().await,
            Step::Database(fault, table) => {
                self.heal().await;
                self.illness = Some(Illness::fall(&self.house.database.writer, *fault, table).await);
            }
            Step::RefusesOne(person) => {
                self.heal().await;
                if let Some(one) = self.house.store.workspace(WORKSPACE).profile_by_id(person).await.unwrap() {
                    self.illness = Some(Illness::of_one(&self.house.database.writer, one).await);
                }
            }
            Step::DatabaseWell => self.heal().await,
            Step::Caps(fault) => self.slots_kept.suffers(*fault),
            Step::Publish(carts) => self.publish(*carts).await,
            Step::Pause(paused) => self.pause(*paused).await,
            Step::Provider(fault, times) => self.carrier.fails(*fault, *times),
        }
    }

    fn written(&self, call: &Call) -> Event {
        let now = self.clock.now();
        let message_id = format!("m{}", call.number);
        let body = call.body.clone();
        Event {
            id: EventId::derive(&[message_id.as_bytes()]),
            kind: call.kind,
            name: call.name.into(),
            message_id,
            version: 1,
            source: "sim".into(),
            correlation_id: String::new(),
            trace: None,
            user_id: call.caller.user.clone(),
            anonymous_id: call.caller.device.clone(),
            previous_id: body.strip_prefix(r#"{"previousId":""#).map(|id| id.trim_end_matches("\"}").to_owned()),
            at: now.minus(Span::from_seconds(call.late_seconds)),
            received_at: now,
            original_at: None,
            sent_at: None,
            origin: Origin::Live,
            body: Body::new(body),
        }
    }

    /// Sends events in one request. Refused, it comes again later.
    async fn send(&mut self, calls: Vec<(u64, Event)>) {
        let received_at = self.clock.now();
        let events = calls.iter().map(|(_, event)| Event { received_at, ..event.clone() }).collect();
        match self.house.log.append_apart(WORKSPACE, events).await {
            Ok(taken) => {
                for ((number, event), one) in calls.into_iter().zip(taken) {
                    match one {
                        Ok(receipt) => self.answered(number, event, receipt).await,
                        Err(unstorable) => self.not_storable(number, event, &unstorable).await,
                    }
                }
            }
            Err(error) => {
                assert!(!self.refuses_one(), "what one person sends keeps others from being stored: {error}");
                self.tell(format!("not accepted: {error}"));
                self.unanswered.extend(calls.into_iter().filter(|(number, _)| !self.accepted.contains_key(number)));
            }
        }
    }

    async fn answered(&mut self, number: u64, event: Event, receipt: Receipt) {
        if self.accepted.contains_key(&number) {
            assert_eq!(receipt, Receipt::Duplicate, "m{number} was accepted twice");
            return;
        }
        let (position, profile) = match receipt {
            Receipt::Stored { position, profile: Some(profile) } => (position, profile),
            // PostgreSQL had committed it, and could not say so.
            _ if BACKEND == Backend::Postgres => self.place_of(event.id).await,
            receipt => panic!("m{number}: {receipt:?}"),
        };
        self.happened.insert(position, (profile, event.at));
        if event.name == "Order Completed" {
            let taken_before = self.carrier.taken().into_keys().collect();
            self.orders.push(Order { position, profile, at: event.at, taken_before });
        }
        self.accepted.insert(number, event);
    }

    /// It is the refused person's, and comes again when somebody has found out why.
    async fn not_storable(&mut self, number: u64, event: Event, why: &Unstorable) {
        assert!(self.refuses_one(), "{} is refused by a database that is well", event.message_id);
        self.tell(format!("m{number} is refused: {why}"));
        self.refused += 1;
        if !self.accepted.contains_key(&number) {
            self.unanswered.push((number, event));
        }
    }

    /// Whether the database is well but for one person.
    fn refuses_one(&self) -> bool {
        self.illness.as_ref().is_some_and(|illness| illness.is_of_one)
    }

    async fn place_of(&self, id: EventId) -> (Position, ProfileId) {
        let sql = "SELECT position, profile FROM entries WHERE event_id = ?";
        let row = Rows(self.house.store.reader()).one(sql, vec![id.as_bytes().to_vec().into()]).await.unwrap().unwrap();
        (Position(row.try_get_by_index(0).unwrap()), ProfileId(row.try_get_by_index(1).unwrap()))
    }

    async fn send_unanswered(&mut self) {
        let mut calls = std::mem::take(&mut self.unanswered);
        calls.reverse();
        if !calls.is_empty() {
            self.send(calls).await;
        }
    }

    /// Runs the loops until nothing is due; an armed point kills the process, a database that is ill does not.
    async fn pump(&mut self) {
        match self.house.workers.settle().await {
            Ok(done) => self.tell(format!("{done} done")),
            Err(error) => {
                self.tell(format!("{error:#}"));
                let is_injected = error.downcast_ref::<Injected>().is_some();
                assert!(is_injected || !self.refuses_one(), "one person's rows stop everybody: {error:#}");
                if is_injected {
                    self.die().await;
                }
            }
        }
        self.tell_messages().await;
    }

    /// Another number of carts makes a regular: everybody is looked at anew, and some are one by that alone.
    async fn publish(&mut self, carts: u64) {
        if let Err(error) = applied(&self.house, definitions(carts)).await {
            self.tell(format!("not published: {error:#}"));
        }
    }

    async fn heal(&mut self) {
        if let Some(illness) = self.illness.take() {
            illness.heal(&self.house.database.writer).await;
        }
    }

    /// The process ends without a word and starts again on the same folder.
    async fn die(&mut self) {
        self.heal().await;
        self.fuse.store(0, Ordering::SeqCst);
        self.deaths += 1;
        // The old parts are dropped without a stop; what was not committed is gone.
        self.house.database.close().await;
        self.reopen().await;
        self.tell("the process died and started again".to_owned());
    }

    async fn stop(&mut self) {
        self.heal().await;
        self.house.workers.dispatcher().finish().await.unwrap();
        self.house.close().await;
        self.reopen().await;
    }

    async fn reopen(&mut self) {
        let faults = faults(&self.fuse, &self.armed);
        self.house = open(&self.place, &self.clock, &self.carrier, &self.slots_kept, faults).await;
    }

    /// Nothing fails any more, all that was written arrives, and time passes until nothing is due.
    pub async fn come_to_rest(&mut self) {
        self.fuse.store(0, Ordering::SeqCst);
        self.heal().await;
        self.slots_kept.recover();
        self.carrier.recover();
        self.send_unanswered().await;
        self.pause(false).await;
        let done = self.house.workers.forward(Span::from_days(7)).await.unwrap();
        self.tell(format!("a week later: {done} done"));
        self.tell_messages().await;
    }

    pub fn tell(&self, what: String) {
        self.story.add(format!("{} {what}", self.clock.now()));
    }

    async fn tell_messages(&self) {
        let mut messages = self.messages().await;
        messages.sort_by_key(|message| (message.created_at, message.id));
        let lines = messages.iter().map(|message| format!("{} {} {:?}", message.campaign, message.id, message.status));
        let told: Vec<String> = lines.collect();
        let digest = EventId::derive(&told.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
        self.tell(format!("{} messages {digest}", told.len()));
    }

    /// The house on a copy of its database, from which all that the log led to was taken.
    pub async fn again(&self) -> (Carillon, Place) {
        self.house.close().await;
        let as_left = match BACKEND {
            Backend::Sqlite => Shop::Folder(read_folder(self.place.folder.path())),
            Backend::Postgres => return self.over(Place::copy_of(&self.place).await).await,
        };
        self.over(as_left.place().await).await
    }

    async fn over(&self, place: Place) -> (Carillon, Place) {
        let nobody = Slots::new();
        let house = open(&place, &self.clock, &Carrier::default(), &nobody, Faults::none()).await;
        (house, place)
    }
}

type Armed = Arc<Mutex<Option<&'static str>>>;

fn faults(fuse: &Arc<AtomicU64>, armed: &Armed) -> Faults {
    let (fuse, armed) = (fuse.clone(), armed.clone());
    Faults::new(move |point| {
        *armed.lock().unwrap() == Some(point)
            && fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
    })
}

pub fn beginning() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

/// The files of a folder that is at rest.
type Files = Vec<(std::path::PathBuf, Vec<u8>)>;

/// A place whose database has the definitions: made once for many lives.
pub enum Shop {
    Folder(Files),
    Database(Place),
}

impl Shop {
    pub async fn new() -> Self {
        let place = Place::swift(BACKEND).await;
        furnish(&place).await;
        match BACKEND {
            Backend::Sqlite => Self::Folder(read_folder(place.folder.path())),
            Backend::Postgres => Self::Database(place),
        }
    }

    /// One more of it.
    async fn place(&self) -> Place {
        match self {
            Self::Folder(files) => {
                let place = Place::swift(BACKEND).await;
                copy(files, &place);
                place
            }
            Self::Database(place) => Place::copy_of(place).await,
        }
    }
}

fn read_folder(folder: &std::path::Path) -> Files {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().into(), std::fs::read(&path).unwrap())).collect()
}

fn copy(files: &Files, place: &Place) {
    for (name, bytes) in files {
        std::fs::write(place.folder.path().join(name), bytes).unwrap();
    }
}

/// What is in force where so many carts make a regular.
fn definitions(carts: u64) -> String {
    let [at_first, now] = [CARTS_AT_FIRST, carts].map(|carts| format!("at_least: {carts}"));
    DEFINITIONS.replace(&at_first, &now)
}

/// Publishes these definitions; an error is the database's.
pub async fn applied(house: &Carillon, text: String) -> anyhow::Result<()> {
    let files = vec![SourceFile { name: "shop.yaml".into(), text }];
    let applied = apply(&house.log, &house.store, &house.definitions, WORKSPACE, files, false).await?;
    applied.map(drop).map_err(|problems| panic!("{problems:?}"))
}

async fn furnish(place: &Place) {
    let house = open(place, &Clock::fixed(beginning()), &Carrier::default(), &Slots::new(), Faults::none()).await;
    applied(&house, definitions(CARTS_AT_FIRST)).await.unwrap();
    house.workers.settle().await.unwrap();
    house.close().await;
}

async fn open(place: &Place, clock: &Clock, carrier: &Carrier, slots: &Slots, faults: Faults) -> Carillon {
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
        inside: Vec::new(),
        redis: None,
        zone: jiff::tz::TimeZone::UTC,
        settle: Span::from_seconds(2),
        looked_at_per_second: None,
        per_second: BTreeMap::new(),
        retry: RetryPolicy::default(),
        clock: Some(clock.clone()),
        faults,
        carrier: Some(Arc::new(carrier.clone())),
    };
    let house = Carillon::open(options).await.unwrap();
    house.workers.dispatcher().cap_stores().keep(WORKSPACE, Arc::new(slots.clone()));
    if BACKEND == Backend::Postgres {
        // The process before was last seen long ago. That nobody waits for it is all that is not as in life.
        let rows = Rows(&house.database.writer);
        rows.run("UPDATE leases SET expires_at = 1", vec![]).await.unwrap();
        rows.run("UPDATE nodes SET seen_at = 1", vec![]).await.unwrap();
    }
    house.take_all().await.unwrap();
    house
}
