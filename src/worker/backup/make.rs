//! Makes a whole backup, from the command line or for whoever asks the running service: the same copy, told about as it
//! grows.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use jiff::tz::TimeZone;

use super::{DATABASE, DUMP, Draft, Manifest, copy_sqlite, postgres_tools};
use crate::ids::Timestamp;
use crate::store::{Address, copy};

/// How often a copy is looked at while it grows.
const LOOK: Duration = Duration::from_millis(100);

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bytes there are of so many; 0: nobody knows how many it will be.
    Copying { done: u64, of: u64 },
    /// Bytes that were summed up, of so many.
    Checking { done: u64, of: u64 },
}

/// Copies the database at `address` and the `key` beside it into a folder that is called `to` when it is whole.
///
/// # Errors
/// Something of that name exists, the database cannot be read, or the folder not be written.
pub async fn make(
    address: &Address,
    key: &Path,
    to: &Path,
    at: Timestamp,
    mut told: impl FnMut(Step),
) -> anyhow::Result<Manifest> {
    let draft = Draft::begin(to)?;
    let (kind, contents) = match address {
        Address::Sqlite(file) => {
            anyhow::ensure!(file.is_file(), "there is no database {}", file.display());
            let of = bytes_of(file).await?;
            let copying = copy_sqlite(&draft, file, key, at);
            let contents = watched(copying, &draft.file(DATABASE), |done| told(Step::Copying { done, of })).await?;
            ("sqlite", contents)
        }
        Address::Postgres(url) => {
            let file = draft.file(DUMP);
            let dumping = postgres_tools::dump(url, &file);
            watched(dumping, &file, |done| told(Step::Copying { done, of: 0 })).await?;
            ("postgres", postgres_tools::contents(url).await?)
        }
    };
    let of = std::fs::read_dir(draft.file(""))?.flatten().map(|file| file_size(&file.path())).sum();
    let mut done = 0;
    draft.finish(kind, at, contents, |bytes| {
        done += bytes;
        told(Step::Checking { done, of });
    })
}

/// An instant as part of a name: 2026-11-21T093000Z.
///
/// # Errors
/// No calendar has it.
pub fn stamp(at: Timestamp) -> anyhow::Result<String> {
    let at = jiff::Timestamp::from_millisecond(at.millis()).context("the clock is wrong")?;
    Ok(at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H%M%SZ").to_string())
}

async fn bytes_of(file: &Path) -> anyhow::Result<u64> {
    let opened = copy::open_file(file).await?;
    let bytes = copy::size(&opened).await?;
    opened.close().await?;
    Ok(bytes)
}

fn file_size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Tells how large the file is that the work fills.
async fn watched<T>(work: impl Future<Output = T>, file: &Path, mut told: impl FnMut(u64)) -> T {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(done) => return done,
            Err(_) => told(file_size(file)),
        }
    }
}
