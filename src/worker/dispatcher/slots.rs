//! The frequency caps' side of a claim: asking the cap stores for slots with the database's versions, reseeding them
//! when they are stale, and taking back or releasing what was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::ConnectionTrait;

use crate::caps::{CapStore, Embedded, Taken, take};
use crate::guard::{CapVersion, Change, Cleared, Full, Request, Subject, VersionMove, settle};
use crate::ids::{MessageId, ProfileId, Span, Timestamp, WorkspaceId};
use crate::message::{Channel, Message};
use crate::store::outbox::CapSubject;
use crate::store::{Store, Workspace, workspace};

/// Reseeds and new tries for one message before it waits.
const TRIES_MAX: u32 = 4;

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

    pub fn of(&self, id: WorkspaceId) -> Arc<dyn CapStore> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(id).or_insert_with(|| (self.make)(id)).clone()
    }
}

/// What came of asking for a message's slots.
pub enum Asked {
    Cleared(Cleared),
    Full(Message, Full),
    /// No settled answer now: the store cannot be reached or keeps changing.
    Unsettled(Message),
    /// An earlier message of this batch must be claimed first.
    Later,
}

/// The versions of one workspace's subjects as this batch's claims will leave them.
#[derive(Default)]
pub struct Versions(BTreeMap<Subject, Known>);

#[derive(Clone, Copy)]
struct Known {
    version: CapVersion,
    /// A claim of this batch moves the subject there; the database does not know yet.
    pending: bool,
}

impl Versions {
    async fn of<C: ConnectionTrait>(
        &mut self,
        store: Workspace<'_, C>,
        subject: &Subject,
    ) -> anyhow::Result<CapVersion> {
        if let Some(known) = self.0.get(subject) {
            return Ok(known.version);
        }
        let version = version_of(store.cap_subject(&subject.to_string()).await?.as_ref())?;
        self.0.insert(subject.clone(), Known { version, pending: false });
        Ok(version)
    }
}

/// Asks for the slots of one message.
///
/// # Errors
/// The database cannot be read.
pub async fn ask(
    store: &Store,
    caps: &dyn CapStore,
    id: WorkspaceId,
    versions: &mut Versions,
    now: Timestamp,
    request: Request,
) -> anyhow::Result<Asked> {
    for _ in 0..TRIES_MAX {
        let [by_profile, by_address] = request.subjects();
        let expected =
            [versions.of(store.workspace(id), by_profile).await?, versions.of(store.workspace(id), by_address).await?];
        match take(caps, now, &request, expected).await {
            Ok(Taken::Granted(reservation)) => {
                let cleared = settle(request, reservation)?;
                for step in cleared.versions().iter().filter(|step| step.from != step.to) {
                    versions.0.insert(step.subject.clone(), Known { version: step.to, pending: true });
                }
                return Ok(Asked::Cleared(cleared));
            }
            Ok(Taken::Full(full)) => return Ok(Asked::Full(request.into_message(), full)),
            Ok(Taken::Stale(subject)) => {
                if versions.0.get(&subject).is_some_and(|known| known.pending) {
                    return Ok(Asked::Later);
                }
                match reseed(store, caps, id, now, &subject, request.horizon()).await? {
                    Some(version) => drop(versions.0.insert(subject, Known { version, pending: false })),
                    None => return Ok(Asked::Unsettled(request.into_message())),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "marketing waits");
                return Ok(Asked::Unsettled(request.into_message()));
            }
        }
    }
    Ok(Asked::Unsettled(request.into_message()))
}

/// Gives the cap store a subject's history from one snapshot of the record; none: it cannot be reached.
async fn reseed(
    store: &Store,
    caps: &dyn CapStore,
    id: WorkspaceId,
    now: Timestamp,
    subject: &Subject,
    horizon: Span,
) -> anyhow::Result<Option<CapVersion>> {
    let snapshot = store.snapshot().await?;
    let record = workspace(&snapshot, id);
    let version = version_of(record.cap_subject(&subject.to_string()).await?.as_ref())?;
    let since = now.minus(horizon);
    let slots = match subject {
        Subject::Profile(profile) => record.slots_of_profile(*profile, since).await?,
        Subject::Address(..) => record.slots_of_address(&subject.to_string(), since).await?,
    };
    snapshot.rollback().await?;
    match caps.reseed(subject, version, horizon, slots).await {
        Ok(()) => Ok(Some(version)),
        Err(error) => {
            tracing::warn!(%error, "marketing waits");
            Ok(None)
        }
    }
}

/// Slots that were reserved and are not wanted: newest first, so that each finds the version it led to.
pub async fn withdraw(caps: &dyn CapStore, message: &Message, moves: &[VersionMove]) {
    if message.slot_at.is_some() {
        // It held a slot before. Taking back would forget that one too; a stale store learns the truth when asked.
        return;
    }
    for step in moves.iter().rev().filter(|step| step.from != step.to) {
        if let Err(error) = caps.withdraw(&step.subject, message.id, step.to, step.from).await {
            tracing::debug!(%error, "a reservation was not taken back; its subject will be reseeded");
        }
    }
}

/// A slot given up in the database; its cap store is told after the commit.
#[derive(Debug)]
pub struct GivenUp {
    pub workspace: WorkspaceId,
    pub message: MessageId,
    pub subject: Subject,
    pub from: CapVersion,
}

/// Moves the versions of both subjects of a message that gives up its slot, in the transaction that clears `slot_at`.
///
/// # Errors
/// The database refuses; the transaction must be rolled back.
pub async fn give_up<C: ConnectionTrait>(store: Workspace<'_, C>, message: &Message) -> anyhow::Result<Vec<GivenUp>> {
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

/// Tells the cap stores of slots given up. What they do not learn makes them stale, no more.
pub async fn tell(stores: &CapStores, given: &[GivenUp]) {
    for one in given {
        if let Err(error) = stores.of(one.workspace).release(&one.subject, one.message, one.from).await {
            tracing::debug!(%error, "a released slot was not told; its subject will be reseeded");
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
