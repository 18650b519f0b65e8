//! `carillon backup`: a copy of the database that can be trusted, while the service goes on.

use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use serde_json::json;

use crate::cli::place::Place;
use crate::cli::serving::log_to_stderr;
use crate::cli::{Answer, postgres_tools, print, print_json};
use crate::clock::Clock;
use crate::ids::{Span, Timestamp};
use crate::store::{Address, copy};
use crate::worker::backup::{DATABASE, DUMP, Draft, MANIFEST, Manifest, SIGNING_KEY, copy_sqlite};

/// How often a copy is looked at while it grows.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon backup ./backups/monday                  a folder of that name
  carillon backup ./backups                         where it is a folder: carillon-2026-11-21T093000Z in it

The service goes on meanwhile. The folder holds one consistent copy of the database, the key
that signs links, and a manifest with checksums; it is as secret as the data folder. Over
PostgreSQL the copy is an archive of its own pg_dump, which must be installed here.
`carillon restore` puts it back.")]
pub struct Backup {
    /// The folder to make, or one to make it in
    to: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn backup(place: &Place, asked: &Backup) -> anyhow::Result<Answer> {
    log_to_stderr(&place.config, "warn")?;
    let at = Clock::system(Span::ZERO).now();
    let to = target(&asked.to, at)?;
    let draft = Draft::begin(&to)?;
    let (kind, contents) = match place.config.database_address() {
        Address::Sqlite(file) => {
            anyhow::ensure!(file.is_file(), "there is no database {}", file.display());
            let key = place.folder().join(SIGNING_KEY);
            let bar = bar("copying", bytes_of(&file).await?);
            let copy = copy_sqlite(&draft, &file, &key, at);
            let contents = watched(copy, &draft.file(DATABASE), &bar).await?;
            bar.finish_and_clear();
            ("sqlite", contents)
        }
        Address::Postgres(url) => {
            let bar = bar("copying", 0);
            let to = draft.file(DUMP);
            watched(postgres_tools::dump(&url, &to), &to, &bar).await?;
            bar.finish_and_clear();
            ("postgres", postgres_tools::contents(&url).await?)
        }
    };
    let bar = bar("checking", std::fs::read_dir(draft.file(""))?.flatten().map(|file| file_size(&file.path())).sum());
    let manifest = draft.finish(kind, at, contents, |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    if asked.json {
        print_json(&json!({ "backup": to, "manifest": manifest }));
    } else {
        print(&format!("{}\n{}", to.display(), told(&manifest)));
    }
    Ok(Answer::Yes)
}

/// What a backup holds, for people.
pub fn told(manifest: &Manifest) -> String {
    let bytes: u64 = manifest.files.values().map(|sum| sum.bytes).sum();
    format!(
        "made at {} by carillon {}: {} profiles, {} messages, the log up to {}, {} MB\n",
        manifest.made_at,
        manifest.carillon,
        manifest.profiles,
        manifest.messages,
        manifest.position,
        bytes.div_ceil(1_000_000)
    )
}

fn target(asked: &Path, at: Timestamp) -> anyhow::Result<PathBuf> {
    if !asked.is_dir() {
        return Ok(asked.to_owned());
    }
    anyhow::ensure!(!asked.join(MANIFEST).exists(), "{} is a backup: a backup overwrites nothing", asked.display());
    Ok(asked.join(format!("carillon-{}", stamp(at)?)))
}

/// An instant as part of a name: 2026-11-21T093000Z.
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

/// The bar follows the file that the work fills.
async fn watched<T>(work: impl Future<Output = T>, file: &Path, bar: &ProgressBar) -> T {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(done) => return done,
            Err(_) => bar.set_position(file_size(file)),
        }
    }
}

/// Seen in a terminal alone.
pub fn bar(what: &'static str, bytes: u64) -> ProgressBar {
    let style = match bytes {
        0 => "{msg} {spinner} {bytes} ({bytes_per_sec})",
        _ => "{msg} [{bar:30}] {bytes}/{total_bytes} ({bytes_per_sec}, {eta})",
    };
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(what)
}
