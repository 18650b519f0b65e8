//! `carillon backup`: a copy of the database that can be trusted, while the service goes on.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::place::Place;
use crate::cli::serving::log_to_stderr;
use crate::cli::{Answer, print, print_json};
use crate::clock::Clock;
use crate::ids::{Span, Timestamp};
use crate::worker::backup::make::{Step, make, stamp};
use crate::worker::backup::{MANIFEST, Manifest, SIGNING_KEY};

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
    place.elsewhere()?;
    let key = place.folder().join(SIGNING_KEY);
    let mut seen: Option<(&'static str, ProgressBar)> = None;
    let address = place.config.database_address();
    let manifest = make(&address, &key, &to, at, |step| {
        let (what, done, of) = match step {
            Step::Copying { done, of } => ("copying", done, of),
            Step::Checking { done, of } => ("checking", done, of),
        };
        if seen.as_ref().is_none_or(|(shown, _)| *shown != what) {
            let before = seen.replace((what, bar(what, of)));
            before.inspect(|(_, bar)| bar.finish_and_clear());
        }
        seen.iter().for_each(|(_, bar)| bar.set_position(done));
    });
    let manifest = manifest.await?;
    seen.iter().for_each(|(_, bar)| bar.finish_and_clear());
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

/// Seen in a terminal alone.
pub fn bar(what: &'static str, bytes: u64) -> ProgressBar {
    let style = match bytes {
        0 => "{msg} {spinner} {bytes} ({bytes_per_sec})",
        _ => "{msg} [{bar:30}] {bytes}/{total_bytes} ({bytes_per_sec}, {eta})",
    };
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_message(what)
}
