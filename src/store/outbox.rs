//! The outbox: the guarded changes of state the dispatcher makes.
//!
//! Every change names the state it expects; a row that has moved on since it was read is left alone and the caller is
//! told, so that nothing is sent twice by two hands.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::guard::frequency_cap::Slot;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{Channel, Message, Status};
use crate::store::Workspace;
use crate::store::filed::{by_filed, filed_under};
use crate::store::messages::reason_code;
use crate::store::rows::{Error, Rows, Values, encode};

pub(super) const SLOT: &str = "SELECT id, slot_at, channel, campaign, enrollment, topic";

/// Reads a row that begins with [`SLOT`].
pub(super) fn read_slot(row: &QueryResult) -> Result<Slot, Error> {
    let unreadable = |error| Error::unreadable("message", error);
    let id: Vec<u8> = row.try_get_by_index(0)?;
    let channel: String = row.try_get_by_index(2)?;
    let enrollment: Vec<u8> = row.try_get_by_index(4)?;
    Ok(Slot {
        message: MessageId::try_from(id.as_slice()).map_err(unreadable)?,
        at: Timestamp::from_millis(row.try_get_by_index(1)?),
        channel: Channel::parse(&channel).ok_or_else(|| Error::unreadable("message", "unknown channel"))?,
        topic: row.try_get_by_index(5)?,
        campaign: row.try_get_by_index(3)?,
        enrollment: EnrollmentId::try_from(enrollment.as_slice()).map_err(unreadable)?,
    })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Stores `message` as it is now if its row still has the state `expected`; the step joins its path, unless it only
    /// waits for longer. False: the row has moved on and nothing was changed.
    pub async fn advance_message(&self, expected: &Status, message: &Message, at: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE messages SET status = ?, state = ?, reason = ?, due_at = ?, attempts = ?, expires_at = ?, capped_at = ?, slot_at = ?,
                   address = ?, template_version = ?, answer_lost_at = ?, slow_domain = ?
                   WHERE workspace = ? AND id = ? AND state = ?";
        let values: Values = vec![
            message.status.name().into(),
            encode(&message.status).into(),
            reason_code(&message.status),
            message.status.due_at().map(Timestamp::millis).into(),
            message.attempts.into(),
            message.expires_at.millis().into(),
            message.capped_at.map(Timestamp::millis).into(),
            message.slot_at.map(Timestamp::millis).into(),
            message.address.clone().into(),
            message.template_version.into(),
            message.answer_lost_at.map(Timestamp::millis).into(),
            message.status.slow_domain().into(),
            self.id.0.into(),
            message.id.as_bytes().to_vec().into(),
            encode(expected).into(),
        ];
        let moved = Rows(self.conn).run(sql, values).await? == 1;
        if moved && !message.status.waits_on(expected) {
            self.add_steps(vec![(message.id, at, message.status.clone())]).await?;
        }
        Ok(moved)
    }

    /// A message that waits is rendered from this event; one that was claimed before keeps its own.
    pub async fn renew_message(&self, id: MessageId, event: Position) -> Result<(), Error> {
        let sql = "UPDATE messages SET event = ?
                   WHERE workspace = ? AND id = ? AND status IN ('queued', 'deferred', 'retrying')";
        Rows(self.conn).run(sql, vec![event.0.into(), self.id.0.into(), id.as_bytes().to_vec().into()]).await?;
        Ok(())
    }

    /// Stops a message that waits; false if it was claimed, sent or ended before.
    pub async fn cancel_message(&self, id: MessageId, cancelled: &Status, at: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE messages SET status = ?, state = ?, reason = ?, due_at = NULL, slow_domain = NULL
                   WHERE workspace = ? AND id = ? AND status IN ('queued', 'deferred', 'retrying')";
        let values: Values = vec![
            cancelled.name().into(),
            encode(cancelled).into(),
            reason_code(cancelled),
            self.id.0.into(),
            id.as_bytes().to_vec().into(),
        ];
        let stopped = Rows(self.conn).run(sql, values).await? == 1;
        if stopped {
            self.add_steps(vec![(id, at, cancelled.clone())]).await?;
        }
        Ok(stopped)
    }

    /// The message no longer uses a slot; the caller moves the versions of its subjects.
    pub async fn clear_slot(&self, id: MessageId) -> Result<(), Error> {
        let sql = "UPDATE messages SET slot_at = NULL WHERE workspace = ? AND id = ?";
        Rows(self.conn).run(sql, vec![self.id.0.into(), id.as_bytes().to_vec().into()]).await?;
        Ok(())
    }

    /// The used slots of a profile since `since`, oldest first: the record a cap store is reseeded from.
    pub async fn slots_of_profile(&self, profile: ProfileId, since: Timestamp) -> Result<Vec<Slot>, Error> {
        self.slots("profile = ?", profile.0.into(), since).await
    }

    /// The used slots of a normalised address (by its subject name) since `since`.
    pub async fn slots_of_address(&self, subject: &str, since: Timestamp) -> Result<Vec<Slot>, Error> {
        self.slots("address_subject = ?", filed_under(subject).into_owned().into(), since).await
    }

    async fn slots(&self, whose: &str, value: sea_orm::Value, since: Timestamp) -> Result<Vec<Slot>, Error> {
        let sql = format!("{SLOT} FROM messages WHERE +workspace = ? AND {whose} AND slot_at > ? ORDER BY slot_at, id");
        let rows = Rows(self.conn).all(&sql, vec![self.id.0.into(), value, since.millis().into()]).await?;
        rows.iter().map(read_slot).collect()
    }

    /// A cap subject's (step, chain, horizon, last slot); none before its first use.
    pub async fn cap_subject(&self, subject: &str) -> Result<Option<CapSubject>, Error> {
        let sql = "SELECT step, chain, horizon, last_slot_at FROM cap_subjects WHERE workspace = ? AND subject = ?";
        let Some(row) =
            Rows(self.conn).one(sql, vec![self.id.0.into(), filed_under(subject).into_owned().into()]).await?
        else {
            return Ok(None);
        };
        Ok(Some(CapSubject::read(&row, 0)?))
    }

    /// The rows of these cap subjects, by name; those never used have none.
    pub async fn cap_subjects(&self, names: &[String]) -> Result<BTreeMap<String, CapSubject>, Error> {
        let mut found = BTreeMap::new();
        for chunk in names.chunks(512) {
            let asked = by_filed(chunk);
            let keys = asked.keys().map(|name| name.clone().into()).collect();
            let (is_one_of_these, keys) = Rows(self.conn).among("subject", keys);
            let sql = format!(
                "SELECT subject, step, chain, horizon, last_slot_at FROM cap_subjects
                 WHERE workspace = ? AND {is_one_of_these}"
            );
            let values = std::iter::once(self.id.0.into()).chain(keys).collect();
            for row in Rows(self.conn).all(&sql, values).await? {
                let filed: String = row.try_get_by_index(0)?;
                let Some(name) = asked.get(&filed) else { continue };
                found.insert((*name).clone(), CapSubject::read(&row, 1)?);
            }
        }
        Ok(found)
    }

    /// Compare and set: moves a subject from `from` (none: it has no row yet) to `to`; false if it has moved since.
    pub async fn move_cap_subject(
        &self,
        subject: &str,
        from: Option<&CapSubject>,
        to: &CapSubject,
    ) -> Result<bool, Error> {
        let moved = match from {
            None => {
                let sql = "INSERT INTO cap_subjects (workspace, subject, step, chain, horizon, last_slot_at)
                           VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
                let mut values: Values = vec![self.id.0.into(), filed_under(subject).into_owned().into()];
                values.extend(to.values());
                Rows(self.conn).run(sql, values).await?
            }
            Some(from) => {
                let sql = "UPDATE cap_subjects SET step = ?, chain = ?, horizon = ?, last_slot_at = ?
                           WHERE workspace = ? AND subject = ? AND step = ? AND chain = ?";
                let mut values: Values = to.values();
                let subject = filed_under(subject).into_owned();
                values.extend([self.id.0.into(), subject.into(), from.step.into(), from.chain.clone().into()]);
                Rows(self.conn).run(sql, values).await?
            }
        };
        Ok(moved == 1)
    }
}

/// The database's side of a cap subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapSubject {
    pub step: i64,
    pub chain: Vec<u8>,
    pub horizon_ms: i64,
    pub last_slot_at: Timestamp,
}

impl CapSubject {
    fn read(row: &QueryResult, first: usize) -> Result<Self, Error> {
        Ok(Self {
            step: row.try_get_by_index(first)?,
            chain: row.try_get_by_index(first + 1)?,
            horizon_ms: row.try_get_by_index(first + 2)?,
            last_slot_at: Timestamp::from_millis(row.try_get_by_index(first + 3)?),
        })
    }

    pub(super) fn values(&self) -> Values {
        vec![self.step.into(), self.chain.clone().into(), self.horizon_ms.into(), self.last_slot_at.millis().into()]
    }
}
