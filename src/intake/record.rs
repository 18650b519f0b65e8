//! Separated values, line by line, so that a record's end is known without reading further than it.

use super::lines::{Lines, Record};
use super::{OpenError, RowFault};

/// Columns a file may have.
const COLUMNS_MAX: usize = 1_000;

/// The values of one record, while its lines come in.
#[derive(Debug)]
pub(super) struct Fields {
    separator: u8,
    done: Vec<Vec<u8>>,
    current: Vec<u8>,
    /// Inside a quoted value, which may go on over the end of the line.
    quoted: bool,
}

impl Fields {
    pub(super) fn separated_by(separator: u8) -> Self {
        Self { separator, done: Vec::new(), current: Vec::new(), quoted: false }
    }

    /// Takes a line without its end; true when the record is complete with it.
    pub(super) fn push_line(&mut self, line: &[u8]) -> bool {
        if self.quoted {
            self.current.push(b'\n');
        }
        let mut at = 0;
        let mut value_starts = !self.quoted;
        while at < line.len() {
            let byte = line[at];
            match (self.quoted, byte) {
                (true, b'"') if line.get(at + 1) == Some(&b'"') => {
                    self.current.push(b'"');
                    at += 1;
                }
                // It closes only at the value's end; inside the text it is text, however carelessly written.
                (true, b'"') if line.get(at + 1).is_none_or(|next| *next == self.separator) => self.quoted = false,
                // A quote opens a value only as its first character: `5" pipe` is text.
                (false, b'"') if value_starts => self.quoted = true,
                (false, byte) if byte == self.separator => self.done.push(std::mem::take(&mut self.current)),
                _ => self.current.push(byte),
            }
            value_starts = byte == self.separator && !self.quoted;
            at += 1;
        }
        !self.quoted
    }

    pub(super) fn finish(mut self) -> Vec<Vec<u8>> {
        self.done.push(self.current);
        self.done
    }
}

/// The names of a file's columns.
#[derive(Debug)]
pub(super) struct Header(Vec<String>);

impl Header {
    pub(super) fn read(lines: &mut Lines) -> Result<Self, OpenError> {
        let names = lines.header()?;
        if names.len() > COLUMNS_MAX {
            return Err(OpenError::Header(format!("{} columns, at most {COLUMNS_MAX}", names.len())));
        }
        Ok(Self(names.into_iter().map(|name| name.trim().to_owned()).collect()))
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// Columns that a file without a header is known to have.
    pub(super) fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    pub(super) fn shown(&self) -> String {
        let found = self.0.join(", ");
        if found.chars().count() > 200 { found.chars().take(200).chain("…".chars()).collect() } else { found }
    }

    pub(super) fn column(&self, name: &'static str) -> Result<Column, OpenError> {
        let index = self
            .0
            .iter()
            .position(|found| found == name)
            .ok_or_else(|| OpenError::Column { missing: name.to_owned(), found: self.shown() })?;
        Ok(Column { name, index })
    }

    /// The column of one of these names, in letters and digits alone and however they are written.
    pub(super) fn any(&self, names: &[&'static str]) -> Option<Column> {
        let found = |name: &'static str| self.0.iter().position(|given| plain(given) == name);
        names.iter().find_map(|name| Some(Column { name, index: found(name)? }))
    }

    /// A row has as many values as the header has names, or nothing can be said about which is which.
    pub(super) fn fits(&self, row: u64, record: &Record) -> Result<(), RowFault> {
        if record.len() == self.0.len() {
            return Ok(());
        }
        let message = format!("{} values, {} columns", record.len(), self.0.len());
        Err(RowFault::new(row, None, "columns", message))
    }
}

/// Letters and digits alone, small: `Session ID` is `sessionid`.
pub fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// One column, by its place in this file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    index: usize,
}

/// Characters of an id: as the doors allow, with room for what we put around it.
const ID_CHARS_MAX: usize = 200;

impl Column {
    /// The value without blanks around it; empty where the row is short.
    pub(super) fn text(self, record: &Record) -> &str {
        record.get(self.index).map_or("", |text| text.trim())
    }

    /// A value that names something: not empty, not endless.
    pub(super) fn id(self, row: u64, record: &Record) -> Result<&str, RowFault> {
        let text = self.text(record);
        if text.is_empty() {
            return Err(self.fault(row, "empty", "is empty"));
        }
        if text.chars().count() > ID_CHARS_MAX {
            return Err(self.fault(row, "too_long", &format!("is longer than {ID_CHARS_MAX} characters")));
        }
        Ok(text)
    }

    pub(super) fn decimal(self, row: u64, record: &Record) -> Result<rust_decimal::Decimal, RowFault> {
        crate::money::parse(self.text(record)).map_err(|error| self.fault(row, "not_a_number", &error.to_string()))
    }

    /// Whole units since 1970 (seconds: 1000, milliseconds: 1), up to the year 9999.
    pub(super) fn unix(
        self,
        row: u64,
        record: &Record,
        millis_per_unit: i64,
    ) -> Result<crate::ids::Timestamp, RowFault> {
        let text = self.text(record);
        let wrong = || self.fault(row, "not_a_time", &format!("`{}` is no Unix time", text.escape_debug()));
        let units: i64 = text.parse().map_err(|_| wrong())?;
        let millis = units.checked_mul(millis_per_unit).ok_or_else(wrong)?;
        let at = crate::ids::Timestamp::from_millis(millis);
        if millis < 0 || at.millis() != millis { Err(wrong()) } else { Ok(at) }
    }

    pub(super) fn fault(self, row: u64, code: &'static str, message: &str) -> RowFault {
        let message: String = message.chars().take(200).collect();
        RowFault::new(row, Some(self.name.to_owned()), code, message)
    }
}
