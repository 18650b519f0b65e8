//! The one writer: three queues, one connection, one commit for all that waits.
//!
//! A turn takes what waits in each queue (no timer, no linger), runs it in one transaction and answers everyone after
//! the commit. Appends of all requests become one bulk insert. A change that fails is rolled back by itself and does not
//! disturb its neighbours.

mod refused;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::{DatabaseConnection, DatabaseTransaction, TransactionTrait};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::Stopwatch;
use crate::eventlog::append::{Appender, Draft};
use crate::eventlog::checkpoint::Checkpoints;
use crate::eventlog::health::Health;
use crate::eventlog::recent::Recent;
use crate::eventlog::replies::{Reply, reply};
use crate::eventlog::turn::{Answer, Line, Readers, Turn};
use crate::eventlog::{AppendError, Pulses, Receipt};
use crate::store::Database;
use crate::store::locks::Reach;
use crate::store::lost::NotCommitted;
use crate::store::shards::ShardSet;
use refused::RefusedEvents;

/// Appends that may wait before callers are told to come back.
const APPENDS_WAITING_MAX: usize = 8_192;
/// Bytes of events that may wait.
const BYTES_WAITING_MAX: usize = 64 * 1024 * 1024;
/// Events of one commit.
const EVENTS_PER_COMMIT_MAX: usize = 4_096;
const CHANGES_WAITING_MAX: usize = 1_024;
const CHANGES_PER_COMMIT_MAX: usize = 64;
/// How often a transaction of events is begun before its callers are told.
const TRIES_MAX: u32 = 4;
/// The writer has nothing to do for so long: it stores event ids that wait in memory.
const REST: Duration = Duration::from_millis(100);

/// Which line a change waits in: effects of decisions, or states of messages being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Effects,
    Sends,
}

struct AppendJob {
    drafts: Vec<Draft>,
    reply: Reply,
    waiting: Waiting,
}

/// Bytes that wait for their commit, given back when it is over.
pub(super) struct Waiting {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Waiting {
    fn admit(all: &Arc<AtomicUsize>, bytes: usize) -> Result<Self, AppendError> {
        let waiting = Self { bytes, all: all.clone() };
        // Whoever is refused gives back what it added, as everyone does when dropped.
        let before = all.fetch_add(bytes, Ordering::AcqRel);
        if before > 0 && before + bytes > BYTES_WAITING_MAX { Err(AppendError::Overloaded) } else { Ok(waiting) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

type Run = Box<dyn for<'t> FnOnce(&'t DatabaseTransaction, &'t mut Appender) -> BoxFuture<'t, Changed> + Send>;

struct Change {
    reach: Reach,
    run: Run,
}

/// What running a change gave: its answer for after the commit, and whether to keep what it wrote.
struct Changed {
    keep: bool,
    answer: Answer,
}

/// A handle to the writer; cheap to clone.
#[derive(Clone)]
pub struct Writer {
    appends: mpsc::Sender<AppendJob>,
    effects: mpsc::Sender<Change>,
    sends: mpsc::Sender<Change>,
    /// Of appends that wait.
    bytes: Arc<AtomicUsize>,
    connection: DatabaseConnection,
    stopping: Arc<AtomicBool>,
    wake: Arc<Notify>,
    pub(super) health: Health,
}

struct Loop {
    health: Health,
    database: Database,
    appender: Appender,
    appends: mpsc::Receiver<AppendJob>,
    effects: mpsc::Receiver<Change>,
    sends: mpsc::Receiver<Change>,
    readers: Readers,
    /// PostgreSQL looks after its own.
    checkpoints: Option<Checkpoints>,
    /// PostgreSQL's commits on their way to the disk.
    line: Option<Line>,
    /// A commit failed: what the appender remembered of it is wrong, and the database may be away.
    is_stale: bool,
    /// On disk, and told when the next turn is on its way there: what callers do then uses the time of the disk.
    unheard: Option<Turn>,
}

impl Writer {
    /// # Errors
    /// The database's file cannot be opened.
    pub fn start(database: Database, appender: Appender, pulses: Pulses, recent: Recent) -> std::io::Result<Self> {
        let checkpoints = Checkpoints::start(&database)?;
        let (appends, append_jobs) = mpsc::channel(APPENDS_WAITING_MAX);
        let (effects, effect_jobs) = mpsc::channel(CHANGES_WAITING_MAX);
        let (sends, send_jobs) = mpsc::channel(CHANGES_WAITING_MAX);
        let writer = Self {
            appends,
            effects,
            sends,
            bytes: Arc::default(),
            connection: database.writer.clone(),
            stopping: Arc::default(),
            wake: Arc::default(),
            health: Health::default(),
        };
        let readers = Readers { layout: appender.layout(), pulses, recent };
        let turn = Loop {
            health: writer.health.clone(),
            database,
            appender,
            appends: append_jobs,
            effects: effect_jobs,
            sends: send_jobs,
            readers,
            checkpoints,
            line: None,
            is_stale: false,
            unheard: None,
        };
        tokio::spawn(turn.run(writer.stopping.clone(), writer.wake.clone()));
        Ok(writer)
    }

    /// The connection that everything is written over. What is read over it is read between two transactions, and its
    /// pages stay in memory for the change that follows.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    pub(super) async fn append(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, AppendError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(AppendError::Stopping);
        }
        let waiting = Waiting::admit(&self.bytes, drafts.iter().map(Draft::bytes).sum())?;
        let (reply, said) = Reply::wait();
        self.appends.try_send(AppendJob { drafts, reply, waiting }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => AppendError::Stopping,
        })?;
        said.await.unwrap_or(Err(AppendError::Stopping))
    }

    /// Runs `change` in the next transaction; its answer comes after the commit. An error keeps nothing it wrote.
    /// Meanwhile nobody else appends or changes anything anywhere.
    ///
    /// # Errors
    /// The change's own error, or the commit's.
    pub async fn change<T, F>(&self, queue: Queue, change: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t DatabaseTransaction, &'t mut Appender) -> BoxFuture<'t, anyhow::Result<T>>
            + Send
            + 'static,
    {
        self.change_in(queue, ShardSet::EVERY, change).await
    }

    /// As [`change`](Self::change), for what concerns people of these shards, or these addresses, alone: others go on.
    ///
    /// # Errors
    /// The change's own error, or the commit's; also where it appends elsewhere.
    pub async fn change_in<T, F>(&self, queue: Queue, reach: impl Into<Reach>, change: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t DatabaseTransaction, &'t mut Appender) -> BoxFuture<'t, anyhow::Result<T>>
            + Send
            + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |tx, appender| {
            Box::pin(async move {
                // A panic is a bug of ours; it must not end the writer, and with it the service.
                let result = AssertUnwindSafe(async { change(tx, appender).await }).catch_unwind().await;
                let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("the change panicked")));
                Changed {
                    keep: result.is_ok(),
                    answer: Box::new(move |committed| {
                        let committed = committed.map_err(|cause| NotCommitted(cause).into());
                        let result = result.and_then(|value| committed.map(|()| value));
                        // A caller that has gone away needs no answer.
                        let _ = answer.send(result);
                    }),
                }
            })
        });
        let line = match queue {
            Queue::Effects => &self.effects,
            Queue::Sends => &self.sends,
        };
        line.send(Change { reach: reach.into(), run }).await.map_err(|_| anyhow::anyhow!("the writer has stopped"))?;
        answered
            .await
            .map_err(|_| anyhow::anyhow!("nothing was changed: the writer has stopped, or has no database"))?
    }

    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
        // The loop drops its end of the queues when it is through, also where it was stopped before.
        self.appends.closed().await;
    }
}

impl Loop {
    async fn run(mut self, stopping: Arc<AtomicBool>, wake: Arc<Notify>) {
        loop {
            let mut appends = Vec::new();
            let mut changes = Vec::new();
            tokio::select! {
                biased;
                Some(job) = self.appends.recv() => appends.push(job),
                Some(change) = self.effects.recv() => changes.push(change),
                Some(change) = self.sends.recv() => changes.push(change),
                () = wake.notified() => {}
                () = tokio::time::sleep(REST), if self.appender.has_unstored() && !self.is_stale => {
                    if let Err(error) = self.store_ids().await {
                        tracing::warn!(%error, "event ids were not stored; the log has them");
                        self.is_stale = true;
                    }
                    continue;
                }
                else => break,
            }
            if let Some(line) = &self.line {
                line.room().await;
            }
            self.take_waiting(&mut appends, &mut changes);
            if appends.is_empty() && changes.is_empty() {
                if stopping.load(Ordering::Acquire) {
                    break;
                }
                continue;
            }
            let refused = self.turn(appends, changes).await;
            if !refused.is_empty() {
                self.apart(refused).await;
            }
            if stopping.load(Ordering::Acquire) {
                wake.notify_one();
            }
        }
        self.tell();
        while self.appender.has_unstored() && !self.is_stale {
            self.is_stale = self.store_ids().await.is_err();
        }
        if let Some(checkpoints) = self.checkpoints.take() {
            checkpoints.finish().await;
        }
        if let Some(line) = self.line.take() {
            line.finish().await;
        }
        // Here the queues are dropped: whoever still waits is told that the writer has stopped.
    }

    fn take_waiting(&mut self, appends: &mut Vec<AppendJob>, changes: &mut Vec<Change>) {
        let mut events: usize = appends.iter().map(|job| job.drafts.len()).sum();
        while events < EVENTS_PER_COMMIT_MAX
            && let Ok(job) = self.appends.try_recv()
        {
            events += job.drafts.len();
            appends.push(job);
        }
        // Effects are the largest, and the first of a turn is the cheapest.
        for queue in [&mut self.effects, &mut self.sends] {
            for _ in 0..CHANGES_PER_COMMIT_MAX {
                match queue.try_recv() {
                    Ok(change) => changes.push(change),
                    Err(_) => break,
                }
            }
        }
    }

    /// One transaction for all that was taken. Requests of which the database refuses something are given back: nothing of
    /// them is stored, and they are not answered.
    async fn turn(&mut self, appends: Vec<AppendJob>, changes: Vec<Change>) -> Vec<AppendJob> {
        let (answers, drafts): (Vec<_>, Vec<_>) =
            appends.into_iter().map(|job| ((job.reply, job.waiting), job.drafts)).unzip();
        let mut told: Vec<Answer> = Vec::with_capacity(changes.len());
        let changed = !changes.is_empty();
        if changed {
            // Changes may take long.
            self.tell();
        }
        let (was_stale, watch) = (self.is_stale, Stopwatch::start());
        let result = self.stored(&drafts, changes, &mut told).await;
        self.tell();
        if let Err(error) = &result
            && error.is::<RefusedEvents>()
        {
            tracing::warn!(%error, requests = drafts.len(), "they are stored in halves, to find whose that is");
            told.into_iter().for_each(|answer| answer(Err(error.to_string())));
            let jobs = answers.into_iter().zip(drafts);
            return jobs.map(|((reply, waiting), drafts)| AppendJob { drafts, reply, waiting }).collect();
        }
        drop(drafts);
        match result {
            Ok((receipts, statements)) => {
                self.health.appended(!receipts.is_empty());
                let (head, appended) = (self.appender.head(), self.appender.appended());
                let entries = self.appender.committed().collect();
                let turn = Turn { answers, receipts, told, entries, head, appended, changed, watch, statements };
                match &self.line {
                    Some(line) => line.add(turn).await,
                    None => {
                        turn.measure();
                        self.unheard = Some(turn);
                    }
                }
            }
            Err(error) => {
                if !was_stale {
                    tracing::error!(%error, "a commit failed; nothing of it is stored");
                }
                self.health.commit_failed(&error);
                self.is_stale = true;
                let cause = error.to_string();
                reply(answers.into_iter().map(|(to, _)| (to, Err(AppendError::Failing(cause.clone())))));
                told.into_iter().for_each(|answer| answer(Err(cause.clone())));
            }
        }
        let is_next_short = !self.appends.is_empty() && self.effects.is_empty() && self.sends.is_empty();
        if changed || !is_next_short || self.checkpoints.as_ref().is_some_and(Checkpoints::is_due) {
            self.tell();
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.committed().await;
        }
        Vec::new()
    }

    /// Runs a transaction, and again without its changes where that may help: several processes write to PostgreSQL, and
    /// what failed for a lock, or for a connection that was lost, is tried again.
    async fn stored(
        &mut self,
        drafts: &[Vec<Draft>],
        changes: Vec<Change>,
        told: &mut Vec<Answer>,
    ) -> anyhow::Result<(Vec<Vec<Receipt>>, Duration)> {
        self.refresh().await?;
        let mut result = self.try_transaction(drafts.to_vec(), changes, told).await;
        for _ in 1..TRIES_MAX {
            let Err(error) = &result else { break };
            if drafts.is_empty() || !self.appender.layout().is_shared() || error.is::<RefusedEvents>() {
                break;
            }
            tracing::warn!(%error, "a commit failed; its events are tried again");
            told.drain(..).for_each(|answer| answer(Err(error.to_string())));
            self.is_stale = true;
            if self.refresh().await.is_err() {
                // Away: whoever waits is told now, and comes again.
                break;
            }
            result = self.try_transaction(drafts.to_vec(), Vec::new(), told).await;
        }
        result
    }

    fn tell(&mut self) {
        if let Some(turn) = self.unheard.take() {
            turn.kept(&self.readers);
        }
    }

    /// A slice of the event ids that wait.
    async fn store_ids(&mut self) -> anyhow::Result<()> {
        self.refresh().await?;
        let tx = self.database.writer.begin().await?;
        self.appender.begin();
        self.appender.store_ids(&tx).await?;
        tx.commit().await?;
        self.appender.committed();
        Ok(())
    }

    /// Reads again what a failed commit made wrong.
    async fn refresh(&mut self) -> anyhow::Result<()> {
        self.is_stale |= self.line.as_ref().is_some_and(|line| !line.is_open());
        if self.is_stale {
            self.line = None;
            self.database.reach().await?;
            self.appender.reload(&self.database.writer).await?;
            self.is_stale = false;
        }
        if self.line.is_none()
            && let Some(connection) = self.database.connect().await?
        {
            self.line = Some(Line::over(connection, self.readers.clone()));
        }
        Ok(())
    }

    async fn try_transaction(
        &mut self,
        drafts: Vec<Vec<Draft>>,
        changes: Vec<Change>,
        told: &mut Vec<Answer>,
    ) -> anyhow::Result<(Vec<Vec<Receipt>>, Duration)> {
        let transaction = AssertUnwindSafe(self.transaction(drafts, changes, told)).catch_unwind().await;
        transaction.unwrap_or_else(|_| Err(anyhow::anyhow!("the transaction panicked")))
    }

    /// The answer has how long the statements took.
    async fn transaction(
        &mut self,
        drafts: Vec<Vec<Draft>>,
        mut changes: Vec<Change>,
        told: &mut Vec<Answer>,
    ) -> anyhow::Result<(Vec<Vec<Receipt>>, Duration)> {
        let watch = Stopwatch::start();
        let mut tx = self.database.writer.begin().await?;
        self.appender.begin();
        let start = self.appender.mark();
        // Everybody waits in this order: for events, for people, for shards, for addresses.
        let reaches = changes.iter_mut().map(|change| std::mem::take(&mut change.reach));
        let reach = reaches.fold(Reach::default(), Reach::or).bounded();
        if drafts.is_empty() {
            self.appender.lock(&tx, &reach).await?;
        }
        let mut changes = changes.into_iter();
        // What stands first needs no savepoint: where it fails, the transaction goes. Under a savepoint SQLite copies
        // every page that is changed.
        let is_first = !self.appender.layout().is_shared() || (drafts.is_empty() && changes.len() == 1);
        let first = if is_first { changes.next() } else { None };
        if let Some(change) = first {
            let before = self.appender.mark();
            let changed = (change.run)(&tx, &mut self.appender).await;
            told.push(changed.answer);
            if !changed.keep {
                tx.rollback().await?;
                self.appender.back_to(before);
                if drafts.is_empty() && changes.len() == 0 {
                    return Ok((Vec::new(), watch.elapsed()));
                }
                tx = self.database.writer.begin().await?;
                self.appender.begin();
            }
        }
        let mut receipts = Vec::new();
        if !drafts.is_empty() {
            receipts = match self.place(&tx, drafts, reach).await {
                Ok(receipts) => receipts,
                Err(error) => return Err(self.undone(tx, start, error).await),
            };
        }
        for change in changes {
            let savepoint = tx.begin().await?;
            let before = self.appender.mark();
            let changed = (change.run)(&savepoint, &mut self.appender).await;
            told.push(changed.answer);
            if changed.keep {
                savepoint.commit().await?;
            } else {
                savepoint.rollback().await?;
                self.appender.back_to(before);
            }
        }
        let statements = watch.elapsed();
        let (committed, ()) = futures::join!(tx.commit(), async { self.tell() });
        committed?;
        Ok((receipts, statements))
    }
}
