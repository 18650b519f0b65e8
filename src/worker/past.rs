//! What is needed of people's past beside their rows: older pages of history, past events whose fields are tested, messages
//! that were received. Loaded for many at once.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::audience::condition::Condition;
use crate::audience::condition::needs::{Needs, needs as condition_needs};
use crate::audience::segment::SegmentSet;
use crate::audience::{History, Profile};
use crate::decision::{Loaded, Person};
use crate::ids::{Position, ProfileId};
use crate::store::Workspace;
use crate::store::entries::Logged;
use crate::store::rows::Error;
use crate::worker::world::{Slot, Slots, apart, join};

/// Past events fetched for one person's conditions, of at most 32 KB each; the newest win.
const BODIES_MAX: usize = 2_000;

/// One person with what is needed of the past.
///
/// # Errors
/// The database cannot be read, or a row of this person.
pub async fn look(store: Workspace<'_, DatabaseConnection>, person: Person, needs: Needs) -> Result<Slot, Error> {
    let id = person.profile.id;
    let mut slots = BTreeMap::from([(id, Ok(Slot::new(person)))]);
    load_needed(store, BTreeMap::from([(id, needs)]), &mut slots).await?;
    match slots.remove(&id) {
        Some(Ok(slot)) => Ok(slot),
        Some(Err(cause)) => Err(Error::unreadable("profile", cause)),
        None => Err(Error::unreadable("profile", "nobody was loaded")),
    }
}

/// Adds what is needed of the past of each.
///
/// # Errors
/// The database cannot be read.
pub async fn load_needed(
    store: Workspace<'_, DatabaseConnection>,
    mut needs: BTreeMap<ProfileId, Needs>,
    slots: &mut Slots,
) -> Result<(), Error> {
    load_received(store, &needs, slots).await?;
    let mut positions: BTreeMap<Position, ProfileId> = BTreeMap::new();
    for (id, needs) in &mut needs {
        let Some(Ok(slot)) = slots.get(id) else { continue };
        if needs.cart && slot.person.profile.carts.is_none() {
            needs.add_carts();
        }
    }
    let of_pages = slots.iter().filter_map(|(id, slot)| {
        let pages = slot.as_ref().ok()?.person.profile.history.pages;
        (pages > 0 && needs.get(id).is_some_and(|needs| !needs.older.is_empty())).then_some(*id)
    });
    let of_pages: Vec<ProfileId> = of_pages.collect();
    for (id, page) in store.pages_of(&of_pages).await? {
        join(slots, id, page, |slot, page| slot.loaded.older.push(page));
    }
    for (id, slot) in slots.iter().filter_map(|(id, slot)| Some((id, slot.as_ref().ok()?))) {
        let Some(needs) = needs.get(id) else { continue };
        positions.extend(past_positions(slot, needs).into_iter().map(|position| (position, *id)));
        positions.extend(needs.entries.iter().map(|position| (*position, *id)));
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

/// What was received of campaigns that a condition asks for.
async fn load_received(
    store: Workspace<'_, DatabaseConnection>,
    needs: &BTreeMap<ProfileId, Needs>,
    slots: &mut Slots,
) -> Result<(), Error> {
    let asking = || needs.iter().filter(|(_, needs)| !needs.received.is_empty());
    let people: Vec<ProfileId> = asking().map(|(id, _)| *id).collect();
    if people.is_empty() {
        return Ok(());
    }
    let campaigns: BTreeSet<&str> = asking().flat_map(|(_, needs)| &needs.received).map(String::as_str).collect();
    for (id, received) in store.received(&people, &campaigns).await? {
        join(slots, id, received, |slot, one| slot.loaded.received.push(one));
    }
    Ok(())
}

/// Whether a person's row alone says what is needed of their past.
pub fn is_whole(slot: &Slot, needs: &Needs) -> bool {
    let profile = &slot.person.profile;
    let has_pages = profile.history.pages > 0 && !needs.older.is_empty();
    let lacks_carts = needs.cart && profile.carts.is_none();
    needs.received.is_empty() && !has_pages && !lacks_carts && past_positions(slot, needs).is_empty()
}

fn past_positions(slot: &Slot, needs: &Needs) -> Vec<Position> {
    past_of(&slot.loaded.older, &slot.person.profile.history, needs)
}

/// Where the past events stand whose fields are tested: of older pages and the recent part.
fn past_of(older: &[History], recent: &History, needs: &Needs) -> Vec<Position> {
    if needs.bodies.is_empty() {
        return Vec::new();
    }
    let pages = older.iter().chain([recent]);
    let past = pages.flat_map(History::iter).filter(|past| needs.bodies.contains(past.name));
    let mut positions: Vec<Position> = past.map(|past| past.position).collect();
    positions.sort_unstable();
    positions.split_off(positions.len().saturating_sub(BODIES_MAX))
}

/// What a condition of a policy looks at in one person's past. Damaged pages are this person's alone: what they held
/// does not count.
///
/// # Errors
/// The database cannot be read.
pub(super) async fn past_for<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    profile: &Profile,
    condition: &Condition,
    segments: &SegmentSet,
) -> Result<Loaded, Error> {
    let mut needs = Needs::default();
    condition_needs(condition, segments, &mut needs);
    if needs.cart && profile.carts.is_none() {
        needs.add_carts();
    }
    let mut past = Loaded::default();
    if profile.history.pages > 0 && !needs.older.is_empty() {
        past.older = apart(store.history_pages(profile.id).await)?.unwrap_or_default();
    }
    if !needs.received.is_empty() {
        let campaigns = needs.received.iter().map(String::as_str).collect();
        let found = store.received(&[profile.id], &campaigns).await?;
        past.received.extend(found.into_iter().filter_map(|(_, one)| one.ok()));
    }
    for (position, entry) in store.entries_apart(&past_of(&past.older, &profile.history, &needs)).await? {
        if let Logged::Event(event) = entry.logged {
            past.bodies.insert(position, event);
        }
    }
    Ok(past)
}
