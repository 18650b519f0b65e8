//! What the dispatcher reads and marks for many messages at once: who is due, whose log is still unread,
//! and who holds a hold that was lifted.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

use crate::decision::Enrollment;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Channel, Message, Reason, Status};
use crate::store::Workspace;
use crate::store::controls::{set_setting, setting};
use crate::store::enrollments;
use crate::store::entries::Entry;
use crate::store::merges::people_and_winners;
use crate::store::messages;
use crate::store::rows::{Error, Rows, Values, encode};
use crate::store::shards::{Heads, ShardSet, unprocessed};

/// The setting that holds marketing back after a restored backup was recognised.
pub const RESTORE_UNCONFIRMED: &str = "restore_unconfirmed";
/// The setting that counts claims: every claiming transaction draws its fencing token here.
const CLAIM_TOKEN: &str = "claim_token";

/// What cannot be sent at present.
#[derive(Debug, Clone, Default)]
pub struct Shut {
    pub channels: Vec<Channel>,
    /// No slots can be asked for.
    pub caps: bool,
}

/// Waiting messages looked at beside a batch.
const BESIDE_MAX: usize = 256;
/// Messages that obey no caps, by the beginning of `rules` as [`messages`] writes it; word for word the condition of the
/// index that finds them. If they count, the record does it.
const UNCAPPED: &str = r#"AND substr(rules, 1, 22) = '{"caps":{"obey":false,'"#;

/// The earliest due messages of these shards, transactional first, then by time, priority and age; without those that
/// are `shut` out
/// and of people with log entries that are not processed yet. The end of an own message is no such entry: it makes no
/// other message unwanted.
pub async fn due_ids<C: ConnectionTrait>(
    conn: &C,
    shards: ShardSet,
    now: Timestamp,
    limit: usize,
    shut: &Shut,
) -> Result<Vec<(WorkspaceId, MessageId)>, Error> {
    let backend = conn.get_database_backend();
    let ours = shards.condition(backend);
    let behind = people_behind(backend);
    // Each asks once, in its own way, and not for every message.
    let caught_up = match backend {
        DbBackend::Postgres => "NOT EXISTS (SELECT 1 FROM people WHERE people.profile = messages.profile)",
        _ => "profile NOT IN (SELECT profile FROM people)",
    };
    let mut found = Vec::new();
    let narrowed = if shut.caps { UNCAPPED } else { "" };
    for (lane, narrowed) in [("transactional", ""), ("marketing", narrowed)] {
        let sql = format!(
            "{behind} SELECT workspace, id FROM messages WHERE due_at <= ? AND purpose = '{lane}' {narrowed} AND {}{ours}
             AND {caught_up}
             ORDER BY due_at, priority DESC, created_at, entry, id LIMIT ?",
            open(&shut.channels)
        );
        let values: Values = vec![now.millis().into(), i64::try_from(limit - found.len()).unwrap_or(i64::MAX).into()];
        for row in Rows(conn).all(&sql, values).await? {
            let id: Vec<u8> = row.try_get_by_index(1)?;
            let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
            found.push((WorkspaceId(row.try_get_by_index(0)?), id));
        }
    }
    Ok(found)
}

/// A statement's beginning: `people` are those with entries that are not processed yet.
fn people_behind(backend: DbBackend) -> String {
    people_and_winners(&format!(
        "SELECT profile FROM {} AND profile IS NOT NULL AND kind <> 'message_ended' UNION SELECT loser FROM {}",
        unprocessed(backend, "entries"),
        unprocessed(backend, "merges")
    ))
}

/// Whether any message of these shards is due, whatever stands in its way: one look instead of many where none is.
pub async fn is_any_due<C: ConnectionTrait>(conn: &C, shards: ShardSet, now: Timestamp) -> Result<bool, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql = format!("SELECT 1 FROM messages WHERE due_at <= ?{ours} ORDER BY due_at LIMIT 1");
    Ok(Rows(conn).one(&sql, vec![now.millis().into()]).await?.is_some())
}

/// The earliest instant after `now` at which a message of these shards and a channel that is not `closed` is due.
pub async fn due_after<C: ConnectionTrait>(
    conn: &C,
    shards: ShardSet,
    now: Timestamp,
    closed: &[Channel],
) -> Result<Option<Timestamp>, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql =
        format!("SELECT due_at FROM messages WHERE due_at > ? AND {}{ours} ORDER BY due_at LIMIT 1", open(closed));
    Ok(Rows(conn).scalar::<i64>(&sql, vec![now.millis().into()]).await?.map(Timestamp::from_millis))
}

/// Messages of other channels than these; the names are our own.
fn open(closed: &[Channel]) -> String {
    let names: Vec<&str> = closed.iter().map(|channel| channel.as_str()).collect();
    format!("channel NOT IN ('{}')", names.join("', '"))
}

/// Marketing that waits because a restored backup is not confirmed, or is due and was not looked at yet: how much, and
/// when the oldest of it was decided.
pub async fn held_back<C: ConnectionTrait>(
    conn: &C,
    id: WorkspaceId,
    now: Timestamp,
) -> Result<(i64, Option<Timestamp>), Error> {
    let sql = "SELECT count(*), min(created_at) FROM
               (SELECT created_at FROM messages WHERE workspace = ?1 AND reason = 'restore_unconfirmed'
                    AND status = 'deferred'
                UNION ALL SELECT created_at FROM messages WHERE workspace = ?1 AND due_at <= ?2
                    AND purpose = 'marketing' AND status IN ('queued', 'retrying')) AS held";
    let Some(row) = Rows(conn).one(sql, vec![id.0.into(), now.millis().into()]).await? else { return Ok((0, None)) };
    Ok((row.try_get_by_index(0)?, row.try_get_by_index::<Option<i64>>(1)?.map(Timestamp::from_millis)))
}

/// Messages of these shards that a process had in hand: claimed ones, whatever their lease, and those being sent.
pub async fn in_hand<C: ConnectionTrait>(conn: &C, shards: ShardSet) -> Result<Vec<(WorkspaceId, MessageId)>, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql = format!(
        "SELECT workspace, id FROM messages WHERE status = 'sending'{ours}
         UNION ALL SELECT workspace, id FROM messages WHERE due_at IS NOT NULL AND status = 'claimed'{ours}"
    );
    let mut found = Vec::new();
    for row in Rows(conn).all(&sql, vec![]).await? {
        let id: Vec<u8> = row.try_get_by_index(1)?;
        let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
        found.push((WorkspaceId(row.try_get_by_index(0)?), id));
    }
    found.sort_unstable_by_key(|(_, id)| *id);
    Ok(found)
}

/// Draws the fencing token of one claiming transaction; each is larger than all before it.
pub async fn draw_claim_token<C: ConnectionTrait>(tx: &C) -> Result<u64, Error> {
    if tx.get_database_backend() == DbBackend::Postgres {
        let drawn: Option<i64> = Rows(tx).scalar("SELECT nextval('claim_tokens')", vec![]).await?;
        return Ok(drawn.unwrap_or_default().cast_unsigned());
    }
    let last: u64 = setting(tx, CLAIM_TOKEN).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let token = last + 1;
    set_setting(tx, CLAIM_TOKEN, &token.to_string()).await?;
    Ok(token)
}

/// Of these people, those about whom something was logged after `since`, processed or not: that they are another's
/// profile is something too.
pub async fn logged_since<C: ConnectionTrait>(
    conn: &C,
    since: &Heads,
    profiles: &BTreeSet<ProfileId>,
) -> Result<BTreeSet<ProfileId>, Error> {
    if profiles.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (newer, mut values) = since.passed(conn.get_database_backend(), "position");
    values.extend(values.clone());
    let (is_one_of_these, keys) =
        Rows(conn).among("profile", profiles.iter().map(|profile| profile.0.into()).collect());
    values.extend(keys);
    let sql = format!(
        "{} SELECT profile FROM people WHERE {is_one_of_these}",
        people_and_winners(&format!(
            "SELECT profile FROM entries WHERE profile IS NOT NULL AND kind <> 'message_ended' AND ({newer})
             UNION SELECT loser FROM merges WHERE {newer}"
        ))
    );
    let rows = Rows(conn).all(&sql, values).await?;
    rows.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
}

/// The same for a look that is older, by the versions that the people's rows had: what was processed since has moved them,
/// so only what is not processed yet is looked for in the log. Whoever was written for another reason is named too.
pub async fn changed_since<C: ConnectionTrait>(
    conn: &C,
    seen: &BTreeMap<ProfileId, i64>,
) -> Result<BTreeSet<ProfileId>, Error> {
    if seen.is_empty() {
        return Ok(BTreeSet::new());
    }
    let these = |column: &str| Rows(conn).among(column, seen.keys().map(|profile| profile.0.into()).collect());
    let (behind, (is_one_of_these, keys)) = (people_behind(conn.get_database_backend()), these("profile"));
    let sql = format!("{behind} SELECT profile FROM people WHERE {is_one_of_these}");
    let behind = Rows(conn).all(&sql, keys).await?;
    let mut changed = seen.clone();
    let (is_one_of_these, keys) = these("id");
    for row in Rows(conn).all(&format!("SELECT id, version FROM profiles WHERE {is_one_of_these}"), keys).await? {
        let (profile, version) = (ProfileId(row.try_get_by_index(0)?), row.try_get_by_index::<i64>(1)?);
        if seen.get(&profile) == Some(&version) {
            changed.remove(&profile);
        }
    }
    let behind: BTreeSet<ProfileId> =
        behind.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect::<Result<_, Error>>()?;
    Ok(changed.into_keys().chain(behind).collect())
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Messages one by one: a damaged row is its own error and stops no other.
    pub async fn messages_apart(&self, ids: &[MessageId]) -> Result<Vec<(MessageId, Result<Message, Error>)>, Error> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(512) {
            let keys = chunk.iter().map(|id| id.as_bytes().to_vec().into()).collect();
            let (is_one_of_these, keys) = Rows(self.conn).among("id", keys);
            let sql = format!("{} WHERE +workspace = ? AND {is_one_of_these}", messages::SELECT);
            let values = std::iter::once(self.id.0.into()).chain(keys).collect();
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                let id: Vec<u8> = row.try_get_by_index(0)?;
                let id = MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?;
                found.push((id, messages::read(&row)));
            }
        }
        Ok(found)
    }

    /// Ends a message whose row cannot be read: it leaves the queue as a dead letter.
    pub async fn fail_unreadable(&self, id: MessageId, cause: &str, at: Timestamp) -> Result<(), Error> {
        let failed = Status::Failed { at, reason: Reason::RenderFailed { cause: cause.to_owned() } };
        let sql = "UPDATE messages SET status = ?, state = ?, reason = ?, due_at = NULL, slow_domain = NULL
                   WHERE workspace = ? AND id = ?";
        let values: Values = vec![
            failed.name().into(),
            encode(&failed).into(),
            messages::reason_code(&failed),
            self.id.0.into(),
            id.as_bytes().to_vec().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        self.add_steps(vec![(id, at, failed)]).await
    }

    pub async fn enrollments_by_id(&self, ids: &[EnrollmentId]) -> Result<BTreeMap<EnrollmentId, Enrollment>, Error> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(512) {
            let keys = chunk.iter().map(|id| id.as_bytes().to_vec().into()).collect();
            let (is_one_of_these, keys) = Rows(self.conn).among("id", keys);
            let sql = format!("{} WHERE workspace = ? AND {is_one_of_these}", enrollments::SELECT);
            let values = std::iter::once(self.id.0.into()).chain(keys).collect();
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                let one = enrollments::read(&row)?;
                found.insert(one.id, one);
            }
        }
        Ok(found)
    }

    /// Entries at these positions, each readable or not by itself.
    pub async fn entries_apart(&self, positions: &[Position]) -> Result<BTreeMap<Position, Entry>, Error> {
        let mut found = BTreeMap::new();
        for chunk in positions.chunks(512) {
            match self.entries_at(chunk).await {
                Ok(readable) => found.extend(readable),
                Err(Error::Unreadable { .. }) => {
                    for position in chunk {
                        match self.entries_at(&[*position]).await {
                            Ok(one) => found.extend(one),
                            Err(Error::Unreadable { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// When a waiting marketing message of the same person and higher priority, created before this one was due, comes
    /// due itself; none: nobody competes.
    pub async fn rival_due(&self, message: &Message, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let Some(due_at) = message.status.due_at() else { return Ok(None) };
        let sql = "SELECT max(due_at) FROM messages WHERE +workspace = ? AND profile = ? AND status = 'queued'
                   AND purpose = 'marketing' AND +due_at > ? AND priority > ? AND created_at <= ?";
        let values: Values = vec![
            self.id.0.into(),
            message.profile.0.into(),
            now.millis().into(),
            i32::from(message.priority).into(),
            due_at.millis().into(),
        ];
        Ok(Rows(self.conn).scalar::<Option<i64>>(sql, values).await?.flatten().map(Timestamp::from_millis))
    }

    /// Messages of the people of these marketing messages that wait for a slot and are not due yet: one wake serves all.
    pub async fn capped_beside(&self, due: &[MessageId], now: Timestamp, shut: &Shut) -> Result<Vec<MessageId>, Error> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let keys = due.iter().map(|id| id.as_bytes().to_vec().into()).collect();
        let (is_one_of_these, keys) = Rows(self.conn).among("id", keys);
        let sql = format!(
            "SELECT id FROM messages WHERE +workspace = ? AND status = 'deferred' AND reason = 'capped' AND +due_at > ?
             AND {} AND profile IN
                (SELECT profile FROM messages WHERE +workspace = ? AND purpose = 'marketing' AND {is_one_of_these})
             ORDER BY due_at, priority DESC, created_at, id LIMIT {BESIDE_MAX}",
            open(&shut.channels)
        );
        let mut values: Values = vec![self.id.0.into(), now.millis().into(), self.id.0.into()];
        values.extend(keys);
        read_ids(&Rows(self.conn).all(&sql, values).await?)
    }

    /// A slot of this person is free before its time: what waits for one is looked at now.
    pub async fn wake_capped(&self, profile: ProfileId, now: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE messages SET due_at = ? WHERE +workspace = ? AND profile = ? AND status = 'deferred'
                   AND reason = 'capped' AND +due_at > ?";
        let at = now.millis();
        Rows(self.conn).run(sql, vec![at.into(), self.id.0.into(), profile.0.into(), at.into()]).await?;
        Ok(())
    }

    /// Deferred messages of these shards held for the reason `code`, of one campaign where given; oldest first.
    pub async fn held_for(
        &self,
        code: &str,
        campaign: Option<&str>,
        shards: ShardSet,
        limit: usize,
    ) -> Result<Vec<MessageId>, Error> {
        let ours = shards.condition(self.conn.get_database_backend());
        let sql = format!(
            "SELECT id FROM messages WHERE workspace = ? AND status = 'deferred' AND due_at IS NOT NULL
             AND reason = ? AND (? IS NULL OR campaign = ?){ours} ORDER BY created_at, id LIMIT ?"
        );
        let campaign = campaign.map(ToOwned::to_owned);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = vec![self.id.0.into(), code.into(), campaign.clone().into(), campaign.into(), limit.into()];
        read_ids(&Rows(self.conn).all(&sql, values).await?)
    }
}

fn read_ids(rows: &[QueryResult]) -> Result<Vec<MessageId>, Error> {
    let read = |row: &QueryResult| {
        let id: Vec<u8> = row.try_get_by_index(0)?;
        MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))
    };
    rows.iter().map(read).collect()
}
