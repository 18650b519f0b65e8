//! Traits that definitions ask for and the people who are stored do not have, or have as another type.

use std::collections::BTreeMap;

use sea_orm::DatabaseConnection;

use crate::audience::computed::ComputedTrait;
use crate::definition::asked::{trait_warnings, traits_asked};
use crate::definition::{Definition, Document};
use crate::store::Workspace;
use crate::worker::live::book::Book;

/// The newest people that are looked at.
const PEOPLE_MAX: u32 = 1_000;

/// What to say of documents that ask for traits; reads nobody where none does.
///
/// # Errors
/// The database cannot be read.
pub async fn of_documents(
    store: Workspace<'_, DatabaseConnection>,
    book: &Book,
    documents: &[&Document],
) -> anyhow::Result<Vec<String>> {
    let asked = traits_asked(documents.iter().copied());
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let in_force = book.live().catalog.terms.computed.iter().map(|defined| &defined.computed);
    let written = documents.iter().filter_map(|document| match &document.definition {
        Definition::ComputedTrait(computed) => Some(computed),
        _ => None,
    });
    let computed: BTreeMap<String, ComputedTrait> =
        in_force.chain(written).map(|computed| (computed.key.clone(), computed.clone())).collect();
    Ok(trait_warnings(&asked, &computed, &store.newest_traits(PEOPLE_MAX).await?))
}
