//! Messages are found by the code of their reason and listed newest first without reading them all.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // The `code` of the reason in `state`, where it has one.
    "ALTER TABLE messages ADD COLUMN reason TEXT",
    "CREATE INDEX messages_created ON messages (workspace, created_at, id)",
    "CREATE INDEX messages_status ON messages (workspace, status, created_at, id)",
    "CREATE INDEX messages_reason ON messages (workspace, reason, created_at, id) WHERE reason IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
