//! Files on disk and documents: which files belong together, and how a template's folder is kept as one text.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::definition::problem::{Code, Problem, nearest};
use crate::definition::reader::{At, Reader, is_key};
use crate::definition::template::{PART_FILES, PartFile, is_locale, may_be_included};
use crate::definition::yaml::{self, Content, Node};
use crate::definition::{Definition, Document, DocumentKind, SourceFile, definition};
use crate::render::includes::FOLDER;

/// The stored form of a template's folder.
const PACKED_KIND: &str = "template_folder";
const MAIN_FILE: &str = "template.yaml";

/// What is read together.
pub enum Unit<'a> {
    File(&'a SourceFile),
    Template(TemplateFolder<'a>),
    Stray(Problem),
}

pub struct TemplateFolder<'a> {
    main: &'a SourceFile,
    parts: Vec<&'a SourceFile>,
    /// What stands in `partials` beside the folder.
    shared: Vec<&'a SourceFile>,
}

#[derive(Serialize, Deserialize)]
struct Packed {
    kind: String,
    files: BTreeMap<String, String>,
}

/// The units of a set of files, in the order written.
pub fn group(files: &[SourceFile]) -> Vec<Unit<'_>> {
    let mut folders: BTreeMap<&str, Vec<&SourceFile>> = BTreeMap::new();
    for main in files.iter().filter(|file| own_name(&file.name) == MAIN_FILE) {
        folders.insert(folder(&main.name), Vec::new());
    }
    let mut shared: BTreeMap<&str, Vec<&SourceFile>> = folders.keys().map(|home| (parent(home), Vec::new())).collect();
    for file in files.iter().filter(|file| own_name(&file.name) != MAIN_FILE) {
        match place(&file.name, |folder| folders.contains_key(folder)) {
            Place::Within(home) => folders.entry(home).or_default().push(file),
            Place::Beside(above) => shared.entry(above).or_default().push(file),
            Place::Elsewhere => {}
        }
    }
    files
        .iter()
        .filter_map(|file| {
            let own = own_name(&file.name);
            match place(&file.name, |folder| folders.contains_key(folder)) {
                Place::Within(home) if own == MAIN_FILE => {
                    let parts = folders.get(home).cloned().unwrap_or_default();
                    let shared = shared.get(parent(home)).cloned().unwrap_or_default();
                    Some(Unit::Template(TemplateFolder { main: file, parts, shared }))
                }
                Place::Within(_) => None,
                Place::Beside(above) if folders.keys().any(|home| parent(home) == above) => None,
                _ if is_definitions(own) && !PART_FILES.contains(&own) => Some(Unit::File(file)),
                _ => Some(Unit::Stray(stray(file))),
            }
        })
        .collect()
}

/// YAML and JSON, and names without an ending, such as those of request bodies.
pub fn is_definitions(own: &str) -> bool {
    match own.rsplit_once('.') {
        Some((_, ending)) => matches!(ending, "yaml" | "yml" | "json"),
        None => !PART_FILES.contains(&own),
    }
}

fn stray(file: &SourceFile) -> Problem {
    let message = match (shelf(&file.name), PART_FILES.contains(&own_name(&file.name))) {
        (Some(_), _) => "a piece that templates may include, but there is no template in this folder or beside it",
        (None, true) => {
            "a part of a template, but there is no template.yaml beside it; a folder within a template's is named by a \
             language, such as de or de-AT"
        }
        (None, false) => "not a definition: those end in .yaml, .yml or .json",
    };
    Problem {
        file: file.name.clone(),
        line: 1,
        column: 1,
        field: String::new(),
        code: Code::WrongValue,
        message: message.to_owned(),
        nearest: nearest(own_name(&file.name), [MAIN_FILE]),
    }
}

fn own_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

fn folder(name: &str) -> &str {
    name.rfind(['/', '\\']).map_or("", |end| &name[..end])
}

/// The folder a folder stands in. Those at the top stand in one without a name, apart from the top itself.
fn parent(home: &str) -> &str {
    if home.is_empty() { "/" } else { folder(home) }
}

/// Which templates a file belongs to.
enum Place<'f> {
    /// The one of this folder.
    Within(&'f str),
    /// All whose folders stand in this one.
    Beside(&'f str),
    Elsewhere,
}

/// In a template's own folder, in one there that is named for a locale, or among the pieces of one or all.
fn place(name: &str, is_template: impl Fn(&str) -> bool) -> Place<'_> {
    let own = folder(name);
    if is_template(own) {
        return Place::Within(own);
    }
    if let Some(holder) = shelf(name) {
        return if is_template(holder) { Place::Within(holder) } else { Place::Beside(holder) };
    }
    let above = Some(folder(own)).filter(|above| *above != own && is_locale(own_name(own)) && is_template(above));
    above.map_or(Place::Elsewhere, Place::Within)
}

/// The folder that holds the `partials` a file stands in.
fn shelf(name: &str) -> Option<&str> {
    if !may_be_included(own_name(name)) {
        return None;
    }
    let at = name.rmatch_indices(FOLDER).map(|(at, _)| at).find(|at| {
        let is_end = |rest: &str| rest.starts_with(['/', '\\']);
        is_end(&name[at + FOLDER.len()..]) && (*at == 0 || name[..*at].ends_with(['/', '\\']))
    })?;
    Some(name[..at].trim_end_matches(['/', '\\']))
}

/// Whether a file that stands there may be a piece that templates include.
pub fn is_shared_piece(name: &str) -> bool {
    shelf(name).is_some()
}

/// Documents' files put into one folder: pieces of equal text that several templates include stand beside them once.
pub fn shelved(files: Vec<SourceFile>) -> Vec<SourceFile> {
    let templates = format!("{}/", DocumentKind::Template.folder());
    // `templates/KEY/partials/NAME` is `partials/NAME` of KEY.
    let piece = |file: &SourceFile| {
        let (_, name) = file.name.strip_prefix(&templates)?.split_once('/')?;
        name.starts_with(FOLDER).then(|| format!("{templates}{name}")).filter(|it| is_shared_piece(it))
    };
    let mut texts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in &files {
        if let Some(shared) = piece(file) {
            texts.entry(shared).or_default().insert(&file.text);
        }
    }
    let alike: BTreeSet<String> =
        texts.into_iter().filter(|(_, texts)| texts.len() == 1).map(|(name, _)| name).collect();
    let mut written = BTreeSet::new();
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        match piece(&file).filter(|shared| alike.contains(shared)) {
            Some(name) if written.insert(name.clone()) => out.push(SourceFile { name, text: file.text }),
            Some(_) => {}
            None => out.push(file),
        }
    }
    out
}

impl TemplateFolder<'_> {
    /// A part's name within the folder: `subject`, or `de/subject`.
    fn within<'f>(&self, name: &'f str) -> &'f str {
        let home = folder(&self.main.name);
        name[home.len()..].trim_start_matches(['/', '\\'])
    }

    /// A shared piece's name, as if it stood within.
    fn beside(name: &str) -> &str {
        let above = shelf(name).map_or(0, str::len);
        name[above..].trim_start_matches(['/', '\\'])
    }

    fn all(&self) -> Vec<PartFile<'_>> {
        let own = self.parts.iter().map(|file| (self.within(&file.name), *file, false));
        let all = own.chain(self.shared.iter().map(|file| (Self::beside(&file.name), *file, true)));
        all.map(|(name, file, is_shared)| PartFile { file: &file.name, name, text: &file.text, is_shared }).collect()
    }

    pub fn read(&self) -> (Vec<Document>, Vec<Problem>) {
        let reader = Reader::new(&self.main.name, &self.main.text);
        let document = match yaml::parse(&self.main.text) {
            Ok(trees) if trees.len() == 1 => self.document(&At::root(&reader, &trees[0].root)),
            Ok(_) => {
                reader.note(1, 1, "", Code::WrongValue, "template.yaml holds one document".to_owned());
                None
            }
            Err(faults) => {
                for fault in faults {
                    reader.note(fault.line, fault.column, &fault.field, fault.code, fault.message);
                }
                None
            }
        };
        (document.into_iter().collect(), reader.problems.into_inner())
    }

    fn document(&self, at: &At<'_>) -> Option<Document> {
        let map = at.open_map()?;
        let kind = map.required("kind").and_then(|kind| kind.choice(&[("template", ())], &[]));
        let folder_key = own_name(folder(&self.main.name));
        let key = match map.get("key") {
            Some(key) => key.key(),
            None if is_key(folder_key) => Some(folder_key.to_owned()),
            None => map.required("key").and_then(|key| key.key()),
        };
        let key = match (key, map.get("key")) {
            (Some(key), Some(place)) if is_key(folder_key) && key != folder_key => {
                place.wrong(format!("the folder is called `{folder_key}`; both must be the same"))
            }
            (key, _) => key,
        };
        let parts = self.all();
        // A template without a name is looked at as well.
        let definition = definition(at, DocumentKind::Template, key.as_deref().unwrap_or(folder_key), &parts);
        let (key, definition, ()) = (key?, definition?, kind?);
        Some(Document {
            kind: DocumentKind::Template,
            file: self.main.name.clone(),
            line: at.node.line,
            text: self.pack(&key, &parts, &definition),
            key,
            definition,
            references: Vec::new(),
        })
    }

    /// The folder with those of the shared pieces that it includes, so that the text is whole by itself.
    fn pack(&self, key: &str, parts: &[PartFile<'_>], definition: &Definition) -> String {
        let Definition::Template(template) = definition else { return String::new() };
        let own = parts.iter().filter(|file| !file.is_shared);
        let is_own = |name: &str| own.clone().any(|file| file.name == name);
        let included = |file: &&PartFile<'_>| template.partials.contains_key(file.name) && !is_own(file.name);
        let shared = parts.iter().filter(|file| file.is_shared).filter(included);
        let main = (self.within(&self.main.name), self.main.text.as_str());
        let files = own.clone().chain(shared).map(|file| (file.name, file.text)).chain([main]);
        let folder = DocumentKind::Template.folder();
        let files = files.map(|(name, text)| (format!("{folder}/{key}/{name}"), text.to_owned())).collect();
        let packed = Packed { kind: PACKED_KIND.to_owned(), files };
        // Serialising two strings and a map of strings cannot fail.
        serde_json::to_string(&packed).unwrap_or_default()
    }
}

/// The files of a packed folder; `None` for any other text.
pub fn unpack(text: &str) -> Option<Vec<SourceFile>> {
    let packed: Packed = serde_json::from_str(text).ok()?;
    (packed.kind == PACKED_KIND).then_some(())?;
    Some(packed.files.into_iter().map(|(name, text)| SourceFile { name, text }).collect())
}

/// The files of a packed folder, from the tree of its text.
pub fn unpack_node(node: &Node) -> Option<Vec<SourceFile>> {
    let Content::Map(entries) = &node.content else { return None };
    let text = |node: &Node| match &node.content {
        Content::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    };
    let member = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
    (member("kind").and_then(text).as_deref() == Some(PACKED_KIND)).then_some(())?;
    let Content::Map(files) = &member("files")?.content else { return Some(Vec::new()) };
    files.iter().map(|(name, node)| Some(SourceFile { name: name.text.clone(), text: text(node)? })).collect()
}
