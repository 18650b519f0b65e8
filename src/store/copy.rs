//! Copies of a database: made while others write to it, looked through, and told apart from the original.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use sea_orm::{ConnectOptions, DatabaseConnection};

use crate::ids::Timestamp;
use crate::store::controls::set_setting;
use crate::store::rows::{Error, Rows};
use crate::store::soundness::last_entry;

const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a database says of itself, to stand beside a copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Of the newest entry of the log; 0 where there is none.
    pub position: i64,
    /// The newest change of the schema.
    pub schema: String,
    pub profiles: i64,
    pub messages: i64,
}

/// Opens SQLite's file as it is: nothing is created, migrated or set up.
///
/// # Errors
/// It is not there, or no database.
pub async fn open_file(path: &Path) -> anyhow::Result<DatabaseConnection> {
    let file = path.to_str().context("the path is not valid UTF-8")?;
    if file.contains(['?', '%', '#']) {
        bail!("the path {file} contains one of ? % #, which a database address cannot hold");
    }
    let mut options = ConnectOptions::new(format!("sqlite://{file}?mode=rw"));
    options.max_connections(1).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|options| options.busy_timeout(BUSY_TIMEOUT).pragma("temp_store", "MEMORY"));
    sea_orm::Database::connect(options).await.with_context(|| format!("{file} cannot be opened"))
}

/// Copies what is committed at this instant into a new file, without holding anybody up. Nothing that was deleted is in
/// the copy.
///
/// # Errors
/// The copy exists, or cannot be written.
pub async fn copy_into(conn: &DatabaseConnection, to: &Path) -> anyhow::Result<()> {
    let to = to.to_str().context("the path is not valid UTF-8")?;
    Rows(conn).run("VACUUM INTO ?", vec![to.into()]).await.with_context(|| format!("{to} cannot be written"))?;
    Ok(())
}

/// The bytes a copy will have, about.
pub async fn size<C: sea_orm::ConnectionTrait>(conn: &C) -> Result<u64, Error> {
    let sql = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    Ok(Rows(conn).scalar::<i64>(sql, vec![]).await?.unwrap_or(0).unsigned_abs())
}

/// Says in the copy that it is one, so that a service started with it waits for a person; and makes one file of it.
///
/// # Errors
/// It cannot be written.
pub async fn mark(conn: &DatabaseConnection, setting: &str, at: Timestamp) -> Result<(), Error> {
    Rows(conn).all("PRAGMA journal_mode = DELETE", vec![]).await?;
    set_setting(conn, setting, &at.millis().to_string()).await
}

/// SQLite's longest look at a file; none: it is whole.
///
/// # Errors
/// It cannot be read.
pub async fn complaints(conn: &DatabaseConnection) -> Result<Vec<String>, Error> {
    let rows = Rows(conn).all("PRAGMA integrity_check(10)", vec![]).await?;
    let said: Vec<String> = rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect::<Result<_, Error>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

/// # Errors
/// It is no database of ours.
pub async fn contents(conn: &DatabaseConnection) -> Result<Contents, Error> {
    let rows = Rows(conn);
    let count = async |sql: &str| Ok::<i64, Error>(rows.scalar::<i64>(sql, vec![]).await?.unwrap_or(0));
    Ok(Contents {
        position: last_entry(conn).await?.map_or(0, |(position, _)| position.0),
        schema: rows
            .scalar("SELECT version FROM seaql_migrations ORDER BY version DESC LIMIT 1", vec![])
            .await?
            .unwrap_or_default(),
        profiles: count("SELECT count(*) FROM profiles WHERE merged_into IS NULL").await?,
        messages: count("SELECT count(*) FROM messages").await?,
    })
}
