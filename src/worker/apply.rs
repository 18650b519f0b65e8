//! Definitions put into force: all documents or none, each changed text as a new version, from one log entry on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::DatabaseTransaction;
use serde::Serialize;
use utoipa::ToSchema;

use crate::definition::{self, Document, DocumentKind, Known, Problem, SourceFile};
use crate::eventlog::append::Appender;
use crate::eventlog::{EventLog, Queue, Receipt, logged};
use crate::ids::{Position, Timestamp, WorkspaceId};
use crate::store::definitions::{StoredDefinition, StoredFile};
use crate::store::entries::Logged;
use crate::store::{Store, workspace};
use crate::worker::dispatcher::requeue_held;
use crate::worker::live::book::Book;
use crate::worker::live::{Definitions, read_stored};
use crate::worker::warnings;

/// What applying did, each as `kind key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Applied {
    pub created: Vec<String>,
    pub changed: Vec<String>,
    pub unchanged: Vec<String>,
    /// What is right as written and does not fit the events that came.
    pub warnings: Vec<String>,
}

/// Reads and checks the files and puts what they hold into force; with `dry_run` only says what would change.
///
/// # Errors
/// The outer error is the database's. The inner one lists every problem, and nothing was applied.
pub async fn apply(
    log: &EventLog,
    store: &Store,
    definitions: &Definitions,
    id: WorkspaceId,
    files: Vec<SourceFile>,
    dry_run: bool,
) -> anyhow::Result<Result<Applied, Vec<Problem>>> {
    let book = definitions.book(id).await?;
    let documents = match read_against(&book, files).await? {
        Ok(documents) => documents,
        Err(problems) => return Ok(Err(problems)),
    };
    let stored = store.workspace(id).newest_of(&names_of(&documents)).await?;
    let (mut applied, fresh) = compare(&documents, &stored);
    let fresh: Vec<Document> = fresh.into_iter().map(|(document, _)| document.clone()).collect();
    let changes_quiet_hours = fresh.iter().any(|document| document.kind == DocumentKind::QuietHours);
    let now = log.clock().now();
    if dry_run {
        let fresh: Vec<&Document> = fresh.iter().collect();
        applied.warnings =
            warnings::of_documents(store.workspace(id), (&book, definitions.seen()), &fresh, now).await?;
        return Ok(Ok(applied));
    }
    applied = log
        .writer()
        .change(Queue::Effects, move |tx, appender| Box::pin(store_changed(tx, appender, id, documents, now)))
        .await?;
    let book = definitions.book(id).await?;
    if changes_quiet_hours {
        // What waits is asked again: its morning may be another.
        requeue_held(log, id, "quiet_hours", now).await?;
    }
    // By now it is in force: nobody waits for what is only told.
    let fresh: Vec<&Document> = fresh.iter().collect();
    applied.warnings = match warnings::of_documents(store.workspace(id), (&book, definitions.seen()), &fresh, now).await
    {
        Ok(warnings) => warnings,
        Err(error) => {
            tracing::error!(%error, "what was applied cannot be compared with what came");
            vec!["what was applied could not be compared with the events that came; `carillon plan` does".to_owned()]
        }
    };
    Ok(Ok(applied))
}

/// The documents of the files, checked against what is in force; or every problem.
pub(super) async fn read_against(
    book: &Arc<Book>,
    files: Vec<SourceFile>,
) -> anyhow::Result<Result<Vec<Document>, Vec<Problem>>> {
    let book = book.clone();
    // Thousands of files take a while.
    let read = move || definition::check(&files, book.known());
    Ok(tokio::task::spawn_blocking(read).await?)
}

/// (kind, key) of each.
pub(super) fn names_of(documents: &[Document]) -> BTreeSet<(&str, &str)> {
    documents.iter().map(|document| (document.kind.as_str(), document.key.as_str())).collect()
}

/// The documents of the files, and the newest versions of what is in force; or every problem.
pub(super) async fn checked(
    store: &Store,
    id: WorkspaceId,
    files: &[SourceFile],
) -> anyhow::Result<Result<(Vec<Document>, Vec<StoredDefinition>), Vec<Problem>>> {
    let stored = store.workspace(id).definitions().await?;
    Ok(definition::check(files, &known(&stored)).map(|documents| (documents, stored)))
}

/// The newest version of everything, as files that `apply` reads.
///
/// # Errors
/// The database cannot be read.
pub async fn export(store: &Store, id: WorkspaceId) -> anyhow::Result<Vec<SourceFile>> {
    let stored = store.workspace(id).definitions().await?;
    let files = stored.into_iter().flat_map(|one| one.files);
    Ok(definition::shelved(files.map(|file| SourceFile { name: file.name, text: file.text }).collect()))
}

/// In the writer's transaction, so that two appliers see each other's versions.
async fn store_changed(
    tx: &DatabaseTransaction,
    appender: &mut Appender,
    id: WorkspaceId,
    documents: Vec<Document>,
    now: Timestamp,
) -> anyhow::Result<Applied> {
    let store = workspace(tx, id);
    let stored = store.newest_of(&names_of(&documents)).await?;
    let (applied, fresh) = compare(&documents, &stored);
    if fresh.is_empty() {
        return Ok(applied);
    }
    let names = applied.created.iter().chain(&applied.changed).cloned().collect();
    let entry = logged(id, None, now, Logged::DefinitionsApplied { documents: names });
    let receipts = appender.append(tx, vec![vec![entry]]).await?;
    let Some(Receipt::Stored { position, .. }) = receipts.first().and_then(|group| group.first()).copied() else {
        anyhow::bail!("the log took no entry for the definitions");
    };
    for (document, version) in fresh {
        store.add_definition(&stored_as(document, version, position, now)).await?;
    }
    Ok(applied)
}

/// The row of a new version.
pub(super) fn stored_as(document: &Document, version: u32, position: Position, at: Timestamp) -> StoredDefinition {
    StoredDefinition {
        kind: document.kind.as_str().to_owned(),
        key: document.key.clone(),
        version,
        files: files_of(document),
        position,
        applied_at: at,
    }
}

/// What would change, and the documents to store with their new version.
pub(super) fn compare<'d>(
    documents: &'d [Document],
    stored: &[StoredDefinition],
) -> (Applied, Vec<(&'d Document, u32)>) {
    let known: BTreeMap<(&str, &str), &StoredDefinition> =
        stored.iter().map(|one| ((one.kind.as_str(), one.key.as_str()), one)).collect();
    let mut applied = Applied::default();
    let mut fresh = Vec::new();
    for document in documents {
        let name = format!("{} {}", document.kind, document.key);
        match known.get(&(document.kind.as_str(), document.key.as_str())) {
            Some(one) if one.files == files_of(document) => applied.unchanged.push(name),
            Some(one) => {
                applied.changed.push(name);
                fresh.push((document, one.version + 1));
            }
            None => {
                applied.created.push(name);
                fresh.push((document, 1));
            }
        }
    }
    (applied, fresh)
}

fn files_of(document: &Document) -> Vec<StoredFile> {
    document.files().into_iter().map(|file| StoredFile { name: file.name, text: file.text }).collect()
}

fn known(stored: &[StoredDefinition]) -> Known {
    let mut known = Known::default();
    for one in stored {
        read_stored(one).iter().for_each(|definition| known.note(&one.key, definition));
    }
    known
}
