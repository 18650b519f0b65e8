//! Tells people of changes on the suppression list: everybody who has or had a marked address gets an event of our own in
//! the log with all that stands on the list for it, a page of addresses and people at a time, however many were uploaded.
//! `src/store/reach.rs` says why nobody is missed.

use std::collections::BTreeSet;

use sea_orm::DatabaseTransaction;

use crate::event::{Origin, track_api};
use crate::eventlog::append::{Appender, Draft};
use crate::eventlog::{EventLog, Queue};
use crate::ids::{ProfileId, Timestamp, WorkspaceId};
use crate::store::leases::is_owner;
use crate::store::locks::{Reach, keep_addresses};
use crate::store::reach::{Marked, marked, told, unmark};
use crate::store::shards::{Shard, ShardSet};
use crate::store::{Store, workspace};
use crate::worker::leases::Leases;

/// Marks of one transaction, and people of one address in it.
const MARKS_PAGE: u32 = 200;
const PEOPLE_PAGE: u32 = 500;

pub struct Tellings {
    log: EventLog,
    store: Store,
    leases: Leases,
}

/// What one transaction does: these marks' addresses, or a further page of the people of one that very many have.
struct Page {
    marks: Vec<Marked>,
    after: ProfileId,
}

impl Tellings {
    pub fn new(log: EventLog, store: Store, leases: Leases) -> Self {
        Self { log, store, leases }
    }

    /// Tells the people of the next marked addresses; the answer is how many marks were worked off.
    ///
    /// # Errors
    /// The database cannot be read or written; the marks are still there.
    pub async fn tick(&self, now: Timestamp) -> anyhow::Result<usize> {
        // Of several processes one does it: whoever has the first shard.
        let Some(lease) = self.leases.all().get(&Shard::FIRST).copied() else { return Ok(0) };
        let marks = marked(self.store.reader(), MARKS_PAGE).await?;
        let count = marks.len();
        let mut page = Page { marks, after: ProfileId(i64::MIN) };
        while !page.marks.is_empty() {
            let reach = self.reach_of(&page).await?;
            page = self
                .log
                .writer()
                .change_in(Queue::Effects, reach, move |tx, appender| {
                    Box::pin(async move {
                        if !is_owner(tx, Shard::FIRST, lease.token).await? {
                            return Ok(Page { marks: Vec::new(), ..page });
                        }
                        tell(tx, appender, page, now).await
                    })
                })
                .await?;
        }
        Ok(count)
    }

    /// Whether somebody is still to be told.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due(&self, now: Timestamp) -> anyhow::Result<Option<Timestamp>> {
        let is_here = self.leases.held().contains(Shard::FIRST);
        Ok(if is_here && !marked(self.store.reader(), 1).await?.is_empty() { Some(now) } else { None })
    }

    /// The shards of who will be told, as far as it is known before.
    async fn reach_of(&self, page: &Page) -> anyhow::Result<Reach> {
        let layout = self.store.layout();
        let Some(id) = page.workspace().filter(|_| layout.is_shared()) else { return Ok(ShardSet::NONE.into()) };
        let store = self.store.workspace(id);
        let people = store.holders(&page.subjects(id), page.after, PEOPLE_PAGE).await?;
        let people: BTreeSet<ProfileId> = people.into_iter().map(|(_, profile)| profile).collect();
        let current = store.current_profiles(&people).await?;
        let of = |id: &ProfileId| layout.shard_of(current.get(id).copied().unwrap_or(*id));
        Ok(people.iter().map(of).collect::<ShardSet>().into())
    }
}

impl Page {
    /// Marks of others have their turn in another page.
    fn workspace(&self) -> Option<WorkspaceId> {
        self.marks.first().map(|mark| mark.workspace)
    }

    fn subjects(&self, id: WorkspaceId) -> BTreeSet<String> {
        let here = self.marks.iter().filter(|mark| mark.workspace == id);
        here.map(|mark| mark.subject.clone()).collect()
    }
}

/// Appends what this page's people are told, and takes the marks of addresses away whose people all were. What is left is
/// the next page: an address that more people have.
async fn tell(tx: &DatabaseTransaction, appender: &mut Appender, page: Page, now: Timestamp) -> anyhow::Result<Page> {
    // The list and the people are read by statements after this: they see whoever was filed before.
    keep_addresses(tx).await?;
    let nothing = Page { marks: Vec::new(), after: ProfileId(i64::MIN) };
    let Some(id) = page.workspace() else { return Ok(nothing) };
    let (store, mut subjects) = (workspace(tx, id), page.subjects(id));
    let mut rows = store.holders(&subjects, page.after, PEOPLE_PAGE).await?;
    let mut next = nothing;
    if let (Some((last, profile)), true) = (rows.last().cloned(), rows.len() == PEOPLE_PAGE as usize) {
        // What does not fit keeps its marks: the last address, or of the only one the people who are left.
        subjects = rows.iter().map(|(subject, _)| subject.clone()).filter(|subject| *subject != last).collect();
        if subjects.is_empty() {
            let of_it = |mark: &&Marked| mark.workspace == id && mark.subject == last;
            next = Page { marks: page.marks.iter().filter(of_it).cloned().collect(), after: profile };
        } else {
            rows.retain(|(subject, _)| *subject != last);
        }
    }
    let people: BTreeSet<ProfileId> = rows.iter().map(|(_, profile)| *profile).collect();
    let current = store.current_profiles(&people).await?;
    let listed = store.closed_addresses(&rows.iter().map(|(subject, _)| subject.clone()).collect()).await?;
    let who: BTreeSet<(String, ProfileId)> =
        rows.into_iter().map(|(subject, one)| (subject, current.get(&one).copied().unwrap_or(one))).collect();
    let drafts = who.into_iter().map(|(subject, profile)| {
        let event_id = track_api::event_id(id, &format!("own:{}", uuid::Uuid::new_v4()));
        let listed = listed.get(&subject).map_or(&[][..], Vec::as_slice);
        Draft { profile: Some(profile), ..Draft::event(id, told(event_id, now, &subject, listed, Origin::Live)) }
    });
    appender.append(tx, vec![drafts.collect()]).await?;
    let done = page.marks.iter().filter(|mark| mark.workspace == id && subjects.contains(&mark.subject));
    unmark(tx, &done.map(|mark| mark.id).collect::<Vec<_>>()).await?;
    Ok(next)
}
