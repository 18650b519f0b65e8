//! The consent ledger as it is read: every answer of a person that was taken, in the order of the log.

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::consent::{Consent, ConsentState, Via};
use crate::ids::{Position, ProfileId, Timestamp};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows};

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LedgerRow {
    /// The entry of the log that brought it.
    pub position: Position,
    /// A channel, or a topic as `topic:KEY`.
    pub about: String,
    #[serde(flatten)]
    pub consent: Consent,
}

pub(super) const COLUMNS: &str = "SELECT position, channel, state, source, at, text_version, via";

/// Reads a row that begins with [`COLUMNS`].
pub(super) fn read(row: &QueryResult) -> Result<LedgerRow, Error> {
    let (state, via): (String, String) = (row.try_get_by_index(2)?, row.try_get_by_index(6)?);
    let unreadable = |what: &str| Error::unreadable("consent", format!("unknown {what}"));
    Ok(LedgerRow {
        position: Position(row.try_get_by_index(0)?),
        about: row.try_get_by_index(1)?,
        consent: Consent {
            state: ConsentState::parse(&state).ok_or_else(|| unreadable("state"))?,
            source: row.try_get_by_index(3)?,
            at: Timestamp::from_millis(row.try_get_by_index(4)?),
            text_version: row.try_get_by_index(5)?,
            via: Via::parse(&via).ok_or_else(|| unreadable("way"))?,
        },
    })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The newest rows of a person's ledger, oldest of them first.
    pub async fn ledger_of(&self, profile: ProfileId, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        let sql = format!("{COLUMNS} FROM consents WHERE profile = ? ORDER BY position DESC, channel DESC LIMIT ?");
        let rows = Rows(self.conn).all(&sql, vec![profile.0.into(), i64::from(limit).into()]).await?;
        let mut read: Vec<LedgerRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
        read.reverse();
        Ok(read)
    }
}
