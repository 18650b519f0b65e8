//! On PostgreSQL, locks of a transaction and what is read under them, in one round: each statement of a function sees
//! what was committed before it began. The transaction lets go of them without waiting for the disk; the writer waits
//! for that by itself.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const POSTGRES: &[&str] = &["CREATE FUNCTION take_locks(classes integer[], keys integer[], shards bigint)
     RETURNS TABLE (of_shard bigint, last_position bigint, last_now bigint) LANGUAGE plpgsql VOLATILE AS $$
     BEGIN
        PERFORM set_config('synchronous_commit', 'off', true);
        PERFORM pg_advisory_xact_lock(class, key) FROM unnest(classes, keys) AS wanted (class, key);
        RETURN QUERY SELECT numbers.shard, last.position, last.now
            FROM generate_series(CAST(0 AS bigint), 15) AS numbers (shard)
            LEFT JOIN LATERAL (SELECT entries.position, entries.now FROM entries
                WHERE entries.position % 16 = numbers.shard
                ORDER BY entries.position % 16 DESC, entries.position DESC LIMIT 1) AS last ON true
            WHERE (shards >> CAST(numbers.shard AS integer)) & 1 = 1;
     END $$"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::run_on_postgres(manager, POSTGRES).await
    }
}
