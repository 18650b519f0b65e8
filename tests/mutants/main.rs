//! Promises broken on purpose, one at a time, to see that their tests fail. `recorded.txt` says what is changed where.
//!
//! That each change still fits the code is looked at with every run of the tests. `make mutants` lives through them: in a
//! copy of the house all of them are built in at once, each behind its name in the environment, so that one build shows
//! many; the tests must go well with none of them, and fail with each. `MUTANTS=one,another` asks for these alone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod copied;
mod recorded;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use recorded::{Mutant, recorded};

/// What nextest answers when tests failed, and not the build, nor the command.
const TESTS_FAILED: i32 = 100;

#[test]
fn every_recorded_change_fits_the_code_as_it_is() {
    let mutants = recorded();
    let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    assert_eq!(names.len(), mutants.len(), "two have one name");
    let wrong = copied::changed(&mutants).err().unwrap_or_default();
    assert!(
        wrong.is_empty(),
        "they fit no more; look at what became of the code and say it anew:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_table_of_guarantees_names_every_variant_by_its_name() {
    let table = std::fs::read_to_string(copied::house().join("tests/guarantees.md")).unwrap();
    let untold: Vec<_> =
        recorded().into_iter().map(|one| one.name).filter(|name| !table.contains(name.as_str())).collect();
    assert!(untold.is_empty(), "tests/guarantees.md does not name {untold:?}");
}

#[test]
fn every_broken_variant_is_seen_by_its_test() {
    // It builds everything anew: only where it is asked for.
    let Ok(asked) = std::env::var("MUTANTS") else { return };
    let asked: BTreeSet<&str> = asked.split(',').filter(|name| !name.is_empty()).collect();
    let mutants = recorded();
    let unknown: Vec<_> = asked.iter().filter(|name| mutants.iter().all(|one| one.name != **name)).collect();
    assert!(unknown.is_empty(), "no such variants: {unknown:?}");
    let chosen: Vec<&Mutant> =
        mutants.iter().filter(|one| asked.is_empty() || asked.contains(one.name.as_str())).collect();
    let copy = copied::write(&mutants);
    let targets: BTreeSet<&str> = chosen.iter().flat_map(|one| one.targets()).collect();
    println!("building {} test programs with {} variants", targets.len(), mutants.len());
    let build = Command::new("cargo").args(["nextest", "run", "--no-run"]).args(targets).current_dir(&copy).status();
    assert!(build.unwrap().success(), "the copy in {} does not build", copy.display());
    let runs: BTreeSet<&[String]> = chosen.iter().map(|one| one.run.as_slice()).collect();
    // A busy machine may fail one; what fails twice shows nothing when it is broken.
    let mut failing = BTreeSet::new();
    for (n, run) in runs.iter().enumerate() {
        let first = lived(&copy, run, None);
        let done = if first.status.success() { first } else { lived(&copy, run, None) };
        println!("[{}/{}] nothing broken, {}: {}", n + 1, runs.len(), run.join(" "), ended(&done));
        if !done.status.success() {
            println!("fails with nothing broken:\n{}", said(&done));
            failing.insert(*run);
        }
    }
    let mut unseen = Vec::new();
    for (n, mutant) in chosen.iter().enumerate() {
        if failing.contains(mutant.run.as_slice()) {
            println!("[{}/{}] {}: not tried", n + 1, chosen.len(), mutant.name);
            unseen.push(mutant.name.as_str());
            continue;
        }
        let begun = Instant::now();
        let done = lived(&copy, &mutant.run, Some(&mutant.name));
        let text = said(&done);
        let is_seen = done.status.code() == Some(TESTS_FAILED) && mutant.says.iter().all(|words| text.contains(words));
        let how = if is_seen { "seen" } else { "NOT SEEN" };
        println!("[{}/{}] {}: {how} in {} s", n + 1, chosen.len(), mutant.name, begun.elapsed().as_secs());
        if !is_seen {
            println!("{text}");
            unseen.push(mutant.name.as_str());
        }
    }
    assert!(unseen.is_empty(), "broken, and no test saw it: {unseen:?}");
    println!("{} variants, each seen by its test", chosen.len());
}

fn lived(copy: &Path, run: &[String], broken: Option<&str>) -> Output {
    let mut command = Command::new("cargo");
    // With the patience of a busy machine: what fails is told in its fewest steps, and those are looked for.
    command.args(["nextest", "run", "--profile", "ci", "--retries", "0"]);
    command.args(["--no-fail-fast", "--color", "never"]).args(run).current_dir(copy);
    command.env_remove("BROKEN").env_remove("NEXTEST_RUN_ID").envs(broken.map(|name| ("BROKEN", name)));
    command.output().unwrap()
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// Its last line that says something.
fn ended(done: &Output) -> String {
    said(done).lines().rfind(|line| line.contains("Summary")).unwrap_or("it did not run").trim().to_owned()
}
