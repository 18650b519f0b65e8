//! Definitions between folders and the service: put into force, written back, and tried on stories.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::client::{Client, Refused};
use crate::cli::table::{cell, list};
use crate::cli::{Answer, Usage, print, print_json, tell};
use crate::definition::{self, Problem, SourceFile};
use crate::render::includes::FOLDER;
use crate::story;

/// A definition is a page; a larger file is something else.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon apply ./definitions
  carillon apply ./definitions --dry-run      what would change, and every problem
  carillon apply cart_reminder.yaml templates/cart_reminder
  carillon apply win_back.yaml --yes          though it takes in more than 1,000 people at once

All or nothing: with one problem anywhere nothing changes.")]
pub struct Apply {
    /// Files, or folders with definitions in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Campaigns may take in more than 1,000 people who are in their segments already
    #[arg(long)]
    yes: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon export ./backup
  carillon export ./backup --force            write over what is there

What is written is what was applied, byte for byte; `carillon apply DIR` reads it again.")]
pub struct Export {
    /// A folder that is empty or does not exist yet
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Write into a folder that holds something already
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  carillon test ./definitions
  carillon test ./definitions --json

Needs no server and no data folder: stories run on the rules themselves, in milliseconds.")]
pub struct Test {
    /// Files, or folders with stories and what they are about
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// `carillon apply`; the files are read before the service is asked.
pub async fn apply(client: &Client, asked: &Apply, files: Vec<SourceFile>) -> anyhow::Result<Answer> {
    let path = format!("/api/v1/definitions?dry_run={}&yes={}", asked.dry_run, asked.yes);
    let answer = client.post(&path, body(&files)).await;
    if asked.json {
        return answer_as_json(answer);
    }
    let answer = answer?;
    let (created, changed) = (list(&answer, "created"), list(&answer, "changed"));
    for (mark, names) in [("+", created), ("~", changed)] {
        for name in names {
            print(&format!("{mark} {}\n", cell(name)));
        }
    }
    let counts =
        format!("{} new, {} changed, {} as before", created.len(), changed.len(), list(&answer, "unchanged").len());
    print(&format!("{counts}{}\n", if asked.dry_run { "; nothing was applied" } else { "" }));
    warn(&answer);
    Ok(Answer::Yes)
}

/// What stands in the way of files is an answer too.
fn answer_as_json(answer: anyhow::Result<Value>) -> anyhow::Result<Answer> {
    let (answer, said) = match answer {
        Ok(answer) => (answer, Answer::Yes),
        Err(error) => match error.downcast::<Refused>()? {
            refused if refused.answer["problems"].is_array() => (refused.answer, Answer::No),
            refused => return Err(refused.into()),
        },
    };
    print_json(&answer);
    Ok(said)
}

/// What does not fit the events that came: for whoever looks, beside the answer.
pub fn warn(answer: &Value) {
    for warning in list(answer, "warnings") {
        tell(&format!("warning: {}\n", cell(warning)));
    }
}

impl Apply {
    pub fn files(&self) -> anyhow::Result<Vec<SourceFile>> {
        files(&self.paths)
    }
}

/// The body of a request that applies files.
pub fn body(files: &[SourceFile]) -> Value {
    json!({ "files": files })
}

impl Export {
    /// # Errors
    /// The folder holds something.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_empty = fs::read_dir(&self.folder).map_or(true, |mut entries| entries.next().is_none());
        if is_empty || self.force {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(Usage(format!("{folder} is not empty: name another folder, or write over it with --force")).into())
    }
}

pub async fn export(client: &Client, asked: &Export) -> anyhow::Result<Answer> {
    let answer = client.get("/api/v1/definitions", &[]).await?;
    let files: Vec<SourceFile> =
        serde_json::from_value(answer["files"].clone()).context("the server's answer holds no files")?;
    for file in &files {
        let name = Path::new(&file.name);
        let is_inside = name.components().all(|part| matches!(part, Component::Normal(_)));
        anyhow::ensure!(is_inside, "`{}` would be written outside of the folder", file.name);
        let path = asked.folder.join(name);
        let cannot = || format!("{} cannot be written", path.display());
        fs::create_dir_all(path.parent().unwrap_or(&asked.folder)).with_context(cannot)?;
        fs::write(&path, &file.text).with_context(cannot)?;
    }
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    if asked.json {
        print_json(&json!({ "folder": asked.folder, "files": names }));
    } else {
        print(&format!("{} files written to {}\n", names.len(), asked.folder.display()));
    }
    Ok(Answer::Yes)
}

/// `carillon test`.
///
/// # Errors
/// The files cannot be read, or hold no story.
pub fn test(asked: &Test) -> anyhow::Result<Answer> {
    let reports = match story::tell(&files(&asked.paths)?) {
        Ok(reports) => reports,
        Err(problems) => return Ok(refuse(&problems, asked.json)),
    };
    if reports.is_empty() {
        let message = "there is no story in these files; a story is a document with `kind: story`";
        return Err(Usage(message.to_owned()).into());
    }
    let failed = reports.iter().filter(|report| !report.passed).count();
    if asked.json {
        let told: Vec<Value> = reports
            .iter()
            .map(|it| {
                let timeline: Vec<&str> = it.timeline.lines().collect();
                let (name, passed) = (&it.name, it.passed);
                json!({
                    "name": name, "passed": passed, "failures": it.failures, "timeline": timeline, "hints": it.hints
                })
            })
            .collect();
        print_json(&json!({ "stories": told, "passed": reports.len() - failed, "failed": failed }));
    } else {
        for report in &reports {
            print(&format!("{}  {}\n", if report.passed { "ok    " } else { "FAILED" }, report.name));
            if !report.passed {
                let lines = report.failures.iter().map(String::as_str).chain(["what happened:"]);
                let lines: String =
                    lines.chain(report.timeline.lines()).map(|line| format!("        {line}\n")).collect();
                print(&lines);
            }
            report.hints.iter().for_each(|hint| print(&format!("        hint: {hint}\n")));
        }
        print(&format!("{} passed, {failed} failed\n", reports.len() - failed));
    }
    Ok(if failed == 0 { Answer::Yes } else { Answer::No })
}

fn refuse(problems: &[Problem], json: bool) -> Answer {
    if json {
        print_json(&json!({ "problems": problems }));
    } else {
        for problem in problems {
            tell(&format!("{problem}\n"));
        }
        let found = if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) };
        tell(&format!("carillon: {found}; no story was run\n"));
    }
    Answer::No
}

/// The files named, and those of the folders named, under the names they were found by.
pub fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        if !metadata.is_dir() {
            found.push(path.clone());
            continue;
        }
        walk(path, &mut found)?;
        // A template by itself needs what it shares with the others.
        let shared = path.with_file_name(FOLDER);
        if path.join("template.yaml").is_file() && path.file_name().is_some() && shared.is_dir() {
            walk(&shared, &mut found)?;
        }
    }
    // Two templates named side by side share one folder.
    let mut known = BTreeSet::new();
    found.retain(|path| known.insert(path.clone()));
    if found.is_empty() {
        return Err(Usage("there are no definitions there: files end in .yaml, .yml or .json".to_owned()).into());
    }
    let (mut files, mut refused) = (Vec::with_capacity(found.len()), Vec::new());
    for path in &found {
        match read(path) {
            Ok(file) => files.push((path, file)),
            Err(error) => refused.push((path, error)),
        }
    }
    if refused.is_empty() {
        return Ok(files.into_iter().map(|(_, file)| file).collect());
    }
    // What is wrong with the others is told as well, as far as they do without these.
    let missed: Vec<&Path> = refused.iter().flat_map(|(path, _)| homes(path)).collect();
    files.retain(|(path, _)| !missed.iter().any(|home| path.starts_with(home)));
    let whole: Vec<SourceFile> = files.into_iter().map(|(_, file)| file).collect();
    let problems = definition::read(&whole).err().unwrap_or_default();
    if problems.is_empty() && refused.len() == 1 {
        return Err(refused.remove(0).1);
    }
    let lines = refused.iter().map(|(_, error)| format!("{error:#}"));
    let lines: Vec<String> = lines.chain(problems.iter().map(ToString::to_string)).collect();
    Err(Usage(lines.join("\n")).into())
}

/// The folders of templates that a file belongs to: they are not whole without it.
fn homes(path: &Path) -> Vec<&Path> {
    let folders = || path.ancestors().skip(1);
    let shelf = folders().find(|folder| folder.file_name().is_some_and(|name| name == FOLDER)).and_then(Path::parent);
    folders().filter(|folder| folder.join("template.yaml").is_file()).chain(shelf).collect()
}

/// In the order of names, without hidden files; links to folders are not followed.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let named = || format!("{} cannot be read", folder.display());
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).with_context(named)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().with_context(named)?.is_dir() {
            walk(&path, found)?;
            continue;
        }
        // A name without an ending is part of a template, of its variant for a locale, or a LICENSE.
        let is_template = |folder: &Path| folder.join("template.yaml").is_file();
        let is_part = is_template(folder) || folder.parent().is_some_and(is_template);
        let is_piece = is_part && definition::template::may_be_included(&name);
        let belongs = name.contains('.') || is_part;
        if belongs && (is_piece || definition::is_definition_file(&path.to_string_lossy())) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<SourceFile> {
    let named = || format!("{} cannot be read", path.display());
    let size = fs::metadata(path).with_context(named)?.len();
    anyhow::ensure!(
        size <= FILE_BYTES_MAX,
        "{} has {size} bytes; a definition has at most {FILE_BYTES_MAX}",
        path.display()
    );
    let bytes = fs::read(path).with_context(named)?;
    let place = |good: usize| {
        let line = bytes[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}", path.display())
    };
    let text = str::from_utf8(&bytes)
        .map_err(|error| Usage(format!("{}: this is not UTF-8; save the file as UTF-8", place(error.valid_up_to()))))?;
    // Found here, for no body of a request may hold it.
    if let Some(at) = text.find('\0') {
        return Err(Usage(format!("{}: a NUL character does not belong into a text", place(at))).into());
    }
    let text = text.to_owned();
    let name = path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned();
    Ok(SourceFile { name, text })
}
