//! What a source does to its events at the door, counted by rule so that nothing disappears unseen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::event::Event;
use crate::event::source::{Door, Source};

/// How often each rule of each source, by its index, was applied since last asked. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DoorCounts(Arc<Mutex<BTreeMap<(String, usize), u64>>>);

impl DoorCounts {
    fn add(&self, source: &str, rule: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((source.to_owned(), rule)).or_default() += 1;
    }

    /// The counts by (source, rule), which start from zero again.
    pub fn take(&self) -> BTreeMap<(String, usize), u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts that could not be stored, to be tried again with the next ones.
    pub fn put_back(&self, taken: BTreeMap<(String, usize), u64>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, count) in taken {
            *counts.entry(key).or_default() += count;
        }
    }
}

/// The event as its source lets it in; `None` when dropped.
pub(super) fn pass(source: &Source, counts: &DoorCounts, mut event: Event) -> Option<Event> {
    if source.rules.is_empty() {
        return Some(event);
    }
    let document = if source.needs_document() { event.body.document() } else { &Value::Null };
    match source.at_the_door(&event.name, document) {
        Door::Keep => Some(event),
        Door::Renamed { rule, to } => {
            counts.add(&source.key, rule);
            event.name = to;
            Some(event)
        }
        Door::Dropped { rule } => {
            counts.add(&source.key, rule);
            None
        }
    }
}
