//! Appending: recognise repeats, resolve people, assign positions and `now`, and write it all in a few bulk statements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::ConnectionTrait;

use crate::clock::Clock;
use crate::event::{Event, Kind, Origin};
use crate::eventlog::identity::{self, Identities};
use crate::eventlog::unstored::{self, UnstoredIds};
use crate::eventlog::{Receipt, reach};
use crate::ids::{EventId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::entries::{COLUMNS, Entry, INSERT, Logged};
use crate::store::event_ids;
use crate::store::locks::{self, Reach, TAKEN_BACK};
use crate::store::merges::{Joined, add_joined};
use crate::store::rows::{Error, Rows, Values};
use crate::store::shards::{self, Heads, Layout, Shard, ShardSet};
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

    pub fn event(workspace: WorkspaceId, event: impl Into<Arc<Event>>) -> Self {
        Self { workspace, profile: None, joins: None, now: None, logged: Logged::Event(event.into()) }
    }
}

/// The append's memory: where the log ends, who is known, which ranges hold event ids. Lives in the writer.
pub struct Appender {
    clock: Clock,
    layout: Layout,
    heads: Heads,
    /// Shards in which the running transaction may take positions.
    locked: ShardSet,
    /// What [`TAKEN_BACK`] said before the running transaction found out who its events are of; none: it has none.
    found_at: Option<Option<String>>,
    last_now: Timestamp,
    identities: Identities,
    /// Ranges of ids that the table has.
    ranges: BTreeSet<i64>,
    unstored: UnstoredIds,
    /// Entries of the running transaction.
    placed: Vec<Entry>,
}

/// Where the appender stood, to return to when a change is rolled back.
#[derive(Debug, Clone)]
pub struct Mark {
    heads: Heads,
    locked: ShardSet,
    identities: identity::Mark,
    unstored: unstored::Mark,
    placed: usize,
}

/// Inputs whose people are known and whose repeats are recognised, on their way to a position.
pub(super) struct Resolved {
    now: Timestamp,
    /// A repeated event leaves its workspace.
    groups: Vec<Vec<Result<Draft, WorkspaceId>>>,
    /// What their people are told of their addresses first.
    before: BTreeMap<reach::Place, Vec<Draft>>,
    /// Shards they go to.
    pub(super) shards: ShardSet,
}

/// Rows that are stored with entries.
#[derive(Default)]
struct Beside {
    barriers: Vec<Values>,
    joined: Vec<Joined>,
}

impl Appender {
    pub async fn load<C: ConnectionTrait>(conn: &C, clock: Clock) -> Result<Self, Error> {
        let last_now: Option<Option<i64>> = Rows(conn)
            .scalar("SELECT max(now) FROM (SELECT now FROM entries ORDER BY position DESC LIMIT 1000) AS last", vec![])
            .await?;
        let (layout, heads) = (Layout::of(conn.get_database_backend()), shards::heads(conn, ShardSet::EVERY).await?.0);
        let ranges = event_ids::ranges(conn).await?;
        let unstored = match layout.is_shared() {
            true => UnstoredIds::default(),
            false => UnstoredIds::load(conn, &ranges, heads.last()).await?,
        };
        Ok(Self {
            clock,
            layout,
            heads,
            locked: ShardSet::NONE,
            found_at: None,
            last_now: Timestamp::from_millis(last_now.flatten().unwrap_or(0)),
            identities: Identities::load(conn).await?,
            ranges,
            unstored,
            placed: Vec::new(),
        })
    }

    /// After a failed commit: what was remembered of it is wrong.
    pub(super) async fn reload<C: ConnectionTrait>(&mut self, conn: &C) -> Result<(), Error> {
        *self = Self::load(conn, self.clock.clone()).await?;
        Ok(())
    }

    /// Identifiers were taken from their profiles in this transaction.
    pub async fn forget_people<C: ConnectionTrait>(&mut self, conn: &C) -> Result<(), Error> {
        self.identities.taken_back(conn).await
    }

    /// Shards to which the running transaction has appended.
    pub(super) fn appended(&self) -> ShardSet {
        self.placed.iter().map(|entry| self.layout.shard_at(entry.position)).collect()
    }

    /// The transaction is on disk; the answer is what it appended.
    pub(super) fn committed(&mut self) -> std::vec::Drain<'_, Entry> {
        self.identities.committed();
        self.unstored.committed();
        self.placed.drain(..)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            heads: self.heads.clone(),
            locked: self.locked,
            identities: self.identities.mark(),
            unstored: self.unstored.mark(),
            placed: self.placed.len(),
        }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        self.heads = mark.heads;
        // What was locked meanwhile was given back.
        self.locked = mark.locked;
        self.identities.back_to(mark.identities);
        self.unstored.back_to(mark.unstored);
        self.placed.truncate(mark.placed);
    }

    /// The highest position seen, this transaction included.
    pub fn head(&self) -> Position {
        self.heads.last()
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The present, as entries have it.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().max(self.last_now)
    }

    /// A transaction begins. SQLite's one writer may take every position; others must [`lock`](Self::lock) first.
    pub(super) fn begin(&mut self) {
        self.locked = if self.layout.is_shared() { ShardSet::NONE } else { ShardSet::EVERY };
        self.found_at = None;
    }

    /// Makes this the transaction's own until it ends. Called once, after `resolve`, so that everybody waits for locks in
    /// the same order.
    ///
    /// # Errors
    /// The database refuses; or somebody was erased while this waited, and who the events are of is to be found out anew.
    pub(super) async fn lock<C: ConnectionTrait>(&mut self, conn: &C, reach: &Reach) -> Result<(), Error> {
        if self.layout.is_shared() && !reach.is_empty() {
            let shards = reach.shards;
            let found = locks::lock(conn, reach).await?;
            if !shards.is_empty() && self.found_at.as_ref().is_some_and(|before| *before != found.taken_back) {
                return Err(Error::Overtaken);
            }
            shards.iter().for_each(|shard| self.heads.set(shard, found.heads.of(shard)));
            self.last_now = self.last_now.max(found.last_now);
            self.locked = self.locked.or(shards);
        }
        Ok(())
    }

    /// Appends groups of inputs inside a transaction; the answers mirror the groups.
    pub async fn append<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        groups: Vec<Vec<Draft>>,
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        let resolved = self.resolve(conn, groups).await?;
        self.place(conn, resolved).await
    }

    /// Recognises repeats and finds everybody's profile.
    pub(super) async fn resolve<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        groups: Vec<Vec<Draft>>,
    ) -> Result<Resolved, Error> {
        let now = self.clock.now().max(self.last_now);
        self.last_now = now;
        let mark = self.identities.mark();
        let (repeated, [epoch, taken_back]) = self.repeated(conn, &groups, now).await?;
        if self.layout.is_shared() {
            // Of several times in one transaction the first.
            self.found_at.get_or_insert(taken_back);
        }
        let events: Vec<(WorkspaceId, &Event)> = groups
            .iter()
            .flatten()
            .filter_map(|draft| match &draft.logged {
                Logged::Event(event) => Some((draft.workspace, event.as_ref())),
                _ => None,
            })
            .collect();
        let given: Vec<ProfileId> = groups.iter().flatten().filter_map(given_profile).collect();
        if self.layout.is_shared() && !events.is_empty() {
            self.identities.prepare_shared(conn, &events, &given, epoch).await?;
        } else {
            self.identities.prepare(conn, events.iter().copied(), &given).await?;
        }
        let mut taken = BTreeSet::new();
        let mut shards = ShardSet::NONE;
        let mut resolved = Vec::with_capacity(groups.len());
        for group in groups {
            let mut drafts = Vec::with_capacity(group.len());
            for draft in group {
                let draft = self.resolve_one(draft, &repeated, &mut taken);
                if let Ok(draft) = &draft {
                    // Nobody sends to a person who is joining another meanwhile.
                    let joining = draft.joins.map(|loser| self.layout.shard_of(loser));
                    shards = shards.or(self.shards_of(draft)).or(joining.into_iter().collect());
                }
                drafts.push(draft);
            }
            resolved.push(drafts);
        }
        self.identities.store_since(conn, mark).await?;
        let before = reach::before(conn, &resolved).await?;
        Ok(Resolved { now, groups: resolved, before, shards })
    }

    /// The draft with its person; the workspace of an event that is known already.
    fn resolve_one(
        &mut self,
        mut draft: Draft,
        repeated: &BTreeSet<EventId>,
        taken: &mut BTreeSet<EventId>,
    ) -> Result<Draft, WorkspaceId> {
        let Logged::Event(event) = &draft.logged else { return Ok(draft) };
        if deduped(&draft.logged).is_some() && (repeated.contains(&event.id) || !taken.insert(event.id)) {
            return Err(draft.workspace);
        }
        match draft.profile {
            Some(given) => draft.profile = Some(self.identities.current(given)),
            None => {
                let whose = self.identities.resolve(draft.workspace, event);
                (draft.profile, draft.joins) = (whose.map(|whose| whose.profile), whose.and_then(|whose| whose.joins));
            }
        }
        if matches!(event.origin, Origin::Import { .. }) {
            draft.now = Some(event.at);
        }
        Ok(draft)
    }

    /// What concerns everybody stands in every shard, so that each knows what came before it and what after.
    fn shards_of(&self, draft: &Draft) -> ShardSet {
        match (&draft.logged, draft.profile) {
            (Logged::DefinitionsApplied { .. } | Logged::Control { .. }, _) => self.layout.all(),
            (_, Some(profile)) => [self.layout.shard_of(profile)].into_iter().collect(),
            (_, None) => [Shard::FIRST].into_iter().collect(),
        }
    }

    /// Gives positions and stores the entries.
    pub(super) async fn place<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        resolved: Resolved,
    ) -> Result<Vec<Vec<Receipt>>, Error> {
        // Rare: a change appends where it did not say it would. PostgreSQL breaks a circle of those who wait, and who
        // was broken off tries again.
        self.lock(conn, &resolved.shards.without(self.locked).into()).await?;
        let now = resolved.now.max(self.last_now);
        let first = self.placed.len();
        self.placed.reserve(resolved.groups.iter().map(Vec::len).sum());
        let mut answers = Vec::with_capacity(resolved.groups.len());
        let mut duplicates: Vec<WorkspaceId> = Vec::new();
        let mut beside = Beside::default();
        let mut before = resolved.before;
        for (n, group) in resolved.groups.into_iter().enumerate() {
            let mut receipts = Vec::with_capacity(group.len());
            for (m, draft) in group.into_iter().enumerate() {
                for told in before.remove(&(n, m)).into_iter().flatten() {
                    self.place_one(told, now, &mut beside);
                }
                receipts.push(match draft {
                    Ok(draft) => self.place_one(draft, now, &mut beside),
                    Err(workspace) => {
                        duplicates.push(workspace);
                        Receipt::Duplicate
                    }
                });
            }
            answers.push(receipts);
        }
        add_joined(conn, beside.joined.into_iter()).await?;
        self.remember(conn, first, now).await?;
        let rows = self.placed[first..].iter().map(Entry::values).collect();
        Rows(conn).insert(INSERT, "", COLUMNS, rows).await?;
        Rows(conn).insert("INSERT INTO barriers (shard, position, barrier)", "", 3, beside.barriers).await?;
        let accepted = self.placed[first..].iter().filter(|entry| is_accepted(entry)).map(|entry| entry.workspace);
        count(conn, "events_accepted", accepted).await?;
        count(conn, "events_duplicate", duplicates.into_iter()).await?;
        Ok(answers)
    }

    /// The entry at the next position of its shard, or of every shard; the receipt tells the first.
    fn place_one(&mut self, draft: Draft, now: Timestamp, beside: &mut Beside) -> Receipt {
        let shards = self.shards_of(&draft);
        let Draft { workspace, profile, joins, now: given, logged } = draft;
        let mut first = None;
        for (shard, logged) in shards.iter().zip(std::iter::repeat_n(logged, shards.len())) {
            let position = self.layout.next(self.heads.of(shard));
            self.heads.set(shard, position);
            let barrier = *first.get_or_insert(position);
            if shards.len() > 1 {
                beside.barriers.push(vec![shard.number().into(), position.0.into(), barrier.0.into()]);
            }
            if let (Some(loser), Some(winner)) = (joins, profile) {
                let loser_head = self.heads.of(self.layout.shard_of(loser));
                beside.joined.push(Joined { workspace, loser, winner, position, loser_head });
            }
            self.placed.push(Entry { position, workspace, profile, now: given.unwrap_or(now), joins, logged });
        }
        Receipt::Stored { position: first.unwrap_or_default(), profile }
    }

    /// The ids among these that are known already. Where several processes append, those that are new are stored here,
    /// and it is told when identifiers last went to other people.
    async fn repeated<C: ConnectionTrait>(
        &self,
        conn: &C,
        groups: &[Vec<Draft>],
        now: Timestamp,
    ) -> Result<(BTreeSet<EventId>, [Option<String>; 2]), Error> {
        let events = groups.iter().flatten().filter_map(|draft| deduped(&draft.logged));
        let ids: BTreeMap<EventId, i64> = events.map(|event| (event.id, range_of(event, now))).collect();
        if self.layout.is_shared() {
            return event_ids::remember_first(conn, ids, now, [identity::EPOCH, TAKEN_BACK]).await;
        }
        let ranges: Vec<i64> =
            self.ranges.iter().copied().filter(|range| event_ids::is_remembered(*range, now)).collect();
        let (waiting, others): (Vec<EventId>, Vec<EventId>) =
            ids.into_keys().partition(|id| self.unstored.is_known(id, now));
        let mut known = event_ids::known(conn, &ranges, others).await?;
        known.extend(waiting);
        Ok((known, [None, None]))
    }

    /// Whether ids wait to be stored.
    pub(super) fn has_unstored(&self) -> bool {
        !self.unstored.is_empty()
    }

    /// Stores event ids that wait, a slice of them; false where nothing more is to be stored in this transaction.
    pub async fn store_ids<C: ConnectionTrait>(&mut self, conn: &C) -> Result<bool, Error> {
        let ranges = self.unstored.store(conn, self.heads.last()).await?;
        let any = !ranges.is_empty();
        self.ranges.extend(ranges);
        Ok(any)
    }

    /// Remembers the ids of events placed since `first`.
    async fn remember<C: ConnectionTrait>(&mut self, conn: &C, first: usize, now: Timestamp) -> Result<(), Error> {
        if self.layout.is_shared() {
            return Ok(());
        }
        let placed = self.placed[first..].iter();
        let events = placed.filter_map(|entry| Some((deduped(&entry.logged)?, entry.position)));
        events.for_each(|(event, position)| self.unstored.add(event.id, range_of(event, now), position));
        while self.unstored.are_many() && self.store_ids(conn).await? {}
        Ok(())
    }
}

/// The range in which an event's id is kept.
fn range_of(event: &Event, now: Timestamp) -> i64 {
    match event.origin {
        Origin::Import { .. } | Origin::Past { .. } => event_ids::FOR_EVER,
        _ => event_ids::range_of(now.day()),
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
        Logged::Event(event) if !event.origin.is_redriven() => Some(event),
        _ => None,
    }
}
