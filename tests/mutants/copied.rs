//! A copy of the house with every variant built in. Files that are as they were keep their time, so that a second build
//! is short; what was built of other crates is shared with the house.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::recorded::Mutant;

/// Whether a variant was asked for, read once.
const SWITCH: &str = r#"//! Which promise is broken on purpose.

/// Whether it is this one.
pub fn is(name: &str) -> bool {
    static ASKED: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("BROKEN").ok());
    ASKED.as_deref() == Some(name)
}
"#;

pub fn house() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The changed files, by their paths; an error names what does not fit.
pub fn changed(mutants: &[Mutant]) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for mutant in mutants {
        for change in &mutant.changes {
            let read = || fs::read_to_string(house().join(&change.file)).unwrap_or_default();
            let text = files.entry(change.file.clone()).or_insert_with(read);
            let found = text.matches(&change.before).count();
            if found == 1 {
                *text = text.replacen(&change.before, &change.after, 1);
            } else {
                wrong.push(format!("{}: stands {found} times in {}:\n{}", mutant.name, change.file, change.before));
            }
        }
    }
    if wrong.is_empty() { Ok(files) } else { Err(wrong) }
}

/// Writes the copy; the answer is where.
pub fn write(mutants: &[Mutant]) -> PathBuf {
    let (from, to) = (house(), house().join("target/mutants"));
    let mut changed = changed(mutants).unwrap_or_else(|wrong| panic!("{}", wrong.join("\n")));
    changed.insert("src/broken.rs".to_owned(), SWITCH.to_owned());
    let root = fs::read_to_string(from.join("src/lib.rs")).unwrap();
    changed.insert("src/lib.rs".to_owned(), format!("{root}\npub mod broken;\n"));
    let files = listed(&from);
    for file in &files {
        if !changed.contains_key(file) {
            let (from, to) = (from.join(file), to.join(file));
            if !is_kept(&to, &fs::read(&from).unwrap()) {
                // What may be run stays so.
                fs::copy(from, to).unwrap();
            }
        }
    }
    for (file, text) in &changed {
        if !is_kept(&to.join(file), text.as_bytes()) {
            fs::write(to.join(file), text).unwrap();
        }
    }
    for old in listed_in(&to) {
        if !files.contains(&old) && !changed.contains_key(&old) {
            fs::remove_file(to.join(old)).unwrap();
        }
    }
    let target = to.join("target");
    if !target.exists() {
        std::os::unix::fs::symlink(from.join("target"), target).unwrap();
    }
    to
}

/// What belongs to the house, by git.
fn listed(house: &Path) -> Vec<String> {
    let asked = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let said = Command::new("git").args(asked).current_dir(house).output().unwrap();
    assert!(said.status.success(), "git does not say which files there are");
    let files = String::from_utf8(said.stdout).unwrap();
    files.lines().filter(|file| house.join(file).is_file()).map(ToOwned::to_owned).collect()
}

/// What a copy before left, but for what was built.
fn listed_in(copy: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![copy.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path.strip_prefix(copy).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Whether it is there as it should be; else there is a folder for it.
fn is_kept(path: &Path, bytes: &[u8]) -> bool {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::read(path).is_ok_and(|there| there == bytes)
}
