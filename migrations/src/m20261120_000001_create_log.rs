//! The log of all inputs, the narrow table that recognises repeated events, and what was parked.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // Positions are handed out by the one writer and have no holes. `body` is the client's JSON, verbatim.
    "CREATE TABLE entries (
        position INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        profile INTEGER,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        event_id BLOB,
        at INTEGER NOT NULL,
        now INTEGER NOT NULL,
        meta BLOB NOT NULL,
        body TEXT NOT NULL
    )",
    // One row per event and day of receipt; whole days are forgotten together. Day 0 is kept for ever (imports).
    "CREATE TABLE event_ids (
        day INTEGER NOT NULL,
        id BLOB NOT NULL,
        PRIMARY KEY (day, id)
    ) WITHOUT ROWID",
    "CREATE TABLE cursors (
        name TEXT PRIMARY KEY,
        position INTEGER NOT NULL
    ) WITHOUT ROWID",
    "CREATE TABLE parked (
        position INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        profile INTEGER,
        cause TEXT NOT NULL,
        parked_at INTEGER NOT NULL,
        redriven_at INTEGER
    )",
    // Why an input led to nothing, one packed row per input, for the campaigns whose event name it carries.
    "CREATE TABLE reasons (
        position INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        profile INTEGER,
        packed TEXT NOT NULL
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
