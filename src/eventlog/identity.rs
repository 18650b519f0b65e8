//! Which profile an event belongs to, resolved as it is appended: in log order, by the one writer.
//!
//! A user id wins over an anonymous id. An anonymous id belongs to the first person it was seen with. Whatever would
//! join two known profiles is left as it is and takes effect when merges do.

use std::collections::{BTreeSet, HashMap};

use sea_orm::ConnectionTrait;

use crate::event::{Event, Kind};
use crate::ids::{ProfileId, WorkspaceId};
use crate::store::rows::{Error, Rows, Values, marks, padded, repeated};

/// Identifiers kept in memory; when there are more, all are forgotten and read again.
const KNOWN_MAX: usize = 200_000;

/// (workspace, is anonymous, id).
type Identifier = (i64, bool, String);

/// Finds and makes profiles for identifiers.
#[derive(Debug, Default)]
pub struct Identities {
    known: HashMap<Identifier, ProfileId>,
    /// Added in the running transaction: forgotten when it is rolled back.
    fresh: Vec<Identifier>,
    /// Whether a profile that was found by an anonymous id has a user id too.
    has_user: HashMap<ProfileId, bool>,
    next_profile: i64,
}

impl Identities {
    pub async fn load<C: ConnectionTrait>(conn: &C) -> Result<Self, Error> {
        let sql = "SELECT coalesce(max(profile), 0) FROM identifiers";
        let last: i64 = Rows(conn).scalar(sql, vec![]).await?.unwrap_or(0);
        Ok(Self { next_profile: last + 1, ..Self::default() })
    }

    pub fn committed(&mut self) {
        self.fresh.clear();
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
            self.has_user.clear();
        }
    }

    /// Reads what the events' identifiers already belong to, in one statement a few hundred.
    pub async fn prepare<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        events: impl Iterator<Item = (WorkspaceId, &Event)>,
    ) -> Result<(), Error> {
        let mut wanted: BTreeSet<Identifier> = BTreeSet::new();
        for (workspace, event) in events {
            for identifier in identifiers(workspace, event).into_iter().flatten() {
                if !self.known.contains_key(&identifier) {
                    wanted.insert(identifier);
                }
            }
        }
        let wanted: Vec<Identifier> = wanted.into_iter().collect();
        for chunk in wanted.chunks(512) {
            let chunk = padded(chunk);
            // The answer names the question by its number: texts need not travel back.
            let sql = format!(
                "WITH wanted(n, workspace, kind, value) AS (VALUES {})
                 SELECT n, profile FROM wanted JOIN identifiers USING (workspace, kind, value)",
                repeated("(?,?,?,?)", chunk.len())
            );
            let questions = (0_i64..).zip(&chunk);
            let values: Values = questions
                .flat_map(|(n, (workspace, anonymous, id))| {
                    [n.into(), (*workspace).into(), i64::from(*anonymous).into(), id.clone().into()]
                })
                .collect();
            let mut anonymous = Vec::new();
            for row in Rows(conn).many(&sql, values).await? {
                let profile = ProfileId(row.try_get_by_index(1)?);
                let asked = usize::try_from(row.try_get_by_index::<i64>(0)?).ok().and_then(|n| chunk.get(n));
                let Some(identifier) = asked else { continue };
                if identifier.1 {
                    anonymous.push(profile);
                } else {
                    self.has_user.insert(profile, true);
                }
                self.known.insert(identifier.clone(), profile);
            }
            self.find_users(conn, anonymous).await?;
        }
        Ok(())
    }

    async fn find_users<C: ConnectionTrait>(&mut self, conn: &C, mut profiles: Vec<ProfileId>) -> Result<(), Error> {
        profiles.retain(|profile| !self.has_user.contains_key(profile));
        if profiles.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT DISTINCT profile FROM identifiers WHERE kind = 0 AND profile IN ({})",
            marks(profiles.len())
        );
        let values = profiles.iter().map(|profile| profile.0.into()).collect();
        self.has_user.extend(profiles.iter().map(|profile| (*profile, false)));
        for row in Rows(conn).all(&sql, values).await? {
            self.has_user.insert(ProfileId(row.try_get_by_index(0)?), true);
        }
        Ok(())
    }

    /// The event's profile; call `prepare` with the event before. `None` for events about nobody.
    pub fn resolve(&mut self, workspace: WorkspaceId, event: &Event) -> Option<ProfileId> {
        let [user, anonymous] = identifiers(workspace, event);
        // Alias says that two ids are one person; until merges exist it belongs to the newer id and links nothing.
        let links = event.kind != Kind::Alias;
        let of_user = user.as_ref().and_then(|id| self.known.get(id).copied());
        let of_anonymous = anonymous.as_ref().and_then(|id| self.known.get(id).copied());
        let profile = match (of_user, of_anonymous, &user) {
            (Some(profile), _, _) => profile,
            (None, Some(profile), None) => profile,
            // The first user id on an anonymous profile makes it known; a profile that has a user id keeps it.
            (None, Some(profile), Some(_)) if links && !self.has_user.get(&profile).copied().unwrap_or(false) => {
                profile
            }
            (None, _, _) => {
                if user.is_none() && anonymous.is_none() {
                    return None;
                }
                let profile = ProfileId(self.next_profile);
                self.next_profile += 1;
                profile
            }
        };
        if let Some(user) = user.filter(|_| of_user.is_none()) {
            self.has_user.insert(profile, true);
            self.learn(user, profile);
        }
        if let Some(anonymous) = anonymous.filter(|_| of_anonymous.is_none() && links) {
            self.learn(anonymous, profile);
        }
        Some(profile)
    }

    /// The profile that an identify says is this person too: its anonymous id belongs to one without a user. On the
    /// device of another known person nobody is joined, now or later.
    pub fn joined_by(&self, workspace: WorkspaceId, event: &Event, profile: ProfileId) -> Option<ProfileId> {
        let [_, anonymous] = identifiers(workspace, event);
        let other = anonymous.as_ref().and_then(|id| self.known.get(id).copied())?;
        let known = self.has_user.get(&other).copied().unwrap_or(false);
        (event.kind == Kind::Identify && other != profile && !known).then_some(other)
    }

    fn learn(&mut self, identifier: Identifier, profile: ProfileId) {
        self.fresh.push(identifier.clone());
        self.known.insert(identifier, profile);
    }

    /// Identifiers to store in this transaction, in the order of their keys: neighbours in the tree.
    pub fn fresh_since(&self, mark: usize) -> Vec<Values> {
        let mut fresh: Vec<&Identifier> = self.fresh.iter().skip(mark).collect();
        fresh.sort_unstable();
        let row = |identifier: &Identifier| -> Option<Values> {
            let profile = self.known.get(identifier)?;
            let (workspace, anonymous, id) = identifier.clone();
            Some(vec![workspace.into(), i64::from(anonymous).into(), id.into(), profile.0.into()])
        };
        fresh.into_iter().filter_map(row).collect()
    }

    /// What was learned after `mark` was rolled back. Profile numbers are not handed out again within this run.
    pub fn forget_since(&mut self, mark: usize) {
        for identifier in self.fresh.split_off(mark) {
            let profile = self.known.remove(&identifier);
            // A profile has at most one user id, so without this one it has none. What is known of others stays: an
            // identifier in memory is not looked up again.
            if let (Some(profile), (_, false, _)) = (profile, identifier) {
                self.has_user.remove(&profile);
            }
        }
    }

    pub fn fresh_count(&self) -> usize {
        self.fresh.len()
    }
}

fn identifiers(workspace: WorkspaceId, event: &Event) -> [Option<Identifier>; 2] {
    let identifier = |anonymous: bool, id: &Option<String>| id.clone().map(|id| (workspace.0, anonymous, id));
    [identifier(false, &event.user_id), identifier(true, &event.anonymous_id)]
}
