//! A recipient's domain that hangs holds its own messages and nobody else's: a hundred domains over a provider whose
//! answers take virtual time.
//!
//! To see it fail, let `Pace::share` give every domain all connections, or `Dispatcher::advance` wait for every answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use carillon::channel::{Channel, Unusable};
use carillon::clock::Clock;
use carillon::ids::{Span, Timestamp};
use carillon::message::Outcome;
use carillon::render::{Content, Rendered};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::world::{World, campaign, reason_of};

pub const CONNECTIONS: usize = 8;
const HANGING: &str = "slow.example";
const HANGS: Span = Span::from_seconds(30);
/// Takes all mail, each after a while.
pub const TARPIT: &str = "tarpit.example";

/// Answers when its time has come.
#[derive(Clone)]
pub struct Provider {
    clock: Clock,
    /// How long a mail to [`TARPIT`] takes.
    pub tarpit: Arc<Mutex<Span>>,
    state: Arc<Mutex<State>>,
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
}

impl Provider {
    pub fn new(clock: Clock) -> Self {
        Self { clock, tarpit: Arc::new(Mutex::new(Span::from_seconds(6))), state: Arc::default() }
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
            let hangs = to.ends_with(HANGING);
            let began = state.began[&to];
            state.ended.push((to, began, now));
            let outcome = if hangs {
                Outcome::Retry { cause: "no answer in time".into(), after: None, slow_domain: false }
            } else {
                Outcome::Accepted { reply: "250 ok".into() }
            };
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

    fn others(&self) -> Vec<(String, Timestamp, Timestamp)> {
        let ended = self.state.lock().unwrap().ended.clone();
        ended.into_iter().filter(|(to, ..)| !to.ends_with(HANGING)).collect()
    }
}

impl Channel for Provider {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        let Content::Email(email) = rendered.content() else { panic!("not an e-mail") };
        let to = email.to.address.clone();
        let now = self.clock.now();
        let took = if to.ends_with(HANGING) {
            HANGS
        } else if to.ends_with(TARPIT) {
            *self.tarpit.lock().unwrap()
        } else {
            Span::from_millis(20 + to.bytes().map(i64::from).sum::<i64>() % 7 * 10)
        };
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
    loop {
        while world.dispatcher.unanswered() > provider.pending() {
            tokio::task::yield_now().await;
        }
        if world.dispatcher.advance(world.clock.now()).await.unwrap() == 0 {
            return;
        }
    }
}

/// Two messages to each of 99 domains, one every 50 ms; before them, so many to one that hangs.
async fn run(hanging: usize) -> (World, Provider) {
    let mut world = World::with(&[campaign("cart", "Product Added", "")]).await;
    let provider = Provider::new(world.clock.clone());
    world.carried_by(Arc::new(provider.clone()), CONNECTIONS);
    let slow: Vec<String> = (0..hanging).map(|n| format!("slow{n}")).collect();
    let others: Vec<String> = (0..198).map(|n| format!("p{n}")).collect();
    for user in &slow {
        world.identify(user, &format!("{user}@{HANGING}")).await;
    }
    for (n, user) in others.iter().enumerate() {
        world.identify(user, &format!("{user}@d{}.example", n % 99)).await;
    }
    for user in &slow {
        world.track(user, "Product Added", "c").await;
    }
    world.process().await;
    dispatch(&world, &provider).await;
    let start = world.clock.now();
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

#[tokio::test]
async fn one_domain_that_hangs_delays_none_of_99_others() {
    let (_, alone) = run(0).await;
    let (world, beside) = run(150).await;
    assert_eq!(beside.others(), alone.others(), "the same order, and each ends when it ended without");
    let most = beside.state.lock().unwrap().most_hanging;
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
