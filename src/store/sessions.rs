//! Who works with a PostgreSQL database, as the server and our own leases tell: asked before another is put in its place.

use sea_orm::ConnectionTrait;

use crate::store::leases;
use crate::store::rows::{Error, Rows};

/// By which a connection of ours is known on the server.
pub const APPLICATION: &str = "carillon";

/// A line for each machine from which others are connected to this database; and one where there is nobody to be seen,
/// behind a pooler perhaps, whose leases are alive.
pub async fn at_work<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, Error> {
    // The address of another role's sessions is told to superusers and monitors alone.
    let sql = "SELECT coalesce(host(client_addr), CASE WHEN usename = current_user THEN 'the server itself' ELSE
                   'an address that is not told, as the role ' || coalesce(usename, '?') END) AS place,
               coalesce(to_char(min(backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '?'), count(*)
               FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = ? AND pid <> pg_backend_pid()
               GROUP BY 1 ORDER BY 1";
    let mut found = Vec::new();
    for row in Rows(conn).all(sql, vec![APPLICATION.into()]).await? {
        let (place, since, count): (String, String, i64) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let connections = if count == 1 { "connection" } else { "connections" };
        found.push(format!("{count} {connections} of carillon from {place}, since {since}"));
    }
    let tables = "SELECT to_regclass('leases') IS NOT NULL AND to_regclass('nodes') IS NOT NULL";
    if found.is_empty() && Rows(conn).scalar(tables, vec![]).await?.unwrap_or(false) {
        let (nodes, shards) = leases::shared_by(conn).await?;
        if nodes > 0 || shards > 0 {
            found
                .push(format!("{nodes} processes work on {shards} shards of it, whose connections are not to be seen"));
        }
    }
    Ok(found)
}
