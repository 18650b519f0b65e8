//! Leases of shards as rows: who works on a shard, until when, under which token.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;

use crate::store::rows::{Error, Rows};
use crate::store::shards::{Shard, ShardSet};

/// Whether the shard's lease still has this token; none: there is nobody else. The shard's lock must be held, so that
/// the answer holds to the end of the transaction.
pub async fn is_owner<C: ConnectionTrait>(tx: &C, shard: Shard, token: Option<i64>) -> Result<bool, Error> {
    let Some(token) = token else { return Ok(true) };
    let sql = "SELECT token FROM leases WHERE shard = ?";
    Ok(Rows(tx).scalar::<i64>(sql, vec![shard.number().into()]).await? == Some(token))
}

/// The tokens under which a process believes to have its shards; none where nobody else can have one.
pub type Fences = BTreeMap<Shard, Option<i64>>;

/// Of these shards, those that still have the token.
pub async fn owned<C: ConnectionTrait>(tx: &C, fences: &Fences) -> Result<ShardSet, Error> {
    let mut owned: ShardSet = fences.iter().filter(|(_, token)| token.is_none()).map(|(shard, _)| *shard).collect();
    if fences.values().any(Option::is_some) {
        for row in Rows(tx).all("SELECT shard, token FROM leases", vec![]).await? {
            let shard = Shard::read(row.try_get_by_index(0)?)?;
            if fences.get(&shard) == Some(&Some(row.try_get_by_index(1)?)) {
                owned.insert(shard);
            }
        }
    }
    Ok(owned)
}
