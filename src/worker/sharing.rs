//! Processes that share one PostgreSQL: each says every second that it lives, renews its leases, gives back what is more
//! than its share and takes what nobody has. Whatever a process that is gone had in hand is sorted out by whoever takes
//! its shards.
//!
//! A process that only sleeps still has an answer to come, or knows that it sent nothing: its messages in `sending` are
//! left to it for [`LEFT_FOR`], unless its connection ends first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::eventlog::EventLog;
use crate::ids::{MessageId, WorkspaceId};
use crate::store::bell::{Ear, ring};
use crate::store::dispatch::in_hand;
use crate::store::leases::{self as rows, LEASE_MS, Taken};
use crate::store::shards::{Layout, ShardSet};
use crate::store::soundness::database_now;
use crate::store::{Database, Store};
use crate::worker::dispatcher::Lost;
use crate::worker::leases::{Lease, Leases};
use crate::worker::service::Workers;

const ROUND: Duration = Duration::from_secs(1);
/// How long messages in `sending` are left to a former owner that may still live.
const LEFT_FOR: Duration = Duration::from_secs(60);
/// How long a command waits for the shards of a process that has just ended.
const ALONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Words to others are no closer together.
const RING_APART: Duration = Duration::from_millis(2);

/// Sets the clock by that of a database which others may share: what they take for the same instant is one.
///
/// # Errors
/// The database cannot be asked.
pub async fn set_clock<C: ConnectionTrait>(clock: &Clock, conn: &C) -> anyhow::Result<()> {
    let asked = clock.boot_time();
    if let Some(theirs) = database_now(conn).await? {
        clock.follow(theirs, asked);
    }
    Ok(())
}

/// One process's part in the sharing.
pub struct Sharing {
    node: String,
    /// Of its own, so that nothing a lease waits for waits behind the log.
    conn: DatabaseConnection,
    database: Database,
    leases: Leases,
    log: EventLog,
    workers: Arc<Workers>,
    /// Of definitions, pauses and write keys.
    revision: watch::Sender<(i64, i64)>,
}

/// Messages that a former owner may still have an answer to.
struct Left {
    owner: String,
    messages: BTreeSet<(WorkspaceId, MessageId)>,
    until: Duration,
}

impl Sharing {
    /// None where a database has one process.
    pub fn new(database: &Database, leases: Leases, log: EventLog, workers: Arc<Workers>) -> Option<Arc<Self>> {
        let conn = database.keeper.clone()?;
        let node = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4());
        let revision = watch::Sender::new((0, 0));
        Some(Arc::new(Self { node, conn, database: database.clone(), leases, log, workers, revision }))
    }

    /// Changes when definitions, pauses or write keys did, here or elsewhere.
    pub fn revised(&self) -> watch::Receiver<(i64, i64)> {
        self.revision.subscribe()
    }

    /// Takes part until `stop` turns true, then gives everything back.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let ears = tokio::spawn(self.clone().hear(stop.clone()));
        let bell = tokio::spawn(self.clone().tell(stop.clone()));
        while !*stop.borrow() {
            if let Err(error) = self.round_watched().await {
                tracing::warn!(error = format!("{error:#}"), "the leases could not be renewed");
            }
            if self.drop_expired() {
                // Whatever held the round up is over: the work waits for the next.
                continue;
            }
            let told = tokio::time::timeout(ROUND, stop.changed()).await;
            if matches!(told, Ok(Err(_))) {
                // Whoever could say stop is gone.
                break;
            }
        }
        let _ = tokio::join!(ears, bell);
        self.leases.replace(BTreeMap::new());
        if let Err(error) = rows::leave(&self.conn, &self.node).await {
            tracing::warn!(%error, "the leases could not be given back; they run out by themselves");
        }
    }

    /// # Errors
    /// Other processes work on this database.
    pub async fn must_be_alone(&self) -> anyhow::Result<()> {
        match rows::others(&self.conn, &self.node).await? {
            0 => Ok(()),
            1 => bail!("another process works on this database: stop it first, for this needs it alone"),
            others => bail!("{others} other processes work on this database: stop them first, for this needs it alone"),
        }
    }

    /// Waits until this process has every shard.
    ///
    /// # Errors
    /// Others came meanwhile.
    pub async fn until_all_held(&self) -> anyhow::Result<()> {
        let layout = Layout::of(self.conn.get_database_backend());
        match tokio::time::timeout(ALONE_WITHIN, self.leases.whole(layout, self.log.clock())).await {
            Ok(whole) => whole.map(drop),
            Err(_) => bail!("other processes began to work on this database: stop them first, for this needs it alone"),
        }
    }

    async fn round(self: &Arc<Self>) -> anyhow::Result<()> {
        // A lease is believed from before it was asked for.
        let until = self.log.clock().boot_time() + Duration::from_millis(LEASE_MS.unsigned_abs());
        set_clock(self.log.clock(), &self.conn).await?;
        let nodes = rows::announce(&self.conn, &self.node).await?;
        let mut tokens = rows::renew(&self.conn, &self.node).await?;
        let share = Layout::of(self.conn.get_database_backend()).all().len().div_ceil(nodes);
        let mut taken = Vec::new();
        if tokens.len() < share {
            taken = rows::take(&self.conn, &self.node, share - tokens.len()).await?;
            tokens.extend(taken.iter().map(|one| (one.shard, one.token)));
        }
        let surplus: ShardSet = tokens.keys().copied().skip(share).collect();
        tokens.retain(|shard, _| !surplus.contains(*shard));
        let lease = |token| Lease { token: Some(token), until: Some(until) };
        let changed = self.leases.replace(tokens.into_iter().map(|(shard, token)| (shard, lease(token))).collect());
        if !surplus.is_empty() {
            rows::release(&self.conn, &self.node, surplus).await?;
        }
        if changed {
            tracing::info!(shards = self.leases.held().len(), nodes, "this process has another part of the work");
            self.log.wake();
        }
        if !taken.is_empty() {
            tokio::spawn(self.clone().take_over(taken));
        }
        let revision = rows::revision(&self.conn).await?;
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        Ok(())
    }

    /// A round, however long the database takes: meanwhile nobody believes a lease for longer than it holds. It is not
    /// cut short, for what it has taken over must be sorted out.
    async fn round_watched(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut round = std::pin::pin!(self.round());
        loop {
            tokio::select! {
                done = &mut round => return done,
                () = tokio::time::sleep(LOOK_AGAIN) => drop(self.drop_expired()),
            }
        }
    }

    /// Whether there were any.
    fn drop_expired(&self) -> bool {
        let now = self.log.clock().boot_time();
        let mut leases = BTreeMap::clone(&self.leases.all());
        let held = leases.len();
        leases.retain(|_, lease| lease.until.is_none_or(|until| now < until));
        if leases.len() == held {
            return false;
        }
        self.leases.replace(leases);
        true
    }

    /// Sorts out what former owners left behind.
    async fn take_over(self: Arc<Self>, taken: Vec<Taken>) {
        let mut left: Option<Vec<Left>> = None;
        loop {
            let done = match &mut left {
                None => match self.look_through(&taken).await {
                    Ok(found) => {
                        left = Some(found);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Some(left) => self.settle_left(left).await.map(|()| left.is_empty()),
            };
            match done {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "what was left behind is not sorted out yet")
                }
            }
            tokio::time::sleep(ROUND).await;
            let ours = self.leases.all();
            let is_ours = |one: &Taken| ours.get(&one.shard).is_some_and(|lease| lease.token == Some(one.token));
            if !taken.iter().any(is_ours) {
                return;
            }
        }
    }

    /// Claimed messages go back to the queue; those in `sending` are lost where their process is gone.
    async fn look_through(&self, taken: &[Taken]) -> anyhow::Result<Vec<Left>> {
        let mut by_owner: BTreeMap<&str, ShardSet> = BTreeMap::new();
        for one in taken {
            by_owner.entry(one.from.as_deref().unwrap_or_default()).or_default().insert(one.shard);
        }
        let now = self.log.clock().now();
        let dispatcher = self.workers.dispatcher();
        let mut left = Vec::new();
        // What is in our own hands is.
        by_owner.remove(self.node.as_str());
        for (owner, shards) in by_owner {
            if owner.is_empty() || rows::is_gone(&self.conn, owner).await? {
                dispatcher.recover_in(shards, &Lost::All, now).await?;
                continue;
            }
            dispatcher.recover_in(shards, &Lost::Claimed, now).await?;
            let store = Store::new(self.database.reader.clone());
            let messages: BTreeSet<_> = in_hand(store.reader(), shards).await?.into_iter().collect();
            if !messages.is_empty() {
                let until = self.log.clock().boot_time() + LEFT_FOR;
                left.push(Left { owner: owner.to_owned(), messages, until });
            }
        }
        Ok(left)
    }

    async fn settle_left(&self, left: &mut Vec<Left>) -> anyhow::Result<()> {
        let now = self.log.clock().now();
        while let Some(at) =
            left.iter().position(|one| one.until <= self.log.clock().boot_time()).or(self.gone(left).await?)
        {
            let lost = Lost::These(left[at].messages.clone());
            self.workers.dispatcher().recover_in(self.leases.held(), &lost, now).await?;
            left.swap_remove(at);
        }
        Ok(())
    }

    async fn gone(&self, left: &[Left]) -> anyhow::Result<Option<usize>> {
        for (at, one) in left.iter().enumerate() {
            if rows::is_gone(&self.conn, &one.owner).await? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Tells others what was appended to their shards.
    async fn tell(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut appended = self.log.appended();
        while !*stop.borrow() {
            tokio::select! {
                changed = appended.changed() => if changed.is_err() { return },
                _ = stop.changed() => return,
            }
            let theirs = self.log.take_appended().without(self.leases.held());
            if !theirs.is_empty()
                && let Err(error) = ring(&self.conn, theirs).await
            {
                tracing::debug!(%error, "the others were not told");
            }
            tokio::time::sleep(RING_APART).await;
        }
    }

    async fn hear(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let listening = async {
                let mut ear = Ear::open(&self.database.reader).await?;
                loop {
                    if !ear.next().await?.and(self.leases.held()).is_empty() {
                        self.log.wake();
                    }
                }
            };
            let heard: anyhow::Result<()> = tokio::select! {
                ended = listening => ended,
                _ = stop.changed() => return,
            };
            if let Err(error) = heard {
                tracing::debug!(error = format!("{error:#}"), "the others are not heard; this one looks by itself");
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                _ = stop.changed() => {}
            }
        }
    }
}
