//! The suppression list of a world: who is told of it, as the service tells them in its log. Where acts come from a log,
//! with all that it says of messages, it has told them itself.

use std::sync::Arc;

use super::World;
use crate::audience::address::addresses_in;
use crate::audience::suppression::{ADDRESS_SUPPRESSED, SUPPRESSION_REMOVED, told};
use crate::decision::{Effect, Input};
use crate::event::{Event, Kind, Origin};
use crate::guard::Subject;
use crate::ids::{EventId, Timestamp};
use crate::message::{Address, Channel, Suppression, SuppressionKind};

impl World<'_> {
    /// What stands on the list that closes the channel for an address.
    fn closed(&self, address: &Address) -> Vec<Suppression> {
        let subject = Subject::Address(address.channel(), address.normalised().to_owned());
        let listed = self.suppressions.get(&subject).into_iter().flatten();
        listed.filter(|one| one.kind.closes_channel()).cloned().collect()
    }

    /// As it begins everybody knows of the addresses they have.
    pub(super) fn tell_who_is_here(&mut self) {
        if self.record.is_told {
            return;
        }
        for who in 0..self.people.len() {
            for address in addresses_in(&self.people[who].person.profile.traits) {
                let suppressions = self.closed(&address);
                let effect = Effect::Reach { subject: address.subject(), suppressions };
                self.people[who].person.apply(&effect);
            }
        }
    }

    /// Before a call that gives somebody addresses, what stands on the list for them.
    pub(super) fn tell_of_given(&mut self, who: usize, event: &Event) {
        if event.kind != Kind::Identify || self.record.is_told {
            return;
        }
        let Some(traits) = event.traits() else { return };
        for address in addresses_in(&traits) {
            let suppressions = self.closed(&address);
            let effect = Effect::Reach { subject: address.subject(), suppressions };
            if let Some(one) = self.people.get_mut(who) {
                one.person.apply(&effect);
            }
        }
    }

    /// Something about these addresses changed: everybody who has one is told, and what follows from it happens.
    pub(super) fn tell_holders(&mut self, now: Timestamp, changed: &[Address]) {
        if self.record.is_told {
            return;
        }
        for address in changed {
            let (subject, suppressions) = (address.subject(), self.closed(address));
            for who in 0..self.people.len() {
                let profile = &self.people[who].person.profile;
                let knows = profile.remembered.stopped.get(&subject).map_or(&[][..], Vec::as_slice);
                let theirs = addresses_in(&profile.traits);
                let has = theirs.iter().any(|one| one.subject() == subject) || !knows.is_empty();
                if has && !self.heirs.contains_key(&who) && knows != suppressions {
                    self.tell_one(who, now, address, &suppressions);
                }
            }
        }
    }

    /// A line of a story by which an address comes onto the list, or is taken off it.
    pub(super) fn change_list(&mut self, event: &Event) -> Option<Address> {
        let adds = event.name == ADDRESS_SUPPRESSED;
        if event.kind != Kind::Own || !(adds || event.name == SUPPRESSION_REMOVED) || self.record.is_told {
            return None;
        }
        let text = |path: &str| event.lookup(path).and_then(|value| value.as_str());
        let channel = Channel::parse(text("properties.address_channel")?)?;
        let address = Address::parse(channel, text("properties.address")?)?;
        let kind = text("properties.kind").and_then(SuppressionKind::parse);
        let subject = Subject::Address(channel, address.normalised().to_owned());
        let listed = self.suppressions.entry(subject).or_default();
        match adds {
            true => {
                let kind = kind.unwrap_or(SuppressionKind::Manual);
                let source = text("properties.source").unwrap_or("story").to_owned();
                listed.push(Suppression { kind, source, at: event.at, profile: None });
            }
            false => listed.retain(|one| kind.as_ref().is_some_and(|kind| one.kind != *kind)),
        }
        Some(address)
    }

    fn tell_one(&mut self, who: usize, now: Timestamp, address: &Address, suppressions: &[Suppression]) {
        let place = self.next_place(now);
        let (subject, profile) = (address.subject(), self.people[who].person.profile.id);
        let cause = [&b"reach"[..], &place.position.0.to_le_bytes(), &profile.0.to_le_bytes(), subject.as_bytes()];
        let event = Arc::new(told(EventId::derive(&cause), now, &subject, suppressions, Origin::Live));
        self.people[who].loaded.bodies.insert(place.position, event.clone());
        self.decide_at(who, place, &Input::Event(event), None);
    }
}
