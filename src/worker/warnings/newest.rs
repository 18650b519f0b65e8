//! Where the newest events of each name stand in the log. Whoever applies asks again and again, so what was found is kept,
//! and only what came since is read.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;
use tokio::sync::Mutex;

use crate::ids::{Position, WorkspaceId};
use crate::store::shards::Heads;
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
#[derive(Debug, Default)]
struct Names {
    /// Where the log ended: between shards there is no order, so a new entry may stand in front of an old one.
    heads: Heads,
    /// The first entry that was read; none before any was.
    oldest: Option<Position>,
    entries: usize,
    by_name: BTreeMap<String, BTreeSet<Position>>,
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
        let of = |name: &String| known.by_name.get(name).into_iter().flatten().rev().copied().collect();
        let found = names.iter().map(|name| (name.clone(), of(name))).collect();
        Ok((found, known.by_name.keys().cloned().collect()))
    }
}

impl Names {
    /// What came since.
    async fn read_on(&mut self, store: Workspace<'_, DatabaseConnection>) -> Result<(), Error> {
        let heads = store.heads().await?;
        let (mut fresh, mut before) = (Vec::new(), Position(i64::MAX));
        while self.oldest.is_some() {
            let page = store.names_before(before, Some(&self.heads), PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX as usize;
            before = page.last().map_or(before, |(position, _)| *position);
            fresh.extend(page);
            if is_last {
                break;
            }
            if fresh.len() >= ENTRIES_MAX {
                // What was known before is too old by now.
                *self = Self { oldest: Some(before), ..Self::default() };
                break;
            }
        }
        self.heads = heads;
        self.note(fresh);
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
            let before = self.oldest.unwrap_or(Position(i64::MAX));
            let page = store.names_before(before, None, PAGE_MAX).await?;
            let Some((last, _)) = page.last() else { break };
            self.oldest = Some(*last);
            self.note(page);
        }
        Ok(())
    }

    fn note(&mut self, page: Vec<(Position, String)>) {
        self.entries += page.len();
        for (position, name) in page {
            if self.by_name.len() >= NAMES_MAX && !self.by_name.contains_key(&name) {
                continue;
            }
            let positions = self.by_name.entry(name).or_default();
            positions.insert(position);
            if positions.len() > EVENTS_MAX {
                positions.pop_first();
            }
        }
    }
}
