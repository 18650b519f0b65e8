//! What waits, read when somebody looks at the metrics, and not more often than every few seconds however many look.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::eventlog::EventLog;
use crate::ids::WorkspaceId;
use crate::store::gauges::{bytes, connections, due_timers, first_due, waiting_since};
use crate::store::leases::shared_by;
use crate::store::shards::{ShardSet, backlog, heads};
use crate::store::{Database, Store};
use crate::telemetry;
use crate::telemetry::table::{
    BACKLOG_ENTRIES, BACKLOG_SECONDS, DATABASE_CONNECTIONS, DATABASE_FILE_BYTES, DATABASE_WAL_BYTES, LEASE_PROCESSES,
    LEASE_SHARDS, LOG_POSITION, OUTBOX_MESSAGES, OUTBOX_OLDEST_SECONDS, SCHEDULE_TIMERS, SENDING_PAUSED,
};
use crate::worker::leases::Leases;

/// What was read a moment ago is shown again.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// A scrape must not wait for a database that does not answer.
const DEADLINE: Duration = Duration::from_secs(4);

/// Reads the gauges of one database.
pub struct Gauges {
    workspace: WorkspaceId,
    database: Database,
    store: Store,
    log: EventLog,
    leases: Leases,
    read: Mutex<Option<Stopwatch>>,
}

impl Gauges {
    pub fn new(workspace: WorkspaceId, database: Database, store: Store, log: EventLog, leases: Leases) -> Arc<Self> {
        Arc::new(Self { workspace, database, store, log, leases, read: Mutex::default() })
    }

    /// Reads what is stored, unless that was done a moment ago; where it cannot be read, what is shown stays old and is
    /// counted as such.
    pub async fn refresh(&self) {
        {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if read.is_some_and(|watch| watch.elapsed() < FRESH_FOR) {
                return;
            }
            *read = Some(Stopwatch::start());
        }
        match tokio::time::timeout(DEADLINE, self.read()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the gauges could not be read");
                telemetry::gauges_failed();
            }
            Err(_) => {
                tracing::warn!("the database did not answer in time for the gauges");
                telemetry::gauges_failed();
            }
        }
    }

    async fn read(&self) -> Result<(), crate::store::Error> {
        let reader = self.store.reader();
        let now = self.log.clock().now();
        let (held, layout) = (self.leases.held(), self.store.layout());
        LEASE_SHARDS.alone().set(held.len() as f64);
        let pools = [("reader", Some(&self.database.reader)), ("writer", Some(&self.database.writer))];
        let pools = pools.into_iter().chain([("keeper", self.database.keeper.as_ref())]);
        DATABASE_CONNECTIONS.replace(pools.filter_map(|(name, pool)| Some((name, connections(pool?)))).flat_map(
            |(name, (all, idle))| {
                let of = |state: &str, count: u32| (vec![name.to_owned(), state.to_owned()], f64::from(count));
                [of("idle", idle), of("used", all - idle)]
            },
        ));
        let ends = heads(reader, layout.all()).await?.0;
        LOG_POSITION.alone().set(ends.last().0 as f64);
        BACKLOG_ENTRIES.alone().set(backlog(reader, ShardSet::EVERY).await? as f64);
        let since = |instant: Option<crate::ids::Timestamp>| {
            instant.map_or(0.0, |instant| (now.millis() - instant.millis()).max(0) as f64 / 1_000.0)
        };
        BACKLOG_SECONDS.alone().set(since(waiting_since(reader).await?));
        OUTBOX_OLDEST_SECONDS.alone().set(since(first_due(reader).await?));
        let store = self.store.workspace(self.workspace);
        let waiting = store.messages_waiting().await?;
        OUTBOX_MESSAGES
            .replace(waiting.into_iter().map(|([status, channel], count)| (vec![channel, status], count as f64)));
        SENDING_PAUSED.replace(store.pauses().await?.into_iter().map(|scope| (vec![scope], 1.0)));
        SCHEDULE_TIMERS.alone().set(due_timers(reader, held, now).await? as f64);
        DATABASE_FILE_BYTES.alone().set(bytes(reader).await? as f64);
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |about| about.len());
        if let Some(file) = &self.database.file {
            let mut wal = file.clone().into_os_string();
            wal.push("-wal");
            DATABASE_WAL_BYTES.alone().set(size(wal.into()) as f64);
        }
        LEASE_PROCESSES.alone().set(shared_by(reader).await?.0 as f64);
        Ok(())
    }
}
