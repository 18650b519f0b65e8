//! A writer behind the door on a thread of its own, which stores together whatever waits: what the yardsticks share.

use std::sync::mpsc;

use carillon::event::Event;
use carillon::eventlog::{AppendError, Receipt, Taken};
use carillon::http::append::Append;
use carillon::ids::{Position, WorkspaceId};
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

const EVENTS_TOGETHER_MAX: usize = 4_096;
const WAITING_MAX: usize = 8_192;

type Job = (Vec<Event>, oneshot::Sender<Result<Vec<Taken>, AppendError>>);

/// Stops with its last user.
pub struct Queued(mpsc::SyncSender<Job>);

impl Queued {
    /// `store` makes events durable, and says where the log ends then.
    pub fn start(mut store: impl FnMut(&[&Event]) -> anyhow::Result<Position> + Send + 'static) -> Self {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(WAITING_MAX);
        std::thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                let (mut count, mut taken) = (first.0.len(), vec![first]);
                while count < EVENTS_TOGETHER_MAX
                    && let Ok(job) = waiting.try_recv()
                {
                    count += job.0.len();
                    taken.push(job);
                }
                let events: Vec<&Event> = taken.iter().flat_map(|(events, _)| events).collect();
                let stored = store(&events);
                for (events, answer) in taken {
                    // A caller that has gone away needs no answer.
                    let _ = answer.send(match &stored {
                        Ok(position) => {
                            Ok(vec![Ok(Receipt::Stored { position: *position, profile: None }); events.len()])
                        }
                        Err(error) => Err(AppendError::Failing(error.to_string())),
                    });
                }
            }
        });
        Self(jobs)
    }
}

impl Append for Queued {
    fn append(&self, _: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Taken>, AppendError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.try_send((events, answer)).map_err(|_| AppendError::Overloaded);
        async move {
            sent?;
            answered.await.unwrap_or(Err(AppendError::Stopping))
        }
        .boxed()
    }
}
