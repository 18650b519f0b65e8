//! Where the log stood at an instant.

use sea_orm::ConnectionTrait;

use std::collections::BTreeMap;

use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::store::Workspace;
use crate::store::messages::Step;
use crate::store::rows::{Error, Rows, Values, decode, marks};
use crate::store::shards::{Layout, Shard};

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Where the first shard of the log stood at an instant: its last entry that was decided by then. Found by halving, as
    /// instants follow each other with the positions of a shard.
    pub async fn position_at(&self, at: Timestamp) -> Result<Position, Error> {
        let layout = Layout::of(self.conn.get_database_backend());
        let place = if layout.is_shared() { "position % 16 = 0 AND " } else { "" };
        let step = if layout.is_shared() { 16 } else { 1 };
        let sql = format!("SELECT max(position) FROM entries WHERE {place}position < ?");
        let newest: Option<i64> = Rows(self.conn).scalar::<Option<i64>>(&sql, vec![i64::MAX.into()]).await?.flatten();
        let (mut low, mut high) = (0, newest.unwrap_or(0) / step + 1);
        let order = if layout.is_shared() { "position % 16, position" } else { "position" };
        let sql = format!("SELECT now FROM entries WHERE {place}position >= ? ORDER BY {order} LIMIT 1");
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let now: Option<i64> = Rows(self.conn).scalar(&sql, vec![(middle * step).into()]).await?;
            match now {
                Some(now) if now <= at.millis() => low = middle,
                _ => high = middle,
            }
        }
        Ok(Position(low * step))
    }

    /// Where what is in force changed after a position, oldest first: as the first shard has it, and as each shard has.
    pub async fn changes_since(
        &self,
        after: Position,
    ) -> Result<(Vec<Position>, BTreeMap<Shard, Vec<Position>>), Error> {
        let layout = self.layout();
        let after = self.definitions_position(after).await?;
        let sql = "SELECT position FROM definitions WHERE workspace = ? AND position > ?
                   UNION SELECT position FROM switches WHERE workspace = ? AND position > ? ORDER BY 1";
        let values = vec![self.id.0.into(), after.0.into(), self.id.0.into(), after.0.into()];
        let rows = Rows(self.conn).all(sql, values).await?;
        let changes: Vec<Position> =
            rows.iter().map(|row| row.try_get_by_index(0).map(Position)).collect::<Result<_, _>>()?;
        let mut by_shard: BTreeMap<Shard, Vec<Position>> = BTreeMap::new();
        if !layout.is_shared() {
            by_shard.insert(layout.shard_at(Position(0)), changes.clone());
            return Ok((changes, by_shard));
        }
        for change in &changes {
            let sql = "SELECT position FROM barriers WHERE barrier = ? ORDER BY position";
            for row in Rows(self.conn).all(sql, vec![change.0.into()]).await? {
                let position = Position(row.try_get_by_index(0)?);
                by_shard.entry(layout.shard_at(position)).or_default().push(position);
            }
        }
        Ok((changes, by_shard))
    }

    /// Where the first thing stands that was decided at this instant or later; none where nothing was.
    pub async fn first_act(&self, since: Timestamp) -> Result<Option<Position>, Error> {
        let sql = "SELECT min(position) FROM entries WHERE workspace = ? AND event_id IS NOT NULL AND now >= ?";
        let values = vec![self.id.0.into(), since.millis().into()];
        Ok(Rows(self.conn).scalar::<Option<i64>>(sql, values).await?.flatten().map(Position))
    }

    /// When the first event came that is stored.
    pub async fn stored_since(&self) -> Result<Option<Timestamp>, Error> {
        let sql = match self.layout().is_shared() {
            true => {
                "SELECT min(one.now) FROM generate_series(CAST(0 AS BIGINT), 15) AS shard CROSS JOIN LATERAL
                 (SELECT now FROM entries WHERE position % 16 = shard AND workspace = ? AND event_id IS NOT NULL
                  ORDER BY position % 16, position LIMIT 1) AS one"
            }
            false => {
                "SELECT (SELECT now FROM entries WHERE workspace = ? AND event_id IS NOT NULL ORDER BY position LIMIT 1)"
            }
        };
        let first = Rows(self.conn).scalar::<Option<i64>>(sql, vec![self.id.0.into()]).await?;
        Ok(first.flatten().map(Timestamp::from_millis))
    }

    /// How many events of clients were decided in a time that begins at a position, and how many people there are.
    pub async fn extent(&self, first: Position, (from, to): (Timestamp, Timestamp)) -> Result<(u64, u64), Error> {
        let sql = "SELECT count(*) FROM entries WHERE position >= ? AND workspace = ? AND event_id IS NOT NULL
                   AND kind <> 'own' AND now >= ? AND now < ?";
        let values = vec![first.0.into(), self.id.0.into(), from.millis().into(), to.millis().into()];
        let events: Option<i64> = Rows(self.conn).scalar(sql, values).await?;
        let sql = "SELECT count(*) FROM profiles WHERE workspace = ? AND merged_into IS NULL";
        let people: Option<i64> = Rows(self.conn).scalar(sql, vec![self.id.0.into()]).await?;
        let count = |count: Option<i64>| count.unwrap_or(0).cast_unsigned();
        Ok((count(events), count(people)))
    }

    /// Under which profile these entries stand; those that are gone are missing.
    pub async fn owners_of(&self, positions: &[Position]) -> Result<BTreeMap<Position, ProfileId>, Error> {
        let mut found = BTreeMap::new();
        for chunk in positions.chunks(512) {
            let keys = chunk.iter().map(|position| position.0.into()).collect();
            let (is_one, mut values) = Rows(self.conn).among("position", keys);
            let sql = format!("SELECT position, profile FROM entries WHERE {is_one} AND +workspace = ?");
            values.push(self.id.0.into());
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                if let Some(profile) = row.try_get_by_index::<Option<i64>>(1)? {
                    found.insert(Position(row.try_get_by_index(0)?), ProfileId(profile));
                }
            }
        }
        Ok(found)
    }

    /// The paths of many messages at once, each first state first.
    pub async fn paths_of(&self, messages: &[MessageId]) -> Result<BTreeMap<MessageId, Vec<Step>>, Error> {
        let mut found: BTreeMap<MessageId, Vec<Step>> = BTreeMap::new();
        for chunk in messages.chunks(500) {
            let sql = format!(
                "SELECT message, at, state FROM message_states WHERE message IN ({}) ORDER BY message, step",
                marks(chunk.len())
            );
            let values: Values = chunk.iter().map(|id| id.as_bytes().to_vec().into()).collect();
            for row in Rows(self.conn).all(&sql, values).await? {
                let (id, state): (Vec<u8>, String) = (row.try_get_by_index(0)?, row.try_get_by_index(2)?);
                let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
                let at = Timestamp::from_millis(row.try_get_by_index(1)?);
                found.entry(id).or_default().push(Step { at, state: decode("message", &state)? });
            }
        }
        Ok(found)
    }
}
