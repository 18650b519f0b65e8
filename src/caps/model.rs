//! Every interleaving of three workers that claim for one customer, over the real slot-keeping code and a database row
//! in miniature, with faults: the store flushed, the store rolled back to any earlier state, a worker dying anywhere.
//! The workers' clocks differ, and once the record changes without the store: a merge, an import, a send without it.
//!
//! Messages A (e-mail), B (SMS) and C (e-mail) meet the caps "1 e-mail" and "2 of any". With versions chained over
//! their changes no reachable state breaks a cap. With the chain taken away, so that a version is a plain counter, the
//! same search must find a broken one: that shows the search can find any.
//!
//! What recurs in many worlds (versions, records, states of the store) is kept once and named by a number, and what the
//! real code answers is remembered by the numbers it was asked about.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use jiff::tz::TimeZone;

use crate::caps::held::Held;
use crate::caps::{Ask, History, Released, Reserved};
use crate::guard::{CapVersion, Change, Rule, Scope, Slot, Subject, Window};
use crate::ids::{EnrollmentId, MessageId, ProfileId, Span, Timestamp};
use crate::message::Channel;

const DAY: Span = Span::from_days(1);
const FAULTS_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Versions {
    Chained,
    /// The mutation: a version is its step number and nothing else.
    Counted,
}

/// The number of a value that recurs.
type Id = u32;
type VersionId = Id;
type RowId = Id;
type StoreId = Id;

/// Values by number and numbers by value. The default value has number 0.
struct Known<T> {
    values: Vec<T>,
    ids: BTreeMap<T, Id>,
}

impl<T: Ord + Clone + Default> Default for Known<T> {
    fn default() -> Self {
        Self { values: vec![T::default()], ids: BTreeMap::from([(T::default(), 0)]) }
    }
}

impl<T: Ord + Clone> Known<T> {
    fn id(&mut self, value: T) -> Id {
        *self.ids.entry(value).or_insert_with_key(|value| {
            self.values.push(value.clone());
            Id::try_from(self.values.len() - 1).unwrap()
        })
    }

    fn get(&self, id: Id) -> &T {
        &self.values[id as usize]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Worker {
    Start,
    Reserve {
        expected: VersionId,
        at: Timestamp,
    },
    ReadSeed {
        expected: VersionId,
    },
    WriteSeed {
        expected: VersionId,
        seed: RowId,
    },
    Commit {
        from: VersionId,
        to: VersionId,
        at: Timestamp,
    },
    /// The provider refused for good: the slot goes back, first in the store, then in the database.
    Release,
    CommitRelease {
        from: VersionId,
        to: VersionId,
    },
    Done,
}

/// The subject's row and its slots in the message record, as one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Row {
    version: VersionId,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    row: RowId,
    /// Number 0 is a store that knows nothing.
    store: StoreId,
    workers: [Worker; 3],
    /// States the store has been in to which it will be rolled back, each by one of the faults left; sorted, 0 for none.
    /// Guessing them ahead reaches every roll-back, and no world need remember all that the store has been.
    returns_to: [StoreId; FAULTS_MAX],
    faults_left: usize,
    /// A message has yet to come whose slot comes into the record without the store.
    outside: bool,
    /// A claim was committed that a cap forbids.
    broken: bool,
}

/// What a worker asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    Reserve { expected: VersionId, at: Timestamp },
    Seed { row: RowId },
    Withdraw { reserved: VersionId, before: VersionId },
    Release { from: VersionId },
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Stale,
    Full,
    Behind { last: Timestamp },
    Granted { version: VersionId, at: Timestamp },
    Released { version: VersionId },
    Nothing,
}

/// What becomes of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Write {
    Take { worker: usize, at: Timestamp, to: VersionId },
    GiveUp { worker: usize, to: VersionId },
    Outside,
}

struct Search {
    versions: Versions,
    /// So many workers may also take a reservation back or give up a committed slot.
    fickle: usize,
    outside: Slot,
    wishes: [Slot; 3],
    rules: [Rule; 2],
    version: Known<CapVersion>,
    row: Known<Row>,
    store: Known<Option<Held>>,
    answers: HashMap<(StoreId, usize, Call), (StoreId, Answer)>,
    written: HashMap<(RowId, Write), RowId>,
}

/// The second worker's clock is ahead of the others'.
fn wishes() -> [Slot; 3] {
    [slot(b"A", 0, Channel::Email), slot(b"B", 5, Channel::Sms), slot(b"C", 2, Channel::Email)]
}

fn slot(name: &[u8], at: i64, channel: Channel) -> Slot {
    Slot {
        message: MessageId::derive(&[name]),
        at: Timestamp::from_millis(at),
        channel,
        topic: None,
        campaign: "c".into(),
        enrollment: EnrollmentId::derive(&[name]),
    }
}

fn rules() -> [Rule; 2] {
    [Rule::new(1, Window::Rolling(DAY), Scope::Channel(Channel::Email)), Rule::new(2, Window::Rolling(DAY), Scope::Any)]
}

impl World {
    fn start(faults_left: usize, outside: bool) -> Self {
        let (workers, returns_to) = ([Worker::Start; 3], [0; FAULTS_MAX]);
        Self { row: 0, store: 0, workers, returns_to, faults_left, outside, broken: false }
    }

    fn after(mut self, worker: usize, next: Worker) -> Self {
        self.workers[worker] = next;
        self
    }

    /// The `n`th of the states it returns to is `store`. The first is 0 where a fault is left without one.
    fn returning(mut self, n: usize, store: StoreId) -> Self {
        self.returns_to[n] = store;
        self.returns_to.sort_unstable();
        self
    }
}

impl Row {
    /// Counted by hand, on what the database says was sent.
    fn exceeds_a_cap(&self) -> bool {
        let mails = self.slots.iter().filter(|slot| slot.channel == Channel::Email).count();
        mails > 1 || self.slots.len() > 2
    }
}

impl Search {
    fn new(versions: Versions, fickle: usize, outside: Channel) -> Self {
        Self {
            versions,
            fickle,
            outside: slot(b"D", 1, outside),
            wishes: wishes(),
            rules: rules(),
            version: Known::default(),
            row: Known::default(),
            store: Known::default(),
            answers: HashMap::new(),
            written: HashMap::new(),
        }
    }

    /// The number of a version; a counter forgets its chain.
    fn name(&mut self, version: CapVersion) -> VersionId {
        self.version.id(match self.versions {
            Versions::Chained => version,
            Versions::Counted => CapVersion { chain: [0; 16], ..version },
        })
    }

    fn version_of(&self, row: RowId) -> VersionId {
        self.row.get(row).version
    }

    /// Asks the real code, or remembers what it answered.
    fn call(&mut self, store: StoreId, worker: usize, call: Call) -> (StoreId, Answer) {
        if let Some(known) = self.answers.get(&(store, worker, call)) {
            return *known;
        }
        let mut held = self.store.get(store).clone();
        let answer = self.really(&mut held, worker, call);
        if let (Some(held), Versions::Counted) = (&mut held, self.versions) {
            held.version.chain = [0; 16];
        }
        let found = (self.store.id(held), answer);
        self.answers.insert((store, worker, call), found);
        found
    }

    fn really(&mut self, held: &mut Option<Held>, worker: usize, call: Call) -> Answer {
        let message = self.wishes[worker].message;
        match call {
            Call::Reserve { expected, at } => {
                let (wish, rules) = (&Slot { at, ..self.wishes[worker].clone() }, &self.rules);
                let (subject, zone) = (&Subject::Profile(ProfileId(1)), &TimeZone::UTC);
                let expected = *self.version.get(expected);
                let ask = Ask { subject, expected, horizon: DAY, rules, slot: wish, priority: 50, zone, counts: true };
                match held.as_mut().map_or(Reserved::Stale, |held| held.reserve(&ask)) {
                    Reserved::Stale => Answer::Stale,
                    Reserved::Full(_) => Answer::Full,
                    Reserved::Behind { last } => Answer::Behind { last },
                    Reserved::Granted { version, at } => Answer::Granted { version: self.name(version), at },
                }
            }
            Call::Seed { row } => {
                let row = self.row.get(row);
                let (version, slots) = (*self.version.get(row.version), row.slots.clone());
                *held = Some(Held::seeded(History { version, since: self.wishes[worker].at.minus(DAY), slots }));
                Answer::Nothing
            }
            Call::Withdraw { reserved, before } => {
                let (reserved, before) = (*self.version.get(reserved), *self.version.get(before));
                held.iter_mut().for_each(|held| held.withdraw(message, reserved, before));
                Answer::Nothing
            }
            Call::Release { from } => {
                let from = *self.version.get(from);
                let version = match held.as_mut().map_or(Released::Stale, |held| held.release(message, from)) {
                    Released::Done { version } => version,
                    // A stale store is no obstacle: the database moves on by itself and the store is reseeded later.
                    Released::Absent | Released::Stale => from.next(&Change::Released { message }),
                };
                Answer::Released { version: self.name(version) }
            }
        }
    }

    /// Writes to the record, or remembers what became of it.
    fn write(&mut self, row: RowId, write: Write) -> RowId {
        if let Some(known) = self.written.get(&(row, write)) {
            return *known;
        }
        let mut changed = self.row.get(row).clone();
        match write {
            Write::Take { worker, at, to } => {
                changed.slots.push(Slot { at, ..self.wishes[worker].clone() });
                changed.version = to;
            }
            Write::GiveUp { worker, to } => {
                changed.slots.retain(|slot| slot.message != self.wishes[worker].message);
                changed.version = to;
            }
            Write::Outside => {
                let change = Change::Taken { message: self.outside.message, at: self.outside.at };
                changed.version = self.name(self.version.get(changed.version).next(&change));
                changed.slots.push(self.outside.clone());
            }
        }
        let found = self.row.id(changed);
        self.written.insert((row, write), found);
        found
    }

    fn steps(&mut self, world: World, found: &mut Vec<World>) {
        (0..3).for_each(|worker| self.turn(world, worker, found));
        if world.outside {
            found.push(World { outside: false, row: self.write(world.row, Write::Outside), ..world });
        }
        let promised = world.returns_to.iter().filter(|store| **store != 0).count();
        for (n, store) in world.returns_to.into_iter().enumerate().filter(|(_, store)| *store != 0) {
            // Failed over, failed back.
            let faults_left = world.faults_left - 1;
            found.push(World { store, faults_left, ..world }.returning(n, 0));
        }
        if promised == world.faults_left {
            return;
        }
        if world.store != 0 {
            found.push(world.returning(0, world.store));
            found.push(World { store: 0, faults_left: world.faults_left - 1, ..world });
        }
        for worker in 0..3 {
            if !matches!(world.workers[worker], Worker::Start | Worker::Done) {
                found.push(World { faults_left: world.faults_left - 1, ..world }.after(worker, Worker::Done));
            }
        }
    }

    /// What one worker may do next.
    fn turn(&mut self, world: World, worker: usize, found: &mut Vec<World>) {
        let current = self.version_of(world.row);
        let wished = self.wishes[worker].at;
        let (next, changed) = match world.workers[worker] {
            Worker::Start => (Worker::Reserve { expected: current, at: wished }, world),
            Worker::Reserve { expected, at } => {
                let (store, answer) = self.call(world.store, worker, Call::Reserve { expected, at });
                let next = match answer {
                    Answer::Stale => Worker::ReadSeed { expected },
                    Answer::Behind { last } => Worker::Reserve { expected, at: last },
                    Answer::Granted { version, at } => Worker::Commit { from: expected, to: version, at },
                    Answer::Full | Answer::Released { .. } | Answer::Nothing => Worker::Done,
                };
                (next, World { store, ..world })
            }
            Worker::ReadSeed { expected } => (Worker::WriteSeed { expected, seed: world.row }, world),
            Worker::WriteSeed { expected, seed } => {
                let (store, _) = self.call(world.store, worker, Call::Seed { row: seed });
                (Worker::Reserve { expected, at: wished }, World { store, ..world })
            }
            Worker::Commit { from, to, at } => return self.commit(world, worker, (from, to), at, found),
            Worker::Release => {
                let (store, answer) = self.call(world.store, worker, Call::Release { from: current });
                let Answer::Released { version } = answer else { panic!("{answer:?}") };
                (Worker::CommitRelease { from: current, to: version }, World { store, ..world })
            }
            // `SET cap_version = to WHERE cap_version = from`, and again from the start where it is another.
            Worker::CommitRelease { from, to } if from == current => {
                (Worker::Done, World { row: self.write(world.row, Write::GiveUp { worker, to }), ..world })
            }
            Worker::CommitRelease { .. } => (Worker::Release, world),
            Worker::Done => return,
        };
        found.push(changed.after(worker, next));
    }

    fn commit(
        &mut self,
        world: World,
        worker: usize,
        (from, to): (VersionId, VersionId),
        at: Timestamp,
        found: &mut Vec<World>,
    ) {
        let done = from == self.version_of(world.row);
        let mut committed = world;
        if done {
            committed.row = self.write(world.row, Write::Take { worker, at, to });
            committed.broken |= self.row.get(committed.row).exceeds_a_cap();
        }
        found.push(committed.after(worker, if done { Worker::Done } else { Worker::Start }));
        if worker >= self.fickle {
            return;
        }
        if done {
            found.push(committed.after(worker, Worker::Release));
        }
        // Or its other subject refused, and it takes the reservation back.
        let (store, _) = self.call(world.store, worker, Call::Withdraw { reserved: to, before: from });
        found.push(World { store, ..world }.after(worker, Worker::Done));
    }

    /// Searches every state reachable from a start: how many there are, and the first that breaks a cap.
    fn explore(mut self, faults: usize, outside: bool) -> (usize, Option<String>) {
        let start = World::start(faults, outside);
        let mut seen = HashSet::from([start]);
        let mut pending = VecDeque::from([start]);
        let mut found = Vec::new();
        while let Some(world) = pending.pop_front() {
            if world.broken {
                let (row, store) = (self.row.get(world.row), self.store.get(world.store));
                return (seen.len(), Some(format!("{world:?}\nin the record {row:?}\nin the store {store:?}")));
            }
            self.steps(world, &mut found);
            pending.extend(found.drain(..).filter(|next| seen.insert(*next)));
        }
        (seen.len(), None)
    }
}

/// However the workers interleave, no cap breaks; and the search was one.
fn holds(faults: usize, fickle: usize, outside: Option<Channel>, states_min: usize) {
    let search = Search::new(Versions::Chained, fickle, outside.unwrap_or(Channel::Email));
    let (states, broken) = search.explore(faults, outside.is_some());
    assert_eq!(broken, None);
    assert!(states > states_min, "{states} states are too few to mean anything");
}

#[test]
fn with_chained_versions_no_interleaving_breaks_a_cap() {
    holds(0, 3, None, 10_000);
}

#[test]
fn with_chained_versions_no_fault_amid_second_thoughts_breaks_a_cap() {
    holds(1, 3, None, 250_000);
}

#[test]
fn with_chained_versions_no_two_faults_break_a_cap() {
    holds(2, 1, None, 250_000);
}

#[test]
fn a_change_of_the_record_that_no_store_was_told_of_breaks_no_cap() {
    for channel in [Channel::Email, Channel::Push] {
        holds(0, 1, Some(channel), 20_000);
    }
}

#[test]
fn a_change_of_the_record_that_no_store_was_told_of_breaks_no_cap_amid_a_fault() {
    for channel in [Channel::Email, Channel::Push] {
        holds(1, 1, Some(channel), 250_000);
    }
}

#[test]
fn with_a_plain_counter_a_cap_breaks_without_any_fault() {
    let (_, broken) = Search::new(Versions::Counted, 0, Channel::Email).explore(0, false);
    assert!(broken.is_some(), "the search finds no break where there is one");
}
