//! What a person who applies definitions is told beside the result: fields that the events which came do not have,
//! traits that the people who are stored do not have, what is odd about their mails, traits that computed ones hide, and what of the past is no longer there.

mod hidden;
mod newest;
mod pruned;
mod templates;
pub mod traits;

use std::collections::BTreeSet;
use std::sync::Arc;

use sea_orm::DatabaseConnection;
use serde_json::Value;

use crate::definition::Document;
use crate::definition::asked::{asked, warnings};
use crate::event::Event;
use crate::ids::Timestamp;
use crate::store::Workspace;
use crate::store::entries::Logged;
use crate::worker::live::book::Book;
pub use newest::Seen;

pub const WARNINGS_MAX: usize = 100;

/// What to say of these documents beside the newest events, where `book` is in force; nothing where all is well, or nothing came.
///
/// # Errors
/// The database cannot be read.
pub async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    (book, seen): (&Book, &Seen),
    documents: &[&Document],
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let asked = asked(documents.iter().copied());
    let names: BTreeSet<String> = asked.keys().cloned().collect();
    let mut told = Vec::new();
    let (newest, came) = seen.newest(store, &names).await?;
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
    told.extend(traits::of_documents(store, book, documents).await?);
    told.extend(hidden::of_documents(store, seen, documents).await?);
    told.extend(templates::of_documents(store, (book, seen), documents).await?);
    told.extend(pruned::of_documents(store, documents, now).await?);
    told.sort();
    told.truncate(WARNINGS_MAX);
    Ok(told)
}
