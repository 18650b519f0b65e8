//! What is stored of many people, each kind of it in one statement: a look back over everybody asks for as many people at a
//! time as its memory holds.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, QueryResult, Value};

use crate::audience::History;
use crate::decision::Enrollment;
use crate::guard::Slot;
use crate::ids::{Position, ProfileId, Timestamp};
use crate::message::Message;
use crate::store::Workspace;
use crate::store::consents::{self, LedgerRow};
use crate::store::entries::{self, Entry};
use crate::store::filed::by_filed;
use crate::store::rows::{Error, Rows, Values};
use crate::store::{enrollments, messages, outbox};

/// Keys of one statement.
const KEYS_MAX: usize = 512;

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// What these profiles did, each profile's pages oldest first and what stands in its row last.
    pub async fn histories_of(&self, people: &[ProfileId]) -> Result<BTreeMap<ProfileId, Vec<History>>, Error> {
        let mut found: BTreeMap<ProfileId, Vec<History>> = BTreeMap::new();
        let mut rows =
            self.of_each("SELECT profile, packed FROM history_pages", people, "ORDER BY profile, page").await?;
        rows.extend(self.of_each_as("id", "SELECT id, history FROM profiles", people, "").await?);
        for row in rows {
            let packed: Vec<u8> = row.try_get_by_index(1)?;
            let history = History::unpack(&packed).map_err(|error| Error::unreadable("history page", error))?;
            found.entry(ProfileId(row.try_get_by_index(0)?)).or_default().push(history);
        }
        Ok(found)
    }

    /// Where the log has something about each of these profiles that stands in no history: what was made of it (timers,
    /// messages that ended, events of our own), and what answers, enrollments and messages came of.
    pub async fn made_of(&self, people: &[ProfileId]) -> Result<Vec<(ProfileId, Position)>, Error> {
        // The first condition is that of the index, word for word.
        let kinds = "SELECT profile, position FROM entries WHERE kind IN ('own', 'message_ended', 'timer') AND";
        let mut found = Vec::new();
        for (select, column) in [
            (kinds, "profile"),
            ("SELECT profile, position FROM consents WHERE", "profile"),
            ("SELECT profile, entry FROM enrollments WHERE", "profile"),
            ("SELECT profile, event FROM enrollments WHERE", "profile"),
            ("SELECT profile, cause FROM messages WHERE", "profile"),
        ] {
            for row in self.answers(select, column, numbers(people), ("", vec![])).await? {
                found.push((ProfileId(row.try_get_by_index(0)?), Position(row.try_get_by_index(1)?)));
            }
        }
        Ok(found)
    }

    /// Entries of these profiles that were not applied where they stand.
    pub async fn set_aside(&self, people: &[ProfileId]) -> Result<BTreeSet<Position>, Error> {
        let rows = self.of_each("SELECT position FROM parked", people, "").await?;
        rows.iter().map(|row| Ok(Position(row.try_get_by_index(0)?))).collect()
    }

    /// Entries at these positions, as many as can be read.
    pub async fn entries_among(&self, positions: &[Position]) -> Result<BTreeMap<Position, Entry>, Error> {
        let mut found = BTreeMap::new();
        for chunk in positions.chunks(KEYS_MAX) {
            let keys = chunk.iter().map(|position| position.0.into()).collect();
            let (is_one, mut values) = Rows(self.conn).among("position", keys);
            let sql = format!("{} WHERE {is_one} AND +workspace = ?", entries::SELECT);
            values.push(self.id.0.into());
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                match Entry::read(&row) {
                    Ok(entry) => drop(found.insert(entry.position, entry)),
                    Err(Error::Unreadable { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// The newest rows of each one's ledger, oldest of them first.
    pub async fn ledgers_of(
        &self,
        people: &[ProfileId],
        limit: usize,
    ) -> Result<BTreeMap<ProfileId, Vec<LedgerRow>>, Error> {
        let select = format!("{}, profile FROM consents", consents::COLUMNS);
        let mut found: BTreeMap<ProfileId, Vec<LedgerRow>> = BTreeMap::new();
        for row in self.of_each(&select, people, "ORDER BY profile, position, channel").await? {
            found.entry(ProfileId(row.try_get_by_index(7)?)).or_default().push(consents::read(&row)?);
        }
        for rows in found.values_mut() {
            rows.drain(..rows.len().saturating_sub(limit));
        }
        Ok(found)
    }

    /// The newest messages of each, newest first, of those made before an instant.
    pub async fn messages_before(
        &self,
        people: &[ProfileId],
        before: Timestamp,
        limit: usize,
    ) -> Result<BTreeMap<ProfileId, Vec<Message>>, Error> {
        let select = format!("{} WHERE", messages::SELECT);
        let rest = "AND +workspace = ? AND created_at < ? ORDER BY created_at DESC, id DESC";
        let values = vec![self.id.0.into(), before.millis().into()];
        let mut found: BTreeMap<ProfileId, Vec<Message>> = BTreeMap::new();
        for row in self.answers(&select, "profile", numbers(people), (rest, values)).await? {
            let theirs = found.entry(ProfileId(row.try_get_by_index(1)?)).or_default();
            if theirs.len() < limit {
                theirs.push(messages::read(&row)?);
            }
        }
        Ok(found)
    }

    /// Every enrollment of each that began before an instant, newest first.
    pub async fn enrollments_before(
        &self,
        people: &[ProfileId],
        before: Timestamp,
    ) -> Result<BTreeMap<ProfileId, Vec<Enrollment>>, Error> {
        let select = format!("{} WHERE", enrollments::SELECT);
        let rest = "AND +workspace = ? AND entered_at < ? ORDER BY entered_at DESC, entry DESC";
        let values = vec![self.id.0.into(), before.millis().into()];
        let mut found: BTreeMap<ProfileId, Vec<Enrollment>> = BTreeMap::new();
        for row in self.answers(&select, "profile", numbers(people), (rest, values)).await? {
            found.entry(ProfileId(row.try_get_by_index(1)?)).or_default().push(enrollments::read(&row)?);
        }
        Ok(found)
    }

    /// The used slots of normalised addresses (by their subjects' names) since `since`, oldest first.
    pub async fn slots_of_addresses(
        &self,
        subjects: &[String],
        since: Timestamp,
    ) -> Result<BTreeMap<String, Vec<Slot>>, Error> {
        let asked = by_filed(subjects);
        let keys = asked.keys().map(|filed| filed.clone().into()).collect();
        let select = format!("{}, address_subject FROM messages WHERE", outbox::SLOT);
        let rest = "AND +workspace = ? AND slot_at > ? ORDER BY slot_at, id";
        let values = vec![self.id.0.into(), since.millis().into()];
        let mut found: BTreeMap<String, Vec<Slot>> = BTreeMap::new();
        for row in self.answers(&select, "address_subject", keys, (rest, values)).await? {
            let filed: String = row.try_get_by_index(6)?;
            let Some(subject) = asked.get(&filed) else { continue };
            found.entry((*subject).clone()).or_default().push(outbox::read_slot(&row)?);
        }
        Ok(found)
    }

    /// Who is or was called exactly each of these, of each term at most one more than `limit`.
    pub async fn called(&self, terms: &[Vec<u8>], limit: usize) -> Result<Vec<(Vec<u8>, ProfileId)>, Error> {
        let mut found = Vec::new();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        for chunk in terms.chunks(KEYS_MAX) {
            let (is_one, keys) = Rows(self.conn).among("term", chunk.iter().map(|term| term.clone().into()).collect());
            // Of a term that very many have, the index is walked as far as the first of them that are asked for.
            let sql = format!(
                "SELECT term, profile FROM people_terms AS one WHERE workspace = ? AND {is_one} AND profile <=
                 coalesce((SELECT profile FROM people_terms AS more WHERE more.workspace = one.workspace
                 AND more.term = one.term ORDER BY profile LIMIT 1 OFFSET ?), 9223372036854775807)"
            );
            let values = [Value::from(self.id.0)].into_iter().chain(keys).chain([limit.into()]);
            for row in Rows(self.conn).all(&sql, values.collect()).await? {
                found.push((row.try_get_by_index(0)?, ProfileId(row.try_get_by_index(1)?)));
            }
        }
        Ok(found)
    }

    async fn of_each(&self, select: &str, people: &[ProfileId], order: &str) -> Result<Vec<QueryResult>, Error> {
        self.of_each_as("profile", select, people, order).await
    }

    async fn of_each_as(
        &self,
        column: &str,
        select: &str,
        people: &[ProfileId],
        order: &str,
    ) -> Result<Vec<QueryResult>, Error> {
        self.answers(&format!("{select} WHERE"), column, numbers(people), (order, vec![])).await
    }

    /// The rows of a query whose column is one of these keys, key by key in as few statements as fit.
    async fn answers(
        &self,
        select: &str,
        column: &str,
        keys: Values,
        (rest, values): (&str, Values),
    ) -> Result<Vec<QueryResult>, Error> {
        let mut found = Vec::new();
        for chunk in keys.chunks(KEYS_MAX) {
            let (is_one, keys) = Rows(self.conn).among(column, chunk.to_vec());
            let sql = format!("{select} {is_one} {rest}");
            let values = keys.into_iter().chain(values.iter().cloned()).collect();
            found.extend(Rows(self.conn).all(&sql, values).await?);
        }
        Ok(found)
    }
}

fn numbers(people: &[ProfileId]) -> Values {
    people.iter().map(|profile| profile.0.into()).collect()
}
