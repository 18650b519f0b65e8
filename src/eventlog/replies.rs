//! How those who appended hear of their commit: all that wait in one runtime by one waking.
//!
//! To wake a task of another thread costs a system call, and where they share a core a switch of threads, there and
//! back. A commit answers dozens, mostly of one web worker: they are handed over together, and told apart where they
//! wait.

use std::cell::RefCell;

use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, oneshot};

use crate::eventlog::{AppendError, Receipt};

pub(super) type Said = Result<Vec<Receipt>, AppendError>;
type Handed = Vec<(oneshot::Sender<Said>, Said)>;

/// Where the answers for one runtime are handed over.
#[derive(Clone)]
struct Counter(mpsc::UnboundedSender<Handed>);

thread_local! {
    static COUNTER: RefCell<Option<(runtime::Id, Counter)>> = const { RefCell::new(None) };
}

impl Counter {
    /// That of the runtime this is called in.
    fn here() -> Self {
        let here = Handle::current();
        COUNTER.with_borrow_mut(|known| match known {
            // A runtime that has ended leaves its number to another.
            Some((id, counter)) if *id == here.id() && !counter.0.is_closed() => counter.clone(),
            _ => {
                let (counter, mut handed) = mpsc::unbounded_channel::<Handed>();
                here.spawn(async move {
                    while let Some(answers) = handed.recv().await {
                        tell(answers);
                    }
                });
                known.insert((here.id(), Self(counter))).1.clone()
            }
        })
    }
}

/// Somebody who waits to hear.
pub(super) struct Reply {
    counter: Counter,
    to: oneshot::Sender<Said>,
}

impl Reply {
    /// And where it is heard.
    pub fn wait() -> (Self, oneshot::Receiver<Said>) {
        let (to, said) = oneshot::channel();
        (Self { counter: Counter::here(), to }, said)
    }
}

/// Tells each what was said to it.
pub(super) fn reply(all: impl Iterator<Item = (Reply, Said)>) {
    let mut counters: Vec<(Counter, Handed)> = Vec::new();
    for (Reply { counter, to }, said) in all {
        match counters.iter_mut().find(|(known, _)| known.0.same_channel(&counter.0)) {
            Some((_, handed)) => handed.push((to, said)),
            None => counters.push((counter, vec![(to, said)])),
        }
    }
    for (counter, handed) in counters {
        // Whoever waits may have gone to another runtime when the one it asked in has ended.
        if let Err(mpsc::error::SendError(handed)) = counter.0.send(handed) {
            tell(handed);
        }
    }
}

fn tell(answers: Handed) {
    for (to, said) in answers {
        // A caller that has gone away needs no answer.
        let _ = to.send(said);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn runtime() -> runtime::Runtime {
        runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn everyone_hears_what_was_said_to_them_in_whatever_runtime_they_wait() {
        let (first, second) = (runtime(), runtime());
        let waiting: Vec<_> = (0..20).map(|n| [&first, &second][n % 2].block_on(async { Reply::wait() })).collect();
        let (replies, said): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let errors = (0..).map(|n: usize| Err(AppendError::Failing(n.to_string())));
        reply(replies.into_iter().zip(errors));
        for (n, said) in said.into_iter().enumerate() {
            let heard = [&first, &second][n % 2].block_on(said).unwrap();
            assert!(matches!(heard, Err(AppendError::Failing(text)) if text == n.to_string()));
        }
    }

    #[test]
    fn who_asked_in_a_runtime_that_has_ended_is_told_all_the_same() {
        let ended = runtime();
        let (early, early_said) = ended.block_on(async { Reply::wait() });
        drop(ended);
        let next = runtime();
        // The thread is the same, and maybe the number of its runtime.
        let (late, late_said) = next.block_on(async { Reply::wait() });
        reply([(early, Ok(Vec::new())), (late, Ok(Vec::new()))].into_iter());
        assert!(next.block_on(early_said).unwrap().is_ok() && next.block_on(late_said).unwrap().is_ok());
    }
}
