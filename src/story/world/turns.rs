//! Turns of people who are in a segment as the story begins, for campaigns that ask for them, at the campaign's pace.

use std::sync::Arc;

use super::World;
use crate::decision::Input;
use crate::decision::effect::OwnEvent;
use crate::decision::existing::{Existing, MEMBER_INCLUDED, said};
use crate::ids::{EventId, Timestamp};

impl World<'_> {
    /// When somebody has a turn next; none: nobody waits for one.
    pub(super) fn next_turn(&self) -> Option<Timestamp> {
        let next = |campaign: &str| self.turns.get(campaign).copied().unwrap_or_default();
        let asking = self.asking().into_iter().filter(|(campaign, ..)| self.waits(campaign));
        asking.map(|(campaign, ..)| next(&campaign)).min()
    }

    pub(super) fn give_turns(&mut self, now: Timestamp) {
        for (campaign, segment, existing) in self.asking() {
            if !self.waits(&campaign) || self.turns.get(&campaign).is_some_and(|next| *next > now) {
                continue;
            }
            let of = |person: &crate::decision::Person| person.profile.remembered.existing.get(&campaign)?.waiting;
            let people = self.people.iter().enumerate();
            let mut waiting: Vec<_> = people
                .filter_map(|(index, one)| {
                    of(&one.person).map(|(since, place)| (place, one.person.profile.id, index, since))
                })
                .collect();
            waiting.sort_unstable();
            if existing.newest_first {
                waiting.reverse();
            }
            let (together, rest) = existing.pace.turn();
            for (_, profile, index, since) in waiting.into_iter().take(together as usize) {
                let place = self.next_place(now);
                let event = OwnEvent {
                    id: EventId::derive(&[b"turn", &place.position.0.to_le_bytes(), &profile.0.to_le_bytes()]),
                    name: MEMBER_INCLUDED.to_owned(),
                    at: now,
                    cause: place.position,
                    depth: 0,
                    properties: said(&campaign, &segment, since),
                };
                let event = Arc::new(event.into_event());
                self.timeline.event(now, &self.people[index].name, &event.name);
                self.people[index].loaded.bodies.insert(place.position, event.clone());
                self.decide_at(index, place, &Input::Event(event), None);
            }
            self.turns.insert(campaign, now.plus(rest));
        }
    }

    fn asking(&self) -> Vec<(String, String, Existing)> {
        if !self.gives_turns {
            return Vec::new();
        }
        let asking = self.catalog.existing().iter().filter_map(|(key, segment)| {
            let campaign = self.catalog.campaign(key).filter(|campaign| !self.catalog.is_paused(campaign))?;
            Some((key.to_owned(), segment.clone(), campaign.entry.existing?))
        });
        asking.collect()
    }

    fn waits(&self, campaign: &str) -> bool {
        let waits = |one: &super::Someone| {
            one.person.profile.remembered.existing.get(campaign).is_some_and(|known| known.waiting.is_some())
        };
        self.people.iter().any(waits)
    }
}
