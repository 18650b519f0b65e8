//! Imports taken in beside a running service: what was asked, how far each is, and the rows that were refused.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // home: of the data folder that holds the file. options, progress: JSON. told_at: when its process last spoke of it.
    "CREATE TABLE imports (
        id TEXT PRIMARY KEY NOT NULL,
        workspace INTEGER NOT NULL,
        home TEXT NOT NULL,
        name TEXT NOT NULL,
        format TEXT NOT NULL,
        options TEXT NOT NULL,
        state TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        progress TEXT NOT NULL,
        failure TEXT,
        stop_asked INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        told_at INTEGER NOT NULL,
        began_at INTEGER,
        ended_at INTEGER
    ) WITHOUT ROWID",
    "CREATE INDEX imports_newest ON imports (workspace, created_at, id)",
    "CREATE INDEX imports_unfinished ON imports (home) WHERE ended_at IS NULL",
    // message: may quote the row; NULL once somebody was erased.
    "CREATE TABLE import_rejects (
        import TEXT NOT NULL,
        n INTEGER NOT NULL,
        workspace INTEGER NOT NULL,
        line INTEGER,
        row_at INTEGER NOT NULL,
        row_count INTEGER NOT NULL,
        field TEXT,
        code TEXT NOT NULL,
        message TEXT,
        PRIMARY KEY (import, n)
    ) WITHOUT ROWID",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
