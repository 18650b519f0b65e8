//! API tokens with scopes. Secrets stand apart, so that a rotated token can have two for a while.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // scopes: names with a space between. Instants are Unix milliseconds.
    "CREATE TABLE api_tokens (
        id TEXT PRIMARY KEY,
        workspace INTEGER NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        prefix TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        rotated_at INTEGER,
        expires_at INTEGER,
        revoked_at INTEGER,
        last_used_at INTEGER
    ) WITHOUT ROWID",
    // hash: SHA-256. valid_until: set when a newer one takes its place.
    "CREATE TABLE api_token_secrets (
        hash BLOB PRIMARY KEY,
        token TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        valid_until INTEGER
    ) WITHOUT ROWID",
    "CREATE INDEX api_token_secrets_token ON api_token_secrets (token)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
