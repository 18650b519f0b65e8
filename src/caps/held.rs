//! One subject's slots at one version: the state every cap store keeps, and the only ways it changes.

use crate::caps::{Ask, Released, Reserved};
use crate::guard::{CapVersion, Change, Slot, frequency_cap};
use crate::ids::{MessageId, Span};

/// The slots of a subject within its horizon, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) version: CapVersion,
    horizon: Span,
    slots: Vec<Slot>,
}

impl Held {
    pub(super) fn seeded(version: CapVersion, horizon: Span, mut slots: Vec<Slot>) -> Self {
        slots.sort_unstable_by_key(|slot| (slot.at, slot.message));
        Self { version, horizon, slots }
    }

    pub(super) fn slots_used(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn reserve(&mut self, ask: &Ask<'_>) -> Reserved {
        if self.version != ask.expected || self.horizon < ask.horizon.max(frequency_cap::horizon(ask.rules)) {
            return Reserved::Stale;
        }
        let at = self.slots.last().map_or(ask.slot.at, |last| last.at.max(ask.slot.at));
        // What lies behind the horizon counts in no window, now or later, because slots are taken in order of time.
        let horizon_at = at.minus(self.horizon);
        self.slots.retain(|slot| slot.at > horizon_at || slot.message == ask.slot.message);
        if let Some(own) = self.slots.iter().find(|slot| slot.message == ask.slot.message) {
            return Reserved::Granted { version: self.version, at: own.at };
        }
        let slot = Slot { at, ..ask.slot.clone() };
        if let Err(full) = frequency_cap::fits(ask.rules, &self.slots, &slot) {
            return Reserved::Full(full);
        }
        if ask.counts {
            self.version = self.version.next(&Change::Taken { message: slot.message, at });
            self.slots.push(slot);
        }
        Reserved::Granted { version: self.version, at }
    }

    pub(super) fn withdraw(&mut self, message: MessageId, reserved: CapVersion, before: CapVersion) {
        if self.version != reserved {
            return;
        }
        self.slots.retain(|slot| slot.message != message);
        self.version = before;
    }

    pub(super) fn release(&mut self, message: MessageId, expected: CapVersion) -> Released {
        if self.version != expected {
            return Released::Stale;
        }
        let before = self.slots.len();
        self.slots.retain(|slot| slot.message != message);
        if self.slots.len() == before {
            return Released::Absent;
        }
        self.version = self.version.next(&Change::Released { message });
        Released::Done { version: self.version }
    }
}
