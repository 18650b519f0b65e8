//! Definitions as rows: every version is kept, none is changed.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, QueryResult};
use serde::{Deserialize, Serialize};

use crate::ids::{Position, Timestamp};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, decode, encode, int};
use crate::store::shards::Layout;

/// One version of one document, with the text it was written in.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDefinition {
    pub kind: String,
    pub key: String,
    pub version: u32,
    /// The files it was read from, verbatim: what export writes back.
    pub files: Vec<StoredFile>,
    /// The log entry from which on it is in force.
    pub position: Position,
    pub applied_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Relative to the folder that was applied.
    pub name: String,
    pub text: String,
}

/// Documents looked for one by one; more are sorted out of all of them.
const ASKED_ONE_BY_ONE_MAX: usize = 64;

const SELECT: &str = "SELECT kind, key, version, files, position, applied_at FROM definitions";

fn read(row: &QueryResult) -> Result<StoredDefinition, Error> {
    let (kind, key): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let files: Result<String, _> = row.try_get_by_index(3);
    // One damaged text must not take all others out of force; without files, applying it again makes a new version.
    let files = files.map_err(Error::from).and_then(|files| decode("definition", &files)).unwrap_or_else(|error| {
        tracing::error!(kind, key, %error, "a stored definition is damaged; apply it again");
        Vec::new()
    });
    Ok(StoredDefinition {
        kind,
        key,
        version: int(row, 2)?,
        files,
        position: Position(row.try_get_by_index(4)?),
        applied_at: Timestamp::from_millis(row.try_get_by_index(5)?),
    })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The newest version of every document.
    pub async fn definitions(&self) -> Result<Vec<StoredDefinition>, Error> {
        let sql = format!(
            "{SELECT} AS one WHERE workspace = ? AND version = (SELECT max(version) FROM definitions AS other
             WHERE other.workspace = one.workspace AND other.kind = one.kind AND other.key = one.key)
             ORDER BY kind, key"
        );
        Rows(self.conn).all(&sql, vec![self.id.0.into()]).await?.iter().map(read).collect()
    }

    /// Every version of one document, the newest first.
    pub async fn definition_versions(&self, kind: &str, key: &str) -> Result<Vec<StoredDefinition>, Error> {
        let sql = format!("{SELECT} WHERE workspace = ? AND kind = ? AND key = ? ORDER BY version DESC");
        Rows(self.conn).all(&sql, vec![self.id.0.into(), kind.into(), key.into()]).await?.iter().map(read).collect()
    }

    /// Every version that was in force at or before `position`, oldest first.
    pub async fn definitions_until(&self, position: Position) -> Result<Vec<StoredDefinition>, Error> {
        let until = self.definitions_position(position).await?;
        let sql = format!("{SELECT} WHERE workspace = ? AND position <= ? ORDER BY kind, key, version");
        Rows(self.conn).all(&sql, vec![self.id.0.into(), until.0.into()]).await?.iter().map(read).collect()
    }

    /// Every version that came into force after `from`, or at it, until `until` included, oldest first. Both are places
    /// among definitions; see [`definitions_position`](Self::definitions_position).
    pub async fn definitions_between(&self, from: Position, until: Position) -> Result<Vec<StoredDefinition>, Error> {
        let sql = format!(
            "{SELECT} WHERE workspace = ? AND position >= ? AND position <= ? ORDER BY position, kind, key, version"
        );
        let values = vec![self.id.0.into(), from.0.into(), until.0.into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// The newest version of each of these documents, (kind, key); those there are none of are missing.
    pub async fn newest_of(&self, documents: &BTreeSet<(&str, &str)>) -> Result<Vec<StoredDefinition>, Error> {
        if documents.len() > ASKED_ONE_BY_ONE_MAX {
            let mut all = self.definitions().await?;
            all.retain(|one| documents.contains(&(one.kind.as_str(), one.key.as_str())));
            return Ok(all);
        }
        let sql = format!("{SELECT} WHERE workspace = ? AND kind = ? AND key = ? ORDER BY version DESC LIMIT 1");
        let mut found = Vec::new();
        for (kind, key) in documents {
            let values = vec![self.id.0.into(), (*kind).into(), (*key).into()];
            found.extend(Rows(self.conn).one(&sql, values).await?.as_ref().map(read).transpose()?);
        }
        Ok(found)
    }

    /// Where an entry stands among definitions, which are known by where theirs stand in the first shard.
    pub async fn definitions_position(&self, position: Position) -> Result<Position, Error> {
        let layout = Layout::of(self.conn.get_database_backend());
        if !layout.is_shared() || position == Position(i64::MAX) {
            return Ok(position);
        }
        let sql = "SELECT coalesce(max(barrier), 0) FROM barriers WHERE shard = ? AND position <= ?";
        let values = vec![layout.shard_at(position).number().into(), position.0.into()];
        Ok(Position(Rows(self.conn).scalar(sql, values).await?.unwrap_or(0)))
    }

    pub async fn add_definition(&self, definition: &StoredDefinition) -> Result<(), Error> {
        let sql = "INSERT INTO definitions (workspace, kind, key, version, files, position, applied_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = vec![
            self.id.0.into(),
            definition.kind.clone().into(),
            definition.key.clone().into(),
            definition.version.into(),
            encode(&definition.files).into(),
            definition.position.0.into(),
            definition.applied_at.millis().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }
}
