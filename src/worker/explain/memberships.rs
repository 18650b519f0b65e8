//! What a segment or a trait became when nothing of the person stood in the log at that instant: time passed, or a
//! message went. It was found at another entry, and is told at the event of our own that followed.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::decision::Finding;
use crate::decision::effect::FindingVerdict;
use crate::decision::segments::{SEGMENT_ENTERED, SEGMENT_LEFT};
use crate::decision::traits::TRAIT_CHANGED;
use crate::event::{Event, Origin};
use crate::ids::Position;
use crate::store::entries::{Entry, Logged};
use crate::store::trace::Findings;
use crate::store::{Error, Workspace};

/// Memberships and traits that time or a message changed were found where nothing of the person stands: they are told at
/// the event that followed.
///
/// # Errors
/// The database cannot be read.
pub async fn find<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    entries: &BTreeMap<Position, Entry>,
    findings: &mut BTreeMap<Position, Findings>,
) -> Result<(), Error> {
    let followed = entries.iter().filter_map(|(position, entry)| match &entry.logged {
        Logged::Event(event) => match event.origin {
            Origin::Decided { cause, .. } if !entries.contains_key(&Position(cause)) => {
                Some((*position, Position(cause), event))
            }
            _ => None,
        },
        _ => None,
    });
    let followed: Vec<_> = followed.collect();
    let causes: BTreeSet<Position> = followed.iter().map(|(_, cause, _)| *cause).collect();
    let found = store.findings_at(&causes.into_iter().collect::<Vec<_>>()).await?;
    for (position, cause, event) in followed {
        let Some(found) = found.get(&cause) else { continue };
        let is_told = |finding: &&Finding| match &finding.verdict {
            FindingVerdict::Segment { segment, entered, .. } => {
                let name = if *entered { SEGMENT_ENTERED } else { SEGMENT_LEFT };
                event.name == name && names(event, "properties.segment", segment)
            }
            FindingVerdict::Trait { name, .. } => event.name == TRAIT_CHANGED && names(event, "properties.trait", name),
            _ => false,
        };
        let told: Vec<Finding> = found.findings.iter().filter(is_told).cloned().collect();
        if !told.is_empty() {
            let none = || Findings { position, profile: found.profile, findings: Vec::new() };
            findings.entry(position).or_insert_with(none).findings.extend(told);
        }
    }
    Ok(())
}

fn names(event: &Event, path: &str, wanted: &str) -> bool {
    event.lookup(path).and_then(|value| value.as_str()) == Some(wanted)
}

/// The segment or the trait that an event of ours is about.
pub fn about(event: &Event) -> Option<&str> {
    let path = match event.name.as_str() {
        SEGMENT_ENTERED | SEGMENT_LEFT => "properties.segment",
        TRAIT_CHANGED => "properties.trait",
        _ => return None,
    };
    event.lookup(path).and_then(|value| value.as_str())
}
