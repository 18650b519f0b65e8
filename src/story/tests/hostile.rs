//! Definitions that somebody mistyped, or means ill with: whatever they say, reading and living by them comes to an end.
//! What is written wrongly is what the documentation and the starter set write rightly, with other words in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::definition::{Known, SourceFile, cross_check, read};
use crate::story::run_all;

/// Words in a place where something else was meant.
const WORDS: [&str; 58] = [
    "0",
    "-1",
    "1",
    "1e9",
    "1e308",
    "-1e-28",
    "79228162514264337593543950335",
    "0.0000000000000000000000000001",
    "4294967296",
    "9223372036854775807",
    "0s",
    "1s",
    "30d",
    "36500d",
    "106751991167d",
    "1mo",
    "1200mo",
    "9999y",
    "calendar_day",
    "calendar_week",
    "-3d",
    "2y",
    "\"\"",
    "\"*\"",
    "\"**********a**********\"",
    "~",
    "true",
    "false",
    "ann",
    "[]",
    "{}",
    "[ [] ]",
    "{ ref: profile.a }",
    "{ ref: entry.properties.x, default: 1 }",
    "{ ref: cart.value }",
    "{ exists: false }",
    "{ gte: EUR 0.01 }",
    "{ in_next: 9999y }",
    "{ in_last: 1200mo }",
    "{ anniversary: { days_before: 365 } }",
    "EUR 1",
    "XXX 1",
    "\"9999-12-31\"",
    "\"0001-01-01T00:00Z\"",
    "\"--02-29\"",
    "\"2026-03-29T02:30\"",
    "253402300799",
    "\"-9999-01-01T00:00Z\"",
    "\"24:00\"",
    "\"02:30\"",
    "Pacific/Apia",
    "email",
    "[ email, sms ]",
    "Order Completed",
    "properties.products.price",
    "properties.a.b.c.d.e.f",
    "\u{202e}",
    "100",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The definitions of every page of the documentation, those of one page together, and every recipe.
fn written() -> Vec<String> {
    let mut texts = Vec::new();
    for page in std::fs::read_dir(folder("docs")).unwrap() {
        let Ok(page) = std::fs::read_to_string(page.unwrap().path()) else { continue };
        let pieces = page.split("```yaml file=").skip(1).filter_map(|piece| piece.split_once('\n'));
        let pieces = pieces.filter(|(name, _)| !name.ends_with("template.yaml"));
        let yaml: Vec<&str> = pieces.filter_map(|(_, text)| Some(text.split_once("```")?.0)).collect();
        texts.push(yaml.join("---\n"));
    }
    for recipe in std::fs::read_dir(folder("templates/recipes")).unwrap() {
        texts.push(std::fs::read_to_string(recipe.unwrap().path()).unwrap());
    }
    texts.retain(|text| text.contains("kind: story"));
    texts.iter().map(|text| text.clone() + &templates(text)).collect()
}

/// What its campaigns send, so that its stories can be lived.
fn templates(text: &str) -> String {
    let named = text.split("template: ").skip(1).filter_map(|rest| rest.split(|c: char| " ,}\n".contains(c)).next());
    let named: BTreeSet<&str> = named.collect();
    let template = |key| format!("\n---\nkind: template\nkey: {key}\nemail: {{ subject: Hi, html: <p>Hi</p> }}\n");
    named.into_iter().map(template).collect()
}

/// A text as words and what stands between them.
fn pieces(text: &str) -> Vec<&str> {
    let is_word = |c: char| !c.is_whitespace() && !"{}[],".contains(c);
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| is_word(c) != is_word(first)).unwrap_or(rest.len());
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

/// The text with some of its words exchanged: for one of [`WORDS`], or for another of its own.
fn mistyped(text: &str, changes: &[(prop::sample::Index, prop::sample::Index, bool)]) -> String {
    let mut pieces = pieces(text);
    let is_value = |piece: &str| !piece.ends_with(':') && piece.starts_with(|c: char| c.is_alphanumeric() || c == '"');
    let places: Vec<usize> = (0..pieces.len()).filter(|place| is_value(pieces[*place])).collect();
    for (place, word, is_own) in changes {
        let word = if *is_own { pieces[*word.get(&places)] } else { *word.get(&WORDS) };
        pieces[*place.get(&places)] = word;
    }
    pieces.concat()
}

proptest! {
    #[test]
    fn whatever_definitions_say_living_by_them_comes_to_an_end(
        text in prop::sample::select(written()),
        changes in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, bool)>(), 1..5),
    ) {
        let text = mistyped(&text, &changes);
        match read(&[SourceFile { name: "mistyped.yaml".to_owned(), text }]) {
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0)),
            Ok(documents) => {
                cross_check(&documents, &Known::default());
                for report in run_all(&documents) {
                    prop_assert!(report.timeline.len() < 1_000_000, "{}", report.name);
                }
            }
        }
    }
}

#[test]
fn what_is_written_rightly_is_there_to_be_mistyped() {
    let texts = written();
    for text in &texts {
        let documents = read(&[SourceFile { name: "written.yaml".to_owned(), text: text.clone() }]).unwrap();
        let stories = run_all(&documents);
        assert!(!stories.is_empty() && stories.iter().all(|story| story.passed), "{stories:#?}");
    }
    assert!(texts.len() >= 15, "{} texts", texts.len());
}
