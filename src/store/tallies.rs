//! Messages counted: by day, campaign, channel, state and reason; and the dead letters by what they died of.

use sea_orm::ConnectionTrait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::Timestamp;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

const DAY_MS: i64 = 86_400_000;

/// Messages made on one day that are in one state for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tally {
    /// The first instant of the day they were made on, in UTC.
    pub day: Timestamp,
    pub campaign: String,
    pub channel: String,
    pub status: String,
    /// The code of the reason, where the state has one.
    pub reason: Option<String>,
    pub count: i64,
}

/// Dead letters of one campaign and template that failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetters {
    pub campaign: String,
    pub template: String,
    pub channel: String,
    pub reason: Option<String>,
    pub count: i64,
    pub oldest_created_at: Timestamp,
    pub newest_created_at: Timestamp,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Messages made from `since` up to before `until`, of one campaign where given.
    pub async fn tallies(
        &self,
        since: Timestamp,
        until: Timestamp,
        campaign: Option<&str>,
    ) -> Result<Vec<Tally>, Error> {
        let which = if campaign.is_some() { " AND campaign = ?" } else { "" };
        let sql = format!(
            "SELECT created_at / {DAY_MS}, campaign, channel, status, reason, count(*) FROM messages
             WHERE workspace = ? AND created_at >= ? AND created_at < ?{which}
             GROUP BY created_at / {DAY_MS}, campaign, channel, status, reason ORDER BY 1, 2, 3, 4, 5"
        );
        let mut values: Values = vec![self.id.0.into(), since.millis().into(), until.millis().into()];
        values.extend(campaign.map(Into::into));
        let rows = Rows(self.conn).all(&sql, values).await?;
        rows.iter()
            .map(|row| {
                let day: i64 = row.try_get_by_index(0)?;
                Ok(Tally {
                    day: Timestamp::from_millis(day.saturating_mul(DAY_MS)),
                    campaign: row.try_get_by_index(1)?,
                    channel: row.try_get_by_index(2)?,
                    status: row.try_get_by_index(3)?,
                    reason: row.try_get_by_index(4)?,
                    count: row.try_get_by_index(5)?,
                })
            })
            .collect()
    }

    /// Failed messages by campaign, template, channel and reason, the most first.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetters>, Error> {
        let sql = "SELECT campaign, template, channel, reason, count(*), min(created_at), max(created_at) FROM messages
                   WHERE workspace = ? AND status = 'failed' GROUP BY campaign, template, channel, reason
                   ORDER BY 5 DESC, 1, 2, 3, 4 LIMIT 1000";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into()]).await?;
        rows.iter()
            .map(|row| {
                Ok(DeadLetters {
                    campaign: row.try_get_by_index(0)?,
                    template: row.try_get_by_index(1)?,
                    channel: row.try_get_by_index(2)?,
                    reason: row.try_get_by_index(3)?,
                    count: row.try_get_by_index(4)?,
                    oldest_created_at: Timestamp::from_millis(row.try_get_by_index(5)?),
                    newest_created_at: Timestamp::from_millis(row.try_get_by_index(6)?),
                })
            })
            .collect()
    }
}
