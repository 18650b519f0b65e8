//! Backups: a folder with one consistent copy of the database, the key that signs links, and a manifest that tells what
//! is in it and by which checksums it is whole. Made while the service runs; a name stands for a whole backup or for
//! none.
//!
//! Left out: the file `generation`, so that a restored folder is recognised, and the sandbox's inbox, which holds
//! nothing that was sent.

pub mod kept;
pub mod make;
pub mod postgres_tools;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;
use crate::store::boots::MADE_AT;
use crate::store::copy::{self, Contents};

pub const MANIFEST: &str = "manifest.json";
pub const DATABASE: &str = "carillon.db";
/// PostgreSQL's own archive.
pub const DUMP: &str = "carillon.dump";
pub const SIGNING_KEY: &str = "signing.key";
const FORMAT: u32 = 1;
const CHUNK: usize = 1024 * 1024;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the backup; another number is another shape.
    pub format: u32,
    /// The version of the program that made it.
    pub carillon: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    pub made_at: Timestamp,
    /// Of the newest entry of the log.
    pub position: i64,
    /// The newest change of the schema.
    pub schema: String,
    pub profiles: i64,
    pub messages: i64,
    pub files: BTreeMap<String, Sum>,
}

/// A file's length in bytes, and its BLAKE3 hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub bytes: u64,
    pub blake3: String,
}

/// A backup under way, under a name that says so; gone where it is not finished.
pub struct Draft {
    folder: PathBuf,
    to: PathBuf,
    is_finished: bool,
}

impl Draft {
    /// Begins a backup that will be called `to`.
    ///
    /// # Errors
    /// Something of that name exists, or the folder cannot be made.
    pub fn begin(to: &Path) -> anyhow::Result<Self> {
        ensure!(!to.exists(), "{} exists: a backup overwrites nothing", to.display());
        let name = to.file_name().with_context(|| format!("{} has no name", to.display()))?;
        let folder = to.with_file_name(format!("{}.partial", name.to_string_lossy()));
        if folder.exists() {
            // Of one that did not come to its end.
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self { folder, to: to.to_owned(), is_finished: false })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Sums up, writes the manifest, and gives it its name. `progress` is told of every chunk of bytes.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn finish(
        mut self,
        database: &str,
        made_at: Timestamp,
        contents: Contents,
        mut progress: impl FnMut(u64),
    ) -> anyhow::Result<Manifest> {
        let mut files = BTreeMap::new();
        for name in [DATABASE, DUMP, SIGNING_KEY].into_iter().filter(|name| self.file(name).is_file()) {
            let path = self.file(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            files.insert(name.to_owned(), sum(&path, &mut progress)?);
            File::open(&path)?.sync_all()?;
        }
        let Contents { position, schema, profiles, messages } = contents;
        let carillon = env!("CARGO_PKG_VERSION").to_owned();
        let database = database.to_owned();
        let manifest =
            Manifest { format: FORMAT, carillon, database, made_at, position, schema, profiles, messages, files };
        let mut file = private(&self.file(MANIFEST))?;
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        fs::rename(&self.folder, &self.to).with_context(|| format!("{} cannot be named", self.to.display()))?;
        self.is_finished = true;
        if let Some(parent) = self.to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(manifest)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Copies SQLite's file and the signing key, whoever writes to it meanwhile.
///
/// # Errors
/// The database cannot be read, or the backup not written.
pub async fn copy_sqlite(draft: &Draft, file: &Path, key: &Path, at: Timestamp) -> anyhow::Result<Contents> {
    let live = copy::open_file(file).await?;
    let to = draft.file(DATABASE);
    // Made before, for its owner alone: SQLite fills an empty file.
    private(&to)?;
    copy::copy_into(&live, &to).await?;
    live.close().await?;
    let made = copy::open_file(&to).await?;
    copy::mark(&made, MADE_AT, at).await?;
    let contents = copy::contents(&made).await?;
    made.close().await?;
    if key.is_file() {
        let mut kept = private(&draft.file(SIGNING_KEY))?;
        io::copy(&mut File::open(key)?, &mut kept)?;
    }
    Ok(contents)
}

/// Reads a backup's manifest and compares every file with it.
///
/// # Errors
/// It is no backup, of another format, or damaged.
pub fn verify(backup: &Path, mut progress: impl FnMut(u64)) -> anyhow::Result<Manifest> {
    let path = backup.join(MANIFEST);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{} is no backup: it has no {MANIFEST} that can be read", backup.display()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{} cannot be understood", path.display()))?;
    if manifest.format != FORMAT {
        bail!("{} is of format {}, this program reads {FORMAT}", backup.display(), manifest.format);
    }
    for (name, known) in &manifest.files {
        ensure!(!name.contains(['/', '\\']) && name != "..", "{name} is no name of a file in a backup");
        let found = sum(&backup.join(name), &mut progress)?;
        ensure!(
            found == *known,
            "{} is damaged: {name} has {} bytes and the checksum {}, and should have {} and {}",
            backup.display(),
            found.bytes,
            found.blake3,
            known.bytes,
            known.blake3
        );
    }
    let needed = if manifest.database == "postgres" { DUMP } else { DATABASE };
    ensure!(manifest.files.contains_key(needed), "{} has no {needed}", backup.display());
    Ok(manifest)
}

/// Puts a verified backup of SQLite's file in place. That it is one stands in it, so marketing waits.
///
/// # Errors
/// The database is damaged, or the folder cannot be written.
pub async fn unpack_sqlite(backup: &Path, file: &Path, key: &Path) -> anyhow::Result<()> {
    let partial = file.with_extension("partial");
    let copied = copy_private(&backup.join(DATABASE), &partial);
    copied.with_context(|| format!("{} cannot be written", partial.display()))?;
    let opened = copy::open_file(&partial).await?;
    let complaints = copy::complaints(&opened).await?;
    opened.close().await?;
    if !complaints.is_empty() {
        fs::remove_file(&partial)?;
        bail!("the database in the backup is damaged: {}", complaints.join("; "));
    }
    let kept = backup.join(SIGNING_KEY);
    if kept.is_file() {
        copy_private(&kept, key).with_context(|| format!("{} cannot be written", key.display()))?;
    }
    fs::rename(&partial, file).with_context(|| format!("{} cannot be written", file.display()))?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut made)?;
    made.sync_all()
}

fn private(path: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.with_context(|| format!("{} cannot be made", path.display()))
}

fn sum(path: &Path, progress: &mut impl FnMut(u64)) -> anyhow::Result<Sum> {
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut hasher, mut bytes, mut chunk) = (blake3::Hasher::new(), 0, vec![0; CHUNK]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(Sum { bytes, blake3: hasher.finalize().to_hex().to_string() });
        }
        hasher.update(&chunk[..read]);
        bytes += read as u64;
        progress(read as u64);
    }
}
