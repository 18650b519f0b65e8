//! The backups that a running service made, in a folder of its data folder: made one at a time, listed, read and removed
//! by name. Nothing but a whole backup's own files has a name here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;

use super::make::{Step, make, stamp};
use super::{MANIFEST, Manifest, SIGNING_KEY};
use crate::ids::Timestamp;
use crate::store::Address;

/// Below the data folder.
pub const FOLDER: &str = "backups";

/// Where the backups of a service are, and of what they are made. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    data: PathBuf,
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
        Self { data: data.to_owned(), database, turn: Arc::default() }
    }

    fn folder(&self) -> PathBuf {
        self.data.join(FOLDER)
    }

    /// Makes one called by the time; none while another is being made.
    ///
    /// # Errors
    /// The database cannot be read, or the folder not be written.
    pub async fn make(&self, at: Timestamp, told: impl FnMut(Step)) -> anyhow::Result<Option<KeptBackup>> {
        let Ok(_mine) = self.turn.try_lock() else { return Ok(None) };
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

    /// All there are, the newest first.
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
        let manifest = Manifest {
            format: 1,
            carillon: "0.1.0".to_owned(),
            database: "sqlite".to_owned(),
            made_at: Timestamp::from_millis(1),
            position: 1,
            schema: "m".to_owned(),
            profiles: 0,
            messages: 0,
            files: BTreeMap::new(),
        };
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
}
