//! What a person did, packed: name, time and log position of recent events, about eleven bytes each.
//!
//! The row stays small because older events move to pages of their own; an event's properties stay in the log and are
//! fetched by position only when a condition asks for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{Position, Timestamp};

/// Events kept in the profile's own row; when there are more, [`PAGE_EVENTS`] of them move to a page.
pub const RECENT_EVENTS_MAX: usize = 64;
pub const PAGE_EVENTS: usize = 32;
/// Pages of one person that a decision looks at: 32,000 events; what a machine did before that counts no more.
pub const PAGES_MAX: u32 = 1_000;

/// One thing a person did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past<'a> {
    pub name: &'a str,
    pub at: Timestamp,
    pub position: Position,
}

/// A packed list of events in log order.
#[derive(Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    names: Vec<Arc<str>>,
    /// (index into `names`, event time, position)
    items: Vec<(u16, Timestamp, Position)>,
    /// How many pages were written before.
    pub pages: u32,
}

/// With room for what is recorded next: a decision copies the list and adds the event it is about.
impl Clone for History {
    fn clone(&self) -> Self {
        let mut items = Vec::with_capacity(self.items.len() + 2);
        items.extend_from_slice(&self.items);
        Self { names: self.names.clone(), items, pages: self.pages }
    }
}

/// Bytes that are not a packed history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a packed history cannot be read: {0}")]
pub struct Unreadable(String);

impl History {
    pub fn record(&mut self, name: &str, at: Timestamp, position: Position) {
        let index = self.names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        // Names are dropped with their last event, so at most RECENT_EVENTS_MAX + 1 are in use.
        self.items.push((u16::try_from(index).unwrap_or(u16::MAX), at, position));
    }

    /// The oldest events as a page of their own, once there are too many for the row.
    pub fn spill(&mut self) -> Option<Self> {
        if self.items.len() <= RECENT_EVENTS_MAX {
            return None;
        }
        let rest = self.items.split_off(PAGE_EVENTS);
        let mut page = Self::default();
        for (index, at, position) in &self.items {
            page.record(&self.names[usize::from(*index)], *at, *position);
        }
        let mut kept = Self { pages: self.pages + 1, ..Self::default() };
        for (index, at, position) in rest {
            kept.record(&self.names[usize::from(index)], at, position);
        }
        *self = kept;
        Some(page)
    }

    /// Another list of the same person's events: both in one, by time. Its newest pages follow ours.
    pub fn unite(&mut self, other: &Self) {
        let mut all: Vec<Past<'_>> = self.iter().chain(other.iter()).collect();
        all.sort_by_key(|past| (past.at, past.position));
        let mut united = Self { pages: self.pages.saturating_add(other.pages.min(PAGES_MAX)), ..Self::default() };
        for past in all {
            united.record(past.name, past.at, past.position);
        }
        *self = united;
    }

    pub fn iter(&self) -> impl Iterator<Item = Past<'_>> {
        self.items.iter().map(|(index, at, position)| Past {
            name: &self.names[usize::from(*index)],
            at: *at,
            position: *position,
        })
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn pack(&self) -> Vec<u8> {
        // Serialising plain vectors and integers into memory cannot fail.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    pub fn unpack(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let history: Self = postcard::from_bytes(bytes).map_err(|error| Unreadable(error.to_string()))?;
        if history.items.iter().any(|(index, ..)| usize::from(*index) >= history.names.len()) {
            return Err(Unreadable("an event names no name".to_owned()));
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn history_packs_small_and_reads_back() {
        let mut history = History::default();
        for n in 0..64 {
            history.record(
                if n % 2 == 0 { "Product Viewed" } else { "Product Added" },
                Timestamp::from_millis(1_772_000_000_000 + n),
                Position(1_000_000 + n),
            );
        }
        let packed = history.pack();
        assert!(packed.len() < 64 * 12 + 64, "{} bytes", packed.len());
        assert_eq!(History::unpack(&packed).unwrap(), history);
    }

    #[test]
    fn older_events_move_to_a_page_and_none_is_lost() {
        let mut history = History::default();
        let mut pages = Vec::new();
        for n in 0..1_000 {
            history.record(&format!("event {}", n % 7), Timestamp::from_millis(n), Position(n));
            pages.extend(history.spill());
        }
        assert!(history.len() <= RECENT_EVENTS_MAX);
        let all: Vec<i64> =
            pages.iter().chain([&history]).flat_map(History::iter).map(|past| past.position.0).collect();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
        assert_eq!(history.pages as usize, pages.len());
    }

    #[test]
    fn damaged_bytes_are_an_error_and_not_a_panic() {
        assert!(History::unpack(&[255; 40]).is_err());
    }
}
