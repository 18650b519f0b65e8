//! Events in the order they happened, however the file is ordered and however long it is: sorted runs go to unnamed
//! temporary files, which are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Body, Event, Kind, Origin};
use crate::ids::{EventId, Timestamp};

/// Events held in memory: at about 1 KB each some 50 MB.
const RUN_EVENTS: usize = 50_000;
/// Runs merged at once, each an open file: 25 million events.
const RUNS_MAX: usize = 500;

/// First by time, then by row, then as they came.
type Key = (Timestamp, u64, u64);

/// Takes events in any order.
pub(super) struct TimeOrder {
    held: Vec<(Key, Event)>,
    runs: Vec<File>,
    count: u64,
    run_events: usize,
}

impl TimeOrder {
    pub(super) fn new() -> Self {
        Self::with_runs_of(RUN_EVENTS)
    }

    pub(super) fn with_runs_of(run_events: usize) -> Self {
        Self { held: Vec::new(), runs: Vec::new(), count: 0, run_events }
    }

    pub(super) fn push(&mut self, event: Event) -> io::Result<()> {
        let row = if let Origin::Import { row, .. } = event.origin { row } else { 0 };
        self.held.push(((event.at, row, self.count), event));
        self.count += 1;
        if self.held.len() < self.run_events { Ok(()) } else { self.put_away() }
    }

    fn put_away(&mut self) -> io::Result<()> {
        if self.runs.len() == RUNS_MAX {
            let limit = RUNS_MAX * self.run_events;
            return Err(io::Error::other(format!("more than {limit} events in one file; split it")));
        }
        self.held.sort_by_key(|(key, _)| *key);
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for (key, event) in self.held.drain(..) {
            let bytes = postcard::to_stdvec(&(key, Stored::from(event))).map_err(io::Error::other)?;
            file.write_all(&(bytes.len() as u64).to_le_bytes())?;
            file.write_all(&bytes)?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// All events in order.
    pub(super) fn finish(mut self) -> io::Result<Ordered> {
        self.held.sort_by_key(|(key, _)| *key);
        let mut sources: Vec<Run> = self.runs.into_iter().map(|file| Run::File(BufReader::new(file))).collect();
        sources.push(Run::Memory(self.held.into_iter()));
        let mut heads = BinaryHeap::new();
        let mut waiting = Vec::new();
        for (index, source) in sources.iter_mut().enumerate() {
            let head = source.next()?;
            heads.extend(head.as_ref().map(|(key, _)| Reverse((*key, index))));
            waiting.push(head.map(|(_, event)| event));
        }
        Ok(Ordered { sources, heads, waiting, count: self.count })
    }
}

/// Events in the order they happened.
pub(super) struct Ordered {
    sources: Vec<Run>,
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    /// The event behind each source's head.
    waiting: Vec<Option<Event>>,
    count: u64,
}

impl Ordered {
    /// How many there are in all.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Event>> {
        let Some(Reverse((_, index))) = self.heads.pop() else { return Ok(None) };
        let head = self.sources[index].next()?;
        self.heads.extend(head.as_ref().map(|(key, _)| Reverse((*key, index))));
        Ok(std::mem::replace(&mut self.waiting[index], head.map(|(_, event)| event)))
    }
}

enum Run {
    Memory(std::vec::IntoIter<(Key, Event)>),
    File(BufReader<File>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<(Key, Event)>> {
        let file = match self {
            Self::Memory(held) => return Ok(held.next()),
            Self::File(file) => file,
        };
        let mut length = [0; 8];
        match file.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut bytes = vec![0; usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?];
        file.read_exact(&mut bytes)?;
        let (key, stored): (Key, Stored) = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
        Ok(Some((key, stored.into())))
    }
}

/// An event as it lies in a run: the body as text, byte for byte.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: EventId,
    kind: Kind,
    name: String,
    message_id: String,
    version: u32,
    source: String,
    correlation_id: String,
    user_id: Option<String>,
    anonymous_id: Option<String>,
    previous_id: Option<String>,
    at: Timestamp,
    received_at: Timestamp,
    original_at: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    origin: Origin,
    body: String,
}

impl From<Event> for Stored {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            kind: event.kind,
            name: event.name,
            message_id: event.message_id,
            version: event.version,
            source: event.source,
            correlation_id: event.correlation_id,
            user_id: event.user_id,
            anonymous_id: event.anonymous_id,
            previous_id: event.previous_id,
            at: event.at,
            received_at: event.received_at,
            original_at: event.original_at,
            sent_at: event.sent_at,
            origin: event.origin,
            body: event.body.text().to_owned(),
        }
    }
}

impl From<Stored> for Event {
    fn from(stored: Stored) -> Self {
        Self {
            id: stored.id,
            kind: stored.kind,
            name: stored.name,
            message_id: stored.message_id,
            version: stored.version,
            source: stored.source,
            correlation_id: stored.correlation_id,
            trace: None,
            user_id: stored.user_id,
            anonymous_id: stored.anonymous_id,
            previous_id: stored.previous_id,
            at: stored.at,
            received_at: stored.received_at,
            original_at: stored.original_at,
            sent_at: stored.sent_at,
            origin: stored.origin,
            body: Body::new(Arc::<str>::from(stored.body)),
        }
    }
}
