//! What a source may do at the door: drop events by pattern, rename them, each counted by rule.

use serde_json::Value;

use crate::event::pattern::Pattern;

/// Where events come from, and what happens to them on the way in.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub key: String,
    pub name: Option<String>,
    /// Tried in the order written; the first that fits decides, except that a renamed event goes on.
    pub rules: Vec<DoorRule>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DoorRule {
    Drop(Pattern),
    Rename { from: String, to: String },
}

/// What became of an event at the door; `rule` is the index of the rule that decided, for its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    Keep,
    Renamed { rule: usize, to: String },
    Dropped { rule: usize },
}

impl Source {
    /// Whether some drop rule looks beyond the event's name, so that the document has to be parsed at the door.
    pub fn needs_document(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, DoorRule::Drop(pattern) if !pattern.names_only()))
    }

    /// Applies the rules to an event called `name`; renames by earlier rules are seen by later ones. `document` is the
    /// client's own JSON, or null where [`Source::needs_document`] is false. Patterns match `event` against the name
    /// as it is then.
    pub fn at_the_door(&self, name: &str, document: &Value) -> Door {
        let mut renamed: Option<(usize, &str)> = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let current = renamed.map_or(name, |(_, to)| to);
            match rule {
                DoorRule::Drop(pattern) if pattern.matches_named(current, document) => {
                    return Door::Dropped { rule: index };
                }
                DoorRule::Rename { from, to } if from == current => renamed = Some((index, to)),
                DoorRule::Drop(_) | DoorRule::Rename { .. } => {}
            }
        }
        match renamed {
            Some((rule, to)) => Door::Renamed { rule, to: to.to_owned() },
            None => Door::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn source(rules: Vec<DoorRule>) -> Source {
        Source { key: "web".to_owned(), name: None, rules }
    }

    fn drop(json: Value) -> DoorRule {
        DoorRule::Drop(Pattern::from_json(&json).unwrap())
    }

    fn rename(from: &str, to: &str) -> DoorRule {
        DoorRule::Rename { from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn events_are_dropped_by_name_without_opening_the_document() {
        let door = source(vec![drop(json!({ "event": [{ "prefix": "Debug" }] }))]);
        assert!(!door.needs_document());
        assert_eq!(door.at_the_door("Debug Ping", &Value::Null), Door::Dropped { rule: 0 });
        assert_eq!(door.at_the_door("Product Added", &Value::Null), Door::Keep);
    }

    #[test]
    fn a_pattern_beyond_the_name_asks_for_the_document() {
        let door = source(vec![drop(json!({ "event": ["Product Viewed"], "properties": { "bot": [true] } }))]);
        assert!(door.needs_document());
        let document = |bot: bool| json!({ "event": "Product Viewed", "properties": { "bot": bot } });
        assert_eq!(door.at_the_door("Product Viewed", &document(true)), Door::Dropped { rule: 0 });
        assert_eq!(door.at_the_door("Product Viewed", &document(false)), Door::Keep);
    }

    #[test]
    fn a_renamed_event_meets_later_rules_under_its_new_name() {
        let door = source(vec![
            rename("Viewed Product", "Product Viewed"),
            drop(json!({ "event": ["Product Viewed"], "context": { "test": [true] } })),
        ]);
        let document = |test: bool| json!({ "event": "Viewed Product", "context": { "test": test } });
        let renamed = Door::Renamed { rule: 0, to: "Product Viewed".to_owned() };
        assert_eq!(door.at_the_door("Viewed Product", &document(false)), renamed);
        assert_eq!(door.at_the_door("Viewed Product", &document(true)), Door::Dropped { rule: 1 });
    }
}
