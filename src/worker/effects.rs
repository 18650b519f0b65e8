//! What decisions asked for, stored: one transaction with the log position, all or nothing.

use sea_orm::DatabaseTransaction;

use crate::audience::history::PAGES_MAX;
use crate::decision::Effect;
use crate::decision::dates::DATE_REACHED;
use crate::decision::effect::OwnEvent;
use crate::eventlog::append::Appender;
use crate::eventlog::{Draft, EventLog, Queue};
use crate::ids::{ProfileId, WorkspaceId};
use crate::message::{Status, Suppression};
use crate::store::merges::unfinished;
use crate::store::shards::ShardSet;
use crate::store::{Workspace, workspace};
use crate::worker::dispatcher::{release_cancelled, unite_slots};
use crate::worker::world::Changes;

/// Somebody else, such as whoever unites this person with another, was faster: what was decided is decided again.
#[derive(Debug, thiserror::Error)]
#[error("a profile changed while it was decided on")]
pub struct Raced;

/// A profile whose rows are the winner's from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    pub loser: ProfileId,
    pub winner: ProfileId,
    /// Pages of history that the loser has in all, and the winner had before.
    pub pages: u32,
    pub after: u32,
}

/// Stores the changes of every workspace in the batch.
///
/// # Errors
/// A person's row has changed since it was read, or the database refuses; the caller's transaction is rolled back.
pub async fn store(
    tx: &DatabaseTransaction,
    appender: &mut Appender,
    all: Vec<(WorkspaceId, Changes)>,
) -> anyhow::Result<()> {
    let mut follow = Vec::new();
    for (id, mut changes) in all {
        let own = std::mem::take(&mut changes.follow).into_iter();
        follow.extend(own.map(|(profile, event)| following(id, profile, event)));
        store_one(workspace(tx, id), changes).await?;
    }
    if !follow.is_empty() {
        appender.append(tx, vec![follow]).await?;
    }
    Ok(())
}

/// An event of our own is decided at the instant of its cause; that a date has come, when it is told, so that one that is
/// told too late enters nobody.
fn following(id: WorkspaceId, profile: ProfileId, event: OwnEvent) -> Draft {
    let now = Some(event.at).filter(|_| event.name != DATE_REACHED);
    Draft { profile: Some(profile), now, ..Draft::event(id, event.into_event()) }
}

async fn store_one(store: Workspace<'_, DatabaseTransaction>, changes: Changes) -> anyhow::Result<()> {
    if !store.save_people(changes.rows).await? || !store.are_unchanged(&changes.unchanged).await? {
        return Err(Raced.into());
    }
    store.add_history_pages(changes.pages).await?;
    store.add_consents(changes.consents).await?;
    store.add_terms(changes.terms).await?;
    for (profile, effect) in changes.addresses {
        change_address(store, profile, effect).await?;
    }
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
    store.note_sent(&changes.sent).await?;
    for (profile, conversion) in &changes.conversions {
        store.add_conversions(*profile, std::slice::from_ref(conversion)).await?;
    }
    store.set_members(changes.members).await?;
    store.set_inclusions(changes.inclusions).await?;
    store.add_findings(changes.findings).await?;
    for parked in &changes.parked {
        store.park(parked).await?;
    }
    for merge in &changes.merges {
        store_merge(store, merge).await?;
    }
    store.file_addresses(&changes.held).await?;
    if changes.events_processed != 0 {
        store.count("events_processed", changes.events_processed).await?;
    }
    Ok(())
}

/// Stops or frees an address for the answer of a person.
async fn change_address(
    store: Workspace<'_, DatabaseTransaction>,
    profile: ProfileId,
    effect: Effect,
) -> anyhow::Result<()> {
    match effect {
        Effect::Suppress { channel, address, kind, source, at } => {
            let why = Suppression { kind, source, at, profile: Some(profile) };
            store.suppress(channel, &address, &why).await?;
        }
        Effect::LiftSuppression { channel, address, kind, source, at, of_anybody } => {
            let whose = (!of_anybody).then_some(profile);
            store.lift_suppression((channel, &address), Some(&kind), whose, &source, at).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Everything stored of the loser is the winner's: after the rest of the batch, which may have added to it.
async fn store_merge(store: Workspace<'_, DatabaseTransaction>, merge: &Merge) -> anyhow::Result<()> {
    let Merge { loser, winner, pages, after } = *merge;
    store.set_merged(loser, winner).await?;
    store.move_pages(loser, winner, pages.saturating_sub(PAGES_MAX), after).await?;
    store.move_rows(loser, winner).await?;
    unite_slots(store, loser, winner).await
}

/// Moves what merges of people with very many rows left behind, a slice of each at a time; false: nothing is left.
///
/// # Errors
/// The database cannot be read or written.
pub async fn finish_merges(log: &EventLog) -> anyhow::Result<bool> {
    // Looked at first: the change itself holds everybody up.
    let look = log.writer().change_in(Queue::Effects, ShardSet::NONE, |tx, _| {
        Box::pin(async move { Ok(unfinished(tx, 1).await?.is_empty()) })
    });
    if look.await? {
        return Ok(false);
    }
    log.writer()
        .change(Queue::Effects, |tx, _| {
            Box::pin(async move {
                let some = unfinished(tx, 1).await?;
                for (id, loser) in &some {
                    let store = workspace(tx, *id);
                    let winner = store.current_profile(*loser).await?;
                    store.move_rows(*loser, winner).await?;
                }
                Ok(!some.is_empty())
            })
        })
        .await
}
