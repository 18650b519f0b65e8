//! The people a batch of entries is about, loaded in bulk, changed in memory by decisions, and what must be stored.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::audience::condition::Needs;
use crate::audience::{Consent, History};
use crate::decision::campaign::Exit;
use crate::decision::{self, Catalog, Decision, Effect, Enrollment, Finding, Input, Loaded, Person};
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Span, Timestamp};
use crate::message::{Message, Reason};
use crate::store::Workspace;
use crate::store::controls::Parked;
use crate::store::entries::Logged;
use crate::store::rows::Error;

/// Past events fetched for one person's conditions, of at most 32 KB each; the newest win.
const BODIES_MAX: usize = 2_000;

/// One person in memory, with what decisions may look at.
#[derive(Debug)]
pub struct Slot {
    pub person: Person,
    pub loaded: Loaded,
    /// Changed since it was read.
    pub dirty: bool,
}

/// What a batch changes in one workspace, in the order it happened.
#[derive(Debug, Default)]
pub struct Changes {
    pub people: Vec<Person>,
    pub pages: Vec<(ProfileId, u32, Vec<u8>)>,
    pub enrollments: BTreeMap<EnrollmentId, Enrollment>,
    pub messages: Vec<Message>,
    pub renewed: Vec<(MessageId, Position)>,
    pub cancelled: Vec<(MessageId, Timestamp, Reason)>,
    pub consents: Vec<(ProfileId, Position, String, Consent)>,
    pub conversions: Vec<(ProfileId, Effect)>,
    pub findings: Vec<(Position, Option<ProfileId>, Vec<Finding>)>,
    pub parked: Vec<Parked>,
    /// Events applied, parked ones not counted.
    pub events_processed: i64,
}

impl Slot {
    pub fn new(person: Person) -> Self {
        Self { person, loaded: Loaded::default(), dirty: false }
    }

    /// Applies a decision to the person and notes what must be stored.
    pub fn apply(&mut self, position: Position, now: Timestamp, decision: Decision, changes: &mut Changes) {
        let profile = self.person.profile.id;
        for effect in decision.effects {
            self.person.apply(&effect);
            match effect {
                Effect::Identify { .. } | Effect::SetTraits(_) | Effect::Record { .. } | Effect::WakeAt(_) => {
                    self.dirty = true;
                }
                Effect::SetConsent { channel, consent } => {
                    self.dirty = true;
                    changes.consents.push((profile, position, channel, consent));
                }
                Effect::Enrollment(enrollment) => {
                    changes.enrollments.insert(enrollment.id, enrollment);
                }
                Effect::CreateMessage(message) => changes.messages.push(message),
                Effect::RenewMessage { message, event } => changes.renewed.push((message, event)),
                Effect::CancelMessage { message, reason } => changes.cancelled.push((message, now, reason)),
                Effect::Convert(_) => changes.conversions.push((profile, effect)),
            }
        }
        if let Some(page) = self.person.profile.history.spill() {
            let number = self.person.profile.history.pages;
            changes.pages.push((profile, number, page.pack()));
            self.loaded.older.push(page);
        }
        if !decision.findings.is_empty() {
            changes.findings.push((position, Some(profile), decision.findings));
        }
    }
}

/// Loads everyone the inputs are about. A person whose row cannot be read is an `Err` with the cause.
///
/// # Errors
/// The database cannot be read.
pub async fn load(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    inputs: &[(ProfileId, Timestamp, Input)],
) -> Result<BTreeMap<ProfileId, Result<Slot, String>>, Error> {
    let ids: Vec<ProfileId> = inputs.iter().map(|(id, ..)| *id).collect::<BTreeSet<_>>().into_iter().collect();
    let mut found = store.people(&ids).await?;
    let mut slots = BTreeMap::new();
    for (id, now, _) in inputs {
        slots.entry(*id).or_insert_with(|| match found.remove(id) {
            Some(Ok(person)) => Ok(Slot::new(person)),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(Slot::new(Person::new(*id, *now))),
        });
    }
    for (id, enrollment) in store.active_enrollments(&ids).await? {
        join(&mut slots, id, enrollment, |slot, one| drop(slot.person.enrollments.insert(one.id, one)));
    }
    load_ended(store, catalog, inputs, &mut slots).await?;
    load_sent(store, catalog, inputs, &mut slots).await?;
    load_history(store, catalog, inputs, &mut slots).await?;
    Ok(slots)
}

type Slots = BTreeMap<ProfileId, Result<Slot, String>>;

/// Adds what was read of a person; what cannot be read parks this person's entries and nobody else's.
fn join<T>(slots: &mut Slots, id: ProfileId, read: Result<T, Error>, add: impl FnOnce(&mut Slot, T)) {
    match (read, slots.get_mut(&id)) {
        (Ok(one), Some(Ok(slot))) => add(slot, one),
        (Err(error), Some(slot)) => *slot = Err(error.to_string()),
        (_, Some(Err(_)) | None) => {}
    }
}

/// Ended enrollments, only where a campaign that may be entered looks at them.
async fn load_ended(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    inputs: &[(ProfileId, Timestamp, Input)],
    slots: &mut Slots,
) -> Result<(), Error> {
    let mut wanted: BTreeSet<(ProfileId, &str, String)> = BTreeSet::new();
    for (id, _, input) in inputs {
        let Input::Event(event) = input else { continue };
        for campaign in catalog.entered_by(&event.name) {
            if campaign.entry.reentry != decision::campaign::Reentry::Always {
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

/// Sent messages, only where an event may reach a goal.
async fn load_sent(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    inputs: &[(ProfileId, Timestamp, Input)],
    slots: &mut Slots,
) -> Result<(), Error> {
    let mut people = BTreeSet::new();
    let mut since: Option<Timestamp> = None;
    for (id, _, input) in inputs {
        let Input::Event(event) = input else { continue };
        for goal in catalog.goals_of(&event.name).iter().filter_map(|campaign| campaign.goal.as_ref()) {
            people.insert(*id);
            // A message is sent at most its longest life after it was created.
            let earliest = event.at.minus(goal.within).minus(Span::from_days(30));
            since = Some(since.map_or(earliest, |known| known.min(earliest)));
        }
    }
    let Some(since) = since else { return Ok(()) };
    let people: Vec<ProfileId> = people.into_iter().collect();
    for (id, message) in store.sent_since(&people, since).await? {
        join(slots, id, message, |slot, message| slot.person.note_outcome(&message));
    }
    Ok(())
}

/// Older pages and past events, only for people whose conditions look at them.
async fn load_history(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    inputs: &[(ProfileId, Timestamp, Input)],
    slots: &mut Slots,
) -> Result<(), Error> {
    let mut needs: BTreeMap<ProfileId, Needs> = BTreeMap::new();
    for (id, _, input) in inputs {
        let Some(Ok(slot)) = slots.get(id) else { continue };
        let wanted = decision::needs(catalog, &slot.person, input);
        let known = needs.entry(*id).or_default();
        known.older.extend(wanted.older);
        known.bodies.extend(wanted.bodies);
    }
    let mut positions: BTreeMap<Position, ProfileId> = BTreeMap::new();
    for (id, place) in slots.iter_mut() {
        let Ok(slot) = place else { continue };
        let needs = needs.remove(id).unwrap_or_default();
        if slot.person.profile.history.pages > 0 && !needs.older.is_empty() {
            match apart(store.history_pages(*id).await)? {
                Ok(older) => slot.loaded.older = older,
                Err(error) => {
                    *place = Err(error.to_string());
                    continue;
                }
            }
        }
        positions.extend(past_positions(slot, &needs).into_iter().map(|position| (position, *id)));
        positions.extend(entries_compared(catalog, &slot.person).into_iter().map(|position| (position, *id)));
    }
    let wanted: Vec<Position> = positions.keys().copied().collect();
    for (position, entry) in store.entries_apart(&wanted).await? {
        let Some(Ok(slot)) = positions.get(&position).and_then(|id| slots.get_mut(id)) else { continue };
        if let Logged::Event(event) = entry.logged {
            slot.loaded.bodies.insert(position, event);
        }
    }
    Ok(())
}

/// Tells a row that cannot be read from a database that does not answer.
fn apart<T>(read: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match read {
        Err(error @ Error::Database(_)) => Err(error),
        read => Ok(read),
    }
}

fn past_positions(slot: &Slot, needs: &Needs) -> Vec<Position> {
    if needs.bodies.is_empty() {
        return Vec::new();
    }
    let pages = slot.loaded.older.iter().chain([&slot.person.profile.history]);
    let past = pages.flat_map(History::iter).filter(|past| needs.bodies.contains(past.name));
    let mut positions: Vec<Position> = past.map(|past| past.position).collect();
    positions.sort_unstable();
    positions.split_off(positions.len().saturating_sub(BODIES_MAX))
}

/// First events of active enrollments whose exits compare with them.
fn entries_compared(catalog: &Catalog, person: &Person) -> Vec<Position> {
    let compares = |enrollment: &&Enrollment| {
        catalog
            .pinned(&enrollment.campaign, enrollment.version)
            .is_some_and(|campaign| campaign.exit.iter().any(|exit| matches!(exit, Exit::Event { same: Some(_), .. })))
    };
    person.active().filter(compares).map(|enrollment| enrollment.entry).collect()
}
