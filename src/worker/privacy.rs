//! A person's right to what is stored of them, and to have it erased.
//!
//! Erasing is one transaction, after which nobody is known by the person's ids and nothing is sent to them; then the log
//! is scrubbed in slices, which goes on after a restart. What stays is numbers: that there was a profile, where its
//! entries stand and of what class they are, what became of its messages; and on the suppression list a keyed hash of
//! each address that asked for no mail. A file in the data folder remembers the numbers, so that a backup from before is
//! erased again as soon as a service starts on it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde::{Deserialize, Serialize};

use crate::caps::History;
use crate::channel::sandbox::Sandbox;
use crate::decision::Person;
use crate::eventlog::{Appender, EventLog, Queue, logged};
use crate::guard::{CapVersion, Change, Subject, address_of};
use crate::ids::{MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Channel, Status};
use crate::store::entries::Logged;
use crate::store::personal::{Erasure, note_scrubbed, unfinished};
use crate::store::shards::ShardSet;
use crate::store::suppressions::{keep_erasure_key, subject};
use crate::store::{Database, Store, Workspace, workspace};
use crate::worker::dispatcher::CapStores;

/// The file beside the database, a line for each erasure.
pub const FILE: &str = "erased";
/// Positions of the log that are looked through at once.
const LOOKED_THROUGH: i64 = 20_000;
/// Entries that are emptied in one transaction: nobody waits for longer than some milliseconds.
const SLICE: usize = 100;
const ANSWERS_AT_ONCE: u32 = 100;
/// How long an erasure waits for what is on its way.
const TRIES: u32 = 100;
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// What erasing needs to reach.
#[derive(Clone)]
pub struct Privacy {
    pub log: EventLog,
    pub store: Store,
    pub database: Database,
    pub sandbox: Sandbox,
    pub caps: CapStores,
    /// The data folder.
    pub folder: PathBuf,
    /// One at a time.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    workspace: i64,
    profile: i64,
    /// Another person may have the number in another life of the database.
    created_at: Timestamp,
    erased_at: Timestamp,
}

/// What the transaction found.
struct Begun {
    erasure: Erasure,
    messages: Vec<MessageId>,
    subjects: Vec<String>,
}

impl Privacy {
    /// Erases a person; one who was erased, and of whom nothing is there, is not erased again. Returns when nothing of them is left.
    ///
    /// # Errors
    /// Something of the person is on its way and does not arrive, or the database or the folder cannot be written. What
    /// was begun goes on with the next start, or the next try.
    pub async fn erase(&self, id: WorkspaceId, profile: ProfileId, by: &str, reason: &str) -> anyhow::Result<Erasure> {
        let _turn = self.turn.lock().await;
        let known = self.store.workspace(id).erasure(profile).await?;
        let begun = match known {
            Some(known) if known.finished_at.is_some() => match self.is_back(id, profile).await? {
                false => return Ok(known),
                true => self.begin(id, profile, by, reason).await?,
            },
            Some(erasure) => Begun { erasure, messages: Vec::new(), subjects: Vec::new() },
            None => self.begin(id, profile, by, reason).await?,
        };
        self.carry_out(begun).await
    }

    /// Whether something of somebody erased is there again: the release before let events that waited for the erasure go
    /// to the number that nobody has any more.
    async fn is_back(&self, id: WorkspaceId, profile: ProfileId) -> anyhow::Result<bool> {
        let person = self.store.workspace(id).person(profile).await?;
        Ok(person.is_some_and(|Person { profile, .. }| {
            profile.user_id.is_some() || !profile.traits.is_empty() || profile.history.iter().next().is_some()
        }))
    }

    /// Goes on with what was begun before a stop, and erases again whom an older database has brought back.
    ///
    /// # Errors
    /// As for `erase`.
    pub async fn resume(&self) -> anyhow::Result<()> {
        for erasure in unfinished(self.store.reader()).await? {
            let _turn = self.turn.lock().await;
            self.carry_out(Begun { erasure, messages: Vec::new(), subjects: Vec::new() }).await?;
        }
        for line in self.lines()? {
            let (id, profile) = (WorkspaceId(line.workspace), ProfileId(line.profile));
            let store = self.store.workspace(id);
            let person = store.person(profile).await?;
            let is_back = person.is_some_and(|person| person.profile.created_at == line.created_at)
                && store.erasure(profile).await?.is_none();
            if is_back {
                let reason = format!("was erased at {}, and a backup from before was restored", line.erased_at);
                self.erase(id, profile, "carillon", &reason).await?;
                tracing::warn!(
                    profile = profile.0,
                    "somebody who was erased came back with a backup, and is erased again"
                );
            }
        }
        Ok(())
    }

    async fn begin(&self, id: WorkspaceId, profile: ProfileId, by: &str, reason: &str) -> anyhow::Result<Begun> {
        let now = self.log.clock().now();
        let mut last = None;
        for _ in 0..TRIES {
            let (by, reason) = (by.to_owned(), reason.to_owned());
            let begun = self
                .log
                .writer()
                .change(Queue::Effects, move |tx, appender| {
                    Box::pin(async move { begin(tx, appender, id, profile, now, by, reason).await })
                })
                .await;
            match begun {
                Ok(Some(begun)) => return Ok(begun),
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        match last {
            Some(error) => Err(error),
            None => bail!(
                "events of this person wait to be decided, or a message is with its provider: start `carillon serve` if \
                 it does not run, and try again"
            ),
        }
    }

    async fn carry_out(&self, begun: Begun) -> anyhow::Result<Erasure> {
        let Begun { mut erasure, messages, subjects } = begun;
        let (id, profile) = (erasure.workspace, erasure.profile);
        self.remember(&erasure)?;
        let people = self.store.workspace(id).profiles_of(profile).await?;
        let mut letters: Vec<MessageId> =
            self.store.workspace(id).letters_of(&people).await?.into_iter().map(|(message, ..)| message).collect();
        letters.extend(messages);
        self.sandbox.forget(letters).await.context("the sandbox's inbox")?;
        self.forget_slots(id, &people, subjects).await;
        self.empty_answers(id).await?;
        self.empty_rejects(id).await?;
        match erasure.entries.take() {
            Some(found) => self.scrub(&erasure, found).await?,
            // Begun by an older version, or a page of the history is damaged.
            None => {
                while erasure.done < erasure.until {
                    let to = Position(erasure.until.0.min(erasure.done.0 + LOOKED_THROUGH));
                    let found = self.store.workspace(id).positions_of(&people, erasure.done, to).await?;
                    self.scrub(&erasure, found).await?;
                    self.note(profile, to, None).await?;
                    erasure.done = to;
                }
            }
        }
        self.drop_old_pages().await?;
        let now = self.log.clock().now();
        self.note(profile, erasure.until, Some(now)).await?;
        self.drop_old_pages().await?;
        Ok(Erasure { finished_at: Some(now), ..erasure })
    }

    /// Empties what requests were answered that were named to be repeated: they may be of the person.
    async fn empty_answers(&self, id: WorkspaceId) -> anyhow::Result<()> {
        // What begins from now on knows nothing of them any more.
        let until = self.log.clock().now();
        loop {
            let writer = self.log.writer();
            let emptying = writer.change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                Box::pin(async move { Ok(workspace(tx, id).empty_answers(until, ANSWERS_AT_ONCE).await?) })
            });
            if emptying.await? < u64::from(ANSWERS_AT_ONCE) {
                return Ok(());
            }
        }
    }

    /// Empties what is said of rows that imports refused: it may quote the person's.
    async fn empty_rejects(&self, id: WorkspaceId) -> anyhow::Result<()> {
        loop {
            let writer = self.log.writer();
            let emptying = writer.change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                Box::pin(async move { Ok(workspace(tx, id).empty_rejects(ANSWERS_AT_ONCE).await?) })
            });
            if emptying.await? < u64::from(ANSWERS_AT_ONCE) {
                return Ok(());
            }
        }
    }

    /// Empties entries, slice by slice, behind what was emptied before.
    async fn scrub(&self, erasure: &Erasure, found: Vec<Position>) -> anyhow::Result<()> {
        let (id, profile) = (erasure.workspace, erasure.profile);
        let rest: Vec<Position> = found.into_iter().filter(|at| *at > erasure.done).collect();
        for slice in rest.chunks(SLICE) {
            let slice = slice.to_vec();
            let writer = self.log.writer();
            writer
                .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                    Box::pin(async move {
                        workspace(tx, id).blank_entries(&slice).await?;
                        let done = slice.last().copied().unwrap_or_default();
                        Ok(note_scrubbed(tx, profile, done, None).await?)
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn note(&self, profile: ProfileId, done: Position, finished_at: Option<Timestamp>) -> anyhow::Result<()> {
        self.log
            .writer()
            .change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
                Box::pin(async move { Ok(note_scrubbed(tx, profile, done, finished_at).await?) })
            })
            .await
    }

    /// What cap stores hold are hashes; they go too. One that is away learns by the versions that its slots are stale.
    async fn forget_slots(&self, id: WorkspaceId, people: &[ProfileId], subjects: Vec<String>) {
        let caps = self.caps.of(id);
        let of_people = people.iter().map(|profile| Subject::Profile(*profile));
        let of_addresses = subjects.iter().filter_map(|name| {
            let (channel, address) = name.split_once(':')?;
            Some(Subject::Address(Channel::parse(channel)?, address.to_owned()))
        });
        for subject in of_people.chain(of_addresses) {
            // A version that no database has: whoever asks reads the record.
            let version = CapVersion::default().next(&Change::United { with: ProfileId(i64::MIN) });
            let since = self.log.clock().now();
            if let Err(error) = caps.reseed(&subject, History { version, since, slots: Vec::new() }).await {
                tracing::debug!(%error, "a cap store was not told of an erasure");
                return;
            }
        }
    }

    /// SQLite's write-ahead log still holds pages as they were: they are copied into the file, and it is emptied.
    async fn drop_old_pages(&self) -> anyhow::Result<()> {
        if self.database.is_postgres() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let said = self.database.writer.query_one_raw(sea_orm::Statement::from_string(
                self.database.writer.get_database_backend(),
                "PRAGMA wal_checkpoint(TRUNCATE)",
            ));
            let is_busy = said.await?.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or(0) != 0;
            if !is_busy {
                return Ok(());
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
        bail!("a reader keeps the write-ahead log from being emptied; the erasure is tried again")
    }

    fn lines(&self) -> anyhow::Result<Vec<Line>> {
        match fs::read_to_string(self.folder.join(FILE)) {
            // A line that a power loss cut is that of an erasure that is unfinished.
            Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("the file {FILE} in the data folder")),
        }
    }

    fn remember(&self, erasure: &Erasure) -> anyhow::Result<()> {
        let line = Line {
            workspace: erasure.workspace.0,
            profile: erasure.profile.0,
            created_at: erasure.created_at,
            erased_at: erasure.erased_at,
        };
        if self.lines()?.contains(&line) {
            return Ok(());
        }
        let path = self.folder.join(FILE);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
        Ok(file.sync_all()?)
    }
}

/// The transaction after which the person is nobody; none: something of theirs is on its way.
async fn begin(
    tx: &DatabaseTransaction,
    appender: &mut Appender,
    id: WorkspaceId,
    profile: ProfileId,
    now: Timestamp,
    by: String,
    reason: String,
) -> anyhow::Result<Option<Begun>> {
    let store = workspace(tx, id);
    let people = store.profiles_of(profile).await?;
    if store.is_in_hand(&people).await? {
        return Ok(None);
    }
    let person = store.person(profile).await?;
    let created_at = person.as_ref().map_or(now, |person| person.profile.created_at);
    let letters = store.letters_of(&people).await?;
    let mut subjects: BTreeSet<String> = letters.iter().filter_map(|(_, _, subject)| subject.clone()).collect();
    if let Some(person) = &person {
        let addresses = Channel::ALL.into_iter().filter_map(|channel| {
            let address = address_of(&person.profile, channel).ok()?;
            Some(subject(channel, address.normalised()))
        });
        subjects.extend(addresses);
    }
    let entries = store.entries_about(&people).await?;
    let key = keep_erasure_key(tx, new_key()).await?;
    store.hash_suppressions(&people, &subjects, &key).await?;
    for name in &subjects {
        forget_address(store, name, &people, profile).await?;
    }
    for (message, status, _) in &letters {
        blank(store, *message, status, now).await?;
    }
    store.blank_people(&people).await?;
    store.forget_marks(&subjects).await?;
    appender.forget_people(tx).await?;
    let detail = serde_json::json!({ "profile": profile.0, "reason": reason }).to_string();
    let act = Logged::Administered { act: "erased".to_owned(), by: by.clone(), detail };
    appender.append(tx, vec![vec![logged(id, None, now, act)]]).await?;
    let (until, done) = (appender.head(), Position(0));
    let erasure = Erasure {
        profile,
        workspace: id,
        created_at,
        erased_at: now,
        by,
        reason,
        until,
        done,
        entries,
        finished_at: None,
    };
    store.add_erasure(&erasure).await?;
    let messages = letters.into_iter().map(|(message, ..)| message).collect();
    Ok(Some(Begun { erasure, messages, subjects: subjects.into_iter().collect() }))
}

async fn blank<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    message: MessageId,
    status: &Status,
    now: Timestamp,
) -> anyhow::Result<()> {
    Ok(store.blank_message(message, &status.blank(now)).await?)
}

/// The slots of an address that others have too are fewer now, so its version moves; of one that was theirs alone
/// nothing stays.
async fn forget_address<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    name: &str,
    people: &[ProfileId],
    profile: ProfileId,
) -> anyhow::Result<()> {
    if !store.is_shared_address(name, people).await? {
        return Ok(store.drop_cap_subject(name).await?);
    }
    crate::worker::dispatcher::move_on(store, name, profile).await
}

fn new_key() -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    *blake3::hash(&key).as_bytes()
}
