//! What is pruned of the log: how far, since when, what is held back, who people were by what is gone, and how many
//! entries there were. And what of a person's past their history does not list is found.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // class: `bodies` (what entries carried), `entries` (they themselves). Up to here all is pruned that is not held.
    "CREATE TABLE retention_marks (
        class TEXT NOT NULL,
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (class, shard)
    ) WITHOUT ROWID",
    // Where a day's pruning ended: tells when an entry was pruned. day: since 1970.
    "CREATE TABLE retention_days (
        class TEXT NOT NULL,
        shard INTEGER NOT NULL,
        day INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (class, shard, day)
    ) WITHOUT ROWID",
    // Entries whose body is still needed. why: the event's name where a condition looks back at it, else empty; at: when
    // it happened.
    "CREATE TABLE held_entries (
        position INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        why TEXT NOT NULL,
        at INTEGER NOT NULL
    )",
    "CREATE INDEX held_entries_why ON held_entries (why, at)",
    // Who a person was by the entries whose bodies are pruned.
    "CREATE TABLE baselines (
        profile INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        user_id TEXT,
        traits TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        last_seen_at INTEGER NOT NULL
    )",
    // day: since 1970, of the decision.
    "CREATE TABLE entry_rollups (
        workspace INTEGER NOT NULL,
        day INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (workspace, day, kind, name)
    ) WITHOUT ROWID",
    // Clients' events stand in their person's history.
    "CREATE INDEX entries_own ON entries (profile, position) WHERE kind IN ('own', 'message_ended', 'timer')",
    // What an erasure still has to empty, packed; NULL: the whole log is looked through.
    "ALTER TABLE erasures ADD COLUMN entries BLOB",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
