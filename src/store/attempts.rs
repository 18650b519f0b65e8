//! Tries to hand a message to a provider, each with its outcome.

use sea_orm::ConnectionTrait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::{MessageId, Timestamp};
use crate::message::Outcome;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, decode, int};

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attempt {
    pub attempt: u32,
    /// The request that led to it.
    pub correlation_id: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// None: sending began, and no outcome was recorded.
    pub outcome: Option<Outcome>,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    pub async fn attempts_of(&self, message: MessageId) -> Result<Vec<Attempt>, Error> {
        let sql = "SELECT attempt, started_at, finished_at, outcome, correlation FROM attempts WHERE message = ?
                   ORDER BY attempt";
        let rows = Rows(self.conn).all(sql, vec![message.as_bytes().to_vec().into()]).await?;
        rows.iter()
            .map(|row| {
                let outcome: Option<String> = row.try_get_by_index(3)?;
                Ok(Attempt {
                    attempt: int(row, 0)?,
                    correlation_id: row.try_get_by_index(4)?,
                    started_at: Timestamp::from_millis(row.try_get_by_index(1)?),
                    finished_at: row.try_get_by_index::<Option<i64>>(2)?.map(Timestamp::from_millis),
                    outcome: outcome.map(|text| decode("attempt", &text)).transpose()?,
                })
            })
            .collect()
    }
}
