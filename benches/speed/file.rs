//! The floor of what is durable: the events' texts, appended to a file and synced, once for all that waits.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;

use carillon::event::Event;
use carillon::eventlog::{AppendError, Receipt};
use carillon::http::append::Append;
use carillon::ids::{Position, WorkspaceId};
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

type Job = (Vec<Event>, oneshot::Sender<Result<Vec<Receipt>, AppendError>>);

/// One thread and its file.
pub struct FileLog(mpsc::SyncSender<Job>);

impl FileLog {
    /// # Errors
    /// The file cannot be made.
    pub fn start(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::create(path)?;
        let (jobs, waiting) = mpsc::sync_channel::<Job>(8_192);
        std::thread::spawn(move || {
            let mut lines = Vec::new();
            while let Ok(first) = waiting.recv() {
                let mut taken = vec![first];
                taken.extend(waiting.try_iter());
                lines.clear();
                for event in taken.iter().flat_map(|(events, _)| events) {
                    lines.extend_from_slice(event.body.text().as_bytes());
                    lines.push(b'\n');
                }
                let synced = file.write_all(&lines).and_then(|()| file.sync_data());
                for (events, answer) in taken {
                    // A caller that has gone away needs no answer.
                    let _ = answer.send(match &synced {
                        Ok(()) => Ok(vec![Receipt::Stored { position: Position(1), profile: None }; events.len()]),
                        Err(error) => Err(AppendError::Failing(error.to_string())),
                    });
                }
            }
        });
        Ok(Self(jobs))
    }
}

impl Append for FileLog {
    fn append(&self, _: WorkspaceId, events: Vec<Event>) -> BoxFuture<'_, Result<Vec<Receipt>, AppendError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.try_send((events, answer)).map_err(|_| AppendError::Overloaded);
        async move {
            sent?;
            answered.await.unwrap_or(Err(AppendError::Stopping))
        }
        .boxed()
    }
}
