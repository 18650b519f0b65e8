//! Who people were by the part of the log that is pruned: what their calls said of them, as decisions understood it.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::audience::Traits;
use crate::decision::Person;
use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::profiles::{carts_in, carts_text};
use crate::store::rows::{Error, Rows, Values, decode, encode, marks};

/// Where a profile ended in another: up to `loser_head` its entries are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heir {
    pub winner: ProfileId,
    pub loser_head: Position,
}

const SELECT: &str = "SELECT profile, user_id, traits, created_at, last_seen_at, last_zone, carts, lists,
     stopped FROM baselines";

fn read(row: &QueryResult) -> Result<Person, Error> {
    let created_at = Timestamp::from_millis(row.try_get_by_index(3)?);
    let mut person = Person::new(ProfileId(row.try_get_by_index(0)?), created_at);
    let traits: String = row.try_get_by_index(2)?;
    let traits: Traits = serde_json::from_str(&traits).map_err(|error| Error::unreadable("baseline", error))?;
    person.profile.user_id = row.try_get_by_index(1)?;
    person.profile.traits = traits;
    person.profile.last_seen_at = Timestamp::from_millis(row.try_get_by_index(4)?);
    person.profile.last_zone = row.try_get_by_index(5)?;
    // What is pruned tells nobody any more.
    person.profile.carts = Some(carts_in(row.try_get_by_index(6)?)?.unwrap_or_default());
    if let Some(lists) = row.try_get_by_index::<Option<String>>(7)? {
        person.profile.remembered.lists = decode("baseline", &lists)?;
    }
    if let Some(stopped) = row.try_get_by_index::<Option<String>>(8)? {
        person.profile.remembered.stopped = decode("baseline", &stopped)?;
    }
    Ok(person)
}

/// Baselines of people who have one, whatever their workspace: ids, traits and times alone.
pub async fn baselines<C: ConnectionTrait>(
    conn: &C,
    people: &[ProfileId],
) -> Result<BTreeMap<ProfileId, Person>, Error> {
    let mut found = BTreeMap::new();
    for chunk in people.chunks(500) {
        let sql = format!("{SELECT} WHERE profile IN ({})", marks(chunk.len()));
        for row in Rows(conn).all(&sql, chunk.iter().map(|id| id.0.into()).collect()).await? {
            let person = read(&row)?;
            found.insert(person.profile.id, person);
        }
    }
    Ok(found)
}

pub async fn save_baselines<C: ConnectionTrait>(
    tx: &C,
    people: impl Iterator<Item = (WorkspaceId, &Person)>,
) -> Result<(), Error> {
    let rows = people.map(|(workspace, Person { profile, .. })| -> Values {
        vec![
            profile.id.0.into(),
            workspace.0.into(),
            profile.user_id.clone().into(),
            encode(&profile.traits).into(),
            profile.created_at.millis().into(),
            profile.last_seen_at.millis().into(),
            profile.last_zone.clone().into(),
            carts_text(profile).into(),
            Some(encode(&profile.remembered.lists)).filter(|_| !profile.remembered.lists.is_empty()).into(),
            Some(encode(&profile.remembered.stopped)).filter(|_| !profile.remembered.stopped.is_empty()).into(),
        ]
    });
    let head = "INSERT INTO baselines (profile, workspace, user_id, traits, created_at, last_seen_at, last_zone, carts, lists, stopped)";
    let tail = "ON CONFLICT (profile) DO UPDATE SET user_id = excluded.user_id, traits = excluded.traits,
                created_at = excluded.created_at, last_seen_at = excluded.last_seen_at, last_zone = excluded.last_zone,
                carts = excluded.carts, lists = excluded.lists, stopped = excluded.stopped";
    Rows(tx).insert(head, tail, 10, rows.collect()).await?;
    Ok(())
}

pub async fn drop_baselines<C: ConnectionTrait>(tx: &C, people: &[ProfileId]) -> Result<(), Error> {
    let sql = format!("DELETE FROM baselines WHERE profile IN ({})", marks(people.len()));
    Rows(tx).run(&sql, people.iter().map(|id| id.0.into()).collect()).await?;
    Ok(())
}

/// Of these profiles, those that joined another.
pub async fn heirs_among<C: ConnectionTrait>(
    conn: &C,
    people: &[ProfileId],
) -> Result<BTreeMap<ProfileId, Heir>, Error> {
    let mut found = BTreeMap::new();
    for chunk in people.chunks(500) {
        let sql = format!(
            "SELECT loser, winner, CASE WHEN loser_head = 0 THEN position ELSE loser_head END FROM merges
             WHERE loser IN ({})",
            marks(chunk.len())
        );
        for row in Rows(conn).all(&sql, chunk.iter().map(|id| id.0.into()).collect()).await? {
            let (winner, loser_head) = (ProfileId(row.try_get_by_index(1)?), Position(row.try_get_by_index(2)?));
            found.insert(ProfileId(row.try_get_by_index(0)?), Heir { winner, loser_head });
        }
    }
    Ok(found)
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Who these profiles were by what is pruned of the log; those of whom nothing is are missing.
    pub async fn baselines_of(&self, people: &[ProfileId]) -> Result<BTreeMap<ProfileId, Person>, Error> {
        baselines(self.conn, people).await
    }

    /// Who a person was by what is pruned of the log; none where nothing is.
    pub async fn baseline(&self, profile: ProfileId) -> Result<Option<Person>, Error> {
        let sql = format!("{SELECT} WHERE workspace = ? AND profile = ?");
        Rows(self.conn).one(&sql, vec![self.id.0.into(), profile.0.into()]).await?.as_ref().map(read).transpose()
    }
}
