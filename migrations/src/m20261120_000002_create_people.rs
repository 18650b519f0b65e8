//! People: profiles with their packed history, the ids they are known by, the consent ledger, enrollments.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "CREATE TABLE profiles (
        id INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        version INTEGER NOT NULL,
        wake_at INTEGER,
        user_id TEXT,
        traits TEXT NOT NULL,
        consent TEXT NOT NULL,
        history BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        last_seen_at INTEGER NOT NULL
    )",
    "CREATE INDEX profiles_wake_at ON profiles (wake_at) WHERE wake_at IS NOT NULL",
    "CREATE TABLE history_pages (
        profile INTEGER NOT NULL,
        page INTEGER NOT NULL,
        packed BLOB NOT NULL,
        PRIMARY KEY (profile, page)
    ) WITHOUT ROWID",
    // kind 0: user id, 1: anonymous id.
    "CREATE TABLE identifiers (
        workspace INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        value TEXT NOT NULL,
        profile INTEGER NOT NULL,
        PRIMARY KEY (workspace, kind, value)
    ) WITHOUT ROWID",
    "CREATE INDEX identifiers_profile ON identifiers (profile)",
    "CREATE TABLE consents (
        position INTEGER NOT NULL,
        profile INTEGER NOT NULL,
        channel TEXT NOT NULL,
        state TEXT NOT NULL,
        source TEXT NOT NULL,
        at INTEGER NOT NULL,
        text_version TEXT,
        PRIMARY KEY (profile, channel, position)
    ) WITHOUT ROWID",
    "CREATE TABLE enrollments (
        id BLOB PRIMARY KEY,
        workspace INTEGER NOT NULL,
        profile INTEGER NOT NULL,
        campaign TEXT NOT NULL,
        version INTEGER NOT NULL,
        entry_key TEXT NOT NULL,
        entered_at INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        event INTEGER NOT NULL,
        ended_at INTEGER,
        state TEXT NOT NULL
    )",
    "CREATE INDEX enrollments_active ON enrollments (profile) WHERE ended_at IS NULL",
    "CREATE INDEX enrollments_profile ON enrollments (profile, campaign, entry_key)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
