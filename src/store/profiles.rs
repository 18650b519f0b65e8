//! Profiles as rows: read in bulk, written in bulk with their version compared.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::audience::consent::Answers;
use crate::audience::history::PAGES_MAX;
use crate::audience::{Carts, Consent, History, Profile, Remembered, Standings};
use crate::decision::Person;
use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::Workspace;
use crate::store::rows::{Error, Rows, Values, decode, decode_plain, encode, marks};
use crate::store::shards::{Layout, ShardSet};

const COLUMNS: usize = 16;

/// A person's row as the database gave it.
#[derive(Debug)]
pub struct Unread(QueryResult);

impl Unread {
    /// # Errors
    /// Something in it is damaged.
    pub fn read(&self) -> Result<Person, Error> {
        read(&self.0)
    }
}

/// What [`read`] reads.
const SELECT: &str = "SELECT id, version, wake_at, user_id, traits, consent, history, created_at, last_seen_at,
                      merged_into, segments, segments_seen, last_zone, carts, remembered FROM profiles";

/// People's rows as they are to be written.
#[derive(Debug, Default)]
pub struct Unsaved(Vec<Values>);

impl Unsaved {
    /// Each with the version after the one that was read.
    pub fn of<'p>(workspace: WorkspaceId, layout: Layout, people: impl Iterator<Item = &'p Person>) -> Self {
        Self(people.map(|person| values(workspace, layout, person)).collect())
    }
}

/// Who is meant by a text that somebody asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    One(ProfileId),
    Nobody,
    /// It is the number of one profile, and another is `called` so: nobody can tell who is meant.
    Two {
        called: ProfileId,
    },
}

fn read(row: &QueryResult) -> Result<Person, Error> {
    let id = ProfileId(row.try_get_by_index(0)?);
    let traits: String = row.try_get_by_index(4)?;
    let consent: String = row.try_get_by_index(5)?;
    let history: Vec<u8> = row.try_get_by_index(6)?;
    let segments: String = row.try_get_by_index(10)?;
    let profile = Profile {
        id,
        user_id: row.try_get_by_index(3)?,
        traits: decode_plain("profile", &traits)?,
        consent: consent_in(&consent)?,
        segments: Standings {
            seen: Position(row.try_get_by_index(11)?),
            by_segment: if segments.is_empty() { BTreeMap::new() } else { decode_plain("profile", &segments)? },
        },
        history: History::unpack(&history).map_err(|error| Error::unreadable("profile", error))?,
        last_zone: row.try_get_by_index(12)?,
        carts: carts_in(row.try_get_by_index(13)?)?,
        remembered: remembered_in(row.try_get_by_index(14)?)?,
        created_at: Timestamp::from_millis(row.try_get_by_index(7)?),
        last_seen_at: Timestamp::from_millis(row.try_get_by_index(8)?),
    };
    let mut person = Person::new(id, profile.created_at);
    person.profile = profile;
    person.version = row.try_get_by_index(1)?;
    person.wake_at = row.try_get_by_index::<Option<i64>>(2)?.map(Timestamp::from_millis);
    person.merged_into = row.try_get_by_index::<Option<i64>>(9)?.map(ProfileId);
    Ok(person)
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// The people with these ids, without their enrollments. Missing ones are missing in the answer; a row that cannot
    /// be read is its own error, so that one person's damage stops nobody else.
    pub async fn people(&self, ids: &[ProfileId]) -> Result<BTreeMap<ProfileId, Result<Person, Error>>, Error> {
        Ok(self.unread_people(ids).await?.iter().map(|(id, row)| (*id, row.read())).collect())
    }

    /// Their rows: reading them need not hold up the connection.
    pub async fn unread_people(&self, ids: &[ProfileId]) -> Result<Vec<(ProfileId, Unread)>, Error> {
        let mut people = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(512) {
            let (is_one_of_these, keys) = Rows(self.conn).among("id", chunk.iter().map(|id| id.0.into()).collect());
            let sql = format!("{SELECT} WHERE workspace = ? AND {is_one_of_these}");
            let mut values: Values = vec![self.id.0.into()];
            values.extend(keys);
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                people.push((ProfileId(row.try_get_by_index(0)?), Unread(row)));
            }
        }
        Ok(people)
    }

    pub async fn person(&self, id: ProfileId) -> Result<Option<Person>, Error> {
        self.people(&[id]).await?.remove(&id).transpose()
    }

    /// Who is meant by a text: the user id, else the anonymous id of somebody, or `profile:17`. Never by a number alone:
    /// shops have such ids, and who was erased is known by theirs no more; whoever asks for them again must not get
    /// somebody else.
    pub async fn meant(&self, asked: &str) -> Result<Meant, Error> {
        // No id has one, and PostgreSQL takes none in a text.
        if asked.contains('\0') {
            return Ok(Meant::Nobody);
        }
        let by_id = self.profile_by_id(asked).await?;
        let by_number = match ProfileId::of_spelled(asked) {
            Some(number) if !self.people(&[number]).await?.is_empty() => Some(number),
            _ => None,
        };
        match (by_id, by_number) {
            (Some(called), Some(_)) => Ok(Meant::Two { called }),
            (Some(found), None) | (None, Some(found)) => Ok(Meant::One(self.current_profile(found).await?)),
            (None, None) => Ok(Meant::Nobody),
        }
    }

    /// The profile known by this user id, else by this anonymous id.
    pub async fn profile_by_id(&self, id: &str) -> Result<Option<ProfileId>, Error> {
        let sql = "SELECT profile FROM identifiers WHERE workspace = ? AND value = ? AND kind IN (0, 1) ORDER BY kind LIMIT 1";
        Ok(Rows(self.conn).scalar(sql, vec![self.id.0.into(), id.into()]).await?.map(ProfileId))
    }

    /// The same for many at once; who is not known is missing in the answer.
    pub async fn profiles_by_ids(&self, ids: &[String]) -> Result<BTreeMap<String, ProfileId>, Error> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(500) {
            // User ids come last, and win.
            let sql = format!(
                "SELECT value, profile FROM identifiers WHERE workspace = ? AND kind IN (0, 1) AND value IN ({})
                 ORDER BY kind DESC",
                marks(chunk.len())
            );
            let mut values: Values = vec![self.id.0.into()];
            values.extend(chunk.iter().map(|id| id.clone().into()));
            for row in Rows(self.conn).all(&sql, values).await? {
                found.insert(row.try_get_by_index(0)?, ProfileId(row.try_get_by_index(1)?));
            }
        }
        Ok(found)
    }

    /// The ids a profile is known by: (is anonymous, id).
    pub async fn identifiers_of(&self, profile: ProfileId) -> Result<Vec<(bool, String)>, Error> {
        let sql =
            "SELECT kind, value FROM identifiers WHERE profile = ? AND workspace = ? ORDER BY kind, value LIMIT 200";
        let rows = Rows(self.conn).all(sql, vec![profile.0.into(), self.id.0.into()]).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index::<i64>(0)? == 1, row.try_get_by_index(1)?))).collect()
    }

    /// The newest pages of older history, oldest of them first.
    pub async fn history_pages(&self, profile: ProfileId) -> Result<Vec<History>, Error> {
        let sql =
            "SELECT packed FROM (SELECT page, packed FROM history_pages WHERE profile = ? ORDER BY page DESC LIMIT ?)
                   AS newest ORDER BY page";
        let rows = Rows(self.conn).all(sql, vec![profile.0.into(), PAGES_MAX.into()]).await?;
        rows.iter()
            .map(|row| {
                let packed: Vec<u8> = row.try_get_by_index(0)?;
                History::unpack(&packed).map_err(|error| Error::unreadable("history page", error))
            })
            .collect()
    }

    /// The same of several people, each person's in that order.
    pub async fn pages_of(&self, people: &[ProfileId]) -> Result<Vec<(ProfileId, Result<History, Error>)>, Error> {
        let mut pages = Vec::new();
        for chunk in people.chunks(512) {
            let (is_one_of_these, keys) =
                Rows(self.conn).among("profile", chunk.iter().map(|profile| profile.0.into()).collect());
            let sql = format!(
                "SELECT profile, packed FROM
                     (SELECT profile, page, packed, row_number() OVER (PARTITION BY profile ORDER BY page DESC) AS nth
                      FROM history_pages WHERE {is_one_of_these}) AS newest
                 WHERE nth <= ? ORDER BY profile, page"
            );
            let values = keys.into_iter().chain([PAGES_MAX.into()]).collect();
            for row in Rows(self.conn).many(&sql, values, chunk.len()).await? {
                let packed: Vec<u8> = row.try_get_by_index(1)?;
                let page = History::unpack(&packed).map_err(|error| Error::unreadable("history page", error));
                pages.push((ProfileId(row.try_get_by_index(0)?), page));
            }
        }
        Ok(pages)
    }

    /// Stores people whose version is still the one they were read at; the answer says whether all were.
    /// On false nothing may be kept of the transaction.
    pub async fn save_people(&self, Unsaved(rows): Unsaved) -> Result<bool, Error> {
        let count = rows.len() as u64;
        let head = "INSERT INTO profiles (id, workspace, version, wake_at, user_id, traits, consent, history, created_at, last_seen_at, segments, segments_seen, last_zone, carts, remembered, shard)";
        let tail = "ON CONFLICT (id) DO UPDATE SET version = excluded.version, wake_at = excluded.wake_at,
                    user_id = excluded.user_id, traits = excluded.traits, consent = excluded.consent,
                    history = excluded.history, created_at = excluded.created_at,
                    last_seen_at = excluded.last_seen_at, segments = excluded.segments,
                    segments_seen = excluded.segments_seen, last_zone = excluded.last_zone,
                    carts = excluded.carts, remembered = excluded.remembered
                    WHERE profiles.version = excluded.version - 1";
        Ok(Rows(self.conn).insert(head, tail, COLUMNS, rows).await? == count)
    }

    /// Whether the rows of these people still have the versions at which they were read.
    pub async fn are_unchanged(&self, people: &[(ProfileId, i64)]) -> Result<bool, Error> {
        for chunk in people.chunks(512) {
            let mut left: BTreeMap<i64, i64> = chunk.iter().map(|(profile, version)| (profile.0, *version)).collect();
            let (is_one_of_these, keys) = Rows(self.conn).among("id", left.keys().map(|id| (*id).into()).collect());
            let sql = format!("SELECT id, version FROM profiles WHERE {is_one_of_these}");
            for row in Rows(self.conn).many(&sql, keys, left.len()).await? {
                let (id, version): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
                if left.remove(&id) != Some(version) {
                    return Ok(false);
                }
            }
            // Whoever has no row yet has no version.
            if left.into_values().any(|version| version != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub async fn add_history_pages(&self, pages: Vec<(ProfileId, u32, Vec<u8>)>) -> Result<(), Error> {
        let rows = pages.into_iter().map(|(profile, page, packed)| vec![profile.0.into(), page.into(), packed.into()]);
        let head = "INSERT INTO history_pages (profile, page, packed)";
        let tail = "ON CONFLICT (profile, page) DO UPDATE SET packed = excluded.packed";
        Rows(self.conn).insert(head, tail, 3, rows.collect()).await?;
        Ok(())
    }

    /// One line of the consent ledger for each change.
    pub async fn add_consents(&self, lines: Vec<(ProfileId, Position, String, Consent)>) -> Result<(), Error> {
        // One event may say it twice: the last word counts.
        let lines: BTreeMap<_, _> = lines
            .into_iter()
            .map(|(profile, position, channel, consent)| ((profile, position, channel), consent))
            .collect();
        let rows = lines.into_iter().map(|((profile, position, channel), consent)| {
            vec![
                position.0.into(),
                profile.0.into(),
                channel.into(),
                consent.state.as_str().into(),
                consent.source.into(),
                consent.at.millis().into(),
                consent.text_version.into(),
                consent.via.as_str().into(),
            ]
        });
        let head = "INSERT INTO consents (position, profile, channel, state, source, at, text_version, via)";
        let tail = "ON CONFLICT (profile, channel, position) DO UPDATE SET state = excluded.state, via = excluded.via,
                    source = excluded.source, at = excluded.at, text_version = excluded.text_version";
        Rows(self.conn).insert(head, tail, 8, rows.collect()).await?;
        Ok(())
    }
}

pub(super) fn consent_in(text: &str) -> Result<Answers, Error> {
    if text == "{}" { Ok(Answers::new()) } else { decode_plain("profile", text) }
}

pub(super) fn remembered_in(text: Option<String>) -> Result<Remembered, Error> {
    match text.as_deref() {
        None | Some("") => Ok(Remembered::default()),
        Some(text) => decode_plain("profile", text),
    }
}

/// Empty for whoever never put anything into one; none where nobody has kept count.
pub(super) fn carts_text(profile: &Profile) -> Option<String> {
    let carts = profile.carts.as_ref()?;
    Some(if carts.is_untouched() { String::new() } else { encode(carts) })
}

pub(super) fn carts_in(text: Option<String>) -> Result<Option<Carts>, Error> {
    match text.as_deref() {
        None => Ok(None),
        Some("") => Ok(Some(Carts::default())),
        Some(text) => decode("cart", text).map(Some),
    }
}

fn values(workspace: WorkspaceId, layout: Layout, person: &Person) -> Values {
    let profile = &person.profile;
    vec![
        profile.id.0.into(),
        workspace.0.into(),
        (person.version + 1).into(),
        person.wake_at.map(Timestamp::millis).into(),
        profile.user_id.clone().into(),
        encode(&profile.traits).into(),
        encode(&profile.consent).into(),
        profile.history.pack().into(),
        profile.created_at.millis().into(),
        profile.last_seen_at.millis().into(),
        if profile.segments.by_segment.is_empty() { String::new() } else { encode(&profile.segments.by_segment) }
            .into(),
        profile.segments.seen.0.into(),
        profile.last_zone.clone().into(),
        carts_text(profile).into(),
        if profile.remembered.is_empty() { String::new() } else { encode(&profile.remembered) }.into(),
        layout.shard_of(profile.id).number().into(),
    ]
}

/// The earliest people of these shards whose wake instant has come, whatever their workspace.
pub async fn due_people<C: ConnectionTrait>(
    conn: &C,
    shards: ShardSet,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(WorkspaceId, ProfileId, Timestamp)>, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql =
        format!("SELECT workspace, id, wake_at FROM profiles WHERE wake_at <= ?{ours} ORDER BY wake_at, id LIMIT ?");
    let rows = Rows(conn).all(&sql, vec![now.millis().into(), limit.into()]).await?;
    rows.iter()
        .map(|row| {
            let wake_at = Timestamp::from_millis(row.try_get_by_index(2)?);
            Ok((WorkspaceId(row.try_get_by_index(0)?), ProfileId(row.try_get_by_index(1)?), wake_at))
        })
        .collect()
}

/// Takes a person's wake instant, for a timer that enters the log in the same transaction; false if it has moved.
pub async fn take_wake<C: ConnectionTrait>(conn: &C, profile: ProfileId, wake_at: Timestamp) -> Result<bool, Error> {
    let sql = "UPDATE profiles SET wake_at = NULL WHERE id = ? AND wake_at = ?";
    Ok(Rows(conn).run(sql, vec![profile.0.into(), wake_at.millis().into()]).await? == 1)
}

/// The earliest instant any person of these shards waits for.
pub async fn next_wake<C: ConnectionTrait>(conn: &C, shards: ShardSet) -> Result<Option<Timestamp>, Error> {
    let ours = shards.condition(conn.get_database_backend());
    let sql = format!("SELECT min(wake_at) FROM profiles WHERE wake_at IS NOT NULL{ours}");
    Ok(Rows(conn).scalar::<Option<i64>>(&sql, vec![]).await?.flatten().map(Timestamp::from_millis))
}
