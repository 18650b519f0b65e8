//! Files that were imported, by what is in them: the same one under another name is known again.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // name: under which its rows are known.
    "CREATE TABLE imported_files (
        workspace INTEGER NOT NULL,
        digest TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (workspace, digest)
    ) WITHOUT ROWID",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
