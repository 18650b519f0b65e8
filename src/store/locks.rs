//! What a transaction waits for, and then has to itself until it ends: shards of the log, addresses, and who is who.
//!
//! SQLite has one writer, and no locks. On PostgreSQL everybody waits in one order, so that nobody waits in a circle: for
//! who is who, for shards, lowest first, for addresses, lowest key first. A statement after the lock sees what was
//! committed under it before.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;

use crate::ids::{Timestamp, WorkspaceId};
use crate::store::rows::{Error, Rows};
use crate::store::shards::{Heads, Layout, ShardSet, read_heads};

/// The first half of our advisory locks' keys.
const SHARD_LOCKS: i32 = 0x6361_7201;
const IDENTITY_LOCK: i32 = 0x6361_7202;
const ADDRESS_LOCKS: i32 = 0x6361_7204;
const HOLDERS_LOCK: i32 = 0x6361_7205;
/// The server has room for some thousand locks, of all transactions together.
const ADDRESSES_MAX: usize = 512;

/// What a change has to itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Where it may append, and what else of these people's it changes.
    pub shards: ShardSet,
    /// Keys of addresses. Two that share one by chance wait for each other, no more.
    addresses: BTreeSet<i32>,
}

impl From<ShardSet> for Reach {
    fn from(shards: ShardSet) -> Self {
        Self { shards, addresses: BTreeSet::new() }
    }
}

impl Reach {
    /// These shards, and addresses by their subjects: for whoever clears a message for an address, and whoever stops one.
    /// The people of an address may be of any shard.
    pub fn with(layout: Layout, shards: ShardSet, subjects: impl Iterator<Item = (WorkspaceId, String)>) -> Self {
        let mut reach = Self::from(shards);
        if layout.is_shared() {
            reach.addresses.extend(subjects.map(|(workspace, subject)| key_of(workspace, &subject)));
        }
        reach
    }

    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.shards = self.shards.or(other.shards);
        self.addresses.extend(other.addresses);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.addresses.is_empty()
    }

    /// The same, where too many addresses are every shard: whoever clears a message has one.
    #[must_use]
    pub fn bounded(self) -> Self {
        if self.addresses.len() > ADDRESSES_MAX { ShardSet::EVERY.into() } else { self }
    }
}

fn key_of(workspace: WorkspaceId, subject: &str) -> i32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&workspace.0.to_le_bytes()).update(subject.as_bytes());
    let [first, second, third, fourth, ..] = *hasher.finalize().as_bytes();
    i32::from_le_bytes([first, second, third, fourth])
}

/// The setting that counts how often identifiers were taken from their people. The database's function knows its name.
pub const TAKEN_BACK: &str = "identifiers_taken_back";

/// What was found once the locks were there.
#[derive(Debug, Clone, Default)]
pub struct Locked {
    /// Where the shards end, which nobody else moves meanwhile.
    pub heads: Heads,
    /// The latest instant there.
    pub last_now: Timestamp,
    /// What [`TAKEN_BACK`] says.
    pub taken_back: Option<String>,
}

/// Waits for these locks and holds them to the end of the transaction.
pub async fn lock<C: ConnectionTrait>(tx: &C, reach: &Reach) -> Result<Locked, Error> {
    let shards = Layout::of(tx.get_database_backend()).all().and(reach.shards);
    let of_shards = shards.iter().map(|shard| (SHARD_LOCKS, i32::try_from(shard.number()).unwrap_or_default()));
    let locks = of_shards.chain(reach.addresses.iter().map(|key| (ADDRESS_LOCKS, *key)));
    let (classes, keys): (Vec<i32>, Vec<i32>) = locks.unzip();
    // One statement, which takes them in this order, whatever their number, and then looks anew.
    let sql = "SELECT of_shard, last_position, last_now, taken_back FROM take_locks_and_look(?, ?, ?)";
    let rows = Rows(tx).all(sql, vec![classes.into(), keys.into(), shards.bits().into()]).await?;
    let (heads, last_now) = read_heads(&rows)?;
    let taken_back = rows.first().map_or(Ok(None), |row| row.try_get_by_index(3))?;
    Ok(Locked { heads, last_now, taken_back })
}

/// Waits until nobody else gives or changes identifiers, to the end of the transaction.
pub async fn lock_identities<C: ConnectionTrait>(tx: &C) -> Result<(), Error> {
    Rows(tx).run(&format!("SELECT pg_advisory_xact_lock({IDENTITY_LOCK}, 0)"), vec![]).await?;
    Ok(())
}

/// While whoever files people under their addresses shares this, nobody tells people of changed ones; to the end of the
/// transaction, and after every other lock.
pub async fn share_addresses<C: ConnectionTrait>(tx: &C) -> Result<(), Error> {
    hold_addresses(tx, "pg_advisory_xact_lock_shared").await
}

/// Waits for everybody who is filing people under their addresses, and lets nobody begin meanwhile.
pub async fn keep_addresses<C: ConnectionTrait>(tx: &C) -> Result<(), Error> {
    hold_addresses(tx, "pg_advisory_xact_lock").await
}

async fn hold_addresses<C: ConnectionTrait>(tx: &C, how: &str) -> Result<(), Error> {
    if Layout::of(tx.get_database_backend()).is_shared() {
        Rows(tx).run(&format!("SELECT {how}({HOLDERS_LOCK}, 0)"), vec![]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sea_orm::DbBackend;

    use super::*;

    fn addresses(backend: DbBackend, count: usize) -> Reach {
        let subjects = (0..count).map(|n| (WorkspaceId(1), format!("email:{n}@example.com")));
        Reach::with(Layout::of(backend), ShardSet::NONE, subjects)
    }

    #[test]
    fn one_writer_locks_nothing_and_very_many_addresses_are_every_shard() {
        assert!(addresses(DbBackend::Sqlite, 10).is_empty());
        let some = addresses(DbBackend::Postgres, 500);
        assert_eq!(some.clone().bounded(), some);
        assert_eq!(some.or(addresses(DbBackend::Postgres, 600)).bounded(), ShardSet::EVERY.into());
    }
}
