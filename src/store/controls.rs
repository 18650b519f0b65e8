//! What a person controls and what the service counts: pauses, parked entries, counters, settings.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DbBackend, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows};

/// The scope that stops everything.
pub const PAUSE_ALL: &str = "all";

/// The setting that only a demo's database has: which shop it was filled with. Nobody else's clock may be moved.
pub const DEMO_SHOP: &str = "demo_shop";

/// An entry that could not be applied.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Parked {
    pub position: Position,
    pub profile: Option<ProfileId>,
    pub cause: String,
    pub parked_at: Timestamp,
    pub redriven_at: Option<Timestamp>,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Paused scopes: [`PAUSE_ALL`] and campaign keys.
    pub async fn pauses(&self) -> Result<BTreeSet<String>, Error> {
        let rows = Rows(self.conn).all("SELECT scope FROM pauses WHERE workspace = ?", vec![self.id.0.into()]).await?;
        rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
    }

    /// Scopes that were paused at a position of the log, whatever was switched later.
    pub async fn pauses_at(&self, position: Position) -> Result<BTreeSet<String>, Error> {
        let until = self.definitions_position(position).await?;
        let sql = "SELECT scope FROM switches AS one WHERE workspace = ? AND paused = 1 AND position =
                   (SELECT max(position) FROM switches AS other WHERE other.workspace = one.workspace
                   AND other.scope = one.scope AND other.position <= ?)";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into(), until.0.into()]).await?;
        rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
    }

    /// Remembers from which position on a scope is paused, or no longer.
    pub async fn note_switch(&self, scope: &str, paused: bool, position: Position) -> Result<(), Error> {
        let sql = "INSERT INTO switches (workspace, scope, position, paused) VALUES (?, ?, ?, ?)";
        let values = vec![self.id.0.into(), scope.into(), position.0.into(), i64::from(paused).into()];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    pub async fn set_paused(&self, scope: &str, paused: bool, at: Timestamp) -> Result<(), Error> {
        let (sql, values) = if paused {
            let sql = "INSERT INTO pauses (workspace, scope, paused_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
            (sql, vec![self.id.0.into(), scope.into(), at.millis().into()])
        } else {
            ("DELETE FROM pauses WHERE workspace = ? AND scope = ?", vec![self.id.0.into(), scope.into()])
        };
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    pub async fn park(&self, parked: &Parked) -> Result<(), Error> {
        let sql = "INSERT INTO parked (position, workspace, profile, cause, parked_at) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (position) DO NOTHING";
        let values = vec![
            parked.position.0.into(),
            self.id.0.into(),
            parked.profile.map(|profile| profile.0).into(),
            parked.cause.clone().into(),
            parked.parked_at.millis().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    pub async fn parked(&self, limit: u32) -> Result<Vec<Parked>, Error> {
        self.parked_page(None, limit).await
    }

    /// A page of what was parked, the newest position first, in front of `before`.
    pub async fn parked_page(&self, before: Option<Position>, limit: u32) -> Result<Vec<Parked>, Error> {
        let sql = "SELECT position, profile, cause, parked_at, redriven_at FROM parked WHERE position < ?
                   AND workspace = ? ORDER BY position DESC LIMIT ?";
        let before = before.map_or(i64::MAX, |position| position.0);
        let rows = Rows(self.conn).all(sql, vec![before.into(), self.id.0.into(), limit.into()]).await?;
        rows.iter().map(read_parked).collect()
    }

    /// What was parked of this person before `position` and not applied when that entry was decided: its decision knew
    /// nothing of it.
    pub async fn parked_before(
        &self,
        profile: ProfileId,
        position: Position,
        limit: u32,
    ) -> Result<Vec<Parked>, Error> {
        let sql = "SELECT position, profile, cause, parked_at, redriven_at FROM parked
                   WHERE workspace = ?1 AND profile = ?2 AND position < ?3 AND (redriven_at IS NULL
                   OR redriven_at >= (SELECT now FROM entries WHERE position = ?3)) ORDER BY position LIMIT ?4";
        let values = vec![self.id.0.into(), profile.0.into(), position.0.into(), limit.into()];
        Rows(self.conn).all(sql, values).await?.iter().map(read_parked).collect()
    }

    pub async fn parked_at(&self, position: Position) -> Result<Option<Parked>, Error> {
        let sql =
            "SELECT position, profile, cause, parked_at, redriven_at FROM parked WHERE workspace = ? AND position = ?";
        let row = Rows(self.conn).one(sql, vec![self.id.0.into(), position.0.into()]).await?;
        row.as_ref().map(read_parked).transpose()
    }

    /// Marks a parked entry as redriven; false if it is not parked or was redriven before.
    pub async fn mark_redriven(&self, position: Position, at: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE parked SET redriven_at = ? WHERE workspace = ? AND position = ? AND redriven_at IS NULL";
        let values = vec![at.millis().into(), self.id.0.into(), position.0.into()];
        Ok(Rows(self.conn).run(sql, values).await? == 1)
    }

    pub async fn count(&self, name: &str, by: i64) -> Result<(), Error> {
        let sql = match self.conn.get_database_backend() {
            // Each connection adds to its own part, so that nobody waits for another's commit.
            DbBackend::Postgres => {
                "INSERT INTO counters (workspace, name, part, value) VALUES (?, ?, pg_backend_pid() % 256, ?)
                 ON CONFLICT (workspace, name, part) DO UPDATE SET value = counters.value + excluded.value"
            }
            _ => {
                "INSERT INTO counters (workspace, name, value) VALUES (?, ?, ?)
                 ON CONFLICT (workspace, name) DO UPDATE SET value = counters.value + excluded.value"
            }
        };
        Rows(self.conn).run(sql, vec![self.id.0.into(), name.into(), by.into()]).await?;
        Ok(())
    }

    pub async fn counters(&self) -> Result<BTreeMap<String, i64>, Error> {
        let sql =
            "SELECT name, CAST(sum(value) AS BIGINT) FROM counters WHERE workspace = ? GROUP BY name ORDER BY name";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into()]).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }
}

fn read_parked(row: &QueryResult) -> Result<Parked, Error> {
    Ok(Parked {
        position: Position(row.try_get_by_index(0)?),
        profile: row.try_get_by_index::<Option<i64>>(1)?.map(ProfileId),
        cause: row.try_get_by_index(2)?,
        parked_at: Timestamp::from_millis(row.try_get_by_index(3)?),
        redriven_at: row.try_get_by_index::<Option<i64>>(4)?.map(Timestamp::from_millis),
    })
}

pub async fn setting<C: ConnectionTrait>(conn: &C, name: &str) -> Result<Option<String>, Error> {
    Rows(conn).scalar("SELECT value FROM settings WHERE name = ?", vec![name.into()]).await
}

/// Stores a setting unless it has a value; the answer is the value it has.
pub async fn keep_setting<C: ConnectionTrait>(tx: &C, name: &str, value: &str) -> Result<String, Error> {
    if let Some(known) = setting(tx, name).await? {
        return Ok(known);
    }
    set_setting(tx, name, value).await?;
    Ok(value.to_owned())
}

pub async fn set_setting<C: ConnectionTrait>(conn: &C, name: &str, value: &str) -> Result<(), Error> {
    let sql =
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    Rows(conn).run(sql, vec![name.into(), value.into()]).await?;
    Ok(())
}

pub async fn unset_setting<C: ConnectionTrait>(tx: &C, name: &str) -> Result<(), Error> {
    Rows(tx).run("DELETE FROM settings WHERE name = ?", vec![name.into()]).await?;
    Ok(())
}

/// The setting, which from now on is `value` if it was not set.
pub async fn setting_or<C: ConnectionTrait>(conn: &C, name: &str, value: &str) -> Result<String, Error> {
    let sql = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING";
    Rows(conn).run(sql, vec![name.into(), value.into()]).await?;
    Ok(setting(conn, name).await?.unwrap_or_default())
}

/// The last entry of which what is decided has ids that do not begin with its instant.
pub async fn ids_by_time_after<C: ConnectionTrait>(conn: &C) -> Result<Position, Error> {
    let after = setting(conn, "ids_by_time_after").await?.unwrap_or_default();
    Ok(Position(after.parse().unwrap_or_default()))
}

/// Workspaces that have any entry, key or definition.
pub async fn workspaces<C: ConnectionTrait>(conn: &C) -> Result<Vec<WorkspaceId>, Error> {
    let sql = "SELECT workspace FROM write_keys UNION SELECT workspace FROM definitions ORDER BY 1";
    let rows = Rows(conn).all(sql, vec![]).await?;
    rows.iter().map(|row| Ok(WorkspaceId(row.try_get_by_index(0)?))).collect()
}
