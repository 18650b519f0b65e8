//! Permission: by which way each answer of the consent ledger came, and the suppression list with its kinds and its
//! removals.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "ALTER TABLE consents ADD COLUMN via TEXT NOT NULL DEFAULT 'event'",
    // A row for every time an address came onto the list; it is in force until it is removed. `profile` is whose answer
    // it was, 0 where it was nobody's.
    "CREATE TABLE suppressed_addresses (
        workspace INTEGER NOT NULL,
        subject TEXT NOT NULL,
        kind TEXT NOT NULL,
        profile INTEGER NOT NULL,
        at INTEGER NOT NULL,
        channel TEXT NOT NULL,
        source TEXT NOT NULL,
        removed_at INTEGER,
        removed_by TEXT,
        PRIMARY KEY (workspace, subject, kind, profile, at)
    ) WITHOUT ROWID",
    "CREATE INDEX suppressed_addresses_profile ON suppressed_addresses (profile) WHERE profile <> 0",
    "INSERT INTO suppressed_addresses (workspace, subject, kind, profile, at, channel, source, removed_at, removed_by)
        SELECT workspace, subject, 'bounced', 0, at, channel, reason, NULL, NULL FROM suppressions",
    // Addresses are kept in one place, so that they can be erased in one.
    "DROP TABLE suppressions",
    // What else went to an address lately.
    "CREATE INDEX messages_address ON messages (address_subject, created_at) WHERE address_subject IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
