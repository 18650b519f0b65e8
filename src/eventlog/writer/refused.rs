//! What the database refuses of one event for what it is, whoever sends it: it is told apart from those it shares a commit
//! with, by halves, so that they are stored and its sender alone hears of it. A database that refuses whatever it is given
//! is in trouble, and nobody's event is to blame.

use std::collections::BTreeMap;

use sea_orm::{DatabaseTransaction, TransactionTrait};

use super::{AppendJob, Loop};
use crate::event::{Body, Event, Kind, Origin};
use crate::eventlog::append::Mark;
use crate::eventlog::replies::reply;
use crate::eventlog::{AppendError, Draft, Receipt};
use crate::ids::{EventId, Timestamp, WorkspaceId};
use crate::store::locks::Reach;
use crate::store::refused::{Refusal, refusal};

/// Nothing of a transaction was kept: the database does not take some of its events.
#[derive(Debug, thiserror::Error)]
#[error("the database refused events for what they are ({code})")]
pub(super) struct RefusedEvents {
    code: String,
}

impl Loop {
    /// Gives events their places in the transaction.
    pub(super) async fn place(
        &mut self,
        tx: &DatabaseTransaction,
        drafts: Vec<Vec<Draft>>,
        reach: Reach,
    ) -> anyhow::Result<Vec<Vec<Receipt>>> {
        let resolved = self.appender.resolve(tx, drafts).await?;
        self.appender.lock(tx, &reach.or(resolved.shards.into())).await?;
        Ok(self.appender.place(tx, resolved).await?)
    }

    /// Why events could not be placed; the transaction is rolled back whole where it is for what one of them is.
    pub(super) async fn undone(
        &mut self,
        tx: DatabaseTransaction,
        before: Mark,
        error: anyhow::Error,
    ) -> anyhow::Error {
        let Some(Refusal { code, .. }) = refusal(&error) else { return error };
        match tx.rollback().await {
            Ok(()) => {
                self.appender.back_to(before);
                RefusedEvents { code }.into()
            }
            Err(error) => error.into(),
        }
    }

    /// Stores requests of which the database refused something, in halves, until it is known whose that is.
    pub(super) async fn apart(&mut self, mut refused: Vec<AppendJob>) {
        let mut waiting: Vec<Vec<AppendJob>> = Vec::new();
        loop {
            if refused.len() > 1 {
                let second = refused.split_off(refused.len() / 2);
                waiting.extend([second, refused]);
            } else if let Some(alone) = refused.pop() {
                self.alone(alone).await;
            }
            let Some(next) = waiting.pop() else { return };
            refused = self.turn(next, Vec::new()).await;
        }
    }

    /// One request, which hears which of its events are not taken.
    async fn alone(&mut self, job: AppendJob) {
        let refused = match self.refused_of(&job.drafts).await {
            // Each is taken by itself: what was in the way has passed.
            Ok(refused) if refused.is_empty() => {
                let left = self.turn(vec![job], Vec::new()).await;
                return fail(left, "the database refuses together what it takes one by one");
            }
            Ok(refused) => refused,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "events were refused, and it cannot be told which");
                self.health.commit_failed(&error);
                self.is_stale = true;
                return fail(vec![job], &error.to_string());
            }
        };
        let codes: Vec<&str> = refused.values().map(String::as_str).collect();
        tracing::error!(events = refused.len(), ?codes, "the database refuses events for what they are; others go on");
        reply(std::iter::once((job.reply, Err(AppendError::Refused(refused)))));
    }

    /// Which of these the database does not take, and by which code.
    async fn refused_of(&mut self, drafts: &[Draft]) -> anyhow::Result<BTreeMap<usize, String>> {
        let mut refused = BTreeMap::new();
        let mut parts = Vec::from([(0, drafts.len())]);
        while let Some((from, to)) = parts.pop() {
            let Some(why) = self.tried(drafts[from..to].to_vec()).await? else { continue };
            if to - from == 1 {
                refused.insert(from, why.code);
                continue;
            }
            let middle = from + (to - from) / 2;
            parts.extend([(middle, to), (from, middle)]);
        }
        if let Some((first, code)) = refused.first_key_value() {
            let anybody = probe(drafts[*first].workspace, self.appender.now());
            let why = self.tried(vec![anybody]).await?;
            anyhow::ensure!(why.is_none(), "the database takes no event, whatever is in it ({code})");
        }
        Ok(refused)
    }

    /// Why the database does not take these; nothing of the trial is kept.
    async fn tried(&mut self, drafts: Vec<Draft>) -> anyhow::Result<Option<Refusal>> {
        self.refresh().await?;
        let tx = self.database.writer.begin().await?;
        self.appender.begin();
        let before = self.appender.mark();
        let placed = self.place(&tx, vec![drafts], Reach::default()).await;
        tx.rollback().await?;
        self.appender.back_to(before);
        match placed {
            Ok(_) => Ok(None),
            Err(error) => refusal(&error).map(Some).ok_or(error),
        }
    }
}

fn fail(jobs: Vec<AppendJob>, cause: &str) {
    reply(jobs.into_iter().map(|job| (job.reply, Err(AppendError::Failing(cause.to_owned())))));
}

/// An event of nobody we know, that says nothing.
fn probe(workspace: WorkspaceId, now: Timestamp) -> Draft {
    let event = Event {
        id: EventId::derive(&[b"carillon.probe"]),
        kind: Kind::Track,
        message_id: "carillon.probe".to_owned(),
        name: "Probe".to_owned(),
        version: 1,
        source: "carillon".to_owned(),
        correlation_id: String::new(),
        trace: None,
        user_id: None,
        anonymous_id: Some("carillon.probe".to_owned()),
        previous_id: None,
        at: now,
        received_at: now,
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new("{}"),
    };
    Draft::event(workspace, event)
}
