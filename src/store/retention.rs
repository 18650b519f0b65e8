//! What is kept for a time only: deleted in slices, oldest first, along an index. Of messages the counts stay.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::ids::{MessageId, Position, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::controls::{set_setting, setting};
use crate::store::rows::{Error, Rows, Values, marks};
use crate::store::shards::{Layout, Shard};

/// The setting with the instant before which something of people's past was pruned.
const PRUNED_BEFORE: &str = "pruned_before";
/// The setting with the day, since 1970, on which that last moved.
const PRUNED_ON: &str = "pruned_on";
/// States in which a message has come to its end.
const ENDED: &str = "('sent', 'unknown', 'suppressed', 'cancelled', 'failed')";

/// What definitions may look back at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What events carried.
    Bodies,
    /// Slots of frequency caps.
    Slots,
}

impl Kind {
    fn setting(self) -> &'static str {
        match self {
            Self::Bodies => "pruned_to:bodies",
            Self::Slots => "pruned_to:slots",
        }
    }
}

/// What definitions look back at was pruned up to there, if not further before.
pub async fn note_pruned_to<C: ConnectionTrait>(tx: &C, kind: Kind, before: Timestamp) -> Result<(), Error> {
    match pruned_to(tx, kind).await? {
        Some(known) if known >= before => Ok(()),
        _ => set_setting(tx, kind.setting(), &before.millis().to_string()).await,
    }
}

async fn pruned_to<C: ConnectionTrait>(conn: &C, kind: Kind) -> Result<Option<Timestamp>, Error> {
    let known = setting(conn, kind.setting()).await?;
    Ok(known.and_then(|at| at.parse().ok()).map(Timestamp::from_millis))
}

/// Where the next slice of messages begins: created then, and after this id.
pub type Place = (Timestamp, MessageId);

/// How far a slice of messages came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub pruned: u64,
    /// None: nothing older is left.
    pub next: Option<Place>,
}

/// The instant before which something was pruned, if anything was.
async fn pruned_before<C: ConnectionTrait>(conn: &C) -> Result<Option<Timestamp>, Error> {
    let known = setting(conn, PRUNED_BEFORE).await?;
    Ok(known.and_then(|at| at.parse().ok()).map(Timestamp::from_millis))
}

/// # Errors
/// The database refuses.
pub async fn note_pruned<C: ConnectionTrait>(tx: &C, before: Timestamp, now: Timestamp) -> Result<(), Error> {
    if pruned_before(tx).await?.is_none_or(|known| known < before) {
        set_setting(tx, PRUNED_BEFORE, &before.millis().to_string()).await?;
    }
    set_setting(tx, PRUNED_ON, &now.day().to_string()).await?;
    Ok(())
}

/// Deletes clicks and opens of before an instant whose events are in the log.
pub async fn prune_hits<C: ConnectionTrait>(tx: &C, before: Timestamp, limit: u32) -> Result<u64, Error> {
    let sql = "DELETE FROM hits WHERE (workspace, id) IN
               (SELECT workspace, id FROM hits WHERE settled = 1 AND at < ? ORDER BY at LIMIT ?)";
    Rows(tx).run(sql, vec![before.millis().into(), limit.into()]).await
}

/// Deletes what was found out of entries of a shard that were decided before an instant, from a position on; the answer
/// is how many, and the last position, where there may be more.
pub async fn prune_reasons<C: ConnectionTrait>(
    tx: &C,
    shard: Shard,
    after: Position,
    before: Timestamp,
    limit: u32,
) -> Result<(u64, Option<Position>), Error> {
    let ours = match Layout::of(tx.get_database_backend()).is_shared() {
        true => format!("AND reasons.position % 16 = {}", shard.number()),
        false => String::new(),
    };
    let sql = format!(
        "SELECT reasons.position, entries.now FROM reasons LEFT JOIN entries ON entries.position = reasons.position
         WHERE reasons.position > ? {ours} ORDER BY reasons.position LIMIT ?"
    );
    let mut old = Vec::new();
    let rows = Rows(tx).all(&sql, vec![after.0.into(), limit.into()]).await?;
    for row in &rows {
        // An import's entries are older than they stand: whatever follows something young waits for it.
        if row.try_get_by_index::<Option<i64>>(1)?.is_some_and(|now| now >= before.millis()) {
            break;
        }
        old.push(row.try_get_by_index::<i64>(0)?);
    }
    let Some(last) = old.last().copied() else { return Ok((0, None)) };
    let sql = format!("DELETE FROM reasons WHERE position IN ({})", marks(old.len()));
    let is_full = old.len() == rows.len() && rows.len() == limit as usize;
    let pruned = Rows(tx).run(&sql, old.into_iter().map(Into::into).collect()).await?;
    Ok((pruned, is_full.then_some(Position(last))))
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The instant before which something of people's past was pruned, and the day, since 1970, on which something
    /// last was; none: nothing.
    pub async fn pruned_before(&self) -> Result<Option<(Timestamp, Option<i64>)>, Error> {
        let Some(before) = pruned_before(self.conn).await? else { return Ok(None) };
        Ok(Some((before, setting(self.conn, PRUNED_ON).await?.and_then(|day| day.parse().ok()))))
    }

    /// The instant before which what definitions look back at was pruned; none: it never was.
    pub async fn pruned_to(&self, kind: Kind) -> Result<Option<Timestamp>, Error> {
        pruned_to(self.conn, kind).await
    }

    /// Moves messages that ended and were created before an instant into the counts, with their states, tries and hits.
    /// A message whose slot counts since `slots_since` stays: the caps are read from it.
    pub async fn prune_messages(
        &self,
        from: Place,
        before: Timestamp,
        slots_since: Timestamp,
        limit: u32,
    ) -> Result<Slice, Error> {
        let sql = "SELECT created_at, id FROM messages WHERE workspace = ? AND created_at < ?
                   AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?";
        let (at, id) = from;
        let values: Values = vec![
            self.id.0.into(),
            before.millis().into(),
            at.millis().into(),
            id.as_bytes().to_vec().into(),
            limit.into(),
        ];
        let rows = Rows(self.conn).all(sql, values).await?;
        let places = rows.iter().map(place).collect::<Result<Vec<Place>, Error>>()?;
        let next = places.last().copied().filter(|_| places.len() == limit as usize);
        if places.is_empty() {
            return Ok(Slice { pruned: 0, next });
        }
        let sql = format!(
            "DELETE FROM messages WHERE +workspace = ? AND id IN ({}) AND due_at IS NULL AND status IN {ENDED}
             AND (slot_at IS NULL OR slot_at < ?) RETURNING id, campaign, channel, status, reason, created_at",
            marks(places.len())
        );
        let mut values: Values = vec![self.id.0.into()];
        values.extend(places.iter().map(|(_, id)| sea_orm::Value::from(id.as_bytes().to_vec())));
        values.push(slots_since.millis().into());
        let gone = Rows(self.conn).all(&sql, values).await?;
        self.roll_up(&gone).await?;
        Ok(Slice { pruned: gone.len() as u64, next })
    }

    async fn roll_up(&self, gone: &[QueryResult]) -> Result<(), Error> {
        let mut counts: BTreeMap<(i64, String, String, String, String), i64> = BTreeMap::new();
        let mut ids: Vec<Vec<u8>> = Vec::with_capacity(gone.len());
        for row in gone {
            ids.push(row.try_get_by_index(0)?);
            let day = Timestamp::from_millis(row.try_get_by_index(5)?).day();
            let reason: Option<String> = row.try_get_by_index(4)?;
            let key = (
                day,
                row.try_get_by_index(1)?,
                row.try_get_by_index(2)?,
                row.try_get_by_index(3)?,
                reason.unwrap_or_default(),
            );
            *counts.entry(key).or_default() += 1;
        }
        for chunk in ids.chunks(500) {
            let all = || chunk.iter().map(|id| sea_orm::Value::from(id.clone()));
            let marks = marks(chunk.len());
            for table in ["message_states", "attempts"] {
                Rows(self.conn)
                    .run(&format!("DELETE FROM {table} WHERE message IN ({marks})"), all().collect())
                    .await?;
            }
            let mut values: Values = vec![self.id.0.into()];
            values.extend(all());
            let sql = format!("DELETE FROM hits WHERE workspace = ? AND message IN ({marks})");
            Rows(self.conn).run(&sql, values).await?;
        }
        let rows = counts.into_iter().map(|((day, campaign, channel, status, reason), count)| -> Values {
            vec![
                self.id.0.into(),
                day.into(),
                campaign.into(),
                channel.into(),
                status.into(),
                reason.into(),
                count.into(),
            ]
        });
        let head = "INSERT INTO message_rollups (workspace, day, campaign, channel, status, reason, count)";
        let tail = "ON CONFLICT (workspace, day, campaign, channel, status, reason)
                    DO UPDATE SET count = message_rollups.count + excluded.count";
        Rows(self.conn).insert(head, tail, 7, rows.collect()).await?;
        Ok(())
    }
}

fn place(row: &QueryResult) -> Result<Place, Error> {
    let id: Vec<u8> = row.try_get_by_index(1)?;
    let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
    Ok((Timestamp::from_millis(row.try_get_by_index(0)?), id))
}

/// Workspaces that have messages.
pub async fn workspaces_with_messages<C: ConnectionTrait>(conn: &C) -> Result<Vec<WorkspaceId>, Error> {
    let sql = "SELECT DISTINCT workspace FROM counters WHERE name = 'messages_created' ORDER BY workspace";
    let rows = Rows(conn).all(sql, vec![]).await?;
    rows.iter().map(|row| Ok(WorkspaceId(row.try_get_by_index(0)?))).collect()
}
