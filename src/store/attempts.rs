//! Tries to hand a message to a provider, each with its outcome.

use sea_orm::ConnectionTrait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::{MessageId, Timestamp};
use crate::message::Outcome;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, decode, encode, int};

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
    pub async fn begin_attempt(
        &self,
        message: MessageId,
        attempt: u32,
        correlation: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let sql = "INSERT INTO attempts (message, attempt, started_at, correlation) VALUES (?, ?, ?, ?)
                   ON CONFLICT (message, attempt) DO UPDATE SET started_at = excluded.started_at, finished_at = NULL,
                   outcome = NULL";
        let correlation = Some(correlation).filter(|id| !id.is_empty()).map(str::to_owned);
        let id = message.as_bytes().to_vec();
        let values = vec![id.into(), attempt.into(), at.millis().into(), correlation.into()];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    pub async fn finish_attempt(
        &self,
        message: MessageId,
        attempt: u32,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Result<(), Error> {
        let sql = "UPDATE attempts SET finished_at = ?, outcome = ? WHERE message = ? AND attempt = ?";
        let id = message.as_bytes().to_vec();
        Rows(self.conn).run(sql, vec![at.millis().into(), encode(outcome).into(), id.into(), attempt.into()]).await?;
        Ok(())
    }

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
