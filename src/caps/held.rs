//! One subject's slots at one version: the state every cap store keeps, and the only ways it changes.

use crate::caps::{Ask, History, Released, Reserved};
use crate::guard::{CapVersion, Change, Slot, frequency_cap};
use crate::ids::{MessageId, Timestamp};

/// The slots of a subject as far back as `since`, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) version: CapVersion,
    since: Timestamp,
    slots: Vec<Slot>,
}

impl Held {
    pub(super) fn seeded(history: History) -> Self {
        let History { version, since, mut slots } = history;
        slots.sort_unstable_by_key(|slot| (slot.at, slot.message));
        Self { version, since, slots }
    }

    pub(super) fn slots_used(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn reserve(&mut self, ask: &Ask<'_>) -> Reserved {
        if self.version != ask.expected {
            return Reserved::Stale;
        }
        if let Some(own) = self.slots.iter().find(|slot| slot.message == ask.slot.message) {
            return Reserved::Granted { version: self.version, at: own.at };
        }
        if let Some(last) = self.slots.last().filter(|last| last.at > ask.slot.at) {
            return Reserved::Behind { last: last.at };
        }
        let since = ask.since();
        if self.since > since {
            return Reserved::Stale;
        }
        if let Err(full) = frequency_cap::fits(ask.rules, &self.slots, ask.candidate()) {
            return Reserved::Full(full);
        }
        if ask.counts {
            self.version = self.version.next(&Change::Taken { message: ask.slot.message, at: ask.slot.at });
            // What lies further back counts in no window, now or later, because slots are taken in order of time.
            self.slots.retain(|slot| slot.at > since);
            self.since = since;
            self.slots.push(ask.slot.clone());
        }
        Reserved::Granted { version: self.version, at: ask.slot.at }
    }

    pub(super) fn withdraw(&mut self, message: MessageId, reserved: CapVersion, before: CapVersion) {
        if self.version == reserved && self.remove(message) {
            self.version = before;
        }
    }

    pub(super) fn release(&mut self, message: MessageId, expected: CapVersion) -> Released {
        if self.version != expected {
            return Released::Stale;
        }
        if !self.remove(message) {
            return Released::Absent;
        }
        self.version = self.version.next(&Change::Released { message });
        Released::Done { version: self.version }
    }

    fn remove(&mut self, message: MessageId) -> bool {
        let before = self.slots.len();
        self.slots.retain(|slot| slot.message != message);
        self.slots.len() < before
    }
}
