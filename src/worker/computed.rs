//! What computed traits come to for a person and why, asked by hand: the same as in decisions, over what is stored. Those
//! that are shipped are told of whether or not anything names them.

use std::collections::BTreeMap;

use sea_orm::DatabaseConnection;
use serde::Serialize;
use serde_json::Value;

use crate::audience::computed::{ComputedTrait, SHIPPED, shipped};
use crate::audience::condition::Facts;
use crate::audience::condition::needs::{Needs, of_performed};
use crate::audience::segment::Answers;
use crate::decision::Catalog;
use crate::ids::{ProfileId, Timestamp};
use crate::store::{Error, Workspace};
use crate::worker::past;

/// A computed trait, and what it comes to for the person asked about.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ComputedTrait)]
pub struct Told {
    pub key: String,
    pub name: Option<String>,
    /// 0: shipped, and not defined otherwise.
    pub version: u32,
    /// It is kept with everybody, for a definition says it or names it.
    pub in_force: bool,
    /// Absent where nobody was asked about, or there is nothing to work it out of.
    #[schema(value_type = Value)]
    pub value: Option<Value>,
    pub currency: Option<String>,
    /// It cannot change before, unless something happens.
    pub until: Option<Timestamp>,
    /// What it is made of; absent where nobody was asked about.
    pub because: Option<String>,
    /// A trait of the same name that somebody set, which it hides.
    #[schema(value_type = Value)]
    pub hides: Option<Value>,
}

/// All computed traits, for a person if one is asked about; none where the person is not stored.
///
/// # Errors
/// The database cannot be read, or a row of this person.
pub async fn computed_traits(
    store: Workspace<'_, DatabaseConnection>,
    catalog: &Catalog,
    profile: Option<ProfileId>,
    now: Timestamp,
) -> Result<Option<Vec<Told>>, Error> {
    let set = &catalog.terms.computed;
    let mut all: BTreeMap<String, ComputedTrait> =
        SHIPPED.into_iter().filter_map(|key| Some((key.to_owned(), shipped(key)?))).collect();
    all.extend(set.iter().map(|defined| (defined.computed.key.clone(), defined.computed.clone())));
    let Some(profile) = profile else {
        let told = all.into_values().map(|computed| told(set.get(&computed.key).is_some(), computed));
        return Ok(Some(told.collect()));
    };
    let Some(person) = store.person(profile).await? else { return Ok(None) };
    let mut needs = Needs::default();
    all.values().for_each(|computed| of_performed(computed.compute.over(), &mut needs));
    let slot = past::look(store, person, needs).await?;
    let answers = Answers::default();
    let known = &slot.person.profile;
    let facts = Facts::of_person(now, (&catalog.terms, &answers), known, slot.loaded.past());
    let each = all.into_values().map(|computed| {
        let answer = computed.compute.work_out(&facts);
        Told {
            value: answer.worked.value,
            currency: answer.worked.currency.and_then(|it| it.as_str().map(str::to_owned)),
            until: answer.worked.next,
            because: Some(answer.because),
            hides: known.traits.get(&computed.key).cloned(),
            ..told(set.get(&computed.key).is_some(), computed)
        }
    });
    Ok(Some(each.collect()))
}

fn told(in_force: bool, computed: ComputedTrait) -> Told {
    let ComputedTrait { key, name, version, compute: _ } = computed;
    Told { key, name, version, in_force, value: None, currency: None, until: None, because: None, hides: None }
}
