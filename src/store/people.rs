//! People as they are listed: a page of all of them, or those who are known by what somebody typed.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;

use crate::decision::Person;
use crate::ids::ProfileId;
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values};

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// A page of people, the highest number first, in front of `before`. Those who were joined with another are left out.
    pub async fn profiles_page(&self, before: Option<ProfileId>, limit: u32) -> Result<Vec<Person>, Error> {
        let sql = "SELECT id FROM profiles WHERE id < ? AND workspace = ? AND merged_into IS NULL
                   ORDER BY id DESC LIMIT ?";
        let before = before.map_or(i64::MAX, |profile| profile.0);
        let found = self.ids(sql, vec![before.into(), self.id.0.into(), limit.into()]).await?;
        self.in_order(found).await
    }

    /// Who is known by this user id, anonymous id or number, and then the people of `more`; each once, at most `limit`.
    pub async fn profiles_called(&self, typed: &str, more: Vec<ProfileId>, limit: u32) -> Result<Vec<Person>, Error> {
        let (typed, space) = (typed.trim(), self.id.0);
        let exact =
            "SELECT profile FROM identifiers WHERE workspace = ? AND kind IN (0, 1) AND value = ? ORDER BY kind";
        let mut found = self.ids(exact, vec![space.into(), typed.into()]).await?;
        if let Ok(number) = typed.parse::<i64>() {
            let sql = "SELECT id FROM profiles WHERE workspace = ? AND id = ?";
            found.extend(self.ids(sql, vec![space.into(), number.into()]).await?);
        }
        found.extend(more);
        let (mut known, mut people) = (BTreeSet::new(), Vec::new());
        for profile in found {
            if people.len() == limit as usize {
                break;
            }
            let current = self.current_profile(profile).await?;
            if known.insert(current) {
                people.push(current);
            }
        }
        self.in_order(people).await
    }

    async fn ids(&self, sql: &str, values: Values) -> Result<Vec<ProfileId>, Error> {
        let rows = Rows(self.conn).all(sql, values).await?;
        rows.iter().map(|row| Ok(ProfileId(row.try_get_by_index(0)?))).collect()
    }

    /// A row that cannot be read leaves its person out: the list goes on, and asking for them alone says why.
    async fn in_order(&self, ids: Vec<ProfileId>) -> Result<Vec<Person>, Error> {
        let mut people = self.people(&ids).await?;
        Ok(ids.into_iter().filter_map(|id| people.remove(&id)?.ok()).collect())
    }
}
