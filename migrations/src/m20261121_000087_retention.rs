//! What is left of messages that were pruned: how many there were, by day. And clicks and opens are found by their age.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // day: since 1970, of creation. reason: its code, empty where there was none.
    "CREATE TABLE message_rollups (
        workspace INTEGER NOT NULL,
        day INTEGER NOT NULL,
        campaign TEXT NOT NULL,
        channel TEXT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (workspace, day, campaign, channel, status, reason)
    ) WITHOUT ROWID",
    "CREATE INDEX hits_settled ON hits (at) WHERE settled = 1",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
