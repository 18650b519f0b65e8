//! Importing what happened elsewhere: lived through on a clock of its own, so that every campaign decides as it would
//! have then. Nothing real is sent.

mod outcome;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::app::{Carillon, Options, WORKSPACE};
use crate::cli::place::Place;
use crate::cli::serving::log_to_stderr;
use crate::cli::{Answer, print, print_json};
use crate::clock::Clock;
use crate::event::Event;
use crate::eventlog::Receipt;
use crate::ids::{Span, Timestamp};
use crate::intake::{self, ConsentGiven, Format, Provenance, Sink, SinkReport};
use crate::store::shards::{ShardSet, heads};
use outcome::Outcome;

/// After the last event, time goes on until this many days brought nothing.
const QUIET_DAYS: u32 = 30;
/// Time goes on no longer than this, whatever happens in it.
const DAYS_MAX: u32 = 3_650;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon import invoices.csv.gz --format uci-retail --data ./trial
  carillon import clicks.csv --format taobao --consent email=granted --address-domain example.com
  carillon import calls.jsonl --format jsonl --errors refused.jsonl

Apply campaigns first, and import into a folder of its own: events are decided at the time
they happened, messages go to the sandbox's inbox, and no server may run on the folder
meanwhile. The same file again changes nothing.")]
pub struct Import {
    /// The file, plain or gzip-compressed
    file: PathBuf,
    /// uci-retail, taobao, retailrocket or jsonl
    #[arg(long)]
    format: Format,
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

/// `carillon import`.
pub async fn import(place: &Place, asked: &Import) -> anyhow::Result<Answer> {
    log_to_stderr(&place.config, "warn")?;
    anyhow::ensure!(asked.file.is_file(), "{} is no file", asked.file.display());
    let held = place.take("import")?.map_err(|holder| {
        anyhow::anyhow!(
            "{} is in use by {holder}: history is lived through on a clock of its own, which a running server cannot \
             lend; stop it first, or import into another folder with --data",
            place.folder().display()
        )
    })?;
    let clock = Clock::fixed(Timestamp::from_millis(0));
    let options =
        Options { smtp: None, redis: None, clock: Some(clock), ..Options::of(&place.config, "http://127.0.0.1")? };
    let carillon = Arc::new(Carillon::open(options).await?);
    let imported = live_through(&carillon, asked).await;
    carillon.close().await;
    drop(held);
    let (summary, outcome) = imported?;
    let nothing = summary.figures.rows > 0 && summary.figures.events == 0;
    if asked.json {
        let mut answer = outcome.to_json();
        answer["file"] = summary.to_json();
        print_json(&answer);
    } else if nothing {
        let format = asked.format.as_str();
        print(&format!("{summary}\nNothing was imported: no row is an event of the format {format}.\n"));
    } else {
        print(&format!("{summary}\n{outcome}"));
    }
    Ok(if nothing { Answer::No } else { Answer::Yes })
}

async fn live_through(carillon: &Carillon, asked: &Import) -> anyhow::Result<(intake::Summary, Outcome)> {
    let options = intake::Options {
        provenance: Provenance {
            workspace: WORKSPACE,
            source: asked.source.clone(),
            not_after: Clock::system(Span::ZERO).now(),
        },
        consent: asked.consent.clone(),
        address_domain: asked.address_domain.clone(),
        errors: asked.errors.clone(),
    };
    carillon.take_all().await?;
    // What waits in the log from before is decided first, in the order of the log.
    carillon.workers.settle().await?;
    let (before, _) = heads(carillon.store.reader(), ShardSet::EVERY).await?;
    let mut sink = Lived { carillon, reaction: carillon.reaction() };
    let summary = intake::import(&asked.file, asked.format, &options, &mut sink).await?;
    come_to_rest(carillon).await?;
    Ok((summary, Outcome::since(carillon.store.reader(), &before).await?))
}

async fn come_to_rest(carillon: &Carillon) -> anyhow::Result<()> {
    let mut quiet = 0;
    for _ in 0..DAYS_MAX {
        let done = carillon.workers.forward(Span::from_days(1)).await?;
        quiet = if done == 0 { quiet + 1 } else { 0 };
        if quiet == QUIET_DAYS {
            break;
        }
    }
    Ok(())
}

/// The past, with its consequences.
struct Lived<'c> {
    carillon: &'c Carillon,
    reaction: Span,
}

impl Sink for Lived<'_> {
    async fn accept(&mut self, events: Vec<Event>) -> anyhow::Result<SinkReport> {
        let receipts = self.carillon.workers.live_through(WORKSPACE, events, self.reaction).await?;
        let repeated = receipts.iter().filter(|receipt| matches!(receipt, Receipt::Duplicate)).count() as u64;
        Ok(SinkReport { stored: receipts.len() as u64 - repeated, repeated })
    }
}
