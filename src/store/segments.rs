//! Who is in which segment, by segment. The profile's own row says the same and is what decisions read; this table is
//! written beside it, when a membership changes, so that a segment can be counted and shown.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};

use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::controls::setting;
use crate::store::rows::{Error, Rows, Values, decode, encode};
use crate::store::shards::unprocessed;

/// A person in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub profile: ProfileId,
    pub user_id: Option<String>,
    pub since: Timestamp,
}

/// How far the pass is that looks at everybody after segments have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The definitions by which everybody is looked at.
    pub since: Position,
    /// The last person whose turn came.
    pub after: ProfileId,
    pub looked_at: u64,
    /// Whose turn was to come when it began; of who is new since, nobody needs it.
    pub people: u64,
}

impl Progress {
    /// After so many more, the last of them this one.
    #[must_use]
    pub fn further(self, count: usize, last: Option<ProfileId>) -> Self {
        let looked_at = self.looked_at + count as u64;
        Self { after: last.unwrap_or(self.after), looked_at, people: self.people.max(looked_at), ..self }
    }

    pub fn to_text(&self) -> String {
        encode(self)
    }
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The pass under way, or the last one.
    pub async fn pass(&self) -> Result<Option<Progress>, Error> {
        let known = setting(self.conn, &pass_setting(self.id)).await?;
        known.map(|text| decode("setting", &text)).transpose()
    }

    /// How many people were last looked at by older definitions.
    pub async fn count_not_looked_at(&self, since: Position) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM profiles WHERE workspace = ? AND segments_seen < ? AND merged_into IS NULL";
        let count: Option<i64> = Rows(self.conn).scalar(sql, vec![self.id.0.into(), since.0.into()]).await?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Stores since when people are in segments, or that they are no longer.
    pub async fn set_members(&self, members: BTreeMap<(String, ProfileId), Option<Timestamp>>) -> Result<(), Error> {
        let (mut come, mut gone): (_, BTreeMap<String, Values>) = (Vec::new(), BTreeMap::new());
        for ((segment, profile), since) in members {
            match since {
                Some(since) => {
                    come.push(vec![self.id.0.into(), segment.into(), profile.0.into(), since.millis().into()]);
                }
                None => gone.entry(segment).or_default().push(profile.0.into()),
            }
        }
        let head = "INSERT INTO segment_members (workspace, segment, profile, since)";
        let tail = "ON CONFLICT (workspace, segment, profile) DO UPDATE SET since = excluded.since";
        Rows(self.conn).insert(head, tail, 4, come).await?;
        for (segment, people) in gone {
            for some in people.chunks(512) {
                let (is_one_of_these, keys) = Rows(self.conn).among("profile", some.to_vec());
                let sql =
                    format!("DELETE FROM segment_members WHERE workspace = ? AND segment = ? AND {is_one_of_these}");
                let values = [self.id.0.into(), segment.clone().into()].into_iter().chain(keys).collect();
                Rows(self.conn).run(&sql, values).await?;
            }
        }
        Ok(())
    }

    /// How many are in each segment; those with nobody are left out.
    pub async fn segment_sizes(&self) -> Result<BTreeMap<String, u64>, Error> {
        let sql = "SELECT segment, count(*) FROM segment_members WHERE workspace = ? GROUP BY segment";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into()]).await?;
        let size = |count: i64| u64::try_from(count).unwrap_or(0);
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, size(row.try_get_by_index(1)?)))).collect()
    }

    /// People of a segment after one, by profile.
    pub async fn members(&self, segment: &str, after: ProfileId, limit: u32) -> Result<Vec<Member>, Error> {
        let sql = "SELECT segment_members.profile, profiles.user_id, segment_members.since FROM segment_members
                   JOIN profiles ON profiles.id = segment_members.profile
                   WHERE segment_members.workspace = ? AND segment_members.segment = ?
                   AND segment_members.profile > ? ORDER BY segment_members.profile LIMIT ?";
        let rows =
            Rows(self.conn).all(sql, vec![self.id.0.into(), segment.into(), after.0.into(), limit.into()]).await?;
        rows.iter()
            .map(|row| {
                let profile = ProfileId(row.try_get_by_index(0)?);
                let since = Timestamp::from_millis(row.try_get_by_index(2)?);
                Ok(Member { profile, user_id: row.try_get_by_index(1)?, since })
            })
            .collect()
    }

    /// Whom an event of this name is about that is logged and not processed yet.
    pub async fn behind_by(&self, name: &str) -> Result<BTreeSet<ProfileId>, Error> {
        let unprocessed = unprocessed(self.conn.get_database_backend(), "entries");
        let sql = format!(
            "SELECT DISTINCT entries.profile FROM {unprocessed} AND entries.profile IS NOT NULL
             AND entries.workspace = ? AND entries.name = ?"
        );
        let rows = Rows(self.conn).all(&sql, vec![self.id.0.into(), name.into()]).await?;
        rows.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
    }

    /// People after `after` whose segments were last looked at by older definitions, in the order of their ids.
    pub async fn not_looked_at(&self, since: Position, after: ProfileId, limit: u32) -> Result<Vec<ProfileId>, Error> {
        let sql = "SELECT id FROM profiles WHERE id > ? AND workspace = ? AND segments_seen < ?
                   AND merged_into IS NULL ORDER BY id LIMIT ?";
        let values = vec![after.0.into(), self.id.0.into(), since.0.into(), limit.into()];
        let rows = Rows(self.conn).all(sql, values).await?;
        rows.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
    }
}

/// The setting that remembers how far the pass is.
pub fn pass_setting(workspace: WorkspaceId) -> String {
    format!("segments_pass:{}", workspace.0)
}

/// The setting that remembers by which definitions everybody was looked at.
pub fn looked_at_setting(workspace: WorkspaceId) -> String {
    format!("segments_looked_at:{}", workspace.0)
}
