//! What decisions asked for, stored: one transaction with the log position, all or nothing.

use anyhow::bail;
use sea_orm::DatabaseTransaction;

use crate::ids::WorkspaceId;
use crate::message::Status;
use crate::store::{Workspace, workspace};
use crate::worker::dispatcher::release_cancelled;
use crate::worker::world::Changes;

/// Stores the changes of every workspace in the batch.
///
/// # Errors
/// A person's row has changed since it was read, or the database refuses; the caller's transaction is rolled back.
pub async fn store(tx: &DatabaseTransaction, all: Vec<(WorkspaceId, Changes)>) -> anyhow::Result<()> {
    for (id, changes) in all {
        store_one(workspace(tx, id), changes).await?;
    }
    Ok(())
}

async fn store_one(store: Workspace<'_, DatabaseTransaction>, changes: Changes) -> anyhow::Result<()> {
    let people: Vec<_> = changes.people.iter().collect();
    if !store.save_people(&people).await? {
        bail!("a profile changed while it was decided on");
    }
    store.add_history_pages(changes.pages).await?;
    store.add_consents(changes.consents).await?;
    store.save_enrollments(changes.enrollments.values().collect()).await?;
    if !changes.messages.is_empty() {
        let messages: Vec<_> = changes.messages.iter().collect();
        let created = store.add_messages(&messages).await?;
        store.count("messages_created", i64::try_from(created).unwrap_or(i64::MAX)).await?;
    }
    for (message, event) in changes.renewed {
        store.renew_message(message, event).await?;
    }
    for (message, at, reason) in changes.cancelled {
        // One that was claimed meanwhile goes out: the exit came after the claim.
        if store.cancel_message(message, &Status::Cancelled { at, reason }, at).await? {
            release_cancelled(store, message, at).await?;
        }
    }
    for (profile, conversion) in &changes.conversions {
        store.add_conversions(*profile, std::slice::from_ref(conversion)).await?;
    }
    store.add_findings(changes.findings).await?;
    for parked in &changes.parked {
        store.park(parked).await?;
    }
    if changes.events_processed != 0 {
        store.count("events_processed", changes.events_processed).await?;
    }
    Ok(())
}
