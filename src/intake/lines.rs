//! A file's records, one at a time, in bounded memory whatever the file: gzip or plain, UTF-8 or UTF-16, with whichever
//! separator, no end of line, a quote never closed.
//!
//! A record that cannot be read costs itself alone: after an unclosed quote we go on with the very next line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::encoding::{Utf16, Width};
use super::record::Fields;
use super::{OpenError, RowFault};

/// Bytes of one physical line.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// A packed file may have been packed once more on its way.
const PACKED_MAX: usize = 2;
/// Lines one quoted value may span.
const RECORD_LINES_MAX: usize = 20;

/// How a record is made of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Values between separators, which the first line shows; a quoted value may hold line ends.
    Csv,
    /// Every line is a record.
    Lines,
}

/// One record: the values of a CSV row, or a line as its only value.
pub(super) type Record = Vec<String>;

/// Lines of a file, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    shape: Shape,
    separator: u8,
    /// Lines that were looked at while searching for a closing quote, to be read again.
    again: VecDeque<(u64, Result<Vec<u8>, Trouble>)>,
    row: u64,
    /// Lines of the file read so far, blank ones too.
    lines: u64,
    /// Where the last record began, and its text as far as it is shown.
    line: u64,
    raw: Vec<u8>,
    bytes_read: Arc<AtomicU64>,
    broken: bool,
}

/// What a file says, in UTF-8 and however it was packed.
pub(super) fn decoded(file: impl Read + Send + 'static) -> Result<Box<dyn BufRead + Send>, OpenError> {
    let mut input: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(64 * 1024, file));
    for _ in 0..PACKED_MAX {
        // By content and not by name: a renamed download is still gzip.
        if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            input = Box::new(BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(input)));
        }
    }
    let start = input.fill_buf()?;
    if start.starts_with(b"PK\x03\x04") {
        return Err(OpenError::Spreadsheet);
    }
    if let Some(width) = Width::of(start) {
        input = Box::new(BufReader::with_capacity(64 * 1024, Utf16::new(input, width)));
    }
    let mark = if input.fill_buf()?.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    input.consume(mark);
    Ok(input)
}

impl Lines {
    pub(super) fn open(path: &Path, shape: Shape) -> Result<Self, OpenError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        Self::of(decoded(Counted(File::open(path)?, Arc::clone(&bytes_read)))?, shape, bytes_read)
    }

    /// Those of a text that is in memory.
    pub(super) fn of_text(text: String) -> Result<Self, OpenError> {
        Self::of(Box::new(io::Cursor::new(text.into_bytes())), Shape::Csv, Arc::default())
    }

    fn of(mut input: Box<dyn BufRead + Send>, shape: Shape, bytes_read: Arc<AtomicU64>) -> Result<Self, OpenError> {
        let start = input.fill_buf()?;
        let mark = if start.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        let separator = separator(&start[mark..]);
        input.consume(mark);
        let (again, raw) = (VecDeque::new(), Vec::new());
        let (row, lines, line, broken) = (0, 0, 0, false);
        Ok(Self { input, shape, separator, again, row, lines, line, raw, bytes_read, broken })
    }

    /// Instead of the one the first line shows.
    pub(super) fn separate_by(&mut self, separator: u8) {
        self.separator = separator;
    }

    pub(super) fn separator(&self) -> u8 {
        self.separator
    }

    /// The line of the file in which the last record began, from 1, and its text.
    pub(super) fn place(&self) -> (u64, &[u8]) {
        (self.line, &self.raw)
    }

    /// A first record that names no columns is a row.
    pub(super) fn take_header_back(&mut self) {
        self.again.push_front((self.line, Ok(self.raw.clone())));
    }

    /// The lines of the file that the last record takes.
    pub(super) fn span(&self) -> Span {
        let more = self.raw.iter().filter(|byte| **byte == b'\n').count() as u64;
        Span { first: self.line, last: self.line + more }
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The first record, which does not count as a row.
    pub(super) fn header(&mut self) -> Result<Record, OpenError> {
        match self.next() {
            None => Err(OpenError::Empty),
            Some((_, Err(fault))) => Err(OpenError::Header(fault.message)),
            Some((_, Ok(record))) => {
                self.row = 0;
                Ok(record)
            }
        }
    }

    /// The next record and its number; blank lines are passed over.
    pub(super) fn next(&mut self) -> Option<(u64, Result<Record, RowFault>)> {
        loop {
            let (number, line) = self.line()?;
            let line = match line {
                Ok(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
                Ok(line) => line,
                Err((code, message)) => {
                    self.begin(number, b"");
                    return Some(self.fault(code, message));
                }
            };
            self.begin(number, &line);
            self.row += 1;
            let row = self.row;
            let record = match self.shape {
                Shape::Csv => self.csv_record(line),
                Shape::Lines => text(line).map(|line| vec![line]),
            };
            return Some((row, record.map_err(|(code, message)| RowFault::new(row, None, code, message))));
        }
    }

    fn begin(&mut self, line: u64, text: &[u8]) {
        self.line = line;
        self.raw.clear();
        self.raw.extend_from_slice(text);
    }

    fn fault(&mut self, code: &'static str, message: String) -> (u64, Result<Record, RowFault>) {
        self.row += 1;
        (self.row, Err(RowFault::new(self.row, None, code, message)))
    }

    fn csv_record(&mut self, first: Vec<u8>) -> Result<Record, Trouble> {
        let mut fields = Fields::separated_by(self.separator);
        if fields.push_line(&first) {
            return fields.finish().into_iter().map(text).collect();
        }
        let mut seen = Vec::new();
        while seen.len() + 1 < RECORD_LINES_MAX {
            let Some(next) = self.line() else { break };
            let closed = next.1.as_ref().map(|line| fields.push_line(line));
            let failed = closed.is_err();
            if closed == Ok(true) {
                for (_, line) in seen.iter().chain([&next]) {
                    self.raw.push(b'\n');
                    self.raw.extend_from_slice(line.as_deref().unwrap_or_default());
                }
                return fields.finish().into_iter().map(text).collect();
            }
            seen.push(next);
            if failed {
                break;
            }
        }
        // None of them was part of this record: they are rows of their own.
        seen.into_iter().rev().for_each(|line| self.again.push_front(line));
        Err(("unclosed_quote", "a quote is opened and not closed".to_owned()))
    }

    /// The next physical line without its end, by its number; a file that cannot be read further ends with a fault.
    fn line(&mut self) -> Option<(u64, Result<Vec<u8>, Trouble>)> {
        if let Some(line) = self.again.pop_front() {
            return Some(line);
        }
        if self.broken {
            return None;
        }
        self.lines += 1;
        Some((self.lines, self.physical_line()?))
    }

    fn physical_line(&mut self) -> Option<Result<Vec<u8>, Trouble>> {
        let mut line = Vec::new();
        match self.read_line(&mut line) {
            Ok(0) => None,
            Ok(length) if length > LINE_BYTES_MAX => {
                Some(Err(("row_too_long", format!("a line of more than {LINE_BYTES_MAX} bytes"))))
            }
            Ok(_) => {
                while line.last().is_some_and(|end| matches!(end, b'\n' | b'\r')) {
                    line.pop();
                }
                Some(Ok(line))
            }
            Err(error) => {
                self.broken = true;
                Some(Err(("unreadable", format!("the file cannot be read further: {error}"))))
            }
        }
    }

    /// Reads up to the end of the line, of which at most [`LINE_BYTES_MAX`] and one byte are kept.
    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        let mut length = (&mut self.input).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
        while length > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |at| at + 1);
            self.input.consume(taken);
            length = length.saturating_add(taken);
            if end.is_some() {
                break;
            }
        }
        Ok(length)
    }
}

/// A fault's code and message.
type Trouble = (&'static str, String);

/// The separator that stands most often in the first line, outside of quotes.
fn separator(start: &[u8]) -> u8 {
    let first = start.split(|byte| *byte == b'\n').find(|line| !line.iter().all(u8::is_ascii_whitespace));
    let mut quoted = false;
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in first.unwrap_or_default() {
        quoted ^= *byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(one, _)| one == byte && !quoted) {
            *count += 1;
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts.into_iter().find(|(_, count)| *count == most).map_or(b',', |(separator, _)| separator)
}

fn text(bytes: Vec<u8>) -> Result<String, Trouble> {
    let text = String::from_utf8(bytes).map_err(|_| ("not_utf8", "the row is not UTF-8 text".to_owned()))?;
    if text.contains('\0') {
        return Err(("nul", "the row has a NUL character, which no store keeps".to_owned()));
    }
    Ok(text)
}

/// A file that says how far it was read.
struct Counted(File, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(into)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
