//! `carillon restore` puts a backup in place, and `carillon confirm-restore` lets marketing go again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::cli::backup::{bar, told};
use crate::cli::client::Client;
use crate::cli::place::Place;
use crate::cli::serving::log_to_stderr;
use crate::cli::table::cell;
use crate::cli::{Answer, print, print_json};
use crate::clock::Clock;
use crate::ids::{Span, Timestamp};
use crate::store::Address;
use crate::worker::backup::make::stamp;
use crate::worker::backup::{self, DUMP, Manifest, SIGNING_KEY, postgres_tools, unpack_sqlite, verify};
use crate::worker::restored::FILE as GENERATION;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon restore ./backups/monday --data ./shop            into a new folder
  carillon restore ./backups/monday --data ./shop --replace  what was there is kept aside

The checksums and the database are looked through first, then the schema is brought up to
date. A service started on it takes events, decides, and sends transactional messages;
marketing waits for `carillon confirm-restore`, so that nothing is sent that was sent before.")]
pub struct Restore {
    /// The folder that `carillon backup` made
    from: PathBuf,
    /// Put it in the place of what is there, which is moved aside
    #[arg(long)]
    replace: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn restore(place: &Place, asked: &Restore) -> anyhow::Result<Answer> {
    log_to_stderr(&place.config, "warn")?;
    let bar = bar("checking", folder_size(&asked.from));
    let manifest = verify(&asked.from, |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let held = place.take_or_explain("restore")?;
    let now = Clock::system(Span::ZERO).now();
    let address = place.config.database_address();
    let aside = match &address {
        Address::Sqlite(file) => into_sqlite(place, asked, &manifest, file, now).await?,
        Address::Postgres(url) => {
            anyhow::ensure!(
                manifest.database == "postgres",
                "the backup is of a {} database and cannot be put into {}",
                manifest.database,
                address.shown()
            );
            into_postgres(asked, &manifest, url, now).await?
        }
    };
    crate::store::open(address.clone()).await?.close().await;
    drop(held);
    if asked.json {
        print_json(&json!({ "database": address.shown(), "kept_aside": aside, "manifest": manifest }));
        return Ok(Answer::Yes);
    }
    let aside = aside.map_or_else(String::new, |aside| format!("what was there is kept as {aside}\n"));
    print(&format!(
        "{} is restored: the backup is {} old\n{}{aside}start `carillon serve`; marketing waits until `carillon \
         confirm-restore`\n",
        address.shown(),
        age(manifest.made_at, now),
        told(&manifest)
    ));
    Ok(Answer::Yes)
}

async fn into_postgres(
    asked: &Restore,
    manifest: &Manifest,
    url: &SecretString,
    now: Timestamp,
) -> anyhow::Result<Option<String>> {
    postgres_tools::must_be_idle(url).await?;
    let mut aside = None;
    if postgres_tools::is_used(url).await? {
        let shown = Address::Postgres(url.clone()).shown();
        anyhow::ensure!(asked.replace, "{shown} is not empty; --replace moves what is in it aside");
        aside = Some(postgres_tools::move_aside(url, &stamp(now)?).await?);
    }
    // Whoever came meanwhile would go on in what is put back.
    let restored = match postgres_tools::must_be_idle(url).await {
        Ok(()) => postgres_tools::restore(url, &asked.from.join(DUMP), manifest.made_at, now).await,
        Err(error) => Err(error),
    };
    let aside = match (restored, aside) {
        (Ok(()), aside) => aside,
        (Err(error), None) => return Err(error),
        (Err(error), Some(aside)) => {
            let there = postgres_tools::move_back(url, &aside).await;
            let there = there.map_or_else(|why| format!("{why:#}"), |()| "what was there is there again".to_owned());
            return Err(error.context(there));
        }
    };
    Ok(aside.map(|aside| format!("the schema {}", aside.kept)))
}

async fn into_sqlite(
    place: &Place,
    asked: &Restore,
    manifest: &Manifest,
    file: &Path,
    now: Timestamp,
) -> anyhow::Result<Option<String>> {
    anyhow::ensure!(
        manifest.database == "sqlite",
        "the backup is of a {} database: set database.url to restore it there",
        manifest.database
    );
    let folder = place.folder();
    let mut there: Vec<PathBuf> = ["-wal", "-shm", ""]
        .into_iter()
        .map(|end| PathBuf::from(format!("{}{end}", file.display())))
        .chain([SIGNING_KEY, GENERATION, "inbox"].into_iter().map(|name| folder.join(name)))
        .collect();
    there.retain(|path| path.exists());
    let mut aside = None;
    if !there.is_empty() {
        anyhow::ensure!(
            asked.replace,
            "{} is not empty: it has {}. Restore into a new folder with --data, or say --replace, which moves what is \
             there aside",
            folder.display(),
            names(&there)
        );
        let kept = folder.join(format!("before-restore-{}", stamp(now)?));
        std::fs::create_dir(&kept).with_context(|| format!("{} cannot be made", kept.display()))?;
        for path in &there {
            let name = path.file_name().context("a file without a name")?;
            std::fs::rename(path, kept.join(name)).with_context(|| format!("{} cannot be moved", path.display()))?;
        }
        aside = Some(kept.display().to_string());
    }
    unpack_sqlite(&asked.from, file, &folder.join(SIGNING_KEY)).await?;
    Ok(aside)
}

fn names(paths: &[PathBuf]) -> String {
    let names = paths.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join(", ")
}

fn folder_size(folder: &Path) -> u64 {
    let files = [backup::DATABASE, DUMP, SIGNING_KEY];
    files.iter().filter_map(|name| std::fs::metadata(folder.join(name)).ok()).map(|file| file.len()).sum()
}

/// For people: the two largest parts.
fn age(from: Timestamp, to: Timestamp) -> String {
    let seconds = (to.millis() - from.millis()).max(0) / 1_000;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon confirm-restore --look     why marketing waits, and what would go out
  carillon confirm-restore            let it go

Before you confirm: see that nothing else sends from this data (another copy of it, the old
machine), and pause the campaigns whose messages went out after the backup was made.")]
pub struct ConfirmRestore {
    /// Only say what confirming would do
    #[arg(long)]
    look: bool,
    /// Who says so, for the log [default: your user name]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub async fn confirm_restore(client: &Client, asked: &ConfirmRestore) -> anyhow::Result<Answer> {
    let state = client.get("/api/v1/restore", &[]).await?;
    if !asked.json {
        print(&overview(&state));
    }
    let is_held = state["is_held"] == true;
    if asked.look || !is_held {
        if asked.json {
            print_json(&state);
        }
        return Ok(if is_held || asked.look { Answer::Yes } else { Answer::No });
    }
    let user = || std::env::var("USER").ok().filter(|user| !user.trim().is_empty());
    let by = asked.by.clone().or_else(user).unwrap_or_else(|| "the command line".to_owned());
    let body = json!({ "by": by });
    let answer = client.post("/api/v1/restore/confirm", body).await?;
    match asked.json {
        true => print_json(&answer),
        false => print(&format!("confirmed: {} messages are looked at again\n", cell(&answer["requeued"]))),
    }
    Ok(Answer::Yes)
}

fn overview(state: &Value) -> String {
    let recognised = &state["recognised"];
    if state["is_held"] != true {
        return "nothing waits: this is no restored backup, or it was confirmed before\n".to_owned();
    }
    let line = |name: &str, value: &Value| match value {
        Value::Null => String::new(),
        value => format!("{name:<18}{}\n", cell(value)),
    };
    [
        line("marketing waits", &recognised["at"]),
        line("because", &recognised["because"]),
        line("backup made at", &recognised["backup_at"]),
        line("newest event", &state["newest_event"]),
        line("would go out now", &state["waiting"]),
        line("oldest decided at", &state["oldest"]),
    ]
    .concat()
}
