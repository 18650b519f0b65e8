//! What the pages ask: messages are counted by status and reason without being read, people are found by what they are
//! called, and a pause says by whom and why.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "CREATE INDEX messages_outcome ON messages (workspace, status, created_at, id, reason)",
    "DROP INDEX messages_status",
    "CREATE INDEX parked_waiting ON parked (workspace, position) WHERE redriven_at IS NULL",
    // Bytes, so that both databases order them alike.
    "CREATE TABLE people_terms (
        workspace INTEGER NOT NULL,
        term BLOB NOT NULL,
        profile INTEGER NOT NULL,
        PRIMARY KEY (workspace, term, profile)
    ) WITHOUT ROWID",
    "CREATE INDEX people_terms_profile ON people_terms (profile)",
    "CREATE TABLE pause_notes (
        workspace INTEGER NOT NULL,
        scope TEXT NOT NULL,
        who TEXT,
        why TEXT,
        PRIMARY KEY (workspace, scope)
    ) WITHOUT ROWID",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
