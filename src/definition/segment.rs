//! `kind: segment`: a saved condition on the person, as written.

use crate::audience::Segment;
use crate::definition::campaign::owner;
use crate::definition::condition::{self, Scope};
use crate::definition::reader::At;

/// `version` is 0: the store counts versions when the text is applied. A segment is live as soon as it is applied, so
/// it has an owner.
pub fn read(at: &At<'_>, key: &str) -> Option<Segment> {
    let map = at.map(&["kind", "key", "name", "owner", "where"], &["static"])?;
    let name = map.required("name").and_then(|at| at.name());
    let owner = owner(&map, true);
    // With uploaded members there is nothing to ask; that is refused already.
    let filter = match (map.get("where"), map.get("static")) {
        (None, Some(_)) => None,
        _ => map.required("where").and_then(|at| condition::read(at, Scope::SEGMENT)),
    };
    Some(Segment { key: key.to_owned(), version: 0, name: name?, owner: owner?, filter: filter? })
}
