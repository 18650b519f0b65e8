//! Whoever waited for a shard's lock learns with it whether identifiers were taken from their people meanwhile, as when
//! somebody was erased: what was found out before the wait may be of somebody who is nobody now. Processes of the
//! release before go on with `take_locks`.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const POSTGRES: &[&str] = &["CREATE FUNCTION take_locks_and_look(classes integer[], keys integer[], shards bigint)
     RETURNS TABLE (of_shard bigint, last_position bigint, last_now bigint, taken_back text)
     LANGUAGE plpgsql VOLATILE AS $$
     BEGIN
        PERFORM set_config('synchronous_commit', 'off', true);
        PERFORM pg_advisory_xact_lock(class, key) FROM unnest(classes, keys) AS wanted (class, key);
        RETURN QUERY SELECT numbers.shard, last.position, last.now,
                (SELECT CAST(settings.value AS text) FROM settings WHERE settings.name = 'identifiers_taken_back')
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
