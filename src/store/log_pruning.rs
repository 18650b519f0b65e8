//! The log, kept for a time only: how far it is pruned, what is held back, and what stays of what went.
//!
//! Two classes go along the log from its beginning, each behind a mark in each shard: first what entries carried, then
//! the entries themselves. A mark is moved in the transaction that prunes, so that no entry is counted twice.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::entries::{COLUMNS, Entry, INSERT, Logged};
use crate::store::rows::{Error, Rows, Values, marks};
use crate::store::shards::{Heads, Layout, Shard};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What events carried and who sent them: entries keep their place, their time, whose they are by number, and their
    /// name.
    Bodies,
    Entries,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bodies => "bodies",
            Self::Entries => "entries",
        }
    }
}

/// An entry whose body is needed although it is old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub position: Position,
    pub workspace: WorkspaceId,
    /// The event's name where a condition looks back at it, else empty: something waits for it.
    pub why: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Where the marks of a class stand.
pub async fn marks_of<C: ConnectionTrait>(conn: &C, class: Class) -> Result<Heads, Error> {
    let sql = "SELECT shard, position FROM retention_marks WHERE class = ?";
    let mut heads = Heads::default();
    for row in Rows(conn).all(sql, vec![class.as_str().into()]).await? {
        heads.set(Shard::read(row.try_get_by_index(0)?)?, Position(row.try_get_by_index(1)?));
    }
    Ok(heads)
}

/// Moves a mark; false if another process has moved it since `from`.
pub async fn move_mark<C: ConnectionTrait>(
    tx: &C,
    class: Class,
    shard: Shard,
    (from, to): (Position, Position),
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "INSERT INTO retention_marks (class, shard, position) VALUES (?, ?, ?)
               ON CONFLICT (class, shard) DO UPDATE SET position = excluded.position
               WHERE retention_marks.position = ?";
    let values = vec![class.as_str().into(), shard.number().into(), to.0.into(), from.0.into()];
    if Rows(tx).run(sql, values).await? == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO retention_days (class, shard, day, position) VALUES (?, ?, ?, ?)
               ON CONFLICT (class, shard, day) DO UPDATE SET position = excluded.position";
    let values = vec![class.as_str().into(), shard.number().into(), now.day().into(), to.0.into()];
    Rows(tx).run(sql, values).await?;
    Ok(true)
}

/// The day, since 1970, on which pruning came past this position; none: it did not.
pub async fn pruned_on<C: ConnectionTrait>(conn: &C, class: Class, position: Position) -> Result<Option<i64>, Error> {
    let shard = Layout::of(conn.get_database_backend()).shard_at(position).number();
    let sql = "SELECT min(day) FROM retention_days WHERE class = ? AND shard = ? AND position >= ?";
    let values = vec![class.as_str().into(), shard.into(), position.0.into()];
    Ok(Rows(conn).scalar::<Option<i64>>(sql, values).await?.flatten())
}

/// Puts what is left of entries in the place of what they were. New rows, for a shortened one would leave its page half
/// empty: SQLite gives no room within a page to another.
pub async fn replace<C: ConnectionTrait>(tx: &C, entries: &[Entry]) -> Result<(), Error> {
    let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    delete_at(tx, "entries", &positions).await?;
    Rows(tx).insert(INSERT, "", COLUMNS, entries.iter().map(Entry::values).collect()).await?;
    Ok(())
}

/// Takes entries out of the log, with what was found out about them and where their ids lead; their number stays. One
/// that was parked and appended again counts there.
pub async fn remove<C: ConnectionTrait>(tx: &C, entries: &[Entry]) -> Result<(), Error> {
    let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    let again = parked_among(tx, &positions).await?;
    for table in ["entries", "reasons", "parked", "held_entries"] {
        delete_at(tx, table, &positions).await?;
    }
    let mut counts: BTreeMap<(i64, i64, &str, &str), i64> = BTreeMap::new();
    let mut ids = Vec::new();
    for entry in entries {
        let name = match &entry.logged {
            Logged::Event(event) => {
                ids.push(event.id);
                event.name.as_str()
            }
            Logged::Timer
            | Logged::MessageEnded { .. }
            | Logged::DefinitionsApplied { .. }
            | Logged::Control { .. }
            | Logged::Administered { .. } => "",
        };
        let kind = if again.contains_key(&entry.position) { "redriven" } else { entry.logged.kind() };
        *counts.entry((entry.workspace.0, entry.now.day(), kind, name)).or_default() += 1;
    }
    for chunk in ids.chunks(500) {
        let sql = format!("DELETE FROM decided_events WHERE id IN ({})", marks(chunk.len()));
        Rows(tx).run(&sql, chunk.iter().map(|id| id.as_bytes().to_vec().into()).collect()).await?;
    }
    let rows = counts.into_iter().map(|((workspace, day, kind, name), count)| -> Values {
        vec![workspace.into(), day.into(), kind.into(), name.into(), count.into()]
    });
    let head = "INSERT INTO entry_rollups (workspace, day, kind, name, count)";
    let tail = "ON CONFLICT (workspace, day, kind, name) DO UPDATE SET count = entry_rollups.count + excluded.count";
    Rows(tx).insert(head, tail, 5, rows.collect()).await?;
    Ok(())
}

async fn delete_at<C: ConnectionTrait>(tx: &C, table: &str, positions: &[Position]) -> Result<(), Error> {
    for chunk in positions.chunks(500) {
        let sql = format!("DELETE FROM {table} WHERE position IN ({})", marks(chunk.len()));
        Rows(tx).run(&sql, chunk.iter().map(|position| position.0.into()).collect()).await?;
    }
    Ok(())
}

/// Of these positions, those that are parked, each with whether it was redriven.
pub async fn parked_among<C: ConnectionTrait>(
    conn: &C,
    positions: &[Position],
) -> Result<BTreeMap<Position, bool>, Error> {
    let sql = format!("SELECT position, redriven_at FROM parked WHERE position IN ({})", marks(positions.len()));
    let rows = Rows(conn).all(&sql, positions.iter().map(|position| position.0.into()).collect()).await?;
    rows.iter()
        .map(|row| Ok((Position(row.try_get_by_index(0)?), row.try_get_by_index::<Option<i64>>(1)?.is_some())))
        .collect()
}

pub async fn hold<C: ConnectionTrait>(tx: &C, held: &[Held]) -> Result<(), Error> {
    let rows = held.iter().map(|one| -> Values {
        vec![one.position.0.into(), one.workspace.0.into(), one.why.clone().into(), one.at.millis().into()]
    });
    let head = "INSERT INTO held_entries (position, workspace, why, at)";
    let tail = "ON CONFLICT (position) DO UPDATE SET why = excluded.why";
    Rows(tx).insert(head, tail, 4, rows.collect()).await?;
    Ok(())
}

pub async fn release<C: ConnectionTrait>(tx: &C, positions: &[Position]) -> Result<(), Error> {
    delete_at(tx, "held_entries", positions).await
}

/// Of these positions, those that are held.
pub async fn held_among<C: ConnectionTrait>(conn: &C, positions: &[Position]) -> Result<BTreeSet<Position>, Error> {
    let sql = format!("SELECT position FROM held_entries WHERE position IN ({})", marks(positions.len()));
    let rows = Rows(conn).all(&sql, positions.iter().map(|position| position.0.into()).collect()).await?;
    rows.iter().map(|row| Ok(Position(row.try_get_by_index(0)?))).collect()
}

/// Reads held rows.
async fn held_rows<C: ConnectionTrait>(conn: &C, sql: &str, values: Values) -> Result<Vec<Held>, Error> {
    let rows = Rows(conn).all(sql, values).await?;
    rows.iter()
        .map(|row| {
            Ok(Held {
                position: Position(row.try_get_by_index(0)?),
                workspace: WorkspaceId(row.try_get_by_index(1)?),
                why: row.try_get_by_index(2)?,
                at: Timestamp::from_millis(row.try_get_by_index(3)?),
            })
        })
        .collect()
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// For what entries of this workspace are held.
    pub async fn reasons_to_hold(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT DISTINCT why FROM held_entries WHERE workspace = ?";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into()]).await?;
        rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
    }

    /// A page of what is held for this reason and happened before an instant, behind a position.
    pub async fn held(&self, why: &str, before: Timestamp, after: Position, limit: u32) -> Result<Vec<Held>, Error> {
        let sql = "SELECT position, workspace, why, at FROM held_entries
                   WHERE workspace = ? AND why = ? AND at < ? AND position > ? ORDER BY position LIMIT ?";
        let values =
            vec![self.id.0.into(), why.into(), before.millis().into(), after.0.into(), i64::from(limit).into()];
        held_rows(self.conn, sql, values).await
    }

    /// What waits for an old entry: enrollments that began before an instant and go on, messages that wait or may be
    /// redriven, entries that were parked.
    pub async fn waited_for(&self, before: Timestamp) -> Result<BTreeSet<Position>, Error> {
        let sql = "SELECT entry, event FROM enrollments WHERE workspace = ? AND ended_at IS NULL AND entered_at < ?
                   UNION ALL SELECT entry, event FROM messages WHERE workspace = ? AND due_at IS NOT NULL
                   UNION ALL SELECT entry, event FROM messages WHERE workspace = ? AND status IN ('failed', 'sending')
                   UNION ALL SELECT position, position FROM parked WHERE workspace = ? AND redriven_at IS NULL";
        let id = || sea_orm::Value::from(self.id.0);
        let rows = Rows(self.conn).all(sql, vec![id(), before.millis().into(), id(), id(), id()]).await?;
        let mut found = BTreeSet::new();
        for row in &rows {
            found.insert(Position(row.try_get_by_index(0)?));
            found.insert(Position(row.try_get_by_index(1)?));
        }
        Ok(found)
    }

    /// Of the enrollments that go on: in which versions of campaigns, and when the oldest began.
    pub async fn walks(&self) -> Result<(Vec<(String, u32)>, Option<Timestamp>), Error> {
        let sql = "SELECT campaign, version, min(entered_at) FROM enrollments
                   WHERE workspace = ? AND ended_at IS NULL GROUP BY campaign, version";
        let (mut versions, mut oldest) = (Vec::new(), None);
        for row in Rows(self.conn).all(sql, vec![self.id.0.into()]).await? {
            versions.push((row.try_get_by_index(0)?, crate::store::rows::int(&row, 1)?));
            let began = Timestamp::from_millis(row.try_get_by_index(2)?);
            oldest = Some(oldest.map_or(began, |known: Timestamp| known.min(began)));
        }
        Ok((versions, oldest))
    }

    /// Up to where the log is folded into baselines.
    pub async fn folded_until(&self) -> Result<Heads, Error> {
        marks_of(self.conn, Class::Bodies).await
    }

    /// On which day, since 1970, what these people did was pruned, the newest that was; none of it: none.
    pub async fn past_pruned_on(&self, class: Class, positions: &[Position]) -> Result<Option<i64>, Error> {
        let marks = marks_of(self.conn, class).await?;
        let gone = positions.iter().filter(|at| **at <= marks.of(self.layout().shard_at(**at)));
        match gone.max() {
            Some(newest) => pruned_on(self.conn, class, *newest).await,
            None => Ok(None),
        }
    }
}

/// Whose rows nobody changes before this transaction ends, and which of them are erased.
pub async fn lock_people<C: ConnectionTrait>(
    tx: &C,
    people: &BTreeSet<ProfileId>,
) -> Result<BTreeSet<ProfileId>, Error> {
    let ids = || people.iter().map(|id| id.0.into()).collect::<Values>();
    if Layout::of(tx.get_database_backend()).is_shared() {
        let sql = format!("SELECT id FROM profiles WHERE id IN ({}) ORDER BY id FOR SHARE", marks(people.len()));
        Rows(tx).all(&sql, ids()).await?;
    }
    let sql = format!("SELECT profile FROM erasures WHERE profile IN ({})", marks(people.len()));
    Rows(tx).all(&sql, ids()).await?.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
}
