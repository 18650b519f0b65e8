//! An event is found by its id, and the books know how many were accepted, without reading the log.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const UP: &[&str] = &[
    // Where the entry stands; absent for ids that were remembered before.
    "ALTER TABLE event_ids ADD COLUMN position INTEGER",
    // Of clients' events, each once: one that was parked and redriven stands in the log twice.
    "INSERT INTO counters (workspace, name, value)
     SELECT workspace, 'events_accepted', count(*)
         - (SELECT count(*) FROM parked JOIN entries AS again USING (position)
            WHERE again.workspace = entries.workspace AND again.event_id IS NOT NULL AND again.kind <> 'own'
            AND redriven_at IS NOT NULL)
     FROM entries WHERE event_id IS NOT NULL AND kind <> 'own' GROUP BY workspace",
];

/// Where several processes append, an id is stored before its entry has a position.
const POSTGRES: &[&str] = &["CREATE INDEX entries_event ON entries (event_id) WHERE event_id IS NOT NULL"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_all(manager, UP).await?;
        super::run_on_postgres(manager, POSTGRES).await
    }
}
