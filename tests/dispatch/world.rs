//! A whole shop in a temporary folder: log, processor, scheduler and dispatcher over a real database, on a clock that
//! only moves when told, with a channel that answers from a script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use carillon::caps::CapStore;
use carillon::channel::{self, Unusable};
use carillon::clock::Clock;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::eventlog::{EventLog, Queue};
use carillon::fault::Faults;
use carillon::ids::{EventId, MessageId, Position, Span, Timestamp, WorkspaceId};
use carillon::message::{Message, Outcome, Purpose, RetryPolicy, Status};
use carillon::render::links::{KeyRing, Links};
use carillon::render::{Content, Rendered, Sender, Workspace};
use carillon::store::definitions::{StoredDefinition, StoredFile};
use carillon::store::shards::ShardSet;
use carillon::store::{self, Address, Store};
use carillon::worker::dispatcher::{CapStores, Channels, Dispatcher, Parts};
use carillon::worker::explain::{Question, explain};
use carillon::worker::leases::Leases;
use carillon::worker::live::Definitions;
use carillon::worker::permission::Desk;
use carillon::worker::processors::Processors;
use carillon::worker::scheduler::Scheduler;
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::{ConnectOptions, DatabaseConnection};
use secrecy::ExposeSecret;

use super::{BACKEND, SLOTS};
use crate::database::Place;
use crate::slots::Kept;

mod meddled;

use meddled::Meddled;

pub const HERE: WorkspaceId = WorkspaceId(1);
/// Makes the id of each call its own.
static CALLS: AtomicU64 = AtomicU64::new(0);
pub const START: i64 = 1_772_000_000_000;

/// Answers in the order written, then accepts; remembers what it was handed.
#[derive(Clone, Default)]
pub struct Carrier(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<Outcome>,
    handed: Vec<(MessageId, String)>,
    texts: Vec<String>,
    meanwhile: Option<BoxFuture<'static, ()>>,
}

impl Carrier {
    pub fn will(&self, answers: impl IntoIterator<Item = Outcome>) {
        self.0.lock().unwrap().answers.extend(answers);
    }

    /// Happens once, while the next message is with the provider.
    pub fn meanwhile(&self, happens: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().unwrap().meanwhile = Some(happens.boxed());
    }

    /// Every message handed over, with its `Message-ID`, in order.
    pub fn handed(&self) -> Vec<(MessageId, String)> {
        self.0.lock().unwrap().handed.clone()
    }

    /// What they said, in plain text.
    pub fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().texts.clone()
    }
}

impl channel::Channel for Carrier {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let (message_id, text) = match rendered.content() {
            Content::Email(email) => (email.message_id.clone(), email.text.clone()),
            Content::Push { body, .. } => (String::new(), body.clone()),
            _ => panic!("neither an e-mail nor a push"),
        };
        let mut script = self.0.lock().unwrap();
        script.handed.push((rendered.message(), message_id));
        script.texts.push(text);
        let answer = script.answers.pop_front().unwrap_or(Outcome::Accepted { reply: "250 ok".into() });
        let meanwhile = script.meanwhile.take();
        async move {
            if let Some(happens) = meanwhile {
                happens.await;
            }
            answer
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        futures::future::ready(Ok("a script".to_owned())).boxed()
    }
}

pub struct World {
    pub clock: Clock,
    pub log: EventLog,
    pub store: Store,
    pub definitions: Arc<Definitions>,
    pub processor: Processors,
    pub scheduler: Scheduler,
    pub dispatcher: Dispatcher,
    pub carrier: Carrier,
    pub caps: CapStores,
    place: Arc<Place>,
    kept: Kept,
}

/// One campaign per entry event, all without delay, sending the template `hello`.
pub fn campaign(key: &str, event: &str, more: &str) -> String {
    let purpose = if more.contains("purpose:") { "" } else { "purpose: marketing\n" };
    format!(
        "kind: campaign\nkey: {key}\nname: {key}\nowner: crm@shop.example\ntype: trigger\nstatus: live\n{purpose}\
         entry: {{ event: {event}, key: properties.cart_id }}\nexit: [ {{ event: Order Completed }} ]\n\
         send: {{ channel: email, template: hello }}\n{more}\n"
    )
}

pub const TEMPLATE: &str =
    "kind: template\nkey: hello\nemail: { subject: 'Hi', html: '<p>{{event.properties.cart_id}}</p>' }\n";
/// A cap that is far away: whatever obeys it asks for a slot.
pub const FAR: &str = "kind: caps\nrules: [ { at_most: 99, per: 1d } ]\n";
pub const CONSENT: &str = "kind: consent_policy\nrules: [ { channel: email, unknown: allowed } ]\n";

impl World {
    /// A shop with these campaigns (and caps), the usual template, and unknown consent allowed.
    pub async fn with(documents: &[String]) -> Self {
        let mut world = Self::keeping_slots(Kept::new(SLOTS)).await;
        world.apply(documents).await;
        world
    }

    /// A shop with the usual template, and unknown consent allowed.
    pub async fn keeping_slots(kept: Kept) -> Self {
        let place = Arc::new(Place::new(BACKEND).await);
        let mut world = Self::open(place, kept, Carrier::default(), Faults::none(), START).await;
        world.apply(&[TEMPLATE.to_owned(), CONSENT.to_owned()]).await;
        world
    }

    async fn open(place: Arc<Place>, kept: Kept, carrier: Carrier, faults: Faults, now: i64) -> Self {
        let clock = Clock::fixed(Timestamp::from_millis(now));
        let database = store::open(place.address()).await.unwrap();
        let log = EventLog::start(&database, clock.clone()).await.unwrap();
        let store = Store::new(database.reader.clone());
        let definitions = Arc::new(Definitions::load(store.clone()).await.unwrap());
        let processor = Processors::new(
            log.clone(),
            store.clone(),
            definitions.clone(),
            Faults::none(),
            Span::from_seconds(2),
            Leases::alone(store.layout()),
        );
        let scheduler = Scheduler::new(log.clone(), store.clone(), Faults::none());
        let caps = kept.stores();
        let dispatcher = dispatcher(&log, &store, &definitions, &carrier, &caps, faults);
        Self { clock, log, store, definitions, processor, scheduler, dispatcher, carrier, caps, place, kept }
    }

    /// The dispatcher of a second process over the same database: slots kept in a process are its own.
    pub fn another_dispatcher(&self) -> Dispatcher {
        let (log, store) = (&self.log, &self.store);
        dispatcher(log, store, &self.definitions, &self.carrier, &self.kept.stores(), Faults::none())
    }

    /// A second process over the same database, which has only messages to people of these shards.
    pub async fn beside(&self, shards: ShardSet) -> Self {
        let (kept, now) = (self.kept.clone(), self.clock.now().millis());
        let world = Self::open(self.place.clone(), kept, Carrier::default(), Faults::none(), now).await;
        world.keeping_to(shards)
    }

    /// The dispatcher has only messages to people of these shards.
    pub fn keeping_to(self, shards: ShardSet) -> Self {
        self.holding(Leases::of(shards))
    }

    /// The same under these leases.
    pub fn holding(self, leases: Leases) -> Self {
        Self { dispatcher: self.dispatcher.sharing(leases), ..self }
    }

    /// A connection of the test's own.
    pub async fn connection(&self) -> DatabaseConnection {
        let Address::Postgres(url) = self.place.address() else { panic!("not on PostgreSQL") };
        let mut options = ConnectOptions::new(url.expose_secret());
        options.max_connections(1).sqlx_logging(false);
        sea_orm::Database::connect(options).await.unwrap()
    }

    /// From now on the dispatcher fails at this point, each time.
    pub fn fail_at(&mut self, point: &'static str) {
        let faults = Faults::new(move |name| name == point);
        self.dispatcher = dispatcher(&self.log, &self.store, &self.definitions, &self.carrier, &self.caps, faults);
    }

    /// Another provider, with so many connections.
    pub fn carried_by(&mut self, transport: Arc<dyn channel::Channel>, connections: usize) {
        let (log, store) = (&self.log, &self.store);
        self.dispatcher =
            dispatcher_over((transport, connections), log, store, &self.definitions, &self.caps, Faults::none());
    }

    /// Happens once, between the guard's look and the claim of the next message that needs a slot.
    pub fn before_the_claim(&mut self, happens: impl Future<Output = ()> + Send + 'static) {
        let inner = self.kept.stores().of(HERE);
        let meddled: Arc<dyn CapStore> = Arc::new(Meddled::new(inner, happens));
        self.caps = CapStores::new(move |_| meddled.clone());
        self.fail_at("nowhere");
    }

    /// Kills everything in memory and starts again on the same files.
    pub async fn restart(self) -> Self {
        let (place, kept, carrier) = (self.place.clone(), self.kept.clone(), self.carrier.clone());
        let now = self.clock.now().millis();
        // What was not committed is gone, also what the log's writer keeps for a quiet moment.
        let _ = self.log.writer().connection().close_by_ref().await;
        drop(self);
        let world = Self::open(place, kept, carrier, Faults::none(), now).await;
        world.dispatcher.recover(world.clock.now()).await.unwrap();
        world
    }

    pub async fn apply(&mut self, documents: &[String]) {
        for text in documents {
            let of = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("the_one");
                line.trim().to_owned()
            };
            let (kind, key) = (of("kind:"), of("key:"));
            let known = self.store.workspace(HERE).definitions().await.unwrap();
            let version = known.iter().find(|one| one.kind == kind && one.key == key).map_or(1, |one| one.version + 1);
            let stored = StoredDefinition {
                files: vec![StoredFile { name: format!("{key}.yaml"), text: text.clone() }],
                position: Position(0),
                applied_at: self.clock.now(),
                kind,
                key,
                version,
            };
            self.log
                .writer()
                .change(Queue::Effects, move |tx, _| {
                    Box::pin(async move { Ok(store::workspace(tx, HERE).add_definition(&stored).await?) })
                })
                .await
                .unwrap();
        }
        self.definitions.refresh(HERE).await.unwrap();
    }

    /// Pauses or resumes a scope as the service does: the row, then what is in force.
    pub async fn pause(&mut self, scope: &'static str, paused: bool) {
        let now = self.clock.now();
        self.log
            .writer()
            .change(Queue::Effects, move |tx, _| {
                Box::pin(async move { Ok(store::workspace(tx, HERE).set_paused(scope, paused, now).await?) })
            })
            .await
            .unwrap();
        self.definitions.refresh(HERE).await.unwrap();
    }

    /// Appends a track call of a person.
    pub async fn track(&self, user: &str, name: &str, cart: &str) {
        self.append(self.call(user, name, cart)).await;
    }

    /// A track call of now.
    pub fn call(&self, user: &str, name: &str, cart: &str) -> Event {
        let n = CALLS.fetch_add(1, Ordering::Relaxed);
        let body =
            format!(r#"{{"type":"track","event":"{name}","userId":"{user}","properties":{{"cart_id":"{cart}"}}}}"#);
        event(&format!("{user}-{name}-{cart}-{n}"), Kind::Track, name, user, &body, self.clock.now())
    }

    /// An identify call of now.
    pub fn introduced(&self, user: &str, email: &str) -> Event {
        let body = format!(r#"{{"type":"identify","userId":"{user}","traits":{{"email":"{email}"}}}}"#);
        event(&format!("{user}-introduced"), Kind::Identify, "Identified", user, &body, self.clock.now())
    }

    pub async fn identify(&self, user: &str, email: &str) {
        self.tell_of(user, &format!(r#"{{"email":"{email}"}}"#)).await;
    }

    /// An identify call with these traits.
    pub async fn tell_of(&self, user: &str, traits: &str) {
        let n = CALLS.fetch_add(1, Ordering::Relaxed);
        let body = format!(r#"{{"type":"identify","userId":"{user}","traits":{traits}}}"#);
        let id = format!("{user}-identify-{n}");
        self.append(event(&id, Kind::Identify, "Identified", user, &body, self.clock.now())).await;
    }

    /// A track call with this rest of its body, such as `"properties":{..}`.
    pub async fn tell(&self, user: &str, name: &str, rest: &str) {
        let n = self.log.appended().borrow().0;
        let body = format!(r#"{{"type":"track","event":"{name}","userId":"{user}",{rest}}}"#);
        self.append(event(&format!("{user}-{name}-{n}"), Kind::Track, name, user, &body, self.clock.now())).await;
    }

    /// The profile of a user id.
    pub async fn profile(&self, user: &str) -> carillon::ids::ProfileId {
        self.store.workspace(HERE).profile_by_id(user).await.unwrap().unwrap()
    }

    /// Where people's answers are heard.
    pub fn desk(&self) -> Desk {
        Desk { log: self.log.clone(), store: self.store.clone(), definitions: self.definitions.clone() }
    }

    async fn append(&self, event: Event) {
        self.log.append(HERE, vec![event]).await.unwrap();
    }

    /// Runs processor and scheduler until the log is read to its end.
    pub async fn process(&mut self) {
        loop {
            let timers = self.scheduler.tick(self.clock.now()).await.unwrap();
            if self.processor.tick().await.unwrap() + timers == 0 {
                return;
            }
        }
    }

    /// Runs everything until nothing is left to do now.
    pub async fn settle(&mut self) {
        loop {
            self.process().await;
            if self.dispatcher.tick(self.clock.now()).await.unwrap() == 0 {
                return;
            }
        }
    }

    /// Moves the clock, then settles.
    pub async fn after(&mut self, seconds: i64) {
        self.clock.advance(Span::from_seconds(seconds));
        self.settle().await;
    }

    /// When the dispatcher has something to do by itself.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.dispatcher.next_due().await.unwrap()
    }

    /// Every message, oldest first.
    pub async fn messages(&self) -> Vec<Message> {
        let sql = format!("{} ORDER BY created_at, entry, id", store::messages::SELECT);
        let rows = store::Rows(self.store.reader()).all(&sql, vec![]).await.unwrap();
        rows.iter().map(|row| store::messages::read(row).unwrap()).collect()
    }

    pub async fn only(&self) -> Message {
        let mut all = self.messages().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// What is told of the only message.
    pub async fn explained(&self) -> String {
        let message = self.only().await;
        let question = Question {
            profile: message.profile,
            person: "ann".to_owned(),
            campaign: None,
            event: None,
            message: Some(message.id),
        };
        explain(self.store.workspace(WorkspaceId(1)), &question).await.unwrap().text
    }

    pub async fn statuses(&self) -> Vec<&'static str> {
        self.messages().await.iter().map(|message| message.status.name()).collect()
    }

    /// The most slots of any person or any address within such a time, counted by hand over what was sent, and by the
    /// hour at which it was.
    pub async fn most_within(&self, window: Span) -> usize {
        let all = self.messages().await;
        let mut used: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for message in all.iter().filter(|message| message.purpose == Purpose::Marketing) {
            let (Some(slot), Status::Sent { at, .. }) = (message.slot_at, &message.status) else { continue };
            for (clock, instant) in [("slot", slot), ("clock", *at)] {
                used.entry(format!("{clock} profile:{}", message.profile)).or_default().push(instant);
                used.entry(format!("{clock} {:?}", message.address)).or_default().push(instant);
            }
        }
        let within = |all: &[Timestamp], last: Timestamp| {
            all.iter().filter(|at| **at <= last && **at > last.minus(window)).count()
        };
        used.values().flat_map(|all| all.iter().map(|last| within(all, *last))).max().unwrap_or(0)
    }

    /// Lets the time pass until the cap store answers again and everything that waited for that has gone its way.
    pub async fn until_asked(&mut self) {
        for _ in 0..60 {
            if !self.messages().await.iter().any(|message| reason_of(message) == "caps_unreachable")
                && !self.dispatcher.caps_unreachable()
            {
                return;
            }
            // Each try finds the connection a little further on its way back.
            self.after(11).await;
        }
        panic!("the cap store does not answer again");
    }

    /// The states a message went through.
    pub async fn path(&self, message: MessageId) -> Vec<&'static str> {
        let steps = self.store.workspace(HERE).steps_of(message).await.unwrap();
        steps.iter().map(|step| step.state.name()).collect()
    }
}

fn dispatcher(
    log: &EventLog,
    store: &Store,
    definitions: &Arc<Definitions>,
    carrier: &Carrier,
    caps: &CapStores,
    faults: Faults,
) -> Dispatcher {
    dispatcher_over((Arc::new(carrier.clone()), 2), log, store, definitions, caps, faults)
}

fn dispatcher_over(
    (transport, connections): (Arc<dyn channel::Channel>, usize),
    log: &EventLog,
    store: &Store,
    definitions: &Arc<Definitions>,
    caps: &CapStores,
    faults: Faults,
) -> Dispatcher {
    Dispatcher::new(Parts {
        log: log.clone(),
        store: store.clone(),
        definitions: definitions.clone(),
        caps: caps.clone(),
        zone: jiff::tz::TimeZone::UTC,
        channels: Channels::sandboxed(transport),
        links: Links::new("https://news.example.com", KeyRing::new(1, [7; 32])),
        sender: Sender::new(Some("Shop"), "news@shop.example", None).unwrap(),
        workspace: Workspace {
            name: "Shop".into(),
            postal_address: Some("1 High Street".into()),
            timezone: String::new(),
        },
        retry: RetryPolicy::default(),
        faults,
        connections,
    })
}

fn event(id: &str, kind: Kind, name: &str, user: &str, body: &str, now: Timestamp) -> Event {
    Event {
        id: EventId::derive(&[id.as_bytes()]),
        kind,
        name: name.to_owned(),
        message_id: id.to_owned(),
        version: 1,
        source: "shop".into(),
        correlation_id: id.to_owned(),
        trace: None,
        user_id: Some(user.to_owned()),
        anonymous_id: None,
        previous_id: None,
        at: now,
        received_at: now,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(body.to_owned()),
    }
}

pub fn reason_of(message: &Message) -> &'static str {
    message.status.reason().map_or("none", carillon::message::Reason::code)
}

pub fn retry(cause: &str) -> Outcome {
    Outcome::Retry { cause: cause.into(), after: None, slow_domain: false, about_recipient: false }
}

pub fn is_sent(status: &Status) -> bool {
    matches!(status, Status::Sent { .. })
}
