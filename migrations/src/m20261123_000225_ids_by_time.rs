//! From which entries on the ids of what is decided begin with their instant: of those before, they are as they were, for
//! whoever reads the log again must come to the same.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["INSERT INTO settings (name, value)
     SELECT 'ids_by_time_after', CAST(coalesce(max(position), 0) AS TEXT) FROM entries"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
