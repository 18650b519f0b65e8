//! What decisions leave with a person: computed traits, dates to come, lists of static segments. None: nothing is kept, or
//! the row was written before; whoever is looked at next has it worked out from their history.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &["ALTER TABLE profiles ADD COLUMN remembered TEXT", "ALTER TABLE baselines ADD COLUMN lists TEXT"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
