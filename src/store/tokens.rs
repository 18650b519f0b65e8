//! API tokens: who may call the controls and for what. Of a secret only its SHA-256 is stored; a token that is rotated
//! has two for a while.

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;

use crate::ids::Timestamp;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

/// A token as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredToken {
    pub id: String,
    pub name: String,
    /// By name.
    pub scopes: Vec<String>,
    /// The first characters of its newest secret, to recognise it by.
    pub prefix: String,
    pub created_at: Timestamp,
    /// When its newest secret was made.
    pub rotated_at: Option<Timestamp>,
    /// None: it does not expire.
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// SHA-256 of the whole text.
    pub hash: Vec<u8>,
    pub prefix: String,
    pub created_at: Timestamp,
}

/// What a caller's secret says about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub token: StoredToken,
    /// The secret was replaced, and is taken until then.
    pub valid_until: Option<Timestamp>,
}

const SELECT: &str = "SELECT api_tokens.id, name, scopes, api_tokens.prefix, api_tokens.created_at, rotated_at,
    expires_at, revoked_at, last_used_at";

fn read(row: &QueryResult) -> Result<StoredToken, Error> {
    let instant = |index: usize| -> Result<Option<Timestamp>, Error> {
        Ok(row.try_get_by_index::<Option<i64>>(index)?.map(Timestamp::from_millis))
    };
    let scopes: String = row.try_get_by_index(2)?;
    Ok(StoredToken {
        id: row.try_get_by_index(0)?,
        name: row.try_get_by_index(1)?,
        scopes: scopes.split_whitespace().map(ToOwned::to_owned).collect(),
        prefix: row.try_get_by_index(3)?,
        created_at: Timestamp::from_millis(row.try_get_by_index(4)?),
        rotated_at: instant(5)?,
        expires_at: instant(6)?,
        revoked_at: instant(7)?,
        last_used_at: instant(8)?,
    })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    pub async fn add_token(&self, token: &StoredToken, secret: &Secret) -> Result<(), Error> {
        let sql = "INSERT INTO api_tokens (id, workspace, name, scopes, prefix, created_at, expires_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values: Values = vec![
            token.id.clone().into(),
            self.id.0.into(),
            token.name.clone().into(),
            token.scopes.join(" ").into(),
            token.prefix.clone().into(),
            token.created_at.millis().into(),
            token.expires_at.map(Timestamp::millis).into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        self.add_secret(&token.id, secret).await
    }

    async fn add_secret(&self, token: &str, secret: &Secret) -> Result<(), Error> {
        let sql = "INSERT INTO api_token_secrets (hash, token, created_at) VALUES (?, ?, ?)";
        Rows(self.conn)
            .run(sql, vec![secret.hash.clone().into(), token.into(), secret.created_at.millis().into()])
            .await?;
        Ok(())
    }

    /// Gives a token a new secret; those before are taken until `valid_until`, or as long as they were to be. False if
    /// there is no such token, or it has ended.
    pub async fn rotate_token(&self, id: &str, secret: &Secret, valid_until: Timestamp) -> Result<bool, Error> {
        let at = secret.created_at.millis();
        let sql = "UPDATE api_tokens SET prefix = ?, rotated_at = ? WHERE workspace = ? AND id = ?
                   AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)";
        let values = vec![secret.prefix.clone().into(), at.into(), self.id.0.into(), id.into(), at.into()];
        if Rows(self.conn).run(sql, values).await? == 0 {
            return Ok(false);
        }
        let sql = "UPDATE api_token_secrets SET valid_until = ? WHERE token = ?
                   AND (valid_until IS NULL OR valid_until > ?)";
        let until = valid_until.millis();
        Rows(self.conn).run(sql, vec![until.into(), id.into(), until.into()]).await?;
        self.add_secret(id, secret).await?;
        Ok(true)
    }

    /// False if there is no such token, or it was revoked before.
    pub async fn revoke_token(&self, id: &str, at: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE api_tokens SET revoked_at = ? WHERE workspace = ? AND id = ? AND revoked_at IS NULL";
        Ok(Rows(self.conn).run(sql, vec![at.millis().into(), self.id.0.into(), id.into()]).await? > 0)
    }

    /// The token by its id, or by how its newest secret begins.
    pub async fn token(&self, asked: &str) -> Result<Option<StoredToken>, Error> {
        let sql = format!("{SELECT} FROM api_tokens WHERE workspace = ? AND (id = ? OR prefix = ?)");
        let row = Rows(self.conn).one(&sql, vec![self.id.0.into(), asked.into(), asked.into()]).await?;
        row.as_ref().map(read).transpose()
    }

    /// A page of all tokens, revoked ones too, by creation and id, behind `after`.
    pub async fn tokens(&self, after: Option<(Timestamp, String)>, limit: u32) -> Result<Vec<StoredToken>, Error> {
        let sql = format!(
            "{SELECT} FROM api_tokens WHERE workspace = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
        );
        let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.millis(), id));
        let values = vec![self.id.0.into(), at.into(), id.into(), limit.into()];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// Whose secret this is, by its hash; ended tokens too.
    pub async fn token_of(&self, hash: &[u8]) -> Result<Option<Presented>, Error> {
        let sql = format!(
            "{SELECT}, valid_until FROM api_token_secrets JOIN api_tokens ON api_tokens.id = api_token_secrets.token
             WHERE api_token_secrets.hash = ? AND workspace = ?"
        );
        let row = Rows(self.conn).one(&sql, vec![hash.to_vec().into(), self.id.0.into()]).await?;
        let presented = |row: &QueryResult| -> Result<Presented, Error> {
            let valid_until = row.try_get_by_index::<Option<i64>>(9)?.map(Timestamp::from_millis);
            Ok(Presented { token: read(row)?, valid_until })
        };
        row.as_ref().map(presented).transpose()
    }

    pub async fn note_token_used(&self, id: &str, at: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE api_tokens SET last_used_at = ? WHERE workspace = ? AND id = ?
                   AND (last_used_at IS NULL OR last_used_at < ?)";
        let values = vec![at.millis().into(), self.id.0.into(), id.into(), at.millis().into()];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }
}
