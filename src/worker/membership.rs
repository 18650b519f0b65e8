//! Whether a person is in a segment and why, asked by hand: the same evaluation as in decisions, over what is stored.

use sea_orm::DatabaseConnection;
use serde::Serialize;

use crate::audience::computed::Defined;
use crate::audience::condition::Facts;
use crate::audience::condition::needs::Needs;
use crate::audience::segment::Answers;
use crate::decision::Catalog;
use crate::ids::{ProfileId, Timestamp};
use crate::store::{Error, Workspace};
use crate::worker::past;
use crate::worker::world::Slot;

/// One person and one segment.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Membership {
    pub segment: String,
    pub is_member: bool,
    /// Since when, by the last look; absent while it has not been looked at since it came to be.
    pub since: Option<Timestamp>,
    /// The answer cannot change before, unless something happens.
    pub until: Option<Timestamp>,
    /// What decided it, with its operands.
    pub because: String,
}

/// The answer for each of these segments that exists; none where the person is not stored.
///
/// # Errors
/// The database cannot be read, or a row of this person.
pub async fn memberships(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    profile: ProfileId,
    segments: &[&str],
    now: Timestamp,
) -> Result<Option<Vec<Membership>>, Error> {
    let set = &catalog.terms.segments;
    let Some(person) = store.person(profile).await? else { return Ok(None) };
    let wanted: Vec<&str> = segments.iter().copied().filter(|key| set.get(key).is_some()).collect();
    let needs = needs_of(catalog, wanted.iter().copied());
    let mut slot = past::look(store, person, needs.clone()).await?;
    work_out(catalog, &needs, now, &mut slot);
    let answers = Answers::default();
    let facts = Facts::of_person(now, (&catalog.terms, &answers), &slot.person.profile, slot.loaded.past());
    let told = wanted.into_iter().filter_map(|key| {
        let answer = set.evaluate(key, &facts)?;
        let standing = slot.person.profile.segments.of(key);
        Some(Membership {
            segment: key.to_owned(),
            is_member: answer.holds,
            since: standing.since.filter(|_| answer.holds),
            until: answer.until,
            because: answer.because,
        })
    });
    Ok(Some(told.collect()))
}

/// What must be loaded of a person to say whether they are in these segments.
pub fn needs_of<'k>(catalog: &Catalog, segments: impl Iterator<Item = &'k str>) -> Needs {
    let mut needs = Needs::default();
    segments.filter_map(|key| catalog.terms.segments.needs(key)).for_each(|theirs| needs.add(theirs));
    let computed: Vec<&Needs> = named(catalog, &needs).map(|defined| &defined.needs).collect();
    computed.into_iter().for_each(|theirs| needs.add(theirs));
    needs
}

/// Works the computed traits out that segments with these needs name: what is kept with the person is of the definitions in
/// force, and of what was decided last.
pub fn work_out(catalog: &Catalog, needs: &Needs, now: Timestamp, slot: &mut Slot) {
    for defined in named(catalog, needs) {
        let answers = Answers::default();
        let facts = Facts::of_person(now, (&catalog.terms, &answers), &slot.person.profile, slot.loaded.past());
        let worked = defined.computed.compute.work_out(&facts).worked;
        slot.person.profile.remembered.computed.insert(defined.computed.key.clone(), worked);
    }
}

pub(super) fn named<'c>(catalog: &'c Catalog, needs: &Needs) -> impl Iterator<Item = &'c Defined> {
    needs.named.iter().filter_map(|name| catalog.terms.computed.get(name)).collect::<Vec<_>>().into_iter()
}
