//! The import itself: read all rows, put the events in order, hand them on in batches, and say what became of the file.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::envelope::Stamp;
use super::figures::{Counted, Figures};
use super::known_files::other_name;
use super::mapping::Mapping;
use super::people::{ConsentGiven, People};
use super::rejects::Rejects;
use super::time_order::{Ordered, TimeOrder};
use super::{Format, Provenance, Reader, RowFault};
use crate::event::{Event, Origin};
use crate::eventlog::{Receipt, Taken};

/// Events handed on at once.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Refused rows shown with the summary; the file of rejects has all of them.
const FAULTS_SHOWN: usize = 10;
/// Of a preview, which writes no such file.
const FAULTS_PREVIEWED: usize = 100;
/// Where nothing is drawn, a line says how far we are after so many rows or events.
const TOLD_EVERY: u64 = 100_000;

/// Where the events go, in the order they happened, at most [`BATCH_EVENTS_MAX`] at once.
pub trait Sink {
    fn accept(&mut self, events: Vec<Event>) -> impl Future<Output = anyhow::Result<SinkReport>> + Send;
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SinkReport {
    pub stored: u64,
    /// Known already: the file, or this part of it, was imported before.
    pub repeated: u64,
    /// Events that the database does not take, by the row they are of.
    pub refused: Vec<RowFault>,
}

impl SinkReport {
    /// `rows` are those of the events, in their order.
    pub fn of(rows: &[u64], taken: Vec<Taken>) -> Self {
        let mut report = Self::default();
        for (row, one) in rows.iter().zip(taken) {
            match one {
                Ok(Receipt::Stored { .. }) => report.stored += 1,
                Ok(Receipt::Duplicate) => report.repeated += 1,
                Err(unstorable) => {
                    report.refused.push(RowFault::new(*row, None, "not_storable", unstorable.to_string()));
                }
            }
        }
        report
    }
}

/// Of the file, where it is known; 0 of events of our own making.
pub fn row_of(event: &Event) -> u64 {
    match &event.origin {
        Origin::Import { row, .. } | Origin::Past { row, .. } => *row,
        _ => 0,
    }
}

/// What the one who imports asks for.
#[derive(Debug, Clone)]
pub struct Options {
    pub provenance: Provenance,
    /// How a table is read.
    pub mapping: Option<Mapping>,
    pub consent: Option<ConsentGiven>,
    /// Gives every person the address `u<user id>@domain`.
    pub address_domain: Option<String>,
    /// Where every row without an event is listed, one JSON object per line.
    pub errors: Option<PathBuf>,
    /// Whether refused rows are kept in a file beside this one, `FILE.rejects.csv`.
    pub rejects: bool,
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
    /// Events that the database does not take for what they are.
    pub refused: u64,
    /// The first rows that were refused.
    pub faults: Vec<RowFault>,
    /// Where all of them are.
    pub rejects: Option<PathBuf>,
    /// What the file was called when it was imported before, where that is another name.
    pub known_as: Option<String>,
}

/// Imports a file into a sink; a progress bar shows on a terminal.
pub async fn import<S: Sink>(path: &Path, format: Format, options: &Options, sink: &mut S) -> anyhow::Result<Summary> {
    let mut time_order = TimeOrder::new();
    let mut summary = read(path, format, options, |event| time_order.push(event))?;
    let mut batches = Batches::of(time_order, path, options)?;
    let bar = Progress::new(batches.count(), "events", "{human_pos} of {human_len} events, {per_sec}, {eta} left");
    while let Some(batch) = batches.next()? {
        if batch.len() == BATCH_EVENTS_MAX {
            bar.to(bar.0.position() + BATCH_EVENTS_MAX as u64);
        }
        summary.hand_on(batch, sink).await?;
    }
    bar.finish();
    (summary.people, summary.added) = (batches.people(), batches.added);
    Ok(summary)
}

/// Reads a file that another process takes in: its figures and its refused rows, and nothing of what became of them.
///
/// # Errors
/// The file cannot be read.
pub fn look_over(path: &Path, format: Format, options: &Options) -> anyhow::Result<Summary> {
    read(path, format, options, |_| Ok(()))
}

/// A file's events in the order they happened, each person's first behind what is said of them.
pub(super) struct Batches {
    ordered: Ordered,
    people: People,
    /// Events of our own making that are among them so far.
    pub(super) added: u64,
    /// Said and not handed on yet.
    over: VecDeque<Event>,
}

impl Batches {
    pub(super) fn of(events: TimeOrder, path: &Path, options: &Options) -> anyhow::Result<Self> {
        let stamp = Stamp::new(path, &options.provenance);
        let people = People::new(stamp, options.consent.clone(), options.address_domain.clone());
        let ordered = events.finish().context("the events cannot be put in order")?;
        Ok(Self { ordered, people, added: 0, over: VecDeque::new() })
    }

    /// Events of the file itself.
    pub(super) fn count(&self) -> u64 {
        self.ordered.count()
    }

    /// Who was seen so far.
    pub(super) fn people(&self) -> u64 {
        self.people.count()
    }

    /// At most [`BATCH_EVENTS_MAX`], none at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<Event>>> {
        while self.over.len() < BATCH_EVENTS_MAX {
            let Some(event) = self.ordered.next().context("the events cannot be put in order")? else { break };
            let before = self.people.before(&event);
            self.added += before.len() as u64;
            self.over.extend(before.into_iter().chain([event]));
        }
        let batch: Vec<Event> = self.over.drain(..self.over.len().min(BATCH_EVENTS_MAX)).collect();
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }
}

/// What a file would become: nothing is stored, and no file written.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The first events.
    pub events: Vec<Event>,
    pub figures: Figures,
    /// The first rows that are no events, those left out by intention too.
    pub faults: Vec<RowFault>,
}

/// Reads a whole file and keeps the first so many events.
///
/// # Errors
/// The file cannot be read.
pub fn preview(path: &Path, format: Format, options: &Options, events_max: usize) -> anyhow::Result<Preview> {
    let mut reader = open(path, format, options)?;
    let (mut events, mut faults) = (Vec::new(), Vec::new());
    for read in reader.by_ref() {
        match read {
            Ok(event) if events.len() < events_max => events.push(event),
            Err(fault) if faults.len() < FAULTS_PREVIEWED => faults.push(fault),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(Preview { events, figures: reader.figures().clone(), faults })
}

fn open(path: &Path, format: Format, options: &Options) -> anyhow::Result<Reader> {
    let reader = format.open(path, &options.provenance, options.mapping.as_ref());
    reader.with_context(|| path.display().to_string())
}

fn read(
    path: &Path,
    format: Format,
    options: &Options,
    mut take: impl FnMut(Event) -> io::Result<()>,
) -> anyhow::Result<Summary> {
    let mut reader = open(path, format, options)?;
    let mut listing = options.errors.as_deref().map(|errors| listing(path, errors)).transpose()?;
    let mut rejects = options.rejects.then(|| Rejects::of(path));
    let size = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    let bar = Progress::new(size, "rows", "{bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left");
    let mut faults = Vec::new();
    while let Some(read) = reader.next() {
        match read {
            Ok(event) => take(event).context("the events cannot be put in order")?,
            Err(fault) => {
                if let Some(listing) = &mut listing {
                    serde_json::to_writer(&mut *listing, &fault).context("the list of errors cannot be written")?;
                    listing.write_all(b"\n").context("the list of errors cannot be written")?;
                }
                if fault.is_left_out() {
                    continue;
                }
                // A folder that cannot be written to does not stop the file: its summary tells the first rows.
                if rejects
                    .as_mut()
                    .is_some_and(|rejects| rejects.add(fault.line, &fault.reason(), &fault.text).is_err())
                {
                    rejects = None;
                }
                if faults.len() < FAULTS_SHOWN {
                    faults.push(fault);
                }
            }
        }
        bar.0.set_position(reader.bytes_read());
    }
    if let Some(listing) = &mut listing {
        listing.flush().context("the list of errors cannot be written")?;
    }
    let rejects = rejects.and_then(|rejects| rejects.finish().ok().flatten());
    bar.0.finish_and_clear();
    let (figures, known_as) = (reader.figures().clone(), other_name(path, options.provenance.known_as.as_deref()));
    Ok(Summary { figures, people: 0, added: 0, stored: 0, repeated: 0, refused: 0, faults, rejects, known_as })
}

fn listing(path: &Path, errors: &Path) -> anyhow::Result<BufWriter<File>> {
    let same = || Some(path.canonicalize().ok()? == errors.canonicalize().ok()?);
    anyhow::ensure!(same() != Some(true), "{} is the file that is imported", errors.display());
    let file = File::create(errors).with_context(|| format!("{} cannot be written", errors.display()))?;
    Ok(BufWriter::new(file))
}

/// How far we are: drawn on stderr where that is a terminal, else said in lines.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new(length: u64, what: &'static str, amounts: &str) -> Self {
        let template = format!("{{msg:>7}} {{bar:30}} {amounts}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(length).with_style(style).with_message(what))
    }

    pub fn finish(&self) {
        self.0.finish_and_clear();
    }

    pub fn to(&self, position: u64) {
        let bar = &self.0;
        if bar.is_hidden() && bar.position() / TOLD_EVERY < position / TOLD_EVERY {
            let (done, all) = (HumanCount(position), HumanCount(bar.length().unwrap_or(0)));
            let line = format!("{done} of {all} {}, {:.0}/s, {:.0?} left\n", bar.message(), bar.per_sec(), bar.eta());
            // Whoever does not listen misses nothing.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        bar.set_position(position);
    }
}

impl Summary {
    async fn hand_on<S: Sink>(&mut self, batch: Vec<Event>, sink: &mut S) -> anyhow::Result<()> {
        let report = sink.accept(batch).await.context("the events cannot be stored")?;
        self.stored += report.stored;
        self.repeated += report.repeated;
        self.refused += report.refused.len() as u64;
        for fault in report.refused {
            if self.faults.len() < FAULTS_SHOWN {
                self.faults.push(fault);
            }
        }
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
            "refused": self.refused,
            "money": money.collect::<Vec<Value>>(), "faults": self.faults, "rejects": self.rejects,
            "known_as": self.known_as,
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
        if self.refused > 0 {
            line("refused by the database", self.refused)?;
        }
        if let Some(name) = &self.known_as {
            writeln!(f, "the same file was imported as {name}: its rows are known by that name")?;
        }
        for ((sum, currency), Counted { rows, total }) in &figures.money {
            let (exact, rounded) = (total.to_string(), total.rounded(*currency));
            let exactly = if exact == rounded { String::new() } else { format!(" (exactly {exact})") };
            let rows = HumanCount(*rows).to_string();
            writeln!(f, "{:<28} {rows:>12} rows {rounded:>16} {currency}{exactly}", sum.label())?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        match &self.rejects {
            Some(path) => writeln!(f, "refused rows are in {}", path.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            let who = event.user_id.as_deref().or(event.anonymous_id.as_deref()).unwrap_or("-");
            let what = if event.kind == crate::event::Kind::Identify { "traits" } else { "properties" };
            let what = event.lookup(what).map(ToString::to_string).unwrap_or_default();
            writeln!(f, "{}  {who}  {}  {what}", event.at, event.name)?;
        }
        let figures = &self.figures;
        writeln!(f, "\n{:<28} {:>12}", "rows", HumanCount(figures.rows).to_string())?;
        writeln!(f, "{:<28} {:>12}", "  in events", HumanCount(figures.rows_in_events).to_string())?;
        for (code, rows) in &figures.rows_without_event {
            writeln!(f, "{:<28} {:>12}", format!("  {}", reason(code)), HumanCount(*rows).to_string())?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        let rest = figures.rows_left().saturating_sub(self.faults.iter().map(|fault| fault.rows).sum());
        if rest > 0 {
            writeln!(f, "and {} rows more", HumanCount(rest))?;
        }
        Ok(())
    }
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: ")?,
            None => write!(f, "row {}: ", self.row)?,
        }
        f.write_str(&self.reason())
    }
}

fn reason(code: &str) -> String {
    match code {
        "no_customer" => "without a customer".to_owned(),
        "adjustment" => "adjustments of the books".to_owned(),
        "skipped" => "passed over by the mapping".to_owned(),
        refused => format!("refused: {refused}"),
    }
}
