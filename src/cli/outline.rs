//! A JSON document as an outline for people: nothing of it is left out, nothing of it is punctuation.

use serde_json::Value;

use crate::cli::table::on_one_line;

/// A line for each field, what is inside further in; a list of plain values stays on one line.
pub fn outline(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    text
}

fn write(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !is_empty(value)) {
                match plain(value) {
                    Some(line) => text.push_str(&format!("{indent}{name}: {line}\n")),
                    None => {
                        text.push_str(&format!("{indent}{name}:\n"));
                        write(text, value, depth + 1);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inside = String::new();
                write(&mut inside, item, depth + 1);
                // The first line of an item carries its mark.
                let mark = inside.find(|c: char| c != ' ').unwrap_or(0).saturating_sub(2);
                if inside.is_char_boundary(mark) && inside.len() > mark + 1 {
                    inside.replace_range(mark..mark + 2, "- ");
                }
                text.push_str(&inside);
            }
        }
        other => text.push_str(&format!("{indent}{}\n", plain(other).unwrap_or_default())),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A value that fits on a line.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(on_one_line(text)),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            Some(items.iter().filter_map(plain).collect::<Vec<_>>().join(", "))
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outline_shows_every_value_and_no_braces() {
        let value = json!({
            "campaign_key": "cart_reminder", "next_at": null,
            "enrollments": [
                { "key": "c1", "messages": [{ "id": "a", "by": ["x", "y"] }] },
                { "key": "c2", "ended": true, "messages": [] },
            ],
        });
        let expected = "\
campaign_key: cart_reminder
enrollments:
  - key: c1
    messages:
      - id: a
        by: x, y
  - key: c2
    ended: yes
";
        assert_eq!(outline(&value), expected);
    }
}
