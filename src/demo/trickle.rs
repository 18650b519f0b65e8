//! What happens in the shop while one looks: a visit begins every few seconds.

use super::chance::Chance;
use super::person::Person;
use super::shop::{BadShop, Shop};
use super::visit::{longest, visit};
use super::{SOURCE, event};
use crate::event::{Event, Origin};
use crate::ids::{Span, Timestamp, WorkspaceId};

/// The longest time that is told at once; of a longer one, its end.
pub const TRICKLE_MAX: Span = Span::from_hours(24);

/// The events of `from <= at < to` in order of time, about one in two seconds. They depend on the seed and the time
/// alone, so adjoining stretches join without a gap or a repeat; the people are those of the history of that seed.
///
/// # Errors
/// The shop's own figures are wrong, which its tests rule out.
pub fn trickle(workspace: WorkspaceId, seed: u64, from: Timestamp, to: Timestamp) -> Result<Vec<Event>, BadShop> {
    let shop = Shop::get()?;
    let from = from.max(to.minus(TRICKLE_MAX));
    let step = i64::try_from(shop.rhythm.trickle.visit_every).unwrap_or(1).clamp(1, 86_400) * 1000;
    let longest = longest(&shop.rhythm);
    let mut acts = Vec::new();
    let slots = from.minus(longest).millis().div_euclid(step)..=to.millis().div_euclid(step);
    for slot in slots.filter(|_| from < to) {
        let mut chance = Chance::new(seed, "slot", &[slot]);
        let start = Timestamp::from_millis(slot * step).plus_millis(chance.roll(step.unsigned_abs()) as i64);
        let Some(person) = visitor(shop, seed, &mut chance) else { continue };
        for (n, act) in visit(shop, &person, start, &mut chance).into_iter().enumerate() {
            // Goods come back days later, when nobody looks any more.
            let in_visit = act.at <= start.plus(longest);
            if in_visit && from <= act.at && act.at < to {
                acts.push((act.at, slot, n, person.user_id.clone(), act));
            }
        }
    }
    acts.sort_by_key(|(at, slot, n, _, _)| (*at, *slot, *n));
    let told = acts.into_iter().map(|(_, slot, n, user_id, act)| {
        event(workspace, &user_id, act, format!("{SOURCE}-{seed}-live-{slot}-{n}"), Origin::Live)
    });
    Ok(told.collect())
}

/// Tries before a slot stays empty; one in twelve succeeds.
const TRIES: usize = 200;

/// Somebody, the more likely the more often they come.
fn visitor(shop: &'static Shop, seed: u64, chance: &mut Chance) -> Option<Person<'static>> {
    let most = shop.rhythm.visitors.iter().map(|visitors| visitors.visits).max()?;
    (0..TRIES).find_map(|_| {
        let number = i64::try_from(chance.roll(shop.rhythm.customers)).ok()?;
        let person = Person::new(shop, seed, number)?;
        (chance.roll(most) < person.visits).then_some(person)
    })
}
