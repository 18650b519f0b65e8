//! How often each data folder was started with this database, and what tells a copy of the database from the one it was
//! copied from.

use sea_orm::{ConnectionTrait, DbBackend};

use crate::store::rows::{Error, Rows};

/// How often this folder was started with this database, and gone on for a while.
pub async fn generation<C: ConnectionTrait>(conn: &C, node: &str) -> Result<Option<i64>, Error> {
    Rows(conn).scalar("SELECT generation FROM boots WHERE node = ?", vec![node.into()]).await
}

/// Of every folder together; it only grows, unless an older database took this one's place.
pub async fn generations<C: ConnectionTrait>(conn: &C) -> Result<i64, Error> {
    let sql = "SELECT CAST(coalesce(sum(generation), 0) AS BIGINT) FROM boots";
    Ok(Rows(conn).scalar(sql, vec![]).await?.unwrap_or(0))
}

/// Counts a folder's start, or that it went on; false: the database knows less of it than `known`.
pub async fn count<C: ConnectionTrait>(tx: &C, node: &str, known: i64, generation: i64) -> Result<bool, Error> {
    let sql = "UPDATE boots SET generation = ? WHERE node = ? AND generation >= ?";
    Ok(Rows(tx).run(sql, vec![generation.into(), node.into(), known.into()]).await? == 1)
}

/// The same whatever the database knew.
pub async fn set<C: ConnectionTrait>(tx: &C, node: &str, generation: i64) -> Result<(), Error> {
    let sql = "INSERT INTO boots (node, generation) VALUES (?, ?)
               ON CONFLICT (node) DO UPDATE SET generation = excluded.generation";
    Rows(tx).run(sql, vec![node.into(), generation.into()]).await?;
    Ok(())
}

/// Whether anything was ever logged: an empty database has nothing to send twice.
pub async fn has_entries<C: ConnectionTrait>(conn: &C) -> Result<bool, Error> {
    Ok(Rows(conn).one("SELECT 1 FROM entries LIMIT 1", vec![]).await?.is_some())
}

/// What PostgreSQL gives a database and its tables when they are made, and which a restored dump therefore has anew.
/// None: SQLite's is a file.
pub async fn identity<C: ConnectionTrait>(conn: &C) -> Result<Option<String>, Error> {
    if conn.get_database_backend() != DbBackend::Postgres {
        return Ok(None);
    }
    let sql = "SELECT oid::bigint || '/' || 'settings'::regclass::oid::bigint FROM pg_database
               WHERE datname = current_database()";
    Rows(conn).scalar(sql, vec![]).await
}
