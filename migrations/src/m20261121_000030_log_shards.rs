//! The log in shards, so that several processes append to one PostgreSQL and share the work by leases. SQLite has one
//! process and one shard, number 0.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // The shard of the profile: whoever leases it schedules and sends.
    "ALTER TABLE profiles ADD COLUMN shard INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE messages ADD COLUMN shard INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE cursors ADD COLUMN shard INTEGER NOT NULL DEFAULT 0",
    // Who works on a shard until when, by the database's clock in milliseconds; the token grows with every new owner.
    "CREATE TABLE leases (
        shard INTEGER PRIMARY KEY,
        owner TEXT,
        token INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    )",
    // Processes that share the work.
    "CREATE TABLE nodes (
        id TEXT PRIMARY KEY,
        seen_at INTEGER NOT NULL
    )",
    // Where an entry that concerns everybody stands in each shard; its position in shard 0 names it.
    "CREATE TABLE barriers (
        shard INTEGER NOT NULL,
        position INTEGER NOT NULL,
        barrier INTEGER NOT NULL,
        PRIMARY KEY (shard, position)
    ) WITHOUT ROWID",
    // Where the loser's shard ended when its person joined another: what stands there is decided before.
    "ALTER TABLE merges ADD COLUMN loser_head INTEGER NOT NULL DEFAULT 0",
];

/// What PostgreSQL alone needs: many writers.
const POSTGRES: &[&str] = &[
    "CREATE INDEX entries_shard ON entries ((position % 16), position)",
    "INSERT INTO cursors (name, shard, position) SELECT 'processed/' || n, n, n FROM generate_series(0, 15) AS n",
    "INSERT INTO leases (shard, token, expires_at) SELECT n, 0, 0 FROM generate_series(0, 15) AS n",
    "CREATE INDEX profiles_wake_shard ON profiles (wake_at, shard) WHERE wake_at IS NOT NULL",
    "CREATE INDEX messages_due_shard ON messages (due_at, shard) WHERE due_at IS NOT NULL",
    // Two processes may meet the same event: one statement tells who was first, whatever day they think it is.
    "ALTER TABLE event_ids DROP CONSTRAINT event_ids_pkey",
    "ALTER TABLE event_ids ADD PRIMARY KEY (id)",
    "CREATE INDEX event_ids_day ON event_ids (day)",
    "CREATE SEQUENCE claim_tokens",
    // A counter everybody adds to would make commits wait for one another: each connection has its own part.
    "ALTER TABLE counters ADD COLUMN part BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE counters DROP CONSTRAINT counters_pkey",
    "ALTER TABLE counters ADD PRIMARY KEY (workspace, name, part)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await?;
        super::run_on_postgres(manager, POSTGRES).await
    }
}
