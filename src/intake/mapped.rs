//! A table's rows as a mapping says.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::convert::{Clockface, truth};
use super::envelope::{Said, Stamp, Who};
use super::lines::{Lines, Record};
use super::mapping::{Answer, Field, From, Kind, Mapping, Name, When};
use super::profiles::nobodys;
use super::record::Header;
use super::{OpenError, Out, RowFault, Rows};
use crate::event::{Event, NAME_CHARS_MAX};
use crate::ids::Timestamp;
use crate::money::Currency;

/// Characters of an id: as the doors allow, with room for what we put around it.
const ID_CHARS_MAX: usize = 200;
/// Characters of a `messageId` that the doors keep as they are.
const MESSAGE_ID_CHARS_MAX: usize = 100;
/// Words by which systems say that somebody agreed, or did not.
const GRANTED: [&str; 5] = ["granted", "subscribed", "opt_in", "opted_in", "opt-in"];
const DENIED: [&str; 6] = ["denied", "unsubscribed", "opt_out", "opted_out", "opt-out", "cleaned"];
/// Words by which they say that nobody was asked.
const UNASKED: [&str; 4] = ["unknown", "never_subscribed", "none", "null"];

pub(super) struct Table {
    stamp: Stamp,
    header: Header,
    /// Where each column stands.
    places: BTreeMap<String, usize>,
    mapping: Mapping,
    /// For people of whom the file tells no time.
    present: Timestamp,
}

/// One row with the names of its cells.
struct Cells<'a> {
    places: &'a BTreeMap<String, usize>,
    record: &'a Record,
    row: u64,
}

impl<'a> Cells<'a> {
    fn text(&self, column: &str) -> &'a str {
        self.places.get(column).and_then(|index| self.record.get(*index)).map_or("", |text| text.trim())
    }

    fn fault(&self, column: &str, code: &'static str, message: &str) -> RowFault {
        RowFault::new(self.row, Some(column.to_owned()), code, message.chars().take(200).collect::<String>())
    }

    /// A cell that names something, if it is not empty.
    fn id(&self, column: Option<&str>, chars_max: usize) -> Result<Option<&'a str>, RowFault> {
        let Some(column) = column else { return Ok(None) };
        let text = self.text(column);
        if text.chars().count() > chars_max {
            return Err(self.fault(column, "too_long", &format!("is longer than {chars_max} characters")));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Table {
    pub(super) fn new(
        stamp: Stamp,
        mapping: Mapping,
        lines: &mut Lines,
        present: Timestamp,
    ) -> Result<Self, OpenError> {
        if let Some(separator) = mapping.separator {
            lines.separate_by(separator);
        }
        let header = Header::read(lines)?;
        for name in columns(&mapping) {
            if !header.names().iter().any(|found| found == name) {
                return Err(OpenError::Column { missing: name.to_owned(), found: header.shown() });
            }
        }
        let mut places = BTreeMap::new();
        for (index, name) in header.names().iter().enumerate() {
            // Of two columns of one name the first counts.
            places.entry(name.clone()).or_insert(index);
        }
        Ok(Self { stamp, header, places, mapping, present })
    }

    fn read(&self, row: u64, record: &Record) -> Result<Vec<Event>, RowFault> {
        self.header.fits(row, record)?;
        let cells = Cells { places: &self.places, record, row };
        for skip in &self.mapping.skip {
            let text = cells.text(&skip.column);
            let skips = match &skip.when {
                When::Is(words) => words.iter().any(|word| word == text),
                When::IsNot(words) => words.iter().all(|word| word != text),
                When::Empty => text.is_empty(),
            };
            if skips {
                return Err(cells.fault(&skip.column, "skipped", "is passed over, as the mapping says"));
            }
        }
        let user_id = cells.id(self.mapping.user_id.as_deref(), ID_CHARS_MAX)?;
        let anonymous_id = cells.id(self.mapping.anonymous_id.as_deref(), ID_CHARS_MAX)?;
        let who = Who { user_id, anonymous_id };
        let answers = self.answers(&cells)?;
        if user_id.is_none() && anonymous_id.is_none() {
            let column = self.mapping.user_id.as_deref().or(self.mapping.anonymous_id.as_deref()).unwrap_or_default();
            return Err(nobodys(row, column, "is empty: nobody's", &answers));
        }
        let at = self.at(&cells)?;
        let fields = self.fields(&cells)?;
        match &self.mapping.kind {
            Kind::Event(name) => {
                let name = event_name(name, &cells)?;
                let message_id = cells.id(self.mapping.message_id.as_deref(), MESSAGE_ID_CHARS_MAX)?;
                let said = Said { row, at, who, name, properties: fields };
                Ok(vec![self.stamp.track_as(said, message_id)?])
            }
            Kind::Profile => self.stamp.profile((row, at), who, fields, &answers),
        }
    }

    /// None in a table of events: a mapping has them for people alone.
    fn answers(&self, cells: &Cells<'_>) -> Result<Vec<(String, &'static str)>, RowFault> {
        let mut answers = Vec::new();
        for answer in &self.mapping.consent {
            let said = state(answer, cells.text(&answer.column))
                .map_err(|message| cells.fault(&answer.column, "not_an_answer", &message))?;
            answers.extend(said.map(|state| (answer.about.clone(), state)));
        }
        Ok(answers)
    }

    fn at(&self, cells: &Cells<'_>) -> Result<Timestamp, RowFault> {
        let Some((column, clock)) = &self.mapping.timestamp else { return Ok(self.present) };
        match cells.text(column) {
            "" if self.mapping.is_of_people() => Ok(self.present),
            "" => Err(cells.fault(column, "no_time", "is empty; history needs its time")),
            text => read_time(clock, text).ok_or_else(|| {
                let message = format!("`{}` is no time such as {}", text.escape_debug(), clock.example());
                cells.fault(column, "not_a_time", &message)
            }),
        }
    }

    fn fields(&self, cells: &Cells<'_>) -> Result<Map<String, Value>, RowFault> {
        let mut all = Map::new();
        for Field { path, from, currency } in &self.mapping.fields {
            let Some(value) = self.value(from, cells)? else { continue };
            put(&mut all, path, value);
            if let Some(currency) = currency {
                let mut beside = path.clone();
                beside.pop();
                beside.push("currency".to_owned());
                if let Some(code) = self.currency(currency, cells)? {
                    put(&mut all, &beside, code);
                }
            }
        }
        Ok(all)
    }

    /// An empty cell is an absent value.
    fn value(&self, from: &From, cells: &Cells<'_>) -> Result<Option<Value>, RowFault> {
        match from {
            From::Value(value) => Ok(Some(value.clone())),
            From::Column(column, kind) => match cells.text(column) {
                "" => Ok(None),
                text => kind.read(text, self.mapping.comma, &self.mapping.clock).map(Some).map_err(|message| {
                    let code = match kind.name() {
                        "number" => "not_a_number",
                        "boolean" => "not_a_boolean",
                        "time" => "not_a_time",
                        _ => "not_a_list",
                    };
                    cells.fault(column, code, &message)
                }),
            },
        }
    }

    fn currency(&self, from: &From, cells: &Cells<'_>) -> Result<Option<Value>, RowFault> {
        let From::Column(column, _) = from else { return self.value(from, cells) };
        match cells.text(column) {
            "" => Ok(None),
            text => {
                let code: Result<Currency, _> = text.to_ascii_uppercase().parse();
                code.map(|code| Some(serde_json::json!(code)))
                    .map_err(|error| cells.fault(column, "not_a_currency", &error.to_string()))
            }
        }
    }
}

fn read_time(clock: &Clockface, text: &str) -> Option<Timestamp> {
    clock.read(text).filter(|at| at.millis() >= 0)
}

/// Every column a mapping names.
fn columns(mapping: &Mapping) -> Vec<&str> {
    let mut all: Vec<&str> = [&mapping.user_id, &mapping.anonymous_id, &mapping.message_id]
        .into_iter()
        .filter_map(|column| column.as_deref())
        .chain(mapping.timestamp.iter().map(|(column, _)| column.as_str()))
        .chain(mapping.skip.iter().map(|skip| skip.column.as_str()))
        .chain(mapping.consent.iter().map(|answer| answer.column.as_str()))
        .collect();
    if let Kind::Event(Name::Column(column, _)) = &mapping.kind {
        all.push(column);
    }
    for field in &mapping.fields {
        for from in [Some(&field.from), field.currency.as_ref()].into_iter().flatten() {
            if let From::Column(column, _) = from {
                all.push(column);
            }
        }
    }
    all
}

fn event_name<'a>(name: &'a Name, cells: &Cells<'a>) -> Result<&'a str, RowFault> {
    let (column, names) = match name {
        Name::Always(name) => return Ok(name),
        Name::Column(column, names) => (column, names),
    };
    let text = cells.id(Some(column), NAME_CHARS_MAX)?;
    let text = text.ok_or_else(|| cells.fault(column, "unknown_event", "is empty: what happened?"))?;
    if names.is_empty() {
        return Ok(text);
    }
    names.get(text).map(String::as_str).ok_or_else(|| {
        let message = format!("`{}` is not among the `names` of the mapping", text.escape_debug());
        cells.fault(column, "unknown_event", &message)
    })
}

/// What a cell answers, in the words of the mapping where it has some; none: nobody was asked.
fn state(answer: &Answer, text: &str) -> Result<Option<&'static str>, String> {
    let word = text.to_lowercase();
    if answer.granted.iter().any(|it| it == text) {
        return Ok(Some("granted"));
    }
    if answer.denied.iter().any(|it| it == text) {
        return Ok(Some("denied"));
    }
    let (yes, no) = (GRANTED.contains(&word.as_str()), DENIED.contains(&word.as_str()));
    match truth(&word) {
        _ if text.is_empty() || UNASKED.contains(&word.as_str()) => Ok(None),
        Some(true) => Ok(Some("granted")),
        Some(false) => Ok(Some("denied")),
        None if yes => Ok(Some("granted")),
        None if no => Ok(Some("denied")),
        None => Err(format!(
            "`{}` is neither a yes nor a no; say with `granted` and `denied` what it means",
            text.escape_debug()
        )),
    }
}

/// Sets a value where a path leads; what stands in the way gives way.
fn put(into: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else { return };
    let mut here = into;
    for name in above {
        let next = here.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        let Value::Object(next) = next else { return };
        here = next;
    }
    here.insert(last.clone(), value);
}

impl Rows for Table {
    fn take(&mut self, row: u64, record: &Record, out: &mut Out<'_>) {
        out.events(self.read(row, record), row);
    }

    fn end(&mut self, _: &mut Out<'_>) {}
}
