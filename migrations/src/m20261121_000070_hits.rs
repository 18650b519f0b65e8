//! Hits of links and pictures in mails, each as it came; they are judged a moment later, when those beside it are there.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // at: Unix milliseconds. target: where a link leads, NULL for the picture. settled: 1 when its event is in the log.
    "CREATE TABLE hits (
        workspace INTEGER NOT NULL,
        id BLOB NOT NULL,
        message BLOB NOT NULL,
        profile INTEGER NOT NULL,
        channel TEXT NOT NULL,
        at INTEGER NOT NULL,
        target TEXT,
        is_head INTEGER NOT NULL,
        user_agent TEXT NOT NULL,
        settled INTEGER NOT NULL,
        machine TEXT,
        PRIMARY KEY (workspace, id)
    ) WITHOUT ROWID",
    "CREATE INDEX hits_message ON hits (workspace, message, at)",
    "CREATE INDEX hits_waiting ON hits (at) WHERE settled = 0",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
