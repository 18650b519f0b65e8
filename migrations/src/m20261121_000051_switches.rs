//! What was paused when: entries of the log are decided by what was paused at their place in it.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // position: of the log's entry, by its place in shard 0. paused: 1, or 0 for the end of a pause.
    "CREATE TABLE switches (
        workspace INTEGER NOT NULL,
        scope TEXT NOT NULL,
        position INTEGER NOT NULL,
        paused INTEGER NOT NULL,
        PRIMARY KEY (workspace, scope, position)
    ) WITHOUT ROWID",
    "INSERT INTO switches (workspace, scope, position, paused) SELECT workspace, scope, 0, 1 FROM pauses",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
