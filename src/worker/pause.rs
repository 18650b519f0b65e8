//! Pausing and resuming: an entry of the log, so that replay knows, and a row, so that it holds at once.

use crate::eventlog::{EventLog, Queue, Receipt, logged};
use crate::ids::WorkspaceId;
use crate::store::entries::Logged;
use crate::store::workspace;

/// In force when it is answered: every claim reads the pauses. Entries are decided by what was paused at their place in
/// the log, so the decisions learn of it when they come to this entry and not before. False: it was so already. `scope`
/// is [`PAUSE_ALL`](crate::store::controls::PAUSE_ALL) or a campaign's key.
///
/// # Errors
/// The database cannot be read or written.
pub async fn set_paused(log: &EventLog, id: WorkspaceId, scope: &str, paused: bool) -> anyhow::Result<bool> {
    set_paused_by(log, id, scope, paused, (None, None)).await
}

/// The same, remembering who switched it and why.
///
/// # Errors
/// The database cannot be read or written.
pub async fn set_paused_by(
    log: &EventLog,
    id: WorkspaceId,
    scope: &str,
    paused: bool,
    (who, why): (Option<String>, Option<String>),
) -> anyhow::Result<bool> {
    let (now, scope) = (log.clock().now(), scope.to_owned());
    log.writer()
        .change(Queue::Effects, move |tx, appender| {
            Box::pin(async move {
                let store = workspace(tx, id);
                if store.pauses().await?.contains(&scope) == paused {
                    return Ok(false);
                }
                store.set_paused(&scope, paused, now).await?;
                let entry = logged(id, None, now, Logged::Control { scope: scope.clone(), paused });
                let receipts = appender.append(tx, vec![vec![entry]]).await?;
                let Some(Receipt::Stored { position, .. }) = receipts.into_iter().flatten().next() else {
                    anyhow::bail!("the log took no entry for the pause");
                };
                store.note_switch(&scope, paused, position).await?;
                store.note_pause(&scope, who.as_deref(), why.as_deref()).await?;
                Ok(true)
            })
        })
        .await
}
