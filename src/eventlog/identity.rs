//! Which profile an event belongs to, resolved as it is appended: in log order, by the one writer.
//!
//! A user id wins over an anonymous id. An anonymous id belongs to the first person identified on it: the first user id
//! seen on an anonymous profile makes it known, and an identify of somebody known elsewhere joins that profile to
//! theirs. Whom two user ids tell apart only alias joins; an identify on another's device hands over the device, not
//! the person. The ids of a joined profile lead to the winner from its entry on; its state follows when the processor
//! reaches that entry.

use std::collections::{BTreeSet, HashMap};

use sea_orm::ConnectionTrait;

use crate::event::{Event, Kind};
use crate::ids::{ProfileId, WorkspaceId};
use crate::store::controls::{set_setting, setting};
use crate::store::locks::{TAKEN_BACK, lock_identities};
use crate::store::merges::heirs_of;
use crate::store::rows::{Error, Rows, Values, padded};
use crate::store::shards::Layout;

/// Identifiers kept in memory; when there are more, all are forgotten and read again.
const KNOWN_MAX: usize = 200_000;

/// The setting that changes whenever an identifier that others may remember goes to another profile.
pub(super) const EPOCH: &str = "identity_epoch";

/// (workspace, is anonymous, id).
type Identifier = (i64, bool, String);

/// Whose an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose {
    pub profile: ProfileId,
    /// Another profile that this event says is the same person, and that ends in it.
    pub joins: Option<ProfileId>,
}

/// Finds and makes profiles for identifiers.
#[derive(Debug, Default)]
pub struct Identities {
    known: HashMap<Identifier, ProfileId>,
    /// Where joined profiles went, for identifiers learned before.
    heirs: HashMap<ProfileId, ProfileId>,
    /// Whether a profile that was found by an anonymous id has a user id too.
    has_user: HashMap<ProfileId, bool>,
    next_profile: i64,
    /// What [`EPOCH`] said when something was last read.
    epoch: Option<String>,
    /// Changes of the running transaction: undone when it is rolled back.
    fresh: Vec<Identifier>,
    handed_over: Vec<Identifier>,
    joined: Vec<(ProfileId, ProfileId)>,
}

/// How much the running transaction has changed.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    fresh: usize,
    handed_over: usize,
    joined: usize,
}

impl Identities {
    pub async fn load<C: ConnectionTrait>(conn: &C) -> Result<Self, Error> {
        Ok(Self { next_profile: next_profile(conn).await?, ..Self::default() })
    }

    pub fn committed(&mut self) {
        self.fresh.clear();
        self.handed_over.clear();
        self.joined.clear();
        if self.known.len() > KNOWN_MAX || self.heirs.len() > KNOWN_MAX {
            self.forget();
        }
    }

    /// Identifiers were taken from their profiles: nothing that is remembered of them is true any more, here or in
    /// another process.
    pub async fn taken_back<C: ConnectionTrait>(&mut self, conn: &C) -> Result<(), Error> {
        self.forget();
        if Layout::of(conn.get_database_backend()).is_shared() {
            lock_identities(conn).await?;
            self.next_epoch(conn).await?;
            add_one(conn, TAKEN_BACK).await?;
        }
        self.next_profile = self.next_profile.max(next_profile(conn).await?);
        Ok(())
    }

    async fn next_epoch<C: ConnectionTrait>(&self, conn: &C) -> Result<(), Error> {
        add_one(conn, EPOCH).await
    }

    fn forget(&mut self) {
        self.known.clear();
        self.heirs.clear();
        self.has_user.clear();
    }

    /// Reads what the events' identifiers already belong to, in one statement a few hundred. `given` are profiles that
    /// events name themselves.
    pub async fn prepare<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        events: impl Iterator<Item = (WorkspaceId, &Event)>,
        given: &[ProfileId],
    ) -> Result<(), Error> {
        let mut wanted: BTreeSet<Identifier> = BTreeSet::new();
        for (workspace, event) in events {
            for identifier in identifiers(workspace, event).into_iter().chain(previous(workspace, event)).flatten() {
                if !self.known.contains_key(&identifier) {
                    wanted.insert(identifier);
                }
            }
        }
        let wanted: Vec<Identifier> = wanted.into_iter().collect();
        for chunk in wanted.chunks(512) {
            let chunk = padded(chunk.to_vec());
            let questions = (0_i64..).zip(&chunk).map(|(n, (workspace, anonymous, id))| {
                vec![n.into(), (*workspace).into(), i64::from(*anonymous).into(), id.clone().into()]
            });
            let (wanted, values) = Rows(conn).table(questions.collect());
            // The answer names the question by its number: texts need not travel back. Each is asked by itself: a join
            // could be planned as a reading of the table.
            let sql = format!(
                "WITH wanted(n, workspace, kind, value) AS ({wanted})
                 SELECT n, (SELECT profile FROM identifiers WHERE identifiers.workspace = wanted.workspace
                    AND identifiers.kind = wanted.kind AND identifiers.value = wanted.value) FROM wanted"
            );
            let mut anonymous = Vec::new();
            for row in Rows(conn).many(&sql, values, chunk.len()).await? {
                let Some(profile) = row.try_get_by_index::<Option<i64>>(1)?.map(ProfileId) else { continue };
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
        self.heirs.extend(heirs_of(conn, given).await?);
        Ok(())
    }

    /// The same where other processes learn identifiers too. Whoever may change who is who waits for the others and
    /// reads anew what is meant; what others handed over or joined before `epoch` is forgotten here.
    pub async fn prepare_shared<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        events: &[(WorkspaceId, &Event)],
        given: &[ProfileId],
        epoch: Option<String>,
    ) -> Result<(), Error> {
        self.forget_before(epoch);
        self.prepare(conn, events.iter().copied(), given).await?;
        let unsettled = events.iter().filter(|(workspace, event)| !self.is_settled(*workspace, event));
        let unsettled: Vec<(WorkspaceId, &Event)> = unsettled.copied().collect();
        if unsettled.is_empty() {
            return Ok(());
        }
        lock_identities(conn).await?;
        self.forget_before(setting(conn, EPOCH).await?);
        for (workspace, event) in &unsettled {
            for identifier in identifiers(*workspace, event).into_iter().chain(previous(*workspace, event)).flatten() {
                if let Some(profile) = self.known.remove(&identifier) {
                    self.has_user.remove(&profile);
                }
            }
        }
        self.next_profile = next_profile(conn).await?;
        self.prepare(conn, events.iter().copied(), given).await
    }

    /// Somebody else changed who is who since this was said.
    fn forget_before(&mut self, epoch: Option<String>) {
        if epoch != self.epoch {
            self.forget();
            self.epoch = epoch;
        }
    }

    /// Whether resolving the event changes nothing: neither learns an identifier nor joins anybody.
    fn is_settled(&self, workspace: WorkspaceId, event: &Event) -> bool {
        let profile = |id: &Identifier| self.known.get(id).copied();
        match identifiers(workspace, event) {
            [None, None] => true,
            [None, Some(device)] => profile(&device).is_some(),
            [Some(_), _] if event.kind == Kind::Alias => false,
            [Some(user), None] => profile(&user).is_some(),
            [Some(user), Some(device)] => match (profile(&user), profile(&device)) {
                (Some(user), Some(device)) => user == device || event.kind != Kind::Identify,
                _ => false,
            },
        }
    }

    async fn find_users<C: ConnectionTrait>(&mut self, conn: &C, mut profiles: Vec<ProfileId>) -> Result<(), Error> {
        profiles.retain(|profile| !self.has_user.contains_key(profile));
        if profiles.is_empty() {
            return Ok(());
        }
        let keys = profiles.iter().map(|profile| profile.0.into()).collect();
        let (is_one_of_these, keys) = Rows(conn).among("profile", keys);
        let sql = format!("SELECT DISTINCT profile FROM identifiers WHERE kind = 0 AND {is_one_of_these}");
        self.has_user.extend(profiles.iter().map(|profile| (*profile, false)));
        for row in Rows(conn).all(&sql, keys).await? {
            self.has_user.insert(ProfileId(row.try_get_by_index(0)?), true);
        }
        Ok(())
    }

    /// The event's profile; call `prepare` with the event before. `None` for events about nobody.
    pub fn resolve(&mut self, workspace: WorkspaceId, event: &Event) -> Option<Whose> {
        let [user, device] = identifiers(workspace, event);
        match (user, event.kind) {
            (Some(user), Kind::Alias) => Some(self.alias(user, previous(workspace, event))),
            (Some(user), kind) => Some(self.of_user(user, device, kind == Kind::Identify)),
            (None, _) => Some(self.of_device(device?)),
        }
    }

    /// Where a profile's person is now.
    pub fn current(&mut self, profile: ProfileId) -> ProfileId {
        let mut current = profile;
        while let Some(heir) = self.heirs.get(&current) {
            current = *heir;
        }
        if current != profile {
            self.heirs.insert(profile, current);
        }
        current
    }

    fn of_device(&mut self, device: Identifier) -> Whose {
        let profile = self.find(&device).unwrap_or_else(|| {
            let profile = self.new_profile();
            self.learn(device, profile);
            profile
        });
        Whose { profile, joins: None }
    }

    /// A call with a user id, perhaps on a device. Whoever logs in there has the device from now on.
    fn of_user(&mut self, user: Identifier, device: Option<Identifier>, logs_in: bool) -> Whose {
        let of_device = device.as_ref().and_then(|id| self.find(id));
        let is_known = of_device.is_some_and(|profile| self.has_user.get(&profile).copied().unwrap_or(false));
        let profile = match (self.find(&user), of_device) {
            (Some(profile), _) => profile,
            // The first user id on an anonymous profile makes it known; a profile that has a user id keeps it.
            (None, Some(profile)) if !is_known => profile,
            (None, _) => self.new_profile(),
        };
        self.has_user.insert(profile, true);
        self.learn(user, profile);
        let mut joins = None;
        match (device, of_device) {
            (Some(device), None) => self.learn(device, profile),
            (Some(device), Some(other)) if logs_in && other != profile => {
                if is_known {
                    self.handed_over.push(device.clone());
                    self.known.insert(device, profile);
                } else {
                    joins = Some(self.join(other, profile));
                }
            }
            _ => {}
        }
        Whose { profile, joins }
    }

    /// Alias says that both ids are one person. An id that a device has is the device: a shared one must not make two
    /// people one, so that counts as a login there. One that nobody has used yet is linked, whatever it will be.
    fn alias(&mut self, user: Identifier, previous: [Option<Identifier>; 2]) -> Whose {
        let [Some(as_user), Some(as_device)] = previous else { return self.of_user(user, None, false) };
        let other = match (self.find(&as_user), self.find(&as_device)) {
            (Some(other), None) => other,
            (_, of_device) => {
                let whose = self.of_user(user, Some(as_device), true);
                if of_device.is_none() {
                    self.learn(as_user, whose.profile);
                }
                return whose;
            }
        };
        let Some(profile) = self.find(&user) else {
            self.learn(user, other);
            return Whose { profile: other, joins: None };
        };
        self.has_user.insert(profile, true);
        let joins = (other != profile).then(|| self.join(other, profile));
        Whose { profile, joins }
    }

    fn find(&mut self, identifier: &Identifier) -> Option<ProfileId> {
        let profile = *self.known.get(identifier)?;
        Some(self.current(profile))
    }

    fn new_profile(&mut self) -> ProfileId {
        let profile = ProfileId(self.next_profile);
        self.next_profile += 1;
        profile
    }

    fn learn(&mut self, identifier: Identifier, profile: ProfileId) {
        if !self.known.contains_key(&identifier) {
            self.fresh.push(identifier.clone());
            self.known.insert(identifier, profile);
        }
    }

    fn join(&mut self, loser: ProfileId, winner: ProfileId) -> ProfileId {
        self.heirs.insert(loser, winner);
        self.joined.push((loser, winner));
        loser
    }

    pub fn mark(&self) -> Mark {
        Mark { fresh: self.fresh.len(), handed_over: self.handed_over.len(), joined: self.joined.len() }
    }

    /// Writes what was learned since `mark`, in this transaction.
    pub async fn store_since<C: ConnectionTrait>(&mut self, conn: &C, mark: Mark) -> Result<(), Error> {
        // In the order of their keys: neighbours in the tree.
        let fresh: BTreeSet<Identifier> = self.fresh.iter().skip(mark.fresh).cloned().collect();
        let moved: BTreeSet<Identifier> = self.handed_over.iter().skip(mark.handed_over).cloned().collect();
        let mut rows: Vec<Values> = Vec::with_capacity(fresh.len());
        for identifier in &fresh {
            if let Some(profile) = self.find(identifier) {
                let (workspace, anonymous, id) = identifier.clone();
                rows.push(vec![workspace.into(), i64::from(anonymous).into(), id.into(), profile.0.into()]);
            }
        }
        Rows(conn).insert("INSERT INTO identifiers (workspace, kind, value, profile)", "", 4, rows).await?;
        for identifier in moved.difference(&fresh) {
            let Some(profile) = self.find(identifier) else { continue };
            let sql = "UPDATE identifiers SET profile = ? WHERE workspace = ? AND kind = ? AND value = ?";
            let (workspace, anonymous, id) = identifier.clone();
            let values = vec![profile.0.into(), workspace.into(), i64::from(anonymous).into(), id.into()];
            Rows(conn).run(sql, values).await?;
        }
        for (loser, winner) in self.joined.iter().skip(mark.joined) {
            let sql = "UPDATE identifiers SET profile = ? WHERE profile = ?";
            Rows(conn).run(sql, vec![winner.0.into(), loser.0.into()]).await?;
        }
        let is_known_elsewhere = Layout::of(conn.get_database_backend()).is_shared();
        if is_known_elsewhere && (self.handed_over.len() > mark.handed_over || self.joined.len() > mark.joined) {
            self.next_epoch(conn).await?;
        }
        Ok(())
    }

    /// What was learned after `mark` was rolled back. Profile numbers are not handed out again within this run.
    pub fn back_to(&mut self, mark: Mark) {
        let is_changed = self.fresh.len() > mark.fresh
            || self.handed_over.len() > mark.handed_over
            || self.joined.len() > mark.joined;
        self.fresh.truncate(mark.fresh);
        self.handed_over.truncate(mark.handed_over);
        self.joined.truncate(mark.joined);
        if is_changed {
            // Rare, so everything is read again.
            self.forget();
        }
    }
}

/// The caller's transaction has taken the lock of identities.
async fn add_one<C: ConnectionTrait>(conn: &C, name: &str) -> Result<(), Error> {
    let known = setting(conn, name).await?;
    let next = known.and_then(|known| known.parse::<i64>().ok()).unwrap_or(0) + 1;
    set_setting(conn, name, &next.to_string()).await
}

async fn next_profile<C: ConnectionTrait>(conn: &C) -> Result<i64, Error> {
    // A joined profile has no identifiers any more, nor has one that was erased; its number is still taken.
    let sql = "SELECT coalesce(max(last), 0) FROM (SELECT max(profile) AS last FROM identifiers
               UNION ALL SELECT max(loser) FROM merges UNION ALL SELECT max(profile) FROM erasures) AS numbers";
    Ok(Rows(conn).scalar::<i64>(sql, vec![]).await?.unwrap_or(0) + 1)
}

fn identifiers(workspace: WorkspaceId, event: &Event) -> [Option<Identifier>; 2] {
    let identifier = |anonymous: bool, id: &Option<String>| id.clone().map(|id| (workspace.0, anonymous, id));
    [identifier(false, &event.user_id), identifier(true, &event.anonymous_id)]
}

/// The id an alias was known by, as either kind.
fn previous(workspace: WorkspaceId, event: &Event) -> [Option<Identifier>; 2] {
    let is_alias = event.kind == Kind::Alias;
    let id = event.previous_id.as_ref().filter(|_| is_alias);
    [false, true].map(|anonymous| id.map(|id| (workspace.0, anonymous, id.clone())))
}
