//! Event ids on their way into their table: kept in memory first, and stored in the order of their keys.
//!
//! Ids are random. Stored as they come, each would change a page of its own in every commit; of many that wait,
//! neighbours go together into one. Nothing depends on memory: the log itself holds every id, and how far the table
//! has them all is stored beside it. Whoever starts reads the rest from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use sea_orm::ConnectionTrait;

use crate::ids::{EventId, Position, Timestamp};
use crate::store::entries::{LoggedId, ids_after};
use crate::store::event_ids;
use crate::store::rows::Error;

/// Ids in memory: about 4 MB, and what a start after a crash reads of the log, twice.
const WAITING_MAX: usize = if cfg!(test) { 24 } else { 65_536 };
/// Ids of one statement.
const SLICE: usize = if cfg!(test) { 4 } else { 512 };

#[derive(Debug, Default)]
pub(super) struct UnstoredIds {
    /// Their range in the table, and where their entries stand.
    waiting: BTreeMap<EventId, (i64, Position)>,
    round: Round,
    /// Of the running transaction, to be undone with it.
    added: Vec<EventId>,
    stored: Vec<EventId>,
}

/// One passage through the keys.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// The last key stored in it.
    last: Option<EventId>,
    /// Where the log ended as it began: at its end the table has all ids up to here.
    began_at: Position,
    /// It ended in the running transaction; the next one begins in another.
    is_over: bool,
}

/// How much the running transaction has changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    added: usize,
    stored: usize,
    round: Round,
}

impl UnstoredIds {
    /// Those that are in the log and not in the table.
    pub(super) async fn load<C: ConnectionTrait>(
        conn: &C,
        ranges: &BTreeSet<i64>,
        head: Position,
    ) -> Result<Self, Error> {
        let logged = ids_after(conn, event_ids::stored_until(conn).await?).await?;
        let stored = event_ids::known(
            conn,
            &ranges.iter().copied().collect::<Vec<_>>(),
            logged.iter().map(|it| it.id).collect(),
        )
        .await?;
        let waiting = logged.into_iter().filter(|it| !stored.contains(&it.id));
        let waiting = waiting.map(|LoggedId { id, range, position }| (id, (range, position))).collect();
        Ok(Self { waiting, round: Round { began_at: head, ..Round::default() }, ..Self::default() })
    }

    /// Whether it waits, and is still to be recognised.
    pub(super) fn is_known(&self, id: &EventId, now: Timestamp) -> bool {
        self.waiting.get(id).is_some_and(|(range, _)| event_ids::is_remembered(*range, now))
    }

    pub(super) fn add(&mut self, id: EventId, range: i64, position: Position) {
        self.waiting.insert(id, (range, position));
        self.added.push(id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn are_many(&self) -> bool {
        self.waiting.len() - self.stored.len() > WAITING_MAX
    }

    /// Stores the next slice of the round; `head` is where the log ends. The answer: the ranges they went to, none where
    /// there is nothing more to do in this transaction.
    pub(super) async fn store<C: ConnectionTrait>(&mut self, conn: &C, head: Position) -> Result<BTreeSet<i64>, Error> {
        if self.round.is_over {
            return Ok(BTreeSet::new());
        }
        let after = self.round.last.map_or(Bound::Unbounded, Bound::Excluded);
        let slice = self.waiting.range((after, Bound::Unbounded)).take(SLICE);
        let slice: Vec<(i64, EventId, Position)> = slice.map(|(id, (range, at))| (*range, *id, *at)).collect();
        let ranges = slice.iter().map(|(range, ..)| *range).collect();
        self.stored.extend(slice.iter().map(|(_, id, _)| *id));
        let (is_last, last) = (slice.len() < SLICE, slice.last().map(|(_, id, _)| *id));
        event_ids::remember(conn, slice).await?;
        if is_last {
            let is_all = self.stored.len() == self.waiting.len();
            event_ids::set_stored_until(conn, if is_all { head } else { self.round.began_at }).await?;
            self.round = Round { last: None, began_at: head, is_over: true };
        } else {
            self.round.last = last;
        }
        Ok(ranges)
    }

    pub(super) fn committed(&mut self) {
        for id in self.stored.drain(..) {
            self.waiting.remove(&id);
        }
        self.added.clear();
        self.round.is_over = false;
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { added: self.added.len(), stored: self.stored.len(), round: self.round }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        for id in self.added.drain(mark.added..) {
            self.waiting.remove(&id);
        }
        self.stored.truncate(mark.stored);
        self.round = mark.round;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sea_orm::prelude::async_trait::async_trait;
    use sea_orm::{DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement, TransactionTrait};
    use tokio::sync::Mutex;

    use crate::clock::Clock;
    use crate::event::{Body, Event, Kind, Origin};
    use crate::eventlog::{Appender, Draft, Receipt};
    use crate::store::{Database, Rows, open};

    use super::*;
    use crate::ids::WorkspaceId;

    struct Log {
        database: Database,
        clock: Clock,
        appender: Appender,
        /// What is committed.
        known: BTreeSet<EventId>,
        dice: u64,
    }

    impl Log {
        fn below(&mut self, limit: u64) -> u64 {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.dice >> 33) % limit
        }

        fn event(&mut self) -> Event {
            let number = self.below(3_000);
            let now = self.clock.now();
            Event {
                id: EventId::derive(&[&number.to_le_bytes()]),
                kind: Kind::Track,
                name: "Product Viewed".to_owned(),
                message_id: format!("m{number}"),
                version: 1,
                source: "shop".to_owned(),
                correlation_id: "c".to_owned(),
                trace: None,
                user_id: Some("ann".to_owned()),
                anonymous_id: None,
                previous_id: None,
                at: now,
                received_at: now,
                original_at: None,
                sent_at: None,
                origin: Origin::Live,
                body: Body::new("{}"),
            }
        }

        /// Appends a few events; whether each was new is compared with what is known.
        async fn append<C: ConnectionTrait>(&mut self, conn: &C, known: &mut BTreeSet<EventId>) {
            // At times more at once than may wait.
            let count = if self.below(12) == 0 { 3 * WAITING_MAX as u64 } else { 1 + self.below(6) };
            let events: Vec<Event> = (0..count).map(|_| self.event()).collect();
            let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
            let drafts = events.into_iter().map(|event| Draft::event(WorkspaceId(1), event)).collect();
            let receipts = self.appender.append(conn, vec![drafts]).await.unwrap();
            for (id, receipt) in ids.into_iter().zip(&receipts[0]) {
                assert_eq!(*receipt != Receipt::Duplicate, known.insert(id));
            }
        }

        async fn turn(&mut self) {
            let tx = self.database.writer.begin().await.unwrap();
            self.appender.begin();
            let mut known = self.known.clone();
            self.append(&tx, &mut known).await;
            if self.below(2) == 0 {
                let (savepoint, mark) = (tx.begin().await.unwrap(), self.appender.mark());
                let mut fleeting = known.clone();
                self.append(&savepoint, &mut fleeting).await;
                self.appender.store_ids(&savepoint).await.unwrap();
                if self.below(2) == 0 {
                    savepoint.commit().await.unwrap();
                    known = fleeting;
                } else {
                    savepoint.rollback().await.unwrap();
                    self.appender.back_to(mark);
                }
            }
            for _ in 0..self.below(3) {
                self.appender.store_ids(&tx).await.unwrap();
            }
            if self.below(8) == 0 {
                tx.rollback().await.unwrap();
                self.appender.reload(&self.database.writer).await.unwrap();
            } else {
                tx.commit().await.unwrap();
                drop(self.appender.committed());
                self.known = known;
            }
        }

        async fn check(&self) {
            let rows = Rows(&self.database.writer);
            let until = event_ids::stored_until(&self.database.writer).await.unwrap();
            let missing = "SELECT count(*) FROM entries WHERE position <= ? AND NOT EXISTS
                           (SELECT 1 FROM event_ids WHERE event_ids.id = event_id AND event_ids.position = entries.position)";
            assert_eq!(rows.scalar::<i64>(missing, vec![until.0.into()]).await.unwrap(), Some(0));
            for id in &self.known {
                assert!(event_ids::position_of(&self.database.reader, *id).await.unwrap().is_some());
            }
        }
    }

    #[tokio::test]
    async fn each_id_is_known_from_its_commit_on_whatever_is_stored_undone_or_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder.path().join("carillon.db")).await.unwrap();
        // Whether it is on disk is not the question here.
        database.writer.execute_unprepared("PRAGMA synchronous = OFF").await.unwrap();
        let clock = Clock::fixed("2026-03-01T11:00Z".parse().unwrap());
        let appender = Appender::load(&database.writer, clock.clone()).await.unwrap();
        let mut log = Log { database, clock, appender, known: BTreeSet::new(), dice: 7 };
        let mut rounds = BTreeSet::new();
        for turn in 0..240 {
            log.turn().await;
            if turn % 40 == 39 {
                log.check().await;
                rounds.insert(event_ids::stored_until(&log.database.writer).await.unwrap());
            }
            if turn % 60 == 59 {
                // As after a crash, and a row that was damaged.
                let damage = "UPDATE entries SET meta = '' WHERE position % 5 = 0";
                log.database.writer.execute_unprepared(damage).await.unwrap();
                log.appender = Appender::load(&log.database.writer, log.clock.clone()).await.unwrap();
            }
        }
        assert!(log.known.len() > 600 && rounds.len() > 3, "{} known, {rounds:?}", log.known.len());
    }

    /// A reader between whose questions ids are stored.
    struct Meanwhile<'d> {
        database: &'d Database,
        appender: Mutex<Appender>,
    }

    impl Meanwhile<'_> {
        async fn store(&self) -> &DatabaseConnection {
            let mut appender = self.appender.lock().await;
            let tx = self.database.writer.begin().await.unwrap();
            appender.begin();
            appender.store_ids(&tx).await.unwrap();
            tx.commit().await.unwrap();
            drop(appender.committed());
            &self.database.reader
        }
    }

    #[async_trait]
    impl ConnectionTrait for Meanwhile<'_> {
        fn get_database_backend(&self) -> DbBackend {
            self.database.reader.get_database_backend()
        }

        async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
            self.store().await.execute_raw(statement).await
        }

        async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
            self.store().await.execute_unprepared(sql).await
        }

        async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
            let answer = self.database.reader.query_one_raw(statement).await;
            self.store().await;
            answer
        }

        async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
            let answer = self.database.reader.query_all_raw(statement).await;
            self.store().await;
            answer
        }
    }

    #[tokio::test]
    async fn an_id_that_is_stored_between_two_looks_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder.path().join("carillon.db")).await.unwrap();
        let clock = Clock::fixed("2026-03-01T11:00Z".parse().unwrap());
        let appender = Appender::load(&database.writer, clock.clone()).await.unwrap();
        let mut log = Log { database: database.clone(), clock, appender, known: BTreeSet::new(), dice: 7 };
        for _ in 0..12 {
            let mut known = BTreeSet::new();
            let tx = database.writer.begin().await.unwrap();
            log.appender.begin();
            log.append(&tx, &mut known).await;
            tx.commit().await.unwrap();
            drop(log.appender.committed());
            let appender = Appender::load(&database.writer, log.clock.clone()).await.unwrap();
            let busy = Meanwhile { database: &database, appender: Mutex::new(appender) };
            for id in known {
                assert!(event_ids::position_of(&busy, id).await.unwrap().is_some());
            }
            log.appender = busy.appender.into_inner();
        }
    }
}
