//! Lists that are cheap to copy and to change by one: chunks that copies share until one of them writes.

use std::sync::Arc;

const CHUNK_MAX: usize = 256;

/// Grows at the end.
#[derive(Debug, Clone)]
pub struct Rows<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Clone> Rows<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push(&mut self, row: T) {
        if self.len.is_multiple_of(CHUNK_MAX) {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK_MAX)));
        }
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).push(row);
            self.len += 1;
        }
    }

    pub fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK_MAX)?.get(at % CHUNK_MAX)
    }

    pub fn set(&mut self, at: usize, row: T) {
        if let Some(known) =
            self.chunks.get_mut(at / CHUNK_MAX).and_then(|chunk| Arc::make_mut(chunk).get_mut(at % CHUNK_MAX))
        {
            *known = row;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

/// A clause that is led to, and what else the event must have for it: some bits of the hash of a value, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub clause: u32,
    pub besides: u32,
}

/// An entry of a [`Table`]: it holds from `key` to `reach`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    reach: u64,
    row: Row,
}

#[derive(Debug, Clone)]
struct Chunk {
    entries: Arc<Vec<Entry>>,
    first: u64,
    /// The farthest reach of its entries.
    reach: u64,
}

/// Rows under intervals of keys, sorted.
#[derive(Debug, Clone, Default)]
pub struct Table {
    chunks: Vec<Chunk>,
}

impl Table {
    pub fn insert(&mut self, key: u64, reach: u64, row: Row) {
        let entry = Entry { key, reach, row };
        let at = self.chunks.partition_point(|chunk| chunk.first <= key).saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return self.chunks.push(Chunk::of(vec![entry]));
        };
        let entries = Arc::make_mut(&mut chunk.entries);
        let place = entries.partition_point(|known| *known < entry);
        entries.insert(place, entry);
        chunk.first = chunk.first.min(key);
        chunk.reach = chunk.reach.max(reach);
        if entries.len() > CHUNK_MAX {
            let upper = entries.split_off(CHUNK_MAX / 2);
            let lower = std::mem::take(entries);
            self.chunks[at] = Chunk::of(lower);
            self.chunks.insert(at + 1, Chunk::of(upper));
        }
    }

    /// Rows under exactly this key.
    pub fn at(&self, key: u64) -> impl Iterator<Item = Row> {
        // Equal keys may begin in the chunk before the one that begins with them.
        let start = self.chunks.partition_point(|chunk| chunk.first < key).saturating_sub(1);
        let chunks = self.chunks[start..].iter().take_while(move |chunk| chunk.first <= key);
        chunks.flat_map(move |chunk| {
            let from = chunk.entries.partition_point(|entry| entry.key < key);
            chunk.entries[from..].iter().take_while(move |entry| entry.key == key).map(|entry| entry.row)
        })
    }

    /// Rows whose interval holds `at`.
    pub fn over(&self, at: u64) -> impl Iterator<Item = Row> {
        let end = self.chunks.partition_point(|chunk| chunk.first <= at);
        let chunks = self.chunks[..end].iter().filter(move |chunk| chunk.reach >= at);
        chunks.flat_map(move |chunk| {
            let end = chunk.entries.partition_point(|entry| entry.key <= at);
            chunk.entries[..end].iter().filter(move |entry| entry.reach >= at).map(|entry| entry.row)
        })
    }
}

impl Chunk {
    fn of(entries: Vec<Entry>) -> Self {
        let first = entries.first().map_or(0, |entry| entry.key);
        let reach = entries.iter().map(|entry| entry.reach).max().unwrap_or(0);
        Self { entries: Arc::new(entries), first, reach }
    }
}
