//! A database that has been in use for a while: people with a history, their ids, and millions of stored events.
//!
//! Built once by plain inserts in key order, kept under `target/bench-data` and used again as long as the schema is
//! the same; each run adds its own events to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use carillon::audience::History;
use carillon::clock::Clock;
use carillon::ids::{Position, ProfileId, Span, Timestamp};
use carillon::store::entries::{Entry, Logged};
use carillon::store::event_ids::range_of;
use carillon::store::open;
use rusqlite::{Connection, params};

use crate::client::Random;
use crate::shop;

/// How much is in it.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub people: u64,
    pub events: u64,
}

impl Scale {
    /// 1 million people and 10 million events, times `CARILLON_BENCH_SCALE`.
    ///
    /// # Errors
    /// The variable is no number above zero.
    pub fn from_env() -> anyhow::Result<Self> {
        let text = std::env::var("CARILLON_BENCH_SCALE").unwrap_or_else(|_| "1".to_owned());
        let scale: f64 = text.parse().context("CARILLON_BENCH_SCALE must be a number such as 0.01")?;
        anyhow::ensure!(scale > 0.0 && scale <= 100.0, "CARILLON_BENCH_SCALE must be above 0 and at most 100");
        Ok(Self { people: ((1e6 * scale) as u64).max(1_000), events: ((1e7 * scale) as u64).max(10_000) })
    }
}

const EVENTS_IN_HISTORY: u64 = 10;

/// The folder of the prepared database, built now if it is not there.
///
/// # Errors
/// It cannot be built.
pub fn prepare(scale: Scale) -> anyhow::Result<PathBuf> {
    let folder = Path::new("target/bench-data").join(format!("{}-{}", scale.people, scale.events));
    let (path, stamp) = (folder.join("carillon.db"), folder.join("stamp"));
    let clock = Clock::system(Span::ZERO);
    // Ids are remembered by day, so an old database would be an emptier one.
    let wanted = format!("{} ids by month, points, day {}", schema()?, clock.now().day());
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    eprintln!("preparing {} people and {} events, once", scale.people, scale.events);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    migrate(&path)?;
    let mut connection = Connection::open(&path)?;
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", "-500000")?;
    let transaction = connection.transaction()?;
    people(&transaction, scale, clock.now())?;
    entries(&transaction, scale, clock.now())?;
    event_ids(&transaction, scale, clock.now())?;
    transaction.execute("INSERT INTO cursors (name, position) VALUES ('processed', ?)", [scale.events as i64])?;
    transaction.execute("UPDATE settings SET value = ? WHERE name = 'event_ids_until'", [scale.events.to_string()])?;
    transaction.commit()?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    drop(connection);
    std::fs::write(&stamp, wanted)?;
    Ok(folder)
}

fn migrate(path: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        open(path).await?.close().await;
        Ok(())
    })
}

/// A hash of the schema as SQLite itself tells it.
fn schema() -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("carillon.db");
    migrate(&path)?;
    let connection = Connection::open(&path)?;
    let mut statement = connection.prepare("SELECT coalesce(sql, '') FROM sqlite_master ORDER BY name")?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(blake3::hash(texts.join(";").as_bytes()).to_hex().to_string())
}

fn people(connection: &Connection, scale: Scale, now: Timestamp) -> anyhow::Result<()> {
    let mut identifier =
        connection.prepare("INSERT INTO identifiers (workspace, kind, value, profile) VALUES (1, 0, ?, ?)")?;
    let mut profile = connection.prepare(
        "INSERT INTO profiles (id, workspace, version, wake_at, user_id, traits, consent, history, created_at, last_seen_at)
         VALUES (?, 1, 1, NULL, ?, ?, '{}', ?, ?, ?)",
    )?;
    let mut random = Random(7);
    for person in 0..scale.people {
        let (user, id) = (shop::user_id(person), person as i64 + 1);
        identifier.execute(params![user, id])?;
        let traits = format!(
            r#"{{"email":"{user}@example.com","first_name":"Ann","city":"Ghent","plan":"plus","orders":{},"points":{}}}"#,
            person % 40,
            person % 40
        );
        let mut history = History::default();
        for n in 0..EVENTS_IN_HISTORY {
            let at = now.plus_millis(n as i64 * 3_600_000 - 36_000_000);
            history.record("Product Viewed", at, Position(random.below(scale.events) as i64 + 1));
        }
        profile.execute(params![id, user, traits, history.pack(), now.millis(), now.millis()])?;
    }
    Ok(())
}

fn entries(connection: &Connection, scale: Scale, now: Timestamp) -> anyhow::Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO entries (position, workspace, profile, kind, name, event_id, at, now, meta, body)
         VALUES (?, 1, ?, 'track', ?, ?, ?, ?, ?, ?)",
    )?;
    let mut random = Random(11);
    let template = shop::event("prepared", 1, 1, 1, now);
    let logged = Logged::Event(std::sync::Arc::new(template.clone()));
    let profile = Some(ProfileId(1));
    let row = Entry { position: Position(1), workspace: shop::WORKSPACE, profile, now, joins: None, logged }.values();
    let meta = match row.into_iter().nth(8) {
        Some(sea_orm::Value::Bytes(Some(bytes))) => bytes,
        other => anyhow::bail!("the meta of an entry is {other:?}"),
    };
    for n in 1..=scale.events {
        let profile = random.below(scale.people) as i64 + 1;
        let body = template.body.text();
        insert.execute(params![
            n as i64,
            profile,
            "Product Viewed",
            id(n, scale),
            now.millis(),
            now.millis(),
            meta,
            body
        ])?;
    }
    Ok(())
}

/// The events came evenly over seventy days, so ids are remembered of the last tenth: seven days, evenly spread over
/// all there can be, and stored in order.
fn event_ids(connection: &Connection, scale: Scale, now: Timestamp) -> anyhow::Result<()> {
    let mut insert = connection.prepare("INSERT INTO event_ids (day, id, position) VALUES (?, ?, ?)")?;
    let ranges: BTreeSet<i64> = (0..7).map(|back| range_of(now.day() - back)).collect();
    for range in ranges {
        let in_range = |n: &u64| n % 70 < 7 && range_of(now.day() - (n % 70) as i64) == range;
        for n in (1..=scale.events).filter(in_range) {
            insert.execute(params![range, id(n, scale), n as i64])?;
        }
    }
    Ok(())
}

fn id(n: u64, scale: Scale) -> [u8; 16] {
    let step = u128::MAX / u128::from(scale.events + 1);
    (step * u128::from(n)).to_be_bytes()
}
