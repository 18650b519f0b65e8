//! When the log said that a message was sent: what goals count from, so that they follow from the log alone.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "ALTER TABLE messages ADD COLUMN sent_at INTEGER",
    "UPDATE messages SET sent_at = (SELECT max(at) FROM message_states WHERE message_states.message = messages.id)
        WHERE status = 'sent'",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
