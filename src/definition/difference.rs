//! What is different between two texts of one document, field by field, in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::definition::{SourceFile, yaml};

/// Differences told of one document.
const TOLD_MAX: usize = 50;
const VALUE_CHARS_MAX: usize = 120;

/// One line for each field that is another, came or went: `delay: 1h → 2h`; files that are no fields, such as a
/// template's parts, by how many of their lines differ.
pub fn differences(before: &[SourceFile], after: &[SourceFile]) -> Vec<String> {
    let texts = |files: &[SourceFile]| -> BTreeMap<String, String> {
        let own = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        files.iter().map(|file| (own(&file.name), file.text.clone())).collect()
    };
    let (before, after) = (texts(before), texts(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut told = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => told.extend(of_texts(name, one, other)),
            (None, Some(_)) => told.push(format!("{name}: new")),
            (Some(_), None) => told.push(format!("{name}: gone")),
            (None, None) => {}
        }
    }
    if told.is_empty() {
        told.push("only its layout or comments".to_owned());
    }
    if told.len() > TOLD_MAX {
        let more = told.len() - TOLD_MAX;
        told.truncate(TOLD_MAX);
        told.push(format!("and {more} more"));
    }
    told
}

fn of_texts(name: &str, one: &str, other: &str) -> Vec<String> {
    let is_fields = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
    if is_fields && let (Some(one), Some(other)) = (fields(one), fields(other)) {
        return of_fields(&one, &other);
    }
    let (lines, others): (Vec<&str>, Vec<&str>) = (one.lines().collect(), other.lines().collect());
    let same = lines.iter().zip(&others).take_while(|(one, other)| one == other).count();
    let rest = lines[same..].iter().rev().zip(others[same..].iter().rev());
    let alike = same + rest.take_while(|(one, other)| one == other).count();
    vec![format!("{name}: {} of {} lines are others", others.len() - alike, others.len())]
}

/// The first document of a text, as its fields by path.
fn fields(text: &str) -> Option<BTreeMap<String, Value>> {
    let trees = yaml::parse(&yaml::as_yaml(text)).ok()?;
    let mut fields = BTreeMap::new();
    flatten(String::new(), trees.first()?.root.to_json(), &mut fields);
    Some(fields)
}

fn flatten(path: String, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, below) in members {
                flatten(if path.is_empty() { name } else { format!("{path}.{name}") }, below, fields);
            }
        }
        leaf => drop(fields.insert(path, leaf)),
    }
}

fn of_fields(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>) -> Vec<String> {
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let each = paths.into_iter().filter_map(|path| match (one.get(path), other.get(path)) {
        (Some(one), Some(other)) if one == other => None,
        (Some(one), Some(other)) => Some(format!("{path}: {} → {}", shown(one), shown(other))),
        (None, Some(other)) => Some(format!("{path}: {} is new", shown(other))),
        (Some(one), None) => Some(format!("{path}: {} is gone", shown(one))),
        (None, None) => None,
    });
    each.collect()
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let short: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(one: &str, other: &str) -> Vec<String> {
        let file = |text: &str| [SourceFile { name: "campaigns/cart.yaml".to_owned(), text: text.to_owned() }];
        differences(&file(one), &file(other))
    }

    #[test]
    fn fields_that_changed_came_and_went_are_told_by_their_paths() {
        let one = "kind: campaign\ndelay: 1h\nentry: { event: Product Added, key: properties.cart_id }\n";
        let other = "delay: 2h # longer\nkind: campaign\nentry: { event: Product Added, match: { a: [ 1 ] } }\n";
        assert_eq!(
            of(one, other),
            ["delay: 1h → 2h", "entry.key: properties.cart_id is gone", "entry.match.a: [1] is new"]
        );
    }

    #[test]
    fn a_changed_comment_is_no_changed_field() {
        assert_eq!(of("kind: caps\n", "# ours\nkind:   caps\n"), ["only its layout or comments"]);
    }

    #[test]
    fn a_template_s_parts_are_told_by_their_lines() {
        let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
        let before = [file("templates/note/email.html", "a\nb\nc\nd\n"), file("templates/note/subject", "Hello")];
        let after = [file("mine/email.html", "a\nx\ny\nc\nd\n"), file("mine/email.txt", "Hi")];
        let told = differences(&before, &after);
        assert_eq!(told, ["email.html: 2 of 5 lines are others", "email.txt: new", "subject: gone"]);
    }
}
