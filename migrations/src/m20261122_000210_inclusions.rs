//! Who waits for their turn in a campaign that asks for people who are in its segment already. `place` is the instant by
//! which their order goes.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "CREATE TABLE inclusions (
        workspace INTEGER NOT NULL,
        campaign TEXT NOT NULL,
        profile INTEGER NOT NULL,
        since INTEGER NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (workspace, campaign, profile)
    )",
    "CREATE INDEX inclusions_in_order ON inclusions (workspace, campaign, place, profile)",
    "CREATE INDEX inclusions_of_people ON inclusions (profile)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
