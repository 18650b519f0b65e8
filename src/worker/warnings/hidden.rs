//! Computed traits that hide what calls set under the same name.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::definition::computed_trait::shipped_in;
use crate::definition::{Definition, Document};
use crate::event::Kind;
use crate::store::Workspace;
use crate::store::entries::Logged;
use crate::worker::warnings::Seen;

/// What to say of documents that define a computed trait, or name a shipped one, where the newest identifies set a trait of
/// its name.
pub(super) async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    seen: &Seen,
    documents: &[&Document],
) -> anyhow::Result<Vec<String>> {
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    for document in documents {
        let name = format!("{} {}", document.kind, document.key);
        if let Definition::ComputedTrait(computed) = &document.definition {
            keys.insert(computed.key.clone(), name.clone());
        }
        for key in shipped_in(&document.definition, &document.text) {
            keys.entry(key.to_owned()).or_insert_with(|| name.clone());
        }
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let identified = Kind::Identify.event_name().to_owned();
    let (newest, _) = seen.newest(store, &BTreeSet::from([identified.clone()])).await?;
    let positions = newest.get(&identified).map_or(&[][..], Vec::as_slice);
    let mut set: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in store.entries_apart(positions).await?.into_values() {
        let Logged::Event(event) = entry.logged else { continue };
        let Some(traits) = event.traits() else { continue };
        for key in keys.keys().filter(|key| traits.contains_key(*key)) {
            *set.entry(key).or_default() += 1;
        }
    }
    let told = set.into_iter().map(|(key, count)| {
        let name = keys.get(key).map_or("", String::as_str);
        format!(
            "{name}: {count} of the last {} `Identified` set a trait `{key}`, which the computed one of this name hides",
            positions.len()
        )
    });
    Ok(told.collect())
}
