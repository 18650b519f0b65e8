//! How far the narrow table has the ids of the log: so far all, from now on those of newer entries follow.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["INSERT INTO settings (name, value)
     SELECT 'event_ids_until', CAST(coalesce(max(position), 0) AS TEXT) FROM entries"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
