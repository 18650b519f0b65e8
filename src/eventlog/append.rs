//! Appending: recognise repeats, resolve people, assign positions and `now`, and write it all in a few bulk statements.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::clock::Clock;
use crate::event::{Event, Kind, Origin};
use crate::eventlog::Receipt;
use crate::eventlog::identity::{self, Identities};
use crate::ids::{EventId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::entries::{COLUMNS, Entry, INSERT, Logged, head};
use crate::store::event_ids::{self, FOR_EVER, range_of};
use crate::store::merges::{Joined, add_joined};
use crate::store::rows::{Error, Rows};
use crate::store::workspace;

/// An input that has no position yet.
#[derive(Debug, Clone)]
pub struct Draft {
    pub workspace: WorkspaceId,
    /// Events without one resolve theirs when they are appended.
    pub profile: Option<ProfileId>,
    /// A profile that it joins to this one: given for an event that comes again, else found when it is appended.
    pub joins: Option<ProfileId>,
    /// When it is to be decided; none: on receipt (an import's event: at its own time).
    pub now: Option<Timestamp>,
    pub logged: Logged,
}

impl Draft {
    /// About how much memory it holds while it waits.
    pub fn bytes(&self) -> usize {
        match &self.logged {
            Logged::Event(event) => size_of::<Self>() + event.body.text().len(),
            _ => size_of::<Self>(),
        }
    }

    pub fn event(workspace: WorkspaceId, event: Event) -> Self {
        Self { workspace, profile: None, joins: None, now: None, logged: Logged::Event(event) }
    }
}

/// The append's memory: where the log ends, who is known, which ranges hold event ids. Lives in the writer.
pub struct Appender {
    clock: Clock,
    head: Position,
    last_now: Timestamp,
    identities: Identities,
    ranges: BTreeSet<i64>,
    /// Entries of the running transaction.
    placed: Vec<Entry>,
}

/// Where the appender stood, to return to when a change is rolled back.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    head: Position,
    identities: identity::Mark,
    placed: usize,
}

impl Appender {
    pub async fn load<C: ConnectionTrait>(conn: &C, clock: Clock) -> Result<Self, Error> {
        let last_now: Option<Option<i64>> = Rows(conn)
            .scalar("SELECT max(now) FROM (SELECT now FROM entries ORDER BY position DESC LIMIT 1000) AS last", vec![])
            .await?;
        Ok(Self {
            clock,
            head: head(conn).await?,
            last_now: Timestamp::from_millis(last_now.flatten().unwrap_or(0)),
            identities: Identities::load(conn).await?,
            ranges: event_ids::ranges(conn).await?,
            placed: Vec::new(),
        })
    }

    /// After a failed commit: what was remembered of it is wrong.
    pub(super) async fn reload<C: ConnectionTrait>(&mut self, conn: &C) -> Result<(), Error> {
        *self = Self::load(conn, self.clock.clone()).await?;
        Ok(())
    }

    /// The transaction is on disk; the answer is what it appended.
    pub(super) fn committed(&mut self) -> std::vec::Drain<'_, Entry> {
        self.identities.committed();
        self.placed.drain(..)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { head: self.head, identities: self.identities.mark(), placed: self.placed.len() }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        self.head = mark.head;
        self.identities.back_to(mark.identities);
        self.placed.truncate(mark.placed);
    }

    /// Where the log ends, this transaction included.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Appends groups of inputs inside a transaction; the answers mirror the groups.
    pub async fn append<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        groups: Vec<Vec<Draft>>,
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        let now = self.clock.now().max(self.last_now);
        self.last_now = now;
        let mark = self.identities.mark();
        let repeated = self.repeated(conn, &groups, now).await?;
        let events = groups.iter().flatten().filter_map(|draft| match &draft.logged {
            Logged::Event(event) => Some((draft.workspace, event)),
            _ => None,
        });
        let given: Vec<ProfileId> = groups.iter().flatten().filter_map(given_profile).collect();
        self.identities.prepare(conn, events, &given).await?;
        let first = self.placed.len();
        let mut taken = BTreeSet::new();
        let mut answers = Vec::with_capacity(groups.len());
        let mut duplicates: Vec<WorkspaceId> = Vec::new();
        for group in groups {
            let mut receipts = Vec::with_capacity(group.len());
            for draft in group {
                let workspace = draft.workspace;
                receipts.push(match self.place(draft, now, &repeated, &mut taken) {
                    Some(entry) => {
                        let receipt = Receipt::Stored { position: entry.position, profile: entry.profile };
                        self.placed.push(entry);
                        receipt
                    }
                    None => {
                        duplicates.push(workspace);
                        Receipt::Duplicate
                    }
                });
            }
            answers.push(receipts);
        }
        self.identities.store_since(conn, mark).await?;
        let joined = self.placed[first..].iter().filter_map(|entry| {
            let (loser, winner) = (entry.joins?, entry.profile?);
            Some(Joined { workspace: entry.workspace, loser, winner, position: entry.position })
        });
        add_joined(conn, joined).await?;
        self.remember(conn, first, now).await?;
        let rows = self.placed[first..].iter().map(Entry::values).collect();
        Rows(conn).insert(INSERT, "", COLUMNS, rows).await?;
        let accepted = self.placed[first..].iter().filter(|entry| is_accepted(entry)).map(|entry| entry.workspace);
        count(conn, "events_accepted", accepted).await?;
        count(conn, "events_duplicate", duplicates.into_iter()).await?;
        Ok(answers)
    }

    /// The entry at the next position; none for an event that is known already.
    fn place(
        &mut self,
        draft: Draft,
        now: Timestamp,
        repeated: &BTreeSet<EventId>,
        taken: &mut BTreeSet<EventId>,
    ) -> Option<Entry> {
        let mut profile = draft.profile;
        let mut at = draft.now.unwrap_or(now);
        let mut joins = None;
        if let Some(event) = deduped(&draft.logged)
            && (repeated.contains(&event.id) || !taken.insert(event.id))
        {
            return None;
        }
        if let Logged::Event(event) = &draft.logged {
            match profile {
                Some(given) => (profile, joins) = (Some(self.identities.current(given)), draft.joins),
                None => {
                    let whose = self.identities.resolve(draft.workspace, event);
                    (profile, joins) = (whose.map(|whose| whose.profile), whose.and_then(|whose| whose.joins));
                }
            }
            if matches!(event.origin, Origin::Import { .. }) {
                at = event.at;
            }
        }
        self.head = Position(self.head.0 + 1);
        let (position, workspace, logged) = (self.head, draft.workspace, draft.logged);
        Some(Entry { position, workspace, profile, now: at, joins, logged })
    }

    /// The ids among these that are known already.
    async fn repeated<C: ConnectionTrait>(
        &self,
        conn: &C,
        groups: &[Vec<Draft>],
        now: Timestamp,
    ) -> Result<BTreeSet<EventId>, Error> {
        let events = groups.iter().flatten().filter_map(|draft| deduped(&draft.logged));
        let ids: BTreeSet<EventId> = events.map(|event| event.id).collect();
        let ranges: Vec<i64> =
            self.ranges.iter().copied().filter(|range| event_ids::is_remembered(*range, now)).collect();
        event_ids::known(conn, &ranges, &ids).await
    }

    /// Stores the ids of events placed since `first`.
    async fn remember<C: ConnectionTrait>(&mut self, conn: &C, first: usize, now: Timestamp) -> Result<(), Error> {
        let today = range_of(now.day());
        let new: Vec<(i64, EventId, Position)> = self.placed[first..]
            .iter()
            .filter_map(|entry| {
                let event = deduped(&entry.logged)?;
                let imported = matches!(event.origin, Origin::Import { .. });
                Some((if imported { FOR_EVER } else { today }, event.id, entry.position))
            })
            .collect();
        self.ranges.extend(new.iter().map(|(range, ..)| *range));
        event_ids::remember(conn, new).await
    }
}

/// Adds how often each workspace stands in the list.
async fn count<C: ConnectionTrait>(
    conn: &C,
    name: &str,
    workspaces: impl Iterator<Item = WorkspaceId>,
) -> Result<(), Error> {
    let mut counts: BTreeMap<WorkspaceId, i64> = BTreeMap::new();
    workspaces.for_each(|id| *counts.entry(id).or_default() += 1);
    for (id, by) in counts {
        workspace(conn, id).count(name, by).await?;
    }
    Ok(())
}

/// Clients' events, each once: not those Carillon made itself, nor one that comes again.
fn is_accepted(entry: &Entry) -> bool {
    deduped(&entry.logged).is_some_and(|event| event.kind != Kind::Own)
}

/// The profile that an event was given with: a link in a message, or an event that comes again.
fn given_profile(draft: &Draft) -> Option<ProfileId> {
    match draft.logged {
        Logged::Event(_) => draft.profile,
        _ => None,
    }
}

/// An event whose id must be new; a redriven one has its old id on purpose.
fn deduped(logged: &Logged) -> Option<&Event> {
    match logged {
        Logged::Event(event) if !matches!(event.origin, Origin::Replay { .. }) => Some(event),
        _ => None,
    }
}
