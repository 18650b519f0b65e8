//! The channel that sends nothing: it keeps what would have been sent, for the demo, for tests and for first steps.
//!
//! One folder `inbox` with `ID.json` per message and `ID.eml` beside it for e-mail. A message sent again overwrites
//! itself. The newest 10,000 are kept.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use crate::channel::{Channel, Unusable, mime};
use crate::ids::{MessageId, Timestamp};
use crate::message::Outcome;
use crate::render::kept::{Cursor, Kept, KeptMessages, KeptSummary, Unreadable};
use crate::render::{Content, Rendered};

/// Messages kept; the oldest go first.
pub const KEPT_MAX: usize = 10_000;

/// The sandbox's inbox. Clones share it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    folder: PathBuf,
    kept_max: usize,
    /// Read from the folder when first needed, then kept up to date: this process alone writes there.
    index: Mutex<Option<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    by_time: BTreeMap<Cursor, KeptSummary>,
    times: BTreeMap<MessageId, Timestamp>,
}

impl Index {
    fn insert(&mut self, summary: KeptSummary) {
        if let Some(before) = self.times.insert(summary.message, summary.at) {
            self.by_time.remove(&(before, summary.message));
        }
        self.by_time.insert((summary.at, summary.message), summary);
    }
}

impl Sandbox {
    /// Keeps messages in `data/inbox`, which it creates.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(data: &Path) -> io::Result<Self> {
        Self::keeping(data, KEPT_MAX)
    }

    fn keeping(data: &Path, kept_max: usize) -> io::Result<Self> {
        let folder = data.join("inbox");
        // Who reads it reads people's mail.
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { inbox: Arc::new(Inbox { folder, kept_max, index: Mutex::new(None) }) })
    }

    /// Keeps a message as if it were sent.
    pub async fn keep(&self, rendered: &Rendered) -> Outcome {
        let source = match rendered.content() {
            Content::Email(email) => match mime::bytes(email) {
                Ok(bytes) => Some(bytes),
                Err(cause) => return Outcome::Rejected { cause, suppress: false },
            },
            _ => None,
        };
        let (inbox, kept) = (Arc::clone(&self.inbox), Kept::from(rendered));
        let done = tokio::task::spawn_blocking(move || inbox.keep(&kept, source.as_deref())).await;
        match done.map_err(io::Error::other).and_then(|kept| kept) {
            Ok(()) => Outcome::Accepted { reply: "kept in the sandbox".to_owned() },
            Err(cause) => Outcome::TransportDown { cause: format!("the sandbox cannot write: {cause}") },
        }
    }
}

impl Sandbox {
    /// Removes what is kept of these messages, if anything is.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn forget(&self, messages: Vec<MessageId>) -> io::Result<()> {
        let inbox = Arc::clone(&self.inbox);
        let forgotten = tokio::task::spawn_blocking(move || inbox.forget(&messages)).await;
        forgotten.map_err(io::Error::other).and_then(|done| done)
    }
}

impl Channel for Sandbox {
    fn send<'a>(&'a self, rendered: &'a Rendered) -> BoxFuture<'a, Outcome> {
        Box::pin(self.keep(rendered))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Unusable>> {
        Box::pin(async move {
            let probe = self.inbox.folder.join(".check");
            let written = tokio::fs::write(&probe, b"").await;
            written.map_err(|cause| Unusable(format!("the sandbox cannot write: {cause}")))?;
            let _ = tokio::fs::remove_file(&probe).await;
            Ok("sandbox: nothing leaves this machine".to_owned())
        })
    }
}

impl Inbox {
    fn forget(&self, messages: &[MessageId]) -> io::Result<()> {
        let mut guard = self.index()?;
        for message in messages {
            if let Some(index) = guard.as_mut()
                && let Some(at) = index.times.remove(message)
            {
                index.by_time.remove(&(at, *message));
            }
            for extension in ["json", "eml", "part"] {
                match fs::remove_file(self.path(*message, extension)) {
                    Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn keep(&self, kept: &Kept, source: Option<&[u8]>) -> io::Result<()> {
        let mut guard = self.index()?;
        let Some(index) = guard.as_mut() else { return Ok(()) };
        // The JSON goes last: where it is, the message is whole.
        if let Some(source) = source {
            self.write(kept.message, "eml", source)?;
        }
        self.write(kept.message, "json", &serde_json::to_vec_pretty(kept)?)?;
        index.insert(KeptSummary::from(kept));
        while index.by_time.len() > self.kept_max {
            let Some(((_, oldest), _)) = index.by_time.pop_first() else { break };
            index.times.remove(&oldest);
            fs::remove_file(self.path(oldest, "json"))?;
            match fs::remove_file(self.path(oldest, "eml")) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, message: MessageId, extension: &str) -> PathBuf {
        self.folder.join(format!("{message}.{extension}"))
    }

    fn write(&self, message: MessageId, extension: &str, bytes: &[u8]) -> io::Result<()> {
        let part = self.path(message, "part");
        fs::File::create(&part)?.write_all(bytes)?;
        fs::rename(part, self.path(message, extension))
    }

    /// The index, loaded.
    fn index(&self) -> io::Result<MutexGuard<'_, Option<Index>>> {
        let mut guard = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            let mut index = Index::default();
            for entry in fs::read_dir(&self.folder)? {
                let path = entry?.path();
                if path.extension().is_some_and(|it| it == "json") {
                    // A file someone else put there is not a reason to show nothing.
                    if let Ok(kept) = serde_json::from_slice::<Kept>(&fs::read(path)?) {
                        index.insert(KeptSummary::from(&kept));
                    }
                }
            }
            *guard = Some(index);
        }
        Ok(guard)
    }

    fn read(&self, message: MessageId, extension: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        match fs::read(self.path(message, extension)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Unreadable(cause.to_string())),
        }
    }
}

impl KeptMessages for Sandbox {
    fn list(&self, limit: usize, after: Option<Cursor>) -> Result<Vec<KeptSummary>, Unreadable> {
        let guard = self.inbox.index().map_err(|cause| Unreadable(cause.to_string()))?;
        let Some(index) = guard.as_ref() else { return Ok(Vec::new()) };
        let older = match after {
            None => index.by_time.range(..),
            Some(cursor) => index.by_time.range(..cursor),
        };
        Ok(older.rev().take(limit).map(|(_, summary)| summary.clone()).collect())
    }

    fn get(&self, message: MessageId) -> Result<Option<Kept>, Unreadable> {
        let Some(bytes) = self.inbox.read(message, "json")? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|cause| Unreadable(cause.to_string()))
    }

    fn source(&self, message: MessageId) -> Result<Option<Vec<u8>>, Unreadable> {
        self.inbox.read(message, "eml")
    }
}

#[cfg(test)]
mod tests;
