//! Profiles that turned out to be one person: who joined whom by which entry, and where a merged profile's state went.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // Written with the entry that joins two profiles. `rest` is 1 while rows of the loser wait to be moved.
    "CREATE TABLE merges (
        loser INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        winner INTEGER NOT NULL,
        position INTEGER NOT NULL,
        rest INTEGER NOT NULL DEFAULT 0
    )",
    "CREATE INDEX merges_position ON merges (position)",
    "CREATE INDEX merges_rest ON merges (loser) WHERE rest = 1",
    // Set when the processor has united them; the row keeps nothing else.
    "ALTER TABLE profiles ADD COLUMN merged_into INTEGER",
    "CREATE INDEX parked_profile ON parked (profile) WHERE profile IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
