//! Messages as rows, with the path each has taken.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, QueryResult};
use serde::{Deserialize, Serialize};

use crate::audience::condition::Received;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{CapUse, Channel, Message, OnUnknownSend, Purpose, QuietUse, Reason, Status};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, decode, decode_plain, encode, int, marks, maybe_int};
use crate::store::shards::Layout;

pub const SELECT: &str =
    "SELECT id, profile, enrollment, campaign, campaign_version, channel, template, purpose, priority,
    rules, created_at, expires_at, cause, entry, event, state, attempts, capped_at, slot_at, address, template_version, answer_lost_at,
    topic FROM messages";
// Where a message, a person or an address is named, `+workspace` keeps SQLite, which counts nothing beforehand, from
// walking through all messages of the workspace instead.
const COLUMNS: usize = 29;

#[derive(Serialize, Deserialize)]
struct MessageRules {
    caps: CapUse,
    on_unknown_send: OnUnknownSend,
    #[serde(default)]
    quiet: QuietUse,
    /// Absent in rows of messages that were never redriven by a release that knew it.
    #[serde(default)]
    attempts_forgiven: u32,
}

impl From<&Message> for MessageRules {
    fn from(message: &Message) -> Self {
        let Message { caps, on_unknown_send, quiet, attempts_forgiven, .. } = *message;
        Self { caps, on_unknown_send, quiet, attempts_forgiven }
    }
}

/// Reads a row of [`SELECT`].
pub fn read(row: &QueryResult) -> Result<Message, Error> {
    let what = "message";
    let bytes = |index: usize| -> Result<Vec<u8>, Error> { Ok(row.try_get_by_index(index)?) };
    let text = |index: usize| -> Result<String, Error> { Ok(row.try_get_by_index(index)?) };
    let instant = |index: usize| -> Result<Option<Timestamp>, Error> {
        Ok(row.try_get_by_index::<Option<i64>>(index)?.map(Timestamp::from_millis))
    };
    let rules: MessageRules = decode_plain(what, &text(9)?)?;
    Ok(Message {
        id: MessageId::try_from(bytes(0)?.as_slice()).map_err(|error| Error::unreadable(what, error))?,
        profile: ProfileId(row.try_get_by_index(1)?),
        enrollment: EnrollmentId::try_from(bytes(2)?.as_slice()).map_err(|error| Error::unreadable(what, error))?,
        campaign: text(3)?,
        campaign_version: int(row, 4)?,
        channel: Channel::parse(&text(5)?).ok_or_else(|| Error::unreadable(what, "unknown channel"))?,
        template: text(6)?,
        purpose: Purpose::parse(&text(7)?).ok_or_else(|| Error::unreadable(what, "unknown purpose"))?,
        priority: int(row, 8)?,
        caps: rules.caps,
        quiet: rules.quiet,
        on_unknown_send: rules.on_unknown_send,
        attempts_forgiven: rules.attempts_forgiven,
        created_at: instant(10)?.unwrap_or_default(),
        expires_at: instant(11)?.unwrap_or_default(),
        cause: Position(row.try_get_by_index(12)?),
        entry: Position(row.try_get_by_index(13)?),
        event: Position(row.try_get_by_index(14)?),
        status: decode(what, &text(15)?)?,
        attempts: int(row, 16)?,
        capped_at: instant(17)?,
        slot_at: instant(18)?,
        address: row.try_get_by_index(19)?,
        template_version: maybe_int(row, 20)?,
        answer_lost_at: instant(21)?,
        topic: row.try_get_by_index(22)?,
    })
}

/// The code of the reason a state carries, as its column keeps it.
pub fn reason_code(status: &Status) -> sea_orm::Value {
    status.reason().map(Reason::code).into()
}

/// A state a message was in, with the instant it came to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    pub at: Timestamp,
    pub state: Status,
}

/// A message, and when it was sent, where the log has said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaybeSent {
    pub message: MessageId,
    pub campaign: String,
    pub at: Option<Timestamp>,
}

impl MaybeSent {
    fn read(row: &QueryResult) -> Result<Self, Error> {
        let id: Vec<u8> = row.try_get_by_index(0)?;
        Ok(Self {
            message: MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?,
            campaign: row.try_get_by_index(1)?,
            at: row.try_get_by_index::<Option<i64>>(2)?.map(Timestamp::from_millis),
        })
    }
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// New messages; one that exists already is left as it is. Returns how many were new.
    pub async fn add_messages(&self, messages: &[&Message]) -> Result<u64, Error> {
        let head =
            "INSERT INTO messages (id, workspace, profile, enrollment, campaign, campaign_version, channel, template,
            purpose, priority, rules, created_at, expires_at, cause, entry, event, status, state, reason, due_at, attempts,
            capped_at, slot_at, address, address_subject, template_version, answer_lost_at, topic, shard)";
        let rows = messages.iter().map(|message| self.values(message)).collect();
        let added = Rows(self.conn).insert(head, "ON CONFLICT (id) DO NOTHING", COLUMNS, rows).await?;
        let first = messages.iter().map(|message| (message.id, message.created_at, message.status.clone()));
        self.add_steps(first.collect()).await?;
        Ok(added)
    }

    fn values(&self, message: &Message) -> Values {
        let rules = MessageRules::from(message);
        vec![
            message.id.as_bytes().to_vec().into(),
            self.id.0.into(),
            message.profile.0.into(),
            message.enrollment.as_bytes().to_vec().into(),
            message.campaign.clone().into(),
            message.campaign_version.into(),
            message.channel.as_str().into(),
            message.template.clone().into(),
            message.purpose.as_str().into(),
            i32::from(message.priority).into(),
            encode(&rules).into(),
            message.created_at.millis().into(),
            message.expires_at.millis().into(),
            message.cause.0.into(),
            message.entry.0.into(),
            message.event.0.into(),
            message.status.name().into(),
            encode(&message.status).into(),
            reason_code(&message.status),
            message.status.due_at().map(Timestamp::millis).into(),
            message.attempts.into(),
            message.capped_at.map(Timestamp::millis).into(),
            message.slot_at.map(Timestamp::millis).into(),
            message.address.clone().into(),
            None::<String>.into(),
            message.template_version.into(),
            message.answer_lost_at.map(Timestamp::millis).into(),
            message.topic.clone().into(),
            Layout::of(self.conn.get_database_backend()).shard_of(message.profile).number().into(),
        ]
    }

    /// Stores that a message's attempts so far no longer count against its schedule.
    pub async fn forgive_attempts(&self, message: &Message) -> Result<(), Error> {
        let sql = "UPDATE messages SET rules = ? WHERE workspace = ? AND id = ?";
        let id = message.id.as_bytes().to_vec();
        Rows(self.conn)
            .run(sql, vec![encode(&MessageRules::from(message)).into(), self.id.0.into(), id.into()])
            .await?;
        Ok(())
    }

    pub async fn message(&self, id: MessageId) -> Result<Option<Message>, Error> {
        Ok(self.messages(&[id]).await?.pop())
    }

    pub async fn messages(&self, ids: &[MessageId]) -> Result<Vec<Message>, Error> {
        let sql = format!("{SELECT} WHERE +workspace = ? AND id IN ({})", marks(ids.len()));
        let mut values: Values = vec![self.id.0.into()];
        values.extend(ids.iter().map(|id| id.as_bytes().to_vec().into()));
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// Messages of a person that the entry at `position` led to: as the first or newest event of their enrollment, or
    /// as the input whose decision made them.
    pub async fn messages_from(
        &self,
        profile: ProfileId,
        position: Position,
        limit: u32,
    ) -> Result<Vec<Message>, Error> {
        let sql = format!(
            "{SELECT} WHERE +workspace = ? AND profile = ? AND (entry = ? OR event = ? OR cause = ?)
             ORDER BY created_at, id LIMIT ?"
        );
        let at = position.0;
        let values = vec![self.id.0.into(), profile.0.into(), at.into(), at.into(), at.into(), limit.into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// Appends to the paths of messages.
    pub async fn add_steps(&self, steps: Vec<(MessageId, Timestamp, Status)>) -> Result<(), Error> {
        let head = "INSERT INTO message_states (message, step, at, state)";
        let row = "?, (SELECT coalesce(max(step), 0) + 1 FROM message_states WHERE message = ?), ?, ?";
        let mut rest = steps;
        while !rest.is_empty() {
            // The numbers are those before the statement, so a message's second step goes into the next one.
            let mut seen = BTreeSet::new();
            let (now, later) = rest.into_iter().partition(|(message, ..)| seen.insert(*message));
            rest = later;
            let steps: Vec<(MessageId, Timestamp, Status)> = now;
            let rows = steps.into_iter().map(|(message, at, state)| -> Values {
                let id = message.as_bytes().to_vec();
                vec![id.clone().into(), id.into(), at.millis().into(), encode(&state).into()]
            });
            Rows(self.conn).insert_as(head, row, "", 4, rows.collect()).await?;
        }
        Ok(())
    }

    /// The path of a message, first state first.
    pub async fn steps_of(&self, message: MessageId) -> Result<Vec<Step>, Error> {
        let sql = "SELECT at, state FROM message_states WHERE message = ? ORDER BY step";
        let rows = Rows(self.conn).all(sql, vec![message.as_bytes().to_vec().into()]).await?;
        rows.iter()
            .map(|row| {
                let state: String = row.try_get_by_index(1)?;
                Ok(Step { at: Timestamp::from_millis(row.try_get_by_index(0)?), state: decode("message", &state)? })
            })
            .collect()
    }

    /// Messages of these people made at or after `since`: what goals look at.
    pub async fn sent_since(
        &self,
        profiles: &[ProfileId],
        since: Timestamp,
    ) -> Result<Vec<(ProfileId, Result<MaybeSent, Error>)>, Error> {
        let mut found = Vec::new();
        for chunk in profiles.chunks(500) {
            let sql = format!(
                "SELECT id, campaign, sent_at, profile FROM messages
                 WHERE +workspace = ? AND profile IN ({}) AND created_at >= ? ORDER BY id",
                marks(chunk.len())
            );
            let mut values: Values = vec![self.id.0.into()];
            values.extend(chunk.iter().map(|profile| profile.0.into()));
            values.push(since.millis().into());
            for row in Rows(self.conn).all(&sql, values).await? {
                found.push((ProfileId(row.try_get_by_index(3)?), MaybeSent::read(&row)));
            }
        }
        Ok(found)
    }

    /// Messages of these campaigns that a provider took for these people, in any order.
    pub async fn received(
        &self,
        profiles: &[ProfileId],
        campaigns: &BTreeSet<&str>,
    ) -> Result<Vec<(ProfileId, Result<Received, Error>)>, Error> {
        let mut found = Vec::new();
        for chunk in profiles.chunks(500) {
            let sql = format!(
                "SELECT profile, campaign, state FROM messages
                 WHERE +workspace = ? AND profile IN ({}) AND status = 'sent' AND campaign IN ({})",
                marks(chunk.len()),
                marks(campaigns.len()),
            );
            let mut values: Values = vec![self.id.0.into()];
            values.extend(chunk.iter().map(|profile| profile.0.into()));
            values.extend(campaigns.iter().map(|campaign| (*campaign).into()));
            for row in Rows(self.conn).all(&sql, values).await? {
                let campaign: String = row.try_get_by_index(1)?;
                let state: String = row.try_get_by_index(2)?;
                let received = match decode("message", &state) {
                    Ok(Status::Sent { at, .. }) => Ok(Received { campaign, at }),
                    Ok(_) => continue,
                    Err(error) => Err(error),
                };
                found.push((ProfileId(row.try_get_by_index(0)?), received));
            }
        }
        Ok(found)
    }
}
