//! The text of a batch in which single bytes may be no UTF-8: one event from a client with another encoding must not
//! cost the others. Clients drop what is refused.

use std::borrow::Cow;
use std::ops::Range;

use super::{BATCH_ITEMS_MAX, without_bom};

/// What reads as JSON, and where something else stood.
#[derive(Debug)]
pub struct BatchText<'a> {
    pub(super) text: Cow<'a, str>,
    /// Places in the text of what stands for bytes that are no UTF-8, in their order.
    unreadable: Vec<usize>,
}

impl<'a> BatchText<'a> {
    /// Of a body; one with more such places than a batch may have items is read as far as the first beyond.
    pub fn of(body: &'a [u8]) -> Self {
        let body = without_bom(body);
        if let Ok(text) = std::str::from_utf8(body) {
            return Self { text: Cow::Borrowed(text), unreadable: Vec::new() };
        }
        let (mut text, mut unreadable) = (String::with_capacity(body.len()), Vec::new());
        for chunk in body.utf8_chunks() {
            text.push_str(chunk.valid());
            if chunk.invalid().is_empty() {
                continue;
            }
            unreadable.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
            if unreadable.len() > BATCH_ITEMS_MAX {
                break;
            }
        }
        Self { text: Cow::Owned(text), unreadable }
    }

    /// The first such place in a part of the text, counted from the part's start.
    pub(super) fn unreadable_in(&self, part: &str) -> Option<usize> {
        let Range { start, end } = self.range_of(part);
        let first = self.unreadable.partition_point(|at| *at < start);
        self.unreadable.get(first).filter(|at| **at < end).map(|at| at - start)
    }

    /// The first such place.
    pub(super) fn unreadable(&self) -> Option<usize> {
        self.unreadable.first().copied()
    }

    /// Whether each such place is in one of these parts, which are in the order of the text.
    pub(super) fn is_readable_beside(&self, parts: &[&str]) -> bool {
        self.unreadable.iter().all(|at| {
            let after = parts.partition_point(|part| self.range_of(part).start <= *at);
            after.checked_sub(1).is_some_and(|n| self.range_of(parts[n]).contains(at))
        })
    }

    fn range_of(&self, part: &str) -> Range<usize> {
        let start = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        start..start + part.len()
    }
}
