//! Who reads a table that many write, in the order of its ids, must know what is still to come: 64 writers on
//! PostgreSQL, each commit a little late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carillon::clock::Clock;
use carillon::eventlog::{Appender, Draft, EventLog, Queue, Receipt};
use carillon::ids::Position;
use carillon::store::entries::{Logged, read_after};
use carillon::store::locks::{Reach, lock};
use carillon::store::shards::{Layout, ShardSet};
use carillon::store::{Address, Rows};
use carillon::worker::filing::{self, Filed};
use carillon::worker::leases::Leases;
use futures::future::join_all;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, TransactionTrait};
use secrecy::ExposeSecret;

use crate::database::{Backend, Place};
use crate::on_postgres::support::{House, WORKSPACE, event};

const WRITERS: usize = 64;
const ROWS_EACH: usize = 12;

async fn connect(place: &Place) -> DatabaseConnection {
    let Address::Postgres(url) = place.address() else { panic!("not PostgreSQL") };
    let mut options = ConnectOptions::new(url.expose_secret());
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.unwrap()
}

/// Waits between 0 and 20 milliseconds, inside the transaction.
async fn dawdle<C: ConnectionTrait>(tx: &C) {
    Rows(tx).run("SELECT pg_sleep(random() * 0.02)", vec![]).await.unwrap();
}

/// Writes a table with many hands while one reader follows it by `sql`, whose mark is the last id it saw. The answer:
/// how many rows there are, and how many the reader saw.
async fn follow(sql: &str) -> (usize, usize) {
    let place = Place::new(Backend::Postgres).await;
    let reader = connect(&place).await;
    reader.execute_unprepared("CREATE TABLE written (id BIGSERIAL PRIMARY KEY, writer BIGINT)").await.unwrap();
    let writers = join_all((0..WRITERS).map(|_| connect(&place))).await;
    let done = AtomicBool::new(false);
    let writing = async {
        join_all(writers.iter().enumerate().map(async |(n, writer)| {
            for _ in 0..ROWS_EACH {
                let tx = writer.begin().await.unwrap();
                let id: Option<i64> = Rows(&tx).scalar("SELECT nextval('written_id_seq')", vec![]).await.unwrap();
                dawdle(&tx).await;
                let values = vec![id.unwrap().into(), i64::try_from(n).unwrap().into()];
                Rows(&tx).run("INSERT INTO written (id, writer) VALUES (?, ?)", values).await.unwrap();
                dawdle(&tx).await;
                tx.commit().await.unwrap();
            }
        }))
        .await;
        done.store(true, Ordering::Release);
    };
    let reading = async {
        let (mut last, mut seen) = (0_i64, 0);
        loop {
            let is_last = done.load(Ordering::Acquire);
            let rows = Rows(&reader).all(sql, vec![last.into()]).await.unwrap();
            seen += rows.len();
            last = rows.last().map_or(last, |row| row.try_get_by_index(0).unwrap());
            if is_last && rows.is_empty() {
                return seen;
            }
        }
    };
    let ((), seen) = futures::join!(writing, reading);
    reader.close().await.unwrap();
    for writer in writers {
        writer.close().await.unwrap();
    }
    (WRITERS * ROWS_EACH, seen)
}

#[tokio::test]
async fn a_reader_that_asks_for_greater_ids_skips_rows_that_commit_late() {
    let (written, seen) = follow("SELECT id FROM written WHERE id > ? ORDER BY id").await;
    assert!(seen < written, "it saw all {written}: this shows nothing any more");
}

#[tokio::test]
async fn a_reader_that_stays_behind_the_oldest_transaction_skips_rows_too() {
    let fenced = "SELECT id FROM written WHERE id > ?
                  AND CAST(CAST(xmin AS TEXT) AS BIGINT) < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)
                  ORDER BY id";
    let (written, seen) = follow(fenced).await;
    assert!(seen < written, "it saw all {written}: this shows nothing any more");
}

#[tokio::test]
async fn a_reader_of_our_log_sees_every_entry_once_whoever_commits_late() {
    let place = Place::new(Backend::Postgres).await;
    let clock = Clock::fixed("2026-03-01T10:00:00Z".parse().unwrap());
    let first = carillon::store::open(place.address()).await.unwrap();
    let databases = join_all((1..WRITERS).map(async |_| carillon::store::open(place.address()).await.unwrap())).await;
    let databases: Vec<_> = std::iter::once(first).chain(databases).collect();
    let logs = join_all(databases.iter().map(async |one| EventLog::start(one, clock.clone()).await.unwrap())).await;
    // Everybody is known, so that nobody waits for who is who; and each writer has its connections, which 64 would not get
    // at once in time.
    for (n, log) in logs.iter().enumerate() {
        log.append(WORKSPACE, vec![event(&format!("known-{n}"), &format!("u{n}"), "Known")]).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let writing = async {
        join_all(logs.iter().enumerate().map(async |(n, log)| {
            for row in 0..ROWS_EACH {
                let user = format!("u{}", (n * 7 + row) % WRITERS);
                let draft = Draft::event(WORKSPACE, event(&format!("m{n}-{row}"), &user, "Written"));
                let late = log.writer().change_in(Queue::Effects, ShardSet::NONE, move |tx, appender| {
                    Box::pin(async move {
                        appender.append(tx, vec![vec![draft]]).await?;
                        dawdle(tx).await;
                        Ok(())
                    })
                });
                late.await.unwrap();
            }
        }))
        .await;
        done.store(true, Ordering::Release);
    };
    let layout = Layout::of(sea_orm::DbBackend::Postgres);
    let reading = join_all(layout.all().iter().map(|shard| {
        let (done, conn) = (done.clone(), databases[0].reader.clone());
        async move {
            let (mut last, mut seen): (Position, Vec<String>) = (shard.start(), Vec::new());
            loop {
                let is_last = done.load(Ordering::Acquire);
                let entries = read_after(&conn, last, 100).await.unwrap();
                for entry in &entries {
                    let entry = entry.as_ref().unwrap();
                    assert_eq!(entry.position, layout.next(last), "a hole");
                    last = entry.position;
                    let Logged::Event(event) = &entry.logged else { panic!("{entry:?}") };
                    seen.push(event.message_id.clone());
                }
                if is_last && entries.is_empty() {
                    return seen;
                }
            }
        }
    }));
    let ((), seen) = futures::join!(writing, reading);
    let seen: Vec<String> = seen.into_iter().flatten().collect();
    assert_eq!(seen.len(), WRITERS * (ROWS_EACH + 1));
    assert_eq!(BTreeSet::from_iter(&seen).len(), seen.len(), "something was seen twice");
    for (log, database) in logs.iter().zip(&databases) {
        log.stop().await;
        database.close().await;
    }
}

#[tokio::test]
async fn whoever_files_people_waits_for_those_who_change_them_and_never_in_a_circle() {
    let house = House::new().await;
    house.apply("kind: topic\nkey: news\nname: News\n").await;
    let people = house.profiles(vec![event("a", "ann", "Viewed"), event("b", "ben", "Viewed")]).await;
    house.process().await;
    let reach: Reach =
        people.iter().map(|profile| house.store.layout().shard_of(*profile)).collect::<ShardSet>().into();
    let other = house.beside().await;
    let changes = other.begin().await.unwrap();
    lock(&changes, &reach).await.unwrap();
    let touch = async |profile: &carillon::ids::ProfileId| {
        let sql = "UPDATE profiles SET version = version + 1 WHERE id = ?";
        Rows(&changes).run(sql, vec![profile.0.into()]).await.unwrap();
    };
    // The second first: whoever had the first by then would wait for the second, and this for the first.
    touch(people.iter().max().unwrap()).await;
    let (log, store, leases) = (house.log.clone(), house.store.clone(), Leases::alone(house.store.layout()));
    let files = tokio::spawn(async move { filing::tick(&log, &store, &leases).await });
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN
                 (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    while Rows(house.store.reader()).one(waits, vec![]).await.unwrap().is_none() {
        assert!(!files.is_finished(), "it waits for whoever changes them");
        tokio::task::yield_now().await;
    }
    touch(people.iter().min().unwrap()).await;
    changes.commit().await.unwrap();
    assert_eq!(files.await.unwrap().unwrap(), Filed::Some);
}

#[tokio::test]
async fn an_event_that_waited_while_its_person_was_erased_is_of_somebody_new() {
    let house = House::new().await;
    let erased = house.profiles(vec![event("a", "ann", "Viewed"), event("z", "ben", "Viewed")]).await[0];
    let other = house.joined().await;
    assert_eq!(other.profiles(vec![event("b", "ann", "Viewed")]).await, [erased], "the other process knows her, too");
    let erasing = house.beside().await;
    let erasure = erasing.begin().await.unwrap();
    lock(&erasure, &ShardSet::EVERY.into()).await.unwrap();
    let log = other.log.clone();
    let appended = tokio::spawn(async move { log.append(WORKSPACE, vec![event("c", "ann", "Viewed")]).await });
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN
                 (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    while Rows(house.store.reader()).one(waits, vec![]).await.unwrap().is_none() {
        assert!(!appended.is_finished(), "it waits for whoever erases her");
        tokio::task::yield_now().await;
    }
    let mut appender = Appender::load(&erasure, house.clock.clone()).await.unwrap();
    carillon::store::workspace(&erasure, WORKSPACE).blank_people(&[erased]).await.unwrap();
    appender.forget_people(&erasure).await.unwrap();
    erasure.commit().await.unwrap();
    let receipts = appended.await.unwrap().unwrap();
    let Receipt::Stored { profile: Some(after), .. } = receipts[0] else { panic!("{receipts:?}") };
    assert_ne!(after, erased, "she is nobody: a later event is of somebody new");
    assert_eq!(other.profiles(vec![event("d", "ann", "Viewed")]).await, [after]);
    assert_eq!(house.profiles(vec![event("e", "ann", "Viewed")]).await, [after], "in the process that erased her, too");
    let ours = "SELECT count(*) FROM identifiers WHERE profile = ?";
    assert_eq!(Rows(house.store.reader()).scalar::<i64>(ours, vec![erased.0.into()]).await.unwrap(), Some(0));
}
