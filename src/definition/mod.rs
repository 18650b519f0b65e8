//! What a marketer writes: campaigns, caps, policies, topics, templates, sources and stories, as YAML or JSON.
//!
//! Reading lists every problem by file, line and field; what the language has and this version does not build is
//! refused by name, never accepted and ignored.

pub mod asked;
pub mod campaign;
pub mod caps;
mod cart;
mod certain;
pub mod computed_trait;
pub mod condition;
pub mod consent_policy;
mod cross_check;
pub mod difference;
mod folder;
pub mod pattern;
mod performed;
pub mod problem;
pub mod quiet_hours;
pub mod rates;
pub mod reader;
pub mod segment;
mod sequence;
pub mod source;
mod start;
pub mod story;
pub mod template;
mod template_check;
#[cfg(test)]
mod tests;
pub mod topic;
mod value_test;
pub mod yaml;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::audience::Segment;
use crate::audience::computed::ComputedTrait;
use crate::decision::campaign::Campaign;
use crate::event::source::Source;
use crate::guard::frequency_cap::Rule;
use crate::guard::quiet_hours::Window as QuietWindow;
use crate::message::Topic;
use crate::money::Rates;
use crate::render::template::Template;
pub use consent_policy::PolicyRule;
pub use cross_check::{Known, built_on, cross_check};
pub use folder::shelved;
pub use problem::{Code, Problem};
use reader::{At, Reader, Reference, Unread};
pub use story::Story;
use yaml::{Content, Node, Parsed, Tree};

/// Problems listed of one reading; a file of noise could hold a hundred thousand.
pub const PROBLEMS_MAX: usize = 1_000;

/// A file, or the body of a request, to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    pub name: String,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    Campaign,
    Segment,
    ComputedTrait,
    Rates,
    Caps,
    QuietHours,
    ConsentPolicy,
    Template,
    Topic,
    Source,
    Story,
}

impl DocumentKind {
    pub const ALL: [Self; 11] = [
        Self::Campaign,
        Self::Segment,
        Self::ComputedTrait,
        Self::Rates,
        Self::Caps,
        Self::QuietHours,
        Self::ConsentPolicy,
        Self::Template,
        Self::Topic,
        Self::Source,
        Self::Story,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Campaign => "campaign",
            Self::Segment => "segment",
            Self::ComputedTrait => "computed_trait",
            Self::Rates => "rates",
            Self::Caps => "caps",
            Self::QuietHours => "quiet_hours",
            Self::ConsentPolicy => "consent_policy",
            Self::Template => "template",
            Self::Topic => "topic",
            Self::Source => "source",
            Self::Story => "story",
        }
    }

    /// Whether one of them may go without a key.
    const fn is_one_a_workspace(self) -> bool {
        matches!(self, Self::Caps | Self::QuietHours | Self::ConsentPolicy | Self::Rates)
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The folder `export` writes documents of this kind to.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Campaign => "campaigns",
            Self::Segment => "segments",
            Self::ComputedTrait => "computed_traits",
            Self::Rates => "rates",
            Self::Caps => "caps",
            Self::QuietHours => "quiet_hours",
            Self::ConsentPolicy => "consent_policy",
            Self::Template => "templates",
            Self::Topic => "topics",
            Self::Source => "sources",
            Self::Story => "stories",
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One document. `text` is exactly what was written (a template's folder: all its files, see [`Document::files`]);
/// reading it again gives the same document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub kind: DocumentKind,
    pub key: String,
    pub file: String,
    pub line: usize,
    pub text: String,
    pub definition: Definition,
    /// Names of other documents in this one.
    pub references: Vec<Reference>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    Campaign(Campaign),
    Segment(Segment),
    ComputedTrait(ComputedTrait),
    Rates(Rates),
    Caps(Vec<Rule>),
    QuietHours(Vec<QuietWindow>),
    ConsentPolicy(Vec<PolicyRule>),
    Template(Template),
    Topic(Topic),
    Source(Source),
    Story(Story),
}

impl Definition {
    pub const fn is_campaign(&self) -> bool {
        matches!(self, Self::Campaign(_))
    }
}

impl Document {
    /// `FILE:LINE` where it first says these words, or the last part of a path, or else where it begins: for what is told
    /// after it was read.
    pub fn place_of(&self, words: &str) -> String {
        let part = words.rsplit('.').next().unwrap_or(words);
        self.place_at(self.text.find(words).or_else(|| self.text.find(part)).unwrap_or(0))
    }

    fn place_at(&self, found: usize) -> String {
        // Comments may stand above the line it begins with.
        let is_above = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
        let above = self.text.lines().take_while(is_above).count();
        let lines = self.text.get(..found).unwrap_or_default().matches('\n').count();
        format!("{}:{}", self.file, self.line + lines.saturating_sub(above))
    }

    /// The same of a field by its name or path, as a whole word and where it is given a value: names are short, and stand
    /// in keys and titles too.
    pub fn place_of_field(&self, path: &str) -> String {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '.';
        let is_named = |at: &usize| {
            let (before, after) = (&self.text[..*at], &self.text[at + path.len()..]);
            let value = after.trim_start_matches(['"', '\'', ' ']);
            !before.ends_with(is_word) && value.starts_with(':')
        };
        let found = self.text.match_indices(path).map(|(at, _)| at).find(is_named);
        found.map_or_else(|| self.place_of(path), |at| self.place_at(at))
    }

    /// The files `export` writes for this document, so that reading them gives it again.
    pub fn files(&self) -> Vec<SourceFile> {
        folder::unpack(&self.text).unwrap_or_else(|| {
            let ending = if self.text.trim_start().starts_with('{') { "json" } else { "yaml" };
            let name = format!("{}/{}.{ending}", self.kind.folder(), self.key);
            vec![SourceFile { name, text: self.text.clone() }]
        })
    }
}

/// Whether a file found in a folder of definitions is one, by its name and the folder it stands in.
pub fn is_definition_file(name: &str) -> bool {
    let own = name.rsplit(['/', '\\']).next().unwrap_or(name);
    folder::is_definitions(own) || template::PART_FILES.contains(&own) || folder::is_shared_piece(name)
}

/// All documents of all files, or every problem in them. A template's folder is joined into one document.
pub fn read(files: &[SourceFile]) -> Result<Vec<Document>, Vec<Problem>> {
    Reading::of(files).answer()
}

/// The same, and beside each other and what is known: names that lead nowhere are among the problems, of the documents too
/// that have others.
pub fn check(files: &[SourceFile], known: &Known) -> Result<Vec<Document>, Vec<Problem>> {
    let mut reading = Reading::of(files);
    if !reading.is_nameless {
        reading.problems.extend(cross_check::cross_check_all(&reading.documents, &reading.unread, known));
    }
    reading.answer()
}

/// Files as far as they could be read.
#[derive(Default)]
struct Reading {
    documents: Vec<Document>,
    problems: Vec<Problem>,
    unread: Vec<Unread>,
    is_nameless: bool,
}

impl Reading {
    fn of(files: &[SourceFile]) -> Self {
        let mut all = Self::default();
        for unit in folder::group(files) {
            match unit {
                folder::Unit::File(file) => all.add(read_file(file)),
                folder::Unit::Template(folder) => {
                    let (documents, problems) = folder.read();
                    let is_nameless = documents.is_empty();
                    all.add(Self { documents, problems, unread: Vec::new(), is_nameless });
                }
                folder::Unit::Stray(problem) => {
                    all.add(Self { problems: vec![problem], is_nameless: true, ..Self::default() });
                }
            }
        }
        all
    }

    fn add(&mut self, mut other: Self) {
        let place = |problem: &Problem| (problem.file.clone(), problem.line, problem.column);
        other.problems.sort_by_key(place);
        self.documents.append(&mut other.documents);
        self.problems.append(&mut other.problems);
        self.unread.append(&mut other.unread);
        self.is_nameless |= other.is_nameless;
    }

    fn answer(mut self) -> Result<Vec<Document>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.documents);
        }
        self.problems.truncate(PROBLEMS_MAX);
        Err(self.problems)
    }
}

fn read_file(file: &SourceFile) -> Reading {
    let text = yaml::as_yaml(&file.text);
    let reader = Reader::new(&file.name, &text);
    let Parsed { trees, faults, is_partial } = yaml::parse_all(&text);
    for fault in faults {
        reader.note(fault.line, fault.column, &fault.field, fault.code, fault.message);
    }
    reader.is_nameless.set(is_partial);
    let mut documents = Vec::new();
    for Tree { root, text } in &trees {
        match &root.content {
            Content::List(items) => documents.extend(items.iter().flat_map(|item| listed(&reader, item))),
            _ => documents.extend(document(&reader, root, text)),
        }
    }
    Reading {
        documents,
        problems: reader.problems.into_inner(),
        unread: reader.unread.into_inner(),
        is_nameless: reader.is_nameless.get(),
    }
}

/// A document in a list of documents, which must be written in braces so that its text can stand alone.
fn listed(reader: &Reader<'_>, item: &Node) -> Vec<Document> {
    let text = reader.text.get(item.range.clone()).unwrap_or_default().trim_end();
    if !text.starts_with('{') {
        let message = "several documents in a file are separated by lines of ---".to_owned();
        reader.note(item.line, item.column, "", Code::WrongValue, message);
        reader.is_nameless.set(true);
        return Vec::new();
    }
    document(reader, item, text)
}

/// One document; several only where a stored template folder turns out to hold them.
fn document(reader: &Reader<'_>, node: &Node, text: &str) -> Vec<Document> {
    if let Some(files) = folder::unpack_node(node) {
        // What is inside is never packed again.
        let mut units = folder::group(&files).into_iter();
        return match (units.next(), units.next()) {
            (Some(folder::Unit::Template(template)), None) => {
                let (documents, problems) = template.read();
                reader.is_nameless.set(reader.is_nameless.get() || documents.is_empty());
                reader.problems.borrow_mut().extend(problems);
                documents
            }
            _ => {
                let message = "holds the files of one folder, template.yaml among them".to_owned();
                reader.note(node.line, node.column, "files", Code::WrongValue, message);
                reader.is_nameless.set(true);
                Vec::new()
            }
        };
    }
    let at = At::root(reader, node);
    let Some(kind) = kind(&at) else {
        reader.is_nameless.set(true);
        return Vec::new();
    };
    let key = key(&at, kind);
    let references_before = reader.references.borrow().len();
    // Without a key its other faults are told all the same.
    let definition = definition(&at, kind, key.as_deref().unwrap_or_default(), &[]);
    let references = reader.references.borrow_mut().split_off(references_before);
    let Some(key) = key else {
        reader.is_nameless.set(true);
        return Vec::new();
    };
    let file = reader.file.to_owned();
    let Some(definition) = definition else {
        reader.unread.borrow_mut().push(Unread { kind, key, file, references });
        return Vec::new();
    };
    vec![Document { kind, key, file, line: node.line, text: text.to_owned(), definition, references }]
}

fn kind(at: &At<'_>) -> Option<DocumentKind> {
    let kinds = DocumentKind::ALL.map(|kind| (kind.as_str(), kind));
    let later = ["catalog", "coupons", "notify_policy"];
    at.open_map()?.required("kind")?.choice(&kinds, &later)
}

/// The document's key. Caps and consent policies are one a workspace unless named; a story is named by its name.
fn key(at: &At<'_>, kind: DocumentKind) -> Option<String> {
    let map = at.open_map()?;
    match (map.get("key"), kind) {
        (Some(key), _) => key.key(),
        (None, kind) if kind.is_one_a_workspace() => Some("default".to_owned()),
        (None, DocumentKind::Story) => map.required("name")?.name().map(|name| key_of_name(&name)),
        (None, _) => map.required("key").and_then(|key| key.key()),
    }
}

/// `A cart, bought` becomes `a_cart_bought`.
fn key_of_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let key = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_");
    let key: String = key.chars().take(reader::KEY_CHARS_MAX).collect();
    if key.is_empty() { "story".to_owned() } else { key }
}

fn definition(at: &At<'_>, kind: DocumentKind, key: &str, parts: &[template::PartFile<'_>]) -> Option<Definition> {
    let noted = at.reader.problems.borrow().len();
    let definition = match kind {
        DocumentKind::Campaign => campaign::read(at, key).map(Definition::Campaign),
        DocumentKind::Segment => segment::read(at, key).map(Definition::Segment),
        DocumentKind::ComputedTrait => computed_trait::read(at, key).map(Definition::ComputedTrait),
        DocumentKind::Rates => rates::read(at).map(Definition::Rates),
        DocumentKind::Caps => caps::read(at).map(Definition::Caps),
        DocumentKind::QuietHours => quiet_hours::read(at).map(Definition::QuietHours),
        DocumentKind::ConsentPolicy => consent_policy::read(at).map(Definition::ConsentPolicy),
        DocumentKind::Template => template::read(at, key, parts).map(Definition::Template),
        DocumentKind::Topic => topic::read(at, key).map(Definition::Topic),
        DocumentKind::Source => source::read(at, key).map(Definition::Source),
        DocumentKind::Story => story::read(at, key).map(Definition::Story),
    };
    definition.filter(|_| at.reader.problems.borrow().len() == noted)
}
