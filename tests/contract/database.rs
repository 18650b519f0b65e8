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
    /// The database on the server.
    named: Option<String>,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub async fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let named = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => {
                let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
                on_server(&format!("CREATE DATABASE {name}")).await;
                Some(name)
            }
        };
        Self { folder, named }
    }

    pub fn address(&self) -> Address {
        match &self.named {
            None => Address::Sqlite(self.folder.path().join("carillon.db")),
            Some(name) => Address::Postgres(url_of(name).into()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(name) = self.named.take() else { return };
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(on_server(&format!("DROP DATABASE {name} WITH (FORCE)")));
        });
        let _ = dropping.join();
    }
}

/// The server for tests.
fn server() -> String {
    std::env::var("CARILLON_TEST_POSTGRES")
        .expect("CARILLON_TEST_POSTGRES is not set; run: eval \"$(tests/services/servers start)\"")
}

/// The address of a database on the server for tests.
pub fn url_of(name: &str) -> String {
    format!("{}/{name}", server())
}

async fn on_server(sql: &str) {
    let mut options = ConnectOptions::new(url_of("postgres"));
    options.max_connections(1).sqlx_logging(false);
    let connection = sea_orm::Database::connect(options).await.unwrap();
    connection.execute_unprepared(sql).await.unwrap();
    connection.close().await.unwrap();
}
