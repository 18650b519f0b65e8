//! What is in people's carts, for conditions and templates. Of rows that were written before, the history tells.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["ALTER TABLE profiles ADD COLUMN carts TEXT", "ALTER TABLE baselines ADD COLUMN carts TEXT"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
