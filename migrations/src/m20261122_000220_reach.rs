//! Who has or had an address, by the subject under which it is suppressed, and which addresses' people have still to be
//! told that something about them changed on the suppression list. A mark goes when everybody was told.
//! And what the pruned part of the log told people of their addresses; none: nothing.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "CREATE TABLE address_holders (
        workspace INTEGER NOT NULL,
        subject TEXT NOT NULL,
        profile INTEGER NOT NULL,
        PRIMARY KEY (workspace, subject, profile)
    ) WITHOUT ROWID",
    "CREATE INDEX address_holders_profile ON address_holders (profile)",
    "CREATE TABLE reach_marks (
        id INTEGER NOT NULL PRIMARY KEY,
        workspace INTEGER NOT NULL,
        subject TEXT NOT NULL
    )",
    "ALTER TABLE baselines ADD COLUMN stopped TEXT",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
