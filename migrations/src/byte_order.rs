//! Text is ordered by its bytes, as SQLite and we ourselves order it: pages go on behind the last text of the one before,
//! and whoever compares otherwise hides rows and repeats others.
//!
//! Tables are made so (`TEXT COLLATE "C"`). Those of a PostgreSQL with another order that were made before are changed at the
//! next start; only their indexes over text are written anew.

use std::collections::BTreeMap;

use sea_orm_migration::prelude::{ConnectionTrait, DbErr};
use sea_orm_migration::sea_orm::{DbBackend, Statement};

/// Ours with text: those of before were made in the database's own order, and a new one joins them, for the test that puts
/// every column back.
const TABLES: [&str; 42] = [
    "address_holders",
    "api_token_secrets",
    "api_tokens",
    "attempts",
    "barriers",
    "baselines",
    "boots",
    "cap_subjects",
    "consents",
    "conversions",
    "counters",
    "cursors",
    "definitions",
    "enrollments",
    "entries",
    "entry_rollups",
    "erasures",
    "held_entries",
    "hits",
    "identifiers",
    "import_rejects",
    "imported_files",
    "imports",
    "inclusions",
    "leases",
    "message_rollups",
    "message_states",
    "messages",
    "nodes",
    "parked",
    "pause_notes",
    "pauses",
    "profiles",
    "reach_marks",
    "reasons",
    "retention_days",
    "retention_marks",
    "segment_members",
    "settings",
    "suppressed_addresses",
    "switches",
    "write_keys",
];

/// Whether the database orders by bytes whatever is not told how: then nothing needs to be changed.
const IS_ITS_ORDER: &str = "SELECT CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')
     WHEN 'b' THEN true WHEN 'c' THEN datcollate IN ('C', 'POSIX') ELSE false END
     FROM pg_database AS d WHERE datname = current_database()";

/// Has all text of ours ordered by bytes, and says of how many tables it had to be changed.
///
/// # Errors
/// The database refuses.
pub async fn order_text_by_bytes<C: ConnectionTrait>(connection: &C) -> Result<usize, DbErr> {
    let backend = connection.get_database_backend();
    if backend != DbBackend::Postgres {
        return Ok(0);
    }
    let is_its_order = connection.query_one_raw(Statement::from_string(backend, IS_ITS_ORDER)).await?;
    if is_its_order.map(|row| row.try_get_by_index::<bool>(0)).transpose()? == Some(true) {
        return Ok(0);
    }
    let ours = TABLES.map(|table| format!("'{table}'")).join(", ");
    let sql = format!(
        "SELECT CAST(c.relname AS text), CAST(a.attname AS text) FROM pg_attribute AS a
         JOIN pg_class AS c ON c.oid = a.attrelid
         WHERE c.relname IN ({ours}) AND c.relkind = 'r' AND pg_table_is_visible(c.oid) AND a.attnum > 0
         AND NOT a.attisdropped AND a.attcollation <> 0 AND a.attcollation <> CAST('pg_catalog.\"C\"' AS regcollation)"
    );
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in connection.query_all_raw(Statement::from_string(backend, sql)).await? {
        columns.entry(row.try_get_by_index(0)?).or_default().push(row.try_get_by_index(1)?);
    }
    for (table, columns) in &columns {
        // All of a table at once: an index over several is written once.
        let changes = columns.iter().map(|column| format!("ALTER COLUMN \"{column}\" TYPE text COLLATE \"C\""));
        let sql = format!("ALTER TABLE {table} {}", changes.collect::<Vec<_>>().join(", "));
        connection.execute_unprepared(&sql).await?;
    }
    Ok(columns.len())
}
