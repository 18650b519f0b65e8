//! A process's part in the work where several share a database: taken once, given back at the end.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ids::Timestamp;
use crate::worker::service::Workers;
use crate::worker::sharing::Sharing;

/// Works until `stop` turns true; what waits for a transport that was found stopped before is tried at once.
pub(super) async fn work(workers: Arc<Workers>, now: Timestamp, stop: watch::Receiver<bool>) {
    let dispatcher = workers.dispatcher();
    if let Err(error) = dispatcher.try_again_in(dispatcher.leases().held(), now).await {
        tracing::warn!(error = format!("{error:#}"), "what waits for a transport waits for its next try");
    }
    workers.run(stop).await;
}

/// Nothing to do where a database has one process. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Part {
    sharing: Option<Arc<Sharing>>,
    taken: Arc<Mutex<Option<Taken>>>,
}

struct Taken {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Part {
    pub(super) fn new(sharing: Option<Arc<Sharing>>) -> Self {
        Self { sharing, taken: Arc::default() }
    }

    /// From now on this process has its share of the shards.
    pub(super) fn take(&self) {
        let Some(sharing) = &self.sharing else { return };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_none() {
            let (stop, stopped) = watch::channel(false);
            *taken = Some(Taken { stop, task: tokio::spawn(sharing.clone().run(stopped)) });
        }
    }

    /// Takes every shard: for what only one process can do.
    ///
    /// # Errors
    /// Others work on this database.
    pub(super) async fn take_all(&self) -> anyhow::Result<()> {
        let Some(sharing) = &self.sharing else { return Ok(()) };
        sharing.must_be_alone().await?;
        self.take();
        sharing.until_all_held().await
    }

    pub(super) async fn give_back(&self) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Taken { stop, task }) = taken {
            let _ = stop.send(true);
            let _ = task.await;
        }
    }

    /// Waits until definitions, pauses or write keys changed in whichever process.
    pub(super) async fn revised(&self, known: &mut Option<watch::Receiver<(i64, i64)>>) {
        let Some(sharing) = &self.sharing else { return std::future::pending().await };
        if known.get_or_insert_with(|| sharing.revised()).changed().await.is_err() {
            std::future::pending().await
        }
    }
}
