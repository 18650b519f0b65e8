//! Marketing that obeys no cap never waits behind what does: its lane is found without reading the other.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["CREATE INDEX messages_due_uncapped ON messages (due_at)
    WHERE due_at IS NOT NULL AND purpose = 'marketing' AND substr(rules, 1, 22) = '{\"caps\":{\"obey\":false,'"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
