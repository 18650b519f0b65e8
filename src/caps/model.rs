//! Every interleaving of three workers that claim for one customer, over the real slot-keeping code and a database row
//! in miniature, with faults: the store flushed, the store rolled back to any earlier state, a worker dying anywhere.
//! The workers' clocks differ, and once the record changes without the store: a merge, an import, a send without it.
//!
//! Messages A (e-mail), B (SMS) and C (e-mail) meet the caps "1 e-mail" and "2 of any". With versions chained over
//! their changes no reachable state breaks a cap. With the chain taken away, so that a version is a plain counter, the
//! same search must find a broken one: that shows the search can find any.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, VecDeque};

use jiff::tz::TimeZone;

use crate::caps::held::Held;
use crate::caps::{Ask, History, Released, Reserved};
use crate::guard::{CapVersion, Change, Rule, Scope, Slot, Subject, Window};
use crate::ids::{EnrollmentId, MessageId, ProfileId, Span, Timestamp};
use crate::message::Channel;

const DAY: Span = Span::from_days(1);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Versions {
    Chained,
    /// The mutation: a version is its step number and nothing else.
    Counted,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Worker {
    Start,
    Reserve {
        expected: CapVersion,
        at: Timestamp,
    },
    ReadSeed {
        expected: CapVersion,
    },
    WriteSeed {
        expected: CapVersion,
        seed: Row,
    },
    Commit {
        from: CapVersion,
        to: CapVersion,
        at: Timestamp,
    },
    /// The provider refused for good: the slot goes back, first in the store, then in the database.
    Release,
    CommitRelease {
        from: CapVersion,
        to: CapVersion,
    },
    Done,
}

/// The subject's row and its slots in the message record, as one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    version: CapVersion,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    row: Row,
    store: Option<Held>,
    workers: Vec<Worker>,
    /// Every state the store has been in.
    earlier: BTreeSet<Option<Held>>,
    faults_left: u32,
    /// A message whose slot comes into the record without the store.
    outside: Option<Slot>,
    /// A claim was committed that a cap forbids.
    broken: bool,
    /// So many workers may also take a reservation back or give up a committed slot.
    fickle: usize,
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
    fn start(faults_left: u32, fickle: usize) -> Self {
        Self {
            fickle,
            row: Row { version: CapVersion::default(), slots: Vec::new() },
            store: None,
            workers: vec![Worker::Start; 3],
            earlier: BTreeSet::from([None]),
            faults_left,
            outside: None,
            broken: false,
        }
    }

    /// Counted by hand, on what the database says was sent.
    fn exceeds_a_cap(&self) -> bool {
        let mails = self.row.slots.iter().filter(|slot| slot.channel == Channel::Email).count();
        mails > 1 || self.row.slots.len() > 2
    }

    fn after(&self, worker: usize, next: Worker, versions: Versions) -> Self {
        let mut world = self.clone();
        world.workers[worker] = next;
        if let (Some(held), Versions::Counted) = (&mut world.store, versions) {
            held.version.chain = [0; 16];
        }
        // Without a fault to come, where the store has been makes no difference.
        if world.faults_left > 0 {
            world.earlier.insert(world.store.clone());
        } else {
            world.earlier.clear();
        }
        world
    }

    fn steps(&self, versions: Versions) -> Vec<Self> {
        let mut found: Vec<Self> = (0..3).flat_map(|worker| self.turn(worker, versions)).collect();
        if let Some(slot) = &self.outside {
            let mut world = Self { outside: None, ..self.clone() };
            let change = Change::Taken { message: slot.message, at: slot.at };
            world.row.version = versions.of(world.row.version.next(&change));
            world.row.slots.push(slot.clone());
            found.push(world);
        }
        if self.faults_left > 0 {
            let faults_left = self.faults_left - 1;
            // Flushed (`None` is among them), failed over, failed back.
            for store in self.earlier.iter().filter(|earlier| **earlier != self.store) {
                found.push(Self { store: store.clone(), faults_left, ..self.clone() });
            }
            for worker in 0..3 {
                if !matches!(self.workers[worker], Worker::Start | Worker::Done) {
                    let mut world = self.clone();
                    world.workers[worker] = Worker::Done;
                    found.push(Self { faults_left, ..world });
                }
            }
        }
        found
    }

    /// What one worker may do next.
    fn turn(&self, worker: usize, versions: Versions) -> Vec<Self> {
        let message = wishes()[worker].message;
        match self.workers[worker].clone() {
            Worker::Start => {
                let next = Worker::Reserve { expected: self.row.version, at: wishes()[worker].at };
                vec![self.after(worker, next, versions)]
            }
            Worker::Reserve { expected, at } => self.reserve(worker, expected, at, versions),
            Worker::ReadSeed { expected } => {
                vec![self.after(worker, Worker::WriteSeed { expected, seed: self.row.clone() }, versions)]
            }
            Worker::WriteSeed { expected, seed } => {
                let since = wishes()[worker].at.minus(DAY);
                let store = Some(Held::seeded(History { version: seed.version, since, slots: seed.slots }));
                let next = Worker::Reserve { expected, at: wishes()[worker].at };
                vec![Self { store, ..self.clone() }.after(worker, next, versions)]
            }
            Worker::Commit { from, to, at } => {
                let mut committed = self.clone();
                let done = committed.row.commit(from, to);
                committed.row.slots.extend(done.then(|| Slot { at, ..wishes()[worker].clone() }));
                committed.broken |= done && committed.exceeds_a_cap();
                let next = if done { Worker::Done } else { Worker::Start };
                let mut ways = vec![committed.after(worker, next, versions)];
                if worker >= self.fickle {
                    return ways;
                }
                if done {
                    ways.push(committed.after(worker, Worker::Release, versions));
                }
                // Or its other subject refused, and it takes the reservation back.
                let mut withdrawn = self.clone();
                withdrawn.store.iter_mut().for_each(|held| held.withdraw(message, to, from));
                ways.push(withdrawn.after(worker, Worker::Done, versions));
                ways
            }
            Worker::Release => {
                let mut world = self.clone();
                let from = self.row.version;
                let answer = world.store.as_mut().map_or(Released::Stale, |held| held.release(message, from));
                // A stale store is no obstacle: the database moves on by itself and the store is reseeded later.
                let to = match answer {
                    Released::Done { version } => versions.of(version),
                    Released::Absent | Released::Stale => versions.of(from.next(&Change::Released { message })),
                };
                vec![world.after(worker, Worker::CommitRelease { from, to }, versions)]
            }
            Worker::CommitRelease { from, to } => {
                let mut world = self.clone();
                let done = world.row.commit(from, to);
                if done {
                    world.row.slots.retain(|slot| slot.message != message);
                }
                vec![world.after(worker, if done { Worker::Done } else { Worker::Release }, versions)]
            }
            Worker::Done => Vec::new(),
        }
    }

    fn reserve(&self, worker: usize, expected: CapVersion, at: Timestamp, versions: Versions) -> Vec<Self> {
        let (wish, rules) = (&Slot { at, ..wishes()[worker].clone() }, &rules());
        let subject = &Subject::Profile(ProfileId(1));
        let zone = &TimeZone::UTC;
        let ask = Ask { subject, expected, horizon: DAY, rules, slot: wish, priority: 50, zone, counts: true };
        let mut world = self.clone();
        let answer = world.store.as_mut().map_or(Reserved::Stale, |held| held.reserve(&ask));
        let next = match answer {
            Reserved::Stale => Worker::ReadSeed { expected },
            Reserved::Full(_) => Worker::Done,
            Reserved::Behind { last } => Worker::Reserve { expected, at: last },
            Reserved::Granted { version, at } => Worker::Commit { from: expected, to: versions.of(version), at },
        };
        vec![world.after(worker, next, versions)]
    }
}

impl Row {
    /// `SET cap_version = to WHERE cap_version = from`.
    fn commit(&mut self, from: CapVersion, to: CapVersion) -> bool {
        let same = self.version == from;
        if same {
            self.version = to;
        }
        same
    }
}

impl Versions {
    fn of(self, version: CapVersion) -> CapVersion {
        match self {
            Self::Chained => version,
            Self::Counted => CapVersion { chain: [0; 16], ..version },
        }
    }
}

/// Searches every reachable state: how many there are, and the first that breaks a cap.
fn explore(versions: Versions, start: World) -> (usize, Option<World>) {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut pending = VecDeque::from([start]);
    while let Some(world) = pending.pop_front() {
        if world.broken {
            return (seen.len(), Some(world));
        }
        for next in world.steps(versions) {
            if seen.insert(next.clone()) {
                pending.push_back(next);
            }
        }
    }
    (seen.len(), None)
}

#[test]
fn with_chained_versions_no_interleaving_and_no_fault_breaks_a_cap() {
    // Faults and second thoughts multiply, so each search has many of one or some of both.
    for (faults, fickle, states_min) in [(0, 3, 10_000), (1, 1, 20_000), (2, 0, 8_000)] {
        let (states, broken) = explore(Versions::Chained, World::start(faults, fickle));
        assert_eq!(broken, None);
        assert!(states > states_min, "{faults} {fickle}: {states} states are too few to mean anything");
    }
}

#[test]
fn a_change_of_the_record_that_no_store_was_told_of_breaks_no_cap() {
    for (faults, fickle, states_min) in [(0, 1, 2_000), (1, 0, 2_000)] {
        for channel in [Channel::Email, Channel::Push] {
            let start = World { outside: Some(slot(b"D", 1, channel)), ..World::start(faults, fickle) };
            let (states, broken) = explore(Versions::Chained, start);
            assert_eq!(broken, None);
            assert!(states > states_min, "{faults} {fickle}: {states} states are too few to mean anything");
        }
    }
}

#[test]
fn with_a_plain_counter_a_cap_breaks_without_any_fault() {
    let (_, broken) = explore(Versions::Counted, World::start(0, 0));
    assert!(broken.is_some(), "the search finds no break where there is one");
}
