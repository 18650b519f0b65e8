//! The log by age: first what entries carried goes, later the entries themselves. Slice by slice from the log's
//! beginning, behind whatever is processed; before it goes, who people were by it is written down, so that folding the
//! rest onto that comes to the same.
//!
//! Held back is what is still needed: bodies that a live condition, policy or exit looks back at, for as long as it does;
//! what enrollments that go on, messages that wait or failed, and parked entries stand on; definitions, pauses and acts;
//! and the end of each shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::bail;
use sea_orm::{DatabaseConnection, DatabaseTransaction};
use tokio::sync::watch;

use crate::decision::{needs_of_all, needs_of_walks};
use crate::eventlog::{EventLog, Queue};
use crate::ids::{Position, ProfileId, Span, Timestamp, WorkspaceId};
use crate::store::baselines::{baselines, drop_baselines, heirs_among, save_baselines};
use crate::store::controls::workspaces;
use crate::store::entries::{Entry, Logged, read_after};
use crate::store::log_pruning::{
    Class, Held, held_among, hold, lock_people, marks_of, move_mark, parked_among, release, remove, replace,
};
use crate::store::shards::{Heads, Layout, Shard, ShardSet, cursors, heads};
use crate::store::{Store, Workspace, workspace};
use crate::worker::baseline::Fold;
use crate::worker::live::Definitions;

/// Entries looked at in one transaction: some milliseconds.
const SLICE: usize = 100;
/// Entries of each shard that stay, however old: positions and time go on from them.
const KEPT_LAST: i64 = 64;
/// How much later than it happened an event may come and still begin an enrollment.
const LATE_MAX: Span = Span::from_days(30);

/// How much went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedLog {
    pub bodies: u64,
    pub entries: u64,
    /// Old bodies that stay for now, of those that were looked at.
    pub held: u64,
}

/// What of old entries is still needed in one workspace.
#[derive(Debug, Default)]
struct Hold {
    waited_for: BTreeSet<Position>,
    /// By event name: the earliest instant that a condition looks back to.
    names: BTreeMap<String, Timestamp>,
}

impl Hold {
    async fn of(
        store: Workspace<'_, DatabaseConnection>,
        definitions: &Definitions,
        (now, before): (Timestamp, Timestamp),
    ) -> anyhow::Result<Self> {
        let live = definitions.live(store.id);
        let (versions, oldest) = store.walks().await?;
        let mut needs = needs_of_all(&live.catalog);
        needs.add(&needs_of_walks(&live.catalog, versions.iter().map(|(key, version)| (key.as_str(), *version))));
        let oldest = oldest.map(|began| began.minus(LATE_MAX));
        let names = needs.reach.into_iter().map(|(name, reach)| (name, reach.from(now, oldest))).collect();
        Ok(Self { waited_for: store.waited_for(before.plus(LATE_MAX)).await?, names })
    }

    /// For what an entry's body is needed; none: it may go.
    fn keeps(&self, entry: &Entry) -> Option<Held> {
        let (name, at) = match &entry.logged {
            Logged::Event(event) => (event.name.as_str(), event.at),
            _ => ("", entry.now),
        };
        let held =
            |why: &str| Some(Held { position: entry.position, workspace: entry.workspace, why: why.to_owned(), at });
        if self.waited_for.contains(&entry.position) {
            return held("");
        }
        let looks_back = |since: &Timestamp| !name.is_empty() && at >= *since;
        if self.names.get(name).is_some_and(looks_back) { held(name) } else { None }
    }
}

/// One pruning of the log.
#[derive(Clone)]
struct Round {
    now: Timestamp,
    layout: Layout,
    holds: Arc<BTreeMap<WorkspaceId, Hold>>,
}

/// Prunes bodies and entries decided before these instants, until none is left or `stop` turns true.
///
/// # Errors
/// The database cannot be read or written; what is left goes next time.
pub async fn prune_log(
    log: &EventLog,
    store: &Store,
    definitions: &Definitions,
    (bodies, entries): (Option<Timestamp>, Option<Timestamp>),
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<PrunedLog> {
    let mut pruned = PrunedLog::default();
    // An entry goes after what it carried.
    let Some(carried) = bodies.max(entries) else { return Ok(pruned) };
    let mut holds = BTreeMap::new();
    let now = log.clock().now();
    for id in workspaces(store.reader()).await? {
        holds.insert(id, Hold::of(store.workspace(id), definitions, (now, carried)).await?);
    }
    let round = Round { now, layout: store.layout(), holds: Arc::new(holds) };
    let mut goes_on = true;
    // A shard may wait for another.
    while std::mem::take(&mut goes_on) {
        for shard in store.layout().all().iter() {
            while let Some((gone, held)) = round.strip(log, shard, carried).await? {
                pruned.bodies += gone;
                pruned.held += held;
                goes_on = true;
                if *stop.borrow() {
                    return Ok(pruned);
                }
            }
        }
    }
    pruned.bodies += round.let_go(log, store, stop).await?;
    let Some(before) = entries else { return Ok(pruned) };
    for shard in store.layout().all().iter() {
        while let Some(gone) = round.drop_entries(log, shard, before).await? {
            pruned.entries += gone;
            if *stop.borrow() {
                return Ok(pruned);
            }
        }
    }
    Ok(pruned)
}

/// A stretch of one shard, as read.
struct Stretch {
    from: Position,
    last: Position,
    entries: Vec<Entry>,
}

impl Round {
    /// Takes what a slice carried; the answer is how many bodies went and how many are held, none at the end.
    async fn strip(&self, log: &EventLog, shard: Shard, before: Timestamp) -> anyhow::Result<Option<(u64, u64)>> {
        let round = self.clone();
        change(log, move |tx| {
            Box::pin(async move {
                let marks = marks_of(tx, Class::Bodies).await?;
                let until = cursors(tx).await?.of(shard);
                let places = (marks.of(shard), until);
                let Some(stretch) = round.stretch(tx, places, before, Some(&marks)).await? else { return Ok(None) };
                let Stretch { from, last, entries } = stretch;
                if !move_mark(tx, Class::Bodies, shard, (from, last), round.now).await? {
                    return Ok(None);
                }
                fold(tx, &entries).await?;
                let (mut gone, mut held) = (Vec::new(), Vec::new());
                for entry in entries.into_iter().filter(carries) {
                    match round.holds.get(&entry.workspace).and_then(|hold| hold.keeps(&entry)) {
                        Some(one) => held.push(one),
                        None => gone.push(entry.blank()),
                    }
                }
                replace(tx, &gone).await?;
                hold(tx, &held).await?;
                Ok(Some((events(&gone), held.len() as u64)))
            })
        })
        .await
    }

    /// The next entries behind a position, up to another, that are old, as far as they may be folded onto what is
    /// `folded`; none: there are none.
    async fn stretch(
        &self,
        tx: &DatabaseTransaction,
        (from, until): (Position, Position),
        before: Timestamp,
        folded: Option<&Heads>,
    ) -> anyhow::Result<Option<Stretch>> {
        let shard = self.layout.shard_at(from);
        let (mut last, mut entries) = (from, Vec::new());
        let read = read_after(tx, from, SLICE).await?;
        let losers: Vec<ProfileId> = read.iter().flatten().filter_map(|entry| entry.joins).collect();
        let heirs = heirs_among(tx, &losers).await?;
        for one in read {
            // One that cannot be read is parked, and stays.
            let position = one.as_ref().map_or_else(|damaged| damaged.position, |entry| entry.position);
            if position > until || one.as_ref().is_ok_and(|entry| entry.now >= before) {
                break;
            }
            // What the other profile did before must be folded before, wherever it stands.
            let waits = |loser: ProfileId| {
                let elsewhere = self.layout.shard_of(loser);
                let (head, come_to) =
                    (heirs.get(&loser).map(|heir| heir.loser_head), folded.map(|at| at.of(elsewhere)));
                elsewhere != shard && head.zip(come_to).is_some_and(|(head, come_to)| head > come_to)
            };
            if one.as_ref().is_ok_and(|entry| entry.joins.is_some_and(waits)) {
                break;
            }
            last = position;
            entries.extend(one.ok());
        }
        Ok((last > from).then_some(Stretch { from, last, entries }))
    }

    /// Takes the bodies that were held and are needed no more, and entries that stayed only for them.
    async fn let_go(&self, log: &EventLog, store: &Store, stop: &watch::Receiver<bool>) -> anyhow::Result<u64> {
        let mut gone = 0;
        for (id, hold) in self.holds.iter() {
            for why in store.workspace(*id).reasons_to_hold().await? {
                let before = match (why.is_empty(), hold.names.get(&why)) {
                    (false, Some(since)) => *since,
                    (true, _) | (false, None) => Timestamp::from_millis(i64::MAX),
                };
                let mut after = Some(Position(i64::MIN));
                while let Some(from) = after.filter(|_| !*stop.borrow()) {
                    let held = store.workspace(*id).held(&why, before, from, SLICE as u32).await?;
                    after = held.last().map(|one| one.position);
                    gone += self.release(log, *id, held).await?;
                }
            }
        }
        Ok(gone)
    }

    async fn release(&self, log: &EventLog, id: WorkspaceId, held: Vec<Held>) -> anyhow::Result<u64> {
        let round = self.clone();
        change(log, move |tx| {
            Box::pin(async move {
                let positions: Vec<Position> = held.iter().map(|one| one.position).collect();
                let Some(rules) = round.holds.get(&id) else { return Ok(0) };
                let (mut still, mut free) = (Vec::new(), Vec::new());
                for entry in workspace(tx, id).entries_apart(&positions).await?.into_values() {
                    match rules.keeps(&entry) {
                        Some(one) => still.push(one),
                        None => free.push(entry.blank()),
                    }
                }
                hold(tx, &still).await?;
                let kept: BTreeSet<Position> = still.iter().map(|one| one.position).collect();
                let done: Vec<Position> = positions.into_iter().filter(|at| !kept.contains(at)).collect();
                release(tx, &done).await?;
                let marks = marks_of(tx, Class::Entries).await?;
                let (late, free): (Vec<Entry>, Vec<Entry>) = free
                    .into_iter()
                    .partition(|entry| entry.position <= marks.of(round.layout.shard_at(entry.position)));
                remove(tx, &late).await?;
                replace(tx, &free).await?;
                Ok(events(&late) + events(&free))
            })
        })
        .await
    }

    /// Takes a slice of entries out of the log, behind what was taken from them; the answer is how many went, none at
    /// the end.
    async fn drop_entries(&self, log: &EventLog, shard: Shard, before: Timestamp) -> anyhow::Result<Option<u64>> {
        let round = self.clone();
        change(log, move |tx| {
            Box::pin(async move {
                let marks = marks_of(tx, Class::Entries).await?;
                let stride = round.layout.next(Position(0)).0;
                let end = heads(tx, ShardSet::EVERY).await?.0.of(shard).0 - KEPT_LAST * stride;
                let until = Position(end.min(marks_of(tx, Class::Bodies).await?.of(shard).0));
                let places = (marks.of(shard), until);
                let Some(stretch) = round.stretch(tx, places, before, None).await? else { return Ok(None) };
                let Stretch { from, last, entries } = stretch;
                if !move_mark(tx, Class::Entries, shard, (from, last), round.now).await? {
                    return Ok(None);
                }
                let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
                let (held, parked) = (held_among(tx, &positions).await?, parked_among(tx, &positions).await?);
                let stays = |entry: &Entry| {
                    !goes(entry) || held.contains(&entry.position) || parked.get(&entry.position) == Some(&false)
                };
                let gone: Vec<Entry> = entries.into_iter().filter(|entry| !stays(entry)).collect();
                remove(tx, &gone).await?;
                Ok(Some(gone.len() as u64))
            })
        })
        .await
    }
}

/// Whether something of it can be taken: it is somebody's, and was not emptied before.
fn carries(entry: &Entry) -> bool {
    match &entry.logged {
        Logged::Event(event) => !event.is_blank(),
        Logged::MessageEnded { .. } => true,
        Logged::Timer | Logged::DefinitionsApplied { .. } | Logged::Control { .. } | Logged::Administered { .. } => {
            false
        }
    }
}

fn events(entries: &[Entry]) -> u64 {
    entries.iter().filter(|entry| matches!(entry.logged, Logged::Event(_))).count() as u64
}

/// Whether it is of a kind that goes: what concerns everybody stays.
fn goes(entry: &Entry) -> bool {
    match &entry.logged {
        Logged::Event(_) | Logged::MessageEnded { .. } | Logged::Timer => true,
        Logged::DefinitionsApplied { .. } | Logged::Control { .. } | Logged::Administered { .. } => false,
    }
}

/// Writes down who people were by these entries. One that was parked changed nobody: it was appended again, or waits.
async fn fold(tx: &DatabaseTransaction, entries: &[Entry]) -> anyhow::Result<()> {
    let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
    let parked = parked_among(tx, &positions).await?;
    let mut named: BTreeMap<ProfileId, WorkspaceId> = BTreeMap::new();
    for entry in entries {
        named.extend([entry.profile, entry.joins].into_iter().flatten().map(|id| (id, entry.workspace)));
    }
    let mut heirs = BTreeMap::new();
    let mut unknown: Vec<ProfileId> = named.keys().copied().collect();
    while !unknown.is_empty() {
        let found = heirs_among(tx, &unknown).await?;
        unknown = found.values().map(|heir| heir.winner).filter(|id| !named.contains_key(id)).collect();
        for (loser, heir) in &found {
            if let Some(id) = named.get(loser).copied() {
                named.entry(heir.winner).or_insert(id);
            }
        }
        heirs.extend(found);
    }
    let erased = lock_people(tx, &named.keys().copied().collect()).await?;
    let ids: Vec<ProfileId> = named.keys().copied().collect();
    let mut fold = Fold { people: baselines(tx, &ids).await?, heirs };
    for entry in entries.iter().filter(|entry| !parked.contains_key(&entry.position)) {
        fold.add(entry);
    }
    let gone: Vec<ProfileId> = ids.iter().copied().filter(|id| !fold.people.contains_key(id)).collect();
    drop_baselines(tx, &gone).await?;
    let left = fold.people.values().filter(|person| !erased.contains(&person.profile.id));
    let mut saved = Vec::new();
    for person in left {
        let Some(id) = named.get(&person.profile.id) else { bail!("a baseline belongs to no workspace") };
        saved.push((*id, person));
    }
    Ok(save_baselines(tx, saved.into_iter()).await?)
}

async fn change<T, F>(log: &EventLog, change: F) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t DatabaseTransaction) -> futures::future::BoxFuture<'t, anyhow::Result<T>> + Send + 'static,
{
    log.writer().change_in(Queue::Sends, ShardSet::NONE, move |tx, _| change(tx)).await
}
