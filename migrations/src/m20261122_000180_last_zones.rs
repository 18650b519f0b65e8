//! The zone of a person's newest event that named one: what quiet hours go by where nothing better is known.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] =
    &["ALTER TABLE profiles ADD COLUMN last_zone TEXT", "ALTER TABLE baselines ADD COLUMN last_zone TEXT"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
