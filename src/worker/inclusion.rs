//! Turns for people who were in a segment already, where a campaign asks for them (`entry.include_existing`): whoever waits
//! gets an event of our own in the log, so many at a time and then nobody until the pace allows it. A pause, another
//! version or an archived campaign stops it; a downtime is not made up for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decision::Campaign;
use crate::decision::existing::{Existing, MEMBER_INCLUDED, said};
use crate::eventlog::{Draft, EventLog, Queue};
use crate::ids::{ProfileId, Timestamp, WorkspaceId};
use crate::store::controls::set_setting;
use crate::store::inclusions::{Given, given_setting};
use crate::store::leases::is_owner;
use crate::store::shards::Shard;
use crate::store::{Store, workspace};
use crate::worker::leases::Leases;
use crate::worker::live::Definitions;
use crate::worker::permission::own_event;

/// Gives turns to those who wait.
pub struct Inclusions {
    log: EventLog,
    store: Store,
    definitions: Arc<Definitions>,
    leases: Leases,
}

/// A campaign that is in force, not paused, and asks for people who are members already.
struct Asking {
    workspace: WorkspaceId,
    campaign: Arc<Campaign>,
    segment: String,
    existing: Existing,
}

impl Inclusions {
    pub fn new(log: EventLog, store: Store, definitions: Arc<Definitions>, leases: Leases) -> Self {
        Self { log, store, definitions, leases }
    }

    /// Gives everybody their turn who has one by `now`; the answer is how many.
    ///
    /// # Errors
    /// The database cannot be read or written; the turns are still due.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        let mut count = 0;
        for asking in self.asking() {
            if self.due(&asking).await?.is_some_and(|due| due <= now) {
                count += self.give(asking, now).await?;
            }
        }
        Ok(count)
    }

    /// When the next turn is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let mut next = None;
        for asking in self.asking() {
            next = [next, self.due(&asking).await?].into_iter().flatten().min();
        }
        Ok(next)
    }

    /// Of several processes one gives turns: whoever has the first shard.
    fn asking(&self) -> Vec<Asking> {
        if !self.leases.held().contains(Shard::FIRST) {
            return Vec::new();
        }
        let all = self.definitions.all();
        let running = all.iter().filter(|(_, live)| !live.all_paused);
        let asking = running.flat_map(|(id, live)| {
            live.catalog.existing().iter().filter_map(|(key, segment)| {
                let campaign = live.catalog.campaign(key).filter(|campaign| !live.catalog.is_paused(campaign))?;
                let (campaign, segment) = (campaign.clone(), segment.clone());
                let existing = campaign.entry.existing?;
                Some(Asking { workspace: *id, campaign, segment, existing })
            })
        });
        asking.collect()
    }

    /// When the next turn of this campaign is; none: nobody waits.
    async fn due(&self, asking: &Asking) -> anyhow::Result<Option<Timestamp>> {
        let store = self.store.workspace(asking.workspace);
        let key = &asking.campaign.key;
        if store.next_included(key, asking.existing.newest_first, 1).await?.is_empty() {
            return Ok(None);
        }
        Ok(Some(store.given(key).await?.next_at))
    }

    async fn give(&self, asking: Asking, now: Timestamp) -> anyhow::Result<usize> {
        let Some(lease) = self.leases.all().get(&Shard::FIRST).copied() else { return Ok(0) };
        let id = asking.workspace;
        self.log
            .writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    if !is_owner(tx, Shard::FIRST, lease.token).await? {
                        return Ok(0);
                    }
                    let (store, key) = (workspace(tx, id), asking.campaign.key.as_str());
                    let given = store.given(key).await?;
                    // Somebody else may have given it meanwhile.
                    if given.next_at > now {
                        return Ok(0);
                    }
                    let (together, rest) = asking.existing.pace.turn();
                    let people = store.next_included(key, asking.existing.newest_first, together).await?;
                    let drafts: Vec<Draft> =
                        people.iter().map(|(profile, since)| turn(&asking, *profile, *since, now)).collect();
                    let had: Vec<ProfileId> = people.iter().map(|(profile, _)| *profile).collect();
                    store.end_inclusions(key, &had).await?;
                    appender.append(tx, vec![drafts]).await?;
                    let given = Given { next_at: now.plus(rest), people: given.people + people.len() as u64 };
                    set_setting(tx, &given_setting(id, key), &given.to_text()).await?;
                    Ok(people.len())
                })
            })
            .await
    }
}

fn turn(asking: &Asking, profile: ProfileId, since: Timestamp, now: Timestamp) -> Draft {
    let event = own_event(asking.workspace, now, MEMBER_INCLUDED, said(&asking.campaign.key, &asking.segment, since));
    Draft { profile: Some(profile), ..Draft::event(asking.workspace, event) }
}

/// How far the campaigns are that include the members of a segment: who waits and how many had their turn, by campaign.
///
/// # Errors
/// The database cannot be read.
pub async fn included(
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    segment: &str,
) -> anyhow::Result<BTreeMap<String, (u64, Given)>> {
    let (live, db) = (definitions.live(id), store.workspace(id));
    let mut told = BTreeMap::new();
    for (campaign, _) in live.catalog.existing().iter().filter(|(_, of)| *of == segment) {
        told.insert(campaign.to_owned(), (db.count_included(campaign).await?, db.given(campaign).await?));
    }
    Ok(told)
}
