//! The heart: entries of the log → people → decisions → effects and log position, in one transaction.
//!
//! An entry that cannot be applied, or of whose effects the database refuses to store any, is parked with its cause and
//! the log goes on. If a person's row changed while a batch was decided, nothing of the batch is stored and it is decided
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::decision::{self, At, Catalog, Decision, Input, Other, Snapshot};
use crate::event::{Event, Kind};
use crate::eventlog::{Draft, EventLog, Queue, logged};
use crate::fault::Faults;
use crate::ids::{Position, ProfileId, Span, WorkspaceId};
use crate::store::controls::Parked;
use crate::store::entries::{Damaged, Entry, Logged, ReadEntry, read_after};
use crate::store::leases::is_owner;
use crate::store::locks::Reach;
use crate::store::merges::heads_of_losers;
use crate::store::refused::{Refusal, refusal};
use crate::store::shards::{Shard, advance_cursor, cursors};
use crate::store::{Store, workspace};
use crate::telemetry;
use crate::worker::batch::{Narrowed, barrier_in, position_of, up_to_barrier, up_to_crowd, workspace_of};
use crate::worker::effects::Raced;
use crate::worker::leases::Lease;
use crate::worker::live::Definitions;
use crate::worker::live::book::Book;
use crate::worker::observed::{self, Made};
use crate::worker::world::{self, Asked, Changes, People, Slot};

/// Races lost in a row before it is an error.
const RACES_MAX: u32 = 32;

/// Works off one shard of the log.
pub struct Processor {
    shard: Shard,
    lease: Lease,
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    faults: Faults,
    settle: Span,
    cursor: Position,
    /// What is in force at the cursor; it goes on when a barrier was passed.
    books: BTreeMap<WorkspaceId, Arc<Book>>,
    /// Workspaces whose book is of a position before a barrier.
    passed: BTreeSet<WorkspaceId>,
    /// Workspaces in which others have not learned of the barrier yet.
    changed: BTreeSet<WorkspaceId>,
    is_waiting: bool,
    /// Batches in a row that somebody else was faster than.
    races: u32,
    narrowed: Narrowed,
}

/// Entries of one workspace, and the ones that could not even be read.
struct Work {
    entries: Vec<Entry>,
    unreadable: Vec<Parked>,
}

impl Work {
    /// For at most so many entries.
    fn of(count: usize) -> Self {
        Self { entries: Vec::with_capacity(count), unreadable: Vec::new() }
    }
}

impl Processor {
    /// Of a log that has one shard and one process.
    ///
    /// # Errors
    /// The cursor cannot be read.
    pub async fn new(
        log: EventLog,
        store: Store,
        definitions: Arc<Definitions>,
        faults: Faults,
        settle: Span,
    ) -> anyhow::Result<Self> {
        let alone = Lease { token: None, until: None };
        Self::of_shard(Shard::FIRST, alone, log, store, definitions, faults, settle).await
    }

    /// # Errors
    /// The cursor cannot be read.
    pub async fn of_shard(
        shard: Shard,
        lease: Lease,
        log: EventLog,
        store: Store,
        definitions: Arc<Definitions>,
        faults: Faults,
        settle: Span,
    ) -> anyhow::Result<Self> {
        let cursor = cursors(store.reader()).await?.of(shard);
        let (books, passed, changed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Ok(Self {
            shard,
            lease,
            log,
            store,
            definitions,
            faults,
            settle,
            cursor,
            books,
            passed,
            changed,
            is_waiting: false,
            races: 0,
            narrowed: Narrowed::default(),
        })
    }

    /// The token of the lease it works under.
    pub fn token(&self) -> Option<i64> {
        self.lease.token
    }

    /// Whether the next entry waits for another shard.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Whether others have still to learn of a barrier it passed.
    pub fn is_unfinished(&self) -> bool {
        !self.changed.is_empty()
    }

    pub fn cursor(&self) -> Position {
        self.cursor
    }

    /// Handles the next entries; the answer is how many. Zero: it has caught up.
    ///
    /// # Errors
    /// The database cannot be read or written, or an injected fault; nothing is stored and the next tick starts again.
    pub async fn tick(&mut self) -> anyhow::Result<usize> {
        self.refresh_definitions().await?;
        let batch = self.next_entries().await?;
        if batch.is_empty() {
            return Ok(0);
        }
        let batch = self.up_to_waiting(up_to_crowd(up_to_barrier(batch))).await?;
        self.is_waiting = batch.is_empty();
        if self.is_waiting {
            return Ok(0);
        }
        let watch = Stopwatch::start();
        let count = batch.len();
        let last = batch.last().map_or(self.cursor, position_of);
        let barrier = batch.last().and_then(barrier_in);
        self.read_books(&batch).await?;
        let mut changes = self.decide_all(batch).await?;
        self.faults.hit("processor.decided")?;
        let (shard, from, token) = (self.shard, self.cursor, self.lease.token);
        let reach = self.reach_of(&changes);
        let made = Made::of(changes.iter().map(|(_, changes)| changes));
        changes.iter_mut().for_each(|(id, changes)| changes.write_people(*id, self.store.layout()));
        let stored = self
            .log
            .writer()
            .change_in(Queue::Effects, reach, move |tx, appender| {
                Box::pin(async move {
                    if !is_owner(tx, shard, token).await? {
                        anyhow::bail!("the lease of shard {} went to another process", shard.number());
                    }
                    if !advance_cursor(tx, shard, from, last).await? {
                        anyhow::bail!("another processor moved the cursor from {from}");
                    }
                    super::effects::store(tx, appender, changes).await
                })
            })
            .await;
        if let Err(error) = stored {
            return self.not_stored(error, count, last).await;
        }
        self.narrowed.stored();
        (self.cursor, self.races) = (last, 0);
        if let Some(id) = barrier {
            self.passed.insert(id);
            self.changed.insert(id);
        }
        self.faults.hit("processor.stored")?;
        self.refresh_definitions().await?;
        telemetry::batch_stored(count as u64, watch.elapsed());
        made.tell();
        Ok(count)
    }

    /// What passes is the caller's to try again; what was decided of a changed person is decided again, and so is what the
    /// database refuses, fewer entries at a time, until it is known which is parked.
    async fn not_stored(&mut self, error: anyhow::Error, count: usize, last: Position) -> anyhow::Result<usize> {
        self.cursor = cursors(self.store.reader()).await?.of(self.shard);
        if let Some(why) = refusal(&error) {
            tracing::warn!(%last, count, why.code, "the database refused what was decided; fewer entries are decided again");
            return if self.narrowed.refused(count, last, why) { Ok(1) } else { Err(error) };
        }
        self.narrowed.failed();
        self.races += 1;
        if error.is::<Raced>() && self.races < RACES_MAX { Ok(1) } else { Err(error) }
    }

    /// Entries before the first that unites a person with one of another shard of whom something earlier is not decided.
    /// Nobody waits in a circle: each waits for what was appended before.
    async fn up_to_waiting(&self, mut batch: Vec<ReadEntry>) -> anyhow::Result<Vec<ReadEntry>> {
        let layout = self.store.layout();
        let loser_in = |read: &ReadEntry| read.as_ref().ok().and_then(|entry| entry.joins);
        let elsewhere = |loser: &ProfileId| layout.shard_of(*loser) != self.shard;
        let losers: Vec<ProfileId> = batch.iter().filter_map(loser_in).filter(elsewhere).collect();
        if losers.is_empty() {
            return Ok(batch);
        }
        let heads = heads_of_losers(self.store.reader(), &losers).await?;
        let cursors = cursors(self.store.reader()).await?;
        let waits = |loser: ProfileId| heads.get(&loser).is_some_and(|head| cursors.of(layout.shard_of(loser)) < *head);
        if let Some(at) =
            batch.iter().position(|read| loser_in(read).is_some_and(|loser| elsewhere(&loser) && waits(loser)))
        {
            batch.truncate(at);
        }
        Ok(batch)
    }

    /// Everybody whom the changes touch, and the addresses they stop: their own shards' processes wait.
    fn reach_of(&self, changes: &[(WorkspaceId, Changes)]) -> Reach {
        let layout = self.store.layout();
        let people = changes.iter().flat_map(|(_, changes)| {
            let merged = changes.merges.iter().map(|merge| merge.loser);
            let unchanged = changes.unchanged.iter().map(|(profile, _)| *profile);
            changes.people.iter().map(|person| person.profile.id).chain(unchanged).chain(merged)
        });
        let shards = people.map(|profile| layout.shard_of(profile)).chain([self.shard]).collect();
        let stopped = changes.iter().flat_map(|(id, changes)| changes.stopped().map(|subject| (*id, subject)));
        Reach::with(layout, shards, stopped)
    }

    /// Definitions and controls change what is in force for everything after them.
    async fn refresh_definitions(&mut self) -> anyhow::Result<()> {
        while let Some(id) = self.changed.first().copied() {
            self.definitions.refresh(id).await?;
            self.changed.remove(&id);
        }
        Ok(())
    }

    /// What is in force for everybody else may be newer than the entries at hand.
    async fn read_books(&mut self, batch: &[ReadEntry]) -> anyhow::Result<()> {
        for read in batch {
            let id = workspace_of(read);
            if !self.books.contains_key(&id) || self.passed.contains(&id) {
                let book = self.definitions.book_at(id, self.cursor, self.books.get(&id)).await?;
                self.books.insert(id, book);
                self.passed.remove(&id);
            }
        }
        Ok(())
    }

    /// From memory where they were committed a moment ago, else from the database.
    async fn next_entries(&self) -> anyhow::Result<Vec<ReadEntry>> {
        let limit = self.narrowed.limit();
        let recent = self.log.recent().take_after(self.store.layout(), self.cursor, limit);
        if !recent.is_empty() {
            return Ok(recent.into_iter().map(Ok).collect());
        }
        Ok(read_after(self.store.reader(), self.cursor, limit).await?)
    }

    async fn decide_all(&self, batch: Vec<ReadEntry>) -> anyhow::Result<Vec<(WorkspaceId, Changes)>> {
        let mut by_workspace: BTreeMap<WorkspaceId, Work> = BTreeMap::new();
        let parked_at = self.log.clock().now();
        let count = batch.len();
        for read in batch {
            let work = by_workspace.entry(workspace_of(&read)).or_insert_with(|| Work::of(count));
            match read {
                Ok(entry) => work.entries.push(entry),
                Err(Damaged { position, profile, error, .. }) => {
                    tracing::error!(%position, %error, "a log entry cannot be read");
                    telemetry::entries_parked(1);
                    let cause = error.to_string();
                    work.unreadable.push(Parked { position, profile, cause, parked_at, redriven_at: None });
                }
            }
        }
        let mut all = Vec::with_capacity(by_workspace.len());
        for (id, work) in by_workspace {
            all.push((id, self.decide_workspace(id, work).await?));
        }
        Ok(all)
    }

    async fn decide_workspace(&self, id: WorkspaceId, work: Work) -> anyhow::Result<Changes> {
        let live = self.books.get(&id).map(|book| book.live().clone()).unwrap_or_default();
        let catalog = &live.catalog;
        let mut changes = Changes { parked: work.unreadable, ..Changes::default() };
        let mut asked = Vec::with_capacity(work.entries.len());
        for entry in work.entries {
            changes.events_processed += match &entry.logged {
                Logged::Event(event) => counted(event),
                _ => 0,
            };
            let (Some(profile), Some(input)) = (entry.profile, input_of(entry.logged)) else { continue };
            let at = At { position: entry.position, now: entry.now };
            asked.push(Asked { at, profile, joins: entry.joins, input });
        }
        let mut people = world::load(&self.log, self.store.workspace(id), catalog, &asked).await?;
        for one in asked {
            let profile = people.current(one.profile);
            if let Some(Refusal { cause, code }) = self.narrowed.refusal_at(one.at.position) {
                park(&mut changes, &one, profile, cause.clone(), code);
            } else if let Err(cause) = self.decide_asked(catalog, &mut people, &one, &mut changes) {
                let said = cause.clone();
                park(&mut changes, &one, profile, cause, &said);
            }
        }
        for slot in people.slots.into_values().filter_map(Result::ok) {
            match slot {
                Slot { dirty: true, person, .. } => changes.people.push(person),
                Slot { decided: true, person, .. } => changes.unchanged.push((person.profile.id, person.version)),
                Slot { .. } => {}
            }
        }
        Ok(changes)
    }

    fn decide_asked(
        &self,
        catalog: &Catalog,
        people: &mut People,
        asked: &Asked,
        changes: &mut Changes,
    ) -> Result<(), String> {
        let profile = people.current(asked.profile);
        // One that was merged before, by this entry or another, is this person already.
        let joins = asked.joins.map(|id| people.current(id)).filter(|id| *id != profile);
        let other = match joins.map(|id| people.slots.get(&id)) {
            None => None,
            Some(Some(Ok(other))) => Some(other.clone()),
            Some(Some(Err(cause))) => return Err(cause.clone()),
            Some(None) => return Err("the other profile was not loaded".to_owned()),
        };
        let slot = match people.slots.get_mut(&profile) {
            Some(Ok(slot)) => slot,
            Some(Err(cause)) => return Err(cause.clone()),
            None => return Err("the person was not loaded".to_owned()),
        };
        let span = observed::span(&asked.input);
        let decision = self.decide_one(catalog, asked, slot, other.as_ref())?;
        observed::tell(asked.at, &asked.input, &decision, span);
        if let (Some(other), Some(loser)) = (other, joins) {
            slot.loaded = slot.loaded.united(&other.loaded);
            slot.apply(asked.at.position, asked.at.now, decision, changes);
            people.slots.remove(&loser);
            people.merged.insert(loser, profile);
        } else {
            slot.apply(asked.at.position, asked.at.now, decision, changes);
        }
        Ok(())
    }

    fn decide_one(
        &self,
        catalog: &Catalog,
        asked: &Asked,
        slot: &mut Slot,
        other: Option<&Slot>,
    ) -> Result<Decision, String> {
        let Asked { at, input, .. } = asked;
        // Later decisions of this batch may look at it, as they would if they read it from the log.
        if let Input::Event(event) = input {
            slot.loaded.bodies.insert(at.position, event.clone());
        }
        self.faults.hit("processor.decide").map_err(|fault| fault.to_string())?;
        let snapshot = Snapshot { catalog, person: &slot.person, loaded: &slot.loaded, settle: self.settle };
        // A panic is a bug of ours; it must not stop everybody else's log.
        let decided = catch_unwind(AssertUnwindSafe(|| match other {
            Some(Slot { person, loaded, .. }) => {
                decision::decide_joined(*at, &snapshot, Other { person, loaded }, input)
            }
            None => decision::decide(*at, &snapshot, input),
        }));
        decided.map_err(|panic| panic_text(panic.as_ref()))
    }
}

/// The books are of what clients sent; Carillon's own events are not in them.
fn counted(event: &Event) -> i64 {
    i64::from(event.kind != Kind::Own)
}

/// The log's reader has the whole cause; what is `said` aloud repeats nothing of a person.
fn park(changes: &mut Changes, asked: &Asked, profile: ProfileId, cause: String, said: &str) {
    let Asked { at: At { position, now }, input, .. } = asked;
    let correlation = observed::correlation(input);
    tracing::error!(%position, correlation, cause = said, "an entry is parked");
    telemetry::entries_parked(1);
    changes.events_processed -= match input {
        Input::Event(event) => counted(event),
        _ => 0,
    };
    let (position, profile) = (*position, Some(profile));
    changes.parked.push(Parked { position, profile, cause, parked_at: *now, redriven_at: None });
}

fn input_of(logged: Logged) -> Option<Input> {
    match logged {
        Logged::Event(event) => Some(Input::Event(event)),
        Logged::Timer => Some(Input::Timer),
        Logged::MessageEnded { message, status, tried: _ } => Some(Input::MessageEnded { message, status }),
        Logged::DefinitionsApplied { .. } | Logged::Control { .. } | Logged::Administered { .. } => None,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the decision panicked: {}", text.unwrap_or("no message"))
}

/// Puts a parked input into the log again, once, for the same person; false if it is not parked or was redriven before.
///
/// # Errors
/// The database cannot be read or written.
pub async fn redrive(log: &EventLog, store: &Store, id: WorkspaceId, position: Position) -> anyhow::Result<bool> {
    let Some(entry) = store.workspace(id).entries_at(&[position]).await?.remove(&position) else { return Ok(false) };
    let draft = match entry.logged {
        Logged::Event(mut event) => {
            let again = Arc::make_mut(&mut event);
            again.origin = std::mem::take(&mut again.origin).redriven(position.0);
            Draft { profile: entry.profile, joins: entry.joins, ..Draft::event(id, event) }
        }
        input @ (Logged::Timer | Logged::MessageEnded { .. }) => logged(id, entry.profile, entry.now, input),
        Logged::DefinitionsApplied { .. } | Logged::Control { .. } | Logged::Administered { .. } => return Ok(false),
    };
    let now = log.clock().now();
    log.writer()
        .change(Queue::Effects, move |tx, appender| {
            Box::pin(async move {
                let redriven = workspace(tx, id).mark_redriven(position, now).await?;
                if redriven {
                    appender.append(tx, vec![vec![draft]]).await?;
                }
                Ok(redriven)
            })
        })
        .await
}
