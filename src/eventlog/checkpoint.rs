//! How SQLite's write-ahead log returns to the database file without the writer waiting for it.
//!
//! Beside the writer, a reader's connection copies what is committed and syncs it. The writer then copies, between two
//! of its transactions, the little that came meanwhile, and begins the log anew. The log's file keeps its length: blocks
//! that exist are overwritten at a fifth of the price of blocks that must first be found, one page at a time. For the same
//! reason zeros lengthen a file that has just grown, megabytes at a time. If only the reader copied, the log would never
//! be through and grow for ever; if only the writer did, everybody would wait for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::store::connect::writer_cache;
use crate::store::{Database, Rows};

/// Pages in the log from which on it is copied: 128 MiB. A page that changes often is copied once for many changes.
const PAGES_MIN: i64 = 32_768;
const COMMITS_PER_LOOK: u32 = 64;
/// The file is lengthened by half, within these bounds: little for a small shop, and never a long wait.
const ADDED_BYTES_MIN: u64 = 256 * 1024;
const ADDED_BYTES_MAX: u64 = 4 * 1024 * 1024;
const PIECE_BYTES: u64 = 128 * 1024;
/// Longer than the log is before it begins anew.
const LENGTH_MAX: u64 = 192 * 1024 * 1024;

/// The writer's end.
pub(super) struct Checkpoints {
    writer: DatabaseConnection,
    commits: u32,
    look: Arc<Notify>,
    /// Nearly all of the log is copied; the rest is the writer's.
    copied: Arc<AtomicBool>,
    database: &'static File,
    copying: AbortHandle,
    /// None where it cannot be lengthened.
    room: Option<Room>,
}

impl Checkpoints {
    /// None for a database that looks after its own log.
    ///
    /// # Errors
    /// The database's file cannot be opened.
    pub(super) fn start(database: &Database) -> std::io::Result<Option<Self>> {
        let Some(path) = &database.file else { return Ok(None) };
        let (look, copied) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        // Never closed: closing any descriptor of a file drops the locks this process has on it, SQLite's with them.
        let file: &'static File = Box::leak(Box::new(File::open(path)?));
        let copying = keep_copying(database.reader.clone(), file, look.clone(), copied.clone());
        let copying = tokio::spawn(copying).abort_handle();
        let room = Some(Room::of_database(path)?);
        Ok(Some(Self { writer: database.writer.clone(), commits: 0, look, copied, database: file, copying, room }))
    }

    /// Whether what is done after this commit may take long.
    pub(super) fn is_due(&self) -> bool {
        self.copied.load(Ordering::Acquire) || self.room.as_ref().is_some_and(Room::is_used_up)
    }

    /// Called after each commit, when no transaction is open.
    pub(super) async fn committed(&mut self) {
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(COMMITS_PER_LOOK) {
            self.look.notify_one();
        }
        if self.copied.swap(false, Ordering::AcqRel)
            && let Err(error) = begin_anew(&self.writer, self.database).await
        {
            tracing::warn!(%error, "the write-ahead log could not begin anew");
        }
        if let Some(room) = self.room.take() {
            self.room = room.after_commit(&self.writer).await;
        }
    }

    /// Copies everything and leaves an empty file, for whoever comes next.
    pub(super) async fn finish(self) {
        if let Err(error) = self.writer.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await {
            tracing::warn!(%error, "the write-ahead log could not be truncated");
        }
    }
}

/// Room at the end of the log's file, all zeros: whoever reads the log ends where no frame is.
///
/// Only who holds the one connection that writes is sure that nobody else writes there: what is overwritten with zeros is
/// a database that is damaged.
struct Room {
    log: Arc<File>,
    /// As it was left; when it is longer, the writer has come to its end.
    length: u64,
}

impl Room {
    fn of_database(path: &Path) -> std::io::Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        // It is there: whoever writes over a connection has opened it.
        let log = File::options().read(true).write(true).create(true).truncate(false).open(log)?;
        Ok(Self { log: Arc::new(log), length: 0 })
    }

    fn is_used_up(&self) -> bool {
        self.log.metadata().is_ok_and(|now| (self.length + 1..LENGTH_MAX).contains(&now.len()))
    }

    /// Makes room where there is none left. None: the disk has no more of it.
    async fn after_commit(self, writer: &DatabaseConnection) -> Option<Self> {
        if !self.is_used_up() {
            return Some(self);
        }
        // Held until the last zero is written, also by whoever stops waiting for it.
        let held = writer.get_sqlite_connection_pool().acquire().await.ok()?;
        let length = self.log.metadata().ok()?.len();
        let added = (length / 2).clamp(ADDED_BYTES_MIN, ADDED_BYTES_MAX);
        let log = self.log.clone();
        let adding = tokio::task::spawn_blocking(move || {
            let zeros = [0; PIECE_BYTES as usize];
            let mut pieces = (length..length + added).step_by(PIECE_BYTES as usize);
            // Given back where the disk is full, for those who need it.
            let added = pieces.try_for_each(|at| log.write_all_at(&zeros, at));
            let added = added.or_else(|error| log.set_len(length).and(Err(error)));
            drop(held);
            added?;
            Ok::<_, std::io::Error>(log.metadata()?.len())
        });
        match adding.await {
            Ok(Ok(length)) => Some(Self { length, ..self }),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the write-ahead log could not be lengthened");
                None
            }
            Err(_) => None,
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.copying.abort();
    }
}

async fn keep_copying(reader: DatabaseConnection, file: &'static File, look: Arc<Notify>, copied: Arc<AtomicBool>) {
    loop {
        look.notified().await;
        if copied.load(Ordering::Acquire) {
            continue;
        }
        match copy(&reader, file, PAGES_MIN).await {
            Ok(done) => copied.store(done, Ordering::Release),
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be copied"),
        }
    }
}

/// Copies a log of at least `pages_min` pages; false: it is shorter.
async fn copy(reader: &DatabaseConnection, file: &'static File, pages_min: i64) -> anyhow::Result<bool> {
    if pages(reader, "NOOP").await? < pages_min {
        return Ok(false);
    }
    // The second round has only what came during the first, which leaves the writer next to nothing.
    for _ in 0..2 {
        pages(reader, "PASSIVE").await?;
        // SQLite itself syncs only once all is copied, which would be when the writer does the rest.
        tokio::task::spawn_blocking(|| file.sync_data()).await??;
    }
    Ok(true)
}

/// Checkpoints as `mode` says; the answer is the length of the log in pages.
async fn pages(conn: &DatabaseConnection, mode: &str) -> anyhow::Result<i64> {
    let row = Rows(conn).one(&format!("PRAGMA wal_checkpoint({mode})"), vec![]).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get_by_index(1))?)
}

/// Copies the rest and lets the next transaction write from the log's beginning. Somebody who reads an old state for
/// long puts it off; the writer does not wait for them. The file has grown, and may be worth a larger cache.
async fn begin_anew(writer: &DatabaseConnection, file: &File) -> anyhow::Result<()> {
    let patience: i64 = Rows(writer).scalar("PRAGMA busy_timeout", vec![]).await?.unwrap_or(0);
    let cache = writer_cache(file.metadata()?.len());
    let sql = format!(
        "PRAGMA busy_timeout = 20; PRAGMA wal_checkpoint(RESTART); PRAGMA busy_timeout = {patience};
         PRAGMA cache_size = {cache}"
    );
    writer.execute_unprepared(&sql).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use sea_orm::TransactionTrait;

    use super::*;
    use crate::store::open;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_begins_anew_without_growing_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carillon.db");
        let database = open(&path).await.unwrap();
        let file: &'static File = Box::leak(Box::new(File::open(&path).unwrap()));
        let write = async |n: i64| {
            let sql = format!("INSERT INTO settings (name, value) VALUES ('{n}', '{}')", "x".repeat(9_000));
            database.writer.execute_unprepared(&sql).await.unwrap();
        };
        for n in 0..20 {
            write(n).await;
        }
        let before = pages(&database.reader, "NOOP").await.unwrap();
        assert!(!copy(&database.reader, file, before + 1).await.unwrap(), "too short to be worth it");
        assert!(copy(&database.reader, file, before).await.unwrap());
        write(20).await;
        let length = std::fs::metadata(folder.path().join("carillon.db-wal")).unwrap().len();
        begin_anew(&database.writer, file).await.unwrap();
        write(21).await;
        assert!(pages(&database.reader, "NOOP").await.unwrap() < before);
        assert_eq!(std::fs::metadata(folder.path().join("carillon.db-wal")).unwrap().len(), length);
        let stored: i64 = Rows(&database.reader)
            .scalar("SELECT count(*) FROM settings WHERE value LIKE 'x%'", vec![])
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stored, 22);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn room_is_never_made_over_what_somebody_else_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carillon.db");
        let database = open(&path).await.unwrap();
        let room = Room::of_database(&path).unwrap();
        let length = || std::fs::metadata(folder.path().join("carillon.db-wal")).unwrap().len();
        let before = length();
        let writing = database.writer.begin().await.unwrap();
        let mut making = std::pin::pin!(room.after_commit(&database.writer));
        tokio::time::timeout(Duration::from_millis(100), &mut making).await.map(drop).unwrap_err();
        assert_eq!(length(), before, "the log's end is theirs as long as they write");
        writing.commit().await.unwrap();
        assert!(making.await.unwrap().length > before, "then there is room");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_writer_does_not_wait_for_somebody_who_reads_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("carillon.db");
        let database = open(&path).await.unwrap();
        let file = &File::open(&path).unwrap();
        let reading = database.reader.begin().await.unwrap();
        let count = async || Rows(&reading).scalar::<i64>("SELECT count(*) FROM settings", vec![]).await.unwrap();
        let before = count().await;
        database.writer.execute_unprepared("INSERT INTO settings (name, value) VALUES ('a', 'b')").await.unwrap();
        begin_anew(&database.writer, file).await.unwrap();
        database.writer.execute_unprepared("INSERT INTO settings (name, value) VALUES ('c', 'd')").await.unwrap();
        assert_eq!(count().await, before, "they still see what they saw");
        let patience: i64 = Rows(&database.writer).scalar("PRAGMA busy_timeout", vec![]).await.unwrap().unwrap();
        assert_eq!(patience, 10_000, "other waits are as patient as before");
        reading.rollback().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_cache_of_whoever_writes_grows_when_the_file_has_passed_the_lock_page() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder.path().join("carillon.db")).await.unwrap();
        let cache = async || Rows(&database.writer).scalar::<i64>("PRAGMA cache_size", vec![]).await.unwrap();
        assert_eq!(cache().await, Some(-16_000));
        let large = File::create(folder.path().join("large")).unwrap();
        large.set_len(1 << 30).unwrap();
        begin_anew(&database.writer, &large).await.unwrap();
        assert_eq!(cache().await, Some(-64_000));
    }
}
