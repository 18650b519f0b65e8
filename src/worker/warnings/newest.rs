//! Where the newest events of each name stand in the log. Whoever applies asks again and again, so what was found is kept,
//! and only what came since is read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sea_orm::DatabaseConnection;
use tokio::sync::Mutex;

use crate::ids::{Position, WorkspaceId};
use crate::store::{Error, Workspace};

/// Of each name, the newest events that are looked at.
const EVENTS_MAX: usize = 1_000;
/// Entries of the log in which they are looked for, from its end: a rare event may be further back.
const ENTRIES_MAX: usize = 200_000;
const PAGE_MAX: u32 = 10_000;
/// Names of events remembered; a shop has some dozens.
const NAMES_MAX: usize = 1_000;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Seen(Mutex<BTreeMap<WorkspaceId, Names>>);

/// The names of a row of entries.
#[derive(Debug)]
struct Names {
    /// The newest of them, and the oldest.
    newest: Position,
    oldest: Position,
    entries: usize,
    /// Newest first.
    by_name: BTreeMap<String, VecDeque<Position>>,
}

impl Default for Names {
    fn default() -> Self {
        let (newest, oldest) = (Position(i64::MIN), Position(i64::MAX));
        Self { newest, oldest, entries: 0, by_name: BTreeMap::new() }
    }
}

impl Seen {
    /// Where the newest events of these names stand, newest first, and the names that came.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) async fn newest(
        &self,
        store: Workspace<'_, DatabaseConnection>,
        names: &BTreeSet<String>,
    ) -> Result<(BTreeMap<String, Vec<Position>>, BTreeSet<String>), Error> {
        let mut all = self.0.lock().await;
        let known = all.entry(store.id).or_default();
        known.read_on(store).await?;
        known.read_back(store, names).await?;
        let of = |name: &String| known.by_name.get(name).into_iter().flatten().copied().collect();
        let found = names.iter().map(|name| (name.clone(), of(name))).collect();
        let came = known.by_name.iter().filter(|(_, positions)| !positions.is_empty());
        Ok((found, came.map(|(name, _)| name.clone()).take(NAMES_MAX).collect()))
    }
}

impl Names {
    /// What came since. Between shards there is no order, so one that is stored late may be passed over here.
    async fn read_on(&mut self, store: Workspace<'_, DatabaseConnection>) -> Result<(), Error> {
        if self.entries == 0 {
            return Ok(());
        }
        let (mut fresh, mut before) = (Vec::new(), Position(i64::MAX));
        loop {
            let page = store.names_between(self.newest, before, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX as usize;
            before = page.last().map_or(before, |(position, _)| *position);
            fresh.extend(page);
            if is_last {
                break;
            }
            if fresh.len() >= ENTRIES_MAX {
                // What was known before is too old by now.
                *self = Self::default();
                self.oldest = before;
                break;
            }
        }
        self.newest = fresh.first().map_or(self.newest, |(position, _)| *position);
        self.entries += fresh.len();
        for (position, name) in fresh.into_iter().rev() {
            if let Some(positions) = self.of(name) {
                positions.push_front(position);
                positions.truncate(EVENTS_MAX);
            }
        }
        Ok(())
    }

    /// Looks further back as long as there are too few of some name.
    async fn read_back(
        &mut self,
        store: Workspace<'_, DatabaseConnection>,
        names: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let has_enough =
            |all: &Self, name: &String| all.by_name.get(name).is_some_and(|found| found.len() >= EVENTS_MAX);
        while self.entries < ENTRIES_MAX && !names.iter().all(|name| has_enough(self, name)) {
            let page = store.names_between(Position(i64::MIN), self.oldest, PAGE_MAX).await?;
            let (Some((first, _)), Some((last, _))) = (page.first(), page.last()) else { break };
            self.newest = self.newest.max(*first);
            self.oldest = *last;
            self.entries += page.len();
            for (position, name) in page {
                if let Some(positions) = self.of(name).filter(|positions| positions.len() < EVENTS_MAX) {
                    positions.push_back(position);
                }
            }
        }
        Ok(())
    }

    fn of(&mut self, name: String) -> Option<&mut VecDeque<Position>> {
        let has_room = self.by_name.len() < NAMES_MAX || self.by_name.contains_key(&name);
        has_room.then(|| self.by_name.entry(name).or_default())
    }
}
