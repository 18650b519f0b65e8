//! Accepted and processed together: events go into the log without the door, and the clock stops when the last of
//! them is decided and its effects are stored.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carillon::clock::Clock;
use carillon::eventlog::EventLog;
use carillon::ids::Span;
use carillon::store::open;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::client::Random;
use crate::probe::Probe;
use crate::{server, shop};

/// Events of one append, as a batch call brings them.
const GROUP: u64 = 100;
const APPENDERS: u64 = 8;
/// Events that may wait for the processor before the load holds back.
const BACKLOG_MAX: u64 = 8_192;
/// Events of one of the probe's commits.
pub const PROBE_COMMIT: u64 = 512;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Processed {
    pub events: u64,
    pub events_per_second: f64,
    pub messages: i64,
}

/// Carillon's own log and processor.
///
/// # Errors
/// The database cannot be used, or the books do not balance afterwards.
pub fn ours(folder: &Path, seconds: f64, people: u64, nonce: &str) -> anyhow::Result<Processed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::system(Span::ZERO);
        let database = open(&folder.join("carillon.db")).await?;
        let log = EventLog::start(&database, clock.clone()).await?;
        server::apply(&log, shop::campaigns()).await?;
        let mut processor = server::processor(&log, &database).await?;
        let (first, created) = (processor.cursor(), messages(&database).await?);
        let started = clock.monotonic();
        let backlog = Arc::new(Backlog::default());
        let mut load = append_all(&log, &backlog, started, seconds, people, nonce);
        let mut appended = log.appended();
        let mut done = false;
        loop {
            appended.borrow_and_update();
            let count = processor.tick().await?;
            if count > 0 {
                backlog.decided(count);
                continue;
            }
            if done && processor.cursor() == *appended.borrow() {
                break;
            }
            tokio::select! {
                ended = load.join_next(), if !done => match ended {
                    Some(result) => result??,
                    None => done = true,
                },
                changed = appended.changed() => changed?,
            }
        }
        let events = (processor.cursor().0 - first.0) as u64;
        let events_per_second = events as f64 / (clock.monotonic() - started).as_secs_f64();
        let messages = messages(&database).await? - created;
        log.stop().await;
        database.close().await;
        Ok(Processed { events, events_per_second, messages })
    })
}

/// Messages created so far.
///
/// # Errors
/// The database cannot be read.
pub async fn messages(database: &carillon::store::Database) -> anyhow::Result<i64> {
    let store = carillon::store::Store::new(database.reader.clone());
    Ok(store.workspace(shop::WORKSPACE).counters().await?.get("messages_created").copied().unwrap_or(0))
}

/// Events appended and not decided yet.
#[derive(Debug, Default)]
pub struct Backlog {
    appended: AtomicU64,
    decided: AtomicU64,
}

impl Backlog {
    pub fn decided(&self, count: usize) {
        self.decided.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How many were appended, and how many of these wait.
    pub fn count(&self) -> (u64, u64) {
        let appended = self.appended.load(Ordering::Relaxed);
        (appended, appended.saturating_sub(self.decided.load(Ordering::Relaxed)))
    }
}

/// The load: it ends after these seconds.
pub fn append_all(
    log: &EventLog,
    backlog: &Arc<Backlog>,
    started: Duration,
    seconds: f64,
    people: u64,
    nonce: &str,
) -> JoinSet<anyhow::Result<()>> {
    let mut load = JoinSet::new();
    for lane in 0..APPENDERS {
        load.spawn(append(log.clone(), backlog.clone(), lane, started, seconds, people, nonce.to_owned()));
    }
    load
}

async fn append(
    log: EventLog,
    backlog: Arc<Backlog>,
    lane: u64,
    started: Duration,
    seconds: f64,
    people: u64,
    nonce: String,
) -> anyhow::Result<()> {
    let clock = log.clock().clone();
    let (mut random, mut count) = (Random(seed(&nonce).wrapping_add(lane)), 0);
    let nonce = format!("{nonce}-{lane}");
    while (clock.monotonic() - started).as_secs_f64() < seconds {
        let group = group(&mut random, &mut count, GROUP, people, &nonce, clock.now());
        log.append(shop::WORKSPACE, group).await?;
        backlog.appended.fetch_add(GROUP, Ordering::Relaxed);
        while backlog.count().1 > BACKLOG_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Events of people drawn at random.
pub fn group(
    random: &mut Random,
    count: &mut u64,
    size: u64,
    people: u64,
    nonce: &str,
    now: carillon::ids::Timestamp,
) -> Vec<carillon::event::Event> {
    (0..size)
        .map(|_| {
            *count += 1;
            shop::event(nonce, *count, random.below(people), random.below(100_000), now)
        })
        .collect()
}

/// Other people in every run: those of the last one may still be enrolled.
pub fn seed(nonce: &str) -> u64 {
    nonce.bytes().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The same by bare SQL, on one thread.
///
/// # Errors
/// The database cannot be used.
pub fn probe(folder: &Path, seconds: f64, people: u64, nonce: &str) -> anyhow::Result<Processed> {
    let clock = Clock::system(Span::ZERO);
    let mut probe = Probe::open(&folder.join("carillon.db"))?;
    let (mut random, mut count, mut messages) = (Random(seed(nonce)), 0, 0);
    let started = clock.monotonic();
    while (clock.monotonic() - started).as_secs_f64() < seconds {
        let now = clock.now();
        let events = group(&mut random, &mut count, PROBE_COMMIT, people, nonce, now);
        let stored = probe.append(events.iter(), now.millis())?;
        probe.process(&stored)?;
        messages += stored.iter().filter(|event| event.matched).count() as i64;
    }
    let events_per_second = count as f64 / (clock.monotonic() - started).as_secs_f64();
    Ok(Processed { events: count, events_per_second, messages })
}
