//! Opening the database: durable or not at all.
//!
//! SQLite runs with a write-ahead log and `synchronous=FULL`: what is committed survives power loss. The event log
//! looks after checkpoints; automatic ones would stall the writer at odd moments. `secure_delete` is ON and not FAST:
//! what is erased must be gone from freed pages too, and where no page is freed it costs nothing.
//! PostgreSQL is asked how it is set up, and refused where a commit could be lost.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use carillon_migrations::{Migrator, MigratorTrait, order_text_by_bytes};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend};
use secrecy::{ExposeSecret, SecretString};
use sqlx::Connection as _;

use crate::store::sessions::APPLICATION;
use crate::store::soundness::weaknesses;

/// Readers at once; SQLite readers do not block each other or the writer.
const READERS_MAX: u32 = 4;
/// A server that is there answers a connection sooner: at start, and where a client waits meanwhile.
const REACH_DEADLINE: Duration = Duration::from_secs(10);
const REACH_AGAIN_DEADLINE: Duration = Duration::from_secs(1);
/// How long somebody waits for a connection: to a file all are in use, to a server there may be none, and who asked is
/// told so while they are still there to hear it.
const FILE_DEADLINE: Duration = Duration::from_secs(30);
const SERVER_DEADLINE: Duration = Duration::from_secs(8);
/// Readers of PostgreSQL, each a process there.
const POSTGRES_READERS_MAX: u32 = 12;
/// Rows a query may be ahead of whoever reads them; a bulk read is one wait instead of many.
const ROWS_AHEAD: usize = 1_024;
/// Pages in memory, in KiB, which `PRAGMA cache_size` counts below zero.
const READER_CACHE: i64 = -8_000;
const WRITER_CACHE: i64 = -64_000;
const WRITER_CACHE_SMALL: i64 = -16_000;
/// Where SQLite's lock page lies.
const LOCK_PAGE_AT: u64 = 0x4000_0000;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// A process frozen inside a transaction holds its locks no longer: others must go on.
const IDLE_IN_TRANSACTION_MAX: &str = "3s";
/// The advisory lock under which one process at a time changes the schema.
const MIGRATING: i64 = 0x6361_7269_6c6c_6f6e;

/// Where a database is.
#[derive(Clone, Debug)]
pub enum Address {
    Sqlite(PathBuf),
    /// `postgres://…`, which may hold a password.
    Postgres(SecretString),
}

impl Address {
    /// For people: a file's path, or the server without its password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => match url::Url::parse(url.expose_secret()) {
                Ok(url) => {
                    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
                    format!("postgres://{}{port}{}", url.host_str().unwrap_or_default(), url.path())
                }
                Err(_) => "postgres://".to_owned(),
            },
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

/// The two sides of one database.
#[derive(Clone, Debug)]
pub struct Database {
    pub reader: DatabaseConnection,
    /// Used by the event log's writer alone.
    pub writer: DatabaseConnection,
    /// SQLite's file.
    pub file: Option<PathBuf>,
    /// PostgreSQL's connection for leases: they wait behind nothing.
    pub keeper: Option<DatabaseConnection>,
    /// PostgreSQL's address.
    server: Option<SecretString>,
}

impl Database {
    /// Closes every connection.
    pub async fn close(&self) {
        for conn in [Some(&self.reader), Some(&self.writer), self.keeper.as_ref()].into_iter().flatten() {
            // One that is broken is closed.
            let _ = conn.close_by_ref().await;
        }
    }

    /// Asks the server for a connection, which is answered at once where it is away: a pool tries for half a minute.
    ///
    /// # Errors
    /// There is none. A file is always there.
    pub async fn reach(&self) -> anyhow::Result<()> {
        match &self.server {
            Some(url) => reach(url, REACH_AGAIN_DEADLINE).await,
            None => Ok(()),
        }
    }

    /// One more connection to PostgreSQL; none to a file.
    ///
    /// # Errors
    /// There is none.
    pub async fn connect(&self) -> anyhow::Result<Option<sqlx::PgConnection>> {
        match &self.server {
            Some(url) => Ok(Some(reached(url, REACH_AGAIN_DEADLINE).await?)),
            None => Ok(None),
        }
    }

    pub fn is_postgres(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Postgres
    }
}

/// Opens the database (and creates SQLite's file) and brings the schema up to date.
///
/// # Errors
/// It cannot be opened, a migration fails, or it refuses durable settings.
pub async fn open(address: impl Into<Address>) -> anyhow::Result<Database> {
    match address.into() {
        Address::Sqlite(path) => open_sqlite(path).await,
        Address::Postgres(url) => open_postgres(&url).await,
    }
}

/// The newest change of the schema that this program makes.
pub fn newest_schema() -> String {
    Migrator::migrations().last().map(|newest| newest.name().to_owned()).unwrap_or_default()
}

async fn open_sqlite(path: PathBuf) -> anyhow::Result<Database> {
    // People's addresses are in it: for its owner alone, and so are the files that SQLite puts beside it. Before SQLite is
    // there: closing any descriptor of a file drops the locks this process has on it.
    let file = plain(&path)?;
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    made.with_context(|| format!("the database {file} cannot be opened"))?;
    let writer = connect_sqlite(&path, 1, false).await?;
    Migrator::up(&writer, None).await.context("the schema could not be brought up to date")?;
    verify_durable(&writer).await?;
    let reader = connect_sqlite(&path, READERS_MAX, true).await?;
    Ok(Database { reader, writer, file: Some(path), keeper: None, server: None })
}

async fn open_postgres(url: &SecretString) -> anyhow::Result<Database> {
    reach(url, REACH_DEADLINE).await?;
    let writer = connect_postgres(url, 1, false).await?;
    verify_durable(&writer).await?;
    // The pool has one connection, so the lock is held by the one that migrates. Ours is the only lock it takes so far.
    let locking = format!("SELECT pg_advisory_lock({MIGRATING})");
    writer.execute_unprepared(&locking).await.context("the database does not lend its lock")?;
    let migrated = bring_up_to_date(&writer).await.context("the schema could not be brought up to date");
    writer.execute_unprepared(&format!("SELECT pg_advisory_unlock({MIGRATING})")).await?;
    migrated?;
    let reader = connect_postgres(url, POSTGRES_READERS_MAX, true).await?;
    let keeper = Some(connect_postgres(url, 1, false).await?);
    Ok(Database { reader, writer, file: None, keeper, server: Some(url.clone()) })
}

async fn bring_up_to_date(writer: &DatabaseConnection) -> anyhow::Result<()> {
    Migrator::up(writer, None).await?;
    let changed = order_text_by_bytes(writer).await?;
    if changed > 0 {
        tracing::info!(
            tables = changed,
            "the text of tables is ordered by its bytes now, whatever the database's locale"
        );
    }
    Ok(())
}

/// A pool tries for half a minute and then says only that; one connection says at once what is wrong.
async fn reach(url: &SecretString, deadline: Duration) -> anyhow::Result<()> {
    let shown = Address::Postgres(url.clone()).shown();
    let connection = reached(url, deadline).await?;
    connection.close().await.with_context(|| format!("the database {shown} cannot be opened"))
}

async fn reached(url: &SecretString, deadline: Duration) -> anyhow::Result<sqlx::PgConnection> {
    let shown = Address::Postgres(url.clone()).shown();
    let opening = sqlx::PgConnection::connect(url.expose_secret());
    let opened = tokio::time::timeout(deadline, opening).await;
    let connection = opened.with_context(|| format!("{shown} does not answer within {deadline:?}"))?;
    connection.with_context(|| format!("the database {shown} cannot be opened"))
}

/// The path as a database address can hold it.
fn plain(path: &Path) -> anyhow::Result<&str> {
    let file = path.to_str().context("the database path is not valid UTF-8")?;
    if file.contains(['?', '%', '#']) {
        bail!("the database path {file} contains one of ? % #, which a database address cannot hold");
    }
    Ok(file)
}

async fn connect_sqlite(path: &Path, connections: u32, read_only: bool) -> anyhow::Result<DatabaseConnection> {
    let file = plain(path)?;
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut options = ConnectOptions::new(format!("sqlite://{file}?mode=rw"));
    // Where a write finds no room, SQLite may end the whole transaction by itself. Then there is nothing to roll back, and
    // the pool goes on counting it: the next one would be a savepoint in it, and where that fails too, all that follow are
    // parts of a transaction that nobody commits. Such a connection is given up.
    options.map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
    kept_open(&mut options, connections, FILE_DEADLINE).map_sqlx_sqlite_opts(move |options| {
        options
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(256)
            .row_buffer_size(ROWS_AHEAD)
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            .pragma("secure_delete", "ON")
            .pragma("wal_autocheckpoint", "0")
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", if read_only { READER_CACHE.to_string() } else { writer_cache(length).to_string() })
            .pragma("query_only", if read_only { "ON" } else { "OFF" })
    });
    sea_orm::Database::connect(options).await.with_context(|| format!("the database {file} cannot be opened"))
}

async fn connect_postgres(url: &SecretString, connections: u32, read_only: bool) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url.expose_secret());
    kept_open(&mut options, connections, SERVER_DEADLINE).map_sqlx_postgres_opts(move |options| {
        options.application_name(APPLICATION).statement_cache_capacity(256).options([
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MAX),
            // A machine that vanished is noticed: its locks are free again.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("default_transaction_read_only", if read_only { "on" } else { "off" }),
            // What writes asks by keys, and a plan is kept from when a table was small.
            ("enable_seqscan", if read_only { "on" } else { "off" }),
        ])
    });
    let shown = Address::Postgres(url.clone()).shown();
    sea_orm::Database::connect(options).await.with_context(|| format!("the database {shown} cannot be opened"))
}

fn kept_open(options: &mut ConnectOptions, connections: u32, deadline: Duration) -> &mut ConnectOptions {
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(deadline)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false)
}

/// What `PRAGMA cache_size` of the connection that writes is for a database file of so many bytes.
///
/// A page of a tree that is split is for a moment SQLite's lock page. As long as the file ends before that one, it looks
/// like a page that was cut off, and the commit goes through the whole cache to drop it: half a millisecond for 64 MB, at
/// nearly every commit. What a small cache has not, the system still has in its memory.
pub fn writer_cache(length: u64) -> i64 {
    if length < LOCK_PAGE_AT { WRITER_CACHE_SMALL } else { WRITER_CACHE }
}

async fn verify_durable(writer: &DatabaseConnection) -> anyhow::Result<()> {
    let weak = weaknesses(writer).await?;
    if weak.is_empty() {
        return Ok(());
    }
    let how = match writer.get_database_backend() {
        DbBackend::Postgres => "; set it in postgresql.conf, or with ALTER SYSTEM, and reload the server",
        _ => "",
    };
    bail!("the database runs with {}, which could lose accepted events{how}", weak.join(" and "))
}
