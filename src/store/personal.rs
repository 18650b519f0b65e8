//! Everything that is stored of one person, to hand it out or to erase it. A person may have been several profiles:
//! those that were joined to theirs are theirs.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::History;
use crate::ids::{MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Reason, Status};
use crate::store::Workspace;
use crate::store::filed::{by_filed, filed_under, is_hashed};
use crate::store::messages::reason_code;
use crate::store::rows::{Error, Rows, Values, decode, encode, marks};
use crate::store::shards::unprocessed;
use crate::store::suppressions::{hashed, parts};

/// One erasure, and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Erasure {
    pub profile: ProfileId,
    #[serde(skip)]
    pub workspace: WorkspaceId,
    /// When the profile was made: tells it from another that has its number in a restored database.
    pub created_at: Timestamp,
    pub erased_at: Timestamp,
    pub by: String,
    pub reason: String,
    #[serde(skip)]
    pub until: Position,
    #[serde(skip)]
    pub done: Position,
    /// What of the log is to be scrubbed, in order; none: whatever is found by looking through all of it.
    #[serde(skip)]
    pub entries: Option<Vec<Position>>,
    /// None: the log is still being scrubbed.
    pub finished_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT profile, workspace, created_at, erased_at, asked_by, reason, until, done, finished_at, entries FROM erasures";

fn read(row: &QueryResult) -> Result<Erasure, Error> {
    Ok(Erasure {
        profile: ProfileId(row.try_get_by_index(0)?),
        workspace: WorkspaceId(row.try_get_by_index(1)?),
        created_at: Timestamp::from_millis(row.try_get_by_index(2)?),
        erased_at: Timestamp::from_millis(row.try_get_by_index(3)?),
        by: row.try_get_by_index(4)?,
        reason: row.try_get_by_index(5)?,
        until: Position(row.try_get_by_index(6)?),
        done: Position(row.try_get_by_index(7)?),
        finished_at: row.try_get_by_index::<Option<i64>>(8)?.map(Timestamp::from_millis),
        entries: row.try_get_by_index::<Option<Vec<u8>>>(9)?.and_then(|packed| postcard::from_bytes(&packed).ok()),
    })
}

/// Erasures whose log is still being scrubbed, whatever their workspace.
pub async fn unfinished<C: ConnectionTrait>(conn: &C) -> Result<Vec<Erasure>, Error> {
    let sql = format!("{SELECT} WHERE finished_at IS NULL ORDER BY profile");
    Rows(conn).all(&sql, vec![]).await?.iter().map(read).collect()
}

/// How far the log is scrubbed, or that it is.
pub async fn note_scrubbed<C: ConnectionTrait>(
    tx: &C,
    profile: ProfileId,
    done: Position,
    finished_at: Option<Timestamp>,
) -> Result<(), Error> {
    let sql = "UPDATE erasures SET done = ?, finished_at = ? WHERE profile = ?";
    Rows(tx).run(sql, vec![done.0.into(), finished_at.map(Timestamp::millis).into(), profile.0.into()]).await?;
    if finished_at.is_some() {
        Rows(tx).run("UPDATE erasures SET entries = NULL WHERE profile = ?", vec![profile.0.into()]).await?;
    }
    Ok(())
}

fn ids(people: &[ProfileId]) -> Values {
    people.iter().map(|profile| profile.0.into()).collect()
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    pub async fn erasure(&self, profile: ProfileId) -> Result<Option<Erasure>, Error> {
        let sql = format!("{SELECT} WHERE workspace = ? AND profile = ?");
        Rows(self.conn).one(&sql, vec![self.id.0.into(), profile.0.into()]).await?.as_ref().map(read).transpose()
    }

    pub async fn add_erasure(&self, one: &Erasure) -> Result<(), Error> {
        let sql = "INSERT INTO erasures (profile, workspace, created_at, erased_at, asked_by, reason, until, done,
                   entries) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT (profile) DO UPDATE SET erased_at = excluded.erased_at, asked_by = excluded.asked_by,
                   reason = excluded.reason, until = excluded.until, done = excluded.done, entries = excluded.entries,
                   finished_at = NULL";
        let values: Values = vec![
            one.profile.0.into(),
            self.id.0.into(),
            one.created_at.millis().into(),
            one.erased_at.millis().into(),
            one.by.clone().into(),
            one.reason.clone().into(),
            one.until.0.into(),
            one.done.0.into(),
            // Numbers into memory: cannot fail.
            one.entries.as_ref().map(|entries| postcard::to_stdvec(entries).unwrap_or_default()).into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    /// The profile and all that were joined to it, itself first.
    pub async fn profiles_of(&self, profile: ProfileId) -> Result<Vec<ProfileId>, Error> {
        let sql = "WITH RECURSIVE family(id) AS (VALUES (CAST(? AS BIGINT))
                   UNION SELECT loser FROM merges JOIN family ON merges.winner = family.id WHERE workspace = ?)
                   SELECT id FROM family";
        let rows = Rows(self.conn).all(sql, vec![profile.0.into(), self.id.0.into()]).await?;
        let mut found = vec![profile];
        for row in &rows {
            let id = ProfileId(row.try_get_by_index(0)?);
            if id != profile {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Whether who this was, or whom they became, is erased.
    pub async fn is_erased(&self, profile: ProfileId) -> Result<bool, Error> {
        let now = self.current_profile(profile).await?;
        let sql = "SELECT 1 FROM erasures WHERE workspace = ? AND profile IN (?, ?)";
        let values = vec![self.id.0.into(), profile.0.into(), now.0.into()];
        Ok(Rows(self.conn).one(sql, values).await?.is_some())
    }

    /// Every id the profile is known by: (is anonymous, id).
    pub async fn all_identifiers_of(&self, profile: ProfileId) -> Result<Vec<(bool, String)>, Error> {
        let sql = "SELECT kind, value FROM identifiers WHERE profile = ? AND workspace = ? ORDER BY kind, value";
        let rows = Rows(self.conn).all(sql, vec![profile.0.into(), self.id.0.into()]).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index::<i64>(0)? == 1, row.try_get_by_index(1)?))).collect()
    }

    /// Erasures, newest first.
    pub async fn erasures(&self, before: Option<(Timestamp, ProfileId)>, limit: u32) -> Result<Vec<Erasure>, Error> {
        let sql = format!(
            "{SELECT} WHERE workspace = ? AND (erased_at, profile) < (?, ?) ORDER BY erased_at DESC, profile DESC LIMIT ?"
        );
        let (at, profile) = before.map_or((i64::MAX, i64::MAX), |(at, profile)| (at.millis(), profile.0));
        let values = vec![self.id.0.into(), at.into(), profile.into(), limit.into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// Whether something of these people is on its way: logged and not decided, or with a provider.
    pub async fn is_in_hand(&self, people: &[ProfileId]) -> Result<bool, Error> {
        let (unprocessed, marks) = (unprocessed(self.conn.get_database_backend(), "entries"), marks(people.len()));
        let sql = format!(
            "SELECT 1 FROM (SELECT profile FROM {unprocessed} AND profile IN ({marks})) AS waiting
             UNION ALL SELECT 1 FROM messages WHERE status = 'sending' AND profile IN ({marks}) LIMIT 1"
        );
        let mut values = ids(people);
        values.extend(ids(people));
        Ok(Rows(self.conn).one(&sql, values).await?.is_some())
    }

    /// Their messages: id, state and the subject of the address it was cleared for.
    pub async fn letters_of(&self, people: &[ProfileId]) -> Result<Vec<(MessageId, Status, Option<String>)>, Error> {
        let sql = format!(
            "SELECT id, state, address_subject, channel, address FROM messages WHERE profile IN ({}) ORDER BY created_at, id",
            marks(people.len())
        );
        let rows = Rows(self.conn).all(&sql, ids(people)).await?;
        rows.iter()
            .map(|row| {
                let (id, state): (Vec<u8>, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
                let state = decode("message", &state)
                    .unwrap_or(Status::Failed { at: Timestamp::default(), reason: Reason::Erased });
                let filed: Option<String> = row.try_get_by_index(2)?;
                let (channel, address): (String, Option<String>) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
                // Of a long one only the message says all of it.
                let whole = address.filter(|_| filed.as_deref().is_some_and(is_hashed));
                Ok((id, state, whole.map(|address| format!("{channel}:{address}")).or(filed)))
            })
            .collect()
    }

    /// Ends a message and takes from it whatever was personal; that it was, and what became of it, stays.
    pub async fn blank_message(&self, id: MessageId, status: &Status) -> Result<(), Error> {
        let key = || sea_orm::Value::from(id.as_bytes().to_vec());
        let sql = "UPDATE messages SET status = ?, state = ?, reason = ?, due_at = NULL, address = NULL,
                   address_subject = NULL, slot_at = NULL, slow_domain = NULL WHERE workspace = ? AND id = ?";
        let values: Values =
            vec![status.name().into(), encode(status).into(), reason_code(status), self.id.0.into(), key()];
        Rows(self.conn).run(sql, values).await?;
        for sql in ["DELETE FROM message_states WHERE message = ?", "DELETE FROM attempts WHERE message = ?"] {
            Rows(self.conn).run(sql, vec![key()]).await?;
        }
        Rows(self.conn)
            .run("DELETE FROM hits WHERE workspace = ? AND message = ?", vec![self.id.0.into(), key()])
            .await?;
        Ok(())
    }

    /// Their rows everywhere but in the log and the messages. The profiles stay as empty rows of a new version: what was
    /// being decided of them meanwhile is decided again, and finds nobody.
    pub async fn blank_people(&self, people: &[ProfileId]) -> Result<(), Error> {
        let marks = marks(people.len());
        let sql = format!("UPDATE parked SET cause = 'erased' WHERE profile IN ({marks})");
        Rows(self.conn).run(&sql, ids(people)).await?;
        let sql = format!(
            "UPDATE profiles SET version = version + 1, user_id = NULL, traits = '{{}}', consent = '{{}}', history = ?,
             segments = '', segments_seen = ?, remembered = '', wake_at = NULL, last_zone = NULL, carts = '', last_seen_at = created_at WHERE id IN ({marks})"
        );
        // Nobody looks at them again, whatever is defined.
        let mut values: Values = vec![History::default().pack().into(), i64::MAX.into()];
        values.extend(ids(people));
        Rows(self.conn).run(&sql, values).await?;
        // After their rows: whoever was filing what they are called has done so by now, and it goes too.
        for table in [
            "history_pages",
            "identifiers",
            "people_terms",
            "address_holders",
            "consents",
            "enrollments",
            "segment_members",
            "inclusions",
            "baselines",
        ] {
            Rows(self.conn).run(&format!("DELETE FROM {table} WHERE profile IN ({marks})"), ids(people)).await?;
        }
        Ok(())
    }

    /// Of what stands on the suppression list for these addresses or people, only a keyed hash stays, and for what.
    pub async fn hash_suppressions(
        &self,
        people: &[ProfileId],
        subjects: &BTreeSet<String>,
        key: &[u8; 32],
    ) -> Result<(), Error> {
        let which = format!(
            "workspace = ? AND (profile IN ({}) OR subject IN ({}))",
            marks(people.len()),
            marks(subjects.len().max(1))
        );
        let mut values: Values = vec![self.id.0.into()];
        values.extend(ids(people));
        values.extend(by_filed(subjects).into_keys().map(sea_orm::Value::from));
        if subjects.is_empty() {
            values.push("".into());
        }
        let sql = format!("SELECT subject, kind, at, channel, removed_at FROM suppressed_addresses WHERE {which}");
        let rows = Rows(self.conn).all(&sql, values.clone()).await?;
        Rows(self.conn).run(&format!("DELETE FROM suppressed_addresses WHERE {which}"), values).await?;
        for row in &rows {
            let (subject, kind, channel): (String, String, String) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(3)?);
            if row.try_get_by_index::<Option<i64>>(4)?.is_some() {
                continue;
            }
            let sql = "INSERT INTO suppressed_addresses (workspace, subject, kind, profile, at, channel, source)
                       VALUES (?, ?, ?, 0, ?, ?, 'kept after an erasure') ON CONFLICT DO NOTHING";
            let kept: Values = vec![
                self.id.0.into(),
                hashed(&channel, parts(&subject).1, key).into(),
                kind.into(),
                row.try_get_by_index::<i64>(2)?.into(),
                channel.into(),
            ];
            Rows(self.conn).run(sql, kept).await?;
        }
        Ok(())
    }

    /// Whether messages of anybody else were cleared for this address.
    pub async fn is_shared_address(&self, subject: &str, people: &[ProfileId]) -> Result<bool, Error> {
        let sql = format!(
            "SELECT 1 FROM messages WHERE +workspace = ? AND address_subject = ? AND profile NOT IN ({}) LIMIT 1",
            marks(people.len())
        );
        let mut values: Values = vec![self.id.0.into(), filed_under(subject).into_owned().into()];
        values.extend(ids(people));
        Ok(Rows(self.conn).one(&sql, values).await?.is_some())
    }

    pub async fn drop_cap_subject(&self, subject: &str) -> Result<(), Error> {
        let sql = "DELETE FROM cap_subjects WHERE workspace = ? AND subject = ?";
        Rows(self.conn).run(sql, vec![self.id.0.into(), filed_under(subject).into_owned().into()]).await?;
        Ok(())
    }

    /// Where the log has something about these people, without looking through it: what their histories list, what was
    /// made of it (timers, messages that ended, events of our own), and what could not be applied. None: a page of a
    /// history cannot be read.
    pub async fn entries_about(&self, people: &[ProfileId]) -> Result<Option<Vec<Position>>, Error> {
        let of = marks(people.len());
        let mut found = BTreeSet::new();
        let sql = format!(
            "SELECT history FROM profiles WHERE id IN ({of})
             UNION ALL SELECT packed FROM history_pages WHERE profile IN ({of})"
        );
        for row in Rows(self.conn).all(&sql, [ids(people), ids(people)].concat()).await? {
            let packed: Vec<u8> = row.try_get_by_index(0)?;
            let Ok(history) = History::unpack(&packed) else { return Ok(None) };
            found.extend(history.iter().map(|past| past.position));
        }
        // The first condition is that of the index, word for word.
        let sql = format!(
            "SELECT position FROM entries WHERE kind IN ('own', 'message_ended', 'timer') AND profile IN ({of})
             UNION ALL SELECT position FROM parked WHERE profile IN ({of})
             UNION ALL SELECT position FROM consents WHERE profile IN ({of})
             UNION ALL SELECT entry FROM enrollments WHERE profile IN ({of})
             UNION ALL SELECT event FROM enrollments WHERE profile IN ({of})
             UNION ALL SELECT cause FROM messages WHERE profile IN ({of})"
        );
        let values = std::iter::repeat_with(|| ids(people)).take(6).flatten().collect();
        for row in Rows(self.conn).all(&sql, values).await? {
            found.insert(Position(row.try_get_by_index(0)?));
        }
        Ok(Some(found.into_iter().collect()))
    }

    /// Entries of these people after one position and up to another.
    pub async fn positions_of(
        &self,
        people: &[ProfileId],
        after: Position,
        until: Position,
    ) -> Result<Vec<Position>, Error> {
        let sql = format!(
            "SELECT position FROM entries WHERE position > ? AND position <= ? AND workspace = ? AND profile IN ({})
             ORDER BY position",
            marks(people.len())
        );
        let mut values: Values = vec![after.0.into(), until.0.into(), self.id.0.into()];
        values.extend(ids(people));
        Rows(self.conn).all(&sql, values).await?.iter().map(|row| Ok(Position(row.try_get_by_index(0)?))).collect()
    }

    /// Keeps of entries where they stand, whose they were by number, and what class they are of.
    pub async fn blank_entries(&self, positions: &[Position]) -> Result<(), Error> {
        let mut readable = self.entries_apart(positions).await?;
        for position in positions {
            // One that cannot be read is emptied all the same.
            let blank = readable.remove(position).map(|entry| entry.blank());
            let (name, meta, body) = blank.map(|entry| entry.personal_values()).unwrap_or_else(nothing);
            let sql = "UPDATE entries SET name = ?, meta = ?, body = ? WHERE position = ?";
            Rows(self.conn).run(sql, vec![name, meta, body, position.0.into()]).await?;
            Rows(self.conn).run("DELETE FROM reasons WHERE position = ?", vec![position.0.into()]).await?;
        }
        Ok(())
    }
}

fn nothing() -> (sea_orm::Value, sea_orm::Value, sea_orm::Value) {
    ("".into(), Vec::<u8>::new().into(), "".into())
}
