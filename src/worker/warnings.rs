//! What a person who applies definitions is told beside the result: fields that the events which came do not have,
//! what is odd about their mails, traits that computed ones hide, and what of the past is no longer there.

mod hidden;
mod pruned;
mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::DatabaseConnection;
use serde_json::Value;

use crate::definition::Document;
use crate::definition::asked::{asked, warnings};
use crate::event::Event;
use crate::ids::{Position, Timestamp};
use crate::store::Workspace;
use crate::store::entries::Logged;

/// Of each name, the newest events that are looked at.
const EVENTS_MAX: usize = 1_000;
/// Entries of the log in which they are looked for, from its end: a rare event may be further back.
const ENTRIES_MAX: usize = 200_000;
const PAGE_MAX: u32 = 10_000;
/// Names of events remembered for comparison; a shop has some dozens.
const NAMES_MAX: usize = 1_000;
pub const WARNINGS_MAX: usize = 100;

/// What to say of these documents beside the newest events; nothing where all is well, or nothing came.
///
/// # Errors
/// The database cannot be read.
pub async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    documents: &[&Document],
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let asked = asked(documents.iter().copied());
    let names: BTreeSet<String> = asked.keys().cloned().collect();
    let mut told = Vec::new();
    let (newest, came) = newest(store, names).await?;
    for (name, positions) in newest {
        let mut events: Vec<Arc<Event>> = Vec::new();
        for (_, entry) in store.entries_apart(&positions).await? {
            if let Logged::Event(event) = entry.logged {
                events.push(event);
            }
        }
        let bodies: Vec<&Value> = events.iter().map(|event| event.body.document()).collect();
        if let Some(asked) = asked.get(&name) {
            told.extend(warnings(&name, &bodies, asked, &came));
        }
    }
    told.extend(hidden::of_documents(store, documents).await?);
    told.extend(templates::of_documents(store, documents).await?);
    told.extend(pruned::of_documents(store, documents, now).await?);
    told.sort();
    told.truncate(WARNINGS_MAX);
    Ok(told)
}

/// Where the newest events of these names stand, and the names that came.
async fn newest(
    store: Workspace<'_, DatabaseConnection>,
    names: BTreeSet<String>,
) -> anyhow::Result<(BTreeMap<String, Vec<Position>>, BTreeSet<String>)> {
    let mut came = BTreeSet::new();
    let mut found: BTreeMap<String, Vec<Position>> = names.into_iter().map(|name| (name, Vec::new())).collect();
    let (mut before, mut seen) = (Position(i64::MAX), 0);
    while seen < ENTRIES_MAX && found.values().any(|positions| positions.len() < EVENTS_MAX) {
        let page = store.names_before(before, PAGE_MAX).await?;
        let Some((last, _)) = page.last() else { break };
        before = *last;
        seen += page.len();
        for (position, name) in page {
            if let Some(positions) = found.get_mut(&name).filter(|positions| positions.len() < EVENTS_MAX) {
                positions.push(position);
            }
            if came.len() < NAMES_MAX && !came.contains(&name) {
                came.insert(name);
            }
        }
    }
    Ok((found, came))
}
