//! People who were erased, by their numbers alone: how far the erasure came, and whose number is not given again.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // until: where the log ended when the person was erased; done: up to where it is scrubbed.
    "CREATE TABLE erasures (
        profile INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        erased_at INTEGER NOT NULL,
        asked_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        until INTEGER NOT NULL,
        done INTEGER NOT NULL,
        finished_at INTEGER
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
