//! Importing while a service runs on the folder: it takes the file in beside its work, and we follow how far it is. The
//! figures and the refused rows are those of the same file read here.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Import;
use crate::cli::client::{Client, Refused, segment};
use crate::cli::place::Place;
use crate::cli::table::cell;
use crate::cli::{Answer, Usage, tell};
use crate::intake::imports::BYTES_MAX;
use crate::intake::{self, Progress, Summary};

const FIRST_LOOK: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A file for the service of this folder.
pub(super) struct TakenIn<'p> {
    pub(super) place: &'p Place,
    pub(super) is_of_people: bool,
    /// How a table is read, as it was written.
    pub(super) map: Option<String>,
}

impl TakenIn<'_> {
    pub(super) async fn by(
        self,
        client: &Client,
        asked: &Import,
        mut options: intake::Options,
    ) -> anyhow::Result<Answer> {
        self.must_be_possible(asked)?;
        // Its clock may be a demo's: what has not come yet there is refused here too.
        let settings = client.get("/api/v1/settings", &[]).await?;
        options.provenance.not_after = cell(&settings["now"]).parse().context("the service says no time")?;
        let begun = self.begin(client, asked).await?;
        let id = begun["id"].as_str().context("the service names no import")?;
        let summary = intake::look_over(&asked.file, asked.format, &options)?;
        let summary = follow(client, id, summary).await?;
        let mut answer = json!({ "import": id });
        let mut words = String::new();
        if !self.is_of_people {
            answer["lived_through"] = false.into();
            let folder = self.place.folder().display();
            words = format!(
                "\nA service runs on {folder}: the events are history there and start nothing. To see what campaigns \
                 make of them, apply those to a new folder (--data) on which no service runs, and import into that \
                 one.\n"
            );
        }
        Ok(asked.tell(&summary, (answer, words)))
    }

    /// What a running service cannot do is said before anything is sent.
    fn must_be_possible(&self, asked: &Import) -> anyhow::Result<()> {
        let folder = self.place.folder().display();
        if asked.address_domain.is_some() {
            let cause = format!(
                "a service runs on {folder}, and gives nobody an address that was made up: leave --address-domain \
                 out, or import into a folder of its own with --data"
            );
            return Err(Usage(cause).into());
        }
        let bytes = std::fs::metadata(&asked.file).with_context(|| asked.file.display().to_string())?.len();
        if bytes > BYTES_MAX {
            let most = BYTES_MAX / 1024 / 1024;
            let cause = format!(
                "{} has {} MiB; the service that runs on {folder} takes {most} at once: pack it with gzip, split it, \
                 or stop the service first",
                asked.file.display(),
                bytes / 1024 / 1024
            );
            return Err(Usage(cause).into());
        }
        Ok(())
    }

    async fn begin(&self, client: &Client, asked: &Import) -> anyhow::Result<Value> {
        let name = asked.file.file_name().unwrap_or_default().to_string_lossy();
        let consent = asked.consent.as_ref().map(|given| format!("{}={}", given.channel, given.state.as_str()));
        let query = [
            ("format", Some(asked.format.as_str())),
            ("name", Some(&*name)),
            ("map", self.map.as_deref()),
            ("consent", consent.as_deref()),
            ("source", Some(&*asked.source)),
        ];
        client.send_file("/api/v1/imports", &query, &asked.file).await
    }
}

/// Until it is over.
async fn follow(client: &Client, id: &str, mut summary: Summary) -> anyhow::Result<Summary> {
    let bar =
        Progress::new(summary.figures.events, "events", "{human_pos} of {human_len} events, {per_sec}, {eta} left");
    let mut pause = FIRST_LOOK;
    let mut waits = false;
    let import = loop {
        let import = client.get(&format!("/api/v1/imports/{}", segment(id)), &[]).await.map_err(|error| {
            if error.is::<Refused>() {
                return error;
            }
            error.context(format!("import {id} goes on when the service starts again; this command finds it then"))
        })?;
        let count = |name: &str| import[name].as_u64().unwrap_or(0);
        (summary.stored, summary.repeated) = (count("stored"), count("repeated"));
        (summary.people, summary.added) = (count("people"), count("added"));
        bar.to((summary.stored + summary.repeated).saturating_sub(summary.added));
        if !import["ended_at"].is_null() {
            break import;
        }
        if import["state"] == "waiting" && !waits && pause >= LOOK_EVERY {
            waits = true;
            tell("the service takes in other files first; this one waits its turn\n");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_EVERY);
    };
    bar.finish();
    summary.known_as = import["known_as"].as_str().map(str::to_owned);
    match import["state"].as_str() {
        Some("done") => Ok(summary),
        Some("failed") => anyhow::bail!("import {id} failed: {}", cell(&import["failure"])),
        _ => anyhow::bail!(
            "import {id} was stopped: {} events are stored and stay; the same file again goes on",
            summary.stored
        ),
    }
}
