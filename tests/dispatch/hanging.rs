//! A recipient's domain that hangs holds its own messages and nobody else's: a hundred domains over a provider whose
//! answers take virtual time.
//!
//! To see it fail, let `Pace::share` give every domain all connections, or one that has not answered a quarter of them;
//! `Load::is_free` keep nothing; `Dispatcher::advance` wait for every answer; or `Line::stuck` know of nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use carillon::channel::{Channel, Unusable};
use carillon::clock::Clock;
use carillon::eventlog::Queue;
use carillon::ids::{Span, Timestamp};
use carillon::message::Outcome;
use carillon::render::{Content, Rendered};
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::ConnectionTrait;
use tokio::sync::oneshot;

use super::world::{World, campaign, reason_of};
use crate::database::Backend;

pub const CONNECTIONS: usize = 8;
const HANGING: &str = "slow.example";
const HANGS: Span = Span::from_seconds(30);

type Takes = fn(&str) -> Span;
type Says = fn(&str) -> Outcome;

/// Answers when its time has come.
#[derive(Clone)]
pub struct Provider {
    clock: Clock,
    /// How long it takes for an address, and what it says then.
    takes: Arc<Mutex<Takes>>,
    says: Arc<Mutex<Says>>,
    state: Arc<Mutex<State>>,
}

pub fn accepted() -> Outcome {
    Outcome::Accepted { reply: "250 ok".into() }
}

fn quick(to: &str) -> Span {
    Span::from_millis(20 + to.bytes().map(i64::from).sum::<i64>() % 7 * 10)
}

/// One domain hangs, or some below its name; all others are quick.
fn of_a_hundred(to: &str) -> Span {
    if to.ends_with(HANGING) { HANGS } else { quick(to) }
}

fn times_out_there(to: &str) -> Outcome {
    match to.ends_with(HANGING) {
        true => Outcome::Retry {
            cause: "no answer in time".into(),
            after: None,
            slow_domain: false,
            about_recipient: false,
        },
        false => accepted(),
    }
}

#[derive(Default)]
struct State {
    count: u64,
    pending: BTreeMap<(Timestamp, u64), (String, oneshot::Sender<Outcome>)>,
    /// To whom, when it was begun and when it ended, in the order of the ends.
    ended: Vec<(String, Timestamp, Timestamp)>,
    began: BTreeMap<String, Timestamp>,
    /// The most that ever hung at once.
    most_hanging: usize,
    /// From when on others' mail is timed.
    start: Timestamp,
}

impl Provider {
    pub fn new(clock: Clock, takes: fn(&str) -> Span, says: fn(&str) -> Outcome) -> Self {
        let (takes, says) = (Arc::new(Mutex::new(takes)), Arc::new(Mutex::new(says)));
        Self { clock, takes, says, state: Arc::default() }
    }

    /// From now on.
    pub fn will_take(&self, takes: fn(&str) -> Span) {
        *self.takes.lock().unwrap() = takes;
    }

    /// From now on.
    fn will_say(&self, says: fn(&str) -> Outcome) {
        *self.says.lock().unwrap() = says;
    }

    /// Whose messages it has, in their order.
    fn has(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let mut has: Vec<_> = state.pending.iter().map(|((_, count), (to, _))| (*count, to.clone())).collect();
        has.sort_unstable();
        has.into_iter().map(|(_, to)| to.split('@').next().unwrap().to_owned()).collect()
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.state.lock().unwrap().pending.keys().next().map(|(at, _)| *at)
    }

    pub fn pending(&self) -> usize {
        self.state.lock().unwrap().pending.len()
    }

    /// Answers what is due, in order.
    pub fn answer(&self) {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        while let Some(entry) = state.pending.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, answer) = entry.remove();
            let outcome = (self.says.lock().unwrap())(&to);
            let began = state.began[&to];
            state.ended.push((to, began, now));
            answer.send(outcome).unwrap();
        }
    }

    /// When a mail to this address was begun.
    pub fn began(&self, to: &str) -> Option<Timestamp> {
        self.state.lock().unwrap().began.get(to).copied()
    }

    /// How many mails to this domain ended.
    pub fn taken_by(&self, domain: &str) -> usize {
        self.state.lock().unwrap().ended.iter().filter(|(to, ..)| to.ends_with(domain)).count()
    }

    /// What ended until now is forgotten.
    fn forget(&self) {
        self.state.lock().unwrap().ended.clear();
    }

    /// The most mails that hung at once.
    pub fn most_hanging(&self) -> usize {
        self.state.lock().unwrap().most_hanging
    }

    /// Mails to the others in the order of their ends: milliseconds until each was begun and ended.
    pub fn others(&self) -> Vec<(String, i64, i64)> {
        let state = self.state.lock().unwrap();
        let after = |at: &Timestamp| at.millis() - state.start.millis();
        let others = state.ended.iter().filter(|(to, ..)| !to.ends_with(HANGING));
        others.map(|(to, began, ended)| (to.clone(), after(began), after(ended))).collect()
    }
}

impl Channel for Provider {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let Content::Email(email) = rendered.content() else { panic!("not an e-mail") };
        let to = email.to.address.clone();
        let now = self.clock.now();
        let took = (self.takes.lock().unwrap())(&to);
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        let key = (now.plus(took), state.count);
        state.began.insert(to.clone(), now);
        state.pending.insert(key, (to, answer));
        let hanging = state.pending.values().filter(|(to, _)| to.ends_with(HANGING)).count();
        state.most_hanging = state.most_hanging.max(hanging);
        async move { answered.await.unwrap() }.boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        futures::future::ready(Ok("virtual".to_owned())).boxed()
    }
}

/// Lets the dispatcher see every answer that was given, and do all it can do now.
async fn dispatch(world: &World, provider: &Provider) {
    for _ in 0..1_000 {
        while world.dispatcher.unanswered() > provider.pending() {
            tokio::task::yield_now().await;
        }
        if world.dispatcher.advance(world.clock.now()).await.unwrap() == 0 {
            return;
        }
    }
    panic!("the dispatcher does not come to rest");
}

/// Who hangs beside others, and how.
#[derive(Clone, Copy)]
pub struct Beside {
    /// Messages to others, two to each of 99 domains or fewer, one every 50 ms.
    pub others: usize,
    /// Messages before them to so many domains that begin to hang together.
    pub hanging: usize,
    pub domains: usize,
    /// Whether they were known to be quick until then, or never heard of.
    pub known: bool,
    /// Whether all messages of one domain come before all of the next, or one of each in turn.
    pub in_blocks: bool,
}

/// Two messages to each of 99 domains, one every 50 ms; before them, so many to one that hangs.
async fn run(hanging: usize) -> (World, Provider) {
    run_beside(Beside { others: 198, hanging, domains: 1, known: false, in_blocks: false }).await
}

pub async fn run_beside(beside: Beside) -> (World, Provider) {
    let Beside { others, hanging, domains, known, in_blocks } = beside;
    let mut world = World::with(&[campaign("cart", "Product Added", "")]).await;
    let provider = Provider::new(world.clock.clone(), of_a_hundred, times_out_there);
    world.carried_by(Arc::new(provider.clone()), CONNECTIONS);
    let slow: Vec<String> = (0..hanging).map(|n| format!("slow{n}")).collect();
    let others: Vec<String> = (0..others).map(|n| format!("p{n}")).collect();
    let domain_of = |n: usize| if in_blocks { n * domains / hanging } else { n % domains };
    for (n, user) in slow.iter().enumerate() {
        let below = if domains > 1 { format!("{}.", domain_of(n)) } else { String::new() };
        world.identify(user, &format!("{user}@{below}{HANGING}")).await;
    }
    for (n, user) in others.iter().enumerate() {
        world.identify(user, &format!("{user}@d{}.example", n % 99)).await;
    }
    if known {
        let one_of = |domain| slow.iter().enumerate().find(|(n, _)| domain_of(*n) == domain).map(|(_, user)| user);
        let first: Vec<&String> = (0..domains).filter_map(one_of).chain(others.iter().take(99)).collect();
        all_answer(&mut world, &provider, &first).await;
    }
    for user in &slow {
        // One after the other, so that their order is one.
        world.clock.advance(Span::from_millis(1));
        world.track(user, "Product Added", "c").await;
    }
    world.process().await;
    dispatch(&world, &provider).await;
    // Who has been without an answer for a second holds nobody up; blocks of mail are claimed one after the other.
    for _ in 0..if known && in_blocks { domains } else { usize::from(known) } {
        world.clock.advance(Span::from_millis(1_001));
        dispatch(&world, &provider).await;
    }
    let start = world.clock.now();
    provider.state.lock().unwrap().start = start;
    let mut arrivals = others.iter().enumerate().peekable();
    let arrival = |n: usize| start.plus_millis(50 * i64::try_from(n).unwrap());
    while provider.others().len() < others.len() {
        let arrives = arrivals.peek().map(|(n, _)| arrival(*n));
        let instants = [arrives, provider.next_end(), world.next_due().await];
        let next = instants.into_iter().flatten().min().expect("something happens");
        world.clock.advance_to(next);
        if arrives == Some(next) {
            let (_, user) = arrivals.next().unwrap();
            world.track(user, "Product Added", "c").await;
            world.process().await;
        }
        provider.answer();
        dispatch(&world, &provider).await;
    }
    (world, provider)
}

/// Each of them gets a mail, and every domain takes it at once.
async fn all_answer(world: &mut World, provider: &Provider, users: &[&String]) {
    let (takes, says) = (*provider.takes.lock().unwrap(), *provider.says.lock().unwrap());
    provider.will_take(quick);
    provider.will_say(|_| accepted());
    for user in users {
        world.track(user, "Product Added", "first").await;
    }
    world.process().await;
    dispatch(world, provider).await;
    while provider.taken_by(".example") < users.len() {
        let next = [provider.next_end(), world.next_due().await].into_iter().flatten().min().unwrap();
        world.clock.advance_to(next);
        provider.answer();
        dispatch(world, provider).await;
    }
    provider.will_take(takes);
    provider.will_say(says);
    provider.forget();
}

#[tokio::test]
async fn one_domain_that_hangs_delays_none_of_99_others() {
    let (_, alone) = run(0).await;
    let (world, beside) = run(150).await;
    assert_eq!(beside.others(), alone.others(), "the same order, and each ends when it ended without");
    let most = beside.most_hanging();
    assert!((1..=CONNECTIONS / 4).contains(&most), "{most} connections hung");
    let messages = world.messages().await;
    let waiting: Vec<_> = messages.iter().filter(|message| reason_of(message) == "domain_slow").collect();
    assert!(waiting.len() > 100, "{}", waiting.len());
    assert!(waiting.iter().all(|message| message.attempts == 0), "whoever waits has spent no try");
}

#[tokio::test]
async fn a_domain_that_hung_gets_all_its_mail_when_it_answers_again() {
    let (mut world, provider) = run(20).await;
    // It was down for a while; from now on everybody is answered at once.
    world.clock.advance(HANGS);
    provider.answer();
    dispatch(&world, &provider).await;
    let well = super::world::Carrier::default();
    world.carried_by(Arc::new(well.clone()), CONNECTIONS);
    world.dispatcher.recover(world.clock.now()).await.unwrap();
    while let Some(next) = world.next_due().await {
        world.clock.advance_to(next);
        world.settle().await;
    }
    let states: std::collections::BTreeMap<_, usize> =
        world.statuses().await.into_iter().fold(Default::default(), |mut counts, status| {
            *counts.entry(status).or_default() += 1;
            counts
        });
    // What was with it when the provider was changed has lost its answer.
    let lost = states.get("unknown").copied().unwrap_or(0);
    assert!(lost <= CONNECTIONS / 4, "{states:?}");
    assert_eq!(states.get("sent").copied().unwrap_or(0) + lost, 218, "{states:?}");
}

/// Everybody of a domain of their own, with one cart each.
async fn shop_of(people: &[(&str, &str)], connections: usize, takes: fn(&str) -> Span) -> (World, Provider) {
    let mut world = World::with(&[campaign("cart", "Product Added", "")]).await;
    let provider = Provider::new(world.clock.clone(), takes, |_| accepted());
    world.carried_by(Arc::new(provider.clone()), connections);
    for (user, domain) in people {
        world.identify(user, &format!("{user}@{domain}")).await;
    }
    (world, provider)
}

async fn add_to_cart(world: &mut World, provider: &Provider, users: &[&str]) {
    for user in users {
        // One after the other, so that their order is one.
        world.clock.advance(Span::from_millis(1));
        world.track(user, "Product Added", "c").await;
    }
    world.process().await;
    dispatch(world, provider).await;
}

async fn pass(world: &World, provider: &Provider, seconds: i64) {
    world.clock.advance(Span::from_seconds(seconds));
    provider.answer();
    dispatch(world, provider).await;
}

async fn status_of(world: &World, user: &str) -> &'static str {
    let messages = world.messages().await;
    let mut of_user = messages.iter().filter(|one| one.address.as_ref().is_some_and(|to| to.starts_with(user)));
    of_user.next_back().unwrap().status.name()
}

#[tokio::test]
async fn a_slow_domain_gets_the_first_place_that_comes_free_and_asks_for_none_before() {
    let people = ["dee", "ann", "bob", "eve", "fay"].map(|user| (user, format!("{user}.example")));
    let people: Vec<(&str, &str)> = people.iter().map(|(user, domain)| (*user, domain.as_str())).collect();
    let takes = |to: &str| Span::from_seconds(if to.starts_with("dee") { 6 } else { 3 });
    let (mut world, provider) = shop_of(&people, 2, takes).await;
    add_to_cart(&mut world, &provider, &["dee"]).await;
    pass(&world, &provider, 6).await;
    assert_eq!(world.statuses().await, ["sent"], "and its domain is known to be slow");
    add_to_cart(&mut world, &provider, &["ann", "bob", "eve", "fay"]).await;
    world.track("dee", "Product Added", "again").await;
    world.process().await;
    dispatch(&world, &provider).await;
    assert_eq!(provider.has(), ["ann", "bob"]);
    let waits = world.messages().await.into_iter().find(|one| one.status.name() == "claimed").unwrap();
    assert_eq!(world.path(waits.id).await, ["queued", "claimed"], "it is not marked again and again");
    pass(&world, &provider, 3).await;
    assert_eq!(provider.has(), ["eve", "dee"], "and not fay, who was marked long before");
}

#[tokio::test]
async fn after_a_stop_one_message_tries_the_transport_however_long_it_takes() {
    let people: Vec<(String, String)> = (0..12).map(|n| (format!("p{n}"), format!("d{n}.example"))).collect();
    let people: Vec<(&str, &str)> = people.iter().map(|(user, domain)| (user.as_str(), domain.as_str())).collect();
    let users: Vec<&str> = people.iter().map(|(user, _)| *user).collect();
    let (mut world, provider) = shop_of(&people, 5, |_| Span::from_seconds(2)).await;
    provider.will_say(|_| Outcome::TransportDown { cause: "535 wrong password".into() });
    add_to_cart(&mut world, &provider, &users).await;
    pass(&world, &provider, 2).await;
    assert_eq!((provider.pending(), world.dispatcher.stopped().len()), (0, 1));
    pass(&world, &provider, 61).await;
    assert_eq!(provider.pending(), 1, "one tries");
    dispatch(&world, &provider).await;
    pass(&world, &provider, 1).await;
    assert_eq!(provider.pending(), 1, "and nobody else, until it has its answer");
    pass(&world, &provider, 1).await;
    assert_eq!(provider.pending(), 0);
    provider.will_say(|_| accepted());
    pass(&world, &provider, 121).await;
    assert_eq!(provider.pending(), 1);
    pass(&world, &provider, 2).await;
    assert_eq!(provider.pending(), 4, "it works");
    pass(&world, &provider, 2).await;
    pass(&world, &provider, 2).await;
    pass(&world, &provider, 2).await;
    assert_eq!(world.statuses().await, ["sent"; 12]);
    assert!(world.messages().await.iter().all(|message| message.attempts == 1), "a stop spends no tries");
}

#[tokio::test]
async fn what_waits_long_for_a_place_is_looked_at_again() {
    let people = [("ann", "a.example"), ("bob", "b.example"), ("dee", "d.example"), ("eve", "e.example")];
    let (mut world, provider) = shop_of(&people, 2, |_| HANGS).await;
    add_to_cart(&mut world, &provider, &["ann", "bob", "dee", "eve"]).await;
    assert_eq!(provider.has(), ["ann", "bob"]);
    assert_eq!((status_of(&world, "dee").await, status_of(&world, "eve").await), ("sending", "sending"));
    world.track("dee", "Order Completed", "c").await;
    world.process().await;
    pass(&world, &provider, 6).await;
    assert_eq!(status_of(&world, "dee").await, "suppressed", "she has bought meanwhile");
    pass(&world, &provider, 30).await;
    assert_eq!(provider.has(), ["eve"]);
}

#[tokio::test]
async fn what_was_claimed_long_before_its_turn_goes_as_its_person_is_by_then() {
    let people = [("ann", "a.example"), ("bob", "b.example"), ("dee", "d.example"), ("eve", "e.example")];
    let takes = |to: &str| Span::from_seconds(if to.starts_with("ann") { 4 } else { 1 });
    let (mut world, provider) = shop_of(&people, 1, takes).await;
    add_to_cart(&mut world, &provider, &["ann", "bob", "dee", "eve"]).await;
    assert_eq!((status_of(&world, "dee").await, status_of(&world, "eve").await), ("claimed", "claimed"));
    // Somebody who did nothing of it is not looked at again.
    world.track("dee", "Order Completed", "c").await;
    world.process().await;
    for seconds in [4, 1, 1, 1] {
        pass(&world, &provider, seconds).await;
    }
    assert_eq!(status_of(&world, "dee").await, "suppressed", "she has bought meanwhile");
    assert_eq!(provider.began("dee@d.example"), None);
    let eve = world.messages().await.into_iter().find(|one| one.address.as_deref() == Some("eve@e.example")).unwrap();
    assert_eq!(world.path(eve.id).await, ["queued", "claimed", "sending", "sent"]);
}

#[tokio::test]
async fn nothing_stays_marked_when_the_database_fails_while_a_transport_stops() {
    let people = [("ann", "a.example"), ("bob", "b.example"), ("dee", "d.example"), ("eve", "e.example")];
    let takes = |to: &str| Span::from_seconds(if to.starts_with("ann") { 1 } else { 3 });
    let (mut world, provider) = shop_of(&people, 2, takes).await;
    add_to_cart(&mut world, &provider, &["ann", "bob", "dee", "eve"]).await;
    provider.will_say(|_| Outcome::TransportDown { cause: "connection refused".into() });
    refuse_steps(&world, true).await;
    world.clock.advance(Span::from_seconds(1));
    provider.answer();
    while world.dispatcher.unanswered() > provider.pending() {
        tokio::task::yield_now().await;
    }
    assert!(world.dispatcher.advance(world.clock.now()).await.is_err(), "the database takes no step");
    refuse_steps(&world, false).await;
    pass(&world, &provider, 2).await;
    assert!(!world.statuses().await.contains(&"sending"), "{:?}", world.statuses().await);
    provider.will_say(|_| accepted());
    for seconds in [61, 3, 3, 3] {
        pass(&world, &provider, seconds).await;
    }
    assert_eq!(world.statuses().await, ["sent"; 4]);
}

/// Lets every step of a message fail, or none any more.
async fn refuse_steps(world: &World, refused: bool) {
    let statements: &[&str] = match (super::BACKEND, refused) {
        (Backend::Sqlite, true) => {
            &["CREATE TRIGGER refuse BEFORE UPDATE ON messages BEGIN SELECT RAISE(ABORT, 'refused'); END"]
        }
        (Backend::Sqlite, false) => &["DROP TRIGGER refuse"],
        (Backend::Postgres, true) => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused''; END'",
            "CREATE TRIGGER refuse BEFORE UPDATE ON messages FOR EACH ROW EXECUTE FUNCTION refuse()",
        ],
        (Backend::Postgres, false) => &["DROP TRIGGER refuse ON messages", "DROP FUNCTION refuse"],
    };
    for statement in statements {
        let statement = (*statement).to_owned();
        world
            .log
            .writer()
            .change(Queue::Effects, move |tx, _| {
                Box::pin(async move { tx.execute_unprepared(&statement).await.map(drop).map_err(Into::into) })
            })
            .await
            .unwrap();
    }
}
