//! `kind: segment`: a saved condition on the person, as written.

use crate::audience::{Condition, Segment};
use crate::definition::campaign::owner;
use crate::definition::condition::{self, Scope};
use crate::definition::reader::At;

/// `version` is 0: the store counts versions when the text is applied. A segment is live as soon as it is applied, so
/// it has an owner. A static one has uploaded members instead of a condition.
pub fn read(at: &At<'_>, key: &str) -> Option<Segment> {
    let map = at.map(&["kind", "key", "name", "owner", "where", "static"], &[])?;
    let name = map.required("name").and_then(|at| at.name());
    let owner = owner(&map, true);
    let filter = match (map.optional("static", false, |at| at.boolean())?, map.get("where")) {
        (true, Some(at)) => at.wrong("a static segment has uploaded members and no `where`"),
        (true, None) => Some(Condition::Listed(key.to_owned())),
        (false, _) => map.required("where").and_then(|at| condition::read(at, Scope::SEGMENT)),
    };
    Some(Segment { key: key.to_owned(), version: 0, name: name?, owner: owner?, filter: filter? })
}
