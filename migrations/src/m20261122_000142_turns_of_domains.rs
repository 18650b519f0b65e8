//! Messages that wait for a slow domain are found by it, in the order of their turns. A change of its own: who adds a
//! column to PostgreSQL's table has it alone until the end.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["CREATE INDEX messages_slow_domain ON messages (slow_domain, due_at, shard)
    WHERE slow_domain IS NOT NULL AND due_at IS NOT NULL"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
