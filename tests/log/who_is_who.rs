//! Random logs of logins, calls and aliases over few ids, against a plain reading of the rules: people are labels, and
//! whoever joins another is relabelled throughout.

use std::collections::{BTreeMap, BTreeSet};

use carillon::event::{Event, Kind};
use carillon::eventlog::Receipt;
use carillon::fault::Faults;
use carillon::ids::{Position, ProfileId, Span};
use carillon::store::trace::MessageFilter;
use carillon::worker::scheduler::Scheduler;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::identity::{alias, past, shop};
use super::support::{House, WORKSPACE, build};
use crate::database::Backend;

#[derive(Debug, Clone)]
struct Call {
    kind: Kind,
    name: &'static str,
    user: Option<String>,
    device: Option<String>,
    previous: Option<String>,
    body: String,
}

impl Call {
    fn event(&self, id: &str) -> Event {
        if self.kind == Kind::Alias {
            return alias(id, self.previous.as_deref().unwrap(), self.user.as_deref().unwrap());
        }
        build(id, self.kind, self.name, self.user.as_deref(), self.device.as_deref(), &self.body)
    }
}

fn call() -> impl Strategy<Value = Call> {
    let user = || (0..4_u8).prop_map(|n| format!("u{n}"));
    let device = || (0..4_u8).prop_map(|n| format!("d{n}"));
    let whose = || {
        prop_oneof![
            2 => user().prop_map(|user| (Some(user), None)),
            3 => device().prop_map(|device| (None, Some(device))),
            2 => (user(), device()).prop_map(|(user, device)| (Some(user), Some(device))),
        ]
    };
    let track = (whose(), 0..3_u8, 0..4_u8).prop_map(|((user, device), cart, what)| {
        let name = ["Product Added", "Product Viewed", "Order Completed", "Consent Changed"][usize::from(what)];
        let state = if cart == 0 { "denied" } else { "granted" };
        let body = format!(r#"{{"properties":{{"cart_id":"c{cart}","channel":"email","state":"{state}"}}}}"#);
        Call { kind: Kind::Track, name, user, device, previous: None, body }
    });
    let identify = (whose(), 0..5_u8).prop_map(|((user, device), n)| {
        let by = user.as_deref().unwrap_or("somebody");
        let body = format!(r#"{{"traits":{{"t{n}":"{by}","t":{n}}}}}"#);
        Call { kind: Kind::Identify, name: "Identified", user, device, previous: None, body }
    });
    let previous = prop_oneof![3 => user(), 3 => device(), 1 => Just("x".to_owned())];
    let alias = (previous, user()).prop_map(|(previous, user)| Call {
        kind: Kind::Alias,
        name: "Aliased",
        user: Some(user),
        device: None,
        previous: Some(previous),
        body: "{}".into(),
    });
    prop_oneof![6 => track, 4 => identify, 1 => alias]
}

/// The rules, by hand.
#[derive(Default)]
struct Rules {
    users: BTreeMap<String, usize>,
    devices: BTreeMap<String, usize>,
    /// The person of each call.
    calls: Vec<usize>,
    people: usize,
    merges: usize,
}

impl Rules {
    fn take(&mut self, call: &Call) {
        let person = match (&call.previous, &call.user, &call.device) {
            (Some(previous), Some(user), _) => self.alias(previous, user),
            (None, Some(user), device) => self.call(user, device.as_deref(), call.kind == Kind::Identify),
            (_, None, Some(device)) => match self.devices.get(device) {
                Some(person) => *person,
                None => {
                    let person = self.somebody();
                    self.devices.insert(device.clone(), person);
                    person
                }
            },
            _ => unreachable!("a call is somebody's"),
        };
        self.calls.push(person);
    }

    fn somebody(&mut self) -> usize {
        self.people += 1;
        self.people
    }

    fn is_known(&self, person: usize) -> bool {
        self.users.values().any(|of| *of == person)
    }

    fn becomes(&mut self, loser: usize, winner: usize) {
        self.merges += 1;
        let all = self.users.values_mut().chain(self.devices.values_mut()).chain(self.calls.iter_mut());
        all.filter(|person| **person == loser).for_each(|person| *person = winner);
    }

    fn call(&mut self, user: &str, device: Option<&str>, logs_in: bool) -> usize {
        let owner = device.and_then(|device| self.devices.get(device).copied());
        let anonymous_owner = owner.filter(|owner| !self.is_known(*owner));
        let person = match self.users.get(user) {
            Some(person) => *person,
            None => anonymous_owner.unwrap_or_else(|| self.somebody()),
        };
        self.users.insert(user.to_owned(), person);
        let Some(device) = device else { return person };
        match (owner, anonymous_owner) {
            (None, _) => drop(self.devices.insert(device.to_owned(), person)),
            (_, Some(other)) if logs_in && other != person => self.becomes(other, person),
            (_, None) if logs_in => drop(self.devices.insert(device.to_owned(), person)),
            _ => {}
        }
        person
    }

    fn alias(&mut self, previous: &str, user: &str) -> usize {
        if self.devices.contains_key(previous) {
            return self.call(user, Some(previous), true);
        }
        let Some(other) = self.users.get(previous).copied() else {
            let person = self.call(user, Some(previous), true);
            self.users.insert(previous.to_owned(), person);
            return person;
        };
        match self.users.get(user).copied() {
            None => {
                self.users.insert(user.to_owned(), other);
                other
            }
            Some(person) => {
                if person != other {
                    self.becomes(other, person);
                }
                person
            }
        }
    }
}

/// All that is stored of people, in words.
async fn dump(house: &House) -> Vec<String> {
    let store = house.workspace();
    let mut lines = Vec::new();
    for id in (1..200).map(ProfileId) {
        let Some(person) = store.person(id).await.unwrap() else { continue };
        let past = past(house, id).await;
        let profile = &person.profile;
        lines.push(format!(
            "{id} {:?} {:?} {:?} {:?} {:?} {past:?}",
            person.merged_into, profile.user_id, profile.traits, profile.consent, person.wake_at
        ));
        for one in store.enrollments_of(id, None, 1_000).await.unwrap() {
            lines.push(format!("{id} {one:?}"));
        }
        let filter = MessageFilter { profile: Some(id), limit: 1_000, ..MessageFilter::default() };
        for one in store.list_messages(&filter).await.unwrap() {
            lines.push(format!("{id} {one:?}"));
        }
        lines.push(format!("{:?}", store.identifiers_of(id).await.unwrap()));
    }
    lines
}

/// How a log is lived through: how many calls are appended together, after how many the processor runs, and whether
/// it dies now and then.
#[derive(Clone, Copy)]
struct Pace {
    together: usize,
    process_each: bool,
    dies: bool,
}

async fn live(calls: &[Call], pace: Pace) -> House {
    let house = shop().await;
    let hits = std::sync::atomic::AtomicUsize::new(0);
    let faults = Faults::new(move |point| {
        let turn = hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        pace.dies && point != "processor.decide" && turn % 7 == 3
    });
    let mut processor = house.processor(faults).await;
    for (n, chunk) in calls.chunks(pace.together).enumerate() {
        let events = chunk.iter().enumerate().map(|(m, call)| call.event(&format!("m{}", n * pace.together + m)));
        house.append(events.collect()).await;
        while pace.process_each && processor.tick().await.map_or(true, |count| count > 0) {}
    }
    while processor.tick().await.map_or(true, |count| count > 0) {}
    house.clock.advance(Span::from_hours(2));
    let scheduler = Scheduler::new(house.log.clone(), house.store.clone(), Faults::none());
    scheduler.tick(house.clock.now()).await.unwrap();
    house.process().await;
    house
}

fn logs(seed: u8, count: usize) -> Vec<Vec<Call>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let log = prop::collection::vec(call(), 20..90);
    (0..count).map(|_| log.new_tree(&mut runner).unwrap().current()).collect()
}

fn count() -> usize {
    match super::BACKEND {
        Backend::Sqlite => 24,
        Backend::Postgres => 4,
    }
}

#[tokio::test]
async fn people_are_who_the_rules_say_and_did_what_they_did() {
    let mut merges = 0;
    for calls in logs(1, count()) {
        let mut rules = Rules::default();
        calls.iter().for_each(|call| rules.take(call));
        merges += rules.merges;
        let house = live(&calls, Pace { together: 5, process_each: true, dies: false }).await;
        let mut people: BTreeMap<usize, BTreeSet<ProfileId>> = BTreeMap::new();
        let store = house.workspace();
        for (ids, anonymous) in [(&rules.users, false), (&rules.devices, true)] {
            for (id, person) in ids {
                let kind = i64::from(anonymous);
                let sql = "SELECT profile FROM identifiers WHERE kind = ? AND value = ?";
                let rows = carillon::store::Rows(house.store.reader());
                let profile: Option<i64> = rows.scalar(sql, vec![kind.into(), id.as_str().into()]).await.unwrap();
                people.entry(*person).or_default().insert(ProfileId(profile.unwrap()));
            }
        }
        let distinct: BTreeSet<&ProfileId> = people.values().flatten().collect();
        assert!(people.values().all(|profiles| profiles.len() == 1), "{people:?}\n{calls:#?}");
        assert_eq!(distinct.len(), people.len(), "two people are one: {people:?}\n{calls:#?}");
        let mut expected: BTreeMap<ProfileId, BTreeSet<(String, Position)>> = BTreeMap::new();
        for (n, (person, call)) in rules.calls.iter().zip(&calls).enumerate() {
            let profile = *people[person].first().unwrap();
            let position = house.at(&format!("m{n}")).await;
            expected.entry(profile).or_default().insert((call.name.to_owned(), position));
        }
        for (profile, expected) in expected {
            let found = past(&house, profile).await;
            assert_eq!(found.len(), expected.len(), "{profile}\n{calls:#?}");
            assert_eq!(BTreeSet::from_iter(found), expected, "{profile}\n{calls:#?}");
        }
        assert!(store.accounts().await.unwrap().imbalances().is_empty());
    }
    assert!(merges > count(), "too few people turned out to be one: {merges}");
}

#[tokio::test]
async fn the_same_log_gives_the_same_people_however_it_is_lived_through() {
    for calls in logs(2, count() / 2) {
        let paces = [(1, true, false), (9, false, false), (4, true, true), (200, false, true)];
        let mut first: Option<Vec<String>> = None;
        for (together, process_each, dies) in paces {
            let house = live(&calls, Pace { together, process_each, dies }).await;
            let found = dump(&house).await;
            let expected = first.get_or_insert_with(|| found.clone());
            assert_eq!(expected, &found, "{calls:#?}");
        }
    }
}

#[tokio::test]
async fn any_beginning_of_the_log_again_changes_nobody() {
    for calls in logs(3, count() / 2) {
        let house = live(&calls, Pace { together: 6, process_each: true, dies: false }).await;
        let before = dump(&house).await;
        let again: Vec<Event> = calls.iter().enumerate().map(|(n, call)| call.event(&format!("m{n}"))).collect();
        let receipts = house.log.append(WORKSPACE, again).await.unwrap();
        assert!(receipts.iter().all(|receipt| *receipt == Receipt::Duplicate));
        house.process().await;
        assert_eq!(dump(&house).await, before);
        // Said once more under new ids, it is no news who is who.
        let who = who(&house).await;
        let logins = calls.iter().filter(|call| call.kind != Kind::Track).enumerate();
        let again = logins.map(|(n, call)| call.event(&format!("again{n}"))).collect();
        house.append(again).await;
        house.process().await;
        assert_eq!(self::who(&house).await, who, "{calls:#?}");
    }
}

/// Every id with its profile, and every profile with where it went.
async fn who(house: &House) -> (Vec<(i64, String, i64)>, Vec<(i64, i64)>) {
    let rows = carillon::store::Rows(house.store.reader());
    let ids = rows.all("SELECT kind, value, profile FROM identifiers ORDER BY kind, value", vec![]).await.unwrap();
    let ids = ids.iter().map(|row| {
        let kind = row.try_get_by_index(0).unwrap();
        (kind, row.try_get_by_index(1).unwrap(), row.try_get_by_index(2).unwrap())
    });
    let merged = "SELECT id, merged_into FROM profiles WHERE merged_into IS NOT NULL ORDER BY id";
    let merged = rows.all(merged, vec![]).await.unwrap();
    let merged = merged.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap()));
    (ids.collect(), merged.collect())
}
