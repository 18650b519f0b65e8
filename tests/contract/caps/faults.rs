//! What Redis forgets, goes back on or hears twice: never a slot too many, on a profile or on an address.
//!
//! Each way to fail strikes at every call of a claim, and in that moment another claimant passes by. The doubles at the
//! end break one rule each, and the same strikes find them out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use carillon::caps::{Ask, CapStore, History, Released, Reserved, Unreachable, take_unasked};
use carillon::guard::{CapVersion, Change, Cleared, Full, Slot, Subject, settle};
use carillon::ids::{MessageId, Timestamp};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::caps::record::{Book, Record, request};
use crate::caps::servers::{Redis, Wire};
use crate::caps::{DAY, at, claim, stores, try_claim};

const BOX: &str = "ann@example.com";

/// Claims until the store can be asked.
pub async fn claim_at_last<B: Book>(
    store: &dyn CapStore,
    record: &B,
    now: Timestamp,
    who: (i64, &str),
    name: u64,
) -> bool {
    for _ in 0..50 {
        if let Ok(answer) = try_claim(store, record, now, who.0, who.1, name).await {
            return answer;
        }
    }
    panic!("the store does not come back");
}

/// A store under which something happens before one of its calls, and another claimant passes by.
struct Struck {
    inner: Arc<dyn CapStore>,
    calls: AtomicUsize,
    at: usize,
    strike: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Struck {
    async fn call<T>(&self, answer: BoxFuture<'_, Result<T, Unreachable>>) -> Result<T, Unreachable> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            let strike = self.strike.lock().unwrap().take();
            strike.unwrap().await;
        }
        answer.await
    }
}

impl CapStore for Struck {
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

/// A record under which it happens before the claiming transaction.
struct StruckBook<B> {
    inner: Arc<B>,
    strike: Mutex<Option<Strike>>,
}

type Strike = Box<dyn FnOnce() + Send>;

impl<B: Book> Book for StruckBook<B> {
    fn versions(&self, subjects: &[Subject; 2]) -> [CapVersion; 2] {
        self.inner.versions(subjects)
    }

    fn history(&self, subject: &Subject) -> (CapVersion, Vec<Slot>) {
        self.inner.history(subject)
    }

    fn commit(&self, cleared: &Cleared) -> bool {
        if let Some(strike) = self.strike.lock().unwrap().take() {
            strike();
        }
        self.inner.commit(cleared)
    }
}

type Fault = Arc<dyn Fn() + Send + Sync>;

/// Slots used of the person and of the address after two claims, and a third one that is struck at call number `turn`
/// (or, with none, just before its transaction), while others pass by; and whether the strike came.
async fn struck<B: Book + Default + Send + Sync + 'static>(
    store: Arc<dyn CapStore>,
    turn: Option<usize>,
    begun: &Fault,
    fault: &Fault,
) -> ([usize; 2], bool) {
    let record = Arc::new(B::default());
    assert!(claim(&*store, &*record, at(0), 1, BOX, 1).await);
    begun();
    assert!(claim(&*store, &*record, at(1), 1, BOX, 2).await);
    let (passing, fault) = ((store.clone(), record.clone()), fault.clone());
    let strike = async move {
        fault();
        claim_at_last(&*passing.0, &*passing.1, at(2), (1, BOX), 3).await;
    };
    let has_come = match turn {
        Some(turn) => {
            let (calls, strike) = (AtomicUsize::new(0), Mutex::new(Some(strike.boxed())));
            let between = Struck { inner: store.clone(), calls, at: turn, strike };
            claim_at_last(&between, &*record, at(2), (1, BOX), 4).await;
            between.strike.into_inner().unwrap().is_none()
        }
        None => {
            // On a thread of its own, for a commit cannot wait for a future.
            let here = || tokio::runtime::Runtime::new().unwrap().block_on(strike);
            let there: Strike = Box::new(|| std::thread::spawn(here).join().unwrap());
            let between = StruckBook { inner: record.clone(), strike: Mutex::new(Some(there)) };
            claim_at_last(&*store, &between, at(2), (1, BOX), 4).await;
            between.strike.into_inner().unwrap().is_none()
        }
    };
    for name in 5..8 {
        claim_at_last(&*store, &*record, at(3), (1, BOX), name).await;
    }
    (record.used(1, BOX), has_come)
}

/// What the worst strike led to, at every call there is and before the transaction.
async fn worst<B: Book + Default + Send + Sync + 'static>(
    make: impl Fn() -> Arc<dyn CapStore>,
    begun: Fault,
    fault: Fault,
) -> usize {
    let (mut worst, mut turn, mut strikes) = (0, 0, 0);
    loop {
        let (used, has_come) = struck::<B>(make(), Some(turn), &begun, &fault).await;
        worst = worst.max(used[0]).max(used[1]);
        if !has_come {
            break;
        }
        strikes += 1;
        turn += 1;
    }
    assert!(strikes >= 2, "a claim asks for two subjects at least");
    let (used, has_come) = struck::<B>(make(), None, &begun, &fault).await;
    assert!(has_come);
    worst.max(used[0]).max(used[1])
}

fn nothing() -> Fault {
    Arc::new(|| {})
}

#[tokio::test]
async fn flushed_at_any_moment_of_a_claim_it_grants_no_fourth_slot() {
    let redis = Arc::new(Redis::start());
    let (server, flushed) = (carillon::caps::redis::Server::new(&redis.url()).unwrap(), redis.clone());
    let make = || stores::corner_of(&server);
    assert_eq!(worst::<Record>(make, nothing(), Arc::new(move || flushed.flush())).await, 3);
}

#[tokio::test]
async fn shut_down_and_started_with_what_it_had_saved_or_nothing_it_grants_no_fourth_slot() {
    for saves in [false, true] {
        let redis = Arc::new(Mutex::new(Redis::start()));
        let url = redis.lock().unwrap().url();
        let (saving, restarting) = (redis.clone(), redis.clone());
        let begun: Fault = Arc::new(move || {
            if saves {
                saving.lock().unwrap().say::<redis::Value>("SAVE");
            }
        });
        let fault: Fault = Arc::new(move || {
            let mut redis = restarting.lock().unwrap();
            redis.shut_down();
            redis.come_back();
            assert_eq!(redis.keys() > 0, saves);
        });
        let turns = AtomicUsize::new(0);
        let make = || {
            redis.lock().unwrap().flush();
            stores::redis_at(&url, &format!("restarted-{}", turns.fetch_add(1, Ordering::Relaxed)))
        };
        assert_eq!(worst::<Record>(make, begun, fault).await, 3);
    }
}

/// People at every stage when the replica stops hearing of its master, and at every stage when it takes its place, and
/// when the old master is back with what it knew.
#[tokio::test]
async fn failed_over_to_a_replica_that_lost_the_last_second_and_back_it_grants_no_fourth_slot() {
    let [old, new] = [(); 2].map(|()| Redis::start_with(&["--repl-diskless-sync-delay", "0"]));
    new.follow(&old);
    let wire = Wire::to(&old);
    let (store, record) = (stores::redis_at(&wire.url(), "failed-over"), Record::default());
    let mut name = 0;
    let mut tries = async |minute: i64, attempts: &dyn Fn(i64) -> i64| {
        for person in 0..27 {
            for _ in 0..attempts(person) {
                name += 1;
                let address = format!("box{person}@example.com");
                claim_at_last(&*store, &record, at(minute), (person, &address), name).await;
            }
        }
        record.at_most_three_a_day();
    };
    tries(0, &|person| person % 3).await;
    new.follow(&old);
    new.say::<redis::Value>("REPLICAOF NO ONE");
    tries(10, &|person| person / 3 % 3).await;
    assert!(new.say::<String>("INFO stats").contains("sync_full"));
    wire.lead_to(&new);
    wire.cut();
    tries(20, &|person| person / 9).await;
    // And back: what it knows is older than what the other was told.
    wire.lead_to(&old);
    wire.cut();
    tries(30, &|_| 2).await;
    wire.lead_to(&new);
    wire.cut();
    tries(40, &|_| 2).await;
    tries(25 * 60, &|_| 2).await;
    let used = (0..27).map(|person| record.used(person, &format!("box{person}@example.com")));
    assert!(used.into_iter().all(|used| used == [5, 5]), "three of the first day, and two of the next");
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_left_for_the_one_that_took_its_place() {
    let [old, new] = [(); 2].map(|()| Redis::start_with(&["--repl-diskless-sync-delay", "0"]));
    let wire = Wire::to(&old);
    let (store, record) = (stores::redis_at(&wire.url(), "demoted"), Record::default());
    assert!(claim(&*store, &record, at(0), 1, BOX, 1).await);
    new.follow(&old);
    new.say::<redis::Value>("REPLICAOF NO ONE");
    // Its name leads to the new one, and nobody ends the connection that is open.
    wire.lead_to(&new);
    old.follow(&new);
    for name in 2..6 {
        claim_at_last(&*store, &record, at(1), (1, BOX), name).await;
    }
    assert_eq!(record.used(1, BOX), [3, 3]);
}

#[tokio::test]
async fn what_was_counted_without_the_store_fills_its_slots_when_it_is_asked_again() {
    let (store, record) = (stores::redis(), Record::default());
    for name in 1..3 {
        assert!(claim(&*store, &record, at(0), 1, BOX, name).await);
    }
    // Obeys no cap and counts: nobody was asked.
    let free = request(1, BOX, 3, &[], at(5));
    let reservation = take_unasked(at(5), &free, record.versions(free.subjects()));
    assert!(record.commit(&settle(free, reservation).unwrap()));
    for name in 4..7 {
        assert!(!claim(&*store, &record, at(6), 1, BOX, name).await);
    }
    assert_eq!(record.used(1, BOX), [3, 3]);
    assert!(claim(&*store, &record, at(0).plus(DAY), 1, BOX, 7).await);
}

/// Three claimants, one five minutes behind, one five minutes ahead, whose turns alternate for four days.
#[tokio::test]
async fn clocks_five_minutes_off_let_no_window_of_a_day_have_a_fourth_slot() {
    for stores in [[(); 3].map(|()| stores::embedded()), {
        let one = stores::redis();
        [(); 3].map(|()| one.clone())
    }] {
        let record = Record::default();
        let mut granted = 0;
        for turn in 0..4 * 24 * 6_u64 {
            let who = (turn * 7 % 3) as usize;
            let clock = at(turn as i64 * 10).plus_millis((who as i64 - 1) * 5 * 60_000);
            granted += usize::from(claim(&*stores[who], &record, clock, 1, BOX, turn).await);
        }
        record.at_most_three_a_day();
        assert!((12..=13).contains(&granted), "{granted} in four days");
    }
}

// --- Doubles that break a rule ---------------------------------------------------------------------------------------

/// A record whose transaction does not compare versions.
#[derive(Default)]
struct Careless(Record);

impl Book for Careless {
    fn versions(&self, subjects: &[Subject; 2]) -> [CapVersion; 2] {
        self.0.versions(subjects)
    }

    fn history(&self, subject: &Subject) -> (CapVersion, Vec<Slot>) {
        self.0.history(subject)
    }

    fn commit(&self, cleared: &Cleared) -> bool {
        self.0.force(cleared);
        true
    }
}

/// A store that answers from what it has, whatever version it is asked about.
#[derive(Default)]
struct Trusting {
    has: Mutex<Vec<(Subject, Slot)>>,
    saved: Mutex<Vec<(Subject, Slot)>>,
}

impl CapStore for Trusting {
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>> {
        let mut has = self.has.lock().unwrap();
        let used =
            has.iter().filter(|(subject, slot)| subject == ask.subject && slot.message != ask.slot.message).count();
        if used >= 3 {
            let full = Full { rule: String::new(), by: Vec::new(), frees_at: ask.slot.at.plus(DAY) };
            return ready(Ok(Reserved::Full(full))).boxed();
        }
        has.push((ask.subject.clone(), ask.slot.clone()));
        let version = ask.expected.next(&Change::Taken { message: ask.slot.message, at: ask.slot.at });
        ready(Ok(Reserved::Granted { version, at: ask.slot.at })).boxed()
    }

    fn reseed<'a>(&'a self, _: &'a Subject, _: History) -> BoxFuture<'a, Result<(), Unreachable>> {
        ready(Ok(())).boxed()
    }

    fn withdraw<'a>(
        &'a self,
        _: &'a Subject,
        message: MessageId,
        _: CapVersion,
        _: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        self.has.lock().unwrap().retain(|(_, slot)| slot.message != message);
        ready(Ok(())).boxed()
    }

    fn release<'a>(
        &'a self,
        _: &'a Subject,
        _: MessageId,
        _: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>> {
        ready(Ok(Released::Stale)).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>> {
        ready(Ok(String::new())).boxed()
    }
}

#[tokio::test]
async fn where_the_record_does_not_compare_versions_the_same_strikes_exceed_the_cap() {
    let redis = Arc::new(Redis::start());
    let (server, flushed) = (carillon::caps::redis::Server::new(&redis.url()).unwrap(), redis.clone());
    let make = || stores::corner_of(&server);
    assert!(worst::<Careless>(make, nothing(), Arc::new(move || flushed.flush())).await > 3);
}

#[tokio::test]
async fn where_the_store_answers_for_any_version_the_same_strikes_exceed_the_cap() {
    let store = Arc::new(Trusting::default());
    let (saving, rolled_back, fresh) = (store.clone(), store.clone(), store.clone());
    let begun: Fault = Arc::new(move || *saving.saved.lock().unwrap() = saving.has.lock().unwrap().clone());
    let fault: Fault = Arc::new(move || *rolled_back.has.lock().unwrap() = rolled_back.saved.lock().unwrap().clone());
    let make = move || {
        fresh.has.lock().unwrap().clear();
        fresh.clone() as Arc<dyn CapStore>
    };
    assert!(worst::<Record>(make, begun, fault).await > 3);
}
