//! What is stored and waits, in numbers: cheap enough to be asked every few seconds, whatever the tables hold.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryResult};

use crate::ids::Timestamp;
use crate::store::Workspace;
use crate::store::entries::received_at;
use crate::store::rows::{Error, Rows};
use crate::store::shards::ShardSet;

/// Rows counted at most.
const COUNTED_MAX: i64 = 100_000;

/// Since when the oldest entry has waited for its decision, as far as the log knows when it came.
pub async fn waiting_since<C: ConnectionTrait>(conn: &C) -> Result<Option<Timestamp>, Error> {
    let sql = match conn.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT first.meta, first.now FROM cursors CROSS JOIN LATERAL (SELECT meta, now FROM entries
                WHERE entries.position % 16 = cursors.shard AND entries.position > cursors.position
                ORDER BY entries.position % 16, entries.position LIMIT 1) AS first"
        }
        _ => {
            "SELECT meta, now FROM entries
                WHERE position > (SELECT coalesce(max(position), 0) FROM cursors WHERE name = 'processed')
                ORDER BY position LIMIT 1"
        }
    };
    let mut oldest: Option<Timestamp> = None;
    for row in Rows(conn).all(sql, vec![]).await? {
        let meta: Vec<u8> = row.try_get_by_index(0)?;
        // An import's event is decided as of its own time; it came when it was received.
        let now = Timestamp::from_millis(row.try_get_by_index(1)?);
        let since = received_at(&meta).unwrap_or(now).max(now);
        oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
    }
    Ok(oldest)
}

/// When the message was due that has been due longest, or comes due first.
pub async fn first_due<C: ConnectionTrait>(conn: &C) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT min(due_at) FROM messages WHERE due_at IS NOT NULL";
    Ok(Rows(conn).scalar::<Option<i64>>(sql, vec![]).await?.flatten().map(Timestamp::from_millis))
}

/// People of these shards whose next instant has come.
pub async fn due_timers<C: ConnectionTrait>(conn: &C, shards: ShardSet, now: Timestamp) -> Result<i64, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM profiles WHERE wake_at <= ?{ours} LIMIT ?) AS due");
    Ok(Rows(conn).scalar(&sql, vec![now.millis().into(), COUNTED_MAX.into()]).await?.unwrap_or(0))
}

/// Bytes of the database.
pub async fn bytes<C: ConnectionTrait>(conn: &C) -> Result<i64, Error> {
    let sql = match conn.get_database_backend() {
        DbBackend::Postgres => "SELECT pg_database_size(current_database())",
        _ => "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    };
    Ok(Rows(conn).scalar(sql, vec![]).await?.unwrap_or(0))
}

/// Connections of this pool: all, and how many of them are idle.
pub fn connections(conn: &DatabaseConnection) -> (u32, u32) {
    let (all, idle) = match conn.get_database_backend() {
        DbBackend::Postgres => {
            let pool = conn.get_postgres_connection_pool();
            (pool.size(), pool.num_idle())
        }
        _ => {
            let pool = conn.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle())
        }
    };
    (all, u32::try_from(idle).unwrap_or(all).min(all))
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Messages by the state in which they wait or are under way, and by channel. Reads an index alone.
    pub async fn messages_waiting(&self) -> Result<Vec<([String; 2], i64)>, Error> {
        let sql = "SELECT status, channel, count(*) FROM messages WHERE workspace = ?
                   AND status IN ('queued', 'deferred', 'claimed', 'sending', 'retrying') GROUP BY status, channel";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into()]).await?;
        let read =
            |row: &QueryResult| Ok(([row.try_get_by_index(0)?, row.try_get_by_index(1)?], row.try_get_by_index(2)?));
        rows.iter().map(read).collect()
    }
}
