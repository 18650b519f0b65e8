//! Processes that share a database tell each other what they appended, by LISTEN and NOTIFY. A word that is lost costs
//! a second: everybody looks by themselves, too.

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::postgres::PgListener;

use crate::store::rows::{Error, Rows};
use crate::store::shards::ShardSet;

const CHANNEL: &str = "carillon_appended";

/// Says that something was appended to these shards.
pub async fn ring(conn: &DatabaseConnection, shards: ShardSet) -> Result<(), Error> {
    let text = shards.bits().to_string();
    Rows(conn).run("SELECT pg_notify(?, ?)", vec![CHANNEL.into(), text.into()]).await?;
    Ok(())
}

/// Hears what others say.
pub struct Ear(PgListener);

impl Ear {
    /// Uses one connection of the pool from now on.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn open(conn: &DatabaseConnection) -> anyhow::Result<Self> {
        let mut listener = PgListener::connect_with(conn.get_postgres_connection_pool()).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next word; every shard where a connection was lost meanwhile.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn next(&mut self) -> anyhow::Result<ShardSet> {
        match self.0.try_recv().await? {
            Some(word) => Ok(word.payload().parse().map_or(ShardSet::EVERY, ShardSet::of_bits)),
            None => Ok(ShardSet::EVERY),
        }
    }
}
