//! What is different between two texts of one document, field by field, in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::definition::{SourceFile, yaml};
use crate::guard::Rule;

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

/// One line for each frequency cap that is new or gone, or is another number for the same window and scope.
pub fn of_caps(before: &[Rule], after: &[Rule]) -> Vec<String> {
    let is_in = |rules: &[Rule], rule: &Rule| rules.iter().any(|one| one.to_string() == rule.to_string());
    let mut gone: Vec<&Rule> = before.iter().filter(|rule| !is_in(after, rule)).collect();
    let mut told = Vec::new();
    for rule in after.iter().filter(|rule| !is_in(before, rule)) {
        let same = gone.iter().position(|one| (&one.scope, one.per) == (&rule.scope, rule.per));
        told.push(match same {
            Some(place) => format!("{} → {rule}", gone.remove(place)),
            None => format!("{rule}: new"),
        });
    }
    told.extend(gone.iter().map(|rule| format!("{rule}: gone")));
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
    let text = as_written(value);
    let short: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// A value as a marketer would write it on one line.
fn as_written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Array(items) => format!("[ {} ]", items.iter().map(as_written).collect::<Vec<_>>().join(", ")),
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let each = members.iter().map(|(name, value)| format!("{name}: {}", as_written(value)));
            format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
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
            ["delay: 1h → 2h", "entry.key: properties.cart_id is gone", "entry.match.a: [ 1 ] is new"]
        );
    }

    #[test]
    fn lists_are_told_as_they_are_written() {
        let one = "exit: [ { event: Order Completed } ]\n";
        let other = "exit: [ { event: [ Order Completed, Order Placed ], same: properties.id } ]\n";
        let after = "[ { event: [ Order Completed, Order Placed ], same: properties.id } ]";
        assert_eq!(of(one, other), [format!("exit: [ {{ event: Order Completed }} ] → {after}")]);
    }

    #[test]
    fn caps_are_told_in_words() {
        let rules = |text: &str| {
            let file = SourceFile { name: "caps.yaml".to_owned(), text: format!("kind: caps\nrules: {text}\n") };
            match crate::definition::read(&[file]).unwrap().remove(0).definition {
                crate::definition::Definition::Caps(rules) => rules,
                other => panic!("{other:?}"),
            }
        };
        let before = rules("[ { at_most: 3, per: 1d }, { at_most: 1, per: 16h, channel: email } ]");
        let after = rules("[ { at_most: 2, per: 1d }, { at_most: 1, per: calendar_week, campaign: each } ]");
        let told = of_caps(&before, &after);
        assert_eq!(told[0], "at most 3 per 1d → at most 2 per 1d");
        assert!(told[1].starts_with("at most 1 per calendar week for each campaign") && told[1].ends_with(": new"));
        assert_eq!(told[2..], ["at most 1 per 16h by email: gone"]);
        assert_eq!(of_caps(&before, &before), Vec::<String>::new());
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
