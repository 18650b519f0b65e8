//! The log read from its end: the newest events first, in pages that neither skip nor repeat while more arrive.
//!
//! On PostgreSQL each shard has its own end, so a page is merged from all of them by the instant of decision, and the
//! place where it ended is a position in each.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;

use crate::ids::{Position, Timestamp};
use crate::store::Workspace;
use crate::store::entries::Entry;
use crate::store::rows::{Error, Rows, Values};
use crate::store::shards::{Heads, ShardSet, heads};

/// Entries of a shard looked at for one page, at most: a name that is rare must not cost a reading of the log.
const LOOKED_AT_MAX: i64 = 50_000;

/// Which events to list; empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub name: Option<String>,
    /// Those Carillon made itself as well.
    pub own: bool,
}

/// In each shard, by its number, the position in front of which the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached(pub Vec<i64>);

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// A page of the log from its end on, in front of a position: where each entry stands and its event's name, empty for
    /// other inputs. Newest first; where heads are given, only what came after them, each in its shard.
    pub async fn names_before(
        &self,
        before: Position,
        after: Option<&Heads>,
        limit: u32,
    ) -> Result<Vec<(Position, String)>, Error> {
        let backend = self.conn.get_database_backend();
        let after = after.map_or_else(String::new, |heads| format!("{} AND ", heads.before(backend, "position")));
        let sql = format!(
            "SELECT position, name FROM entries WHERE {after}position < ? AND workspace = ? ORDER BY position DESC LIMIT ?"
        );
        let values = vec![before.0.into(), self.id.0.into(), limit.into()];
        let rows = Rows(self.conn).all(&sql, values).await?;
        rows.iter().map(|row| Ok((Position(row.try_get_by_index(0)?), row.try_get_by_index(1)?))).collect()
    }

    /// Where each shard of the log ends.
    pub async fn heads(&self) -> Result<Heads, Error> {
        Ok(heads(self.conn, ShardSet::EVERY).await?.0)
    }

    /// A page of events, newest first, and where the next one begins; none where the log begins. With a filter a page
    /// may be short, or empty, and yet not the last.
    pub async fn newest_events(
        &self,
        from: Option<&Reached>,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<(Vec<Entry>, Option<Reached>), Error> {
        let mut before = match from {
            Some(Reached(before)) => before.clone(),
            None => self.log_ends().await?,
        };
        let floors: Vec<i64> = before.iter().map(|at| at.saturating_sub(LOOKED_AT_MAX * self.shards())).collect();
        let mut found = self.candidates(&before, &floors, filter, limit).await?;
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        let mut taken = Vec::new();
        while taken.len() < limit as usize {
            // The newest of the heads; each list ends with its newest.
            let newest = (0..found.len()).filter(|shard| !found[*shard].is_empty());
            let Some(shard) = newest.max_by_key(|shard| found[*shard].last().copied()) else { break };
            let Some((_, position)) = found[shard].pop() else { break };
            before[shard] = position;
            taken.push(Position(position));
        }
        let mut more = false;
        for (shard, rest) in found.iter().enumerate() {
            if rest.is_empty() && lengths[shard] < limit as usize {
                // All down to the floor were looked at.
                before[shard] = before[shard].min(floors[shard].max(0));
            }
            let first = i64::try_from(shard).unwrap_or(0) + self.shards();
            more |= !rest.is_empty() || before[shard] > first;
        }
        let mut entries = self.entries_apart(&taken).await?;
        let events = taken.iter().filter_map(|position| entries.remove(position)).collect();
        Ok((events, more.then_some(Reached(before))))
    }

    fn shards(&self) -> i64 {
        i64::try_from(self.layout().all().len()).unwrap_or(1)
    }

    /// Behind the last entry of each shard.
    async fn log_ends(&self) -> Result<Vec<i64>, Error> {
        let parts: Vec<String> = (0..self.shards())
            .map(|shard| {
                format!("SELECT CAST({shard} AS BIGINT), max(position) FROM entries{}", self.place(shard, "WHERE"))
            })
            .collect();
        let mut ends = vec![0; parts.len()];
        for row in Rows(self.conn).all(&parts.join(" UNION ALL "), vec![]).await? {
            let (shard, last): (i64, Option<i64>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            if let (Ok(shard), Some(last)) = (usize::try_from(shard), last) {
                ends[shard] = last + 1;
            }
        }
        Ok(ends)
    }

    fn place(&self, shard: i64, word: &str) -> String {
        if self.layout().is_shared() { format!(" {word} position % 16 = {shard}") } else { String::new() }
    }

    /// By shard, oldest first, the instants and positions of up to `limit` that fit.
    async fn candidates(
        &self,
        before: &[i64],
        floors: &[i64],
        filter: &EventFilter,
        limit: u32,
    ) -> Result<Vec<Vec<(Timestamp, i64)>>, Error> {
        let (mut parts, mut values) = (Vec::new(), Values::new());
        let name = if filter.name.is_some() { " AND name = ?" } else { "" };
        let own = if filter.own { "" } else { " AND kind <> 'own'" };
        for (shard, (before, floor)) in (0_i64..).zip(before.iter().zip(floors)) {
            let place = self.place(shard, "AND");
            parts.push(format!(
                "SELECT position, now FROM (SELECT position, now FROM entries WHERE position < ? AND position >= ?{place}
                 AND workspace = ? AND event_id IS NOT NULL{own}{name} ORDER BY position DESC LIMIT ?) AS newest_{shard}"
            ));
            values.extend([(*before).into(), (*floor).into(), self.id.0.into()]);
            values.extend(filter.name.clone().map(Into::into));
            values.push(limit.into());
        }
        let mut by_shard: BTreeMap<i64, Vec<(Timestamp, i64)>> = BTreeMap::new();
        for row in Rows(self.conn).all(&parts.join(" UNION ALL "), values).await? {
            let position: i64 = row.try_get_by_index(0)?;
            let now = Timestamp::from_millis(row.try_get_by_index(1)?);
            by_shard.entry(self.layout().shard_at(Position(position)).number()).or_default().push((now, position));
        }
        let in_order = |shard: i64| {
            let mut found = by_shard.get(&shard).cloned().unwrap_or_default();
            found.sort_unstable_by_key(|(_, position)| *position);
            found
        };
        Ok((0..self.shards()).map(in_order).collect())
    }
}
