//! The outbox is counted by channel, too, from the same index alone.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // The old one goes last: until then others read by it, and on PostgreSQL only who writes waits. Whoever cannot wait
    // has made it before, beside all work (docs/operating.md).
    "CREATE INDEX IF NOT EXISTS messages_by_outcome ON messages (workspace, status, created_at, id, reason, channel)",
    "DROP INDEX messages_outcome",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
