//! Importing what happened elsewhere: lived through on a clock of its own, so that every campaign decides as it would
//! have then. Nothing real is sent. People are no history: they are stored as of today, and start nothing.

mod beside;
mod outcome;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::app::{Carillon, Options, WORKSPACE};
use crate::cli::client::{Client, Found};
use crate::cli::place::Place;
use crate::cli::serving::log_to_stderr;
use crate::cli::{Answer, Usage, print, print_json};
use crate::clock::Clock;
use crate::event::Event;
use crate::ids::{Span, Timestamp};
use crate::intake::{self, ConsentGiven, Format, LogSink, Mapping, Provenance, Sink, SinkReport, row_of};
use crate::store::event_ids;
use crate::store::shards::{ShardSet, heads};
use outcome::Outcome;

/// Events shown by `--dry-run`.
const EVENTS_PREVIEWED: usize = 10;
/// After the last event time goes on until nothing is due any more, and no longer than this: a birthday comes every year.
const DAYS_MAX: i64 = 366;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon import invoices.csv.gz --format uci-retail --data ./trial
  carillon import clicks.csv --format taobao --consent email=granted --address-domain example.com
  carillon import shop.csv --format csv --map guess          writes shop.csv.map.yaml, to be corrected
  carillon import shop.csv --format csv --map shop.csv.map.yaml --dry-run
  carillon import shop.csv --format csv --map shop.csv.map.yaml --data ./trial
  carillon import people.jsonl --format profiles --data ./carillon-data

Apply campaigns first, and import history into a folder of its own: events are decided at the
time they happened, and messages go to the sandbox's inbox. Where a service runs on the folder,
it takes the file in beside its work: events are then history that starts nothing. The same
file again changes nothing, under whatever name, and an import that was stopped goes on where
it was. People (profiles, or a mapping of `kind: profile`) are stored as of today and start
nothing. A bad row stops no file: all of them are in FILE.rejects.csv, with line and reason.
docs/imports.md has every format and the mapping.")]
pub struct Import {
    /// The file: plain or packed by gzip, UTF-8 or UTF-16, with commas, semicolons, tabs or bars
    file: PathBuf,
    /// uci-retail, taobao, retailrocket, yoochoose, rees46, jsonl, profiles or csv
    #[arg(long)]
    format: Format,
    /// How a csv is read: a file, the mapping itself, or `guess` to have a first one written
    #[arg(long, value_name = "FILE|YAML|guess")]
    map: Option<String>,
    /// Show the first rows as they would be read and every problem, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// A consent every person of the file gave elsewhere, such as email=granted
    #[arg(long, value_name = "CHANNEL=STATE")]
    consent: Option<ConsentGiven>,
    /// Give every person the address u<user id>@DOMAIN
    #[arg(long, value_name = "DOMAIN")]
    address_domain: Option<String>,
    /// Where every row that became no event is listed, one JSON object a line
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// The source the events are stored under
    #[arg(long, default_value = "import", value_name = "SOURCE")]
    source: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    fn options(&self, mapping: Option<Mapping>, not_after: Timestamp) -> intake::Options {
        intake::Options {
            provenance: Provenance { workspace: WORKSPACE, source: self.source.clone(), not_after, known_as: None },
            mapping,
            consent: self.consent.clone(),
            address_domain: self.address_domain.clone(),
            errors: self.errors.clone(),
            rejects: true,
        }
    }

    /// How the table is read, as text and its name: from a file, or as it is written into the command.
    fn mapping_text(&self) -> anyhow::Result<Option<(&str, String)>> {
        let Some(map) = &self.map else { return Ok(None) };
        if self.format != Format::Csv {
            return Err(Usage(format!("--map belongs to --format csv; {} needs none", self.format.as_str())).into());
        }
        let is_written = map.contains(['\n', '{']) || map.contains(": ");
        let (name, text) = match is_written {
            true => ("--map", map.clone()),
            false => (map.as_str(), std::fs::read_to_string(map).with_context(|| format!("{map} cannot be read"))?),
        };
        Ok(Some((name, text)))
    }

    /// Says what became of the file, and what came of that, as JSON or in print.
    fn tell(&self, summary: &intake::Summary, (mut answer, words): (Value, String)) -> Answer {
        let nothing = summary.figures.rows > 0 && summary.figures.events == 0;
        if self.json {
            answer["file"] = summary.to_json();
            print_json(&answer);
        } else if nothing {
            let format = self.format.as_str();
            print(&format!("{summary}\nNothing was imported: no row is an event of the format {format}.\n"));
        } else {
            print(&format!("{summary}{words}"));
        }
        if nothing { Answer::No } else { Answer::Yes }
    }

    /// Writes a first mapping beside the file.
    fn guess(&self) -> anyhow::Result<Answer> {
        let name = self.file.display();
        let text = intake::guess(&self.file).with_context(|| name.to_string())?;
        let path = format!("{name}.map.yaml");
        let mut file = std::fs::File::create_new(&path).with_context(|| format!("{path} cannot be written"))?;
        file.write_all(text.as_bytes()).with_context(|| format!("{path} cannot be written"))?;
        print(&format!(
            "{text}\nwritten to {path}; try it: carillon import {name} --format csv --map {path} --dry-run\n"
        ));
        Ok(Answer::Yes)
    }
}

/// `carillon import`.
pub async fn import(place: &Place, asked: &Import) -> anyhow::Result<Answer> {
    log_to_stderr(&place.config, "warn")?;
    anyhow::ensure!(asked.file.is_file(), "{} is no file", asked.file.display());
    if asked.map.as_deref() == Some("guess") {
        return asked.guess();
    }
    let map = asked.mapping_text()?;
    let mapping = map.as_ref().map(|(name, text)| Mapping::read(name, text)).transpose();
    let mapping = mapping.map_err(|error| Usage(error.to_string()))?;
    let is_of_people = asked.format == Format::Profiles || mapping.as_ref().is_some_and(Mapping::is_of_people);
    let mut options = asked.options(mapping, Clock::system(Span::ZERO).now());
    if asked.dry_run {
        return preview(asked, &options);
    }
    let held = match Client::look_for(place, "import").await? {
        Found::Free(held) => held,
        Found::There(there) => {
            let taken = beside::TakenIn { place, is_of_people, map: map.map(|(_, text)| text) };
            return taken.by(&Client::to(&there)?, asked, options).await;
        }
    };
    let clock = (!is_of_people).then(|| Clock::fixed(Timestamp::from_millis(0)));
    let parts = Options { smtp: None, redis: None, clock, ..Options::of(&place.config, "http://127.0.0.1")? };
    let carillon = Arc::new(Carillon::open(parts).await?);
    options.provenance.known_as = intake::known_as(&carillon.log, WORKSPACE, &asked.file).await?;
    let imported = match is_of_people {
        true => take_in(&carillon, asked, &options).await.map(|summary| (summary, None)),
        false => live_through(&carillon, asked, &options).await.map(|(summary, outcome)| (summary, Some(outcome))),
    };
    carillon.close().await;
    drop(held);
    let (summary, outcome) = imported?;
    let told = match &outcome {
        Some(outcome) => (outcome.to_json(), format!("\n{outcome}")),
        None => (json!({}), String::new()),
    };
    Ok(asked.tell(&summary, told))
}

fn preview(asked: &Import, options: &intake::Options) -> anyhow::Result<Answer> {
    let preview = intake::preview(&asked.file, asked.format, options, EVENTS_PREVIEWED)?;
    if asked.json {
        let events: Vec<_> = preview.events.iter().map(|event| event.body.document()).collect();
        print_json(&json!({
            "rows": preview.figures.rows, "rows_in_events": preview.figures.rows_in_events,
            "rows_without_event": preview.figures.rows_without_event, "events": events, "faults": preview.faults,
        }));
    } else {
        print(&format!("{preview}\nNothing was stored.\n"));
    }
    let is_sound = preview.faults.iter().all(intake::RowFault::is_left_out);
    Ok(if is_sound && preview.figures.events > 0 { Answer::Yes } else { Answer::No })
}

/// Stores what is told of people and lets it be decided; nothing is sent, and the clock stands where it stands.
async fn take_in(carillon: &Carillon, asked: &Import, options: &intake::Options) -> anyhow::Result<intake::Summary> {
    carillon.take_all().await?;
    let mut sink = LogSink::new(carillon.log.clone(), WORKSPACE);
    let summary = intake::import(&asked.file, asked.format, options, &mut sink).await?;
    carillon.workers.decide().await?;
    Ok(summary)
}

async fn live_through(
    carillon: &Carillon,
    asked: &Import,
    options: &intake::Options,
) -> anyhow::Result<(intake::Summary, Outcome)> {
    carillon.take_all().await?;
    // What waits in the log from before is decided first, in the order of the log.
    carillon.workers.settle().await?;
    let (before, _) = heads(carillon.store.reader(), ShardSet::EVERY).await?;
    let mut sink = Lived { carillon, reaction: carillon.reaction(), known_until: None };
    let summary = intake::import(&asked.file, asked.format, options, &mut sink).await?;
    sink.catch_up().await?;
    come_to_rest(carillon).await?;
    Ok((summary, Outcome::since(carillon.store.reader(), &before).await?))
}

async fn come_to_rest(carillon: &Carillon) -> anyhow::Result<()> {
    let end = carillon.clock.now().plus(Span::from_days(DAYS_MAX));
    while carillon.workers.next_due().await?.is_some_and(|due| due <= end) && carillon.clock.now() < end {
        carillon.workers.forward(Span::from_days(1)).await?;
    }
    Ok(())
}

/// The past, with its consequences.
struct Lived<'c> {
    carillon: &'c Carillon,
    reaction: Span,
    /// Events up to here were lived through before: an import that was stopped goes on after them.
    known_until: Option<Timestamp>,
}

impl Lived<'_> {
    /// Whatever became due while known events were passed over.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        let Some(until) = self.known_until.take() else { return Ok(()) };
        let span = until.millis() - self.carillon.clock.now().millis();
        if span > 0 {
            self.carillon.workers.forward(Span::from_millis(span)).await?;
        }
        Ok(())
    }
}

impl Sink for Lived<'_> {
    async fn accept(&mut self, events: Vec<Event>) -> anyhow::Result<SinkReport> {
        let ids = events.iter().map(|event| event.id).collect();
        let known = event_ids::known(self.carillon.store.reader(), &[event_ids::FOR_EVER], ids).await?;
        let (known, new): (Vec<Event>, Vec<Event>) = events.into_iter().partition(|event| known.contains(&event.id));
        self.known_until = self.known_until.max(known.iter().map(|event| event.at).max());
        let rows: Vec<u64> = new.iter().map(row_of).collect();
        let report = SinkReport::of(&rows, self.carillon.workers.live_through(WORKSPACE, new, self.reaction).await?);
        Ok(SinkReport { repeated: report.repeated + known.len() as u64, ..report })
    }
}
