//! A sorted map that is cheap to copy and to change by one: copies share its chunks until one of them writes. What is in
//! force is such a value, so that one campaign among thousands is published without touching the others.

use std::sync::Arc;

const CHUNK_MAX: usize = 128;

type Chunk<V> = Arc<Vec<(Arc<str>, V)>>;

#[derive(Debug, Clone)]
pub struct SharedMap<V> {
    /// None is empty; keys ascend within each and from one to the next.
    chunks: Vec<Chunk<V>>,
    len: usize,
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<V> SharedMap<V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that holds the key, or would, and the key's place in it.
    fn find(&self, key: &str) -> (usize, Result<usize, usize>) {
        let begins_after = |chunk: &Chunk<V>| chunk.first().is_some_and(|(first, _)| first.as_ref() > key);
        let at = self.chunks.partition_point(|chunk| !begins_after(chunk)).saturating_sub(1);
        let place = self.chunks.get(at).map_or(Err(0), |chunk| chunk.binary_search_by(|(known, _)| (**known).cmp(key)));
        (at, place)
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        let (at, place) = self.find(key);
        Some(&self.chunks.get(at)?.get(place.ok()?)?.1)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// In the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(key, value)| (key.as_ref(), value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<V: Clone> SharedMap<V> {
    /// Its own copy of the value; none where there is none.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let (at, place) = self.find(key);
        let place = place.ok()?;
        Some(&mut Arc::make_mut(self.chunks.get_mut(at)?).get_mut(place)?.1)
    }

    /// The answer is the value it had.
    pub fn insert(&mut self, key: impl AsRef<str>, value: V) -> Option<V> {
        let key = key.as_ref();
        if let Some(known) = self.get_mut(key) {
            return Some(std::mem::replace(known, value));
        }
        let (at, place) = self.find(key);
        let place = place.unwrap_or_else(|place| place);
        self.len += 1;
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![(Arc::from(key), value)]));
            return None;
        };
        let rows = Arc::make_mut(chunk);
        rows.insert(place, (Arc::from(key), value));
        if rows.len() > CHUNK_MAX {
            // Keys mostly come in order: the last chunk is left full.
            let is_last = at + 1 == self.chunks.len() && place + 1 > CHUNK_MAX;
            let upper = Arc::make_mut(&mut self.chunks[at]).split_off(if is_last { CHUNK_MAX } else { CHUNK_MAX / 2 });
            self.chunks.insert(at + 1, Arc::new(upper));
        }
        None
    }

    /// The value, made now where there is none.
    pub fn at(&mut self, key: &str, make: impl FnOnce() -> V) -> Option<&mut V> {
        if !self.contains_key(key) {
            self.insert(key, make());
        }
        self.get_mut(key)
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        let (at, place) = self.find(key);
        let place = place.ok()?;
        let rows = Arc::make_mut(self.chunks.get_mut(at)?);
        let (_, value) = rows.remove(place);
        if rows.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::SharedMap;

    proptest! {
        /// Writes are keys with a value to be put there, or without one to be taken away.
        #[test]
        fn a_map_answers_as_the_standard_one_and_its_copies_stay_as_they_were(
            writes in prop::collection::vec((0..900_u32, prop::option::weighted(0.7, 0..9_u8)), 0..1_500),
            copied_after in 0..1_500_usize,
        ) {
            let (mut ours, mut theirs) = (SharedMap::default(), BTreeMap::new());
            let mut copies = None;
            for (n, (key, value)) in writes.into_iter().enumerate() {
                let key = format!("{key}");
                let (was, expected) = match value {
                    Some(value) => (ours.insert(&key, value), theirs.insert(key, value)),
                    None => (ours.remove(&key), theirs.remove(&key)),
                };
                prop_assert_eq!(was, expected);
                if n == copied_after {
                    copies = Some((ours.clone(), theirs.clone()));
                }
            }
            for (ours, theirs) in copies.into_iter().chain([(ours, theirs)]) {
                prop_assert_eq!(ours.len(), theirs.len());
                prop_assert!(ours.iter().eq(theirs.iter().map(|(key, value)| (key.as_str(), value))));
                for key in (0..900).map(|key| key.to_string()) {
                    prop_assert_eq!(ours.get(&key), theirs.get(&key));
                }
            }
        }
    }
}
