//! Appending: recognise repeats, resolve people, assign positions and `now`, and write it all in a few bulk statements.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;

use crate::clock::Clock;
use crate::event::{Event, Origin};
use crate::eventlog::Receipt;
use crate::eventlog::identity::{self, Identities};
use crate::ids::{EventId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::store::entries::{COLUMNS, Entry, INSERT, Logged, head};
use crate::store::merges::{Joined, add_joined};
use crate::store::rows::{Error, Rows, Values, padded, repeated};
use crate::store::workspace;

/// How long an event id is remembered, at least: its range goes when all of it is older.
pub const DEDUPE_DAYS: i64 = 7;
/// Days that share one range of keys. A repeat is looked for in every range that may hold it, so few are fast.
const RANGE_DAYS: i64 = 7;
/// The day under which ids are remembered for ever: imports.
const FOR_EVER: i64 = 0;

/// The range in which ids received on a day are kept: its first day.
pub fn range_of(day: i64) -> i64 {
    day - day.rem_euclid(RANGE_DAYS)
}

/// The newest range that is wholly out of date.
fn forgotten_range(now: Timestamp) -> i64 {
    now.day() - DEDUPE_DAYS - (RANGE_DAYS - 1)
}

/// The ranges that hold ids, by one seek each: the table has a row per event.
const DAYS: &str = "WITH RECURSIVE days(day) AS (SELECT min(day) FROM event_ids
    UNION ALL SELECT (SELECT min(day) FROM event_ids WHERE event_ids.day > days.day) FROM days WHERE day IS NOT NULL)
    SELECT day FROM days WHERE day IS NOT NULL";

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

/// The append's memory: where the log ends, who is known, which ranges hold ids. Lives in the writer.
pub struct Appender {
    clock: Clock,
    head: Position,
    last_now: Timestamp,
    identities: Identities,
    days: BTreeSet<i64>,
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
        let days = Rows(conn).all(DAYS, vec![]).await?;
        let days = days.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect::<Result<_, Error>>()?;
        Ok(Self {
            clock,
            head: head(conn).await?,
            last_now: Timestamp::from_millis(last_now.flatten().unwrap_or(0)),
            identities: Identities::load(conn).await?,
            days,
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
        let repeated = self.remember(conn, &groups, now).await?;
        let events = groups.iter().flatten().filter_map(|draft| match &draft.logged {
            Logged::Event(event) => Some((draft.workspace, event)),
            _ => None,
        });
        let given: Vec<ProfileId> = groups.iter().flatten().filter_map(given_profile).collect();
        self.identities.prepare(conn, events, &given).await?;
        let first = self.placed.len();
        let mut taken = BTreeSet::new();
        let mut answers = Vec::with_capacity(groups.len());
        let mut duplicates: Vec<(WorkspaceId, i64)> = Vec::new();
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
                        duplicates.push((workspace, 1));
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
        let rows = self.placed[first..].iter().map(Entry::values).collect();
        Rows(conn).insert(INSERT, "", COLUMNS, rows).await?;
        if let Some((first, _)) = duplicates.first() {
            let same = duplicates.iter().filter(|(id, _)| id == first).count();
            workspace(conn, *first).count("events_duplicate", i64::try_from(same).unwrap_or(i64::MAX)).await?;
            for (other, by) in duplicates.iter().filter(|(id, _)| id != first) {
                workspace(conn, *other).count("events_duplicate", *by).await?;
            }
        }
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
        if let Logged::Event(event) = &draft.logged {
            if is_deduped(event) && (repeated.contains(&event.id) || !taken.insert(event.id)) {
                return None;
            }
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

    /// Stores the ids of events that are new; returns those that are not.
    async fn remember<C: ConnectionTrait>(
        &mut self,
        conn: &C,
        groups: &[Vec<Draft>],
        now: Timestamp,
    ) -> Result<BTreeSet<EventId>, Error> {
        let mut wanted: BTreeSet<(i64, EventId)> = BTreeSet::new();
        for draft in groups.iter().flatten() {
            let Logged::Event(event) = &draft.logged else { continue };
            if is_deduped(event) {
                let imported = matches!(event.origin, Origin::Import { .. });
                wanted.insert((if imported { FOR_EVER } else { range_of(now.day()) }, event.id));
            }
        }
        let mut repeated = BTreeSet::new();
        let gone = forgotten_range(now);
        let days: Vec<i64> = self.days.iter().copied().filter(|day| *day == FOR_EVER || *day > gone).collect();
        let wanted: Vec<(i64, EventId)> = wanted.into_iter().collect();
        let ids: Vec<EventId> = wanted.iter().map(|(_, id)| *id).collect();
        for chunk in ids.chunks(512).filter(|_| !days.is_empty()) {
            repeated.extend(self::known(conn, &days, chunk).await?);
        }
        let new = wanted.iter().filter(|(_, id)| !repeated.contains(id));
        let rows: Vec<Values> = new.map(|(day, id)| vec![(*day).into(), id.as_bytes().to_vec().into()]).collect();
        self.days.extend(wanted.iter().map(|(day, _)| *day));
        Rows(conn).insert("INSERT INTO event_ids (day, id)", "", 2, rows).await?;
        Ok(repeated)
    }
}

/// Of these ids, those stored under one of these days.
async fn known<C: ConnectionTrait>(conn: &C, days: &[i64], ids: &[EventId]) -> Result<Vec<EventId>, Error> {
    let ids = padded(ids);
    let sql = format!(
        "WITH days(day) AS (VALUES {}), wanted(id) AS (VALUES {})
         SELECT event_ids.id FROM days CROSS JOIN wanted CROSS JOIN event_ids
         WHERE event_ids.day = days.day AND event_ids.id = wanted.id",
        repeated("(?)", days.len()),
        repeated("(?)", ids.len())
    );
    let mut values: Values = days.iter().map(|day| (*day).into()).collect();
    values.extend(ids.iter().map(|id| id.as_bytes().to_vec().into()));
    let mut known = Vec::new();
    for row in Rows(conn).all(&sql, values).await? {
        let id: Vec<u8> = row.try_get_by_index(0)?;
        known.extend(EventId::try_from(id.as_slice()).ok());
    }
    Ok(known)
}

/// The profile that an event was given with: a link in a message, or an event that comes again.
fn given_profile(draft: &Draft) -> Option<ProfileId> {
    match draft.logged {
        Logged::Event(_) => draft.profile,
        _ => None,
    }
}

/// A redriven event has its old id on purpose.
fn is_deduped(event: &Event) -> bool {
    !matches!(event.origin, Origin::Replay { .. })
}

/// Forgets ids older than the window, a slice at a time; returns how many went.
pub async fn forget_old_ids<C: ConnectionTrait>(conn: &C, now: Timestamp, limit: u32) -> Result<u64, Error> {
    let sql = "DELETE FROM event_ids WHERE (day, id) IN
               (SELECT day, id FROM event_ids WHERE day > ? AND day <= ? ORDER BY day, id LIMIT ?)";
    let values = vec![FOR_EVER.into(), forgotten_range(now).into(), limit.into()];
    Rows(conn).run(sql, values).await
}
