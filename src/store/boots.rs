//! How often each data folder was started with this database, and what tells a copy of the database from the one it was
//! copied from.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sea_orm::{ConnectionTrait, DbBackend, Value};

use crate::store::controls::setting;
use crate::store::dispatch::RESTORE_UNCONFIRMED;
use crate::store::rows::{Error, Rows};

/// The setting in which `carillon backup` says when it made the copy, and `carillon restore` of which it put back.
pub const MADE_AT: &str = "backup_made_at";
/// The setting with what PostgreSQL gave this database when it was made.
pub const IDENTITY: &str = "database_identity";

/// What a process knows its database to have counted of it.
#[derive(Debug, Clone)]
pub struct Counted {
    node: String,
    generation: Arc<AtomicI64>,
}

impl Counted {
    pub fn new(node: String, generation: i64) -> Self {
        Self { node, generation: Arc::new(AtomicI64::new(generation)) }
    }

    /// What surely is committed, and of whom.
    pub fn known(&self) -> (&str, i64) {
        (&self.node, self.generation.load(Ordering::Acquire))
    }

    pub fn is_now(&self, generation: i64) {
        self.generation.store(generation, Ordering::Release);
    }
}

/// Why the database seems to be a copy that nobody has recognised yet, if it does.
pub async fn mark<C: ConnectionTrait>(conn: &C) -> Result<Option<&'static str>, Error> {
    if setting(conn, MADE_AT).await?.is_some() {
        return Ok(Some("a backup was restored"));
    }
    let Some(identity) = identity(conn).await? else { return Ok(None) };
    let before = setting(conn, IDENTITY).await?;
    Ok(before.filter(|before| *before != identity).map(|_| "the database was made anew from a dump or a copy"))
}

/// Whether marketing waits: a person has not confirmed yet, or the database in `conn`'s snapshot was put back a moment
/// ago, under whoever has `counted` more before.
pub async fn is_unconfirmed<C: ConnectionTrait>(conn: &C, counted: Option<(&str, i64)>) -> Result<bool, Error> {
    let (node, known) = counted.unwrap_or_default();
    // Asked before every batch: one statement.
    let sql = "SELECT (SELECT value FROM settings WHERE name = ?), (SELECT value FROM settings WHERE name = ?),
               (SELECT value FROM settings WHERE name = ?), (SELECT generation FROM boots WHERE node = ?)";
    let names = [RESTORE_UNCONFIRMED, MADE_AT, IDENTITY, node];
    let Some(row) = Rows(conn).one(sql, names.map(Value::from).into()).await? else { return Ok(false) };
    let said = |index: usize| row.try_get_by_index::<Option<String>>(index);
    let (unconfirmed, made_at, before) = (said(0)?, said(1)?, said(2)?);
    let generation: i64 = row.try_get_by_index::<Option<i64>>(3)?.unwrap_or(0);
    if unconfirmed.is_some_and(|value| value == "true") || made_at.is_some() || generation < known {
        return Ok(true);
    }
    Ok(before.is_some() && identity(conn).await?.is_some_and(|identity| before != Some(identity)))
}

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
