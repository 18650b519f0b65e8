//! Checks on the code itself, of the kind that a compiler cannot make: who may import whom, what the pure half may
//! not say, how long files and functions are, and whether what ARCHITECTURE.md claims is there.
//!
//! The table below is the architecture; changing a row is an architectural decision, made in ARCHITECTURE.md too.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A row is a module and what it may import, in the order in which `lib.rs` tells the story. `pure` stands for every
/// module above the second half (for a pure module: above itself), `all` for every module above itself, and
/// `channel::sandbox` for that part alone. ARCHITECTURE.md holds the same lines.
const TABLE: &str = "\
ids         -
money       ids
event       ids money
audience    ids money event
message     ids event audience
decision    ids money event audience message
guard       ids audience message decision
render      ids money event audience message decision guard
definition  ids money event audience message decision guard render
story       pure
-- the shell --
clock       ids
fault       -
telemetry   ids
channel     ids message render telemetry
store       ids money event audience message decision guard definition telemetry fault
eventlog    ids event store telemetry fault clock
caps        ids message guard
worker      pure clock fault telemetry channel eventlog store caps
intake      pure clock eventlog store
demo        pure clock eventlog store
http        pure clock telemetry eventlog store caps channel::sandbox worker intake demo
config      pure channel eventlog store caps telemetry worker http
app         all
cli         all
";
const SHELL: &str = "-- the shell --";

/// What would make the pure half depend on anything but its arguments: other tasks, other machines, the clock,
/// chance, the file system, the environment, and maps whose order varies from run to run.
const IMPURE: &[&str] = &[
    "async fn",
    "async move",
    ".await",
    "tokio::",
    "futures::",
    "sea_orm::",
    "actix_web::",
    "reqwest::",
    "lettre::",
    "redis::",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "Utc::now",
    "rand::",
    "thread_rng",
    "new_v4",
    "now_v7",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Our own Rust, all of it.
const FOLDERS: &[&str] = &["src", "migrations/src", "tests", "benches"];

struct Row {
    module: &'static str,
    pure: bool,
    /// Module names, or `module::part` where only that part may be imported.
    may_import: Vec<&'static str>,
}

fn table() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut pure = true;
    for line in TABLE.lines() {
        if line == SHELL {
            pure = false;
            continue;
        }
        let mut words = line.split_whitespace();
        let module = words.next().unwrap();
        let above = |only_pure: bool| rows.iter().filter(move |it| it.pure || !only_pure).map(|it| it.module);
        let may_import = words
            .flat_map(|word| match word {
                "-" => Vec::new(),
                "pure" => above(true).collect(),
                "all" => above(false).collect(),
                _ => vec![word],
            })
            .collect();
        rows.push(Row { module, pure, may_import });
    }
    rows
}

#[test]
fn the_table_names_only_modules_of_the_table() {
    let rows = table();
    for row in &rows {
        for import in &row.may_import {
            let module = import.split("::").next().unwrap();
            assert!(
                rows.iter().any(|it| it.module == module),
                "`{}` may import `{module}`, which is no row",
                row.module
            );
        }
    }
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let rows = table();
    let mut errors = Vec::new();
    for source in rust_files("src") {
        let top = top_of(&source.path);
        if ["lib", "main"].contains(&top.as_str()) {
            continue;
        }
        let Some(row) = rows.iter().find(|it| it.module == top) else {
            errors.push(format!("{}: module `{top}` is not in the table", source.name()));
            continue;
        };
        for (n, line) in source.text.lines().enumerate() {
            if let Some(error) = import_error(&rows, row, code_of(line)) {
                errors.push(format!("{}:{}: {error}", source.name(), n + 1));
            }
        }
    }
    none(&errors);
}

fn import_error(rows: &[Row], row: &Row, line: &str) -> Option<String> {
    if line.contains("use crate::{") {
        return Some("write one `use crate::module::…` per module, so that layering is visible".into());
    }
    let up_and_over = line
        .split("super::")
        .skip(1)
        .map(identifier)
        .find(|to| rows.iter().any(|it| it.module == *to) && *to != row.module && !is_part_of(row.module, to));
    if let Some(to) = up_and_over {
        return Some(format!("write `crate::{to}`, so that layering is visible"));
    }
    line.split("crate::").skip(1).find_map(|path| {
        let to = identifier(path);
        let known = rows.iter().any(|it| it.module == to) && to != row.module;
        let allowed = row.may_import.iter().any(|it| {
            let rest = path.strip_prefix(it);
            *it == to || rest.is_some_and(|rest| it.contains("::") && !rest.starts_with(|c: char| c.is_alphanumeric()))
        });
        (known && !allowed).then(|| format!("`{}` may not import `{to}`", row.module))
    })
}

fn is_part_of(module: &str, part: &str) -> bool {
    let folder = Path::new("src").join(module);
    folder.join(format!("{part}.rs")).exists() || folder.join(part).exists()
}

#[test]
fn lib_rs_tells_the_story_in_the_order_of_the_table() {
    let rows = table();
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let declared: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let in_order: Vec<&str> = rows.iter().map(|it| it.module).filter(|it| declared.contains(it)).collect();
    assert_eq!(declared, in_order, "left: lib.rs, right: the table's order");
}

#[test]
fn the_pure_half_depends_on_its_arguments_alone() {
    let rows = table();
    let mut errors = Vec::new();
    for source in rust_files("src") {
        let top = top_of(&source.path);
        if !rows.iter().any(|it| it.pure && it.module == top) {
            continue;
        }
        for (n, line) in source.lines_that_ship() {
            errors
                .extend(IMPURE.iter().filter(|it| names(line, it)).map(|it| format!("{}:{n}: `{it}`", source.name())));
        }
    }
    none(&errors);
}

/// Whether the line says it; a crate's name does not end a longer one (`Operand::`).
fn names(line: &str, impure: &str) -> bool {
    let is_crate = impure.ends_with("::");
    line.match_indices(impure)
        .any(|(at, _)| !is_crate || !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn only_a_cap_store_grants_a_reservation() {
    let mut errors = Vec::new();
    for source in rust_files("src") {
        if top_of(&source.path) == "caps" {
            continue;
        }
        for (n, line) in source.lines_that_ship() {
            if line.contains("Reservation::granted(") {
                errors.push(format!("{}:{n}: only `caps` may grant", source.name()));
            }
        }
    }
    none(&errors);
}

#[test]
fn files_are_short_and_say_why_they_exist() {
    let mut errors = Vec::new();
    for source in our_rust() {
        let n_lines = source.text.lines().count();
        if n_lines > FILE_LINES_MAX {
            errors.push(format!("{}: {n_lines} lines, at most {FILE_LINES_MAX}", source.name()));
        }
        if !source.text.starts_with("//! ") {
            errors.push(format!("{}: starts without a `//!` paragraph", source.name()));
        }
    }
    none(&errors);
}

#[test]
fn functions_fit_on_a_page() {
    let mut errors = Vec::new();
    for source in our_rust() {
        for (name, n, n_lines) in functions(&source.text) {
            if n_lines > FUNCTION_LINES_MAX {
                errors
                    .push(format!("{}:{n}: `{name}` has {n_lines} lines, at most {FUNCTION_LINES_MAX}", source.name()));
            }
        }
    }
    none(&errors);
}

/// Name, first line and number of lines of each function. The code is formatted, so a function ends at the first
/// closing brace that stands as far to the right as its beginning.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let is_head = before
            .split_whitespace()
            .all(|word| ["const", "async", "unsafe", "extern", "\"C\""].contains(&word) || word.starts_with("pub"));
        if !is_head || !(before.is_empty() || before.ends_with(' ')) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = (start..lines.len())
            .find(|n| {
                let declared_only = lines[*n].ends_with(';') && !lines[start..=*n].iter().any(|it| it.ends_with('{'));
                let one_line = *n == start && line.ends_with('}');
                declared_only || one_line || lines[*n].strip_prefix(indent) == Some("}")
            })
            .unwrap_or(lines.len() - 1);
        found.push((identifier(after).to_owned(), start + 1, end - start + 1));
    }
    found
}

#[test]
fn the_length_of_a_function_is_counted_from_its_head_to_its_brace() {
    let text = "fn one() {}\n\nimpl A {\n    pub(crate) async fn two(\n        a: u8,\n    ) {\n        if a {\n        }\n    }\n}\n\
                trait B {\n    fn three(&self);\n    fn four(\n        &self,\n    );\n}\n// the fn word\n";
    let found = functions(text);
    let found: Vec<(&str, usize, usize)> = found.iter().map(|(name, n, length)| (name.as_str(), *n, *length)).collect();
    assert_eq!(found, [("one", 1, 1), ("two", 4, 6), ("three", 12, 1), ("four", 13, 3)]);
}

#[test]
fn tests_that_read_the_data_folder_say_so_in_their_path() {
    let silent: Vec<String> = our_rust()
        .into_iter()
        .filter(|it| !it.path.ends_with("tidy.rs"))
        .filter(|it| it.text.contains("CARILLON_TEST_DATA") && !it.text.contains("real_data"))
        .map(|it| format!("{}: reads the real data, but no test of it is named `real_data`", it.name()))
        .collect();
    none(&silent);
}

#[test]
fn architecture_md_is_true() {
    let Ok(text) = fs::read_to_string("ARCHITECTURE.md") else { return };
    assert!(text.contains(TABLE), "ARCHITECTURE.md does not hold the import table as tests/tidy.rs has it:\n{TABLE}");
    let roots = ["src/", "tests/", "migrations/", "benches/", "config/", "templates/", "docs/", "demo/", "ui/"];
    let missing: Vec<String> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|it| !it.contains(char::is_whitespace) && roots.iter().any(|root| it.starts_with(root)))
        .filter(|it| !Path::new(it).exists())
        .map(|it| format!("ARCHITECTURE.md names `{it}`, which does not exist"))
        .collect();
    none(&missing);
}

#[test]
fn tracked_files_name_no_machine_and_leave_nothing_unfinished() {
    // Put together here, so that this file does not name them either.
    let machine = ["work", "tmp", "root", "home"].map(|it| format!("/{it}/"));
    let unfinished = ["todo", "unimplemented"].map(|it| format!("{it}!("));
    let marks = [["TO", "DO"], ["FIX", "ME"]].map(|it| it.concat());
    let ignored = ["#[ig", "nore"].concat();
    let halves = ["<", ">"].map(|it| format!("{} ", it.repeat(7)));
    let mut errors = Vec::new();
    for path in tracked() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (n, line) in text.lines().enumerate() {
            let names_machine = machine.iter().any(|it| {
                line.split(it.as_str())
                    .skip(1)
                    .any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '.'))
            });
            if halves.iter().any(|it| line.starts_with(it.as_str())) {
                errors.push(format!("{}:{}: a merge that nobody finished", path.display(), n + 1));
            }
            let in_rust = path.extension().is_some_and(|it| it == "rs");
            let is_mark = |word: &str| marks.iter().any(|it| it == word);
            if names_machine && path.extension().is_none_or(|it| it != "lock") {
                errors.push(format!("{}:{}: a path of one machine", path.display(), n + 1));
            }
            if in_rust
                && (line.contains(&ignored)
                    || unfinished.iter().any(|it| line.contains(it.as_str()))
                    || line.split(|c: char| !c.is_alphanumeric()).any(is_mark))
            {
                errors.push(format!("{}:{}: unfinished", path.display(), n + 1));
            }
        }
    }
    none(&errors);
}

/// An ignored advisory names the test that holds our guard as `see tests/folder: name`.
#[test]
fn a_known_vulnerability_is_ignored_only_while_a_test_holds_our_guard() {
    let text = fs::read_to_string("deny.toml").unwrap();
    let mut errors = Vec::new();
    for line in text.lines().filter(|it| it.trim_start().starts_with("{ id = \"RUSTSEC-")) {
        let guard = line.split("see ").nth(1).and_then(|it| it.split_once(": "));
        let held = guard.is_some_and(|(folder, test)| {
            let head = format!("fn {}(", identifier(test));
            rust_files(folder).iter().any(|it| it.text.contains(&head))
        });
        if !held {
            errors.push(format!("deny.toml: no such test: {}", line.trim()));
        }
    }
    none(&errors);
}

#[test]
fn lock_files_name_no_registry_of_ours() {
    let text = fs::read_to_string("tests/services/package-lock.json").unwrap();
    assert!(!text.contains("\"resolved\""), "the lock names the registry it was made with; see tests/services/.npmrc");
    let foreign: Vec<String> = fs::read_to_string("Cargo.lock")
        .unwrap()
        .lines()
        .filter(|it| it.starts_with("source = ") && !it.contains("github.com/rust-lang/crates.io-index"))
        .map(ToOwned::to_owned)
        .collect();
    none(&foreign);
}

// ---------------------------------------------------------------------------------------------------------------------

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Numbered lines without comments and without tests: neither files of tests nor what stands under `cfg(test)`.
    fn lines_that_ship(&self) -> Vec<(usize, &str)> {
        if self.path.ends_with("tests.rs") || self.path.iter().any(|it| it == "tests") {
            return Vec::new();
        }
        let mut lines = self.text.lines().enumerate().peekable();
        let mut kept = Vec::new();
        while let Some((n, line)) = lines.next() {
            if line.trim() == "#[cfg(test)]" {
                let mut next = lines.next().map_or("", |(_, it)| it);
                while next.trim_start().starts_with("#[") {
                    next = lines.next().map_or("", |(_, it)| it);
                }
                // `mod tests;` is one line; a block ends at the brace below its beginning.
                let indent = &next[..next.len() - next.trim_start().len()];
                if !next.ends_with(';') && !next.ends_with('}') {
                    lines.by_ref().find(|(_, it)| it.strip_prefix(indent) == Some("}"));
                }
                continue;
            }
            kept.push((n + 1, code_of(line)));
        }
        kept
    }
}

#[test]
fn what_stands_under_cfg_test_does_not_ship() {
    let text = "#[cfg(test)]\nmod tests;\nuse a; // b\n#[cfg(test)]\n#[allow(x)]\nmod more {\n    c\n}\nd\n";
    let source = Source { path: "src/ids.rs".into(), text: text.into() };
    assert_eq!(source.lines_that_ship(), [(3, "use a;"), (9, "d")]);
}

/// The line without its comment.
fn code_of(line: &str) -> &str {
    if line.trim_start().starts_with("//") { "" } else { line.find(" // ").map_or(line, |at| &line[..at]) }
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The top-level module of a file below `src`.
fn top_of(path: &Path) -> String {
    let first = path.iter().nth(1).unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn our_rust() -> Vec<Source> {
    FOLDERS.iter().flat_map(|it| rust_files(it)).collect()
}

fn rust_files(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from(folder)];
    while let Some(folder) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|it| it.unwrap().path()) {
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(Source { text: fs::read_to_string(&path).unwrap(), path });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).output().unwrap();
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let paths: Vec<PathBuf> =
        String::from_utf8(listed.stdout).unwrap().split_terminator('\0').map(Into::into).collect();
    assert!(paths.len() > 5, "git lists next to nothing: {paths:?}");
    paths
}

fn none(errors: &[String]) {
    assert!(errors.is_empty(), "{} untidy:\n{}", errors.len(), errors.join("\n"));
}
