//! People as they are listed: a page of all of them.

use sea_orm::{ConnectionTrait, QueryResult};

use crate::audience::Traits;
use crate::decision::Person;
use crate::ids::ProfileId;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, decode_plain};

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// A page of people, the highest number first, in front of `before`. Those who were joined with another are left out.
    pub async fn profiles_page(&self, before: Option<ProfileId>, limit: u32) -> Result<Vec<Person>, Error> {
        let sql = "SELECT id FROM profiles WHERE id < ? AND workspace = ? AND merged_into IS NULL
                   ORDER BY id DESC LIMIT ?";
        let before = before.map_or(i64::MAX, |profile| profile.0);
        let found = self.ids(sql, vec![before.into(), self.id.0.into(), limit.into()]).await?;
        self.in_order(&found).await
    }

    /// What is known of the newest people, at most so many.
    pub async fn newest_traits(&self, limit: u32) -> Result<Vec<Traits>, Error> {
        let sql = "SELECT traits FROM profiles WHERE workspace = ? AND merged_into IS NULL ORDER BY id DESC LIMIT ?";
        let rows = Rows(self.conn).all(sql, vec![self.id.0.into(), limit.into()]).await?;
        let read = |row: &QueryResult| decode_plain("profile", &row.try_get_by_index::<String>(0)?);
        Ok(rows.iter().filter_map(|row| read(row).ok()).collect())
    }

    pub(super) async fn ids(&self, sql: &str, values: Values) -> Result<Vec<ProfileId>, Error> {
        let rows = Rows(self.conn).all(sql, values).await?;
        rows.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
    }

    /// A row that cannot be read leaves its person out: the list goes on, and asking for them alone says why.
    pub(super) async fn in_order(&self, ids: &[ProfileId]) -> Result<Vec<Person>, Error> {
        let mut people = self.people(ids).await?;
        Ok(ids.iter().filter_map(|id| people.remove(id)?.ok()).collect())
    }
}
