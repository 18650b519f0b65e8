//! Campaigns that would take in more people at once than anybody should by accident: those who are in their segment
//! already, where a campaign asks for them. Whoever applies it is told how many, and says that they are meant.

use std::collections::BTreeSet;

use crate::decision::existing::INCLUDE_EXISTING;
use crate::definition::problem::Code;
use crate::definition::{Document, Problem, SourceFile};
use crate::ids::{Position, Timestamp, WorkspaceId};
use crate::store::Store;
use crate::worker::apply::{compare, names_of, read_against, stored_as};
use crate::worker::head_count::members_of;
use crate::worker::live::Definitions;
use crate::worker::live::book::Book;

/// More people than this are not taken in unless that is said.
pub const UNASKED_MAX: u64 = 1_000;

/// The campaigns of these files that would take in more than [`UNASKED_MAX`] people who are members already, and do not
/// do so now; nothing, where the files cannot be applied anyway.
///
/// # Errors
/// The database cannot be read.
pub async fn mass_entries(
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    files: &[SourceFile],
    now: Timestamp,
) -> anyhow::Result<Vec<Problem>> {
    if !files.iter().any(|file| file.text.contains(INCLUDE_EXISTING)) {
        return Ok(Vec::new());
    }
    let book = definitions.book(id).await?;
    let Ok(documents) = read_against(&book, files.to_vec()).await? else { return Ok(Vec::new()) };
    let stored = store.workspace(id).newest_of(&names_of(&documents)).await?;
    let fresh = compare(&documents, &stored).1.into_iter();
    let fresh: Vec<_> = fresh.map(|(document, version)| stored_as(document, version, Position(1), now)).collect();
    let mut supposed = Book::clone(&book);
    supposed.add(&fresh);
    let (before, catalog) = (&book.live().catalog, supposed.live().catalog.clone());
    let asking = |document: &Document| -> Option<(Document, String)> {
        let segment = catalog.existing().get(&document.key).filter(|_| document.definition.is_campaign())?;
        (before.existing().get(&document.key) != Some(segment)).then(|| (document.clone(), segment.clone()))
    };
    let asking: Vec<(Document, String)> = documents.iter().filter_map(asking).collect();
    let segments: BTreeSet<&str> = asking.iter().map(|(_, segment)| segment.as_str()).collect();
    if segments.is_empty() {
        return Ok(Vec::new());
    }
    let counts = members_of(store, id, catalog.clone(), &segments, now).await?;
    let told = asking.iter().filter_map(|(document, segment)| {
        let people = counts.get(segment).copied().filter(|people| *people > UNASKED_MAX)?;
        Some(problem(document, segment, people))
    });
    Ok(told.collect())
}

fn problem(document: &Document, segment: &str, people: u64) -> Problem {
    Problem {
        file: document.file.clone(),
        line: document.line,
        column: 1,
        field: format!("entry.{INCLUDE_EXISTING}"),
        code: Code::NeedsConfirmation,
        message: format!(
            "{people} people are in `{segment}` already and would enter, one turn after the other; more than \
             {UNASKED_MAX} need --yes, over HTTP ?yes=true"
        ),
        nearest: None,
    }
}
