//! A fresh database for one test, on either backend, gone when the test ends.
//!
//! Suites are included twice, below a module that names its `BACKEND`: what holds on SQLite holds on PostgreSQL.

use std::sync::atomic::{AtomicU32, Ordering};

use carillon::store::Address;
use sea_orm::{ConnectOptions, ConnectionTrait};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// By the name of the module that includes a suite: `on_sqlite` or `on_postgres`.
    pub const fn of(module: &str) -> Self {
        if module.as_bytes()[module.len() - 1] == b'e' { Self::Sqlite } else { Self::Postgres }
    }
}

/// A data folder and the address of its database.
pub struct Place {
    pub folder: TempDir,
    /// The server and the database on it.
    named: Option<(String, String)>,
}

const LOCALE: &str = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";

static MADE: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub async fn new(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self { folder: tempfile::tempdir().unwrap(), named: None },
            Backend::Postgres => Self::on(&server()).await,
        }
    }

    /// The same, in memory where the machine has a folder there: for whoever asks nothing of a disk.
    #[allow(dead_code, reason = "for whoever makes many")]
    pub async fn swift(backend: Backend) -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let place =
            if backend == Backend::Sqlite && memory.is_dir() { tempfile::tempdir_in(memory).ok() } else { None };
        match place {
            Some(folder) => Self { folder, named: None },
            None => Self::new(backend).await,
        }
    }

    /// A database on this PostgreSQL, with the order of texts that most servers have: words and not bytes.
    pub async fn on(server: &str) -> Self {
        let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        on_server(server, &format!("CREATE DATABASE {name} {LOCALE}")).await;
        Self { folder: tempfile::tempdir().unwrap(), named: Some((server.to_owned(), name)) }
    }

    /// A database on the same PostgreSQL with all that is in this one, as a dump that was read in again.
    #[allow(dead_code, reason = "for whoever puts databases back")]
    pub async fn copy_of(other: &Self) -> Self {
        let (server, from) = other.named.clone().expect("on PostgreSQL");
        let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // Whoever was killed may not have hung up yet.
        let gone = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
        on_server(&server, &gone).await;
        on_server(&server, &format!("CREATE DATABASE {name} TEMPLATE {from}")).await;
        Self { folder: tempfile::tempdir().unwrap(), named: Some((server, name)) }
    }

    pub fn address(&self) -> Address {
        match &self.named {
            None => Address::Sqlite(self.folder.path().join("carillon.db")),
            Some((server, name)) => Address::Postgres(format!("{server}/{name}").into()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((server, name)) = self.named.take() else { return };
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(on_server(&server, &format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        let _ = dropping.join();
    }
}

/// The server for tests.
pub fn server() -> String {
    std::env::var("CARILLON_TEST_POSTGRES")
        .expect("CARILLON_TEST_POSTGRES is not set; run: eval \"$(tests/services/servers start)\"")
}

async fn on_server(server: &str, sql: &str) {
    let mut options = ConnectOptions::new(format!("{server}/postgres"));
    options.max_connections(1).sqlx_logging(false);
    let connection = sea_orm::Database::connect(options).await.unwrap();
    connection.execute_unprepared(sql).await.unwrap();
    connection.close().await.unwrap();
}
