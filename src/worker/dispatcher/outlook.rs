//! What the guard looks at, for a batch of due messages: loaded from one snapshot of the database, so that every check
//! speaks of the same instant, and the position up to which it is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use sea_orm::ConnectionTrait;

use crate::audience::condition::Facts;
use crate::audience::consent::{ConsentState, Policy};
use crate::audience::segment::Answers;
use crate::audience::{Profile, Whereabouts};
use crate::decision::campaign::CampaignStatus;
use crate::decision::{Loaded, State};
use crate::event::Event;
use crate::guard::{self, CampaignSwitch, Draft, GuardState, Verdict, address_of, neighbours, quiet_hours};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Message, Purpose, Reason};
use crate::store::boots::{Counted, is_unconfirmed};
use crate::store::controls::PAUSE_ALL;
use crate::store::dispatch::{Shut, due_ids};
use crate::store::entries::Logged;
use crate::store::shards::{Heads, ShardSet, backlog, heads};
use crate::store::{Store, Workspace, workspace};
use crate::worker::dispatcher::addressed::Addressed;
use crate::worker::dispatcher::claim::LEASE;
use crate::worker::dispatcher::slots::subject_name;
use crate::worker::live::{Definitions, Live};
use crate::worker::past::past_for;

/// Unprocessed entries that are looked through for each batch; behind by more, everybody waits for the processor.
pub const BACKLOG_MAX: i64 = 10_000;

/// Due messages and everything about them.
pub struct Outlook {
    /// Where the log ends at the snapshot: what is logged later was not looked at.
    pub heads: Heads,
    pub restore_unconfirmed: bool,
    /// In the order of their lanes.
    pub due: Vec<(WorkspaceId, Message)>,
    /// Of these, the messages that wait for a slot and are looked at only because another of their person is due.
    pub beside: BTreeSet<MessageId>,
    /// Rows that cannot be read.
    pub unreadable: Vec<(WorkspaceId, MessageId, String)>,
    pub sights: BTreeMap<WorkspaceId, Sight>,
}

/// One workspace's part.
#[derive(Default)]
pub struct Sight {
    /// A profile, or why its row cannot be read.
    pub people: BTreeMap<ProfileId, Result<Profile, String>>,
    /// Of their rows.
    pub versions: BTreeMap<ProfileId, i64>,
    pub exited: BTreeMap<EnrollmentId, Reason>,
    pub addressed: Addressed,
    /// Of people without an answer, what a policy's condition looks at.
    pub pasts: BTreeMap<ProfileId, Loaded>,
    pub paused: BTreeSet<String>,
    pub events: BTreeMap<Position, Arc<Event>>,
}

impl Outlook {
    /// # Errors
    /// The database cannot be read.
    pub async fn load(
        store: &Store,
        definitions: &Definitions,
        shards: ShardSet,
        now: Timestamp,
        limit: usize,
        shut: &Shut,
        counted: Option<&Counted>,
    ) -> anyhow::Result<Self> {
        // Before the snapshot, which therefore knows at least as much.
        let known = counted.map(Counted::known);
        let snapshot = store.snapshot().await?;
        let unconfirmed = is_unconfirmed(&snapshot, known).await;
        let loaded = load(&snapshot, definitions, shards, now, limit, shut).await;
        snapshot.rollback().await?;
        Ok(Self { restore_unconfirmed: unconfirmed?, ..loaded? })
    }
}

async fn load<C: ConnectionTrait>(
    conn: &C,
    definitions: &Definitions,
    shards: ShardSet,
    now: Timestamp,
    limit: usize,
    shut: &Shut,
) -> anyhow::Result<Outlook> {
    // Of every shard: an entry of another may be the one that joins somebody of ours.
    let (heads, _) = heads(conn, ShardSet::EVERY).await?;
    let is_behind = backlog(conn, shards).await? > BACKLOG_MAX;
    let mut ids = if is_behind { Vec::new() } else { due_ids(conn, shards, now, limit, shut).await? };
    let beside = if shut.caps { Vec::new() } else { capped_beside(conn, now, &ids, shut).await? };
    ids.extend(&beside);
    let mut outlook = Outlook {
        heads,
        restore_unconfirmed: false,
        due: Vec::with_capacity(ids.len()),
        beside: beside.into_iter().map(|(_, message)| message).collect(),
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
        outlook.sights.insert(id, Sight::load(conn, id, &definitions.live(id), now, &messages).await?);
        found.extend(messages.into_iter().map(|message| ((id, message.id), message)));
    }
    outlook.due = ids.into_iter().filter_map(|key| found.remove(&key).map(|message| (key.0, message))).collect();
    Ok(outlook)
}

/// One wake serves all of a person's messages that wait for slots: whoever of them is the most important asks first.
async fn capped_beside<C: ConnectionTrait>(
    conn: &C,
    now: Timestamp,
    due: &[(WorkspaceId, MessageId)],
    shut: &Shut,
) -> anyhow::Result<Vec<(WorkspaceId, MessageId)>> {
    let mut beside = Vec::new();
    for id in due.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>() {
        let due: Vec<MessageId> = due.iter().filter(|(of, _)| *of == id).map(|(_, message)| *message).collect();
        let found = workspace(conn, id).capped_beside(&due, now, shut).await?;
        beside.extend(found.into_iter().map(|message| (id, message)));
    }
    Ok(beside)
}

impl Sight {
    async fn load<C: ConnectionTrait>(
        conn: &C,
        id: WorkspaceId,
        live: &Live,
        now: Timestamp,
        messages: &[Message],
    ) -> anyhow::Result<Self> {
        let store = workspace(conn, id);
        let mut sight = Self { paused: store.pauses().await?, ..Self::default() };
        if messages.is_empty() {
            return Ok(sight);
        }
        let profiles: BTreeSet<ProfileId> = messages.iter().map(|message| message.profile).collect();
        for (profile, read) in store.people(&profiles.into_iter().collect::<Vec<_>>()).await? {
            sight.versions.extend(read.as_ref().ok().map(|person| (profile, person.version)));
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
        let addressed = messages.iter().filter_map(|message| Some((message, sight.subject_of(message)?)));
        sight.addressed = Addressed::load(store, now, addressed.collect::<Vec<_>>().into_iter()).await?;
        for message in messages {
            sight.load_past(store, live, message).await?;
        }
        Ok(sight)
    }

    /// What the condition of a policy must see, where the person has given no answer.
    async fn load_past<C: ConnectionTrait>(
        &mut self,
        store: Workspace<'_, C>,
        live: &Live,
        message: &Message,
    ) -> anyhow::Result<()> {
        let Some(Ok(profile)) = self.people.get(&message.profile) else { return Ok(()) };
        let policy = live.catalog.policy(message.channel).filter(|_| has_no_answer(profile, message));
        let Some(condition) = policy.and_then(Policy::condition) else { return Ok(()) };
        if self.pasts.contains_key(&message.profile) {
            return Ok(());
        }
        let past = past_for(store, profile, condition, &live.catalog.terms.segments).await?;
        self.pasts.insert(message.profile, past);
        Ok(())
    }

    /// What no answer means for this message: allowed, or why not.
    fn unknown_consent(&self, now: Timestamp, live: &Live, profile: &Profile, message: &Message) -> Result<(), String> {
        let policy = live.catalog.policy(message.channel).cloned().unwrap_or_default();
        let nothing = Loaded::default();
        let past = self.pasts.get(&message.profile).unwrap_or(&nothing);
        let answers = Answers::default();
        policy.admits_unknown(&Facts::of_person(now, (&live.catalog.terms, &answers), profile, past.past()))
    }

    pub fn subject_of(&self, message: &Message) -> Option<String> {
        let profile = self.people.get(&message.profile)?.as_ref().ok()?;
        let address = address_of(profile, message.channel).ok()?;
        Some(subject_name(message.channel, address.normalised()))
    }

    /// Whether a message may go; an error is the damage of the profile's row.
    pub fn check(
        &self,
        now: Timestamp,
        live: &Live,
        zone: &TimeZone,
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
        let subject = self.subject_of(&message).unwrap_or_default();
        let state = GuardState {
            profile,
            suppressions: self.addressed.suppressions(&subject),
            unknown_consent: self.unknown_consent(now, live, profile, &message),
            topic: message.topic.as_deref().and_then(|topic| live.catalog.topic(topic)),
            exited: self.exited.get(&message.enrollment),
            campaign: self.switch(live, &message),
            all_paused: self.paused.contains(PAUSE_ALL),
            restore_unconfirmed,
            neighbours: self.addressed.neighbours(&subject),
            rules: &live.rules,
            quiet: &live.quiet,
            zone: zone.clone(),
        };
        Ok(guard::check(now, &state, Draft(message)))
    }

    /// Where somebody is for whom quiet hours begin before a claim of now runs out.
    pub fn soon_quiet(
        &self,
        now: Timestamp,
        live: &Live,
        zone: &TimeZone,
        message: &Message,
    ) -> Option<Box<Whereabouts>> {
        let profile = self.people.get(&message.profile)?.as_ref().ok()?;
        let there = quiet_hours::may_hold(&live.quiet, message).then(|| Whereabouts::of(profile, zone))?;
        quiet_hours::holds(now.plus(LEASE), &live.quiet, message, &there)?;
        Some(Box::new(there))
    }

    fn switch(&self, live: &Live, message: &Message) -> CampaignSwitch {
        let campaign = message.campaign.as_str();
        if neighbours::is_confirmation(message) {
            let policy = live.catalog.policy(message.channel);
            let asks = policy.is_some_and(|policy| policy.double_opt_in.is_some());
            return if asks { CampaignSwitch::Live } else { CampaignSwitch::Off };
        }
        match live.catalog.campaign(campaign).map(|campaign| campaign.status) {
            Some(CampaignStatus::Live) if self.paused.contains(campaign) => CampaignSwitch::Paused,
            Some(CampaignStatus::Live) => CampaignSwitch::Live,
            Some(CampaignStatus::Paused) => CampaignSwitch::Paused,
            Some(CampaignStatus::Draft | CampaignStatus::Archived) | None => CampaignSwitch::Off,
        }
    }
}

fn has_no_answer(profile: &Profile, message: &Message) -> bool {
    let answer = profile.consent.get(message.channel.as_str());
    message.purpose == Purpose::Marketing && answer.is_none_or(|answer| answer.state == ConsentState::Unknown)
}
