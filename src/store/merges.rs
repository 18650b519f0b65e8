//! Profiles that became one: who joined whom by which entry of the log, and the rows of the one that are the other's
//! from then on.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::ids::{Position, ProfileId, WorkspaceId};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, marks};
use crate::store::shards::Layout;

/// Rows of each table moved in one transaction, those that matter soonest first; the rest follow in slices.
const MOVED_MAX: u32 = 5_000;

/// An entry of the log joins a profile to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    pub workspace: WorkspaceId,
    pub loser: ProfileId,
    pub winner: ProfileId,
    pub position: Position,
    /// Where the loser's shard ended then: what it did before is decided before.
    pub loser_head: Position,
}

/// Stored with its entry; an entry that comes again takes the place of its first.
pub async fn add_joined<C: ConnectionTrait>(conn: &C, joined: impl Iterator<Item = Joined>) -> Result<(), Error> {
    for one in joined {
        let sql = "INSERT INTO merges (loser, workspace, winner, position, loser_head) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (loser) DO UPDATE SET winner = excluded.winner, position = excluded.position,
                     loser_head = excluded.loser_head";
        let positions = [one.position.0.into(), one.loser_head.0.into()];
        let values =
            [one.loser.0.into(), one.workspace.0.into(), one.winner.0.into()].into_iter().chain(positions).collect();
        Rows(conn).run(sql, values).await?;
    }
    Ok(())
}

/// Of these profiles, those that joined another, with the other; and of those in turn.
pub async fn heirs_of<C: ConnectionTrait>(
    conn: &C,
    profiles: &[ProfileId],
) -> Result<BTreeMap<ProfileId, ProfileId>, Error> {
    let mut heirs = BTreeMap::new();
    let mut asked: BTreeSet<ProfileId> = profiles.iter().copied().collect();
    while !asked.is_empty() {
        let list: Vec<ProfileId> = std::mem::take(&mut asked).into_iter().collect();
        for chunk in list.chunks(512) {
            let (is_one_of_these, keys) =
                Rows(conn).among("loser", chunk.iter().map(|profile| profile.0.into()).collect());
            let sql = format!("SELECT loser, winner FROM merges WHERE {is_one_of_these}");
            for row in Rows(conn).all(&sql, keys).await? {
                let (loser, winner) = (ProfileId(row.try_get_by_index(0)?), ProfileId(row.try_get_by_index(1)?));
                if heirs.insert(loser, winner).is_none() && !heirs.contains_key(&winner) {
                    asked.insert(winner);
                }
            }
        }
    }
    Ok(heirs)
}

/// Of these profiles, each of which joined another, where each one's shard ended when it did.
pub async fn heads_of_losers<C: ConnectionTrait>(
    conn: &C,
    losers: &[ProfileId],
) -> Result<BTreeMap<ProfileId, Position>, Error> {
    let mut heads = BTreeMap::new();
    for chunk in losers.chunks(500) {
        let sql = format!("SELECT loser, loser_head FROM merges WHERE loser IN ({})", marks(chunk.len()));
        for row in Rows(conn).all(&sql, chunk.iter().map(|loser| loser.0.into()).collect()).await? {
            heads.insert(ProfileId(row.try_get_by_index(0)?), Position(row.try_get_by_index(1)?));
        }
    }
    Ok(heads)
}

/// A statement's beginning: `people` are the profiles that `select` yields, and those they were merged into: an entry may name a former profile, where another
/// process had not heard of the merge or has not come to it.
pub fn people_and_winners(select: &str) -> String {
    format!(
        "WITH RECURSIVE people(profile) AS ({select}
            UNION SELECT merges.winner FROM merges JOIN people ON merges.loser = people.profile)"
    )
}

/// Profiles of which rows wait to be moved, the oldest first.
pub async fn unfinished<C: ConnectionTrait>(conn: &C, limit: u32) -> Result<Vec<(WorkspaceId, ProfileId)>, Error> {
    let sql = "SELECT workspace, loser FROM merges WHERE rest = 1 ORDER BY loser LIMIT ?";
    let rows = Rows(conn).all(sql, vec![i64::from(limit).into()]).await?;
    rows.iter().map(|row| Ok((WorkspaceId(row.try_get_by_index(0)?), ProfileId(row.try_get_by_index(1)?)))).collect()
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The profile that a person's state is in now, whichever of their profiles is asked for.
    pub async fn current_profile(&self, profile: ProfileId) -> Result<ProfileId, Error> {
        let sql = "SELECT merged_into FROM profiles WHERE workspace = ? AND id = ?";
        let mut current = profile;
        loop {
            let values = vec![self.id.0.into(), current.0.into()];
            match Rows(self.conn).scalar::<Option<i64>>(sql, values).await?.flatten() {
                Some(winner) => current = ProfileId(winner),
                None => return Ok(current),
            }
        }
    }

    /// Where the shards of those who joined another ended then.
    pub async fn heads_of(&self, losers: &[ProfileId]) -> Result<BTreeMap<ProfileId, Position>, Error> {
        heads_of_losers(self.conn, losers).await
    }

    /// Whom these became the same as: (winner, loser).
    pub async fn losers_of(&self, winners: &[ProfileId]) -> Result<Vec<(ProfileId, ProfileId)>, Error> {
        let mut found = Vec::new();
        for chunk in winners.chunks(500) {
            let of = marks(chunk.len());
            let sql = format!("SELECT winner, loser FROM merges WHERE workspace = ? AND winner IN ({of})");
            let values = [self.id.0.into()].into_iter().chain(chunk.iter().map(|id| id.0.into())).collect();
            for row in Rows(self.conn).all(&sql, values).await? {
                found.push((ProfileId(row.try_get_by_index(0)?), ProfileId(row.try_get_by_index(1)?)));
            }
        }
        Ok(found)
    }

    /// The same for many at once: those that are another's by now, each with whose.
    pub async fn current_profiles(
        &self,
        profiles: &BTreeSet<ProfileId>,
    ) -> Result<BTreeMap<ProfileId, ProfileId>, Error> {
        let mut winners: BTreeMap<ProfileId, ProfileId> = BTreeMap::new();
        let mut open: Vec<ProfileId> = profiles.iter().copied().collect();
        while !open.is_empty() {
            let mut next = BTreeSet::new();
            for chunk in open.chunks(500) {
                let sql = format!(
                    "SELECT id, merged_into FROM profiles WHERE workspace = ? AND merged_into IS NOT NULL AND id IN ({})",
                    marks(chunk.len())
                );
                let mut values: Values = vec![self.id.0.into()];
                values.extend(chunk.iter().map(|id| id.0.into()));
                for row in Rows(self.conn).all(&sql, values).await? {
                    let winner = ProfileId(row.try_get_by_index(1)?);
                    winners.insert(ProfileId(row.try_get_by_index(0)?), winner);
                    next.insert(winner);
                }
            }
            open = next.into_iter().filter(|id| !winners.contains_key(id)).collect();
        }
        let last = |mut id: ProfileId| {
            while let Some(winner) = winners.get(&id) {
                id = *winner;
            }
            id
        };
        Ok(profiles.iter().filter(|id| winners.contains_key(id)).map(|id| (*id, last(*id))).collect())
    }

    /// The loser's row says where its person is from now on.
    pub async fn set_merged(&self, loser: ProfileId, winner: ProfileId) -> Result<(), Error> {
        let sql = "UPDATE profiles SET merged_into = ? WHERE workspace = ? AND id = ?";
        Rows(self.conn).run(sql, vec![winner.0.into(), self.id.0.into(), loser.0.into()]).await?;
        Ok(())
    }

    /// The loser's pages above `above` follow the winner's, of which there were `after`.
    pub async fn move_pages(&self, loser: ProfileId, winner: ProfileId, above: u32, after: u32) -> Result<(), Error> {
        let sql = "UPDATE history_pages SET profile = ?, page = page + ? WHERE profile = ? AND page > ?";
        let shift = i64::from(after) - i64::from(above);
        Rows(self.conn).run(sql, vec![winner.0.into(), shift.into(), loser.0.into(), i64::from(above).into()]).await?;
        Ok(())
    }

    /// Makes the loser's rows the winner's, at most [`MOVED_MAX`] of each table: what is waiting first, then the
    /// newest. Remembers whether some are left.
    pub async fn move_rows(&self, loser: ProfileId, winner: ProfileId) -> Result<(), Error> {
        let shard = Layout::of(self.conn.get_database_backend()).shard_of(winner).number();
        // Conversions are found by their messages, so they move before them.
        let messages = "SELECT id FROM messages WHERE profile = ?
                        ORDER BY CASE WHEN due_at IS NULL THEN 1 ELSE 0 END, created_at DESC LIMIT ?";
        let conversions = format!("UPDATE conversions SET profile = ? WHERE message IN ({messages})");
        self.move_some(&conversions, loser, winner).await?;
        let messages = format!("UPDATE messages SET profile = ?, shard = {shard} WHERE id IN ({messages})");
        let enrollments = "UPDATE enrollments SET profile = ? WHERE id IN (SELECT id FROM enrollments WHERE profile = ?
            ORDER BY CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END, entered_at DESC LIMIT ?)";
        let consents = "UPDATE consents SET profile = ? WHERE (profile, channel, position) IN
            (SELECT profile, channel, position FROM consents WHERE profile = ? ORDER BY position DESC LIMIT ?)";
        let parked = "UPDATE parked SET profile = ? WHERE position IN
            (SELECT position FROM parked WHERE profile = ? ORDER BY position DESC LIMIT ?)";
        let mut most = 0;
        for sql in [messages.as_str(), enrollments, consents, parked] {
            most = most.max(self.move_some(sql, loser, winner).await?);
        }
        for table in ["segment_members", "inclusions"] {
            Rows(self.conn).run(&format!("DELETE FROM {table} WHERE profile = ?"), vec![loser.0.into()]).await?;
        }
        // Whoever was united says yes and no for both; where both said no at once, one row is enough.
        let stopped = "UPDATE suppressed_addresses SET profile = ? WHERE profile = ? AND profile <> 0 AND NOT EXISTS
            (SELECT 1 FROM suppressed_addresses theirs WHERE theirs.workspace = suppressed_addresses.workspace
             AND theirs.subject = suppressed_addresses.subject AND theirs.kind = suppressed_addresses.kind
             AND theirs.profile = ? AND theirs.at = suppressed_addresses.at)";
        Rows(self.conn).run(stopped, vec![winner.0.into(), loser.0.into(), winner.0.into()]).await?;
        let identifiers = "UPDATE identifiers SET profile = ? WHERE profile = ?";
        Rows(self.conn).run(identifiers, vec![winner.0.into(), loser.0.into()]).await?;
        let rest = i64::from(most >= u64::from(MOVED_MAX));
        let sql = "UPDATE merges SET rest = ? WHERE loser = ? AND rest <> ?";
        Rows(self.conn).run(sql, vec![rest.into(), loser.0.into(), rest.into()]).await?;
        Ok(())
    }

    async fn move_some(&self, sql: &str, loser: ProfileId, winner: ProfileId) -> Result<u64, Error> {
        let values: Values = vec![winner.0.into(), loser.0.into(), i64::from(MOVED_MAX).into()];
        Rows(self.conn).run(sql, values).await
    }

    /// Whose message it is now: its profile may have joined another while it was in somebody's hands.
    pub async fn profile_of_message(&self, id: crate::ids::MessageId) -> Result<Option<ProfileId>, Error> {
        let sql = "SELECT profile FROM messages WHERE workspace = ? AND id = ?";
        let values = vec![self.id.0.into(), id.as_bytes().to_vec().into()];
        Ok(Rows(self.conn).scalar(sql, values).await?.map(ProfileId))
    }
}
