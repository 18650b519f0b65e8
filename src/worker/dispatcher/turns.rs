//! Messages that wait for a slow domain are called up when it has room: one for each that it took, and many together when
//! it has become quick. So whoever waits is looked at once for each time it may go, however many wait, and nobody waits
//! for longer than the domain makes them. What they wait for is a column, for a process that begins knows nobody's pace.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::eventlog::Queue;
use crate::ids::{MessageId, Span, Timestamp, WorkspaceId};
use crate::store::shards::ShardSet;
use crate::store::slow_domains::{waited_for, waiting};
use crate::store::workspace;
use crate::worker::dispatcher::Dispatcher;
use crate::worker::dispatcher::line::Line;

/// Domains asked about in one tick.
const ASKED_MAX: usize = 16;
/// How long what is known of who waits is believed: of messages that another process left to us, nothing is.
const BELIEVED: Span = Span::from_seconds(600);
/// Domains read together.
const READ_MAX: usize = 10_000;

/// For whose messages, and when, it was read from the database which domains are waited for.
#[derive(Default)]
pub struct Turns(Mutex<Option<(ShardSet, Timestamp)>>);

impl Turns {
    /// Whether it must be read again; then it is taken as read.
    fn are_unread(&self, now: Timestamp, shards: ShardSet) -> bool {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = read.is_some_and(|(of, at)| of == shards && now < at.plus(BELIEVED));
        if !is_known {
            *read = Some((shards, now));
        }
        !is_known
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Dispatcher {
    /// Makes the next messages due whose domains have room for them; false if nobody is called.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub(super) async fn call_up(&self, now: Timestamp, line: &Line) -> anyhow::Result<bool> {
        let (conn, shards) = (self.parts.store.reader(), self.leases.held());
        if self.turns.are_unread(now, shards) {
            let read = waited_for(conn, shards, READ_MAX).await;
            self.domains.wait(read.inspect_err(|_| self.turns.forget())?);
        }
        let domains = self.domains.waited_for(now, ASKED_MAX);
        if domains.is_empty() {
            return Ok(false);
        }
        let in_hand = line.in_hand();
        let is_slow = |domain: &&crate::worker::dispatcher::domains::Domain| self.domains.pace(domain).is_slow();
        // Together no more than are handed over soon, so that nobody else waits behind them.
        let mut lanes = self.parts.connections.saturating_sub(in_hand.keys().filter(is_slow).count());
        let mut called: BTreeMap<WorkspaceId, Vec<MessageId>> = BTreeMap::new();
        let mut of_shards = ShardSet::NONE;
        for domain in domains {
            let pace = self.domains.pace(&domain);
            let room = pace.calls(self.batch_max(), in_hand.get(&domain).copied().unwrap_or(0));
            if room == 0 || (pace.is_slow() && lanes == 0) {
                continue;
            }
            let found = waiting(conn, shards, domain.name(), now, room).await?;
            lanes -= usize::from(pace.is_slow() && !found.next.is_empty());
            for (id, message, profile) in found.next {
                called.entry(id).or_default().push(message);
                of_shards.insert(self.parts.store.layout().shard_of(profile));
            }
            if found.is_all {
                self.domains.served(&domain);
            }
        }
        if called.is_empty() {
            return Ok(false);
        }
        let change = self.parts.log.writer().change_in(Queue::Sends, of_shards, move |tx, _| {
            Box::pin(async move {
                for (id, messages) in called {
                    workspace(tx, id).call_up(&messages, now).await?;
                }
                Ok(())
            })
        });
        change.await.inspect_err(|_| self.turns.forget())?;
        Ok(true)
    }
}
