//! What a page says of everything at once, read from indexes alone and never more than a bounded part of them.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;

use crate::ids::{Position, Timestamp};
use crate::message::{Message, Status};
use crate::store::Workspace;
use crate::store::controls::Parked;
use crate::store::rows::{Error, Rows, Values, int};
use crate::store::trace::Findings;

/// Messages of one status that are counted; there may be more.
pub const COUNTED_MAX: i64 = 200_000;

/// Messages of one status and reason that were created in one slot of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// The index of the boundary they were created at or after.
    pub slot: usize,
    pub status: String,
    pub reason: Option<String>,
    pub count: i64,
}

/// Why and by whom something was paused, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PauseNote {
    pub at: Timestamp,
    pub who: Option<String>,
    pub why: Option<String>,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Messages created since the first of these instants, counted between each of them and the next: of each status the
    /// newest [`COUNTED_MAX`].
    pub async fn outcomes_since(&self, boundaries: &[Timestamp]) -> Result<Vec<Outcomes>, Error> {
        let Some(first) = boundaries.first() else { return Ok(Vec::new()) };
        let slots: String = boundaries
            .iter()
            .enumerate()
            .rev()
            .map(|(slot, from)| format!("WHEN created_at >= {} THEN {slot} ", from.millis()))
            .collect();
        let mut outcomes = Vec::new();
        for status in Status::NAMES {
            // Only what the index of statuses holds.
            let sql = format!(
                "SELECT CAST(CASE {slots}ELSE 0 END AS BIGINT) AS slot, reason, count(*) FROM
                 (SELECT created_at, reason FROM messages WHERE workspace = ? AND status = ? AND created_at >= ?
                 ORDER BY created_at DESC LIMIT {COUNTED_MAX}) AS counted GROUP BY 1, 2 ORDER BY 1, 2"
            );
            let values: Values = vec![self.id.0.into(), status.into(), first.millis().into()];
            for row in Rows(self.conn).all(&sql, values).await? {
                let (slot, count) = (int(&row, 0)?, row.try_get_by_index(2)?);
                let reason = row.try_get_by_index(1)?;
                outcomes.push(Outcomes { slot, status: status.to_owned(), reason, count });
            }
        }
        Ok(outcomes)
    }

    /// How many messages have this status, up to [`COUNTED_MAX`], by reason; whenever they were created.
    pub async fn standing_by_reason(&self, status: &str) -> Result<BTreeMap<Option<String>, i64>, Error> {
        let sql = format!(
            "SELECT reason, count(*) FROM (SELECT reason FROM messages WHERE workspace = ? AND status = ?
             ORDER BY created_at DESC LIMIT {COUNTED_MAX}) AS counted GROUP BY reason"
        );
        let rows = Rows(self.conn).all(&sql, vec![self.id.0.into(), status.into()]).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }

    /// When the oldest message of this status was created.
    pub async fn oldest_of(&self, status: &str) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT created_at FROM messages WHERE workspace = ? AND status = ? ORDER BY created_at LIMIT 1";
        let at: Option<i64> = Rows(self.conn).scalar(sql, vec![self.id.0.into(), status.into()]).await?;
        Ok(at.map(Timestamp::from_millis))
    }

    /// The newest findings, newest first, of at most `limit` inputs.
    pub async fn newest_findings(&self, limit: u32) -> Result<Vec<Findings>, Error> {
        let sql = "SELECT position FROM reasons WHERE workspace = ? ORDER BY position DESC LIMIT ?";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into(), limit.into()]).await?;
        let positions: Vec<Position> =
            rows.iter().map(|row| Ok(Position(row.try_get_by_index(0)?))).collect::<Result<_, Error>>()?;
        Ok(self.findings_at(&positions).await?.into_values().rev().collect())
    }

    /// Entries that are parked and were not redriven, newest first.
    pub async fn still_parked(&self, limit: u32) -> Result<Vec<Parked>, Error> {
        let sql =
            "SELECT position FROM parked WHERE workspace = ? AND redriven_at IS NULL ORDER BY position DESC LIMIT ?";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into(), limit.into()]).await?;
        let mut parked = Vec::with_capacity(rows.len());
        for row in &rows {
            parked.extend(self.parked_at(Position(row.try_get_by_index(0)?)).await?);
        }
        Ok(parked)
    }

    /// Messages that failed for this reason, newest first.
    pub async fn failed_for(&self, reason: &str, limit: u32) -> Result<Vec<Message>, Error> {
        let filter = crate::store::trace::MessageFilter {
            status: Some("failed".to_owned()),
            reason: Some(reason.to_owned()),
            limit,
            ..Default::default()
        };
        self.list_messages(&filter).await
    }

    /// What was said when a scope was last paused; none where it is not.
    pub async fn pause_note(&self, scope: &str) -> Result<Option<PauseNote>, Error> {
        let sql = "SELECT pauses.paused_at, notes.who, notes.why FROM pauses LEFT JOIN pause_notes AS notes
                   ON notes.workspace = pauses.workspace AND notes.scope = pauses.scope
                   WHERE pauses.workspace = ? AND pauses.scope = ?";
        let row = Rows(self.conn).one(sql, vec![self.id.0.into(), scope.into()]).await?;
        let read = |row: &sea_orm::QueryResult| {
            let at = Timestamp::from_millis(row.try_get_by_index(0)?);
            Ok(PauseNote { at, who: row.try_get_by_index(1)?, why: row.try_get_by_index(2)? })
        };
        row.as_ref().map(read).transpose()
    }

    /// Remembers who switched a scope, and why.
    pub async fn note_pause(&self, scope: &str, who: Option<&str>, why: Option<&str>) -> Result<(), Error> {
        let sql = "INSERT INTO pause_notes (workspace, scope, who, why) VALUES (?, ?, ?, ?)
                   ON CONFLICT (workspace, scope) DO UPDATE SET who = excluded.who, why = excluded.why";
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        let values = vec![self.id.0.into(), scope.into(), owned(who).into(), owned(why).into()];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }
}
