//! One person's past as the rules saw it: who they were when the time looked at began, and what they did since; as
//! several, where it turned out since that they are one.
//!
//! Traits are what their identify calls before that time say (of pruned ones the baseline), consent what the ledger says, slots and suppressions what
//! was there. What decisions made of them since is left out: it is decided anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::DatabaseConnection;

use crate::audience::cart::{self, CART_EVENTS};
use crate::audience::condition::Received;
use crate::audience::condition::needs::Needs;
use crate::audience::{History, Standings};
use crate::decision::{At, Catalog, Effect, Enrollment, Input, Loaded, Person, Snapshot, decide};
use crate::event::{Event, Kind, Origin};
use crate::guard::{Slot, Subject};
use crate::ids::{Position, ProfileId, Span, Timestamp};
use crate::message::{Message, Status, Suppression};
use crate::store::consents::LedgerRow;
use crate::store::entries::{Entry, Logged};
use crate::store::{Error, Workspace};
use crate::story::{Act, Deed, Someone};
use crate::worker::past::by_turns;
use crate::worker::plan::Side;
use crate::worker::plan::carried::{self, Open};
use crate::worker::plan::concerned::addresses;
use crate::worker::plan::kin::Kin;

/// Past events read for one person's conditions, of each name the newest first and all names by turns.
const BODIES_MAX: usize = 10_000;
/// Identify calls from which traits are read; the newest win.
const IDENTIFIES_MAX: usize = 200;
/// Answers of the ledger, and enrollments that ended; the newest win.
const ROWS_MAX: u32 = 1_000;

/// The time looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    /// Where the log begins to hold what was decided since.
    pub first: Position,
}

/// Something a person did: its name, its time, its place in the log.
pub(super) type Before = (String, Timestamp, Position);

/// Everything one person brings into a world.
#[derive(Debug)]
pub struct Past {
    /// Today's profile first; several where it turned out since that they are one. All have one name.
    pub people: Vec<Someone>,
    /// By their places among these people.
    pub acts: Vec<Act>,
    pub slots: BTreeMap<Subject, Vec<Slot>>,
    pub suppressions: BTreeMap<Subject, Vec<Suppression>>,
    /// In the outbox as the time looked at began.
    pub carried: Vec<Message>,
}

/// Reads the past of a person under what is in force on one side; none where nothing is stored of them.
///
/// # Errors
/// The database cannot be read, or a row of this person.
pub async fn load(
    store: Workspace<'_, DatabaseConnection>,
    profile: ProfileId,
    window: Window,
    side: &Side,
) -> Result<Option<Past>, Error> {
    let Some(now) = store.person(profile).await? else { return Ok(None) };
    let mut done: Vec<Before> = Vec::new();
    let pages = if now.profile.history.pages > 0 { store.history_pages(profile).await? } else { Vec::new() };
    let all = pages.iter().chain([&now.profile.history]).flat_map(History::iter);
    done.extend(all.map(|past| (past.name.to_owned(), past.at, past.position)));
    let recent: Vec<Position> = done.iter().map(|(.., position)| *position).filter(|at| *at >= window.first).collect();
    let entries = store.entries_apart(&recent).await?;
    let in_window = |position: &Position| entries.get(position).is_some_and(|entry| entry.now >= window.from);
    let before: Vec<Before> = done.into_iter().filter(|(.., position)| !in_window(position)).collect();
    let ledger = store.ledger_of(profile, ROWS_MAX).await?;
    let enrollments = store.enrollments_of(profile, None, ROWS_MAX).await?;
    let since: Vec<&Entry> = entries.values().filter(|entry| entry.now >= window.from).collect();
    let prior: BTreeSet<Position> = before.iter().map(|(.., position)| *position).collect();
    let mut asked: BTreeSet<Position> = ledger.iter().map(|row| row.position).collect();
    asked.extend(prior.iter().copied().chain(enrollments.iter().map(|one| one.entry)));
    let kin = Kin::of(store, profile, &since, &asked).await?;
    let acts = acts(&since, &kin);
    let ledger = ledger.into_iter().filter(|row| row.position < window.first || prior.contains(&row.position));
    let stored = Stored { now, before, ledger: ledger.collect(), enrollments, received: Vec::new() };
    let stored = Stored { received: received(store, &kin, side, window.from).await?, ..stored };
    let mut past = Past { acts, ..Past::of_nobody() };
    for place in 0..kin.profiles.len() {
        past.add(store, &stored, (&kin, place), window, side).await?;
    }
    past.meet(store, &stored.now, window.from, side.reach).await?;
    past.share_slots(&stored.enrollments, &kin);
    Ok(Some(past))
}

/// What is stored of a person, of whichever profile it was.
struct Stored {
    now: Person,
    before: Vec<Before>,
    /// Answers of before.
    ledger: Vec<LedgerRow>,
    enrollments: Vec<Enrollment>,
    /// Messages that went out before, by the place of whose they were.
    received: Vec<(usize, Received)>,
}

impl Past {
    fn of_nobody() -> Self {
        let (slots, suppressions) = Contacts::default();
        Self { people: Vec::new(), acts: Vec::new(), slots, suppressions, carried: Vec::new() }
    }

    /// Adds one of those they were by then.
    async fn add(
        &mut self,
        store: Workspace<'_, DatabaseConnection>,
        stored: &Stored,
        (kin, place): (&Kin, usize),
        window: Window,
        side: &Side,
    ) -> Result<(), Error> {
        let profile = kin.profiles[place];
        let is_theirs = |position: Position| kin.place_at(position) == place;
        let theirs = stored.before.iter().filter(|(.., position)| is_theirs(*position));
        let before: Vec<Before> = theirs.cloned().collect();
        let enrollments = stored.enrollments.iter().filter(|one| is_theirs(one.entry));
        let enrollments = enrollments.map(|one| Enrollment { profile, ..one.clone() }).collect();
        let open = (enrollments, kin.are_several());
        let open = carried::open(store, &side.setting.catalog, open, &before, window).await?;
        let prior: BTreeSet<Position> = before.iter().map(|(.., position)| *position).collect();
        let bodies = bodies(store, &before, &side.needs, &open).await?;
        let baseline = store.baseline(profile).await?;
        let now = &stored.now.profile;
        let first = before.iter().map(|(_, at, _)| *at).min().unwrap_or(window.from);
        let mut person = Person::new(profile, if place == 0 { now.created_at } else { first });
        person.version = i64::from(!before.is_empty());
        // Whoever was first seen in the time looked at enters what they enter then, and was in nothing before.
        let is_new = before.is_empty() && baseline.is_none();
        if place == 0 {
            person.profile.user_id.clone_from(&now.user_id);
            // Nothing here says since when they were on them; whoever is on a list by now was then.
            person.profile.remembered.lists.clone_from(&now.remembered.lists);
        }
        if let Some(baseline) = baseline {
            person.profile.traits = baseline.profile.traits;
            person.profile.carts = baseline.profile.carts;
        }
        let folded = store.folded_until().await?;
        let told = bodies.iter().filter(|(at, _)| **at > folded.of(store.layout().shard_at(**at)));
        fill_carts(&mut person, told.clone().filter(|(at, _)| prior.contains(at)));
        identify(&mut person, told, window.from);
        person.profile.history = History::default();
        person.profile.segments = Standings::default();
        person.profile.consent = BTreeMap::new();
        for row in stored.ledger.iter().filter(|row| is_theirs(row.position)) {
            person.profile.consent.insert(row.about.clone(), row.consent.clone());
        }
        let Open { enrollments, messages } = open;
        person.enrollments.extend(enrollments.into_iter().map(|one| (one.id, one)));
        self.carried.extend(messages.into_iter().map(|message| Message { profile, ..message }));
        let mut older = History::default();
        for (name, at, position) in before {
            older.record(&name, at, position);
            person.profile.last_seen_at = person.profile.last_seen_at.max(at);
        }
        let received = stored.received.iter().filter(|(whose, _)| *whose == place).map(|(_, one)| one.clone());
        let loaded = Loaded { older: vec![older], bodies, received: received.collect() };
        let id = stored.now.profile.id;
        let name = now.user_id.clone().unwrap_or_else(|| format!("profile {id}"));
        self.people.push(Someone { name, person, loaded, is_new });
        Ok(())
    }

    /// Slots used before, and addresses suppressed: theirs today, and those of everybody they were.
    async fn meet(
        &mut self,
        store: Workspace<'_, DatabaseConnection>,
        now: &Person,
        from: Timestamp,
        reach: Span,
    ) -> Result<(), Error> {
        let addresses = self.people.iter().map(|one| &one.person).chain([now]).flat_map(addresses).collect();
        (self.slots, self.suppressions) = contacts(store, (now.profile.id, addresses), from, reach).await?;
        Ok(())
    }

    /// Slots that are today's were used by whoever began what they were used for.
    fn share_slots(&mut self, enrollments: &[Enrollment], kin: &Kin) {
        let Some(all) = kin.profiles.first().and_then(|today| self.slots.remove(&Subject::Profile(*today))) else {
            return;
        };
        let began = |slot: &Slot| enrollments.iter().find(|one| one.id == slot.enrollment).map(|one| one.entry);
        for slot in all {
            let place = began(&slot).map_or(0, |entry| kin.place_at(entry));
            self.slots.entry(Subject::Profile(kin.profiles[place])).or_default().push(slot);
        }
    }
}

/// Messages that conditions ask for and that had gone out by then.
async fn received(
    store: Workspace<'_, DatabaseConnection>,
    kin: &Kin,
    side: &Side,
    from: Timestamp,
) -> Result<Vec<(usize, Received)>, Error> {
    let (asked, today) = (&side.needs.received, kin.profiles[0]);
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    if !kin.are_several() {
        let all = store.received(&[today], &asked.iter().map(String::as_str).collect()).await?;
        let all = all.into_iter().filter_map(|(_, one)| one.ok()).filter(|one| one.at < from);
        return Ok(all.map(|one| (0, one)).collect());
    }
    let messages = store.messages_before(&[today], from, BODIES_MAX).await?.into_values().flatten();
    let went =
        messages.filter(|message| asked.contains(&message.campaign)).filter_map(|message| match message.status {
            Status::Sent { at, .. } if at < from => {
                Some((kin.place_at(message.entry), Received { campaign: message.campaign, at }))
            }
            _ => None,
        });
    Ok(went.collect())
}

/// What the person did, in the order it was decided, and as whom.
fn acts(since: &[&Entry], kin: &Kin) -> Vec<Act> {
    let did = since.iter().filter_map(|entry| match &entry.logged {
        Logged::Event(event) if !matches!(event.origin, Origin::Decided { .. }) => {
            let who = entry.profile.map_or(0, |profile| kin.place_of(profile));
            let joins = entry.joins.map(|profile| kin.place_of(profile)).filter(|joins| *joins != who);
            Some(Act { joins, ..Act::of(entry.now, who, event.clone()) })
        }
        _ => None,
    });
    let mut acts: Vec<Act> = did.collect();
    acts.sort_by_key(|act| act.at);
    acts.iter_mut().for_each(as_if_it_came);
    acts
}

/// History that a file brought starts nothing by itself where segments and traits are entered: it is decided as it comes,
/// long after. Asked what would have happened, what people did counts as if it had come at its time; who they are, as a
/// file says it, stays as quiet as it was.
pub(super) fn as_if_it_came(act: &mut Act) {
    let position = act.position.unwrap_or_default();
    if let Deed::Did(event) = &mut act.deed
        && matches!(event.origin, Origin::Import { .. })
        && matches!(event.kind, Kind::Track | Kind::Page | Kind::Screen)
    {
        Arc::make_mut(event).origin = Origin::Replay { position: position.0 };
    }
}

/// The events that conditions look into, and the calls that say who somebody is.
async fn bodies(
    store: Workspace<'_, DatabaseConnection>,
    before: &[Before],
    needs: &Needs,
    open: &Open,
) -> Result<BTreeMap<Position, Arc<Event>>, Error> {
    let newest = |most: usize, wanted: &dyn Fn(&str) -> bool| -> Vec<Position> {
        let of = before.iter().rev().filter(|(name, ..)| wanted(name));
        of.take(most).map(|(.., position)| *position).collect()
    };
    let identified = Kind::Identify.event_name();
    let asked = before.iter().filter(|(name, ..)| needs.bodies.contains(name));
    let asked = asked.map(|(name, _, position)| (name.as_str(), *position));
    let mut wanted: BTreeSet<Position> = by_turns(asked, BODIES_MAX).into_iter().collect();
    wanted.extend(newest(IDENTIFIES_MAX, &|name| name == identified));
    if needs.cart {
        wanted.extend(newest(BODIES_MAX, &|name| CART_EVENTS.contains(&name)));
    }
    // Exits compare with what began an enrollment.
    wanted.extend(open.enrollments.iter().filter(|one| one.is_active()).map(|one| one.entry));
    let mut bodies = BTreeMap::new();
    for (position, entry) in store.entries_apart(&wanted.into_iter().collect::<Vec<_>>()).await? {
        if let Logged::Event(event) = entry.logged {
            bodies.insert(position, event);
        }
    }
    Ok(bodies)
}

/// Carts as these events left them.
fn fill_carts<'e>(person: &mut Person, told: impl Iterator<Item = (&'e Position, &'e Arc<Event>)>) {
    let carts = person.profile.carts.get_or_insert_default();
    told.filter_map(|(position, event)| cart::step(event, *position)).for_each(|step| carts.take(step));
}

/// Traits as the identify calls left them, by the rules of decisions.
fn identify<'e>(person: &mut Person, told: impl Iterator<Item = (&'e Position, &'e Arc<Event>)>, now: Timestamp) {
    let (nothing, loaded) = (Catalog::default(), Loaded::default());
    for (position, event) in told.filter(|(_, event)| event.kind == Kind::Identify) {
        let snapshot = Snapshot { catalog: &nothing, person, loaded: &loaded, settle: Span::ZERO };
        let decision = decide(At { position: *position, now }, &snapshot, &Input::Event(event.clone()));
        for effect in decision.effects {
            if let Effect::SetTraits(_) | Effect::Identify { .. } = effect {
                person.apply(&effect);
            }
        }
    }
}

type Contacts = (BTreeMap<Subject, Vec<Slot>>, BTreeMap<Subject, Vec<Suppression>>);

/// Slots used and addresses suppressed before `from`.
async fn contacts(
    store: Workspace<'_, DatabaseConnection>,
    (profile, addresses): (ProfileId, BTreeSet<Subject>),
    from: Timestamp,
    reach: Span,
) -> Result<Contacts, Error> {
    let since = from.minus(reach);
    let before = |slots: Vec<Slot>| -> Vec<Slot> { slots.into_iter().filter(|slot| slot.at < from).collect() };
    let of_profile = store.slots_of_profile(profile, since).await?;
    let mut slots = BTreeMap::from([(Subject::Profile(profile), before(of_profile))]);
    let addresses: BTreeMap<String, Subject> =
        addresses.into_iter().map(|subject| (subject.to_string(), subject)).collect();
    for (name, subject) in &addresses {
        slots.insert(subject.clone(), before(store.slots_of_address(name, since).await?));
    }
    let mut suppressions = BTreeMap::new();
    for (name, listed) in store.suppressions_of(&addresses.keys().cloned().collect()).await? {
        if let Some(subject) = addresses.get(&name) {
            let listed: Vec<Suppression> = listed.into_iter().filter(|one| one.at < from).collect();
            suppressions.insert(subject.clone(), listed);
        }
    }
    Ok((slots, suppressions))
}
