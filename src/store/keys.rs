//! Write keys: only a hash is stored; the key itself is shown once.

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;

use crate::ids::{Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = WriteKey)]
pub struct StoredKey {
    pub id: String,
    pub source: String,
    pub name: String,
    /// The first characters of the key, to recognise it by.
    pub prefix: String,
    #[serde(skip)]
    pub hash: Vec<u8>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    pub async fn add_key(&self, key: &StoredKey) -> Result<(), Error> {
        let sql = "INSERT INTO write_keys (id, workspace, source, name, prefix, hash, created_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values: Values = vec![
            key.id.clone().into(),
            self.id.0.into(),
            key.source.clone().into(),
            key.name.clone().into(),
            key.prefix.clone().into(),
            key.hash.clone().into(),
            key.created_at.millis().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    /// Keys made after one, revoked ones too, oldest first.
    pub async fn keys(&self, after: Option<(Timestamp, String)>, limit: u32) -> Result<Vec<StoredKey>, Error> {
        let sql = format!("{SELECT} WHERE workspace = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?");
        let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.millis(), id));
        let values = vec![self.id.0.into(), at.into(), id.into(), limit.into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// False if there is no such key, or it is revoked already.
    pub async fn revoke_key(&self, id: &str, at: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE write_keys SET revoked_at = ? WHERE workspace = ? AND (id = ? OR prefix = ?) AND revoked_at IS NULL";
        let values = vec![at.millis().into(), self.id.0.into(), id.into(), id.into()];
        Ok(Rows(self.conn).run(sql, values).await? > 0)
    }
}

const SELECT: &str = "SELECT workspace, id, source, name, prefix, hash, created_at, revoked_at FROM write_keys";

/// Every key of every workspace, revoked ones too.
pub async fn all_keys<C: ConnectionTrait>(conn: &C) -> Result<Vec<(WorkspaceId, StoredKey)>, Error> {
    let rows = Rows(conn).all(&format!("{SELECT} ORDER BY created_at, id"), vec![]).await?;
    rows.iter().map(|row| Ok((WorkspaceId(row.try_get_by_index(0)?), read(row)?))).collect()
}

fn read(row: &QueryResult) -> Result<StoredKey, Error> {
    Ok(StoredKey {
        id: row.try_get_by_index(1)?,
        source: row.try_get_by_index(2)?,
        name: row.try_get_by_index(3)?,
        prefix: row.try_get_by_index(4)?,
        hash: row.try_get_by_index(5)?,
        created_at: Timestamp::from_millis(row.try_get_by_index(6)?),
        revoked_at: row.try_get_by_index::<Option<i64>>(7)?.map(Timestamp::from_millis),
    })
}
