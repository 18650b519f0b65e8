//! What stands on the suppression list for an address goes into the log before the call that gives it to a person: whoever
//! takes an address that is stopped cannot be reached from that call on, however often the log is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::ConnectionTrait;

use crate::event::{Event, Kind};
use crate::eventlog::append::Draft;
use crate::ids::{EventId, WorkspaceId};
use crate::store::entries::Logged;
use crate::store::reach::{addresses_of, told};
use crate::store::rows::Error;
use crate::store::workspace;

/// Where a call stands among those appended together.
pub type Place = (usize, usize);

/// A call with the addresses it gives.
struct Gives<'d> {
    place: Place,
    draft: &'d Draft,
    event: &'d Event,
    subjects: Vec<String>,
}

/// What is to be told before each of these calls. Costs nothing where no call sets an address.
///
/// # Errors
/// The database cannot be read.
pub async fn before<C: ConnectionTrait>(
    conn: &C,
    groups: &[Vec<Result<Draft, WorkspaceId>>],
) -> Result<BTreeMap<Place, Vec<Draft>>, Error> {
    let all =
        groups.iter().enumerate().flat_map(|(n, group)| group.iter().enumerate().map(move |(m, one)| ((n, m), one)));
    let mut by_workspace: BTreeMap<WorkspaceId, Vec<Gives<'_>>> = BTreeMap::new();
    for (place, draft) in all {
        let Ok(draft) = draft else { continue };
        let Logged::Event(event) = &draft.logged else { continue };
        if event.kind != Kind::Identify || draft.profile.is_none() {
            continue;
        }
        let Some(traits) = event.traits() else { continue };
        let subjects = addresses_of(&traits);
        if !subjects.is_empty() {
            let gives = Gives { place, draft, event, subjects };
            by_workspace.entry(draft.workspace).or_default().push(gives);
        }
    }
    let mut before = BTreeMap::new();
    for (id, all) in by_workspace {
        let subjects: BTreeSet<String> = all.iter().flat_map(|gives| gives.subjects.iter().cloned()).collect();
        let listed = workspace(conn, id).closed_addresses(&subjects).await?;
        for Gives { place, draft, event, subjects } in all {
            let stopped = subjects.iter().filter_map(|subject| Some((subject, listed.get(subject)?)));
            let drafts = stopped.map(|(subject, listed)| {
                // The same for the same call, so that it is known when it comes again.
                let id = EventId::derive(&[b"reach", event.id.as_bytes(), subject.as_bytes()]);
                let event = told(id, event.at, subject, listed, event.origin.clone());
                Draft { joins: None, logged: Logged::Event(Arc::new(event)), ..draft.clone() }
            });
            let drafts: Vec<Draft> = drafts.collect();
            if !drafts.is_empty() {
                before.insert(place, drafts);
            }
        }
    }
    Ok(before)
}
