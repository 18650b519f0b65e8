//! Which file this is: the same content under another name is the same file, whose rows happened once. The ids of rows
//! have the name that the file had when it came first, so what is asked here is that name.

use std::fs::File;
use std::io::BufRead;
use std::path::Path;

use super::envelope::name_of;
use super::lines::decoded;
use crate::eventlog::{EventLog, Queue};
use crate::ids::WorkspaceId;
use crate::store::shards::ShardSet;
use crate::store::workspace;

/// The digest of what a file says, however it is packed or encoded; none where it cannot be read, which whoever imports
/// it is told in better words, or where `halted` came first. Blocks.
pub(super) fn digest(path: &Path, halted: impl Fn() -> bool) -> Option<blake3::Hash> {
    let mut input = decoded(File::open(path).ok()?).ok()?;
    let mut hash = blake3::Hasher::new();
    while !halted() {
        // What is broken further on is read up to there, again and again alike.
        let taken = match input.fill_buf() {
            Ok(piece) if !piece.is_empty() => {
                hash.update(piece);
                piece.len()
            }
            Ok(_) | Err(_) => return Some(hash.finalize()),
        };
        input.consume(taken);
    }
    None
}

/// The name under which the rows of this file are known: its own, unless the same came under another before.
///
/// # Errors
/// The database cannot be written.
pub async fn known_as(log: &EventLog, id: WorkspaceId, path: &Path) -> anyhow::Result<Option<String>> {
    let read = path.to_owned();
    let digest = tokio::task::spawn_blocking(move || digest(&read, || false)).await?;
    match digest {
        Some(digest) => known_by(log, id, path, digest).await.map(Some),
        None => Ok(None),
    }
}

/// The same of a file whose digest is known.
pub(super) async fn known_by(
    log: &EventLog,
    id: WorkspaceId,
    path: &Path,
    digest: blake3::Hash,
) -> anyhow::Result<String> {
    let (digest, name) = (digest.to_hex().to_string(), name_of(path));
    let writer = log.writer();
    let change = writer.change_in(Queue::Sends, ShardSet::NONE, move |tx, _| {
        Box::pin(async move { Ok(workspace(tx, id).file_known_as(&digest, &name).await?) })
    });
    change.await
}

/// What to say of a file that is known under this name; nothing where that is its own.
pub(super) fn other_name(path: &Path, known_as: Option<&str>) -> Option<String> {
    known_as.filter(|known| *known != name_of(path)).map(str::to_owned)
}
