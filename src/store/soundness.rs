//! What the database says about itself: is it whole, and does it keep what it was told to keep.

use sea_orm::{ConnectionTrait, DbBackend};

use crate::ids::{Position, Timestamp};
use crate::store::gauges::bytes;
use crate::store::rows::{Error, Rows};

/// SQLite's own look at its file: the first complaints, none where it is whole. Reads the whole file. PostgreSQL looks
/// after its files by itself.
pub async fn quick_check<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, Error> {
    if conn.get_database_backend() == DbBackend::Postgres {
        return Ok(Vec::new());
    }
    let rows = Rows(conn).all("PRAGMA quick_check(10)", vec![]).await?;
    let said: Vec<String> = rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect::<Result<_, Error>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

/// Settings of this connection under which a commit could be lost, each as `name=value (wanted)`; none: every commit
/// is on disk before it is answered.
pub async fn weaknesses<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, Error> {
    let (sql, wanted): (_, &[(&str, &[&str])]) = match conn.get_database_backend() {
        // What every transaction begins with: the writer's own end before the disk, and are written through together.
        DbBackend::Postgres => (
            "SELECT name, reset_val FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
            &[("fsync", &["on"]), ("synchronous_commit", &["on", "remote_apply"]), ("full_page_writes", &["on"])],
        ),
        _ => (
            "SELECT 'synchronous', CAST((SELECT synchronous FROM pragma_synchronous) AS TEXT)
             UNION ALL SELECT 'journal_mode', CAST((SELECT journal_mode FROM pragma_journal_mode) AS TEXT)",
            &[("synchronous", &["2"]), ("journal_mode", &["wal"])],
        ),
    };
    let rows = Rows(conn).all(sql, vec![]).await?;
    let mut said: Vec<(String, String)> = Vec::with_capacity(rows.len());
    for row in &rows {
        said.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    }
    let weak = wanted.iter().filter_map(|(name, strong)| {
        let value = said.iter().find(|(said, _)| said == name).map_or("unknown", |(_, value)| value);
        (!strong.contains(&value)).then(|| format!("{name}={value} ({} is needed)", strong[0]))
    });
    Ok(weak.collect())
}

/// Where the log ends, and the instant its last entry is decided at.
pub async fn last_entry<C: ConnectionTrait>(conn: &C) -> Result<Option<(Position, Timestamp)>, Error> {
    let sql = "SELECT position, now FROM entries ORDER BY position DESC LIMIT 1";
    let Some(row) = Rows(conn).one(sql, vec![]).await? else { return Ok(None) };
    Ok(Some((Position(row.try_get_by_index(0)?), Timestamp::from_millis(row.try_get_by_index(1)?))))
}

/// What a database is.
#[derive(Debug, Clone)]
pub struct About {
    /// Its kind and version.
    pub version: String,
    /// Changes of the schema that were made.
    pub migrations: i64,
    pub bytes: i64,
}

pub async fn about<C: ConnectionTrait>(conn: &C) -> Result<About, Error> {
    let sql = match conn.get_database_backend() {
        DbBackend::Postgres => "SELECT 'PostgreSQL ' || current_setting('server_version')",
        _ => "SELECT 'SQLite ' || sqlite_version()",
    };
    let version: Option<String> = Rows(conn).scalar(sql, vec![]).await?;
    let migrations = Rows(conn).scalar("SELECT count(*) FROM seaql_migrations", vec![]).await?.unwrap_or(0);
    Ok(About { version: version.unwrap_or_default(), migrations, bytes: bytes(conn).await? })
}

/// The newest change of the schema that was made.
pub async fn schema<C: ConnectionTrait>(conn: &C) -> Result<String, Error> {
    let sql = "SELECT version FROM seaql_migrations ORDER BY version DESC LIMIT 1";
    Ok(Rows(conn).scalar(sql, vec![]).await?.unwrap_or_default())
}

/// What time it is where the database runs; none where that is here.
pub async fn database_now<C: ConnectionTrait>(conn: &C) -> Result<Option<Timestamp>, Error> {
    if conn.get_database_backend() != DbBackend::Postgres {
        return Ok(None);
    }
    let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
    Ok(Rows(conn).scalar::<i64>(sql, vec![]).await?.map(Timestamp::from_millis))
}
