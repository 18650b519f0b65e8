//! Every query lives here, on a handle that knows its workspace; `store` never decides.
//!
//! `Store` owns two pools on one SQLite file: readers, and the single write connection that only the event log's writer
//! uses. Functions that write take the writer's transaction.

pub mod attempts;
pub mod baselines;
pub mod bell;
pub mod boots;
pub mod connect;
pub mod consents;
pub mod controls;
pub mod copy;
pub mod crowd;
pub mod definitions;
pub mod dialect;
pub mod dispatch;
pub mod enrollments;
pub mod entries;
pub mod event_ids;
pub mod feed;
pub mod filed;
pub mod gauges;
pub mod hits;
pub mod idempotency;
pub mod imports;
pub mod inclusions;
pub mod keys;
pub mod leases;
pub mod locks;
pub mod log_pruning;
pub mod lost;
pub mod merges;
pub mod messages;
pub mod newest;
pub mod outbox;
pub mod people;
pub mod overview;
pub mod personal;
pub mod positions;
pub mod profiles;
pub mod reach;
pub mod refused;
pub mod retention;
pub mod rows;
pub mod search;
pub mod segments;
pub mod sessions;
pub mod shards;
pub mod slow_domains;
pub mod soundness;
pub mod steps;
pub mod suppressions;
pub mod tallies;
pub mod timeline;
pub mod together;
pub mod tokens;
pub mod trace;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, IsolationLevel, TransactionTrait};

use crate::ids::WorkspaceId;
pub use connect::{Address, Database, newest_schema, open};
pub use rows::{Error, Rows};

/// The handle queries hang on: a connection or transaction, seen from one workspace.
pub struct Workspace<'c, C: ConnectionTrait> {
    conn: &'c C,
    pub id: WorkspaceId,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// How the log is divided here.
    pub fn layout(&self) -> shards::Layout {
        shards::Layout::of(self.conn.get_database_backend())
    }
}

// Derived, these would ask the connection to be copied too.
impl<C: ConnectionTrait> Clone for Workspace<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ConnectionTrait> Copy for Workspace<'_, C> {}

/// Sees `conn` from one workspace.
pub fn workspace<C: ConnectionTrait>(conn: &C, id: WorkspaceId) -> Workspace<'_, C> {
    Workspace { conn, id }
}

/// Readers of committed state; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    reader: DatabaseConnection,
}

impl Store {
    pub fn new(reader: DatabaseConnection) -> Self {
        Self { reader }
    }

    /// How the log is divided here.
    pub fn layout(&self) -> shards::Layout {
        shards::Layout::of(self.reader.get_database_backend())
    }

    pub fn workspace(&self, id: WorkspaceId) -> Workspace<'_, DatabaseConnection> {
        workspace(&self.reader, id)
    }

    /// A transaction that sees one instant of the database throughout; roll it back when done.
    pub async fn snapshot(&self) -> Result<DatabaseTransaction, Error> {
        // SQLite's always does.
        let isolation =
            (self.reader.get_database_backend() == DbBackend::Postgres).then_some(IsolationLevel::RepeatableRead);
        Ok(self.reader.begin_with_config(isolation, None).await?)
    }

    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }
}
