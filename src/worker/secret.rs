//! The key that signs links: made once, kept in the data folder for its owner alone.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// The 32 bytes in `signing.key`; made on first use.
///
/// # Errors
/// The file cannot be read or made, or is not a key.
pub fn load_or_make(data: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data.join("signing.key");
    if let Ok(bytes) = fs::read(&path) {
        return bytes.try_into().map_err(|_| {
            anyhow::anyhow!("{} is damaged: restore it from a backup, or links in sent mail end", path.display())
        });
    }
    let mut key = [0; 32];
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let key = *blake3::hash(&key).as_bytes();
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
