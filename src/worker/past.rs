//! What is needed of people's past beside their rows: older pages of history, past events whose fields are tested, messages
//! that were received. Loaded for many at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::audience::condition::Condition;
use crate::audience::condition::needs::{Needs, needs as condition_needs};
use crate::audience::segment::SegmentSet;
use crate::audience::{History, Profile};
use crate::decision::{Loaded, Person};
use crate::event::Event;
use crate::ids::{Position, ProfileId};
use crate::store::Workspace;
use crate::store::entries::Logged;
use crate::store::rows::Error;
use crate::worker::world::{Slot, Slots, apart, join};

/// Past events looked into for one person's conditions, and what they may weigh together. Of each name the newest come
/// first, and all names by turns: however often somebody did one thing, what they seldom did still counts.
const BODIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Of one person, so many are fetched before they are weighed.
const BODIES_AT_ONCE: usize = 1_000;

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
    let mut wanted: BTreeMap<ProfileId, Wanted> = BTreeMap::new();
    for (id, slot) in slots.iter().filter_map(|(id, slot)| Some((id, slot.as_ref().ok()?))) {
        let Some(needs) = needs.get(id) else { continue };
        let entries = needs.entries.iter().copied();
        wanted.insert(*id, Wanted::new(entries.chain(past_positions(slot, needs)).collect()));
    }
    load_bodies(store, wanted, |id, position, event| {
        if let Some(Ok(slot)) = slots.get_mut(&id) {
            slot.loaded.bodies.insert(position, event);
        }
    })
    .await
}

/// Past events of one person that are still to be fetched, and the bytes there is room for.
struct Wanted {
    positions: std::vec::IntoIter<Position>,
    room: usize,
}

impl Wanted {
    fn new(positions: Vec<Position>) -> Self {
        Self { positions: positions.into_iter(), room: BYTES_MAX }
    }
}

/// Fetches events of many people, until each has all or their room is full.
async fn load_bodies<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    mut wanted: BTreeMap<ProfileId, Wanted>,
    mut take: impl FnMut(ProfileId, Position, Arc<Event>),
) -> Result<(), Error> {
    loop {
        let next = wanted.iter_mut().filter(|(_, it)| it.room > 0);
        let next = next.flat_map(|(id, it)| it.positions.by_ref().take(BODIES_AT_ONCE).map(|position| (position, *id)));
        let next: BTreeMap<Position, ProfileId> = next.collect();
        if next.is_empty() {
            return Ok(());
        }
        let positions: Vec<Position> = next.keys().copied().collect();
        for (position, entry) in store.entries_apart(&positions).await? {
            let (Some(id), Logged::Event(event)) = (next.get(&position), entry.logged) else { continue };
            if let Some(theirs) = wanted.get_mut(id) {
                theirs.room = theirs.room.saturating_sub(event.body.text().len());
            }
            take(*id, position, event);
        }
    }
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

/// Where the past events stand whose fields are tested, of older pages and the recent part: the newest of each name
/// before the second newest of any.
pub(super) fn past_of(older: &[History], recent: &History, needs: &Needs) -> Vec<Position> {
    let pages = older.iter().chain([recent]);
    let past = pages.flat_map(History::iter).filter(|past| needs.bodies.contains(past.name));
    by_turns(past.map(|past| (past.name, past.position)), BODIES_MAX)
}

/// The newest of each name, then the second newest of each, and so on.
pub(super) fn by_turns<'n>(past: impl Iterator<Item = (&'n str, Position)>, most: usize) -> Vec<Position> {
    let mut names: BTreeMap<&str, BTreeSet<Position>> = BTreeMap::new();
    for (name, position) in past {
        names.entry(name).or_default().insert(position);
    }
    let ranked = names.values().flat_map(|of_one| of_one.iter().rev().enumerate());
    let mut ranked: Vec<(usize, Position)> = ranked.map(|(rank, position)| (rank, *position)).collect();
    ranked.sort_unstable();
    ranked.truncate(most);
    ranked.into_iter().map(|(_, position)| position).collect()
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
    let wanted = Wanted::new(past_of(&past.older, &profile.history, &needs));
    let bodies = &mut past.bodies;
    let take = |_, position, event| drop(bodies.insert(position, event));
    load_bodies(store, BTreeMap::from([(profile.id, wanted)]), take).await?;
    Ok(past)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_seldom_did_counts_however_often_they_did_another_thing() {
        let orders = [3, 50].map(|n| ("Order Completed", Position(n)));
        let views = (4..50).chain(51..3_000).map(|n| ("Product Viewed", Position(n)));
        let turns = by_turns(orders.into_iter().chain(views), 10);
        let newest_views = [2_999, 2_998].map(Position);
        assert_eq!(turns[..4], [Position(50), newest_views[0], Position(3), newest_views[1]]);
        assert_eq!(turns[9], Position(2_992));
        assert_eq!(by_turns([("A", Position(1)), ("A", Position(1))].into_iter(), 10), [Position(1)]);
    }
}
