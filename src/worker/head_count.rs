//! How many people a segment would have that nobody has saved yet: the same evaluation as in decisions, over everybody
//! stored. Nothing is written, and nobody waits: people are read a page at a time, each as they are at that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use sea_orm::DatabaseConnection;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use crate::audience::computed::Defined;
use crate::audience::condition::needs::Needs;
use crate::audience::condition::{Detail, Facts};
use crate::audience::segment::Answers;
use crate::clock::Stopwatch;
use crate::decision::Catalog;
use crate::definition::problem::Code;
use crate::definition::{Definition, Document, Problem, SourceFile};
use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::crowd::{Parts, Unread};
use crate::store::{Store, Workspace};
use crate::worker::apply::{compare, names_of, read_against, stored_as};
use crate::worker::live::Definitions;
use crate::worker::live::book::Book;
use crate::worker::membership::{named, needs_of, work_out};
use crate::worker::past::{is_whole, load_needed};
use crate::worker::warnings::traits;
use crate::worker::world::{Slot, Slots};

/// People read together.
const PAGE_PEOPLE: u32 = 1_024;
/// People whose past is in memory at once, beside their rows.
const PASTS_MAX: usize = 256;
/// Ranges of people that are looked at side by side, each by a reader of its own: half of those SQLite has, so that
/// others are answered meanwhile.
const SIDE_BY_SIDE: usize = 2;
/// Ranges in all, so that none is waited for long in the end.
const RANGES: i64 = 32;
/// Of each segment, so many people are named.
const SAMPLE_MAX: usize = 10;

/// What each segment of some files would hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HeadCount {
    /// People who were looked at: everybody stored.
    pub people: u64,
    /// Whose rows could not be read; they are in no segment here.
    pub unreadable: u64,
    /// In milliseconds.
    pub took: u64,
    pub segments: Vec<SegmentCount>,
    /// What is right as written and does not fit the traits of the people who are stored.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SegmentCount {
    pub segment: String,
    pub name: String,
    pub people: u64,
    /// The first of them, by user id or, without one, number.
    pub sample: Vec<String>,
}

/// What some people, or all of them, came to.
#[derive(Debug, Default)]
struct Tally {
    people: u64,
    unreadable: u64,
    /// By the segment's key: how many, and the first of them by their numbers.
    members: BTreeMap<String, (u64, Vec<(ProfileId, String)>)>,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        self.people += other.people;
        self.unreadable += other.unreadable;
        for (key, (count, sample)) in other.members {
            let known = self.members.entry(key).or_default();
            known.0 += count;
            known.1.extend(sample);
            known.1.sort();
            known.1.truncate(SAMPLE_MAX);
        }
        self
    }
}

/// The segments that are counted, and what is needed to know who is in them.
struct Counted {
    catalog: Arc<Catalog>,
    keys: Vec<String>,
    /// Of the segments alone, and with those of the computed traits they name.
    needs: Needs,
    needs_to_work_out: Needs,
    /// The computed traits they name as they are in force, where the files leave them as they are.
    kept: Option<Vec<Defined>>,
    parts: Parts,
    now: Timestamp,
}

/// Counts the people of each segment in the files, as they would be if the files were applied; changes nothing.
///
/// # Errors
/// The outer error is the database's. The inner one lists every problem, as `apply` would; no segment among the files
/// is one, too.
pub async fn head_count(
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    files: &[SourceFile],
    now: Timestamp,
) -> anyhow::Result<Result<HeadCount, Vec<Problem>>> {
    let watch = Stopwatch::start();
    let book = definitions.book(id).await?;
    let documents = match read_against(&book, files.to_vec()).await? {
        Ok(documents) => documents,
        Err(problems) => return Ok(Err(problems)),
    };
    let asked: BTreeMap<&str, &str> = documents.iter().filter_map(segment_of).collect();
    if asked.is_empty() {
        return Ok(Err(vec![no_segment(files)]));
    }
    let warnings = traits::of_documents(store.workspace(id), &book, &documents.iter().collect::<Vec<_>>()).await?;
    let stored = store.workspace(id).newest_of(&names_of(&documents)).await?;
    let fresh = compare(&documents, &stored).1.into_iter();
    let fresh: Vec<_> = fresh.map(|(document, version)| stored_as(document, version, Position(1), now)).collect();
    let mut supposed = Book::clone(&book);
    supposed.add(&fresh);
    let catalog = supposed.live().catalog.clone();
    let in_force = documents.iter().all(|it| segment_of(it).is_some()).then(|| &book.live().catalog);
    let counted = Counted::new(catalog, in_force, asked.keys().copied(), now);
    let mut tally = everybody(store, id, Arc::new(counted)).await?;
    let segments = asked.into_iter().map(|(key, name)| {
        let (people, sample) = tally.members.remove(key).unwrap_or_default();
        let sample = sample.into_iter().map(|(_, name)| name).collect();
        SegmentCount { segment: key.to_owned(), name: name.to_owned(), people, sample }
    });
    let segments = segments.collect();
    let took = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ok(HeadCount { people: tally.people, unreadable: tally.unreadable, took, segments, warnings }))
}

/// How many people each of these segments has at present by the definitions of a catalog, by the segment's key.
///
/// # Errors
/// The database cannot be read.
pub(super) async fn members_of(
    store: &Store,
    id: WorkspaceId,
    catalog: Catalog,
    segments: &BTreeSet<&str>,
    now: Timestamp,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let counted = Counted::new(catalog, None, segments.iter().copied(), now);
    let tally = everybody(store, id, Arc::new(counted)).await?;
    Ok(tally.members.into_iter().map(|(segment, (people, _))| (segment, people)).collect())
}

fn segment_of(document: &Document) -> Option<(&str, &str)> {
    match &document.definition {
        Definition::Segment(segment) => Some((&segment.key, &segment.name)),
        _ => None,
    }
}

fn no_segment(files: &[SourceFile]) -> Problem {
    Problem {
        file: files.first().map_or_else(String::new, |file| file.name.clone()),
        line: 1,
        column: 1,
        field: "kind".to_owned(),
        code: Code::MissingField,
        message: "there is no `kind: segment` to be counted".to_owned(),
        nearest: None,
    }
}

/// Ranges of numbers side by side, each a page at a time on a thread of its own: not on one that answers others.
async fn everybody(store: &Store, id: WorkspaceId, counted: Arc<Counted>) -> anyhow::Result<Tally> {
    let Some((ProfileId(first), ProfileId(last))) = store.workspace(id).ends_of_crowd().await? else {
        return Ok(Tally::default());
    };
    let step = last.saturating_sub(first) / RANGES + 1;
    let starts = (0..RANGES).map(|n| first.saturating_sub(1).saturating_add(n.saturating_mul(step)));
    let ranges = starts.filter(|after| *after < last).map(|after| (after, last.min(after.saturating_add(step))));
    let looking = ranges.map(|(after, last)| {
        let (store, counted, runtime) = (store.clone(), counted.clone(), Handle::current());
        let range = (ProfileId(after), ProfileId(last));
        async move { spawn_blocking(move || runtime.block_on(look_at(store.workspace(id), &counted, range))).await? }
    });
    let tallies = stream::iter(looking).buffer_unordered(SIDE_BY_SIDE);
    tallies.try_fold(Tally::default(), |all, one| async { Ok(all.add(one)) }).await
}

async fn look_at(
    store: Workspace<'_, DatabaseConnection>,
    counted: &Counted,
    (mut after, last): (ProfileId, ProfileId),
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let page = store.crowd((after, last), PAGE_PEOPLE, &counted.parts).await?;
        after = page.last().map_or(after, |row| row.id);
        let mut rest = counted.judge_rows(&page, &mut tally).into_iter().peekable();
        while rest.peek().is_some() {
            let some = rest.by_ref().take(PASTS_MAX);
            let mut slots: Slots = some.map(|slot| (slot.person.profile.id, Ok(slot))).collect();
            let needs =
                slots.iter().filter_map(|(id, slot)| Some((*id, counted.needs_of(slot.as_ref().ok()?).clone())));
            load_needed(store, needs.collect(), &mut slots).await?;
            slots.into_values().for_each(|slot| counted.judge(slot, &mut tally));
        }
        if page.len() < PAGE_PEOPLE as usize {
            return Ok(tally);
        }
    }
}

impl Counted {
    /// `in_force`: the definitions in force, where nothing but segments is to be changed.
    fn new<'k>(
        catalog: Catalog,
        in_force: Option<&Catalog>,
        keys: impl Iterator<Item = &'k str> + Clone,
        now: Timestamp,
    ) -> Self {
        let mut needs = Needs::default();
        keys.clone().filter_map(|key| catalog.terms.segments.needs(key)).for_each(|theirs| needs.add(theirs));
        let needs_to_work_out = needs_of(&catalog, keys.clone());
        let kept = in_force.and_then(|in_force| {
            let of = |defined: &Defined| in_force.terms.computed.get(&defined.computed.key).cloned();
            named(&catalog, &needs).map(of).collect()
        });
        let keys = keys.map(str::to_owned).collect();
        let parts = parts_of(&needs_to_work_out);
        Self { catalog: Arc::new(catalog), keys, needs, needs_to_work_out, kept, parts, now }
    }

    /// Whether what is kept of computed traits with this person is what decisions go by.
    fn is_kept(&self, slot: &Slot) -> bool {
        let kept = |defined: &Defined| defined.is_kept(&slot.person.profile, self.now);
        self.kept.as_ref().is_some_and(|all| all.iter().all(kept))
    }

    fn needs_of(&self, slot: &Slot) -> &Needs {
        if self.is_kept(slot) { &self.needs } else { &self.needs_to_work_out }
    }

    /// Counts whoever's row says all, and hands on the others.
    fn judge_rows(&self, page: &[Unread], tally: &mut Tally) -> Vec<Slot> {
        let mut rest = Vec::new();
        for row in page {
            match row.read(&self.parts).map(Slot::new) {
                Ok(slot) if !is_whole(&slot, self.needs_of(&slot)) => rest.push(slot),
                read => self.judge(read.map_err(|error| error.to_string()), tally),
            }
        }
        rest
    }

    fn judge(&self, slot: Result<Slot, String>, tally: &mut Tally) {
        tally.people += 1;
        let Ok(mut slot) = slot else {
            tally.unreadable += 1;
            return;
        };
        if !self.is_kept(&slot) {
            work_out(&self.catalog, &self.needs_to_work_out, self.now, &mut slot);
        }
        let (profile, answers, terms) = (&slot.person.profile, Answers::default(), &self.catalog.terms);
        let facts = Facts::of_person(self.now, (terms, &answers), profile, slot.loaded.past());
        let facts = Facts { detail: Detail::Holds, ..facts };
        for key in &self.keys {
            if terms.segments.evaluate(key, &facts).is_some_and(|answer| answer.holds) {
                let (count, sample) = match tally.members.get_mut(key) {
                    Some(known) => known,
                    None => tally.members.entry(key.clone()).or_default(),
                };
                *count += 1;
                // Whose past had to be looked up comes after others of the same page.
                if sample.len() < SAMPLE_MAX || sample.last().is_some_and(|(last, _)| profile.id < *last) {
                    let name = profile.user_id.clone().unwrap_or_else(|| format!("profile {}", profile.id));
                    sample.push((profile.id, name));
                    sample.sort();
                    sample.truncate(SAMPLE_MAX);
                }
            }
        }
    }
}

/// Reading costs the most: of a row, only what some condition looks at. A cart that is not stored follows from the past.
fn parts_of(needs: &Needs) -> Parts {
    let history = !(needs.older.is_empty() && needs.bodies.is_empty()) || needs.cart;
    let remembered = !(needs.named.is_empty() && needs.lists.is_empty()) || needs.addresses;
    // Where somebody lives, and what a bare amount is in, no condition names.
    let unnamed = ["timezone", "currency"].map(str::to_owned).into_iter().filter(|_| needs.traits);
    let traits: BTreeSet<String> = needs.named.iter().cloned().chain(unnamed).collect();
    Parts { traits, consent: needs.consent, history, carts: needs.cart, remembered }
}
