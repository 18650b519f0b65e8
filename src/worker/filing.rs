//! People who were stored before they were found by what they are called and by their addresses: each is filed once, a slice
//! at a time beside the service's own work. How far that came is stored, so that a stop loses nothing.

use std::time::Duration;

use crate::eventlog::{EventLog, Queue};
use crate::ids::{ProfileId, WorkspaceId};
use crate::store::controls::{set_setting, setting, workspaces};
use crate::store::shards::{Shard, ShardSet};
use crate::store::{Store, workspace};
use crate::worker::leases::Leases;

/// People of one transaction: some milliseconds.
const SLICE: u32 = 200;
const SLICE_PAUSE: Duration = Duration::from_millis(50);
/// After a failure, and while another process does it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// In place of the last who was filed.
const ALL: &str = "all";

fn filed_setting(id: WorkspaceId) -> String {
    // Those who were filed by an earlier release were filed by what they are called alone.
    format!("people_filed_by_address_{}", id.0)
}

/// Files whoever is not, until everybody is.
pub async fn run(log: EventLog, store: Store, leases: Leases) {
    loop {
        let pause = match tick(&log, &store, &leases).await {
            Ok(Filed::Everybody) => return,
            Ok(Filed::Some) => SLICE_PAUSE,
            Ok(Filed::ByAnother) => LOOK_AGAIN,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "people were not filed by what they are called");
                LOOK_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What a tick came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    Everybody,
    Some,
    /// Of several processes one does it: whoever has the first shard.
    ByAnother,
}

/// One slice of each workspace.
///
/// # Errors
/// The database cannot be read or written; the slice is still due.
pub async fn tick(log: &EventLog, store: &Store, leases: &Leases) -> anyhow::Result<Filed> {
    let mut filed = Filed::Everybody;
    for id in workspaces(store.reader()).await? {
        let name = filed_setting(id);
        let known = setting(store.reader(), &name).await?;
        if known.as_deref() == Some(ALL) {
            continue;
        }
        if !leases.held().contains(Shard::FIRST) {
            return Ok(Filed::ByAnother);
        }
        filed = Filed::Some;
        let after = ProfileId(known.and_then(|text| text.parse().ok()).unwrap_or_default());
        let people = store.workspace(id).people_after(after, SLICE).await?;
        // In the one order in which everybody waits for people.
        let shards = people.iter().map(|profile| store.layout().shard_of(*profile)).collect::<ShardSet>();
        let filing = log.writer().change_in(Queue::Sends, shards, move |tx, _| {
            Box::pin(async move {
                workspace(tx, id).file_terms(&people).await?;
                let until = people.last().map_or_else(|| ALL.to_owned(), |last| last.to_string());
                Ok(set_setting(tx, &filed_setting(id), &until).await?)
            })
        });
        filing.await?;
    }
    Ok(filed)
}
