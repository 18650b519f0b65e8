//! What a source does to its events at the door, counted by rule so that nothing disappears unseen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::event::Event;

use super::auth::WriteKey;

/// A source's answer for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtTheDoor {
    Keep,
    Renamed { rule: String, to: String },
    Dropped { rule: String },
}

/// Asked with the event's name and document.
pub type DoorRules = Arc<dyn Fn(&str, &Value) -> AtTheDoor + Send + Sync>;

/// How often each rule of each source was applied since last asked. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DoorCounts(Arc<Mutex<BTreeMap<(String, String), u64>>>);

impl DoorCounts {
    fn add(&self, source: &str, rule: String) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((source.to_owned(), rule)).or_default() += 1;
    }

    /// The counts by (source, rule), which start from zero again.
    pub fn take(&self) -> BTreeMap<(String, String), u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts that could not be stored, to be tried again with the next ones.
    pub fn put_back(&self, taken: BTreeMap<(String, String), u64>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, count) in taken {
            *counts.entry(key).or_default() += count;
        }
    }
}

/// The event as its source lets it in; `None` when dropped.
pub(super) fn pass(key: &WriteKey, counts: &DoorCounts, mut event: Event) -> Option<Event> {
    let Some(rules) = &key.rules else { return Some(event) };
    match rules(&event.name, event.body.document()) {
        AtTheDoor::Keep => Some(event),
        AtTheDoor::Renamed { rule, to } => {
            counts.add(&key.source, rule);
            event.name = to;
            Some(event)
        }
        AtTheDoor::Dropped { rule } => {
            counts.add(&key.source, rule);
            None
        }
    }
}
