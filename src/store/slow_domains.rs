//! Messages that wait for a slow domain, in the order of their turns: found by the domain, and called up when it has room.

use sea_orm::ConnectionTrait;

use crate::ids::{MessageId, ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, marks};
use crate::store::shards::ShardSet;

/// What an index must know to be asked.
const WAITING: &str = "slow_domain IS NOT NULL AND due_at IS NOT NULL";

/// Domains that messages of these shards wait for, at most so many.
pub async fn waited_for<C: ConnectionTrait>(conn: &C, shards: ShardSet, limit: usize) -> Result<Vec<String>, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql = format!("SELECT DISTINCT slow_domain FROM messages WHERE {WAITING}{ours} ORDER BY slow_domain LIMIT ?");
    let rows = Rows(conn).all(&sql, vec![i64::try_from(limit).unwrap_or(i64::MAX).into()]).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Who waits for a domain.
pub struct Waiting {
    /// The next whose turn has not come, as far as there is room.
    pub next: Vec<(WorkspaceId, MessageId, ProfileId)>,
    /// Nobody waits behind them.
    pub is_all: bool,
}

/// Messages of these shards that wait for a domain, where `room` may be due together: less those that are.
pub async fn waiting<C: ConnectionTrait>(
    conn: &C,
    shards: ShardSet,
    domain: &str,
    now: Timestamp,
    room: usize,
) -> Result<Waiting, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let limit = |count: usize| sea_orm::Value::from(i64::try_from(count).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM messages WHERE slow_domain = ? AND due_at <= ?{ours} LIMIT ?) AS due"
    );
    let due = Rows(conn).scalar::<i64>(&sql, vec![domain.into(), now.millis().into(), limit(room)]).await?;
    let room = room.saturating_sub(usize::try_from(due.unwrap_or_default()).unwrap_or(room));
    if room == 0 {
        return Ok(Waiting { next: Vec::new(), is_all: false });
    }
    let sql = format!(
        "SELECT workspace, id, profile FROM messages WHERE slow_domain = ? AND due_at > ?{ours} ORDER BY due_at LIMIT ?"
    );
    let rows = Rows(conn).all(&sql, vec![domain.into(), now.millis().into(), limit(room)]).await?;
    let mut next = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: Vec<u8> = row.try_get_by_index(1)?;
        let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
        next.push((WorkspaceId(row.try_get_by_index(0)?), id, ProfileId(row.try_get_by_index(2)?)));
    }
    Ok(Waiting { is_all: next.len() < room, next })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Of these messages, those that still wait for a domain are due now.
    pub async fn call_up(&self, messages: &[MessageId], now: Timestamp) -> Result<(), Error> {
        let sql = format!(
            "UPDATE messages SET due_at = ? WHERE +workspace = ? AND id IN ({}) AND status = 'deferred' AND {WAITING}",
            marks(messages.len())
        );
        let mut values: Values = vec![now.millis().into(), self.id.0.into()];
        values.extend(messages.iter().map(|id| id.as_bytes().to_vec().into()));
        Rows(self.conn).run(&sql, values).await?;
        Ok(())
    }
}
