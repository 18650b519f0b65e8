//! Who waits for their turn in a campaign that asks for people who are in its segment already. The person's own row says
//! the same and is what decisions read; a row of this table goes as soon as the turn is given.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};

use crate::ids::{ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::controls::setting;
use crate::store::rows::{Error, Rows, decode, encode, marks};

/// How far a campaign is with those who were members already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Given {
    /// Nobody has a turn before.
    pub next_at: Timestamp,
    /// Turns given.
    pub people: u64,
}

impl Given {
    pub fn to_text(&self) -> String {
        encode(self)
    }
}

/// The setting that remembers how far a campaign is.
pub fn given_setting(workspace: WorkspaceId, campaign: &str) -> String {
    format!("included:{}:{campaign}", workspace.0)
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// How far a campaign is.
    pub async fn given(&self, campaign: &str) -> Result<Given, Error> {
        let known = setting(self.conn, &given_setting(self.id, campaign)).await?;
        known.map_or(Ok(Given::default()), |text| decode("setting", &text))
    }

    /// Stores since when people who wait are members and by what their order goes, or that they no longer wait.
    pub async fn set_inclusions(
        &self,
        inclusions: BTreeMap<(String, ProfileId), Option<(Timestamp, Timestamp)>>,
    ) -> Result<(), Error> {
        let (mut come, mut gone) = (Vec::new(), BTreeMap::<String, Vec<ProfileId>>::new());
        for ((campaign, profile), waiting) in inclusions {
            match waiting {
                Some((since, rank)) => come.push(vec![
                    self.id.0.into(),
                    campaign.into(),
                    profile.0.into(),
                    since.millis().into(),
                    rank.millis().into(),
                ]),
                None => gone.entry(campaign).or_default().push(profile),
            }
        }
        let head = "INSERT INTO inclusions (workspace, campaign, profile, since, place)";
        let tail =
            "ON CONFLICT (workspace, campaign, profile) DO UPDATE SET since = excluded.since, place = excluded.place";
        Rows(self.conn).insert(head, tail, 5, come).await?;
        for (campaign, people) in gone {
            self.end_inclusions(&campaign, &people).await?;
        }
        Ok(())
    }

    /// These people no longer wait for a turn in this campaign.
    pub async fn end_inclusions(&self, campaign: &str, people: &[ProfileId]) -> Result<(), Error> {
        for chunk in people.chunks(500) {
            let one_of = marks(chunk.len());
            let sql = format!("DELETE FROM inclusions WHERE workspace = ? AND campaign = ? AND profile IN ({one_of})");
            let values = [self.id.0.into(), campaign.into()].into_iter().chain(chunk.iter().map(|id| id.0.into()));
            Rows(self.conn).run(&sql, values.collect()).await?;
        }
        Ok(())
    }

    /// Whose turns are next, each with the beginning of their membership.
    pub async fn next_included(
        &self,
        campaign: &str,
        newest_first: bool,
        limit: u32,
    ) -> Result<Vec<(ProfileId, Timestamp)>, Error> {
        let order = if newest_first { "place DESC, profile DESC" } else { "place, profile" };
        let sql = format!(
            "SELECT profile, since FROM inclusions WHERE workspace = ? AND campaign = ? ORDER BY {order} LIMIT ?"
        );
        let rows = Rows(self.conn).all(&sql, vec![self.id.0.into(), campaign.into(), limit.into()]).await?;
        let read = |row: &sea_orm::QueryResult| {
            Ok((ProfileId(row.try_get_by_index(0)?), Timestamp::from_millis(row.try_get_by_index(1)?)))
        };
        rows.iter().map(read).collect()
    }

    /// How many wait.
    pub async fn count_included(&self, campaign: &str) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM inclusions WHERE workspace = ? AND campaign = ?";
        let count: Option<i64> = Rows(self.conn).scalar(sql, vec![self.id.0.into(), campaign.into()]).await?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }
}
