//! Leases of shards as rows: who works on a shard, until when, under which token.
//!
//! An owner renews its leases; when one has run out, another process takes the shard under the next token. Whoever
//! stores something of a shard locks its lease's row against that for the length of the transaction.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;

use crate::store::rows::{Error, Rows};
use crate::store::shards::{Layout, Shard, ShardSet};

/// How long a lease holds without being renewed, in milliseconds.
pub const LEASE_MS: i64 = 4_000;
/// The first half of the advisory lock each process keeps for as long as its connection lives.
const NODE_LOCKS: i32 = 0x6361_7203;
/// The database's clock, in milliseconds.
const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
/// Processes that were not seen for so long are forgotten.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// The tokens under which a process believes to have its shards; none where nobody else can have one.
pub type Fences = BTreeMap<Shard, Option<i64>>;

/// Whether the shard's lease still has this token; none: there is nobody else. The answer holds to the end of the
/// transaction.
pub async fn is_owner<C: ConnectionTrait>(tx: &C, shard: Shard, token: Option<i64>) -> Result<bool, Error> {
    let fences = Fences::from([(shard, token)]);
    Ok(owned(tx, &fences, [shard].into_iter().collect()).await?.contains(shard))
}

/// Of these shards, those that still have the token. The answer holds to the end of the transaction.
pub async fn owned<C: ConnectionTrait>(tx: &C, fences: &Fences, shards: ShardSet) -> Result<ShardSet, Error> {
    let ours: ShardSet = fences.keys().copied().collect();
    let asked = ours.and(shards);
    let mut owned: ShardSet = asked.iter().filter(|shard| fences.get(shard) == Some(&None)).collect();
    let fenced = asked.without(owned);
    if fenced.is_empty() {
        return Ok(owned);
    }
    let sql = format!("SELECT shard, token FROM leases WHERE {} ORDER BY shard FOR KEY SHARE", among(fenced));
    for row in Rows(tx).all(&sql, vec![]).await? {
        let shard = Shard::read(row.try_get_by_index(0)?)?;
        if fences.get(&shard) == Some(&Some(row.try_get_by_index(1)?)) {
            owned.insert(shard);
        }
    }
    Ok(owned)
}

fn among(shards: ShardSet) -> String {
    let numbers: Vec<String> = shards.iter().map(|shard| shard.number().to_string()).collect();
    format!("shard IN ({})", if numbers.is_empty() { "-1".to_owned() } else { numbers.join(", ") })
}

/// A shard that was taken: its new token, and whose it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub shard: Shard,
    pub token: i64,
    pub from: Option<String>,
}

/// Says that the process lives, for as long as the connection does, and counts those that do.
pub async fn announce<C: ConnectionTrait>(conn: &C, node: &str) -> Result<usize, Error> {
    let lock = format!("SELECT pg_try_advisory_lock({NODE_LOCKS}, hashtext(?))");
    Rows(conn).run(&lock, vec![node.into()]).await?;
    let sql = format!(
        "INSERT INTO nodes (id, seen_at) VALUES (?, {NOW}) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
    );
    Rows(conn).run(&sql, vec![node.into()]).await?;
    let sql = format!("SELECT count(*) FROM nodes WHERE seen_at > {NOW} - {LEASE_MS}");
    let count: i64 = Rows(conn).scalar(&sql, vec![]).await?.unwrap_or(1);
    Ok(usize::try_from(count).unwrap_or(1).max(1))
}

/// Renews what the process has; the answer is each shard's token.
pub async fn renew<C: ConnectionTrait>(conn: &C, node: &str) -> Result<BTreeMap<Shard, i64>, Error> {
    let sql = format!(
        "UPDATE leases SET expires_at = {NOW} + {LEASE_MS} WHERE owner = ? AND expires_at > 0 RETURNING shard, token"
    );
    let rows = Rows(conn).all(&sql, vec![node.into()]).await?;
    rows.iter().map(|row| Ok((Shard::read(row.try_get_by_index(0)?)?, row.try_get_by_index(1)?))).collect()
}

/// Takes at most `limit` shards that nobody has. One whose owner is in the middle of a transaction is left for later.
pub async fn take<C: ConnectionTrait>(conn: &C, node: &str, limit: usize) -> Result<Vec<Taken>, Error> {
    let sql = format!(
        "WITH free AS (SELECT shard, owner FROM leases WHERE expires_at < {NOW} ORDER BY shard LIMIT ?
            FOR UPDATE SKIP LOCKED)
         UPDATE leases SET owner = ?, token = token + 1, expires_at = {NOW} + {LEASE_MS} FROM free
         WHERE leases.shard = free.shard RETURNING leases.shard, leases.token, free.owner"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = Rows(conn).all(&sql, vec![limit.into(), node.into()]).await?;
    let taken = |row: &sea_orm::QueryResult| {
        let shard = Shard::read(row.try_get_by_index(0)?)?;
        Ok(Taken { shard, token: row.try_get_by_index(1)?, from: row.try_get_by_index(2)? })
    };
    rows.iter().map(taken).collect()
}

/// Gives shards back; their rows remember whose they were, who may still have some of their messages in hand.
pub async fn release<C: ConnectionTrait>(conn: &C, node: &str, shards: ShardSet) -> Result<(), Error> {
    let sql = format!("UPDATE leases SET expires_at = 0 WHERE owner = ? AND {}", among(shards));
    Rows(conn).run(&sql, vec![node.into()]).await?;
    Ok(())
}

/// The process ends, with nothing in hand.
pub async fn leave<C: ConnectionTrait>(conn: &C, node: &str) -> Result<(), Error> {
    Rows(conn).run("UPDATE leases SET expires_at = 0, owner = NULL WHERE owner = ?", vec![node.into()]).await?;
    let sql = format!("DELETE FROM nodes WHERE id = ? OR seen_at < {NOW} - {FORGOTTEN_AFTER_MS}");
    Rows(conn).run(&sql, vec![node.into()]).await?;
    Ok(())
}

/// Whether the process's connection has ended, and with it the process, or its way to the database.
pub async fn is_gone<C: ConnectionTrait>(conn: &C, node: &str) -> Result<bool, Error> {
    let sql = format!("SELECT pg_try_advisory_xact_lock({NODE_LOCKS}, hashtext(?))");
    Ok(Rows(conn).scalar(&sql, vec![node.into()]).await?.unwrap_or(false))
}

/// Changes whenever definitions, pauses or write keys do.
pub async fn revision<C: ConnectionTrait>(conn: &C) -> Result<(i64, i64), Error> {
    let sql = "SELECT (SELECT coalesce(max(position), 0) FROM barriers WHERE shard = 0),
               (SELECT count(*) + count(revoked_at) FROM write_keys)";
    match Rows(conn).one(sql, vec![]).await? {
        Some(row) => Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)),
        None => Ok((0, 0)),
    }
}

/// How many processes live, and how many shards have an owner.
pub async fn shared_by<C: ConnectionTrait>(conn: &C) -> Result<(i64, i64), Error> {
    if !Layout::of(conn.get_database_backend()).is_shared() {
        return Ok((1, 1));
    }
    let sql = format!(
        "SELECT (SELECT count(*) FROM nodes WHERE seen_at > {NOW} - {LEASE_MS}),
         (SELECT count(*) FROM leases WHERE expires_at > {NOW})"
    );
    match Rows(conn).one(&sql, vec![]).await? {
        Some(row) => Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)),
        None => Ok((0, 0)),
    }
}

/// Other processes that live.
pub async fn others<C: ConnectionTrait>(conn: &C, node: &str) -> Result<usize, Error> {
    let sql = format!("SELECT id FROM nodes WHERE id <> ? AND seen_at > {NOW} - {LEASE_MS}");
    let mut count = 0;
    for row in Rows(conn).all(&sql, vec![node.into()]).await? {
        let other: String = row.try_get_by_index(0)?;
        count += usize::from(!is_gone(conn, &other).await?);
    }
    Ok(count)
}
