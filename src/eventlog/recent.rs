//! The newest entries, kept in memory as they are committed: the processor takes them from here and need not read back
//! what was written a moment ago. What is no longer here is in the database.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::Position;
use crate::store::entries::{Entry, Logged};
use crate::store::shards::{Layout, Shard};

/// Bytes of bodies kept while nobody takes them.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// What an entry weighs beside its body, roughly.
const ENTRY_BYTES: usize = 1_024;

/// Committed entries of each shard in log order, without a gap. Cheap to clone.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<BTreeMap<Shard, Kept>>>);

#[derive(Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// After a commit, in its order.
    pub(super) fn committed(&self, layout: Layout, entries: impl Iterator<Item = Entry>) {
        let bytes_max = BYTES_MAX / layout.all().len();
        let mut shards = self.lock();
        for entry in entries {
            let kept = shards.entry(layout.shard_at(entry.position)).or_default();
            if kept.entries.back().is_some_and(|last| layout.next(last.position) != entry.position) {
                *kept = Kept::default();
            }
            kept.bytes += weight(&entry);
            kept.entries.push_back(entry);
            while kept.bytes > bytes_max {
                kept.forget_first();
            }
        }
    }

    /// Takes at most `limit` entries that follow `after` in its shard; none if the next one is not here. Each is handed
    /// out once: whoever needs it again reads the database.
    pub fn take_after(&self, layout: Layout, after: Position, limit: usize) -> Vec<Entry> {
        let mut shards = self.lock();
        let Some(kept) = shards.get_mut(&layout.shard_at(after)) else { return Vec::new() };
        while kept.entries.front().is_some_and(|first| first.position <= after) {
            kept.forget_first();
        }
        if kept.entries.front().is_none_or(|first| first.position != layout.next(after)) {
            return Vec::new();
        }
        let count = limit.min(kept.entries.len());
        let taken: Vec<Entry> = kept.entries.drain(..count).collect();
        kept.bytes -= taken.iter().map(weight).sum::<usize>();
        taken
    }

    /// How many entries wait to be taken, where each of them is the end of a message: nobody waits for what follows from
    /// those. None: something else is among them, or nothing is here.
    pub fn only_ends(&self) -> Option<usize> {
        let shards = self.lock();
        let mut count = 0;
        for entry in shards.values().flat_map(|kept| &kept.entries) {
            count += 1;
            matches!(entry.logged, Logged::MessageEnded { .. }).then_some(())?;
        }
        (count > 0).then_some(count)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Shard, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget_first(&mut self) {
        if let Some(first) = self.entries.pop_front() {
            self.bytes -= weight(&first);
        }
    }
}

fn weight(entry: &Entry) -> usize {
    match &entry.logged {
        Logged::Event(event) => ENTRY_BYTES + event.body.text().len(),
        Logged::DefinitionsApplied { documents } => ENTRY_BYTES + documents.iter().map(String::len).sum::<usize>(),
        Logged::Administered { detail, .. } => ENTRY_BYTES + detail.len(),
        Logged::Timer | Logged::MessageEnded { .. } | Logged::Control { .. } => ENTRY_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Timestamp, WorkspaceId};

    const LAYOUT: Layout = Layout::ALONE;

    fn entry(position: i64) -> Entry {
        let (workspace, now) = (WorkspaceId(1), Timestamp::default());
        Entry { position: Position(position), workspace, profile: None, now, joins: None, logged: Logged::Timer }
    }

    fn positions(taken: &[Entry]) -> Vec<i64> {
        taken.iter().map(|entry| entry.position.0).collect()
    }

    #[test]
    fn entries_are_handed_out_once_and_in_order() {
        let recent = Recent::default();
        recent.committed(LAYOUT, (1..=5).map(entry));
        assert_eq!(positions(&recent.take_after(LAYOUT, Position(0), 2)), [1, 2]);
        assert_eq!(positions(&recent.take_after(LAYOUT, Position(0), 2)), [0_i64; 0], "1 and 2 are in the database");
        assert_eq!(
            positions(&recent.take_after(LAYOUT, Position(3), 9)),
            [4, 5],
            "what was read elsewhere is forgotten"
        );
    }

    #[test]
    fn a_gap_forgets_what_was_before_it() {
        let recent = Recent::default();
        recent.committed(LAYOUT, [entry(1), entry(2), entry(4)].into_iter());
        assert!(recent.take_after(LAYOUT, Position(0), 9).is_empty());
        assert_eq!(positions(&recent.take_after(LAYOUT, Position(3), 9)), [4]);
    }

    #[test]
    fn nobody_taking_costs_no_more_than_so_many_bytes() {
        let recent = Recent::default();
        let count = i64::try_from(BYTES_MAX / ENTRY_BYTES).unwrap_or_default() + 10;
        recent.committed(LAYOUT, (1..=count).map(entry));
        assert!(recent.take_after(LAYOUT, Position(0), 9).is_empty());
        assert_eq!(positions(&recent.take_after(LAYOUT, Position(10), 1)), [11]);
    }
}
