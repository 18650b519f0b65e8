//! Files on disk and documents: which files belong together, and how a template's folder is kept as one text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::definition::problem::{Code, Problem, nearest};
use crate::definition::reader::{At, Reader, is_key};
use crate::definition::template::{PART_FILES, PartFile, is_locale};
use crate::definition::yaml::{self, Content, Node};
use crate::definition::{Document, DocumentKind, SourceFile, definition};

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
    for file in files.iter().filter(|file| own_name(&file.name) != MAIN_FILE) {
        let home = home(&file.name, |folder| folders.contains_key(folder));
        if let Some(parts) = home.and_then(|home| folders.get_mut(home)) {
            parts.push(file);
        }
    }
    files
        .iter()
        .filter_map(|file| {
            let own = own_name(&file.name);
            match home(&file.name, |folder| folders.contains_key(folder)).and_then(|home| folders.get(home)) {
                Some(parts) if own == MAIN_FILE => {
                    Some(Unit::Template(TemplateFolder { main: file, parts: parts.clone() }))
                }
                Some(_) => None,
                None if is_definitions(own) && !PART_FILES.contains(&own) => Some(Unit::File(file)),
                None => Some(Unit::Stray(stray(file))),
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
    let message = match PART_FILES.contains(&own_name(&file.name)) {
        true => "a part of a template, but there is no template.yaml beside it",
        false => "not a definition: those end in .yaml, .yml or .json",
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

/// The template's folder a file belongs to: its own, or the one above where its own is named for a locale.
fn home(name: &str, is_template: impl Fn(&str) -> bool) -> Option<&str> {
    let own = folder(name);
    if is_template(own) {
        return Some(own);
    }
    Some(folder(own)).filter(|above| *above != own && is_locale(own_name(own)) && is_template(above))
}

impl TemplateFolder<'_> {
    /// A part's name within the folder: `subject`, or `de/subject`.
    fn within<'f>(&self, name: &'f str) -> &'f str {
        let home = folder(&self.main.name);
        name[home.len()..].trim_start_matches(['/', '\\'])
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
        map.required("kind")?.choice(&[("template", ())], &[])?;
        let folder_key = own_name(folder(&self.main.name));
        let key = match map.get("key") {
            Some(key) => key.key()?,
            None if is_key(folder_key) => folder_key.to_owned(),
            None => map.required("key")?.key()?,
        };
        if is_key(folder_key) && key != folder_key {
            return map.get("key")?.wrong(format!("the folder is called `{folder_key}`; both must be the same"));
        }
        let parts: Vec<PartFile> = self
            .parts
            .iter()
            .map(|file| PartFile { file: &file.name, name: self.within(&file.name), text: &file.text })
            .collect();
        let definition = definition(at, DocumentKind::Template, &key, &parts)?;
        Some(Document {
            kind: DocumentKind::Template,
            file: self.main.name.clone(),
            line: at.node.line,
            text: self.pack(&key),
            key,
            definition,
            references: Vec::new(),
        })
    }

    fn pack(&self, key: &str) -> String {
        let files = self
            .parts
            .iter()
            .chain([&self.main])
            .map(|file| {
                (format!("{}/{key}/{}", DocumentKind::Template.folder(), self.within(&file.name)), file.text.clone())
            })
            .collect();
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
