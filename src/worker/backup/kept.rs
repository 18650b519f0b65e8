//! The backups in the folder of a running service, whoever made them: made one at a time, listed, read and removed by
//! name. Processes that share a database may share the folder. Nothing but a whole backup's own files has a name here.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;

use super::make::{Step, make, stamp};
use super::{MANIFEST, Manifest, SIGNING_KEY};
use crate::ids::Timestamp;
use crate::store::Address;

/// Below the data folder, unless another is named.
pub const FOLDER: &str = "backups";
/// Held by whichever process makes one; a name that no backup has.
const LOCK: &str = ".making";

/// Where the backups of a service are, and of what they are made. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    /// Where the key of the links is.
    data: PathBuf,
    folder: PathBuf,
    database: Address,
    /// One at a time: each reads the whole database.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A whole backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptBackup {
    pub name: String,
    pub manifest: Manifest,
}

impl Backups {
    pub fn new(data: &Path, database: Address) -> Self {
        Self { data: data.to_owned(), folder: data.join(FOLDER), database, turn: Arc::default() }
    }

    /// Kept elsewhere, where one is named.
    #[must_use]
    pub fn kept_in(self, folder: Option<PathBuf>) -> Self {
        Self { folder: folder.unwrap_or_else(|| self.folder.clone()), ..self }
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// The turn of this process among those that share the folder, until it is dropped; none: another makes one.
    fn take_turn(&self) -> anyhow::Result<Option<File>> {
        let cannot = || format!("{} cannot be written", self.folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).with_context(cannot)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(self.folder.join(LOCK)).with_context(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(cannot),
        }
    }

    /// Makes one called by the time; none while another is being made.
    ///
    /// # Errors
    /// The database cannot be read, or the folder not be written.
    pub async fn make(&self, at: Timestamp, told: impl FnMut(Step)) -> anyhow::Result<Option<KeptBackup>> {
        let Ok(_mine) = self.turn.try_lock() else { return Ok(None) };
        let Some(_ours) = self.take_turn()? else { return Ok(None) };
        let name = self.free_name(at)?;
        let key = self.data.join(SIGNING_KEY);
        let manifest = make(&self.database, &key, &self.folder().join(&name), at, told).await?;
        Ok(Some(KeptBackup { name, manifest }))
    }

    /// A second may have several.
    fn free_name(&self, at: Timestamp) -> anyhow::Result<String> {
        let first = format!("carillon-{}", stamp(at)?);
        let mut names = std::iter::once(first.clone()).chain((2..).map(|n| format!("{first}-{n}")));
        names.find(|name| !self.folder().join(name).exists()).context("there is no name left")
    }

    /// All that stand in the folder, whoever made them, the newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<KeptBackup>> {
        let folder = self.folder();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            found.extend(self.find(&name));
        }
        found.sort_by(|a, b| (b.manifest.made_at, &b.name).cmp(&(a.manifest.made_at, &a.name)));
        Ok(found)
    }

    /// The whole backup of this name.
    pub fn find(&self, name: &str) -> Option<KeptBackup> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        // What is being made has a point in its name, as what leads out of the folder has.
        if name.is_empty() || !name.chars().all(is_plain) {
            return None;
        }
        let text = fs::read_to_string(self.folder().join(name).join(MANIFEST)).ok()?;
        let manifest = serde_json::from_str(&text).ok()?;
        Some(KeptBackup { name: name.to_owned(), manifest })
    }

    /// A file of a backup, opened, with its length; none where the backup has no such file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, backup: &KeptBackup, file: &str) -> anyhow::Result<Option<(File, u64)>> {
        if file != MANIFEST && !backup.manifest.files.contains_key(file) || file.contains(['/', '\\']) {
            return Ok(None);
        }
        let path = self.folder().join(&backup.name).join(file);
        let opened = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let bytes = opened.metadata()?.len();
        Ok(Some((opened, bytes)))
    }

    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, backup: &KeptBackup) -> anyhow::Result<()> {
        let from = self.folder().join(&backup.name);
        // Under another name first: what is removed by half is no backup.
        let away = self.folder().join(format!("{}.removed", backup.name));
        fs::rename(&from, &away).with_context(|| format!("{} cannot be removed", from.display()))?;
        fs::remove_dir_all(&away).with_context(|| format!("{} cannot be removed", away.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    fn manifest() -> Manifest {
        Manifest {
            format: 1,
            carillon: "0.1.0".to_owned(),
            database: "sqlite".to_owned(),
            made_at: Timestamp::from_millis(1),
            position: 1,
            schema: "m".to_owned(),
            profiles: 0,
            messages: 0,
            files: BTreeMap::new(),
        }
    }

    #[test]
    fn only_a_whole_backup_has_a_name_and_nothing_beside_its_files() {
        let data = tempfile::tempdir().unwrap();
        let backups = Backups::new(data.path(), Address::Sqlite(data.path().join("carillon.db")));
        assert_eq!(backups.list().unwrap(), []);
        let folder = backups.folder();
        fs::create_dir_all(folder.join("carillon-1")).unwrap();
        fs::create_dir_all(folder.join("carillon-2.partial")).unwrap();
        fs::write(folder.join("carillon-1/other"), "x").unwrap();
        fs::write(data.path().join("server.json"), "secret").unwrap();
        assert_eq!(backups.list().unwrap(), []);
        let manifest = manifest();
        fs::write(folder.join("carillon-1").join(MANIFEST), serde_json::to_string(&manifest).unwrap()).unwrap();
        let found = backups.list().unwrap();
        assert_eq!(found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["carillon-1"]);
        assert!(backups.open(&found[0], MANIFEST).unwrap().is_some());
        for other in ["other", "../../server.json", "..", ""] {
            assert!(backups.open(&found[0], other).unwrap().is_none(), "{other}");
        }
        for name in ["..", "../backups/carillon-1", "carillon-2.partial", "", "carillon-3"] {
            assert!(backups.find(name).is_none(), "{name}");
        }
        backups.remove(&found[0]).unwrap();
        assert_eq!(backups.list().unwrap(), []);
    }

    #[test]
    fn processes_that_share_the_folder_see_each_others_backups_and_make_one_at_a_time() {
        let (one, other, shared) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |data: &Path| {
            Backups::new(data, Address::Sqlite(data.join("carillon.db"))).kept_in(Some(shared.path().to_owned()))
        };
        let (one, other) = (at(one.path()), at(other.path()));
        let turn = one.take_turn().unwrap();
        assert!(turn.is_some() && other.take_turn().unwrap().is_none() && other.list().unwrap().is_empty());
        drop(turn);
        assert!(other.take_turn().unwrap().is_some());
        fs::create_dir_all(one.folder().join("monday")).unwrap();
        fs::write(one.folder().join("monday").join(MANIFEST), serde_json::to_string(&manifest()).unwrap()).unwrap();
        assert_eq!(other.list().unwrap().iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["monday"]);
        assert!(other.find("monday").is_some() && other.find(LOCK).is_none());
    }
}
