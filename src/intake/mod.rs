//! What happened before we were there: files of other shops' rows become events in the common vocabulary.
//!
//! A file is read once, in bounded memory. Every row ends in exactly one of three places, and the figures add up: in an
//! event, left out for a stated reason (no customer, an adjustment of the books), or refused as unreadable. Nothing is
//! invented: a fact the file does not tell (an order's number, a price) is absent from the event.

mod convert;
mod encoding;
mod envelope;
mod figures;
mod guess;
mod history_sink;
pub mod imports;
mod jsonl;
mod known_files;
mod lines;
mod log_sink;
mod mapped;
mod mapping;
pub mod members;
mod orders;
mod people;
mod profiles;
mod record;
mod rees46;
mod rejects;
mod retailrocket;
mod run;
pub mod suppressions;
mod taobao;
mod time_order;
mod uci_retail;
mod uploads;
mod yoochoose;

use std::collections::VecDeque;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use crate::event::Event;
use crate::ids::{Timestamp, WorkspaceId};

pub use figures::{Counted, Figures, Sum};
pub use guess::guess;
pub use known_files::known_as;
pub use log_sink::LogSink;
pub use mapping::Mapping;
pub use people::{ConsentGiven, NotAConsent};
pub use record::plain;
pub use rejects::Rejects;
pub use run::{
    BATCH_EVENTS_MAX, Options, Preview, Progress, Sink, SinkReport, Summary, import, look_over, preview, row_of,
};

use envelope::Stamp;
use lines::{Lines, Shape};
use record::Header;

/// The kinds of file we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Invoice lines: `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country`.
    UciRetail,
    /// Clicks and purchases: `user_id,item_id,category_id,behavior,ts`.
    Taobao,
    /// Clicks and transactions: `timestamp,visitorid,event,itemid,transactionid`.
    RetailRocket,
    /// Clicks `session,timestamp,item,category` or buys `session,timestamp,item,price,quantity`, with a header or without.
    Yoochoose,
    /// `event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session`.
    Rees46,
    /// One call of the track API per line, kept as it is.
    Jsonl,
    /// One person per line: ids, traits, answers.
    Profiles,
    /// Any table, read as a [`Mapping`] says.
    Csv,
}

/// A format's name we do not know.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a format; there are uci-retail, taobao, retailrocket, yoochoose, rees46, jsonl, profiles and csv"
)]
pub struct UnknownFormat(pub String);

impl Format {
    pub const ALL: [Self; 8] = [
        Self::UciRetail,
        Self::Taobao,
        Self::RetailRocket,
        Self::Yoochoose,
        Self::Rees46,
        Self::Jsonl,
        Self::Profiles,
        Self::Csv,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UciRetail => "uci-retail",
            Self::Taobao => "taobao",
            Self::RetailRocket => "retailrocket",
            Self::Yoochoose => "yoochoose",
            Self::Rees46 => "rees46",
            Self::Jsonl => "jsonl",
            Self::Profiles => "profiles",
            Self::Csv => "csv",
        }
    }

    /// Opens a plain or gzip-compressed file and checks its header; `mapping` says how a table is read.
    ///
    /// # Errors
    /// It cannot be read, is no text, or lacks a column; a table without a mapping.
    pub fn open(self, path: &Path, provenance: &Provenance, mapping: Option<&Mapping>) -> Result<Reader, OpenError> {
        let shape = if matches!(self, Self::Jsonl | Self::Profiles) { Shape::Lines } else { Shape::Csv };
        let mut lines = Lines::open(path, shape)?;
        let stamp = Stamp::new(path, provenance);
        let rows: Box<dyn Rows + Send> = match self {
            Self::Jsonl => Box::new(jsonl::Items::new(stamp)),
            Self::UciRetail => Box::new(uci_retail::Invoices::new(stamp, Header::read(&mut lines)?)?),
            Self::Taobao => Box::new(taobao::Clicks::new(stamp, Header::read(&mut lines)?)?),
            Self::RetailRocket => Box::new(retailrocket::Visits::new(stamp, Header::read(&mut lines)?)?),
            Self::Yoochoose => Box::new(yoochoose::Sessions::new(stamp, &mut lines)?),
            Self::Rees46 => Box::new(rees46::Acts::new(stamp, Header::read(&mut lines)?)?),
            Self::Profiles => Box::new(profiles::People::new(stamp, provenance.not_after)),
            Self::Csv => {
                let mapping = mapping.ok_or(OpenError::NoMapping)?.clone();
                Box::new(mapped::Table::new(stamp, mapping, &mut lines, provenance.not_after)?)
            }
        };
        Ok(Reader {
            lines,
            rows,
            ready: VecDeque::new(),
            figures: Figures::default(),
            ended: false,
            not_after: provenance.not_after,
        })
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// On whose behalf a file is read.
#[derive(Debug, Clone)]
pub struct Provenance {
    pub workspace: WorkspaceId,
    /// The source the events are stored under.
    pub source: String,
    /// The present: no row can have happened after it.
    pub not_after: Timestamp,
    /// The name its rows are known by; none: the file's own.
    pub known_as: Option<String>,
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("is a spreadsheet or an archive; save it as CSV")]
    Spreadsheet,
    #[error("is a table like no other: say with --map how it is read (`--map guess` makes a beginning)")]
    NoMapping,
    #[error("is empty")]
    Empty,
    #[error("its first line is not a header: {0}")]
    Header(String),
    #[error("has no column `{missing}`; its columns are {found}")]
    Column { missing: String, found: String },
}

/// A row that became no event, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowFault {
    /// The first row concerned; the first after the header is 1.
    pub row: u64,
    /// The line of the file in which it begins, from 1; none where that is behind us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// How many rows share this fate: the lines of one order stand or fall together.
    pub rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Stable; `no_customer`, `adjustment` and `skipped` are left out by intention, all others are refused.
    pub code: &'static str,
    pub message: String,
    /// The row as it stands in the file, where it is at hand.
    #[serde(skip)]
    pub text: String,
}

impl RowFault {
    fn new(row: u64, column: Option<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { row, line: None, rows: 1, column, code, message: message.into(), text: String::new() }
    }

    /// What is wrong, and in which column.
    fn reason(&self) -> String {
        let column = self.column.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        format!("{column}{} [{}]", self.message, self.code)
    }

    /// Whether the row is sound and only has no place among a customer's events.
    pub fn is_left_out(&self) -> bool {
        matches!(self.code, "no_customer" | "adjustment" | "skipped")
    }
}

/// What a format makes of its rows.
trait Rows {
    /// Takes one record and puts what is finished into `out`; an order may stay open until its last line.
    fn take(&mut self, row: u64, record: &lines::Record, out: &mut Out<'_>);

    /// The file ended: whatever is still open is finished.
    fn end(&mut self, out: &mut Out<'_>);
}

/// Where a format puts what it made of its rows.
struct Out<'a> {
    ready: &'a mut VecDeque<Result<Event, RowFault>>,
    figures: &'a mut Figures,
    not_after: Timestamp,
}

impl Out<'_> {
    /// Several events made of one row, or what is wrong with it.
    fn events(&mut self, made: Result<Vec<Event>, RowFault>, row: u64) {
        match made {
            Ok(events) if events.iter().all(|event| event.at <= self.not_after) => {
                self.figures.rows_in_events += 1;
                self.figures.events += events.len() as u64;
                self.ready.extend(events.into_iter().map(Ok));
            }
            Ok(events) => events.into_iter().take(1).for_each(|event| self.event(Ok(event), 1, row)),
            Err(fault) => self.fault(fault),
        }
    }

    /// An event made of so many rows.
    fn event(&mut self, made: Result<Event, RowFault>, rows: u64, row: u64) {
        match made {
            Ok(event) if event.at > self.not_after => {
                let message = format!("{} has not come yet", event.at);
                self.fault(RowFault { rows, ..RowFault::new(row, None, "in_the_future", message) });
            }
            Ok(event) => {
                self.figures.rows_in_events += rows;
                self.figures.events += 1;
                self.ready.push_back(Ok(event));
            }
            Err(fault) => self.fault(RowFault { rows, ..fault }),
        }
    }

    fn fault(&mut self, fault: RowFault) {
        *self.figures.rows_without_event.entry(fault.code).or_default() += fault.rows;
        self.ready.push_back(Err(fault));
    }
}

/// The events of a file, in the order they are complete; memory does not grow with the file.
pub struct Reader {
    lines: Lines,
    rows: Box<dyn Rows + Send>,
    ready: VecDeque<Result<Event, RowFault>>,
    figures: Figures,
    ended: bool,
    not_after: Timestamp,
}

impl Reader {
    /// What was counted so far; complete once the iterator has ended.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Bytes of the file taken so far, compressed as they are.
    pub fn bytes_read(&self) -> u64 {
        self.lines.bytes_read()
    }

    /// Where it stands, if it is of the row at hand.
    fn place(&self, fault: &mut RowFault) {
        if fault.row == self.figures.rows {
            let (line, text) = self.lines.place();
            fault.line = Some(line);
            fault.text = String::from_utf8_lossy(text).into_owned();
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Event, RowFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mut ready) = self.ready.pop_front() {
                if let Err(fault) = &mut ready {
                    self.place(fault);
                }
                return Some(ready);
            }
            if self.ended {
                return None;
            }
            let mut out = Out { ready: &mut self.ready, figures: &mut self.figures, not_after: self.not_after };
            match self.lines.next() {
                Some((row, Ok(record))) => {
                    out.figures.rows += 1;
                    self.rows.take(row, &record, &mut out);
                }
                Some((_, Err(fault))) => {
                    out.figures.rows += 1;
                    out.fault(fault);
                }
                None => {
                    self.rows.end(&mut out);
                    self.ended = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
