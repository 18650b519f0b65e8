//! Is this the database we knew? A restored backup knows nothing of what was sent since it was made, and would send it
//! again: it is recognised here, and marketing waits until a person has confirmed it.
//!
//! Each data folder has a file `generation`: an id and how often the service was started there and went on for a minute.
//! The database has the same number. A database that knows less than the folder was put back; so was one that says of
//! itself that it is a backup, and a PostgreSQL database that was made anew. A folder without the file is a new process
//! where many share a database; where a file is the database, somebody has copied it. The sum of all numbers stands in
//! Redis too, where there is one, so that a machine put back as a whole is noticed as well.
//! An outage, however long, changes none of these.
//!
//! `carillon restore` says itself in what it puts back that marketing waits; whoever sends looks for each of these marks
//! before every batch, so that a database put back under it is not sent from until the minute is over.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use anyhow::Context;
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caps::redis::Server;
use crate::eventlog::{EventLog, Queue, logged};
use crate::ids::{Timestamp, WorkspaceId};
use crate::store::boots::{Counted, IDENTITY, MADE_AT};
use crate::store::controls::{set_setting, setting, unset_setting};
use crate::store::dispatch::{RESTORE_UNCONFIRMED, held_back};
use crate::store::entries::Logged;
use crate::store::shards::ShardSet;
use crate::store::{Database, Store, boots};
use crate::worker::dispatcher::requeue_held;

/// The file beside the database.
pub const FILE: &str = "generation";
/// The setting that tells why marketing waits.
const RECOGNISED: &str = "restore_recognised";

/// Why marketing waits, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecognisedRestore)]
pub struct Recognised {
    pub at: Timestamp,
    pub because: String,
    /// When the backup was made, where it says so.
    pub backup_at: Option<Timestamp>,
}

/// What a person looks at before confirming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RestoreState)]
pub struct Restored {
    pub is_held: bool,
    pub recognised: Option<Recognised>,
    /// Marketing that would go as soon as it is confirmed, if the guard still permits it.
    pub waiting: i64,
    /// When the oldest of it was decided.
    pub oldest: Option<Timestamp>,
    /// The newest event the database knows.
    pub newest_event: Option<Timestamp>,
}

/// Where one process stands with its database.
pub struct Boots {
    folder: PathBuf,
    node: String,
    /// What the database surely knows.
    counted: Counted,
    /// What it may know: a commit whose answer was lost.
    tried: AtomicI64,
    shared: Option<(Server, String)>,
    /// The Redis was not there to be asked.
    is_unasked: AtomicBool,
}

impl Boots {
    /// Recognises a restored database, and counts this start.
    ///
    /// # Errors
    /// The folder or the database cannot be read or written.
    pub async fn begin(
        database: &Database,
        log: &EventLog,
        folder: &Path,
        shared: Option<(Server, String)>,
    ) -> anyhow::Result<Self> {
        let read = read_file(&folder.join(FILE))?;
        let because = evidence(database, read.as_ref()).await?;
        let (node, beside) = match read {
            Some(read) => read,
            None => {
                let node = uuid::Uuid::new_v4().simple().to_string();
                // Before the database knows of it: after a crash in between it would seem to be lost.
                if because.is_none() {
                    write_file(folder, &node, 0)?;
                }
                (node, 0)
            }
        };
        let is_unasked = AtomicBool::new(shared.is_some());
        let known = boots::generation(&database.reader, &node).await?.unwrap_or(0).max(beside) + 1;
        let (counted, tried) = (Counted::new(node.clone(), known), AtomicI64::new(known));
        let boots = Self { folder: folder.to_owned(), node, counted, tried, shared, is_unasked };
        boots.first(log, because, known).await?;
        write_file(&boots.folder, &boots.node, known)?;
        boots.ask_redis(log, &Store::new(database.reader.clone())).await?;
        if let Some(recognised) = recognised(&database.reader).await? {
            warn(&recognised);
        }
        Ok(boots)
    }

    async fn first(&self, log: &EventLog, because: Option<String>, generation: i64) -> anyhow::Result<()> {
        let (now, node) = (log.clock().now(), self.node.clone());
        log.writer()
            .change_in(Queue::Effects, ShardSet::NONE, move |tx, _| {
                Box::pin(async move {
                    recognise(tx, now, because).await?;
                    Ok(boots::set(tx, &node, generation).await?)
                })
            })
            .await
    }

    /// Counts that the process goes on, so that a database put back under it, or beside its folder, is noticed. Asked
    /// every minute.
    ///
    /// # Errors
    /// The folder or the database cannot be written.
    pub async fn go_on(&self, log: &EventLog, store: &Store) -> anyhow::Result<()> {
        let next = self.tried.fetch_add(1, Ordering::AcqRel) + 1;
        let (now, counted) = (log.clock().now(), self.counted.clone());
        let held = log
            .writer()
            .change_in(Queue::Effects, ShardSet::NONE, move |tx, _| {
                Box::pin(async move {
                    let (node, known) = counted.known();
                    let is_counted = boots::count(tx, node, known, next).await?;
                    let because = match boots::mark(tx).await? {
                        None if is_counted => return Ok(false),
                        None => "the database went back in time while the service ran",
                        Some(mark) => mark,
                    };
                    recognise(tx, now, Some(because.to_owned())).await?;
                    boots::set(tx, node, next).await?;
                    Ok(true)
                })
            })
            .await?;
        self.counted.is_now(next);
        write_file(&self.folder, &self.node, next)?;
        if held && let Some(recognised) = recognised(store.reader()).await? {
            warn(&recognised);
        }
        self.ask_redis(log, store).await
    }

    /// What whoever sends compares the database with.
    pub fn counted(&self) -> Counted {
        self.counted.clone()
    }

    /// Whether nobody could ask the Redis yet: what needs slots of it must wait.
    pub fn is_unasked(&self) -> bool {
        self.is_unasked.load(Ordering::Acquire)
    }

    /// Compares with what Redis knows, and tells it what the database does.
    ///
    /// # Errors
    /// The database cannot be read or written; a Redis that is away is asked again.
    pub async fn ask_redis(&self, log: &EventLog, store: &Store) -> anyhow::Result<()> {
        let Some((server, installation)) = &self.shared else { return Ok(()) };
        let key = format!("carillon:{installation}:generation");
        // Redis first: it is only told what the database has committed.
        let Ok(there) = server.number(&key).await else { return Ok(()) };
        let here = boots::generations(store.reader()).await?;
        if there.is_some_and(|there| there > here) && boots::has_entries(store.reader()).await? {
            let because = "Redis has counted more starts and minutes than this database".to_owned();
            hold_now(log, because).await?;
            if let Some(recognised) = recognised(store.reader()).await? {
                warn(&recognised);
            }
        }
        if server.set_number(&key, here).await.is_ok() {
            self.is_unasked.store(false, Ordering::Release);
        }
        Ok(())
    }
}

/// What says that this database was put back, if anything.
async fn evidence(database: &Database, beside: Option<&(String, i64)>) -> anyhow::Result<Option<String>> {
    let conn = &database.reader;
    if !boots::has_entries(conn).await? {
        return Ok(None);
    }
    if let Some(mark) = boots::mark(conn).await? {
        return Ok(Some(mark.to_owned()));
    }
    match beside {
        Some((node, generation)) => {
            let known = boots::generation(conn, node).await?.unwrap_or(0);
            let behind = format!("the folder has counted {generation} starts and minutes, the database {known}");
            Ok((known < *generation).then_some(behind))
        }
        // Any number of processes may join a database that is shared.
        None if database.is_postgres() || boots::generations(conn).await? == 0 => Ok(None),
        None => Ok(Some(format!("the database was used before, and no file `{FILE}` stands beside it"))),
    }
}

/// Says in what was just put back that marketing waits, and of when it is: whoever comes, or never left, finds it there.
/// A database in which nothing was ever logged has nothing to send twice.
///
/// # Errors
/// The database refuses.
pub async fn put_back(conn: &DatabaseConnection, made_at: Timestamp, now: Timestamp) -> anyhow::Result<()> {
    let tx = conn.begin().await?;
    set_setting(&tx, MADE_AT, &made_at.millis().to_string()).await?;
    if boots::has_entries(&tx).await? {
        hold(&tx, now, "a backup was restored".to_owned()).await?;
    }
    Ok(tx.commit().await?)
}

/// Holds marketing if there is a reason, in place of what marks the database as a copy.
async fn recognise<C: ConnectionTrait>(tx: &C, now: Timestamp, because: Option<String>) -> anyhow::Result<()> {
    if let Some(because) = because {
        hold(tx, now, because).await?;
    }
    unset_setting(tx, MADE_AT).await?;
    if let Some(identity) = boots::identity(tx).await? {
        set_setting(tx, IDENTITY, &identity).await?;
    }
    Ok(())
}

/// From now on marketing waits for a person. One that waits already keeps its reason.
///
/// # Errors
/// The database refuses.
pub async fn hold<C: ConnectionTrait>(tx: &C, now: Timestamp, because: String) -> anyhow::Result<()> {
    if recognised(tx).await?.is_some() {
        return Ok(());
    }
    let backup_at = setting(tx, MADE_AT).await?.and_then(|at| at.parse().ok()).map(Timestamp::from_millis);
    let recognised = Recognised { at: now, because, backup_at };
    set_setting(tx, RECOGNISED, &serde_json::to_string(&recognised)?).await?;
    set_setting(tx, RESTORE_UNCONFIRMED, "true").await?;
    Ok(())
}

/// `serve --held`: a person says that this folder is a copy.
///
/// # Errors
/// The database cannot be written.
pub async fn hold_by_hand(log: &EventLog) -> anyhow::Result<()> {
    hold_now(log, "it was started with --held".to_owned()).await
}

async fn hold_now(log: &EventLog, because: String) -> anyhow::Result<()> {
    let now = log.clock().now();
    log.writer()
        .change_in(Queue::Effects, ShardSet::NONE, move |tx, _| Box::pin(async move { hold(tx, now, because).await }))
        .await
}

/// Why marketing waits, if it does.
///
/// # Errors
/// The database cannot be read.
pub async fn recognised<C: ConnectionTrait>(conn: &C) -> anyhow::Result<Option<Recognised>> {
    if setting(conn, RESTORE_UNCONFIRMED).await?.is_none_or(|value| value != "true") {
        return Ok(None);
    }
    let stored = setting(conn, RECOGNISED).await?;
    let unknown = || Recognised { at: Timestamp::default(), because: "unknown".to_owned(), backup_at: None };
    Ok(Some(stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(unknown)))
}

fn warn(recognised: &Recognised) {
    tracing::warn!(
        because = %recognised.because,
        "this looks like a restored backup: marketing waits, everything else goes on. `carillon confirm-restore --look` \
         tells what would go out, `carillon confirm-restore` sends it"
    );
}

/// What confirming would do.
///
/// # Errors
/// The database cannot be read.
pub async fn look(store: &Store, id: WorkspaceId, now: Timestamp) -> anyhow::Result<Restored> {
    let recognised = recognised(store.reader()).await?;
    let (waiting, oldest) = held_back(store.reader(), id, now).await?;
    let newest_event = crate::store::entries::newest_event(store.reader()).await?.map(|(_, at)| at);
    Ok(Restored { is_held: recognised.is_some(), recognised, waiting, oldest, newest_event })
}

/// A person has seen to it that nothing is sent twice: marketing goes on. The answer is how many messages are looked at
/// again; none where nothing was held. The log remembers who confirmed what.
///
/// # Errors
/// The database cannot be read or written.
pub async fn confirm(log: &EventLog, id: WorkspaceId, by: &str) -> anyhow::Result<Option<usize>> {
    let (now, by) = (log.clock().now(), by.to_owned());
    let confirmed = log
        .writer()
        .change(Queue::Effects, move |tx, appender| {
            Box::pin(async move {
                let Some(recognised) = recognised(tx).await? else { return Ok(false) };
                set_setting(tx, RESTORE_UNCONFIRMED, "false").await?;
                // Of a database put back under a process that goes on.
                unset_setting(tx, MADE_AT).await?;
                let detail = serde_json::to_string(&recognised).context("what was recognised")?;
                let act = Logged::Administered { act: "restore_confirmed".to_owned(), by, detail };
                appender.append(tx, vec![vec![logged(id, None, now, act)]]).await?;
                Ok(true)
            })
        })
        .await?;
    if !confirmed {
        return Ok(None);
    }
    Ok(Some(requeue_held(log, id, "restore_unconfirmed", now).await?))
}

/// The folder's id and generation; none where there is no such file, or nobody can read it.
fn read_file(path: &Path) -> anyhow::Result<Option<(String, i64)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let parse = || {
        let (node, generation) = text.trim_end().split_once(' ')?;
        Some((node.to_owned(), generation.parse().ok()?))
    };
    Ok(parse())
}

/// All of it is there or what was there before, also after a power loss.
fn write_file(folder: &Path, node: &str, generation: i64) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, format!("{node} {generation}\n").as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(folder.join(FILE))?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("{} cannot be written", folder.join(FILE).display()))
}
