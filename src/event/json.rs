//! Looking into JSON: dotted paths, and the one scan that refuses text no store could keep faithfully.

use serde_json::Value;

/// The value at a dotted path; `None` where a step is missing, is null, or crosses something that is not an object.
pub fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = document;
    for step in path.split('.') {
        at = at.as_object()?.get(step)?;
    }
    (!at.is_null()).then_some(at)
}
