//! What the guard looks at, for a batch of due messages: loaded from one snapshot of the database, so that every check
//! speaks of the same instant, and the position up to which it is true.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::audience::Profile;
use crate::decision::State;
use crate::decision::campaign::CampaignStatus;
use crate::event::Event;
use crate::guard::{self, CampaignSwitch, Draft, GuardState, Verdict, address_of};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Channel, Message, Reason};
use crate::store::controls::{PAUSE_ALL, setting};
use crate::store::dispatch::{RESTORE_UNCONFIRMED, due_ids};
use crate::store::entries::Logged;
use crate::store::shards::{Heads, ShardSet, backlog, heads};
use crate::store::{Store, workspace};
use crate::worker::dispatcher::slots::subject_name;
use crate::worker::live::Live;

/// Unprocessed entries that are looked through for each batch; behind by more, everybody waits for the processor.
const BACKLOG_MAX: i64 = 10_000;

/// Due messages and everything about them.
pub struct Outlook {
    /// Where the log ends at the snapshot: what is logged later was not looked at.
    pub heads: Heads,
    pub restore_unconfirmed: bool,
    /// In the order of their lanes.
    pub due: Vec<(WorkspaceId, Message)>,
    /// Rows that cannot be read.
    pub unreadable: Vec<(WorkspaceId, MessageId, String)>,
    pub sights: BTreeMap<WorkspaceId, Sight>,
}

/// One workspace's part.
#[derive(Default)]
pub struct Sight {
    /// A profile, or why its row cannot be read.
    pub people: BTreeMap<ProfileId, Result<Profile, String>>,
    pub exited: BTreeMap<EnrollmentId, Reason>,
    pub suppressed: BTreeSet<String>,
    pub paused: BTreeSet<String>,
    pub events: BTreeMap<Position, Event>,
}

impl Outlook {
    /// # Errors
    /// The database cannot be read.
    pub async fn load(
        store: &Store,
        shards: ShardSet,
        now: Timestamp,
        limit: usize,
        closed: &[Channel],
    ) -> anyhow::Result<Self> {
        let snapshot = store.snapshot().await?;
        let loaded = load(&snapshot, shards, now, limit, closed).await;
        snapshot.rollback().await?;
        loaded
    }
}

async fn load<C: ConnectionTrait>(
    conn: &C,
    shards: ShardSet,
    now: Timestamp,
    limit: usize,
    closed: &[Channel],
) -> anyhow::Result<Outlook> {
    // Of every shard: an entry of another may be the one that joins somebody of ours.
    let (heads, _) = heads(conn, ShardSet::EVERY).await?;
    let is_behind = backlog(conn, shards).await? > BACKLOG_MAX;
    let ids = if is_behind { Vec::new() } else { due_ids(conn, shards, now, limit, closed).await? };
    let mut outlook = Outlook {
        heads,
        restore_unconfirmed: setting(conn, RESTORE_UNCONFIRMED).await?.is_some_and(|value| value == "true"),
        due: Vec::with_capacity(ids.len()),
        unreadable: Vec::new(),
        sights: BTreeMap::new(),
    };
    let mut by_workspace: BTreeMap<WorkspaceId, Vec<MessageId>> = BTreeMap::new();
    for (id, message) in &ids {
        by_workspace.entry(*id).or_default().push(*message);
    }
    let mut found = BTreeMap::new();
    for (id, wanted) in by_workspace {
        let mut messages = Vec::with_capacity(wanted.len());
        for (message, read) in workspace(conn, id).messages_apart(&wanted).await? {
            match read {
                Ok(message) => messages.push(message),
                Err(error) => outlook.unreadable.push((id, message, error.to_string())),
            }
        }
        outlook.sights.insert(id, Sight::load(conn, id, &messages).await?);
        found.extend(messages.into_iter().map(|message| ((id, message.id), message)));
    }
    outlook.due = ids.into_iter().filter_map(|key| found.remove(&key).map(|message| (key.0, message))).collect();
    Ok(outlook)
}

impl Sight {
    async fn load<C: ConnectionTrait>(conn: &C, id: WorkspaceId, messages: &[Message]) -> anyhow::Result<Self> {
        let store = workspace(conn, id);
        let mut sight = Self { paused: store.pauses().await?, ..Self::default() };
        if messages.is_empty() {
            return Ok(sight);
        }
        let profiles: BTreeSet<ProfileId> = messages.iter().map(|message| message.profile).collect();
        for (profile, read) in store.people(&profiles.into_iter().collect::<Vec<_>>()).await? {
            sight.people.insert(profile, read.map(|person| person.profile).map_err(|error| error.to_string()));
        }
        let enrollments: BTreeSet<EnrollmentId> = messages.iter().map(|message| message.enrollment).collect();
        for enrollment in store.enrollments_by_id(&enrollments.into_iter().collect::<Vec<_>>()).await?.into_values() {
            if let State::Exited { at, by, .. } = enrollment.state {
                sight.exited.insert(enrollment.id, Reason::Exited { by, at });
            }
        }
        let positions: BTreeSet<Position> =
            messages.iter().flat_map(|message| [message.event, message.entry]).collect();
        for (position, entry) in store.entries_apart(&positions.into_iter().collect::<Vec<_>>()).await? {
            if let Logged::Event(event) = entry.logged {
                sight.events.insert(position, event);
            }
        }
        let subjects = messages.iter().filter_map(|message| sight.subject_of(message)).collect();
        sight.suppressed = store.suppressed_of(&subjects).await?;
        Ok(sight)
    }

    fn subject_of(&self, message: &Message) -> Option<String> {
        let profile = self.people.get(&message.profile)?.as_ref().ok()?;
        let address = address_of(profile, message.channel).ok()?;
        Some(subject_name(message.channel, address.normalised()))
    }

    /// Whether a message may go; an error is the damage of the profile's row.
    pub fn check(
        &self,
        now: Timestamp,
        live: &Live,
        restore_unconfirmed: bool,
        message: Message,
    ) -> Result<Verdict, String> {
        let nobody;
        let profile = match self.people.get(&message.profile) {
            Some(Ok(profile)) => profile,
            Some(Err(cause)) => return Err(cause.clone()),
            None => {
                nobody = Profile::new(message.profile, now);
                &nobody
            }
        };
        let state = GuardState {
            profile,
            suppressed: self.subject_of(&message).is_some_and(|subject| self.suppressed.contains(&subject)),
            unknown_consent: live.catalog.unknown_consent(message.channel),
            exited: self.exited.get(&message.enrollment),
            campaign: self.switch(live, &message.campaign),
            all_paused: self.paused.contains(PAUSE_ALL),
            restore_unconfirmed,
            rules: &live.rules,
        };
        Ok(guard::check(now, &state, Draft(message)))
    }

    fn switch(&self, live: &Live, campaign: &str) -> CampaignSwitch {
        match live.catalog.campaign(campaign).map(|campaign| campaign.status) {
            Some(CampaignStatus::Live) if self.paused.contains(campaign) => CampaignSwitch::Paused,
            Some(CampaignStatus::Live) => CampaignSwitch::Live,
            Some(CampaignStatus::Paused) => CampaignSwitch::Paused,
            Some(CampaignStatus::Draft | CampaignStatus::Archived) | None => CampaignSwitch::Off,
        }
    }
}
