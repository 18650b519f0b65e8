//! How many people a segment would have that nobody has saved yet: the same evaluation as in decisions, over everybody
//! stored. Nothing is written, and nobody waits: people are read a slice at a time, each as they are at that moment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::condition::Facts;
use crate::audience::condition::needs::Needs;
use crate::audience::segment::Answers;
use crate::clock::Stopwatch;
use crate::decision::Catalog;
use crate::definition::problem::Code;
use crate::definition::{Definition, Document, Problem, SourceFile};
use crate::ids::{Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::Store;
use crate::store::profiles::{Parts, Unread};
use crate::worker::apply::{compare, names_of, read_against, stored_as};
use crate::worker::live::Definitions;
use crate::worker::live::book::Book;
use crate::worker::membership::{needs_of, work_out};
use crate::worker::world::{Slot, Slots, load_needed};

/// People read together.
const SLICE_PEOPLE: u32 = 4_096;
/// Of each segment, so many people are named.
const SAMPLE_MAX: usize = 10;
/// Slices in hand at once: one is read while others are looked at.
const SLICES_MAX: usize = 4;

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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SegmentCount {
    pub segment: String,
    pub name: String,
    pub people: u64,
    /// The first of them, by user id or, without one, number.
    pub sample: Vec<String>,
}

/// What a slice of people, or all of them, came to.
#[derive(Debug, Default)]
struct Tally {
    people: u64,
    unreadable: u64,
    /// By the segment's key.
    members: BTreeMap<String, (u64, Vec<String>)>,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        self.people += other.people;
        self.unreadable += other.unreadable;
        for (key, (count, names)) in other.members {
            let known = self.members.entry(key).or_default();
            known.0 += count;
            known.1.extend(names);
            known.1.truncate(SAMPLE_MAX);
        }
        self
    }
}

/// The segments that are counted, and what is needed to know who is in them.
struct Counted {
    catalog: Arc<Catalog>,
    keys: Vec<String>,
    needs: Needs,
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
    let stored = store.workspace(id).newest_of(&names_of(&documents)).await?;
    let fresh = compare(&documents, &stored).1.into_iter();
    let fresh: Vec<_> = fresh.map(|(document, version)| stored_as(document, version, Position(1), now)).collect();
    let mut supposed = Book::clone(&book);
    supposed.add(&fresh);
    let catalog = supposed.live().catalog.clone();
    let needs = needs_of(&catalog, asked.keys().copied());
    let keys = asked.keys().map(|key| (*key).to_owned()).collect();
    let tally = everybody(store, id, Arc::new(Counted { catalog: Arc::new(catalog), keys, needs, now })).await?;
    let segments = asked.into_iter().map(|(key, name)| {
        let (people, sample) = tally.members.get(key).cloned().unwrap_or_default();
        SegmentCount { segment: key.to_owned(), name: name.to_owned(), people, sample }
    });
    let segments = segments.collect();
    let took = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ok(HeadCount { people: tally.people, unreadable: tally.unreadable, took, segments }))
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

/// One slice is read at a time; those read before are looked at meanwhile.
async fn everybody(store: &Store, id: WorkspaceId, counted: Arc<Counted>) -> anyhow::Result<Tally> {
    let parts = parts_of(&counted.needs);
    let (mut tally, mut in_hand, mut after) = (Tally::default(), VecDeque::new(), ProfileId(i64::MIN));
    loop {
        let slice = store.workspace(id).crowd(after, SLICE_PEOPLE, parts).await?;
        let is_last = slice.len() < SLICE_PEOPLE as usize;
        after = slice.last().map_or(after, |(last, _)| *last);
        in_hand.push_back(tokio::spawn(look_at(store.clone(), id, counted.clone(), slice)));
        while in_hand.len() > if is_last { 0 } else { SLICES_MAX }
            && let Some(first) = in_hand.pop_front()
        {
            tally = tally.add(first.await??);
        }
        if is_last {
            return Ok(tally);
        }
    }
}

async fn look_at(
    store: Store,
    id: WorkspaceId,
    counted: Arc<Counted>,
    slice: Vec<(ProfileId, Unread)>,
) -> anyhow::Result<Tally> {
    let mut slots = tokio::task::spawn_blocking(move || read(&slice)).await?;
    if looks_back(&counted.needs) {
        let needs = slots.keys().map(|profile| (*profile, counted.needs.clone())).collect();
        load_needed(store.workspace(id), needs, &mut slots).await?;
    }
    Ok(tokio::task::spawn_blocking(move || tally(&counted, slots)).await?)
}

/// Reading costs the most: of a row, only what some condition looks at. A cart that is not stored follows from the past.
fn parts_of(needs: &Needs) -> Parts {
    let history = !(needs.older.is_empty() && needs.bodies.is_empty()) || needs.cart;
    Parts { traits: needs.traits, consent: needs.consent, history, standings: false, carts: needs.cart }
}

/// Whether more than the row matters.
fn looks_back(needs: &Needs) -> bool {
    parts_of(needs).history || !needs.received.is_empty()
}

fn read(slice: &[(ProfileId, Unread)]) -> Slots {
    let slot = |row: &Unread| row.read().map(Slot::new).map_err(|error| error.to_string());
    slice.iter().map(|(profile, row)| (*profile, slot(row))).collect()
}

fn tally(counted: &Counted, slots: Slots) -> Tally {
    let mut tally = Tally { people: slots.len() as u64, ..Tally::default() };
    let terms = &counted.catalog.terms;
    for (id, slot) in slots {
        let Ok(mut slot) = slot else {
            tally.unreadable += 1;
            continue;
        };
        work_out(&counted.catalog, &counted.needs, counted.now, &mut slot);
        let (profile, answers) = (&slot.person.profile, Answers::default());
        let facts = Facts::of_person(counted.now, (terms, &answers), profile, slot.loaded.past());
        for key in &counted.keys {
            if terms.segments.evaluate(key, &facts).is_some_and(|answer| answer.holds) {
                let (count, sample) = tally.members.entry(key.clone()).or_default();
                *count += 1;
                if sample.len() < SAMPLE_MAX {
                    sample.push(profile.user_id.clone().unwrap_or_else(|| format!("profile {id}")));
                }
            }
        }
    }
    tally
}
