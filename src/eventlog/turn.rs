//! What one transaction of the writer did, and who waits to hear that it is on disk.
//!
//! PostgreSQL's transactions end without waiting for the disk, and so let go of their locks at once: the next one is
//! made while a second connection has everything before it written through. Only then whoever waits is answered. The
//! server writes its log in order, so what a transaction saw is on disk before it is itself. A connection that was there
//! before a commit and answers after it tells that the server did not fall in between; a [`Line`] is therefore given up
//! with its connection, and whoever waits in it hears that the commit is in doubt.

use std::time::Duration;

use sqlx::{Executor, PgConnection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Stopwatch;
use crate::eventlog::recent::Recent;
use crate::eventlog::replies::{Reply, reply};
use crate::eventlog::writer::Waiting;
use crate::eventlog::{AppendError, Pulses, Receipt};
use crate::ids::Position;
use crate::store::entries::Entry;
use crate::store::shards::{Layout, ShardSet};
use crate::telemetry;

/// Writes a word of no meaning and waits until it, and all before it, is on disk.
const WRITE_THROUGH: &str = "SELECT pg_logical_emit_message(true, 'carillon', '')";

/// Told when it is over: on disk, or why not.
pub(super) type Answer = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Where the log's readers learn of what is on disk.
#[derive(Clone)]
pub(super) struct Readers {
    pub layout: Layout,
    pub pulses: Pulses,
    pub recent: Recent,
}

/// A transaction that was committed.
pub(super) struct Turn {
    pub answers: Vec<(Reply, Waiting)>,
    pub receipts: Vec<Vec<Receipt>>,
    pub told: Vec<Answer>,
    pub entries: Vec<Entry>,
    pub head: Position,
    pub appended: ShardSet,
    pub changed: bool,
    /// Since it began, and how long its statements took.
    pub watch: Stopwatch,
    pub statements: Duration,
}

impl Turn {
    /// It is on disk, as of now.
    pub fn measure(&self) {
        telemetry::committed(self.statements, self.watch.elapsed().saturating_sub(self.statements));
    }

    /// It is on disk, and everybody is told.
    pub fn kept(self, readers: &Readers) {
        readers.recent.committed(readers.layout, self.entries.into_iter());
        readers.pulses.committed(self.head, self.appended, self.changed);
        reply(self.answers.into_iter().zip(self.receipts).map(|((to, _), receipts)| (to, Ok(receipts))));
        self.told.into_iter().for_each(|answer| answer(Ok(())));
    }

    /// Nobody knows whether it is.
    pub fn in_doubt(self, cause: &str) {
        telemetry::commit_failed();
        reply(self.answers.into_iter().map(|(to, _)| (to, Err(AppendError::Failing(cause.to_owned())))));
        self.told.into_iter().for_each(|answer| answer(Err(cause.to_owned())));
    }
}

/// Turns on their way to the disk, in their order: one is being written through, one more may wait.
pub(super) struct Line {
    turns: mpsc::Sender<Turn>,
    task: JoinHandle<()>,
}

impl Line {
    pub fn over(connection: PgConnection, readers: Readers) -> Self {
        let (turns, waiting) = mpsc::channel(1);
        Self { turns, task: tokio::spawn(write_through(connection, waiting, readers)) }
    }

    /// Whether its connection is still there, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.turns.is_closed()
    }

    /// Waits until there is room for a turn: meanwhile more gathers for it.
    pub async fn room(&self) {
        drop(self.turns.reserve().await);
    }

    pub async fn add(&self, turn: Turn) {
        if let Err(mpsc::error::SendError(turn)) = self.turns.send(turn).await {
            turn.in_doubt("the connection that has commits written to disk was lost");
        }
    }

    /// Waits for what is on its way.
    pub async fn finish(self) {
        drop(self.turns);
        // It ends by itself.
        let _ = self.task.await;
    }
}

async fn write_through(mut connection: PgConnection, mut turns: mpsc::Receiver<Turn>, readers: Readers) {
    while let Some(turn) = turns.recv().await {
        if let Err(error) = connection.execute(WRITE_THROUGH).await {
            tracing::error!(%error, "commits may not be on disk; whoever waits for them is told so");
            turns.close();
            turn.in_doubt(&error.to_string());
            while let Some(turn) = turns.recv().await {
                turn.in_doubt(&error.to_string());
            }
        } else {
            turn.measure();
            turn.kept(&readers);
        }
    }
}
