//! Typed access to a tree, collecting every problem with its place instead of stopping at the first.
//!
//! Getters return `None` after noting what was wrong; a document is used only if nothing was noted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::Value;

use crate::audience::period::{NotAPeriod, Period};
use crate::definition::problem::{Code, Problem, nearest};
use crate::definition::yaml::{self, Content, Key, Node, Scalar};
use crate::definition::{DocumentKind, PROBLEMS_MAX};
use crate::event::NAME_CHARS_MAX;
use crate::event::number::decimal;
use crate::ids::{Span, Timestamp};
use crate::message::Channel;

/// Characters of the author's text repeated in a message.
const SHOWN_CHARS_MAX: usize = 60;
pub const KEY_CHARS_MAX: usize = 64;

/// Collects what is found while one document is read.
pub struct Reader<'a> {
    pub file: &'a str,
    /// The text the nodes' ranges point into.
    pub text: &'a str,
    pub problems: RefCell<Vec<Problem>>,
    pub references: RefCell<Vec<Reference>>,
    /// Documents with a problem, as far as they could be read.
    pub unread: RefCell<Vec<Unread>>,
    /// Some document has no name that could be read: who names it is not known.
    pub is_nameless: Cell<bool>,
}

/// What is known of a document with a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub kind: DocumentKind,
    pub key: String,
    pub file: String,
    pub references: Vec<Reference>,
}

/// A name of another document, to be checked once all are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub line: usize,
    pub column: usize,
    pub field: String,
    pub to: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Campaign(String),
    Topic(String),
    /// A template, and the channel it must have a part for.
    Template(String, Option<Channel>),
    Segment(String),
    /// Of ISO 3166-1 and 3166-2.
    Country(String),
    Region(String),
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            problems: RefCell::default(),
            references: RefCell::default(),
            unread: RefCell::default(),
            is_nameless: Cell::default(),
        }
    }

    pub fn note(&self, line: usize, column: usize, field: &str, code: Code, message: String) {
        self.push(line, column, field, code, message, None);
    }

    pub fn push(&self, line: usize, column: usize, field: &str, code: Code, message: String, nearest: Option<String>) {
        if self.problems.borrow().len() >= PROBLEMS_MAX {
            return;
        }
        let (file, field) = (self.file.to_owned(), field.to_owned());
        self.problems.borrow_mut().push(Problem { file, line, column, field, code, message, nearest });
    }
}

/// A node with its path, and where to report.
#[derive(Clone)]
pub struct At<'a> {
    pub reader: &'a Reader<'a>,
    pub node: &'a Node,
    pub path: String,
}

impl<'a> At<'a> {
    pub fn root(reader: &'a Reader<'a>, node: &'a Node) -> Self {
        Self { reader, node, path: String::new() }
    }

    pub fn problem(&self, code: Code, message: impl Into<String>) {
        self.reader.note(self.node.line, self.node.column, &self.path, code, message.into());
    }

    pub fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        self.problem(Code::WrongValue, message);
        None
    }

    pub fn later<T>(&self, what: &str) -> Option<T> {
        self.problem(Code::NotYetSupported, format!("{what} is not supported yet"));
        None
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = match (&self.node.content, self.node.scalar()) {
            (Content::List(_), _) => "a list".to_owned(),
            (Content::Map(_), _) => "a mapping".to_owned(),
            (_, Some(Scalar::Null)) => "nothing".to_owned(),
            (_, Some(Scalar::Bool(value))) => format!("{value}"),
            (_, Some(Scalar::Number(text))) => format!("the number {}", shown(text)),
            (_, Some(Scalar::Text(text) | Scalar::Ambiguous(text))) => format!("`{}`", shown(text)),
            (Content::Scalar { .. }, None) => "something else".to_owned(),
        };
        self.problem(Code::WrongType, format!("wanted {wanted}, found {found}"));
        None
    }

    pub fn is_map(&self) -> bool {
        matches!(self.node.content, Content::Map(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.content, Content::List(_))
    }

    /// The scalar's raw text, however it is typed.
    pub fn raw(&self) -> Option<&'a str> {
        match &self.node.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A mapping whose fields are all in `known`; those in `later` are refused as not yet supported.
    pub fn map(&self, known: &[&str], later: &[&str]) -> Option<Map<'a>> {
        let map = self.open_map()?;
        for (key, _) in map.entries {
            let name = key.text.as_str();
            let field = self.below(name);
            if later.contains(&name) {
                let message = format!("`{name}` is not supported yet");
                self.reader.push(key.line, key.column, &field, Code::NotYetSupported, message, None);
            } else if !known.contains(&name) {
                let names = known.iter().chain(later).copied();
                let near = nearest(name, names);
                self.reader.push(key.line, key.column, &field, Code::UnknownField, "unknown field".to_owned(), near);
            }
        }
        Some(map)
    }

    /// A mapping with names of the author's own.
    pub fn open_map(&self) -> Option<Map<'a>> {
        match &self.node.content {
            Content::Map(entries) => Some(Map { at: self.clone(), entries }),
            _ => self.wrong_type("a mapping"),
        }
    }

    pub fn list(&self) -> Option<Vec<At<'a>>> {
        let Content::List(items) = &self.node.content else { return self.wrong_type("a list") };
        let at =
            |(index, node)| At { reader: self.reader, node, path: yaml::inside(&self.path, &format!("[{index}]")) };
        Some(items.iter().enumerate().map(at).collect())
    }

    /// One item of a list, without the others.
    pub fn item(&self, index: usize) -> Option<At<'a>> {
        let Content::List(items) = &self.node.content else { return None };
        let path = yaml::inside(&self.path, &format!("[{index}]"));
        Some(At { reader: self.reader, node: items.get(index)?, path })
    }

    pub fn pair(&self) -> Option<[At<'a>; 2]> {
        let items = self.list()?;
        <[At<'a>; 2]>::try_from(items).ok().or_else(|| self.wrong("wanted a list of two"))
    }

    /// One item, or a list of them.
    pub fn one_or_more(&self) -> Option<Vec<At<'a>>> {
        if self.is_list() { self.list() } else { Some(vec![self.clone()]) }
    }

    /// Text; a bare number or truth value must be quoted to be one.
    pub fn text(&self) -> Option<&'a str> {
        match self.node.scalar() {
            Some(Scalar::Text(text)) => Some(text),
            Some(Scalar::Number(_) | Scalar::Bool(_) | Scalar::Ambiguous(_)) => {
                self.wrong_type("text (in quotes, if this is text)")
            }
            _ => self.wrong_type("text"),
        }
    }

    /// Text of 1 to 256 characters.
    pub fn name(&self) -> Option<String> {
        let text = self.text()?;
        match text.chars().count() {
            0 => self.wrong("may not be empty"),
            n if n > NAME_CHARS_MAX => {
                self.problem(Code::Limit, format!("has {n} characters; at most {NAME_CHARS_MAX} are allowed"));
                None
            }
            _ => Some(text.to_owned()),
        }
    }

    /// A stable name: `[a-z0-9_-]{1,64}`.
    pub fn key(&self) -> Option<String> {
        let text = self.raw().filter(|text| is_key(text));
        match text {
            Some(text) => Some(text.to_owned()),
            None => self.wrong(format!("a key is 1 to {KEY_CHARS_MAX} of a-z, 0-9, _ and -")),
        }
    }

    /// A dotted path such as `properties.cart_id`.
    pub fn path(&self) -> Option<String> {
        let name = self.name()?;
        if name.split('.').any(str::is_empty) {
            return self.wrong(format!("`{}` is not a path such as properties.cart_id", shown(&name)));
        }
        Some(name)
    }

    /// A fixed length of time; months, years and calendar units mean something in conditions alone.
    pub fn span(&self) -> Option<Span> {
        let Some(text) = self.raw() else { return self.wrong_type("a duration such as 30s, 5m, 2h, 7d or 2w") };
        match text.parse::<Span>() {
            Ok(span) => Some(span),
            Err(_) if is_civil(text) => self.later(&format!("the calendar duration `{}`", shown(text))),
            Err(_) => self.wrong(format!("`{}` is not a duration such as 30s, 5m, 2h, 7d or 2w", shown(text))),
        }
    }

    pub fn span_above_zero(&self) -> Option<Span> {
        match self.span()? {
            Span::ZERO => self.wrong("must be longer than zero"),
            span => Some(span),
        }
    }

    /// A length of time, of the calendar too.
    pub fn period(&self) -> Option<Period> {
        let Some(text) = self.raw() else {
            return self.wrong_type("a duration such as 30s, 5m, 2h, 7d, 2w, 1mo or 1y");
        };
        text.parse().map_or_else(|_| self.wrong(NotAPeriod(shown(text)).to_string()), Some)
    }

    pub fn period_above_zero(&self) -> Option<Period> {
        match self.period()? {
            Period::Fixed(Span::ZERO) | Period::Months(0) => self.wrong("must be longer than zero"),
            period => Some(period),
        }
    }

    pub fn integer(&self, least: u32, most: u32) -> Option<u32> {
        let Some(Scalar::Number(text)) = self.node.scalar() else { return self.wrong_type("a whole number") };
        match text.parse::<u32>() {
            Ok(n) if (least..=most).contains(&n) => Some(n),
            _ => self.wrong(format!("wanted a whole number from {least} to {most}, found {}", shown(text))),
        }
    }

    pub fn boolean(&self) -> Option<bool> {
        match self.node.scalar() {
            Some(Scalar::Bool(value)) => Some(value),
            _ => self.wrong_type("true or false"),
        }
    }

    pub fn instant(&self) -> Option<Timestamp> {
        let Some(text) = self.raw() else { return self.wrong_type("an instant such as 2026-03-01T10:00Z") };
        match text.parse() {
            Ok(at) => Some(at),
            Err(_) => self.wrong(format!("`{}` is not an instant such as 2026-03-01T10:00Z", shown(text))),
        }
    }

    /// One of several names.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let text = self.raw().unwrap_or_default();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        if later.contains(&text) {
            return self.later(&format!("`{text}`"));
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = match self.raw() {
            Some(text) => format!("`{}` is not one of {}", shown(text), names.join(", ")),
            None => format!("wanted one of {}", names.join(", ")),
        };
        let near = nearest(text, names.into_iter().chain(later.iter().copied()));
        self.reader.push(self.node.line, self.node.column, &self.path, Code::WrongValue, message, near);
        None
    }

    pub fn channel(&self) -> Option<Channel> {
        let all: BTreeMap<&str, Channel> =
            Channel::ALL.into_iter().map(|channel| (channel.as_str(), channel)).collect();
        self.choice(&all.into_iter().collect::<Vec<_>>(), &["preferred"])
    }

    /// A scalar to compare with: text, number or truth value.
    pub fn literal(&self) -> Option<Value> {
        match self.node.scalar() {
            None => self.wrong_type("a value"),
            Some(Scalar::Null) => self.wrong("nothing equals null; write { exists: false }"),
            Some(_) => self.value(),
        }
    }

    /// As JSON, with every number exact.
    pub fn value(&self) -> Option<Value> {
        match &self.node.content {
            Content::List(_) => {
                let items: Vec<Option<Value>> = self.list()?.iter().map(At::value).collect();
                items.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Content::Map(_) => {
                let members: Vec<_> =
                    self.open_map()?.iter().map(|(key, at)| Some((key.text.clone(), at.value()?))).collect();
                members.into_iter().collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
            }
            Content::Scalar { .. } => match self.node.scalar() {
                Some(Scalar::Ambiguous(text)) => self.wrong(format!(
                    "`{}` is a number to some readers and text to others; write it as 0.5 or in quotes",
                    shown(text)
                )),
                _ => {
                    let value = self.node.to_json();
                    if value.is_number() && decimal(&value).is_none() {
                        return self.wrong("this number is too large or too fine to be exact");
                    }
                    Some(value)
                }
            },
        }
    }

    /// Notes that this place names another document.
    pub fn refers(&self, to: Target) {
        let (line, column, field) = (self.node.line, self.node.column, self.path.clone());
        self.reader.references.borrow_mut().push(Reference { line, column, field, to });
    }

    /// The text as written, on one line.
    pub fn as_written(&self) -> String {
        let text = self.reader.text.get(self.node.range.clone()).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub fn below(&self, name: &str) -> String {
        yaml::below(&self.path, name)
    }
}

/// The fields of a mapping.
pub struct Map<'a> {
    pub at: At<'a>,
    entries: &'a [(Key, Node)],
}

impl<'a> Map<'a> {
    pub fn get(&self, name: &str) -> Option<At<'a>> {
        let (key, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        Some(At { reader: self.at.reader, node, path: self.at.below(&key.text) })
    }

    /// The field, or a note that it is missing.
    pub fn required(&self, name: &str) -> Option<At<'a>> {
        let found = self.get(name);
        if found.is_none() {
            let node = self.at.node;
            let message = "this field is missing".to_owned();
            self.at.reader.note(node.line, node.column, &self.at.below(name), Code::MissingField, message);
        }
        found
    }

    /// The field read, or the default where it is not written; `None` only after a problem was noted.
    pub fn optional<T>(&self, name: &str, default: T, read: impl FnOnce(At<'a>) -> Option<T>) -> Option<T> {
        self.get(name).map_or(Some(default), read)
    }

    /// `Some(None)` where the field is not written.
    pub fn maybe<T>(&self, name: &str, read: impl FnOnce(At<'a>) -> Option<T>) -> Option<Option<T>> {
        self.get(name).map_or(Some(None), |at| read(at).map(Some))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a Key, At<'a>)> {
        self.entries
            .iter()
            .map(|(key, node)| (key, At { reader: self.at.reader, node, path: self.at.below(&key.text) }))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

pub fn is_key(text: &str) -> bool {
    (1..=KEY_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// `1mo`, `2y`, `calendar_day`, `calendar_week`.
fn is_civil(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(text, "calendar_day" | "calendar_week") || (unit.len() < text.len() && matches!(unit, "mo" | "y"))
}

/// The author's text, cut where it would fill the page.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
