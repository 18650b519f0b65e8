//! The narrow table that recognises an event that comes again, and finds an event by its id.
//!
//! Ids are random, so their index is written all over; it is kept small. Those received within a month share one range of
//! keys and are forgotten together.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, QueryResult};

use crate::ids::{EventId, Position, Timestamp};
use crate::store::controls::{set_setting, setting};
use crate::store::rows::{Error, Rows, Values, padded, repeated};
use crate::store::shards::Layout;

/// How long an event id is remembered, at least: its range goes when all of it is older.
pub const DEDUPE_DAYS: i64 = 7;
/// Days that share one range of keys. A repeat is looked for in every range that may hold it: on most days in one, in the
/// first week of a range in the one before too.
const RANGE_DAYS: i64 = 30;
/// The range of ids that are remembered for ever: imports.
pub const FOR_EVER: i64 = 0;
/// The setting that says up to which position the table has the ids of all entries: later ones are on their way.
const STORED_UNTIL: &str = "event_ids_until";
/// Of an id as a key.
const ID_BYTES: usize = 16;

/// The ranges that hold ids, by one seek each: the table has a row per event.
const RANGES: &str = "RECURSIVE ranges(day) AS (SELECT min(day) FROM event_ids
    UNION ALL SELECT (SELECT min(day) FROM event_ids WHERE event_ids.day > ranges.day) FROM ranges WHERE day IS NOT NULL)";

/// The range in which ids received on a day are kept: its first day.
pub fn range_of(day: i64) -> i64 {
    day - day.rem_euclid(RANGE_DAYS)
}

/// Whether ids of this range are still looked for.
pub fn is_remembered(range: i64, now: Timestamp) -> bool {
    range == FOR_EVER || range > forgotten_range(now)
}

/// The newest range that is wholly out of date.
fn forgotten_range(now: Timestamp) -> i64 {
    now.day() - DEDUPE_DAYS - (RANGE_DAYS - 1)
}

pub async fn ranges<C: ConnectionTrait>(conn: &C) -> Result<BTreeSet<i64>, Error> {
    let sql = format!("WITH {RANGES} SELECT day FROM ranges WHERE day IS NOT NULL");
    Rows(conn).all(&sql, vec![]).await?.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Of these ids, those stored in one of these ranges.
pub async fn known<C: ConnectionTrait>(
    conn: &C,
    ranges: &[i64],
    ids: Vec<EventId>,
) -> Result<BTreeSet<EventId>, Error> {
    let mut known = BTreeSet::new();
    if ranges.is_empty() {
        return Ok(known);
    }
    for chunk in ids.chunks(512) {
        let chunk = padded(chunk.to_vec());
        let sql = format!(
            "WITH ranges(day) AS (VALUES {}), wanted(id) AS (VALUES {})
             SELECT event_ids.id FROM ranges CROSS JOIN wanted CROSS JOIN event_ids
             WHERE event_ids.day = ranges.day AND event_ids.id = wanted.id",
            repeated("(?)", ranges.len()),
            repeated("(?)", chunk.len())
        );
        let mut values: Values = ranges.iter().map(|range| (*range).into()).collect();
        values.extend(chunk.iter().map(|id| id.as_bytes().to_vec().into()));
        known.extend(ids_of(&Rows(conn).all(&sql, values).await?)?);
    }
    Ok(known)
}

/// The same where several processes append to one database: one statement stores an id or finds it stored, and waits
/// for whoever is storing it now. Their entries are found by an index. The second answer is the setting `asked`, which
/// costs no question of its own.
pub async fn remember_first<C: ConnectionTrait>(
    conn: &C,
    ids: BTreeMap<EventId, i64>,
    now: Timestamp,
    asked: [&str; 2],
) -> Result<(BTreeSet<EventId>, [Option<String>; 2]), Error> {
    if ids.is_empty() {
        return Ok((BTreeSet::new(), [setting(conn, asked[0]).await?, setting(conn, asked[1]).await?]));
    }
    let rows = ids.iter().map(|(id, range)| vec![id.as_bytes().to_vec().into(), (*range).into()]);
    let (rows, mut values) = Rows(conn).table(rows.collect());
    // An id that should be forgotten by now is not known any more.
    let sql = format!(
        "WITH new AS (INSERT INTO event_ids (id, day) {rows} ON CONFLICT (id) DO UPDATE SET day = excluded.day
             WHERE event_ids.day <> {FOR_EVER} AND event_ids.day <= {} RETURNING id)
         SELECT id, CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM new
         UNION ALL SELECT NULL, name, value FROM settings WHERE name IN (?, ?)",
        forgotten_range(now)
    );
    values.extend(asked.map(sea_orm::Value::from));
    let (mut known, mut said) = (ids, [None, None]);
    for row in Rows(conn).all(&sql, values).await? {
        match row.try_get_by_index::<Option<Vec<u8>>>(0)? {
            Some(id) => drop(known.remove(&id_of(&id)?)),
            None => {
                let name: String = row.try_get_by_index(1)?;
                if let Some(n) = asked.iter().position(|asked| *asked == name) {
                    said[n] = row.try_get_by_index(2)?;
                }
            }
        }
    }
    Ok((known.into_keys().collect(), said))
}

fn id_of(bytes: &[u8]) -> Result<EventId, Error> {
    EventId::try_from(bytes).map_err(|error| Error::unreadable("event id", error))
}

fn ids_of(rows: &[QueryResult]) -> Result<Vec<EventId>, Error> {
    rows.iter()
        .map(|row| {
            let id: Vec<u8> = row.try_get_by_index(0)?;
            id_of(&id)
        })
        .collect()
}

/// Remembers ids that are new, in the order of their keys, each with the position of its entry.
pub async fn remember<C: ConnectionTrait>(conn: &C, mut ids: Vec<(i64, EventId, Position)>) -> Result<(), Error> {
    ids.sort_unstable();
    let rows = ids.into_iter().map(|(range, id, position)| -> Values {
        vec![range.into(), id.as_bytes().to_vec().into(), position.0.into()]
    });
    Rows(conn).insert("INSERT INTO event_ids (day, id, position)", "", 3, rows.collect()).await?;
    Ok(())
}

/// Up to here the table has every id of the log.
pub async fn stored_until<C: ConnectionTrait>(conn: &C) -> Result<Position, Error> {
    let until = setting(conn, STORED_UNTIL).await?.unwrap_or_default();
    Ok(Position(until.parse().unwrap_or_default()))
}

pub async fn set_stored_until<C: ConnectionTrait>(conn: &C, position: Position) -> Result<(), Error> {
    set_setting(conn, STORED_UNTIL, &position.0.to_string()).await
}

/// Where the entry of an id stands that is remembered, or on which something was decided; none where several processes
/// append.
pub async fn position_of<C: ConnectionTrait>(conn: &C, id: EventId) -> Result<Option<Position>, Error> {
    let is_shared = Layout::of(conn.get_database_backend()).is_shared();
    // Asked first: what is stored in the table while we look stands behind this in the log, too.
    let until = if is_shared { Position::default() } else { stored_until(conn).await? };
    let sql = format!(
        "WITH {RANGES} SELECT position FROM ranges CROSS JOIN event_ids
         WHERE event_ids.day = ranges.day AND event_ids.id = ? AND position IS NOT NULL
         UNION ALL SELECT position FROM decided_events WHERE id = ? LIMIT 1"
    );
    let id = id.as_bytes().to_vec();
    let stored = Rows(conn).scalar(&sql, vec![id.clone().into(), id.clone().into()]).await?;
    if stored.is_some() || is_shared {
        return Ok(stored.map(Position));
    }
    let sql = "SELECT position FROM entries WHERE position > ? AND event_id = ? ORDER BY position LIMIT 1";
    Ok(Rows(conn).scalar(sql, vec![until.0.into(), id.into()]).await?.map(Position))
}

/// Forgets ids older than the window, a slice at a time; returns how many went. Those on which something was decided,
/// or that could not be, are kept apart: people ask about them by their id.
pub async fn forget_old<C: ConnectionTrait>(conn: &C, now: Timestamp, limit: u32) -> Result<u64, Error> {
    let (rows, until) = (Rows(conn), forgotten_range(now));
    if Layout::of(conn.get_database_backend()).is_shared() {
        // An index of the entries finds them all.
        let sql = "DELETE FROM event_ids WHERE id IN
                   (SELECT id FROM event_ids WHERE day > ? AND day <= ? LIMIT ?)";
        return rows.run(sql, vec![FOR_EVER.into(), until.into(), limit.into()]).await;
    }
    let mut gone = 0;
    while gone < u64::from(limit) {
        let oldest = "SELECT min(day) FROM event_ids WHERE day > ? AND day <= ?";
        let oldest = rows.scalar::<Option<i64>>(oldest, vec![FOR_EVER.into(), until.into()]).await?.flatten();
        let Some(range) = oldest else { break };
        // The first keys of a range, up to one: asked for as a list of keys they would cost a reading of the table.
        let last = "SELECT id FROM event_ids WHERE day = ? ORDER BY id LIMIT 1 OFFSET ?";
        let rest = i64::from(limit) - i64::try_from(gone).unwrap_or(i64::MAX) - 1;
        let last: Option<Vec<u8>> = rows.scalar(last, vec![range.into(), rest.into()]).await?;
        let (slice, mut values) = ("day = ? AND id <= ?", Values::from([range.into()]));
        values.push(last.unwrap_or_else(|| vec![u8::MAX; ID_BYTES]).into());
        let kept = format!(
            "INSERT INTO decided_events (id, position)
             SELECT id, position FROM event_ids WHERE {slice} AND position IS NOT NULL
             AND (EXISTS (SELECT 1 FROM reasons WHERE reasons.position = event_ids.position)
                  OR EXISTS (SELECT 1 FROM parked WHERE parked.position = event_ids.position))
             ON CONFLICT (id) DO UPDATE SET position = excluded.position"
        );
        rows.run(&kept, values.clone()).await?;
        match rows.run(&format!("DELETE FROM event_ids WHERE {slice}"), values).await? {
            0 => break,
            some => gone += some,
        }
    }
    Ok(gone)
}
