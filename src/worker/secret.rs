//! The key that signs links: made once, kept in the data folder for its owner alone, or in the database that processes
//! share.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::store::Database;
use crate::store::controls::setting_or;

/// The setting that holds it where processes share a database.
const SIGNING_KEY: &str = "signing_key";

/// The key of this database; where processes share one they share the key, and it is kept there.
///
/// # Errors
/// It cannot be read or made, or is damaged.
pub async fn of(database: &Database, data: &Path) -> anyhow::Result<[u8; 32]> {
    if !database.is_postgres() {
        return load_or_make(data);
    }
    let made: String = new_key().iter().map(|byte| format!("{byte:02x}")).collect();
    let kept = setting_or(&database.writer, SIGNING_KEY, &made).await?;
    let bytes = (0..kept.len()).step_by(2).map(|at| u8::from_str_radix(kept.get(at..at + 2)?, 16).ok());
    bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| bytes.try_into().ok()).with_context(|| {
        format!("the setting {SIGNING_KEY} in the database is damaged: restore it, or links in sent mail end")
    })
}

fn new_key() -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    *blake3::hash(&key).as_bytes()
}

/// The 32 bytes in `signing.key`; made on first use.
///
/// # Errors
/// The file cannot be read or made, or is not a key.
fn load_or_make(data: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data.join("signing.key");
    if let Ok(bytes) = fs::read(&path) {
        return bytes.try_into().map_err(|_| {
            anyhow::anyhow!("{} is damaged: restore it from a backup, or links in sent mail end", path.display())
        });
    }
    let key = new_key();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("{} cannot be made", path.display()))?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}
