//! Who people are by a part of the log alone: ids, traits and times, as decisions would understand the calls. Folding the
//! rest of the log onto it comes to what folding all of it does.

use std::collections::BTreeMap;

use crate::audience::History;
use crate::decision::{At, Catalog, Input, Loaded, Other, Person, Snapshot, decide, decide_joined};
use crate::ids::{ProfileId, Span};
use crate::store::baselines::Heir;
use crate::store::entries::{Entry, Logged};

/// People by what was folded so far, and who joined whom.
#[derive(Debug, Default)]
pub struct Fold {
    pub people: BTreeMap<ProfileId, Person>,
    pub heirs: BTreeMap<ProfileId, Heir>,
}

impl Fold {
    /// Adds what an entry says of its person; entries of a person must come in their order.
    pub fn add(&mut self, entry: &Entry) {
        let (Logged::Event(event), Some(named)) = (&entry.logged, entry.profile) else { return };
        let profile = self.person_of(named, entry);
        let person = self.people.remove(&profile).unwrap_or_else(|| Person::new(profile, entry.now));
        let loser = entry.joins.filter(|id| *id != profile).and_then(|id| self.people.remove(&id));
        let (nothing, loaded) = (Catalog::default(), Loaded::default());
        let snapshot = Snapshot { catalog: &nothing, person: &person, loaded: &loaded, settle: Span::ZERO };
        let (at, input) = (At { position: entry.position, now: entry.now }, Input::Event(event.clone()));
        let decision = match &loser {
            Some(loser) => decide_joined(at, &snapshot, Other { person: loser, loaded: &loaded }, &input),
            None => decide(at, &snapshot, &input),
        };
        let mut folded = person.clone();
        for effect in &decision.effects {
            if effect.is_about_person() {
                folded.apply(effect);
            }
        }
        // What they did stays with the person.
        folded.profile.history = History::default();
        self.people.insert(profile, folded);
    }

    /// An entry may name a profile that had joined another before.
    fn person_of(&self, named: ProfileId, entry: &Entry) -> ProfileId {
        let mut profile = named;
        while let Some(heir) = self.heirs.get(&profile).filter(|heir| entry.position > heir.loser_head) {
            profile = heir.winner;
        }
        profile
    }
}
