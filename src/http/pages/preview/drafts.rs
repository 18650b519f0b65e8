//! Where the templates come from: the folder somebody writes in, and behind it what is in force.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use actix_web::web;
use anyhow::Context;

use crate::definition::template::may_be_included;
use crate::definition::{Definition, DocumentKind, Problem, SourceFile, is_definition_file, read};
use crate::http::pages::{Desk, Nothing};
use crate::render::includes::FOLDER;
use crate::render::template::Template;
use crate::worker::live::read_stored;

const FILES_MAX: usize = 2_000;
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const DEPTH_MAX: usize = 6;
const MAIN_FILE: &str = "template.yaml";

/// A template as it is being written, or as it is in force.
#[derive(Debug, Clone)]
pub struct Draft {
    pub key: String,
    pub from_folder: bool,
    /// None: it cannot be read.
    pub template: Option<Template>,
    pub problems: Vec<Problem>,
}

/// All, by key; one in the folder stands before one in force.
pub async fn drafts(desk: &Desk) -> Result<Vec<Draft>, Nothing> {
    let mut all: BTreeMap<String, Draft> = BTreeMap::new();
    for stored in desk.db().definitions().await? {
        if stored.kind != DocumentKind::Template.as_str() {
            continue;
        }
        for definition in read_stored(&stored) {
            let Definition::Template(template) = definition else { continue };
            let template = Template { version: stored.version, ..template };
            let draft =
                Draft { key: template.key.clone(), from_folder: false, template: Some(template), problems: Vec::new() };
            all.insert(draft.key.clone(), draft);
        }
    }
    for draft in in_folder(&files(desk).await?) {
        all.insert(draft.key.clone(), draft);
    }
    Ok(all.into_values().collect())
}

pub async fn draft(desk: &Desk, key: &str) -> Result<Option<Draft>, Nothing> {
    Ok(drafts(desk).await?.into_iter().find(|draft| draft.key == key))
}

/// Another whenever a file or what is in force is another.
pub async fn fingerprint(desk: &Desk) -> Result<String, Nothing> {
    let mut hash = blake3::Hasher::new();
    for SourceFile { name, text } in files(desk).await? {
        for part in [&name, &text] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
    }
    hash.update(&desk.admin.definitions.generation().to_le_bytes());
    Ok(hash.finalize().to_hex()[..16].to_owned())
}

async fn files(desk: &Desk) -> Result<Vec<SourceFile>, Nothing> {
    let Some(folder) = desk.folder.clone() else { return Ok(Vec::new()) };
    let reading = move || {
        let mut files = Vec::new();
        gather(&folder, "", 0, &mut files)?;
        Ok::<_, anyhow::Error>(files)
    };
    Ok(web::block(reading).await.map_err(anyhow::Error::from)??)
}

fn gather(folder: &Path, within: &str, depth: usize, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("the folder {} cannot be read", folder.display()))?;
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(own) = entry.file_name().into_string() else { continue };
        if own.starts_with('.') || files.len() >= FILES_MAX {
            continue;
        }
        let name = if within.is_empty() { own.clone() } else { format!("{within}/{own}") };
        // Editors replace files as they save them: one that is gone now is there at the next look.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth < DEPTH_MAX {
            gather(&entry.path(), &name, depth + 1, files)?;
        } else if meta.is_file() && meta.len() <= FILE_BYTES_MAX && (is_definition_file(&name) || may_be_included(&own))
        {
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            files.push(SourceFile { name, text: String::from_utf8_lossy(&bytes).into_owned() });
        }
    }
    Ok(())
}

/// Each template's folder by itself, so that what is wrong with one does not hide another.
fn in_folder(files: &[SourceFile]) -> Vec<Draft> {
    let folder_of = |name: &str| name.rfind('/').map_or("", |end| &name[..end]).to_owned();
    let is_main = |file: &&SourceFile| file.name == MAIN_FILE || file.name.ends_with("/template.yaml");
    let homes: Vec<String> = files.iter().filter(is_main).map(|file| folder_of(&file.name)).collect();
    let is_in = |file: &SourceFile, home: &str| {
        let rest = if home.is_empty() {
            Some(file.name.as_str())
        } else {
            file.name.strip_prefix(home).and_then(|it| it.strip_prefix('/'))
        };
        rest.is_some_and(|rest| rest.matches('/').count() <= 1 || rest.starts_with(&format!("{FOLDER}/")))
    };
    // What the templates of a folder share stands beside them.
    let is_beside = |file: &SourceFile, home: &str| {
        let above = home.rfind('/').map_or("", |end| &home[..=end]);
        !home.is_empty() && file.name.strip_prefix(above).is_some_and(|it| it.starts_with(&format!("{FOLDER}/")))
    };
    let mut drafts = Vec::new();
    for home in &homes {
        // A folder within that is a template of its own, or none of a locale, is not part of this one.
        let deeper = |file: &SourceFile| homes.iter().any(|other| other.len() > home.len() && is_in(file, other));
        let belongs = |file: &&SourceFile| is_in(file, home) && !deeper(file) || is_beside(file, home);
        let own: Vec<SourceFile> = files.iter().filter(belongs).cloned().collect();
        let name = home.rsplit('/').next().unwrap_or_default();
        drafts.extend(read_as_drafts(&own, if name.is_empty() { "template" } else { name }));
    }
    let elsewhere = |file: &&SourceFile| !homes.iter().any(|home| is_in(file, home));
    for file in files.iter().filter(elsewhere).filter(|file| file.text.contains("template")) {
        let own = file.name.rsplit('/').next().unwrap_or_default();
        let stem = own.split('.').next().unwrap_or_default();
        let says_template = file.text.lines().any(|line| line.trim_start().starts_with("kind: template"));
        if says_template {
            drafts.extend(read_as_drafts(std::slice::from_ref(file), stem));
        }
    }
    drafts
}

fn read_as_drafts(files: &[SourceFile], name: &str) -> Vec<Draft> {
    match read(files) {
        Ok(documents) => documents
            .into_iter()
            .filter_map(|document| match document.definition {
                Definition::Template(template) => Some(template),
                _ => None,
            })
            .map(|template| Draft {
                key: template.key.clone(),
                from_folder: true,
                template: Some(template),
                problems: Vec::new(),
            })
            .collect(),
        Err(problems) => vec![Draft { key: name.to_owned(), from_folder: true, template: None, problems }],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn each_template_of_a_folder_is_read_by_itself() {
        let files = [
            file("a/template.yaml", "kind: template\n"),
            file("a/sms.hbs", "Hi"),
            file("a/de/sms.hbs", "Hallo"),
            file("b/template.yaml", "kind: template\n"),
            file("b/sms.hbs", "Hi {{nobody}}"),
            file("recipes/x.yaml", "kind: campaign\nkey: x\n"),
            file("c.yaml", "kind: template\nkey: c\nsms: Hi\n"),
        ];
        let drafts = in_folder(&files);
        let found: Vec<(&str, bool)> = drafts.iter().map(|it| (it.key.as_str(), it.template.is_some())).collect();
        assert_eq!(found, [("a", true), ("b", false), ("c", true)]);
        assert!(drafts[0].template.as_ref().unwrap().variants.contains_key("de"));
        let problem = &drafts[1].problems[0];
        assert_eq!((problem.file.as_str(), problem.line), ("b/sms.hbs", 1));
    }
}
