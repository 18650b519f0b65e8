//! Text to a tree that knows where everything stands: YAML or JSON, several documents in a file.
//!
//! Scalars keep their raw text, so `40.00` stays exact. Anchors, aliases, tags, merge keys and repeated keys are
//! refused: each makes a text mean something else than it seems to. The size of everything is bounded. A document that is
//! no YAML is told, and the reading goes on with the next.

mod pieces;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::Value;

use crate::definition::problem::Code;
use pieces::{Piece, pieces};

pub const FILE_BYTES_MAX: usize = 1024 * 1024;
pub const DEPTH_MAX: usize = 64;
pub const NODES_MAX: usize = 100_000;
/// Of the name of a field.
pub const NAME_BYTES_MAX: usize = 512;
const PATH_BYTES_MAX: usize = 1_024;
/// Faults that are told of one file.
const FAULTS_MAX: usize = 1_000;

/// A place in the tree, with where it was written; lines and columns start at 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub line: usize,
    pub column: usize,
    /// Bytes of the text it was read from.
    pub range: Range<usize>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// `plain`: written without quotes, so it may be a number, a truth value or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub text: String,
    pub line: usize,
    pub column: usize,
}

/// What a scalar is.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    /// Text in JSON's number grammar.
    Number(&'a str),
    Text(&'a str),
    /// A number to some readers and text to others: `+44770`, `.5`, `0x1F`, `007`.
    Ambiguous(&'a str),
}

/// One document of a file: its tree and the bytes that are exactly it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    pub root: Node,
    pub text: String,
}

/// Why a file cannot be read; `path` leads to the place where it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub line: usize,
    pub column: usize,
    pub field: String,
    pub code: Code,
    pub message: String,
}

/// What a text holds, as far as it can be read.
#[derive(Debug, Default)]
pub struct Parsed {
    pub trees: Vec<Tree>,
    pub faults: Vec<Fault>,
    /// There are documents of which there is no tree.
    pub is_partial: bool,
}

/// The documents of a text that went through [`as_yaml`]. Never panics, and takes time in proportion to the text.
pub fn parse(text: &str) -> Result<Vec<Tree>, Vec<Fault>> {
    let Parsed { trees, faults, .. } = parse_all(text);
    if faults.is_empty() { Ok(trees) } else { Err(faults) }
}

/// The same with every fault, and the documents that can be read beside those that cannot.
pub fn parse_all(text: &str) -> Parsed {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        let fault = Fault { line: 1, column: 1, field: String::new(), code: Code::Limit, message };
        return Parsed { faults: vec![fault], is_partial: true, ..Parsed::default() };
    }
    if control_characters(Piece::whole(text)).next().is_none() {
        let mut builder = Builder::new(Piece::whole(text), 0);
        if builder.run() || builder.is_over {
            return builder.parsed;
        }
    }
    let (mut all, mut nodes) = (Parsed::default(), 0);
    for piece in pieces(text) {
        let odd: Vec<Fault> = control_characters(piece).take(FAULTS_MAX).collect();
        if !odd.is_empty() {
            all.is_partial = true;
            all.faults.extend(odd);
        } else {
            let mut builder = Builder::new(piece, nodes);
            builder.run();
            all.trees.append(&mut builder.parsed.trees);
            all.faults.append(&mut builder.parsed.faults);
            all.is_partial |= builder.parsed.is_partial;
            nodes = builder.nodes;
            if builder.is_over {
                break;
            }
        }
        if all.faults.len() >= FAULTS_MAX {
            break;
        }
    }
    all.is_partial |= all.faults.len() >= FAULTS_MAX;
    all.faults.truncate(FAULTS_MAX);
    all
}

/// Characters that no text has, the first of each line. The parser takes some of them for the end of it.
fn control_characters(piece: Piece<'_>) -> impl Iterator<Item = Fault> {
    let is_one = |letter: char| letter.is_control() && !matches!(letter, '\t' | '\n' | '\r' | '\u{85}');
    piece.text.split('\n').enumerate().filter_map(move |(n, line)| {
        let (column, letter) = line.chars().enumerate().find(|(_, letter)| is_one(*letter))?;
        let message = format!("the character U+{:04X} does not belong into a text", u32::from(letter));
        let line = piece.lines + n + 1;
        Some(Fault { line, column: column + 1, field: String::new(), code: Code::Syntax, message })
    })
}

/// JSON is YAML but for surrogate pairs in escapes; those become the character they stand for.
pub fn as_yaml(text: &str) -> Cow<'_, str> {
    let is_json = text.contains("\\u") && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if !is_json {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = |from: usize| u32::from_str_radix(rest.get(from..from + 4)?, 16).ok();
        let pair = (rest[1..].starts_with('u') && rest.get(6..8) == Some("\\u"))
            .then(|| Some((unit(2)?, unit(8)?)))
            .flatten()
            .filter(|(high, low)| (0xD800..0xDC00).contains(high) && (0xDC00..0xE000).contains(low))
            .and_then(|(high, low)| char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)));
        let taken = match pair {
            Some(character) => {
                out.push(character);
                12
            }
            // A backslash and the ASCII character after it, which may be a backslash itself.
            None => {
                out.push_str(&rest[..2]);
                2
            }
        };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

struct Builder<'a> {
    piece: Piece<'a>,
    /// Byte offset of each character; empty where the text is ASCII and they are the same.
    offsets: Vec<u32>,
    open: Vec<Open>,
    nodes: usize,
    /// Where the document at hand begins, and its root once read.
    start: usize,
    root: Option<Node>,
    /// What it means is not what its tree says.
    is_odd: bool,
    parsed: Parsed,
    /// Nothing more of the text is read, wherever it goes on.
    is_over: bool,
}

enum Open {
    List { at: Node, items: Vec<Node> },
    Map { at: Node, entries: Vec<(Key, Node)>, names: BTreeSet<String>, key: Option<Key> },
}

impl<'a> Builder<'a> {
    /// So many values stand before it.
    fn new(piece: Piece<'a>, nodes: usize) -> Self {
        let offsets = match piece.text.is_ascii() {
            true => Vec::new(),
            false => piece.text.char_indices().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX)).collect(),
        };
        Self {
            piece,
            offsets,
            open: Vec::new(),
            nodes,
            start: 0,
            root: None,
            is_odd: false,
            parsed: Parsed::default(),
            is_over: false,
        }
    }

    /// Whether it came to the end.
    fn run(&mut self) -> bool {
        let mut parser = Parser::new_from_str(self.piece.text);
        while let Some(next) = parser.next_event() {
            let going_on = match next {
                Ok((event, span)) => self.event(event, span),
                Err(error) => self.not_yaml(error.marker(), error.info()),
            };
            if !going_on {
                self.parsed.is_partial = true;
                return false;
            }
        }
        true
    }

    fn not_yaml(&mut self, at: &Marker, said: &str) -> bool {
        // A tab is found where the structure breaks: on its own line, or on one beside it.
        let near = |line: usize| line.abs_diff(at.line()) <= 1;
        let indent = |line: &str| line.find(|c| !matches!(c, ' ' | '\t')).and_then(|end| line[..end].find('\t'));
        let lines = self.piece.text.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(n, _)| near(*n));
        let tab = lines.filter_map(|(n, line)| Some((n, indent(line)?))).min_by_key(|(n, _)| n.abs_diff(at.line()));
        let Some((line, column)) = tab else {
            return self.fault(at, Code::Syntax, format!("this is not YAML: {said}"));
        };
        let message = "tabs cannot indent YAML; use spaces".to_owned();
        let (line, field) = (self.piece.lines + line, self.path());
        self.parsed.faults.push(Fault { line, column: column + 1, field, code: Code::Syntax, message });
        false
    }

    /// Takes one event; false stops the reading.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let refused = match &event {
            Event::Alias(_) => Some("aliases (`*name`) are not used here; write the value again"),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if *anchor != 0 =>
            {
                Some("anchors (`&name`) are not used here")
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Some("tags (`!name`) are not used here")
            }
            _ => None,
        };
        if let Some(message) = refused {
            self.fault(&span.start, Code::Syntax, message.to_owned());
            if self.parsed.faults.len() >= FAULTS_MAX {
                return false;
            }
        }
        match event {
            Event::DocumentStart(explicit) => {
                if explicit {
                    self.start = self.byte(span.end.index());
                }
                self.is_odd = false;
                true
            }
            Event::Alias(_) => {
                self.is_odd = true;
                self.value(span, Content::Scalar { text: String::new(), plain: true })
            }
            Event::DocumentEnd => {
                self.document_ends(self.byte(span.start.index()));
                self.start = self.byte(span.end.index());
                true
            }
            Event::Scalar(text, style, ..) => {
                let content = Content::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.value(span, content)
            }
            Event::SequenceStart(..) => self.enter(span, false),
            Event::MappingStart(..) => self.enter(span, true),
            Event::SequenceEnd | Event::MappingEnd => self.leave(span),
            _ => true,
        }
    }

    fn document_ends(&mut self, end: usize) {
        let Some(root) = self.root.take() else { return };
        if matches!(&root.content, Content::Scalar { text, plain: true } if text.is_empty()) {
            return;
        }
        if self.is_odd {
            self.parsed.is_partial = true;
            return;
        }
        let text =
            self.piece.text.get(self.start..end).unwrap_or_default().trim_start_matches(['\n', '\r', '\u{feff}']);
        self.parsed.trees.push(Tree { root, text: text.to_owned() });
    }

    fn enter(&mut self, span: Span, map: bool) -> bool {
        if self.open.len() >= DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return self.fault(&span.start, Code::Limit, message);
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return self.fault(
                &span.start,
                Code::Syntax,
                "a key must be plain text; text that starts with {{ goes in quotes".to_owned(),
            );
        }
        let at = self.node(span, Content::List(Vec::new()));
        self.open.push(match map {
            false => Open::List { at, items: Vec::new() },
            true => Open::Map { at, entries: Vec::new(), names: BTreeSet::new(), key: None },
        });
        true
    }

    fn leave(&mut self, span: Span) -> bool {
        let (mut node, content) = match self.open.pop() {
            Some(Open::List { at, items }) => (at, Content::List(items)),
            Some(Open::Map { at, entries, .. }) => (at, Content::Map(entries)),
            None => return true,
        };
        node.content = content;
        node.range.end = (self.piece.start + self.byte(span.end.index())).max(node.range.start);
        self.place(node)
    }

    /// A scalar: a key where one is due, else a value.
    fn value(&mut self, span: Span, content: Content) -> bool {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            self.is_over = true;
            return self.fault(&span.start, Code::Limit, format!("more than {NODES_MAX} values"));
        }
        let node = self.node(span, content);
        let Some(Open::Map { names, key: key @ None, .. }) = self.open.last_mut() else { return self.place(node) };
        let Content::Scalar { text, .. } = node.content else { return true };
        // Names stand in the path of everything below them.
        if text.len() > NAME_BYTES_MAX {
            let message = format!("the name of a field has {} bytes; at most {NAME_BYTES_MAX} are read", text.len());
            return self.fault(&span.start, Code::Limit, message);
        }
        let new = names.insert(text.clone());
        *key = Some(Key { text: text.clone(), line: node.line, column: node.column });
        if text == "<<" {
            self.is_odd = true;
            self.fault(&span.start, Code::Syntax, "merge keys (`<<`) are not used here".to_owned());
        } else if !new {
            self.fault(&span.start, Code::DuplicateKey, format!("`{text}` is written twice"));
        }
        self.parsed.faults.len() < FAULTS_MAX
    }

    fn place(&mut self, node: Node) -> bool {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => entries.extend(key.take().map(|key| (key, node))),
        }
        true
    }

    fn node(&self, span: Span, content: Content) -> Node {
        let Piece { start, lines, .. } = self.piece;
        let range = start + self.byte(span.start.index())..start + self.byte(span.end.index());
        Node { line: lines + span.start.line(), column: span.start.col() + 1, range, content }
    }

    /// Of the piece.
    fn byte(&self, character: usize) -> usize {
        if self.offsets.is_empty() {
            return character.min(self.piece.text.len());
        }
        self.offsets.get(character).map_or(self.piece.text.len(), |offset| *offset as usize)
    }

    fn fault(&mut self, at: &Marker, code: Code, message: String) -> bool {
        let (line, field) = (self.piece.lines + at.line(), self.path());
        self.parsed.faults.push(Fault { line, column: at.col() + 1, field, code, message });
        false
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            path = match open {
                Open::List { items, .. } => inside(&path, &format!("[{}]", items.len())),
                Open::Map { key: Some(key), .. } => below(&path, &key.text),
                Open::Map { key: None, .. } => path,
            }
        }
        path
    }
}

/// The path of a field inside another. It stays short, however deep and however long the names are: every problem and
/// every item of a long list has its own.
pub fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { inside(path, &format!(".{name}")) }
}

/// The same with an index, such as `[3]`.
pub fn inside(path: &str, step: &str) -> String {
    match path.len() + step.len() > PATH_BYTES_MAX {
        true if path.ends_with('…') => path.to_owned(),
        true => format!("{path}…"),
        false => format!("{path}{step}"),
    }
}

impl Node {
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.content {
            Content::Scalar { text, plain: false } => Some(Scalar::Text(text)),
            Content::Scalar { text, plain: true } => Some(resolve(text)),
            _ => None,
        }
    }

    /// As JSON; numbers keep their digits. Ambiguous scalars become text, see [`Scalar::Ambiguous`].
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect())
            }
            Content::Scalar { .. } => match self.scalar() {
                None | Some(Scalar::Null) => Value::Null,
                Some(Scalar::Bool(value)) => Value::Bool(value),
                Some(Scalar::Number(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
                Some(Scalar::Text(text) | Scalar::Ambiguous(text)) => Value::String(text.to_owned()),
            },
        }
    }
}

/// A plain scalar's type by YAML 1.2, where that agrees with JSON.
fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ if text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && serde_json::from_str::<serde_json::Number>(text).is_ok() =>
        {
            Scalar::Number(text)
        }
        _ if is_number_elsewhere(text) => Scalar::Ambiguous(text),
        _ => Scalar::Text(text),
    }
}

fn is_number_elsewhere(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), ".inf" | ".nan") || lower.starts_with("0x") || lower.starts_with("0o") {
        return lower.len() > 2 && lower[2..].bytes().all(|b| b.is_ascii_alphanumeric());
    }
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && !exponent.is_empty()
        && digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))
}
