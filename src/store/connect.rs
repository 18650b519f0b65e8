//! Opening the database: durable or not at all.
//!
//! SQLite runs with a write-ahead log and `synchronous=FULL`: what is committed survives power loss. The event log
//! looks after checkpoints; automatic ones would stall the writer at odd moments. `secure_delete` is ON and not FAST:
//! what is erased must be gone from freed pages too, and without freed pages it costs nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use carillon_migrations::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, Statement};

/// Readers at once; SQLite readers do not block each other or the writer.
const READERS_MAX: u32 = 4;
/// Rows a query may be ahead of whoever reads them; a bulk read is one wait instead of many.
const ROWS_AHEAD: usize = 1_024;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The two sides of one database.
#[derive(Clone, Debug)]
pub struct Database {
    pub reader: DatabaseConnection,
    /// Used by the event log's writer alone.
    pub writer: DatabaseConnection,
    pub path: std::path::PathBuf,
}

/// Opens (and creates) the SQLite file and brings the schema up to date.
///
/// # Errors
/// The file cannot be opened, a migration fails, or the database refuses durable settings.
pub async fn open(path: &Path) -> anyhow::Result<Database> {
    let writer = connect(path, 1, false).await?;
    Migrator::up(&writer, None).await.context("the schema could not be brought up to date")?;
    verify_durable(&writer).await?;
    let reader = connect(path, READERS_MAX, true).await?;
    Ok(Database { reader, writer, path: path.to_owned() })
}

async fn connect(path: &Path, connections: u32, read_only: bool) -> anyhow::Result<DatabaseConnection> {
    let file = path.to_str().context("the database path is not valid UTF-8")?;
    if file.contains(['?', '%', '#']) {
        bail!("the database path {file} contains one of ? % #, which a database address cannot hold");
    }
    let mut options = ConnectOptions::new(format!("sqlite://{file}?mode=rwc"));
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |options| {
            options
                .busy_timeout(BUSY_TIMEOUT)
                .statement_cache_capacity(256)
                .row_buffer_size(ROWS_AHEAD)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("secure_delete", "ON")
                .pragma("wal_autocheckpoint", "0")
                .pragma("temp_store", "MEMORY")
                .pragma("cache_size", if read_only { "-8000" } else { "-64000" })
                .pragma("query_only", if read_only { "ON" } else { "OFF" })
        });
    sea_orm::Database::connect(options).await.with_context(|| format!("the database {file} cannot be opened"))
}

async fn verify_durable(writer: &DatabaseConnection) -> anyhow::Result<()> {
    for (pragma, wanted) in [("synchronous", "2"), ("journal_mode", "wal")] {
        let sql = format!("SELECT CAST({pragma} AS TEXT) AS value FROM pragma_{pragma}");
        let row = writer.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?;
        let value: String = row.context("a pragma without an answer")?.try_get("", "value")?;
        if value != wanted {
            bail!("the database runs with {pragma}={value}, which could lose accepted events; {wanted} is needed");
        }
    }
    Ok(())
}
