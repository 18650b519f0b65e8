//! How often each process's folder was started with this database: a database that knows less than the folder beside it
//! was restored.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // node: the id in the folder's file `generation`.
    "CREATE TABLE boots (
        node TEXT PRIMARY KEY,
        generation INTEGER NOT NULL
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
