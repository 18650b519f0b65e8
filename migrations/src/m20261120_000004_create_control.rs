//! Definitions with every version, write keys, pauses, counters and settings.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "CREATE TABLE definitions (
        workspace INTEGER NOT NULL,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        files TEXT NOT NULL,
        position INTEGER NOT NULL,
        applied_at INTEGER NOT NULL,
        PRIMARY KEY (workspace, kind, key, version)
    ) WITHOUT ROWID",
    "CREATE TABLE write_keys (
        id TEXT PRIMARY KEY,
        workspace INTEGER NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        prefix TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        revoked_at INTEGER
    ) WITHOUT ROWID",
    // scope: `all`, or a campaign's key.
    "CREATE TABLE pauses (
        workspace INTEGER NOT NULL,
        scope TEXT NOT NULL,
        paused_at INTEGER NOT NULL,
        PRIMARY KEY (workspace, scope)
    ) WITHOUT ROWID",
    "CREATE TABLE counters (
        workspace INTEGER NOT NULL,
        name TEXT NOT NULL,
        value INTEGER NOT NULL,
        PRIMARY KEY (workspace, name)
    ) WITHOUT ROWID",
    "CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
