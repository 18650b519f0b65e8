//! Asking the cap stores for a whole batch: messages that share a person or an address one after the other, the most
//! important first; all others at once, so that a batch costs about as long as its slowest message.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::caps::{CapStore, History, Taken, Unreachable, take, take_unasked};
use crate::clock::Stopwatch;
use crate::guard::{CapVersion, Cleared, Full, Request, Subject, settle};
use crate::ids::{MessageId, Span, Timestamp, WorkspaceId};
use crate::message::Message;
use crate::store::outbox::CapSubject;
use crate::store::{Store, workspace};
use crate::telemetry;
use crate::worker::dispatcher::slots::{CapStores, version_of};

/// Reseeds and new tries for one message before it waits.
const TRIES_MAX: u32 = 4;
/// Messages whose slots are asked for at once.
const IN_FLIGHT: usize = 64;
/// Histories read at once, each by a reader of its own: of twelve on PostgreSQL and of four on SQLite, for others read
/// meanwhile.
const READ_AT_ONCE: (usize, usize) = (8, 3);
/// Histories are read back this much further than asked, so that another process whose clock is behind ours finds them
/// long enough.
const SKEW: Span = Span::from_hours(1);

/// A message that passed the guard and asks for slots.
pub struct Asking {
    pub turn: usize,
    pub workspace: WorkspaceId,
    pub request: Request,
}

/// What came of asking for a message's slots.
pub enum Asked {
    Cleared(Cleared),
    /// No cap forbids it, and it goes without the store: the record counts it, and the store reads the record before it
    /// answers again.
    Unasked(Cleared),
    /// With the message of higher priority that took a slot in the same breath, if one did.
    Full(Message, Full, Option<MessageId>),
    /// The store's answers kept changing.
    Unsettled(Message),
    Unreachable(Message, Unreachable),
    /// An earlier message of this batch must be claimed first.
    Later,
}

/// An answered message.
pub struct Answered {
    pub turn: usize,
    pub workspace: WorkspaceId,
    pub asked: Asked,
}

/// Asks for the slots of a batch. Of messages that share a subject the answers come in the order in which their slots
/// were taken: by priority, of equals by turn. Where the store is `unreachable` it is not asked. What no cap forbids is
/// cleared without it. `taken` are messages that have taken slots in the same breath, with their priorities.
///
/// # Errors
/// The database cannot be read.
pub async fn ask_all(
    (store, caps): (&Store, &CapStores),
    now: Timestamp,
    unreachable: Option<Unreachable>,
    mut asking: Vec<Asking>,
    taken: &BTreeMap<MessageId, u8>,
) -> anyhow::Result<Vec<Answered>> {
    asking.sort_by_key(|asking| (std::cmp::Reverse(asking.request.message().priority), asking.turn));
    let mut known: BTreeMap<WorkspaceId, BTreeMap<String, CapSubject>> = BTreeMap::new();
    for asking in &asking {
        known.entry(asking.workspace).or_default();
    }
    for (id, rows) in &mut known {
        let of_workspace = asking.iter().filter(|asking| asking.workspace == *id);
        let names: BTreeSet<String> =
            of_workspace.flat_map(|asking| asking.request.subjects()).map(Subject::to_string).collect();
        *rows = store.workspace(*id).cap_subjects(&names.into_iter().collect::<Vec<_>>()).await?;
    }
    let reading = Semaphore::new(if store.layout().is_shared() { READ_AT_ONCE.0 } else { READ_AT_ONCE.1 });
    let groups = together(asking).into_iter().map(|group| {
        let (known, unreachable) = (&known, unreachable.clone());
        let one = Group::new((store, caps), group[0].workspace, now, (known, &reading), taken.clone());
        async move { one.ask_each(group, unreachable).await }
    });
    let answered: Vec<anyhow::Result<Vec<Answered>>> =
        futures::stream::iter(groups).buffer_unordered(IN_FLIGHT).collect().await;
    let mut all = Vec::new();
    for group in answered {
        all.extend(group?);
    }
    Ok(all)
}

fn answer_of(taken: &Result<Taken, Unreachable>) -> &'static str {
    match taken {
        Ok(Taken::Granted(_)) => "granted",
        Ok(Taken::Full(_)) => "full",
        Ok(Taken::Stale(_)) => "stale",
        Err(_) => "unreachable",
    }
}

/// Messages that share subjects, directly or through others, in one group; the order within is kept.
fn together(asking: Vec<Asking>) -> Vec<Vec<Asking>> {
    let mut groups: Vec<Vec<Asking>> = Vec::new();
    let mut of_subject: BTreeMap<(WorkspaceId, Subject), usize> = BTreeMap::new();
    for one in asking {
        let keys = one.request.subjects().clone().map(|subject| (one.workspace, subject));
        let [first, second] = keys.each_ref().map(|key| of_subject.get(key).copied());
        let home = first.or(second).unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        if let (Some(_), Some(other)) = (first, second)
            && other != home
        {
            let moved = std::mem::take(&mut groups[other]);
            groups[home].extend(moved);
            of_subject.values_mut().filter(|group| **group == other).for_each(|group| *group = home);
        }
        of_subject.extend(keys.map(|key| (key, home)));
        groups[home].push(one);
    }
    groups.retain(|group| !group.is_empty());
    for group in &mut groups {
        group.sort_by_key(|asking| (std::cmp::Reverse(asking.request.message().priority), asking.turn));
    }
    groups
}

/// A subject as this batch's claims will leave it.
#[derive(Clone, Copy, Default)]
struct Known {
    version: CapVersion,
    /// Slots are taken in order of time, whatever our clock says.
    last_slot_at: Option<Timestamp>,
    /// A claim of this batch moves the subject there; the database does not know yet.
    pending: bool,
}

impl Known {
    fn of(row: Option<&CapSubject>) -> anyhow::Result<Self> {
        Ok(Self { version: version_of(row)?, last_slot_at: row.map(|row| row.last_slot_at), pending: false })
    }
}

/// Messages that share subjects, and what is known of those.
struct Group<'s> {
    store: &'s Store,
    reading: &'s Semaphore,
    caps: std::sync::Arc<dyn CapStore>,
    workspace: WorkspaceId,
    now: Timestamp,
    rows: Option<&'s BTreeMap<String, CapSubject>>,
    known: BTreeMap<Subject, Known>,
    /// Slots taken by this batch, with their priorities.
    taken: BTreeMap<MessageId, u8>,
}

impl<'s> Group<'s> {
    fn new(
        (store, caps): (&'s Store, &CapStores),
        id: WorkspaceId,
        now: Timestamp,
        (rows, reading): (&'s BTreeMap<WorkspaceId, BTreeMap<String, CapSubject>>, &'s Semaphore),
        taken: BTreeMap<MessageId, u8>,
    ) -> Self {
        let (caps, rows) = (caps.of(id), rows.get(&id));
        Self { store, reading, caps, workspace: id, now, rows, known: BTreeMap::new(), taken }
    }

    async fn ask_each(
        mut self,
        group: Vec<Asking>,
        mut unreachable: Option<Unreachable>,
    ) -> anyhow::Result<Vec<Answered>> {
        let mut answered = Vec::with_capacity(group.len());
        for Asking { turn, workspace, request } in group {
            let is_free = request.rules().is_empty();
            let asked = match unreachable.clone() {
                _ if is_free => Asked::Unasked(self.count_unasked(request)?),
                None => self.ask(request).await?,
                // Each would wait as long as the first did.
                Some(error) => Asked::Unreachable(request.into_message(), error),
            };
            if let Asked::Unreachable(_, error) = &asked {
                unreachable = Some(error.clone());
            }
            answered.push(Answered { turn, workspace, asked });
        }
        Ok(answered)
    }

    fn known(&mut self, subject: &Subject) -> anyhow::Result<Known> {
        if let Some(known) = self.known.get(subject) {
            return Ok(*known);
        }
        let known = Known::of(self.rows.and_then(|rows| rows.get(&subject.to_string())))?;
        self.known.insert(subject.clone(), known);
        Ok(known)
    }

    async fn ask(&mut self, request: Request) -> anyhow::Result<Asked> {
        for _ in 0..TRIES_MAX {
            let [by_profile, by_address] = request.subjects();
            let known = [self.known(by_profile)?, self.known(by_address)?];
            let at = known.iter().filter_map(|known| known.last_slot_at).fold(self.now, Timestamp::max);
            let watch = Stopwatch::start();
            let taken = take(self.caps.as_ref(), at, &request, known.map(|known| known.version)).await;
            telemetry::caps_called("take", answer_of(&taken), watch.elapsed());
            match taken {
                Ok(Taken::Granted(reservation)) => {
                    let cleared = settle(request, reservation)?;
                    self.note(&cleared);
                    return Ok(Asked::Cleared(cleared));
                }
                Ok(Taken::Full(full)) => {
                    let message = request.into_message();
                    let outranks = |id: &&MessageId| self.taken.get(id).is_some_and(|one| *one > message.priority);
                    let winner = full.by.iter().rev().find(outranks).copied();
                    return Ok(Asked::Full(message, full, winner));
                }
                Ok(Taken::Stale(subject)) => {
                    if self.known.get(&subject).is_some_and(|known| known.pending) {
                        return Ok(Asked::Later);
                    }
                    if let Err(error) = self.reseed(subject, request.horizon()).await? {
                        return Ok(Asked::Unreachable(request.into_message(), error));
                    }
                }
                Err(error) => return Ok(Asked::Unreachable(request.into_message(), error)),
            }
        }
        Ok(Asked::Unsettled(request.into_message()))
    }

    /// Takes the slots of a message that no cap forbids in the database alone: the versions move there, so that
    /// whatever a store knows of its subjects is stale.
    fn count_unasked(&mut self, request: Request) -> anyhow::Result<Cleared> {
        let known = [self.known(&request.subjects()[0])?, self.known(&request.subjects()[1])?];
        let at = known.iter().filter_map(|known| known.last_slot_at).fold(self.now, Timestamp::max);
        let reservation = take_unasked(at, &request, known.map(|known| known.version));
        let cleared = settle(request, reservation)?;
        self.note(&cleared);
        Ok(cleared)
    }

    fn note(&mut self, cleared: &Cleared) {
        for step in cleared.versions().iter().filter(|step| step.from != step.to) {
            let known = self.known.entry(step.subject.clone()).or_default();
            let last_slot_at = known.last_slot_at.max(cleared.slot_at());
            *known = Known { version: step.to, last_slot_at, pending: true };
        }
        if cleared.slot_at().is_some() {
            self.taken.insert(cleared.message().id, cleared.message().priority);
        }
    }

    /// Gives the cap store a subject's history from one snapshot of the record.
    async fn reseed(&mut self, subject: Subject, horizon: Span) -> anyhow::Result<Result<(), Unreachable>> {
        let turn = self.reading.acquire().await?;
        let snapshot = self.store.snapshot().await?;
        let record = workspace(&snapshot, self.workspace);
        let known = Known::of(record.cap_subject(&subject.to_string()).await?.as_ref())?;
        let since = self.now.minus(horizon).minus(SKEW);
        let slots = match &subject {
            Subject::Profile(profile) => record.slots_of_profile(*profile, since).await?,
            Subject::Address(..) => record.slots_of_address(&subject.to_string(), since).await?,
        };
        snapshot.rollback().await?;
        drop(turn);
        let watch = Stopwatch::start();
        let reseeded = self.caps.reseed(&subject, History { version: known.version, since, slots }).await;
        let answer = if reseeded.is_ok() { "done" } else { "unreachable" };
        telemetry::caps_called("reseed", answer, watch.elapsed());
        self.known.insert(subject, known);
        Ok(reseeded)
    }
}
