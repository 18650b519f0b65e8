//! The people a batch of entries is about, loaded in bulk, changed in memory by decisions, and what must be stored.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::audience::condition::needs::Needs;
use crate::audience::{Consent, Profile};
use crate::decision::effect::OwnEvent;
use crate::decision::{self, At, Catalog, Decision, Effect, Enrollment, Finding, Input, Loaded, Person};
use crate::eventlog::EventLog;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::{Message, Reason};
use crate::store::controls::Parked;
use crate::store::profiles::Unsaved;
use crate::store::reach::Held;
use crate::store::rows::Error;
use crate::store::search::terms_of;
use crate::store::shards::Layout;
use crate::store::suppressions::subject;
use crate::store::{Workspace, workspace};
use crate::worker::effects::Merge;
use crate::worker::past::load_needed;

/// One person in memory, with what decisions may look at.
#[derive(Debug, Clone)]
pub struct Slot {
    pub person: Person,
    pub loaded: Loaded,
    /// Changed since it was read.
    pub dirty: bool,
    /// Something was decided, though it may stand in other rows than the person's.
    pub decided: bool,
}

/// What a batch changes in one workspace, in the order it happened.
#[derive(Debug, Default)]
pub struct Changes {
    pub people: Vec<Person>,
    /// The same people once they are written down.
    pub rows: Unsaved,
    /// Of whom only other rows change, such as messages, each with the version by which that was decided.
    pub unchanged: Vec<(ProfileId, i64)>,
    pub pages: Vec<(ProfileId, u32, Vec<u8>)>,
    /// Profiles that became another's, in the order of the log.
    pub merges: Vec<Merge>,
    pub enrollments: BTreeMap<EnrollmentId, Enrollment>,
    pub messages: Vec<Message>,
    pub renewed: Vec<(MessageId, Position)>,
    pub cancelled: Vec<(MessageId, Timestamp, Reason)>,
    pub consents: Vec<(ProfileId, Position, String, Consent)>,
    /// Addresses that people came to have, by their subjects.
    pub gained: BTreeSet<(ProfileId, String)>,
    /// The same with what each knows of theirs, once all is decided.
    pub held: Held,
    /// Addresses stopped and freed, with whose answer did it.
    pub addresses: Vec<(ProfileId, Effect)>,
    pub sent: Vec<(MessageId, Timestamp)>,
    pub conversions: Vec<(ProfileId, Effect)>,
    /// By what people whose traits changed are found.
    pub terms: Vec<(ProfileId, BTreeSet<String>)>,
    pub findings: Vec<(Position, Option<ProfileId>, Vec<Finding>)>,
    /// Since when people are in segments, or that they are no longer.
    pub members: BTreeMap<(String, ProfileId), Option<Timestamp>>,
    /// Who waits for a turn in a campaign, or no longer does: since when a member, and by what the order goes.
    pub inclusions: BTreeMap<(String, ProfileId), Option<(Timestamp, Timestamp)>>,
    /// Events of our own, to be appended after.
    pub follow: Vec<(ProfileId, OwnEvent)>,
    pub parked: Vec<Parked>,
    /// Events applied, parked ones not counted.
    pub events_processed: i64,
}

impl Changes {
    /// Writes the people's rows while nobody waits: the writer has the rest of the work.
    pub fn write_people(&mut self, workspace: WorkspaceId, layout: Layout) {
        for Person { profile, .. } in &self.people {
            let theirs = self.gained.range((profile.id, String::new())..).take_while(|(id, _)| *id == profile.id);
            let known = |subject: &String| profile.remembered.stopped.get(subject).cloned().unwrap_or_default();
            self.held.extend(theirs.map(|(id, subject)| (*id, subject.clone(), known(subject))));
        }
        self.rows = Unsaved::of(workspace, layout, std::mem::take(&mut self.people).iter());
    }

    /// Addresses that come onto the suppression list, by their subjects.
    pub fn stopped(&self) -> impl Iterator<Item = String> {
        self.addresses.iter().filter_map(|(_, effect)| match effect {
            Effect::Suppress { channel, address, .. } => Some(subject(*channel, address)),
            _ => None,
        })
    }
}

impl Slot {
    pub fn new(person: Person) -> Self {
        Self { person, loaded: Loaded::default(), dirty: false, decided: false }
    }

    /// What was another profile's is this one's, which had so many pages of history before.
    fn take_over(&mut self, other: &Person, after: u32, changes: &mut Changes) {
        self.dirty = true;
        let (Profile { id, segments, remembered, .. }, loser) = (&self.person.profile, &other.profile);
        changes.merges.push(Merge { loser: loser.id, winner: *id, pages: loser.history.pages, after });
        changes.people.push(other.emptied(*id));
        let members = segments.iter().map(|(segment, standing)| ((segment.to_owned(), *id), standing.since));
        changes.members.extend(members);
        let waiting = remembered.existing.iter().map(|(campaign, it)| ((campaign.clone(), *id), it.waiting));
        changes.inclusions.extend(waiting);
    }

    /// Applies a decision to the person and notes what must be stored.
    pub fn apply(&mut self, position: Position, now: Timestamp, decision: Decision, changes: &mut Changes) {
        let profile = self.person.profile.id;
        self.decided |= !decision.effects.is_empty();
        for effect in decision.effects {
            let after = self.person.profile.history.pages;
            let had = addresses::before(&self.person.profile.traits, &effect);
            self.person.apply(&effect);
            changes.gained.extend(addresses::gained(&self.person.profile, had));
            match effect {
                Effect::Merge(other) => self.take_over(&other, after, changes),
                Effect::Identify { .. }
                | Effect::Seen { .. }
                | Effect::Cart(_)
                | Effect::Carts(_)
                | Effect::Record { .. }
                | Effect::WakeAt(_)
                | Effect::Computed { .. }
                | Effect::Appointed { .. }
                | Effect::Listed { .. }
                | Effect::Reach { .. }
                | Effect::SegmentsSeen(_) => self.dirty = true,
                Effect::SetTraits(traits) => {
                    self.dirty = true;
                    changes.terms.push((profile, terms_of(&traits)));
                }
                Effect::Standing { segment, standing } => {
                    self.dirty = true;
                    changes.members.insert((segment, profile), standing.since);
                }
                Effect::Inclusion { campaign, inclusion } => {
                    self.dirty = true;
                    changes.inclusions.insert((campaign, profile), inclusion.and_then(|it| it.waiting));
                }
                Effect::Happen(event) => changes.follow.push((profile, event)),
                Effect::SetConsent { channel, consent } => {
                    self.dirty = true;
                    changes.consents.push((profile, position, channel, consent));
                }
                Effect::Suppress { .. } | Effect::LiftSuppression { .. } => {
                    self.dirty = true;
                    changes.addresses.push((profile, effect));
                }
                Effect::Enrollment(enrollment) => {
                    changes.enrollments.insert(enrollment.id, enrollment);
                }
                Effect::CreateMessage(message) => changes.messages.push(message),
                Effect::RenewMessage { message, event } => changes.renewed.push((message, event)),
                Effect::CancelMessage { message, reason } => changes.cancelled.push((message, now, reason)),
                Effect::Sent { message, at } => changes.sent.push((message, at)),
                Effect::Convert(_) => changes.conversions.push((profile, effect)),
            }
        }
        while let Some(page) = self.person.profile.history.spill() {
            let number = self.person.profile.history.pages;
            changes.pages.push((profile, number, page.pack()));
            self.loaded.older.push(page);
        }
        if !decision.findings.is_empty() {
            changes.findings.push((position, Some(profile), decision.findings));
        }
    }
}

/// An entry of the log that a decision is made on.
#[derive(Debug)]
pub struct Asked {
    pub at: At,
    pub profile: ProfileId,
    /// Another profile of this person, as the entry says.
    pub joins: Option<ProfileId>,
    pub input: Input,
}

/// Everyone a batch is about.
#[derive(Debug, Default)]
pub struct People {
    pub slots: Slots,
    /// Profiles whose state is in another, before the batch or since.
    pub merged: BTreeMap<ProfileId, ProfileId>,
}

impl People {
    /// The profile that has the person's state now.
    pub fn current(&self, profile: ProfileId) -> ProfileId {
        let mut current = profile;
        while let Some(winner) = self.merged.get(&current) {
            current = *winner;
        }
        current
    }
}

/// An input, and one of the profiles that it may have to look at.
type Look<'a> = (ProfileId, &'a Asked);

/// Loads everyone the inputs are about. A person whose row cannot be read is an `Err` with the cause.
///
/// # Errors
/// The database cannot be read.
pub async fn load(
    log: &EventLog,
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    asked: &[Asked],
) -> Result<People, Error> {
    let mut people = People::default();
    let mut found = rows(log, store, asked, &mut people.merged).await?;
    for one in asked {
        for id in [Some(one.profile), one.joins].into_iter().flatten() {
            let id = people.current(id);
            people.slots.entry(id).or_insert_with(|| match found.remove(&id) {
                Some(Ok(person)) => Ok(Slot::new(person)),
                Some(Err(error)) => Err(error.to_string()),
                None => Ok(Slot::new(Person::new(id, one.at.now))),
            });
        }
    }
    let ids: Vec<ProfileId> = people.slots.keys().copied().collect();
    for (id, enrollment) in store.active_enrollments(&ids).await? {
        join(&mut people.slots, id, enrollment, |slot, one| drop(slot.person.enrollments.insert(one.id, one)));
    }
    let groups = groups(&people, asked);
    let looks: Vec<Look<'_>> = asked
        .iter()
        .flat_map(|one| {
            let id = people.current(one.profile);
            let others =
                groups.get(&id).map_or(&[][..], Vec::as_slice).iter().copied().filter(move |other| *other != id);
            std::iter::once(id).chain(others).map(move |id| (id, one))
        })
        .collect();
    load_ended(store, catalog, &looks, &mut people.slots).await?;
    load_sent(store, catalog, &looks, &mut people.slots).await?;
    load_history(store, catalog, &looks, &groups, &mut people.slots).await?;
    Ok(people)
}

/// The rows of all profiles that are named, and of those they were merged into.
async fn rows(
    log: &EventLog,
    store: Workspace<'_, DatabaseConnection>,
    asked: &[Asked],
    merged: &mut BTreeMap<ProfileId, ProfileId>,
) -> Result<BTreeMap<ProfileId, Result<Person, Error>>, Error> {
    let mut found = BTreeMap::new();
    let mut wanted: BTreeSet<ProfileId> =
        asked.iter().flat_map(|one| [Some(one.profile), one.joins]).flatten().collect();
    let mut read_before = BTreeSet::new();
    while !wanted.is_empty() {
        read_before.extend(wanted.iter().copied());
        let ids: Vec<ProfileId> = std::mem::take(&mut wanted).into_iter().collect();
        for (id, read) in read_people(log, store, ids).await? {
            match read.as_ref().ok().and_then(|person| person.merged_into) {
                Some(winner) => drop(merged.insert(id, winner)),
                None => drop(found.insert(id, read)),
            }
        }
        wanted.extend(merged.values().filter(|id| !read_before.contains(id)));
    }
    Ok(found)
}

/// On SQLite over the writer's connection: it will change most of these rows, and its pages stay in memory until then. A
/// reader's are forgotten with each commit, so that it would read them all anew, and the writer once more.
async fn read_people(
    log: &EventLog,
    store: Workspace<'_, DatabaseConnection>,
    ids: Vec<ProfileId>,
) -> Result<BTreeMap<ProfileId, Result<Person, Error>>, Error> {
    let unread = match store.layout().is_shared() {
        true => store.unread_people(&ids).await?,
        false => workspace(log.writer().connection(), store.id).unread_people(&ids).await?,
    };
    Ok(unread.iter().map(|(id, row)| (*id, row.read())).collect())
}

/// Profiles that are one person at the end of the batch, by each of them: decisions on one may look at what belongs to
/// another.
fn groups(people: &People, asked: &[Asked]) -> BTreeMap<ProfileId, Vec<ProfileId>> {
    let mut groups: BTreeMap<ProfileId, Vec<ProfileId>> = BTreeMap::new();
    for one in asked {
        let Some(loser) = one.joins.map(|id| people.current(id)) else { continue };
        let winner = people.current(one.profile);
        let group = |id: ProfileId| groups.get(&id).cloned().unwrap_or_else(|| vec![id]);
        let united: BTreeSet<ProfileId> = group(winner).into_iter().chain(group(loser)).collect();
        let united: Vec<ProfileId> = united.into_iter().collect();
        groups.extend(united.iter().map(|id| (*id, united.clone())));
    }
    groups
}

pub type Slots = BTreeMap<ProfileId, Result<Slot, String>>;

/// Adds what was read of a person; what cannot be read parks this person's entries and nobody else's.
pub(super) fn join<T>(slots: &mut Slots, id: ProfileId, read: Result<T, Error>, add: impl FnOnce(&mut Slot, T)) {
    match (read, slots.get_mut(&id)) {
        (Ok(one), Some(Ok(slot))) => add(slot, one),
        (Err(error), Some(slot)) => *slot = Err(error.to_string()),
        (_, Some(Err(_)) | None) => {}
    }
}

/// Tells a row that cannot be read from a database that does not answer.
pub(super) fn apart<T>(read: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match read {
        Err(error @ Error::Database(_)) => Err(error),
        read => Ok(read),
    }
}

/// Ended enrollments, only where a campaign that may be entered looks at them.
async fn load_ended(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    looks: &[Look<'_>],
    slots: &mut Slots,
) -> Result<(), Error> {
    let mut wanted: BTreeSet<(ProfileId, &str, String)> = BTreeSet::new();
    for (id, one) in looks {
        let Input::Event(event) = &one.input else { continue };
        for campaign in catalog.entered_by(event) {
            if campaign.entry.reentry != decision::campaign::Reentry::Always || campaign.is_turn(event) {
                wanted.insert((*id, &campaign.key, decision::entry::entry_key(campaign, event)));
            }
        }
    }
    for (id, campaign, key) in wanted {
        let ended = apart(store.last_ended(id, campaign, &key).await)?;
        join(slots, id, ended, |slot, ended| slot.person.enrollments.extend(ended.map(|one| (one.id, one))));
    }
    Ok(())
}

/// Their messages, only where an event may reach a goal.
async fn load_sent(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    looks: &[Look<'_>],
    slots: &mut Slots,
) -> Result<(), Error> {
    let mut people = BTreeSet::new();
    let mut since: Option<Timestamp> = None;
    for (id, one) in looks {
        let Input::Event(event) = &one.input else { continue };
        if let Some(within) = catalog.goal_window(&event.name) {
            people.insert(*id);
            // A message is sent at most its longest life after it was created.
            let earliest = event.at.minus(within).minus(Span::from_days(30));
            since = Some(since.map_or(earliest, |known| known.min(earliest)));
        }
    }
    let Some(since) = since else { return Ok(()) };
    let people: Vec<ProfileId> = people.into_iter().collect();
    for (id, message) in store.sent_since(&people, since).await? {
        join(slots, id, message, |slot, of| slot.person.note_message(of.message, &of.campaign, of.at));
    }
    Ok(())
}

/// Older pages and past events, only for people whose conditions look at them.
async fn load_history(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    looks: &[Look<'_>],
    groups: &BTreeMap<ProfileId, Vec<ProfileId>>,
    slots: &mut Slots,
) -> Result<(), Error> {
    let mut needs: BTreeMap<ProfileId, Needs> = BTreeMap::new();
    for (id, one) in looks {
        let Some(Ok(slot)) = slots.get(id) else { continue };
        let mut wanted = decision::needs(catalog, &slot.person, &one.input, one.at.now);
        let group = groups.get(id);
        if group.is_some() {
            // Whoever becomes one with another is looked at anew for every segment.
            catalog.terms.segments.iter().for_each(|defined| wanted.add(&defined.needs));
            catalog.terms.computed.iter().for_each(|defined| wanted.add(&defined.needs));
        }
        // What one profile's enrollments ask for is asked of the whole person.
        for id in group.map_or(std::slice::from_ref(id), Vec::as_slice) {
            needs.entry(*id).or_default().add(&wanted);
        }
    }
    load_needed(store, needs, slots).await
}
