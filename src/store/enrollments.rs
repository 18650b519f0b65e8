//! Enrollments as rows; active ones are found by person, ended ones by person and campaign.

use sea_orm::{ConnectionTrait, QueryResult};

use crate::decision::{Enrollment, State};
use crate::ids::{EnrollmentId, Position, ProfileId, Timestamp};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, decode, encode, int};

const COLUMNS: usize = 11;
pub(super) const SELECT: &str =
    "SELECT id, profile, campaign, version, entry_key, entered_at, entry, event, state FROM enrollments";

#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    entry_event_at: Timestamp,
    state: State,
}

pub(super) fn read(row: &QueryResult) -> Result<Enrollment, Error> {
    let id: Vec<u8> = row.try_get_by_index(0)?;
    let state: String = row.try_get_by_index(8)?;
    let Stored { entry_event_at, state } = decode("enrollment", &state)?;
    Ok(Enrollment {
        id: EnrollmentId::try_from(id.as_slice()).map_err(|error| Error::unreadable("enrollment", error))?,
        profile: ProfileId(row.try_get_by_index(1)?),
        campaign: row.try_get_by_index(2)?,
        version: int(row, 3)?,
        key: row.try_get_by_index(4)?,
        entered_at: Timestamp::from_millis(row.try_get_by_index(5)?),
        entry: Position(row.try_get_by_index(6)?),
        event: Position(row.try_get_by_index(7)?),
        entry_event_at,
        state,
    })
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Every active enrollment of these people; a row that cannot be read is its person's trouble alone.
    pub async fn active_enrollments(
        &self,
        profiles: &[ProfileId],
    ) -> Result<Vec<(ProfileId, Result<Enrollment, Error>)>, Error> {
        let mut found = Vec::new();
        for chunk in profiles.chunks(512) {
            let ids = chunk.iter().map(|profile| profile.0.into()).collect();
            let (is_of_these, values) = Rows(self.conn).among("profile", ids);
            let sql = format!("{SELECT} WHERE ended_at IS NULL AND {is_of_these}");
            for row in Rows(self.conn).all(&sql, values).await? {
                found.push((ProfileId(row.try_get_by_index(1)?), read(&row)));
            }
        }
        Ok(found)
    }

    /// The newest ended enrollment of a person in a campaign under this key: what re-entry looks at.
    pub async fn last_ended(&self, profile: ProfileId, campaign: &str, key: &str) -> Result<Option<Enrollment>, Error> {
        let sql = format!(
            "{SELECT} WHERE profile = ? AND campaign = ? AND entry_key = ? AND ended_at IS NOT NULL
             ORDER BY ended_at DESC LIMIT 1"
        );
        let row = Rows(self.conn).one(&sql, vec![profile.0.into(), campaign.into(), key.into()]).await?;
        row.as_ref().map(|row| read(row).map_err(|error| Error::unreadable("enrollment", error))).transpose()
    }

    /// All enrollments of a person, newest first, in one campaign where given.
    pub async fn enrollments_of(
        &self,
        profile: ProfileId,
        campaign: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Enrollment>, Error> {
        let sql = format!(
            "{SELECT} WHERE workspace = ? AND profile = ? AND (? IS NULL OR campaign = ?) ORDER BY entered_at DESC, entry DESC LIMIT ?"
        );
        let values = vec![
            self.id.0.into(),
            profile.0.into(),
            campaign.map(ToOwned::to_owned).into(),
            campaign.map(ToOwned::to_owned).into(),
            limit.into(),
        ];
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    /// A page of the people who were in this campaign at an instant, behind `after`.
    pub async fn enrolled_at(
        &self,
        campaign: &str,
        at: Timestamp,
        after: ProfileId,
        limit: u32,
    ) -> Result<Vec<ProfileId>, Error> {
        let sql = "SELECT DISTINCT profile FROM enrollments WHERE workspace = ? AND profile > ? AND campaign = ?
                   AND entered_at < ? AND (ended_at IS NULL OR ended_at >= ?) ORDER BY profile LIMIT ?";
        let (after, at) = (after.0, at.millis());
        let values = vec![self.id.0.into(), after.into(), campaign.into(), at.into(), at.into(), limit.into()];
        let rows = Rows(self.conn).all(sql, values).await?;
        rows.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
    }

    /// Of these people, who was in which campaign at an instant.
    pub async fn open_at(&self, people: &[ProfileId], at: Timestamp) -> Result<Vec<(ProfileId, String)>, Error> {
        let mut found = Vec::new();
        for chunk in people.chunks(512) {
            let (condition, keys) = Rows(self.conn).among("profile", chunk.iter().map(|id| id.0.into()).collect());
            let sql = format!(
                "SELECT DISTINCT profile, campaign FROM enrollments WHERE {condition} AND +workspace = ?
                 AND entered_at < ? AND (ended_at IS NULL OR ended_at >= ?)"
            );
            let rest = [self.id.0.into(), at.millis().into(), at.millis().into()];
            for row in Rows(self.conn).all(&sql, keys.into_iter().chain(rest).collect()).await? {
                found.push((ProfileId(row.try_get_by_index(0)?), row.try_get_by_index(1)?));
            }
        }
        Ok(found)
    }

    pub async fn enrollment(&self, id: EnrollmentId) -> Result<Option<Enrollment>, Error> {
        let sql = format!("{SELECT} WHERE workspace = ? AND id = ?");
        let values = vec![self.id.0.into(), id.as_bytes().to_vec().into()];
        Rows(self.conn).one(&sql, values).await?.as_ref().map(read).transpose()
    }

    pub async fn save_enrollments(&self, enrollments: Vec<&Enrollment>) -> Result<(), Error> {
        let rows = enrollments.into_iter().map(|enrollment| -> Values {
            let stored = Stored { entry_event_at: enrollment.entry_event_at, state: enrollment.state.clone() };
            vec![
                enrollment.id.as_bytes().to_vec().into(),
                self.id.0.into(),
                enrollment.profile.0.into(),
                enrollment.campaign.clone().into(),
                enrollment.version.into(),
                enrollment.key.clone().into(),
                enrollment.entered_at.millis().into(),
                enrollment.entry.0.into(),
                enrollment.event.0.into(),
                enrollment.state.ended_at().map(Timestamp::millis).into(),
                encode(&stored).into(),
            ]
        });
        let head = "INSERT INTO enrollments (id, workspace, profile, campaign, version, entry_key, entered_at, entry, event, ended_at, state)";
        let tail = "ON CONFLICT (id) DO UPDATE SET event = excluded.event, ended_at = excluded.ended_at, state = excluded.state";
        Rows(self.conn).insert(head, tail, COLUMNS, rows.collect()).await?;
        Ok(())
    }
}
