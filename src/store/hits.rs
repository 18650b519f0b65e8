//! Hits of links and pictures in mails: stored as they come, settled once, with the event they become.

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use crate::event::engagement::{Hit, Machine};
use crate::ids::{MessageId, ProfileId, Timestamp, WorkspaceId};
use crate::message::Channel;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

/// Hits of one message that are kept; whoever asks more often is no person.
pub const HITS_PER_MESSAGE_MAX: i64 = 500;

/// A hit as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHit {
    pub workspace: WorkspaceId,
    pub id: [u8; 16],
    pub message: MessageId,
    pub profile: ProfileId,
    pub channel: Channel,
    pub hit: Hit,
}

const COLUMNS: &str = "workspace, id, message, profile, channel, at, target, is_head, user_agent";

fn read(row: &QueryResult) -> Result<StoredHit, Error> {
    let what = "hit";
    let sixteen = |column: usize| -> Result<[u8; 16], Error> {
        let bytes: Vec<u8> = row.try_get_by_index(column)?;
        bytes.try_into().map_err(|_| Error::unreadable(what, "an id is not of 16 bytes"))
    };
    let channel: String = row.try_get_by_index(4)?;
    Ok(StoredHit {
        workspace: WorkspaceId(row.try_get_by_index(0)?),
        id: sixteen(1)?,
        message: MessageId::from_bytes(sixteen(2)?),
        profile: ProfileId(row.try_get_by_index(3)?),
        channel: Channel::parse(&channel)
            .ok_or_else(|| Error::unreadable(what, format!("unknown channel {channel}")))?,
        hit: Hit {
            at: Timestamp::from_millis(row.try_get_by_index(5)?),
            target: row.try_get_by_index(6)?,
            is_head: row.try_get_by_index::<i64>(7)? != 0,
            user_agent: row.try_get_by_index(8)?,
        },
    })
}

/// The oldest hits of any workspace that came at or before `until` and wait for their judgement.
pub async fn waiting_hits<C: ConnectionTrait>(conn: &C, until: Timestamp, limit: u32) -> Result<Vec<StoredHit>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM hits WHERE settled = 0 AND at <= ? ORDER BY at, id LIMIT ?");
    let values: Values = vec![until.millis().into(), i64::from(limit).into()];
    Rows(conn).all(&sql, values).await?.iter().map(read).collect()
}

/// When the oldest of those that wait came.
pub async fn first_waiting_hit<C: ConnectionTrait>(conn: &C) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT at FROM hits WHERE settled = 0 ORDER BY at LIMIT 1";
    let at: Option<i64> = Rows(conn).scalar(sql, Vec::new()).await?;
    Ok(at.map(Timestamp::from_millis))
}

/// What became of one hit, for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Hit)]
pub struct HitSeen {
    pub at: Timestamp,
    /// `open` or `click`.
    pub what: &'static str,
    pub url: Option<String>,
    /// Why it is taken for a machine's.
    pub machine: Option<String>,
    /// Whether it is judged by now.
    pub judged: bool,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The newest hits of a message.
    pub async fn hits_seen(&self, message: MessageId, limit: u32) -> Result<Vec<HitSeen>, Error> {
        let sql = "SELECT at, target, machine, settled FROM hits WHERE workspace = ? AND message = ? \
                   ORDER BY at DESC, id LIMIT ?";
        let values: Values = vec![self.id.0.into(), message.as_bytes().to_vec().into(), i64::from(limit).into()];
        let rows = Rows(self.conn).all(sql, values).await?;
        let read = |row: &QueryResult| {
            let url: Option<String> = row.try_get_by_index(1)?;
            let what = if url.is_some() { "click" } else { "open" };
            let at = Timestamp::from_millis(row.try_get_by_index(0)?);
            let judged = row.try_get_by_index::<i64>(3)? != 0;
            Ok(HitSeen { at, what, url, machine: row.try_get_by_index(2)?, judged })
        };
        rows.iter().map(read).collect()
    }

    /// Keeps a hit, unless its message has too many or has never been; the answer is whether it was kept.
    pub async fn keep_hit(&self, one: &StoredHit) -> Result<bool, Error> {
        let sql = format!(
            "INSERT INTO hits ({COLUMNS}, settled) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, 0 \
             WHERE (SELECT COUNT(*) FROM hits WHERE workspace = ? AND message = ?) < ?"
        );
        let message = one.message.as_bytes().to_vec();
        let values: Values = vec![
            self.id.0.into(),
            one.id.to_vec().into(),
            message.clone().into(),
            one.profile.0.into(),
            one.channel.as_str().into(),
            one.hit.at.millis().into(),
            one.hit.target.clone().into(),
            i64::from(one.hit.is_head).into(),
            one.hit.user_agent.clone().into(),
            self.id.0.into(),
            message.into(),
            HITS_PER_MESSAGE_MAX.into(),
        ];
        Ok(Rows(self.conn).run(&sql, values).await? > 0)
    }

    /// All hits of a message, by time.
    pub async fn hits_of(&self, message: MessageId) -> Result<Vec<StoredHit>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM hits WHERE workspace = ? AND message = ? ORDER BY at, id");
        let values: Values = vec![self.id.0.into(), message.as_bytes().to_vec().into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// Marks a hit as judged; false where it was before.
    pub async fn settle_hit(&self, id: [u8; 16], machine: Option<Machine>) -> Result<bool, Error> {
        let sql = "UPDATE hits SET settled = 1, machine = ? WHERE workspace = ? AND id = ? AND settled = 0";
        let machine = machine.map(|machine| machine.as_str().to_owned());
        let values: Values = vec![machine.into(), self.id.0.into(), id.to_vec().into()];
        Ok(Rows(self.conn).run(sql, values).await? > 0)
    }
}
