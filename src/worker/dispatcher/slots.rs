//! The frequency caps' side of a claim: the cap stores, the versions of their subjects in the database, and taking back
//! or releasing what was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::ConnectionTrait;

use crate::caps::redis::Server;
use crate::caps::{CapStore, Embedded, Redis, Unreachable};
use crate::guard::{CapVersion, Change, Subject, VersionMove};
use crate::ids::{MessageId, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Channel, Message};
use crate::store::Workspace;
use crate::store::outbox::CapSubject;
use crate::worker::dispatcher::Dispatcher;

type Make = dyn Fn(WorkspaceId) -> Arc<dyn CapStore> + Send + Sync;

/// One cap store for each workspace, made when first needed.
#[derive(Clone)]
pub struct CapStores {
    make: Arc<Make>,
    made: Arc<Mutex<BTreeMap<WorkspaceId, Arc<dyn CapStore>>>>,
}

impl CapStores {
    pub fn new(make: impl Fn(WorkspaceId) -> Arc<dyn CapStore> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), made: Arc::default() }
    }

    /// Slots kept in this process.
    pub fn embedded() -> Self {
        Self::new(|_| Arc::new(Embedded::default()))
    }

    /// Slots shared by every process of an installation.
    pub fn on_redis(server: Server, installation: String) -> Self {
        Self::new(move |id| Arc::new(Redis::new(server.clone(), &installation, id)))
    }

    pub fn of(&self, id: WorkspaceId) -> Arc<dyn CapStore> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(id).or_insert_with(|| (self.make)(id)).clone()
    }

    /// Keeps a workspace's slots in this store from now on: for tests and the simulator.
    pub fn keep(&self, id: WorkspaceId, store: Arc<dyn CapStore>) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(id, store);
    }
}

/// Slots that were reserved and are not wanted: newest first, so that each finds the version it led to. What is not taken
/// back makes its subject stale, no more.
///
/// # Errors
/// The cap store is not there.
pub async fn withdraw(caps: &dyn CapStore, message: &Message, moves: &[VersionMove]) -> Result<(), Unreachable> {
    if message.slot_at.is_some() {
        // It held a slot before. Taking back would forget that one too; a stale store learns the truth when asked.
        return Ok(());
    }
    for step in moves.iter().rev().filter(|step| step.from != step.to) {
        caps.withdraw(&step.subject, message.id, step.to, step.from).await?;
    }
    Ok(())
}

/// A slot given up in the database; its cap store is told after the commit.
#[derive(Debug)]
pub struct GivenUp {
    pub workspace: WorkspaceId,
    pub message: MessageId,
    pub subject: Subject,
    pub from: CapVersion,
}

/// Moves the versions of both subjects of a message that gives up its slot, in the transaction that clears `slot_at`,
/// and wakes whoever of its person waits for one.
///
/// # Errors
/// The database refuses; the transaction must be rolled back.
pub async fn give_up<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    message: &Message,
    now: Timestamp,
) -> anyhow::Result<Vec<GivenUp>> {
    store.wake_capped(message.profile, now).await?;
    let mut given = vec![leave(store, message.id, Subject::Profile(message.profile)).await?];
    if let Some(subject) = address_subject(message) {
        given.push(leave(store, message.id, subject).await?);
    }
    Ok(given)
}

/// Moves one subject's version because a message's slot leaves it.
///
/// # Errors
/// The database refuses; the transaction must be rolled back.
pub async fn leave<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    message: MessageId,
    subject: Subject,
) -> anyhow::Result<GivenUp> {
    let name = subject.to_string();
    let known = store.cap_subject(&name).await?;
    let from = version_of(known.as_ref())?;
    let to = from.next(&Change::Released { message });
    let (horizon_ms, last_slot_at) =
        known.as_ref().map_or((0, Timestamp::default()), |row| (row.horizon_ms, row.last_slot_at));
    let moved = store.move_cap_subject(&name, known.as_ref(), &row_of(to, horizon_ms, last_slot_at)?).await?;
    anyhow::ensure!(moved, "a cap subject moved inside our transaction");
    Ok(GivenUp { workspace: store.id, message, subject, from })
}

/// The slots of a profile that was merged are the winner's, whose messages they are now: both subjects move on, so that
/// every cap store reads the winner's slots again before it answers.
///
/// # Errors
/// The database refuses; the transaction must be rolled back.
pub async fn unite_slots<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    loser: ProfileId,
    winner: ProfileId,
) -> anyhow::Result<()> {
    // Without a row it has never taken a slot.
    let Some(lost) = store.cap_subject(&Subject::Profile(loser).to_string()).await? else { return Ok(()) };
    for (profile, with) in [(winner, loser), (loser, winner)] {
        let name = Subject::Profile(profile).to_string();
        let known = store.cap_subject(&name).await?;
        let to = version_of(known.as_ref())?.next(&Change::United { with });
        let (horizon_ms, last_slot_at) =
            known.as_ref().map_or((0, Timestamp::default()), |row| (row.horizon_ms, row.last_slot_at));
        let row = row_of(to, horizon_ms.max(lost.horizon_ms), last_slot_at.max(lost.last_slot_at))?;
        let moved = store.move_cap_subject(&name, known.as_ref(), &row).await?;
        anyhow::ensure!(moved, "a cap subject moved inside our transaction");
    }
    Ok(())
}

/// Slots of this subject were erased with their person: its version moves, so that every cap store reads what is left.
///
/// # Errors
/// The database refuses; the transaction must be rolled back.
pub async fn move_on<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    name: &str,
    without: ProfileId,
) -> anyhow::Result<()> {
    let Some(known) = store.cap_subject(name).await? else { return Ok(()) };
    let to = version_of(Some(&known))?.next(&Change::United { with: without });
    let row = row_of(to, known.horizon_ms, known.last_slot_at)?;
    let moved = store.move_cap_subject(name, Some(&known), &row).await?;
    anyhow::ensure!(moved, "a cap subject moved inside our transaction");
    Ok(())
}

/// Tells the cap stores of slots given up. What they do not learn makes them stale, no more.
async fn tell(stores: &CapStores, given: &[GivenUp]) {
    for one in given {
        if let Err(error) = stores.of(one.workspace).release(&one.subject, one.message, one.from).await {
            tracing::debug!(%error, "a released slot was not told; its subject will be reseeded");
            return;
        }
    }
}

impl Dispatcher {
    /// Tells the cap stores of slots given up, unless they are known not to answer: nobody else shall wait for them.
    pub(super) async fn tell_given_up(&self, now: Timestamp, given: &[GivenUp]) {
        if !self.caps_gate.is_shut(now) {
            tell(&self.parts.caps, given).await;
        }
    }
}

/// The address a message was cleared for, as a subject of caps and suppression.
pub fn address_subject(message: &Message) -> Option<Subject> {
    message.address.as_ref().map(|address| Subject::Address(message.channel, address.clone()))
}

/// The name under which an address is suppressed and its slots are found.
pub fn subject_name(channel: Channel, normalised: &str) -> String {
    Subject::Address(channel, normalised.to_owned()).to_string()
}

pub fn version_of(row: Option<&CapSubject>) -> anyhow::Result<CapVersion> {
    let Some(row) = row else { return Ok(CapVersion::default()) };
    let chain = row.chain.as_slice().try_into()?;
    Ok(CapVersion { step: u64::try_from(row.step)?, chain })
}

pub fn row_of(version: CapVersion, horizon_ms: i64, last_slot_at: Timestamp) -> anyhow::Result<CapSubject> {
    Ok(CapSubject { step: i64::try_from(version.step)?, chain: version.chain.to_vec(), horizon_ms, last_slot_at })
}
