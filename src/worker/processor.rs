//! The heart: entries of the log → people → decisions → effects and log position, in one transaction.
//!
//! An entry that cannot be applied is parked with its cause and the log goes on. If a person's row changed while a batch
//! was decided, nothing of the batch is stored and it is decided again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::decision::{self, At, Catalog, Input, Snapshot};
use crate::event::{Event, Kind};
use crate::eventlog::{EventLog, Queue};
use crate::fault::Faults;
use crate::ids::{Position, ProfileId, Span, WorkspaceId};
use crate::store::controls::Parked;
use crate::store::entries::{Entry, Logged, ReadEntry, advance_cursor, cursor, read_after};
use crate::store::{Store, workspace};
use crate::telemetry;
use crate::worker::live::Definitions;
use crate::worker::world::{self, Changes, Slot};

/// Entries decided together.
const BATCH_ENTRIES: usize = 512;

pub struct Processor {
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    faults: Faults,
    settle: Span,
    cursor: Position,
}

/// Entries of one workspace, and the ones that could not even be read.
#[derive(Default)]
struct Work {
    entries: Vec<Entry>,
    unreadable: Vec<(Position, String)>,
}

impl Processor {
    /// # Errors
    /// The cursor cannot be read.
    pub async fn new(
        log: EventLog,
        store: Store,
        definitions: Arc<Definitions>,
        faults: Faults,
        settle: Span,
    ) -> anyhow::Result<Self> {
        let cursor = cursor(store.reader()).await?;
        Ok(Self { log, store, definitions, faults, settle, cursor })
    }

    pub fn cursor(&self) -> Position {
        self.cursor
    }

    /// Handles the next entries; the answer is how many. Zero: it has caught up.
    ///
    /// # Errors
    /// The database cannot be read or written, or an injected fault; nothing is stored and the next tick starts again.
    pub async fn tick(&mut self) -> anyhow::Result<usize> {
        let batch = self.next_entries().await?;
        if batch.is_empty() {
            return Ok(0);
        }
        let batch = up_to_barrier(batch);
        let count = batch.len();
        let last = batch.last().map_or(self.cursor, position_of);
        let barrier = batch.last().and_then(barrier_of);
        let changes = self.decide_all(batch).await?;
        self.faults.hit("processor.decided")?;
        let from = self.cursor;
        let stored = self
            .log
            .writer()
            .change(Queue::Effects, move |tx, _| {
                Box::pin(async move {
                    if !advance_cursor(tx, from, last).await? {
                        anyhow::bail!("another processor moved the cursor from {from}");
                    }
                    super::effects::store(tx, changes).await
                })
            })
            .await;
        if let Err(error) = stored {
            self.cursor = cursor(self.store.reader()).await?;
            return Err(error);
        }
        self.cursor = last;
        self.faults.hit("processor.stored")?;
        if let Some(workspace) = barrier {
            self.definitions.refresh(workspace).await?;
        }
        telemetry::entries_processed(count as u64);
        telemetry::backlog(self.log.appended().borrow().0 - last.0);
        Ok(count)
    }

    /// From memory where they were committed a moment ago, else from the database.
    async fn next_entries(&self) -> anyhow::Result<Vec<ReadEntry>> {
        let recent = self.log.recent().take_after(self.cursor, BATCH_ENTRIES);
        if !recent.is_empty() {
            return Ok(recent.into_iter().map(Ok).collect());
        }
        Ok(read_after(self.store.reader(), self.cursor, BATCH_ENTRIES).await?)
    }

    async fn decide_all(&self, batch: Vec<ReadEntry>) -> anyhow::Result<Vec<(WorkspaceId, Changes)>> {
        let mut by_workspace: BTreeMap<WorkspaceId, Work> = BTreeMap::new();
        for read in batch {
            match read {
                Ok(entry) => by_workspace.entry(entry.workspace).or_default().entries.push(entry),
                Err((position, error)) => {
                    tracing::error!(%position, %error, "a log entry cannot be read");
                    let unreadable = (position, error.to_string());
                    by_workspace.entry(WorkspaceId(0)).or_default().unreadable.push(unreadable);
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
        let live = self.definitions.live(id);
        let now = self.log.clock().now();
        let mut changes = Changes::default();
        for (position, cause) in work.unreadable {
            changes.parked.push(Parked { position, profile: None, cause, parked_at: now, redriven_at: None });
        }
        let mut inputs = Vec::with_capacity(work.entries.len());
        let mut places = Vec::with_capacity(work.entries.len());
        for entry in work.entries {
            changes.events_processed += match &entry.logged {
                Logged::Event(event) => counted(event),
                _ => 0,
            };
            let (Some(profile), Some(input)) = (entry.profile, input_of(entry.logged)) else { continue };
            places.push(At { position: entry.position, now: entry.now });
            inputs.push((profile, entry.now, input));
        }
        let mut slots =
            world::load(self.log.warm().workspace(id), self.store.workspace(id), &live.catalog, &inputs).await?;
        for (at, (profile, _, input)) in places.into_iter().zip(inputs) {
            let decided = match slots.get_mut(&profile) {
                Some(Ok(slot)) => self.decide_one(&live.catalog, at, slot, &input, &mut changes),
                Some(Err(cause)) => Err(cause.clone()),
                None => Err("the person was not loaded".to_owned()),
            };
            if let Err(cause) = decided {
                park(&mut changes, at, profile, &input, cause);
            }
        }
        let dirty = slots.into_values().filter_map(Result::ok).filter(|slot| slot.dirty);
        changes.people = dirty.map(|slot| slot.person).collect();
        Ok(changes)
    }

    fn decide_one(
        &self,
        catalog: &Catalog,
        at: At,
        slot: &mut Slot,
        input: &Input,
        changes: &mut Changes,
    ) -> Result<(), String> {
        if let Input::Event(event) = input
            && world::is_looked_at(catalog, slot, event)
        {
            slot.loaded.bodies.insert(at.position, event.clone());
        }
        self.faults.hit("processor.decide").map_err(|fault| fault.to_string())?;
        let snapshot = Snapshot { catalog, person: &slot.person, loaded: &slot.loaded, settle: self.settle };
        // A panic is a bug of ours; it must not stop everybody else's log.
        let decision = catch_unwind(AssertUnwindSafe(|| decision::decide(at, &snapshot, input)))
            .map_err(|panic| panic_text(panic.as_ref()))?;
        slot.apply(at.position, at.now, decision, changes);
        Ok(())
    }
}

/// The books are of what clients sent; Carillon's own events are not in them.
fn counted(event: &Event) -> i64 {
    i64::from(event.kind != Kind::Own)
}

fn park(changes: &mut Changes, at: At, profile: ProfileId, input: &Input, cause: String) {
    tracing::error!(position = %at.position, %cause, "an entry is parked");
    telemetry::entries_parked(1);
    changes.events_processed -= match input {
        Input::Event(event) => counted(event),
        _ => 0,
    };
    let position = at.position;
    changes.parked.push(Parked { position, profile: Some(profile), cause, parked_at: at.now, redriven_at: None });
}

fn input_of(logged: Logged) -> Option<Input> {
    match logged {
        Logged::Event(event) => Some(Input::Event(event)),
        Logged::Timer => Some(Input::Timer),
        Logged::MessageEnded { message, status } => Some(Input::MessageEnded { message, status }),
        Logged::DefinitionsApplied { .. } | Logged::Control { .. } => None,
    }
}

/// Definitions and controls change what is in force for everything after them: the workspace, if this is one.
fn barrier_of(read: &ReadEntry) -> Option<WorkspaceId> {
    match read {
        Ok(Entry { workspace, logged: Logged::DefinitionsApplied { .. } | Logged::Control { .. }, .. }) => {
            Some(*workspace)
        }
        Ok(_) | Err(_) => None,
    }
}

/// Entries up to and including the first that changes what is in force.
fn up_to_barrier(mut batch: Vec<ReadEntry>) -> Vec<ReadEntry> {
    if let Some(at) = batch.iter().position(|read| barrier_of(read).is_some()) {
        batch.truncate(at + 1);
    }
    batch
}

fn position_of(read: &ReadEntry) -> Position {
    match read {
        Ok(entry) => entry.position,
        Err((position, _)) => *position,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the decision panicked: {}", text.unwrap_or("no message"))
}

/// Puts a parked event into the log again, once; false if it is not parked or was redriven before.
///
/// # Errors
/// The database cannot be read or written.
pub async fn redrive(log: &EventLog, store: &Store, id: WorkspaceId, position: Position) -> anyhow::Result<bool> {
    let Some(entry) = store.workspace(id).entries_at(&[position]).await?.remove(&position) else { return Ok(false) };
    let Logged::Event(mut event) = entry.logged else { return Ok(false) };
    event.origin = crate::event::Origin::Replay { position: position.0 };
    let now = log.clock().now();
    log.writer()
        .change(Queue::Effects, move |tx, appender| {
            Box::pin(async move {
                let redriven = workspace(tx, id).mark_redriven(position, now).await?;
                if redriven {
                    appender.append(tx, vec![vec![crate::eventlog::Draft::event(id, event)]]).await?;
                }
                Ok(redriven)
            })
        })
        .await
}
