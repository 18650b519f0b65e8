//! moto's reading, in a Python process: everything but objects in arrays and empty arrays, where it is wrong.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use carillon::event::pattern::Pattern;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::generate::{Scope, event, pattern};

const SCOPE: Scope = Scope { arrays_of_objects: false, whole_language: true, dotted: false };
const CASES: usize = 2_000;

#[test]
fn ours_and_motos_answers_are_the_same() {
    let mut runner = TestRunner::deterministic();
    let (patterns, events) = (pattern(SCOPE), event(SCOPE));
    let mut drawn = |strategy: &dyn Fn(&mut TestRunner) -> Value| strategy(&mut runner);
    let cases: Vec<(Value, Value)> = (0..CASES)
        .map(|_| {
            let pattern = drawn(&|runner| patterns.new_tree(runner).unwrap().current());
            (pattern, drawn(&|runner| events.new_tree(runner).unwrap().current()))
        })
        .collect();
    let theirs = theirs(&cases);
    let (mut yes, mut no) = (0, 0);
    for ((pattern, event), theirs) in cases.iter().zip(theirs) {
        let ours = Pattern::from_json(pattern).unwrap().matches(event);
        assert_eq!(ours, theirs, "{pattern} over {event}");
        if ours { yes += 1 } else { no += 1 }
    }
    assert!(yes > CASES / 50 && no > CASES / 50, "{yes} match and {no} do not");
}

fn theirs(cases: &[(Value, Value)]) -> Vec<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/test-services/python/bin/python");
    assert!(python.exists(), "the tests' services are missing: run tests/services/install, or make test");
    let mut child = Command::new(python)
        .arg(root.join("tests/patterns/moto_answers.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = cases.iter().map(|(pattern, event)| format!("{}\n", json!([pattern, event]))).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "moto ended with {}", output.status);
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<bool> = answers.lines().map(|line| line == "yes").collect();
    assert_eq!(answers.len(), cases.len());
    answers
}
