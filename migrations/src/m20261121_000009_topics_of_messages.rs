//! What a message is about: caps count by topic, and people subscribe to topics.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, &["ALTER TABLE messages ADD COLUMN topic TEXT"]).await
    }
}
