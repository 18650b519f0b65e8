//! How a table is read, as whoever has it wrote it down: which column is what, how times and numbers are written, which
//! rows are passed over. Every mistake is told with its line, and nothing unknown is accepted and ignored.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::tz::TimeZone;

use super::convert::{Clockface, Type, Writing};
use crate::definition::problem::Problem;
use crate::definition::reader::{At, Map, Reader};
use crate::definition::yaml;
use crate::message::Channel;
use crate::money::Currency;

const FIELDS: [&str; 13] = [
    "kind",
    "event",
    "user_id",
    "anonymous_id",
    "timestamp",
    "message_id",
    "skip",
    "properties",
    "traits",
    "consent",
    "separator",
    "decimal",
    "zone",
];

/// What a table's rows become.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub(super) kind: Kind,
    pub(super) user_id: Option<String>,
    pub(super) anonymous_id: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) timestamp: Option<(String, Clockface)>,
    pub(super) skip: Vec<Skip>,
    /// Properties of an event, traits of a person.
    pub(super) fields: Vec<Field>,
    /// By channel, or `topic:KEY`.
    pub(super) consent: Vec<Answer>,
    pub(super) separator: Option<u8>,
    /// Numbers have a comma where others have a point.
    pub(super) comma: bool,
    /// For times among the fields.
    pub(super) clock: Clockface,
}

/// What a row is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Event(Name),
    Profile,
}

/// Where an event's name comes from.
#[derive(Debug, Clone)]
pub(super) enum Name {
    Always(String),
    /// What the column says, translated where names are given: then only these are events.
    Column(String, BTreeMap<String, String>),
}

/// Rows that are passed over.
#[derive(Debug, Clone)]
pub(super) struct Skip {
    pub(super) column: String,
    pub(super) when: When,
}

#[derive(Debug, Clone)]
pub(super) enum When {
    Is(Vec<String>),
    IsNot(Vec<String>),
    Empty,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    /// Where it stands; points lead into objects.
    pub(super) path: Vec<String>,
    pub(super) from: From,
    pub(super) currency: Option<From>,
}

#[derive(Debug, Clone)]
pub(super) enum From {
    Column(String, Type),
    /// The same in every row.
    Value(serde_json::Value),
}

/// What a person said, in the words of the file.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) about: String,
    pub(super) column: String,
    pub(super) granted: Vec<String>,
    pub(super) denied: Vec<String>,
}

/// A mapping that cannot be used, with everything that is wrong in it.
#[derive(Debug, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct NotAMapping(pub Vec<Problem>);

fn listed(problems: &[Problem]) -> String {
    let mut text = "the mapping cannot be used".to_owned();
    for problem in problems {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n  {problem}");
    }
    text
}

impl Mapping {
    /// Reads a mapping; `file` names it in problems.
    ///
    /// # Errors
    /// It is no YAML, or says something that cannot be done.
    pub fn read(file: &str, text: &str) -> Result<Self, NotAMapping> {
        let text = yaml::as_yaml(text);
        let reader = Reader::new(file, &text);
        let trees = yaml::parse(&text).unwrap_or_else(|faults| {
            for fault in faults {
                reader.note(fault.line, fault.column, &fault.field, fault.code, fault.message);
            }
            Vec::new()
        });
        let read = match trees.as_slice() {
            [tree] => read(&At::root(&reader, &tree.root)),
            _ => None,
        };
        if trees.len() != 1 && reader.problems.borrow().is_empty() {
            let message = format!("holds {} mappings, wanted one", trees.len());
            reader.note(1, 1, "", crate::definition::problem::Code::Syntax, message);
        }
        let problems = reader.problems.take();
        read.filter(|_| problems.is_empty()).ok_or(NotAMapping(problems))
    }

    /// Whether its rows are people and not what they did.
    pub fn is_of_people(&self) -> bool {
        matches!(self.kind, Kind::Profile)
    }
}

fn read(root: &At<'_>) -> Option<Mapping> {
    let map = root.map(&FIELDS, &[])?;
    let is_profile =
        map.optional("kind", false, |at| at.choice(&[("event", false), ("profile", true)], &[])).unwrap_or_default();
    for (name, of_people) in
        [("event", false), ("message_id", false), ("properties", false), ("traits", true), ("consent", true)]
    {
        if let Some(at) = map.get(name).filter(|_| of_people != is_profile) {
            let whose = if of_people { "profile" } else { "event" };
            at.wrong::<()>(format!("belongs to a mapping of `kind: {whose}`"));
        }
    }
    let zone = map.optional("zone", TimeZone::UTC, |at| zone(&at)).unwrap_or(TimeZone::UTC);
    let clock = Clockface { writing: Writing::Any, zone };
    let comma = map.optional("decimal", false, |at| at.choice(&[(".", false), (",", true)], &[])).unwrap_or_default();
    let kind =
        if is_profile { Some(Kind::Profile) } else { map.required("event").and_then(|at| name(&at)).map(Kind::Event) };
    let user_id = map.maybe("user_id", |at| column(&at));
    let anonymous_id = map.maybe("anonymous_id", |at| column(&at));
    if map.get("user_id").is_none() && map.get("anonymous_id").is_none() {
        root.problem(crate::definition::problem::Code::MissingField, "names neither `user_id` nor `anonymous_id`");
    }
    let timestamp = map.maybe("timestamp", |at| timestamp(&at, &clock));
    if !is_profile {
        map.required("timestamp");
    }
    let message_id = map.maybe("message_id", |at| column(&at));
    let skip = map.optional("skip", Vec::new(), |at| all(at.one_or_more()?.iter().map(skip)));
    let fields = map.optional(if is_profile { "traits" } else { "properties" }, Vec::new(), |at| fields(&at));
    let consent = map.optional("consent", Vec::new(), |at| answers(&at));
    let separator = map.maybe("separator", |at| separator(&at));
    // Only here, so that every mistake is told and not the first alone.
    Some(Mapping {
        kind: kind?,
        user_id: user_id?,
        anonymous_id: anonymous_id?,
        message_id: message_id?,
        timestamp: timestamp?,
        skip: skip?,
        fields: fields?,
        consent: consent?,
        separator: separator?,
        comma,
        clock,
    })
}

/// Each is read, also after one that cannot be.
fn all<T>(read: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = read.collect();
    read.into_iter().collect()
}

fn column(at: &At<'_>) -> Option<String> {
    match at.raw() {
        Some(name) if !name.is_empty() => Some(name.to_owned()),
        _ => at.wrong("wanted the name of a column"),
    }
}

fn name(at: &At<'_>) -> Option<Name> {
    if !at.is_map() {
        return at.name().map(Name::Always);
    }
    let map = at.map(&["column", "names"], &[])?;
    let of = |at: At<'_>| -> Option<BTreeMap<String, String>> {
        at.open_map()?.iter().map(|(key, at)| Some((key.text.clone(), at.name()?))).collect()
    };
    Some(Name::Column(column(&map.required("column")?)?, map.optional("names", BTreeMap::new(), of)?))
}

fn zone(at: &At<'_>) -> Option<TimeZone> {
    let text = at.text()?;
    TimeZone::get(text).ok().or_else(|| at.wrong("is no time zone such as Europe/London"))
}

fn timestamp(at: &At<'_>, clock: &Clockface) -> Option<(String, Clockface)> {
    if !at.is_map() {
        return Some((column(at)?, clock.clone()));
    }
    let map = at.map(&["column", "format", "zone"], &[])?;
    let writing = map.optional("format", Writing::Any, |at| {
        let text = at.text()?;
        let is_pattern = text.contains('%');
        if is_pattern {
            Some(Writing::Pattern(text.to_owned()))
        } else {
            at.wrong("is no pattern such as %d/%m/%Y %H:%M")
        }
    });
    let zone = map.optional("zone", clock.zone.clone(), |at| zone(&at));
    Some((column(&map.required("column")?)?, Clockface { writing: writing?, zone: zone? }))
}

fn separator(at: &At<'_>) -> Option<u8> {
    match at.raw().map(str::as_bytes) {
        Some(b"tab" | b"\\t") => Some(b'\t'),
        Some([one]) if one.is_ascii() && *one != b'"' => Some(*one),
        _ => at.wrong("wanted one character, or `tab`"),
    }
}

fn words(at: &At<'_>) -> Option<Vec<String>> {
    let word = |at: &At<'_>| at.raw().map(str::to_owned).or_else(|| at.wrong("wanted a word"));
    at.one_or_more()?.iter().map(word).collect()
}

fn skip(at: &At<'_>) -> Option<Skip> {
    let map = at.map(&["column", "is", "is_not", "empty"], &[])?;
    let column = column(&map.required("column")?)?;
    let is = map.maybe("is", |at| words(&at))?.map(When::Is);
    let is_not = map.maybe("is_not", |at| words(&at))?.map(When::IsNot);
    let empty = map.maybe("empty", |at| at.boolean())?.filter(|empty| *empty).map(|_| When::Empty);
    let mut all: Vec<When> = [is, is_not, empty].into_iter().flatten().collect();
    match (all.pop(), all.is_empty()) {
        (Some(when), true) => Some(Skip { column, when }),
        _ => at.wrong("wants one of `is: [...]`, `is_not: [...]` and `empty: true`"),
    }
}

fn fields(at: &At<'_>) -> Option<Vec<Field>> {
    all(at.open_map()?.iter().map(|(key, at)| field(&key.text, &at)))
}

fn field(path: &str, at: &At<'_>) -> Option<Field> {
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return at.wrong("its name is not a path such as product.price");
    }
    if !at.is_map() {
        return Some(Field { path, from: From::Column(column(at)?, Type::Text), currency: None });
    }
    let map = at.map(&["column", "type", "value", "separator", "currency"], &[])?;
    if let Some(value) = map.get("value") {
        return Some(Field { path, from: From::Value(value.value()?), currency: None });
    }
    let separator = map.optional("separator", "|".to_owned(), |at| at.name())?;
    let choices = [("text", 0_u8), ("number", 1), ("money", 2), ("boolean", 3), ("list", 4), ("time", 5)];
    let chosen = map.optional("type", 0, |at| at.choice(&choices, &[]))?;
    let kind = match chosen {
        1 | 2 => Type::Number,
        3 => Type::Boolean,
        4 => Type::List(separator),
        5 => Type::Instant,
        _ => Type::Text,
    };
    let currency =
        map.maybe("currency", |at| if chosen == 2 { currency(&at) } else { at.wrong("belongs to `type: money`") })?;
    Some(Field { path, from: From::Column(column(&map.required("column")?)?, kind), currency })
}

/// The same in every row, or of a column.
fn currency(at: &At<'_>) -> Option<From> {
    if at.is_map() {
        let map: Map<'_> = at.map(&["column"], &[])?;
        return Some(From::Column(column(&map.required("column")?)?, Type::Text));
    }
    let code: Option<Currency> = at.raw().and_then(|text| text.parse().ok());
    code.map(|code| From::Value(serde_json::json!(code))).or_else(|| at.wrong("is no currency such as EUR"))
}

fn answers(at: &At<'_>) -> Option<Vec<Answer>> {
    let words_of = |map: &Map<'_>, name: &str| map.optional(name, Vec::new(), |at| words(&at));
    let answer = |(key, at): (&yaml::Key, At<'_>)| {
        let about = key.text.clone();
        if Channel::parse(&about).is_none() && about.strip_prefix("topic:").is_none_or(str::is_empty) {
            return at.wrong("is neither a channel nor a topic such as topic:offers");
        }
        if !at.is_map() {
            return Some(Answer { about, column: column(&at)?, granted: Vec::new(), denied: Vec::new() });
        }
        let map = at.map(&["column", "granted", "denied"], &[])?;
        let (granted, denied) = (words_of(&map, "granted")?, words_of(&map, "denied")?);
        Some(Answer { about, column: column(&map.required("column")?)?, granted, denied })
    };
    all(at.open_map()?.iter().map(answer))
}
