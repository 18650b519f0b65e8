//! What a failed commit leaves behind: outcomes that happened and are not stored, and claims that may have been made
//! without our hearing of it. Both are sorted out before anything else is sent.

use std::sync::PoisonError;

use crate::eventlog::Queue;
use crate::ids::Timestamp;
use crate::store::locks::Reach;
use crate::worker::dispatcher::claim::Moved;
use crate::worker::dispatcher::delivery::store_again;
use crate::worker::dispatcher::inquiry::Word;
use crate::worker::dispatcher::{Dispatcher, Lost};

impl Dispatcher {
    /// Into the queue at once, and not when their claim runs out.
    pub(super) async fn take_back_unheard(&self, now: Timestamp) -> anyhow::Result<usize> {
        let messages = std::mem::take(&mut *self.unheard.lock().unwrap_or_else(PoisonError::into_inner));
        if messages.is_empty() {
            return Ok(0);
        }
        let lost = Lost::Unbegun(messages);
        let taken = self.recover_in(self.leases.held(), &lost, now).await;
        if let (Err(_), Lost::Unbegun(messages)) = (&taken, lost) {
            self.unheard.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
        }
        taken
    }

    pub(super) fn keep_unstored(&self, moves: Vec<Moved>) {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner).extend(moves);
    }

    pub(super) async fn store_unstored(&self, now: Timestamp) -> anyhow::Result<usize> {
        let moves = std::mem::take(&mut *self.unstored.lock().unwrap_or_else(PoisonError::into_inner));
        if moves.is_empty() {
            return Ok(0);
        }
        let kept = moves.clone();
        let layout = self.parts.store.layout();
        let shards = moves.iter().map(|one| layout.shard_of(one.message.profile)).collect();
        let reach = Reach::with(layout, shards, moves.iter().filter_map(Moved::stopped));
        let stored = self
            .parts
            .log
            .writer()
            .change_in(Queue::Sends, reach, move |tx, appender| {
                Box::pin(async move { store_again(tx, appender, now, moves).await })
            })
            .await;
        match stored {
            Ok(stored) => {
                let count = self.count(&stored);
                self.inquiry.tell(stored.given_up.into_iter().map(Word::GivenUp));
                Ok(count)
            }
            Err(error) => {
                self.keep_unstored(kept);
                Err(error)
            }
        }
    }
}
