//! Long addresses are filed by a hash, wherever they are found by: what stands there in full is filed anew.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, Statement};

#[derive(DeriveMigrationName)]
pub struct Migration;

const FILED_BYTES_MAX: usize = 512;
/// A character has at most four bytes.
const CHARACTERS_MIN: usize = FILED_BYTES_MAX / 4;

const FILED: &[(&str, &str)] =
    &[("suppressed_addresses", "subject"), ("cap_subjects", "subject"), ("messages", "address_subject")];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let backend = connection.get_database_backend();
        let [first, second] =
            if backend == sea_orm_migration::sea_orm::DbBackend::Postgres { ["$1", "$2"] } else { ["?", "?"] };
        for (table, column) in FILED {
            let sql = format!("SELECT DISTINCT {column} FROM {table} WHERE length({column}) > {CHARACTERS_MIN}");
            for row in connection.query_all_raw(Statement::from_string(backend, sql)).await? {
                let subject: String = row.try_get_by_index(0)?;
                if subject.len() <= FILED_BYTES_MAX {
                    continue;
                }
                let filed = format!("#{}", blake3::hash(subject.as_bytes()).to_hex());
                let sql = format!("UPDATE {table} SET {column} = {first} WHERE {column} = {second}");
                let values = [filed.into(), subject.into()];
                connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
            }
        }
        Ok(())
    }
}
