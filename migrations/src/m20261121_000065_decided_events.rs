//! Where an event stands on which something was decided, after its id is no longer remembered against repeats.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["CREATE TABLE decided_events (
        id BLOB PRIMARY KEY,
        position INTEGER NOT NULL
    ) WITHOUT ROWID"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
