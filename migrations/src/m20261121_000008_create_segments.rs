//! Segments: where a person stands in them, on the profile's own row, and who is in each.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // With the row, because every decision reads it and the row's version guards it.
    "ALTER TABLE profiles ADD COLUMN segments TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE profiles ADD COLUMN segments_seen INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE segment_members (
        workspace INTEGER NOT NULL,
        segment TEXT NOT NULL,
        profile INTEGER NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (workspace, segment, profile)
    ) WITHOUT ROWID",
    // A person who is joined with another leaves all segments.
    "CREATE INDEX segment_members_profile ON segment_members (profile)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
