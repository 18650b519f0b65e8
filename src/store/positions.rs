//! Where the log stood at an instant.

use sea_orm::ConnectionTrait;

use crate::ids::{Position, Timestamp};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows};
use crate::store::shards::Layout;

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
}
