//! One person as several: who they were as the time looked at began, where it turned out since that they are the same.
//! Until the call that says so each of them is decided for alone.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::ids::{Position, ProfileId};
use crate::store::entries::Entry;
use crate::store::{Error, Workspace};
use crate::worker::explain::refold::heir;

/// The profiles of a person by then, and whose what was.
#[derive(Debug)]
pub struct Kin {
    /// Whoever all of them are today first.
    pub profiles: Vec<ProfileId>,
    /// Of each profile they ever had, which of those it was by then; today's where it is not named.
    places: BTreeMap<ProfileId, usize>,
    /// Under which profile something of before stands in the log.
    owners: BTreeMap<Position, ProfileId>,
}

impl Kin {
    /// From what the log has of them since, and where it has what they did before.
    pub async fn of(
        store: Workspace<'_, DatabaseConnection>,
        profile: ProfileId,
        since: &[&Entry],
        before: &BTreeSet<Position>,
    ) -> Result<Self, Error> {
        let joined: BTreeSet<ProfileId> = since.iter().filter_map(|entry| entry.joins).collect();
        let mut kin = Self { profiles: vec![profile], places: BTreeMap::new(), owners: BTreeMap::new() };
        if joined.is_empty() {
            return Ok(kin);
        }
        let family = store.profiles_of(profile).await?;
        let winners = store.losers_of(&family).await?.into_iter().map(|(winner, loser)| (loser, winner));
        kin.place(&family, &winners.filter(|(loser, _)| !joined.contains(loser)).collect());
        kin.owners = store.owners_of(&before.iter().copied().collect::<Vec<_>>()).await?;
        Ok(kin)
    }

    /// `winners` are those who had become another by then.
    fn place(&mut self, family: &[ProfileId], winners: &BTreeMap<ProfileId, ProfileId>) {
        for one in family {
            let root = heir(winners, *one);
            let place = self.profiles.iter().position(|known| *known == root).unwrap_or_else(|| {
                self.profiles.push(root);
                self.profiles.len() - 1
            });
            self.places.insert(*one, place);
        }
    }

    /// Whether it turned out since that they are one.
    pub fn are_several(&self) -> bool {
        self.profiles.len() > 1
    }

    /// Which of them a profile was by then.
    pub fn place_of(&self, profile: ProfileId) -> usize {
        self.places.get(&profile).copied().unwrap_or_default()
    }

    /// Whose something of before was; what the log does not have any more is counted as today's.
    pub fn place_at(&self, position: Position) -> usize {
        self.owners.get(&position).map_or(0, |profile| self.place_of(*profile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_became_another_before_was_the_other_then_and_who_did_since_was_alone() {
        let [ann, guest, phone, tablet] = [1, 2, 3, 4].map(ProfileId);
        let owners = [(10, ann), (11, phone), (12, tablet), (13, guest)];
        let owners = owners.into_iter().map(|(at, profile)| (Position(at), profile)).collect();
        let mut kin = Kin { profiles: vec![ann], places: BTreeMap::new(), owners };
        // The phone was the guest's before; guest and tablet have become ann since.
        kin.place(&[ann, guest, phone, tablet], &BTreeMap::from([(phone, guest)]));
        assert_eq!(kin.profiles, [ann, guest, tablet]);
        assert_eq!([10, 11, 12, 13, 99].map(|at| kin.place_at(Position(at))), [0, 1, 2, 1, 0]);
        assert!(kin.are_several());
    }
}
