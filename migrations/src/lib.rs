//! The schema of Carillon, one change per file, in order; each only adds (expand), removal comes a release later.
//!
//! Tables are written in plain SQL: bulk statements elsewhere depend on their exact shape (`WITHOUT ROWID`, partial
//! indexes), and plain SQL shows it.

use sea_orm_migration::prelude::{ConnectionTrait, DbErr, MigrationTrait, async_trait};
pub use sea_orm_migration::prelude::{MigratorTrait, SchemaManager};
use sea_orm_migration::sea_orm::DbBackend;

mod byte_order;
mod m20261120_000001_create_log;
mod m20261120_000002_create_people;
mod m20261120_000003_create_messages;
mod m20261120_000004_create_control;
mod m20261121_000005_find_messages;
mod m20261121_000006_merge_people;
mod m20261121_000007_permission;
mod m20261121_000008_create_segments;
mod m20261121_000009_topics_of_messages;
mod m20261121_000030_log_shards;
mod m20261121_000045_books_and_ids;
mod m20261121_000051_switches;
mod m20261121_000065_decided_events;
mod m20261121_000070_hits;
mod m20261121_000079_ids_in_order;
mod m20261121_000081_api_tokens;
mod m20261121_000082_idempotent_answers;
mod m20261121_000085_boots;
mod m20261121_000086_erasures;
mod m20261121_000087_retention;
mod m20261121_000090_correlation;
mod m20261121_000098_pages;
mod m20261121_000103_prune_the_log;
mod m20261121_000111_take_locks;
mod m20261121_000118_outbox_by_channel;
mod m20261122_000131_sent_messages;
mod m20261122_000132_uncapped_lane;
mod m20261122_000141_slow_domains;
mod m20261122_000142_turns_of_domains;
mod m20261122_000180_last_zones;
mod m20261122_000190_carts;
mod m20261122_000200_remembered;
mod m20261122_000210_inclusions;
mod m20261122_000215_definitions_by_position;
mod m20261122_000220_reach;
mod m20261123_000225_ids_by_time;
mod m20261123_000235_long_addresses;
mod m20261123_000240_imports;
mod m20261123_000245_imported_files;
mod m20261123_000260_taken_back;

pub use byte_order::order_text_by_bytes;

/// Every change, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_create_log::Migration),
            Box::new(m20261120_000002_create_people::Migration),
            Box::new(m20261120_000003_create_messages::Migration),
            Box::new(m20261120_000004_create_control::Migration),
            Box::new(m20261121_000005_find_messages::Migration),
            Box::new(m20261121_000006_merge_people::Migration),
            Box::new(m20261121_000007_permission::Migration),
            Box::new(m20261121_000008_create_segments::Migration),
            Box::new(m20261121_000009_topics_of_messages::Migration),
            Box::new(m20261121_000030_log_shards::Migration),
            Box::new(m20261121_000045_books_and_ids::Migration),
            Box::new(m20261121_000051_switches::Migration),
            Box::new(m20261121_000065_decided_events::Migration),
            Box::new(m20261121_000070_hits::Migration),
            Box::new(m20261121_000079_ids_in_order::Migration),
            Box::new(m20261121_000081_api_tokens::Migration),
            Box::new(m20261121_000082_idempotent_answers::Migration),
            Box::new(m20261121_000085_boots::Migration),
            Box::new(m20261121_000086_erasures::Migration),
            Box::new(m20261121_000087_retention::Migration),
            Box::new(m20261121_000090_correlation::Migration),
            Box::new(m20261121_000098_pages::Migration),
            Box::new(m20261121_000103_prune_the_log::Migration),
            Box::new(m20261121_000111_take_locks::Migration),
            Box::new(m20261121_000118_outbox_by_channel::Migration),
            Box::new(m20261122_000131_sent_messages::Migration),
            Box::new(m20261122_000132_uncapped_lane::Migration),
            Box::new(m20261122_000141_slow_domains::Migration),
            Box::new(m20261122_000142_turns_of_domains::Migration),
            Box::new(m20261122_000180_last_zones::Migration),
            Box::new(m20261122_000190_carts::Migration),
            Box::new(m20261122_000200_remembered::Migration),
            Box::new(m20261122_000210_inclusions::Migration),
            Box::new(m20261122_000215_definitions_by_position::Migration),
            Box::new(m20261122_000220_reach::Migration),
            Box::new(m20261123_000225_ids_by_time::Migration),
            Box::new(m20261123_000235_long_addresses::Migration),
            Box::new(m20261123_000240_imports::Migration),
            Box::new(m20261123_000245_imported_files::Migration),
            Box::new(m20261123_000260_taken_back::Migration),
        ]
    }
}

/// Runs statements in order, written in SQLite's words; the caller's migration is recorded only when all succeed.
async fn run_all(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    for sql in statements {
        match connection.get_database_backend() {
            DbBackend::Postgres => connection.execute_unprepared(&in_postgres(sql)).await?,
            _ => connection.execute_unprepared(sql).await?,
        };
    }
    Ok(())
}

/// Runs statements that only PostgreSQL needs.
async fn run_on_postgres(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    match manager.get_connection().get_database_backend() {
        DbBackend::Postgres => run_all(manager, statements).await,
        _ => Ok(()),
    }
}

/// SQLite's integers are of 64 bits, and its text is ordered by its bytes.
fn in_postgres(sql: &str) -> String {
    let sql = sql.replace(" INTEGER", " BIGINT").replace(" BLOB", " BYTEA").replace(" WITHOUT ROWID", "");
    let makes_columns = ["CREATE TABLE", "ALTER TABLE"].iter().any(|start| sql.trim_start().starts_with(start));
    if makes_columns { sql.replace(" TEXT", " TEXT COLLATE \"C\"") } else { sql }
}
