//! The data folder and who holds it: one process at a time, which leaves its address there for the others.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cli::Usage;
use crate::config::Config;
use crate::store::Address;

const LOCK: &str = "lock";
const WHEREABOUTS: &str = "server.json";
/// Of a folder whose database is elsewhere: where, without a password.
const ELSEWHERE: &str = "database";

/// The settings, and the folder they lead to.
pub struct Place {
    pub config: Config,
}

/// What a server leaves in its data folder, for its owner alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Whereabouts {
    /// `http://host:port`, reachable from this machine.
    pub address: String,
    pub token: String,
    pub pid: u32,
}

/// The data folder, held until this is dropped.
pub struct Held {
    /// Closing the file gives the lock back.
    _lock: File,
    folder: PathBuf,
    /// Where the database is that is not in the folder.
    elsewhere: Option<String>,
    /// There was no such folder before.
    is_new: bool,
}

/// Who holds a folder, as they wrote into the lock file.
#[derive(Debug, Clone, Default)]
pub struct Holder {
    pub pid: String,
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid.as_str() {
            "" => f.write_str("another process"),
            pid => write!(f, "`carillon {}` (process {pid})", self.command),
        }
    }
}

impl Place {
    /// Reads the settings; `data` goes before what they say about the folder.
    ///
    /// # Errors
    /// Wrong settings, each by name.
    pub fn find(data: Option<PathBuf>, file: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = Config::of_process(file)?;
        if let Some(data) = data {
            config.data.folder = data;
        }
        Ok(Self { config })
    }

    pub fn folder(&self) -> &Path {
        &self.config.data.folder
    }

    /// For commands that only look: a folder made by mistake would look like an empty shop.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn must_exist(&self) -> anyhow::Result<()> {
        if self.folder().is_dir() {
            return Ok(());
        }
        let folder = self.folder().display();
        Err(Usage(format!("there is no data folder {folder}: start with `carillon demo` or name it with --data"))
            .into())
    }

    /// Takes the folder for `command`, or says who has it.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn take(&self, command: &str) -> anyhow::Result<Result<Held, Holder>> {
        let folder = self.folder();
        let is_new = !folder.exists();
        // People's addresses are in it: for its owner alone.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("the data folder {} cannot be made", folder.display()))?;
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(holder(&path))),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
        let elsewhere = self.elsewhere()?;
        lock.set_len(0)?;
        writeln!(lock, "{} {command}", std::process::id())?;
        // What a server left that ended without a farewell leads nowhere.
        let _ = fs::remove_file(folder.join(WHEREABOUTS));
        Ok(Ok(Held { _lock: lock, folder: folder.to_owned(), elsewhere, is_new }))
    }

    /// Where the database is, unless it is in the folder. An empty one of the folder's own would look like an empty shop
    /// to whoever comes without the address of the one elsewhere.
    ///
    /// # Errors
    /// The settings name no database, and the folder says that its own is elsewhere.
    pub fn elsewhere(&self) -> anyhow::Result<Option<String>> {
        let note = self.folder().join(ELSEWHERE);
        match self.config.database_address() {
            address @ Address::Postgres(_) => Ok(Some(address.shown())),
            Address::Sqlite(file) if !file.exists() && note.exists() => {
                let elsewhere = fs::read_to_string(&note).unwrap_or_default();
                let (folder, note) = (self.folder().display(), note.display());
                let advice = format!("set CARILLON_DATABASE__URL, or remove {note} for a database in the folder");
                Err(Usage(format!("the database of {folder} is {elsewhere}: {advice}")).into())
            }
            Address::Sqlite(_) => Ok(None),
        }
    }

    /// Takes the folder or fails with words about who has it.
    ///
    /// # Errors
    /// As for [`Place::take`], or it is taken.
    pub fn take_or_explain(&self, command: &str) -> anyhow::Result<Held> {
        self.take(command)?.map_err(|holder| {
            let at = self.whereabouts().map(|it| format!(" at {}", it.address)).unwrap_or_default();
            let folder = self.folder().display();
            anyhow::anyhow!("{folder} is in use by {holder}{at}: stop it first, or use another folder with --data")
        })
    }

    /// Where the server of this folder is, if it has said so.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        serde_json::from_str(&fs::read_to_string(self.folder().join(WHEREABOUTS)).ok()?).ok()
    }
}

fn holder(path: &Path) -> Holder {
    let text = fs::read_to_string(path).unwrap_or_default();
    let (pid, command) = text.trim().split_once(' ').unwrap_or_default();
    Holder { pid: pid.to_owned(), command: command.to_owned() }
}

impl Held {
    /// Tells other commands where we are. All of it is there or nothing.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn announce(&self, whereabouts: &Whereabouts) -> anyhow::Result<()> {
        if let Some(elsewhere) = &self.elsewhere {
            write_private(&self.folder.join(ELSEWHERE), elsewhere)?;
        }
        write_private(&self.folder.join(WHEREABOUTS), &serde_json::to_string(whereabouts)?)
    }

    /// Nothing came of it: a folder that was made for it goes again, for it would look like an empty shop.
    pub fn abandon(self) {
        if self.is_new
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(%error, "{} was made for nothing, and cannot be removed", self.folder.display());
        }
    }

    pub fn withdraw(&self) {
        let _ = fs::remove_file(self.folder.join(WHEREABOUTS));
    }
}

/// Writes a file that only its owner may read, as a whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written", path.display());
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).with_context(cannot)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// 256 bits nobody can guess, as 64 characters.
pub fn new_token() -> String {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    blake3::hash(&bytes).to_hex().to_string()
}
