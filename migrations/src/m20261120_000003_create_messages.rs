//! The outbox: messages with their path and attempts, conversions, and the subjects of frequency caps.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    "CREATE TABLE messages (
        id BLOB PRIMARY KEY,
        workspace INTEGER NOT NULL,
        profile INTEGER NOT NULL,
        enrollment BLOB NOT NULL,
        campaign TEXT NOT NULL,
        campaign_version INTEGER NOT NULL,
        channel TEXT NOT NULL,
        template TEXT NOT NULL,
        purpose TEXT NOT NULL,
        priority INTEGER NOT NULL,
        rules TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        cause INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        event INTEGER NOT NULL,
        status TEXT NOT NULL,
        state TEXT NOT NULL,
        due_at INTEGER,
        attempts INTEGER NOT NULL,
        answer_lost_at INTEGER,
        capped_at INTEGER,
        slot_at INTEGER,
        address TEXT,
        address_subject TEXT,
        template_version INTEGER
    )",
    "CREATE INDEX messages_due ON messages (due_at) WHERE due_at IS NOT NULL",
    // Transactional mail never waits behind marketing: its lane is found without reading the other.
    "CREATE INDEX messages_due_transactional ON messages (due_at) WHERE due_at IS NOT NULL AND purpose = 'transactional'",
    "CREATE INDEX messages_sending ON messages (status) WHERE status = 'sending'",
    "CREATE INDEX messages_profile ON messages (profile, created_at)",
    "CREATE INDEX messages_campaign ON messages (workspace, campaign, created_at)",
    "CREATE INDEX messages_slots ON messages (profile, slot_at) WHERE slot_at IS NOT NULL",
    "CREATE INDEX messages_address_slots ON messages (address_subject, slot_at) WHERE slot_at IS NOT NULL",
    // The path of a message: every state it was in.
    "CREATE TABLE message_states (
        message BLOB NOT NULL,
        step INTEGER NOT NULL,
        at INTEGER NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (message, step)
    ) WITHOUT ROWID",
    "CREATE TABLE attempts (
        message BLOB NOT NULL,
        attempt INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        outcome TEXT,
        PRIMARY KEY (message, attempt)
    ) WITHOUT ROWID",
    "CREATE TABLE conversions (
        message BLOB NOT NULL,
        position INTEGER NOT NULL,
        workspace INTEGER NOT NULL,
        campaign TEXT NOT NULL,
        profile INTEGER NOT NULL,
        at INTEGER NOT NULL,
        value TEXT,
        currency TEXT,
        PRIMARY KEY (message, position)
    ) WITHOUT ROWID",
    // A profile or a normalised address; the version is a step number and a hash chained over every change.
    "CREATE TABLE cap_subjects (
        workspace INTEGER NOT NULL,
        subject TEXT NOT NULL,
        step INTEGER NOT NULL,
        chain BLOB NOT NULL,
        horizon INTEGER NOT NULL,
        last_slot_at INTEGER NOT NULL,
        PRIMARY KEY (workspace, subject)
    ) WITHOUT ROWID",
    "CREATE TABLE suppressions (
        workspace INTEGER NOT NULL,
        subject TEXT NOT NULL,
        channel TEXT NOT NULL,
        reason TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (workspace, subject)
    ) WITHOUT ROWID",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await
    }
}
