//! The import itself: read all rows, put the events in order, hand them on in batches, and say what became of the file.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::envelope::Stamp;
use super::figures::{Counted, Figures};
use super::people::{ConsentGiven, People};
use super::time_order::TimeOrder;
use super::{Format, Provenance, RowFault};
use crate::event::Event;

/// Events handed on at once.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Refused rows shown with the summary; `--errors` has all of them.
const FAULTS_SHOWN: usize = 10;

/// Where the events go, in the order they happened, at most [`BATCH_EVENTS_MAX`] at once.
pub trait Sink {
    fn accept(&mut self, events: Vec<Event>) -> impl Future<Output = anyhow::Result<SinkReport>> + Send;
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkReport {
    pub stored: u64,
    /// Known already: the file, or this part of it, was imported before.
    pub repeated: u64,
}

/// What the one who imports asks for.
#[derive(Debug, Clone)]
pub struct Options {
    pub provenance: Provenance,
    pub consent: Option<ConsentGiven>,
    /// Gives every person the address `u<user id>@domain`.
    pub address_domain: Option<String>,
    /// Where every row without an event is listed, one JSON object per line.
    pub errors: Option<PathBuf>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub figures: Figures,
    pub people: u64,
    /// Events of our own making about the people: addresses and consents.
    pub added: u64,
    pub stored: u64,
    pub repeated: u64,
    /// The first rows that were refused.
    pub faults: Vec<RowFault>,
}

/// Imports a file into a sink; a progress bar shows on a terminal.
pub async fn import<S: Sink>(path: &Path, format: Format, options: &Options, sink: &mut S) -> anyhow::Result<Summary> {
    let (time_order, figures, faults) = read(path, format, options)?;
    let stamp = Stamp::new(path, &options.provenance);
    let mut people = People::new(stamp, options.consent.clone(), options.address_domain.clone());
    let mut summary = Summary { figures, people: 0, added: 0, stored: 0, repeated: 0, faults };
    let mut ordered = time_order.finish().context("the events cannot be put in order")?;
    let bar = bar(ordered.count(), "events", "{human_pos} of {human_len} events");
    let mut batch = Vec::with_capacity(BATCH_EVENTS_MAX);
    while let Some(event) = ordered.next().context("the events cannot be put in order")? {
        let before = people.before(&event);
        summary.added += before.len() as u64;
        for event in before.into_iter().chain([event]) {
            batch.push(event);
            if batch.len() == BATCH_EVENTS_MAX {
                bar.inc(BATCH_EVENTS_MAX as u64);
                summary.hand_on(std::mem::take(&mut batch), sink).await?;
            }
        }
    }
    if !batch.is_empty() {
        summary.hand_on(batch, sink).await?;
    }
    bar.finish_and_clear();
    summary.people = people.count();
    Ok(summary)
}

type Read = (TimeOrder, Figures, Vec<RowFault>);

fn read(path: &Path, format: Format, options: &Options) -> anyhow::Result<Read> {
    let named = || path.display().to_string();
    let mut reader = format.open(path, &options.provenance).with_context(named)?;
    let mut listing = options.errors.as_deref().map(|errors| listing(path, errors)).transpose()?;
    let size = std::fs::metadata(path).with_context(named)?.len();
    let bar = bar(size, "rows", "{bytes} of {total_bytes}");
    let mut time_order = TimeOrder::new();
    let mut faults = Vec::new();
    while let Some(read) = reader.next() {
        match read {
            Ok(event) => time_order.push(event).context("the events cannot be put in order")?,
            Err(fault) => {
                if let Some(listing) = &mut listing {
                    serde_json::to_writer(&mut *listing, &fault).context("the list of errors cannot be written")?;
                    listing.write_all(b"\n").context("the list of errors cannot be written")?;
                }
                if !fault.is_left_out() && faults.len() < FAULTS_SHOWN {
                    faults.push(fault);
                }
            }
        }
        bar.set_position(reader.bytes_read());
    }
    if let Some(listing) = &mut listing {
        listing.flush().context("the list of errors cannot be written")?;
    }
    bar.finish_and_clear();
    Ok((time_order, reader.figures().clone(), faults))
}

fn listing(path: &Path, errors: &Path) -> anyhow::Result<BufWriter<File>> {
    let same = || Some(path.canonicalize().ok()? == errors.canonicalize().ok()?);
    anyhow::ensure!(same() != Some(true), "{} is the file that is imported", errors.display());
    let file = File::create(errors).with_context(|| format!("{} cannot be written", errors.display()))?;
    Ok(BufWriter::new(file))
}

/// Draws on stderr, and only where that is a terminal.
fn bar(length: u64, what: &'static str, amounts: &str) -> ProgressBar {
    let template = format!("{{msg:>7}} {{bar:30}} {amounts} {{eta}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(what)
}

impl Summary {
    async fn hand_on<S: Sink>(&mut self, batch: Vec<Event>, sink: &mut S) -> anyhow::Result<()> {
        let report = sink.accept(batch).await.context("the events cannot be stored")?;
        self.stored += report.stored;
        self.repeated += report.repeated;
        Ok(())
    }

    /// The same as printed, for `--json`; money as text, since its digits count.
    pub fn to_json(&self) -> Value {
        let money = self.figures.money.iter().map(|((sum, currency), counted)| {
            json!({
                "sum": sum.as_str(), "currency": currency, "rows": counted.rows,
                "exact": counted.total.to_string(), "rounded": counted.total.rounded(*currency),
            })
        });
        json!({
            "rows": self.figures.rows, "rows_in_events": self.figures.rows_in_events,
            "rows_without_event": self.figures.rows_without_event, "events": self.figures.events,
            "people": self.people, "added": self.added, "stored": self.stored, "repeated": self.repeated,
            "money": money.collect::<Vec<Value>>(), "faults": self.faults,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        let mut line = |what: &str, count: u64| writeln!(f, "{what:<28} {:>12}", HumanCount(count).to_string());
        line("rows", figures.rows)?;
        line("  in events", figures.rows_in_events)?;
        for (code, rows) in &figures.rows_without_event {
            line(&format!("  {}", reason(code)), *rows)?;
        }
        line("events", figures.events)?;
        line("people", self.people)?;
        line("addresses, consents added", self.added)?;
        line("stored", self.stored)?;
        line("known already", self.repeated)?;
        for ((sum, currency), Counted { rows, total }) in &figures.money {
            let (exact, rounded) = (total.to_string(), total.rounded(*currency));
            let exactly = if exact == rounded { String::new() } else { format!(" (exactly {exact})") };
            let rows = HumanCount(*rows).to_string();
            writeln!(f, "{:<28} {rows:>12} rows {rounded:>16} {currency}{exactly}", sum.label())?;
        }
        for RowFault { row, column, code, message, .. } in &self.faults {
            writeln!(f, "row {row}: {}{message} [{code}]", column.map(|name| format!("{name}: ")).unwrap_or_default())?;
        }
        Ok(())
    }
}

fn reason(code: &str) -> String {
    match code {
        "no_customer" => "without a customer".to_owned(),
        "adjustment" => "adjustments of the books".to_owned(),
        refused => format!("refused: {refused}"),
    }
}
