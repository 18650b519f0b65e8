//! Several processes over one PostgreSQL give turns to members of a segment and tell people of the suppression list, all
//! at once, while shards go from one to another and whoever had them does not know it yet.

use std::collections::{BTreeMap, BTreeSet};

use carillon::audience::suppression::REACH_CHANGED;
use carillon::decision::existing::MEMBER_INCLUDED;
use carillon::event::{Event, Kind};
use carillon::fault::Faults;
use carillon::ids::{ProfileId, Span, Timestamp};
use carillon::message::{Address, Channel, SuppressionKind};
use carillon::store::Rows;
use carillon::store::leases::{renew, take};
use carillon::store::shards::Shard;
use carillon::worker::inclusion::Inclusions;
use carillon::worker::leases::{Lease, Leases};
use carillon::worker::permission::{ByHand, Desk};
use carillon::worker::processors::Processors;
use carillon::worker::reach::Tellings;
use futures::future::join_all;

#[allow(dead_code, reason = "some of it serves one process")]
mod support;

use support::{House, WORKSPACE, build};

pub const BACKEND: crate::database::Backend = crate::database::Backend::Postgres;

const VIP: &str = "kind: segment\nkey: vip\nname: VIP\nowner: crm@shop.example\n\
    where: { performed: { event: Order Completed } }\n";
const OPEN: &str = "kind: segment\nkey: open\nname: Open\nowner: crm@shop.example\nwhere: { reachable: email }\n";
const HELLO: &str = "kind: campaign\nkey: hello\nname: Hello\nowner: crm@shop.example\ntype: trigger\nstatus: live\n\
    purpose: marketing\nentry: { segment: vip, on: entered, include_existing: { pace: 30/min } }\ndelay: 30d\n\
    send: { channel: email, template: hello }\n---\nkind: template\nkey: hello\n\
    email: { subject: Hi, html: '<p>Hi</p>' }\n";

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A process: its own log and connections, and the shards it believes to have.
struct Process {
    name: &'static str,
    house: House,
    processors: Processors,
    inclusions: Inclusions,
    tellings: Tellings,
    held: BTreeMap<Shard, Lease>,
}

impl Process {
    async fn beside(first: &House, name: &'static str) -> Self {
        let house = first.joined().await;
        let (processors, inclusions, tellings) = loops(&house, Leases::none());
        Self { name, house, processors, inclusions, tellings, held: BTreeMap::new() }
    }

    /// Believes from now on what the database says.
    async fn look(&mut self) {
        let tokens = renew(&self.house.database.writer, self.name).await.unwrap();
        let lease = |token| Lease { token: Some(token), until: None };
        self.held = tokens.into_iter().map(|(shard, token)| (shard, lease(token))).collect();
        (self.processors, self.inclusions, self.tellings) = loops(&self.house, Leases::holding(self.held.clone()));
    }

    /// Everything that a process does now; the answer is how much. Whoever is told that their shard is another's by now
    /// has stored nothing.
    async fn work(&mut self) -> usize {
        let now = self.house.clock.now();
        let mut done = 0;
        for worked in [self.inclusions.tick(now).await, self.tellings.tick(now).await, self.processors.tick().await] {
            match worked {
                Ok(count) => done += count,
                Err(error) => assert!(error.to_string().contains("went to another process"), "{error:#}"),
            }
        }
        done
    }
}

fn loops(house: &House, leases: Leases) -> (Processors, Inclusions, Tellings) {
    let (log, store, definitions) = (house.log.clone(), house.store.clone(), house.definitions.clone());
    let processors = Processors::new(log, store, definitions, Faults::none(), Span::from_seconds(2), leases);
    let (inclusions, tellings) = (processors.inclusions(), processors.tellings());
    (processors, inclusions, tellings)
}

/// Three processes that share the work.
async fn three(first: &House) -> Vec<Process> {
    let mut all = Vec::new();
    for (name, share) in NAMES.into_iter().zip([6, 5, 5]) {
        let mut process = Process::beside(first, name).await;
        assert_eq!(take(&first.database.writer, name, share).await.unwrap().len(), share);
        process.look().await;
        all.push(process);
    }
    assert!(all[0].held.contains_key(&Shard::FIRST));
    all
}

/// Whatever `from` has is `to`'s by now; `from` goes on as if it were not.
async fn hand_over(all: &mut [Process], from: usize, to: usize) {
    for at in (0..all.len()).filter(|at| *at != from) {
        renew(&all[at].house.database.writer, all[at].name).await.unwrap();
    }
    let conn = &all[to].house.database.writer;
    let sql = "UPDATE leases SET expires_at = 1 WHERE owner = ?";
    let lost = Rows(conn).run(sql, vec![all[from].name.into()]).await.unwrap();
    assert_eq!(take(conn, all[to].name, 16).await.unwrap().len() as u64, lost);
    all[to].look().await;
}

/// All at once, until nobody has anything to do.
async fn race(all: &mut [Process]) {
    while join_all(all.iter_mut().map(Process::work)).await.into_iter().sum::<usize>() > 0 {}
}

/// Whose the log has an event of our own of, and when.
async fn told(house: &House, name: &str) -> Vec<(ProfileId, Timestamp)> {
    let sql = "SELECT profile, now FROM entries WHERE kind = 'own' AND name = ? ORDER BY now";
    let rows = Rows(house.store.reader()).all(sql, vec![name.into()]).await.unwrap();
    let read = |row: &sea_orm::QueryResult| {
        (ProfileId(row.try_get_by_index(0).unwrap()), Timestamp::from_millis(row.try_get_by_index(1).unwrap()))
    };
    rows.iter().map(read).collect()
}

/// To see it fail, let `Inclusions::give` ask neither whose the first shard is nor when the next turn is.
#[tokio::test]
async fn processes_that_lose_the_pace_to_each_other_give_everybody_one_turn_and_none_too_soon() {
    let people = 24;
    let house = House::new().await;
    house.apply(VIP).await;
    let orders =
        (0..people).map(|n| build(&format!("o{n}"), Kind::Track, "Order Completed", Some(&user(n)), None, "{}"));
    house.append(orders.collect()).await;
    house.look_at_everybody().await;
    house.apply(HELLO).await;
    house.look_at_everybody().await;
    let mut all = three(&house).await;
    for round in 0..people {
        match round {
            5 => hand_over(&mut all, 0, 1).await,
            11 => hand_over(&mut all, 1, 2).await,
            // The first is back, and the last loses everything.
            17 => hand_over(&mut all, 2, 0).await,
            _ => {}
        }
        race(&mut all).await;
        house.clock.advance(Span::from_seconds(2));
    }
    race(&mut all).await;
    let turns = told(&house, MEMBER_INCLUDED).await;
    let whose: BTreeSet<ProfileId> = turns.iter().map(|(profile, _)| *profile).collect();
    assert_eq!((turns.len(), whose.len()), (people, people), "each has one turn");
    for pair in turns.windows(2) {
        assert!(pair[1].1.millis() - pair[0].1.millis() >= 2_000, "two turns within two seconds: {pair:?}");
    }
    for n in 0..people {
        assert_eq!(house.enrollments(&user(n)).await.len(), 1, "{}", user(n));
    }
    assert_eq!(house.workspace().count_included("hello").await.unwrap(), 0);
}

/// To see it fail, let `Tellings::tick` not ask whose the first shard is.
#[tokio::test]
async fn processes_that_lose_the_list_to_each_other_tell_everybody_of_each_change_once() {
    let people = 30;
    let house = House::new().await;
    house.apply(OPEN).await;
    // Three people to an address, of whatever shard.
    house.append((0..people).map(|n| called(&format!("1-{n}"), n, n / 3)).collect()).await;
    house.look_at_everybody().await;
    let mut all = three(&house).await;
    for round in 0..6 {
        let (from, to) = (round % 3, (round + 1) % 3);
        let is_odd = round % 2;
        let listed: Vec<ByHand> = (0..people / 3).filter(|n| n % 2 == is_odd).map(by_hand).collect();
        let before = counts(&told(&house, REACH_CHANGED).await);
        // Whoever looks after the list has it no more, and does not know.
        let desk = desk(&all[from].house);
        if round / 2 % 2 == 0 {
            desk.suppress(WORKSPACE, listed).await.unwrap();
        } else {
            desk.unsuppress(WORKSPACE, listed).await.unwrap();
        }
        hand_over(&mut all, from, to).await;
        race(&mut all).await;
        let after = counts(&told(&house, REACH_CHANGED).await);
        for n in 0..people {
            let profile = house.workspace().profile_by_id(&user(n)).await.unwrap().unwrap();
            let [before, after] = [&before, &after].map(|counts| counts.get(&profile).copied().unwrap_or(0));
            let concerned = usize::from(n / 3 % 2 == is_odd);
            assert_eq!(after - before, concerned, "{} in round {round}", user(n));
            let person = house.workspace().person(profile).await.unwrap().unwrap();
            let is_open = person.profile.segments.memberships().contains("open");
            assert_eq!(is_open, !house.is_listed(&by_hand(n / 3).address).await, "{} in round {round}", user(n));
        }
    }
}

fn counts(told: &[(ProfileId, Timestamp)]) -> BTreeMap<ProfileId, usize> {
    let mut counts = BTreeMap::new();
    told.iter().for_each(|(profile, _)| *counts.entry(*profile).or_default() += 1);
    counts
}

fn user(n: usize) -> String {
    format!("user{n}")
}

fn called(message_id: &str, n: usize, address: usize) -> Event {
    let body = format!(r#"{{"traits":{{"email":"p{address}@example.com"}}}}"#);
    build(message_id, Kind::Identify, "Identified", Some(&user(n)), None, &body)
}

fn desk(house: &House) -> Desk {
    Desk { log: house.log.clone(), store: house.store.clone(), definitions: house.definitions.clone() }
}

fn by_hand(address: usize) -> ByHand {
    let address = Address::parse(Channel::Email, &format!("p{address}@example.com")).unwrap();
    ByHand { address, kind: Some(SuppressionKind::Manual), source: "a letter".to_owned() }
}
