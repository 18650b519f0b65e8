//! Which addresses a person comes to have by an effect: under those they are filed, so that they are told of them.

use std::collections::BTreeSet;

use crate::audience::address::addresses_in;
use crate::audience::{Address, Channel, Profile, Traits};
use crate::decision::Effect;
use crate::ids::ProfileId;

/// The addresses somebody has before an effect that may give them others, by their subjects; none: this one does not.
pub fn before(traits: &Traits, effect: &Effect) -> Option<BTreeSet<String>> {
    match effect {
        Effect::SetTraits(changes) if Channel::ALL.iter().any(|one| changes.contains_key(one.address_trait())) => {
            Some(addresses_in(traits).iter().map(Address::subject).collect())
        }
        // Whatever either was told, the two together may know another thing than the list says.
        Effect::Merge(_) => Some(BTreeSet::new()),
        _ => None,
    }
}

/// Those that are new.
pub fn gained(profile: &Profile, had: Option<BTreeSet<String>>) -> Vec<(ProfileId, String)> {
    let Some(had) = had else { return Vec::new() };
    let now = addresses_in(&profile.traits).iter().map(Address::subject).collect::<Vec<_>>();
    now.into_iter().filter(|one| !had.contains(one)).map(|one| (profile.id, one)).collect()
}
