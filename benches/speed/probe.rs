//! The yardstick: the rows that Carillon writes, written to the same schema by prepared statements with nothing in
//! between: no parsing of definitions, no decisions, no bulk statements, the same commits.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use carillon::clock::Clock;
use carillon::event::Event;
use carillon::ids::Position;
use carillon::store::event_ids::range_of;
use rusqlite::{Connection, OptionalExtension, params};

use crate::queued::Queued;

const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One connection with the settings of Carillon's own.
pub struct Probe {
    connection: Connection,
    wal: std::path::PathBuf,
    head: i64,
    next_profile: i64,
    /// Who is known by which id; what Carillon keeps in memory, the probe keeps too.
    known: BTreeMap<String, i64>,
    commits: u32,
}

/// An event as stored, for the probe's second half.
pub struct Stored {
    pub position: i64,
    pub profile: i64,
    pub at: i64,
    /// A campaign starts for it.
    pub matched: bool,
}

impl Probe {
    /// # Errors
    /// The database cannot be opened.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        for (name, value) in [
            ("journal_mode", "WAL"),
            ("synchronous", "FULL"),
            ("secure_delete", "ON"),
            ("wal_autocheckpoint", "0"),
            ("temp_store", "MEMORY"),
            ("cache_size", "-64000"),
        ] {
            connection.pragma_update(None, name, value)?;
        }
        connection.set_prepared_statement_cache_capacity(64);
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let head = number("SELECT coalesce(max(position), 0) FROM entries")?;
        let next_profile = number("SELECT coalesce(max(profile), 0) + 1 FROM identifiers")?;
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Ok(Self { connection, wal: wal.into(), head, next_profile, known: BTreeMap::new(), commits: 0 })
    }

    /// One commit: ids, identifiers and entries.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn append<'e>(&mut self, events: impl Iterator<Item = &'e Event>, now: i64) -> anyhow::Result<Vec<Stored>> {
        let mut stored = Vec::new();
        let day = range_of(now / 86_400_000);
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for event in events {
            let new = self
                .connection
                .prepare_cached("INSERT OR IGNORE INTO event_ids (day, id, position) VALUES (?, ?, ?)")?
                .execute(params![day, event.id.as_bytes(), self.head + 1])?;
            if new == 0 {
                continue;
            }
            let profile = self.profile_of(event)?;
            self.head += 1;
            let meta = format!(
                "{}{}{}{}{:024}",
                event.message_id,
                event.source,
                event.correlation_id,
                event.user_id.as_deref().unwrap_or_default(),
                0
            );
            self.connection
                .prepare_cached(
                    "INSERT INTO entries (position, workspace, profile, kind, name, event_id, at, now, meta, body)
                     VALUES (?, 1, ?, 'track', ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    self.head,
                    profile,
                    event.name,
                    event.id.as_bytes(),
                    event.at.millis(),
                    now,
                    meta.as_bytes(),
                    event.body.text()
                ])?;
            stored.push(Stored {
                position: self.head,
                profile,
                at: event.at.millis(),
                matched: crate::shop::is_matched(event),
            });
        }
        self.commit()?;
        Ok(stored)
    }

    fn profile_of(&mut self, event: &Event) -> anyhow::Result<i64> {
        let user = event.user_id.as_deref().context("an event about nobody")?;
        if let Some(profile) = self.known.get(user) {
            return Ok(*profile);
        }
        let found = self
            .connection
            .prepare_cached("SELECT profile FROM identifiers WHERE workspace = 1 AND kind = 0 AND value = ?")?
            .query_row([user], |row| row.get(0))
            .optional()?;
        let profile = match found {
            Some(profile) => profile,
            None => {
                let profile = self.next_profile;
                self.next_profile += 1;
                self.connection
                    .prepare_cached("INSERT INTO identifiers (workspace, kind, value, profile) VALUES (1, 0, ?, ?)")?
                    .execute(params![user, profile])?;
                profile
            }
        };
        if self.known.len() >= 200_000 {
            self.known.clear();
        }
        self.known.insert(user.to_owned(), profile);
        Ok(profile)
    }

    /// One commit: each person's row read and written with one more thing in its history, reasons, enrollment and
    /// message for the events that match, counters and cursor.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub fn process(&mut self, events: &[Stored]) -> anyhow::Result<()> {
        let mut people: BTreeMap<i64, Vec<&Stored>> = BTreeMap::new();
        for event in events {
            people.entry(event.profile).or_default().push(event);
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for (profile, done) in people {
            self.update_person(profile, &done)?;
        }
        let mut created = 0;
        for event in events.iter().filter(|event| event.matched) {
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO reasons (position, workspace, profile, packed) VALUES (?, 1, ?, ?)",
                )?
                .execute(params![event.position, event.profile, [b'x'; 250]])?;
            self.create_message(event)?;
            created += 1;
        }
        for (name, by) in [("events_processed", events.len() as i64), ("messages_created", created)] {
            self.connection
                .prepare_cached(
                    "INSERT INTO counters (workspace, name, value) VALUES (1, ?, ?)
                     ON CONFLICT (workspace, name) DO UPDATE SET value = value + excluded.value",
                )?
                .execute(params![name, by])?;
        }
        let last = events.last().map_or(self.head, |event| event.position);
        self.connection
            .prepare_cached(
                "INSERT INTO cursors (name, position) VALUES ('processed', ?)
                 ON CONFLICT (name) DO UPDATE SET position = excluded.position",
            )?
            .execute([last])?;
        self.commit()
    }

    fn update_person(&mut self, profile: i64, done: &[&Stored]) -> anyhow::Result<()> {
        let last = done.iter().map(|event| event.at).max().unwrap_or_default();
        let row = self
            .connection
            .prepare_cached(
                "SELECT version, user_id, traits, consent, history FROM profiles WHERE workspace = 1 AND id = ?",
            )?
            .query_row([profile], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, String>(3)?,
                    row.get::<_, Vec<u8>>(4)?,
                ))
            })
            .optional()?;
        let (version, user_id, traits, consent, mut history) = row
            .unwrap_or_else(|| (0, Some(format!("customer-{profile}")), "{}".to_owned(), "{}".to_owned(), Vec::new()));
        history.resize(history.len() + 11 * done.len(), 0);
        self.connection
            .prepare_cached(
                "INSERT INTO profiles (id, workspace, version, wake_at, user_id, traits, consent, history, created_at, last_seen_at)
                 VALUES (?, 1, ?, NULL, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET version = excluded.version, user_id = excluded.user_id,
                 traits = excluded.traits, consent = excluded.consent, history = excluded.history,
                 last_seen_at = excluded.last_seen_at WHERE profiles.version = excluded.version - 1",
            )?
            .execute(params![profile, version + 1, user_id, traits, consent, history, last, last])?;
        Ok(())
    }

    fn create_message(&mut self, event: &Stored) -> anyhow::Result<()> {
        let id = carillon::ids::MessageId::derive(&[&event.position.to_le_bytes(), b"probe"]);
        let state = format!(r#"{{"entry_event_at":{},"state":{{"state":"sending","message":"{id}"}}}}"#, event.at);
        self.connection
            .prepare_cached(
                "INSERT INTO enrollments (id, workspace, profile, campaign, version, entry_key, entered_at, entry, event, ended_at, state)
                 VALUES (?, 1, ?, 'campaign_000', 1, '', ?, ?, ?, 1, ?)",
            )?
            .execute(params![id.as_bytes(), event.profile, event.at, event.position, event.position, state])?;
        self.connection
            .prepare_cached(
                "INSERT INTO messages (id, workspace, profile, enrollment, campaign, campaign_version, channel, template,
                 purpose, priority, rules, created_at, expires_at, cause, entry, event, status, state, due_at, attempts)
                 VALUES (?, 1, ?, ?, 'campaign_000', 1, 'email', 'cart_reminder', 'transactional', 50, ?, ?, ?, ?, ?, ?,
                 'queued', ?, ?, 0)",
            )?
            .execute(params![
                id.as_bytes(),
                event.profile,
                id.as_bytes(),
                r#"{"caps":{"obey":false,"count":false,"when_capped":"drop"},"on_unknown_send":"retry_once"}"#,
                event.at,
                event.at + 86_400_000,
                event.position,
                event.position,
                event.position,
                state,
                event.at
            ])?;
        self.connection
            .prepare_cached("INSERT INTO message_states (message, step, at, state) VALUES (?, 1, ?, ?)")?
            .execute(params![id.as_bytes(), event.at, state])?;
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.connection.execute_batch("COMMIT")?;
        self.commits += 1;
        if self.commits.is_multiple_of(64) && std::fs::metadata(&self.wal).is_ok_and(|file| file.len() > WAL_BYTES_MAX)
        {
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    }
}

/// The probe behind the door: one commit for all that waits.
///
/// # Errors
/// The database cannot be opened.
pub fn log(path: &Path, clock: Clock) -> anyhow::Result<Queued> {
    let mut probe = Probe::open(path)?;
    Ok(Queued::start(move |events| {
        probe.append(events.iter().copied(), clock.now().millis())?;
        Ok(Position(probe.head))
    }))
}
