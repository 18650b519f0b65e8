//! Answers to writes that were named by an idempotency key, kept for a day so that a repeat gets them again.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // key: of caller and name. fingerprint: of the request. answer: sealed with the caller's token; NULL while it is
    // being made, which `turn` is about.
    "CREATE TABLE idempotent_answers (
        key BLOB PRIMARY KEY,
        workspace INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        turn BLOB NOT NULL,
        began_at INTEGER NOT NULL,
        status INTEGER,
        answer BLOB
    ) WITHOUT ROWID",
    "CREATE INDEX idempotent_answers_began ON idempotent_answers (began_at)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
