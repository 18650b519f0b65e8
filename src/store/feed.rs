//! The log as it is decided, for those who watch: events and messages that ended, behind the processor and in order,
//! from wherever a watcher had come to.

use sea_orm::ConnectionTrait;

use crate::ids::{Position, Timestamp};
use crate::store::Workspace;
use crate::store::entries::Entry;
use crate::store::newest::Reached;
use crate::store::rows::{Error, Rows, Values};
use crate::store::shards::cursors;

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Up to where everything is decided now.
    pub async fn decided(&self) -> Result<Reached, Error> {
        let cursors = cursors(self.conn).await?;
        Ok(Reached(self.layout().all().iter().map(|shard| cursors.of(shard).0).collect()))
    }

    /// Up to `limit` decided entries behind `from` that a watcher is told of, oldest first, each with how far it brings
    /// them; and how far all of it does.
    pub async fn decided_after(&self, from: &Reached, limit: u32) -> Result<(Vec<(Reached, Entry)>, Reached), Error> {
        let decided = self.decided().await?;
        let (mut parts, mut values) = (Vec::new(), Values::new());
        for (shard, (from, to)) in (0_i64..).zip(from.0.iter().zip(&decided.0)) {
            if from >= to {
                continue;
            }
            let place = if self.layout().is_shared() { format!(" AND position % 16 = {shard}") } else { String::new() };
            parts.push(format!(
                "SELECT position, now FROM (SELECT position, now FROM entries WHERE position > ? AND position <= ?{place}
                 AND workspace = ? AND (event_id IS NOT NULL OR kind = 'message_ended') ORDER BY position LIMIT ?)
                 AS next_{shard}"
            ));
            values.extend([(*from).into(), (*to).into(), self.id.0.into(), limit.into()]);
        }
        if parts.is_empty() {
            return Ok((Vec::new(), from.clone()));
        }
        let mut found: Vec<(Timestamp, Position)> = Vec::new();
        for row in Rows(self.conn).all(&parts.join(" UNION ALL "), values).await? {
            let now = Timestamp::from_millis(row.try_get_by_index(1)?);
            found.push((now, Position(row.try_get_by_index(0)?)));
        }
        found.sort_unstable();
        let is_all = found.len() < limit as usize;
        found.truncate(limit as usize);
        let positions: Vec<Position> = found.iter().map(|(_, position)| *position).collect();
        let mut entries = self.entries_apart(&positions).await?;
        let mut reached = from.clone();
        let mut told = Vec::with_capacity(positions.len());
        for position in positions {
            if let Ok(shard) = usize::try_from(self.layout().shard_at(position).number()) {
                reached.0[shard] = reached.0[shard].max(position.0);
            }
            told.extend(entries.remove(&position).map(|entry| (reached.clone(), entry)));
        }
        // What is not told of is passed over when nothing before it waits.
        Ok((told, if is_all { decided } else { reached }))
    }
}
