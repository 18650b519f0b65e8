//! Where the files of imports lie until they are taken in: a folder of the data folder, for its owner alone. What is
//! being received has another name, so that nothing half is ever taken in.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::{NamedTempFile, TempDir};

const FOLDER: &str = "imports";
/// Names this folder among those of other processes.
const HOME: &str = "home";
const RECEIVED: &str = ".part";
/// Of the name of a file, which file systems bound.
const NAME_BYTES_MAX: usize = 200;

#[derive(Debug, Clone)]
pub(super) struct Uploads {
    folder: PathBuf,
}

impl Uploads {
    pub(super) fn of(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    /// What this folder is called by; none where it never had a file.
    pub(super) fn home(&self) -> anyhow::Result<Option<String>> {
        match fs::read_to_string(self.folder.join(HOME)) {
            Ok(home) => Ok(Some(home)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", self.folder.display())),
        }
    }

    /// The same, with the folder made where there is none.
    pub(super) fn home_made(&self) -> anyhow::Result<String> {
        if let Some(home) = self.home()? {
            return Ok(home);
        }
        let cannot = || format!("{} cannot be written", self.folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).with_context(cannot)?;
        let home = uuid::Uuid::new_v4().simple().to_string();
        let mut file = NamedTempFile::new_in(&self.folder).with_context(cannot)?;
        file.write_all(home.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(cannot)?;
        match file.persist_noclobber(self.folder.join(HOME)) {
            Ok(_) => Ok(home),
            // Somebody else was first.
            Err(_) => self.home()?.with_context(cannot),
        }
    }

    /// A file to be written, gone with its holder.
    pub(super) fn receive(&self) -> anyhow::Result<NamedTempFile> {
        let made = tempfile::Builder::new().prefix("received-").suffix(RECEIVED).tempfile_in(&self.folder);
        made.with_context(|| format!("{} cannot be written", self.folder.display()))
    }

    /// A received file under the name it has for whoever sent it, gone with the folder: rows are known by that.
    pub(super) fn named(&self, received: &NamedTempFile, name: &str) -> std::io::Result<(TempDir, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("read-").suffix(RECEIVED).tempdir_in(&self.folder)?;
        let path = folder.path().join(name);
        fs::hard_link(received.path(), &path)?;
        Ok((folder, path))
    }

    /// Puts a received file where it is taken in from; on disk when this returns.
    pub(super) fn keep(&self, received: NamedTempFile, id: &str, name: &str) -> anyhow::Result<()> {
        let folder = self.folder.join(id);
        let cannot = || format!("{} cannot be written", folder.display());
        received.as_file().sync_all().with_context(cannot)?;
        DirBuilder::new().mode(0o700).create(&folder).with_context(cannot)?;
        received.persist(folder.join(name)).with_context(cannot)?;
        for changed in [&folder, &self.folder] {
            File::open(changed).and_then(|it| it.sync_all()).with_context(cannot)?;
        }
        Ok(())
    }

    pub(super) fn path(&self, id: &str, name: &str) -> PathBuf {
        self.folder.join(id).join(name)
    }

    /// Removes what is of no import among these, and what was received by half before this process began.
    pub(super) fn sweep(&self, wanted: &[String], halves: bool) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let gone = match (path.is_dir(), name.ends_with(RECEIVED)) {
                (true, true) if halves => fs::remove_dir_all(&path),
                (true, false) if !wanted.contains(&name) => fs::remove_dir_all(&path),
                (false, true) if halves => fs::remove_file(&path),
                _ => continue,
            };
            if let Err(error) = gone {
                tracing::warn!(%error, "a file of an import that is over was not removed");
            }
        }
    }

    pub(super) fn remove(&self, id: &str) {
        if let Err(error) = fs::remove_dir_all(self.folder.join(id))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the file of an import was not removed");
        }
    }
}

/// Whether a file can be called so.
pub fn is_a_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(is_plain)
        && !name.starts_with('.')
        && name.trim() == name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in ["orders.csv", "Bestellungen März.csv.gz", "a b", "a..b"] {
            assert!(is_a_name(name), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "..\\b", " a", "a\n", "a\0b", &"x".repeat(201)] {
            assert!(!is_a_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_file_is_there_whole_and_goes_with_its_import() {
        let data = tempfile::tempdir().unwrap();
        let uploads = Uploads::of(data.path());
        assert_eq!(uploads.home().unwrap(), None);
        let home = uploads.home_made().unwrap();
        assert_eq!((uploads.home().unwrap(), uploads.home_made().unwrap()), (Some(home.clone()), home));
        let mut received = uploads.receive().unwrap();
        received.write_all(b"rows").unwrap();
        uploads.keep(received, "one", "a.csv").unwrap();
        uploads.keep(uploads.receive().unwrap(), "two", "b.csv").unwrap();
        drop(uploads.receive().unwrap());
        let half = uploads.receive().unwrap().keep().unwrap().1;
        assert_eq!(fs::read(uploads.path("one", "a.csv")).unwrap(), b"rows");
        uploads.sweep(&["one".to_owned()], false);
        assert!(uploads.path("one", "a.csv").exists() && !uploads.path("two", "b.csv").exists() && half.exists());
        uploads.sweep(&["one".to_owned()], true);
        assert!(uploads.path("one", "a.csv").exists() && !half.exists());
        uploads.remove("one");
        assert!(!uploads.path("one", "a.csv").exists());
        assert_eq!(uploads.home().unwrap().unwrap().len(), 32, "the folder keeps its name");
    }
}
