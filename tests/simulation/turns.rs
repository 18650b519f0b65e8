//! Turns of those who were members of a segment already: one for each membership, at the campaign's pace, none while it is
//! paused, and in the end for everybody who waited. By plain loops over the log.

use std::collections::{BTreeMap, BTreeSet};

use carillon::app::WORKSPACE;
use carillon::decision::existing::MEMBER_INCLUDED;
use carillon::ids::{Position, ProfileId, Timestamp};
use carillon::store::Rows;
use carillon::store::entries::Logged;
use carillon::worker::pause::set_paused;

use super::invariants::current;
use super::world::World;

const CAMPAIGN: &str = "regulars";
/// Two an hour.
const APART_MILLIS: i64 = 30 * 60 * 1_000;

#[derive(Default)]
pub struct Turns {
    /// What Carillon itself told people in the log, by its place: of whom, and when.
    pub own: BTreeMap<Position, (ProfileId, Timestamp)>,
    /// Each turn, and the beginning of the membership it is about.
    given: BTreeMap<Position, (ProfileId, Timestamp, Timestamp)>,
    /// How many there were when it was paused, if it is.
    at_pause: Option<usize>,
    /// Whoever was ever seen to wait, and since when they are members.
    waited: BTreeSet<(ProfileId, Timestamp)>,
}

impl World {
    pub async fn pause(&mut self, paused: bool) {
        match set_paused(&self.house.log, WORKSPACE, CAMPAIGN, paused).await {
            Ok(_) => {
                self.read_turns().await;
                self.turns.at_pause = paused.then_some(self.turns.given.len());
            }
            Err(error) => self.tell(format!("not switched: {error:#}")),
        }
    }

    /// What came into the log since.
    pub async fn read_turns(&mut self) {
        let last = self.turns.own.last_key_value().map_or(0, |(position, _)| position.0);
        // Shards have no order among each other.
        let since = if super::BACKEND == crate::database::Backend::Postgres { 0 } else { last };
        let sql = "SELECT position, profile, now, name FROM entries WHERE kind = 'own' AND profile IS NOT NULL AND position > ?";
        let rows = Rows(self.house.store.reader()).all(sql, vec![since.into()]).await.unwrap();
        let mut given = Vec::new();
        for row in &rows {
            let number = |n| row.try_get_by_index::<i64>(n).unwrap();
            let (position, profile, now) = (Position(number(0)), ProfileId(number(1)), number(2));
            self.turns.own.insert(position, (profile, Timestamp::from_millis(now)));
            if row.try_get_by_index::<String>(3).unwrap() == MEMBER_INCLUDED {
                given.push(position);
            }
        }
        given.retain(|position| !self.turns.given.contains_key(position));
        let entries = self.house.store.workspace(WORKSPACE).entries_at(&given).await.unwrap();
        for (position, entry) in entries {
            let Logged::Event(event) = entry.logged else { panic!("a turn is an event") };
            let since = event.lookup("properties.since").and_then(|since| since.as_str()?.parse().ok()).unwrap();
            self.turns.given.insert(position, (entry.profile.unwrap(), entry.now, since));
        }
        let sql = "SELECT profile, since FROM inclusions";
        for row in Rows(self.house.store.reader()).all(sql, vec![]).await.unwrap() {
            let (profile, since) = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
            self.turns.waited.insert((ProfileId(profile), Timestamp::from_millis(since)));
        }
    }

    pub async fn check_turns(&mut self) {
        let mut at: Vec<i64> = self.turns.given.values().map(|(_, now, _)| now.millis()).collect();
        at.sort_unstable();
        for pair in at.windows(2) {
            assert!(pair[1] - pair[0] >= APART_MILLIS, "turns at {} and {} are faster than the pace", pair[0], pair[1]);
        }
        if let Some(before) = self.turns.at_pause {
            assert_eq!(self.turns.given.len(), before, "turns were given in a pause");
        }
        let mut entered: BTreeMap<(ProfileId, Timestamp), Position> = BTreeMap::new();
        for entry in self.entries_of_regulars().await {
            let Some((profile, _, since)) = self.turns.given.get(&entry) else { continue };
            let before = entered.insert((*profile, *since), entry);
            assert_eq!(before, None, "{profile} entered twice for being a member since {since}");
        }
    }

    /// Whoever waited and is still that member has been in the campaign; nobody waits any more.
    pub async fn check_all_had_a_turn(&mut self) {
        self.read_turns().await;
        let store = self.house.store.workspace(WORKSPACE);
        assert_eq!(store.count_included(CAMPAIGN).await.unwrap(), 0, "somebody waits for a turn");
        for (profile, since) in &self.turns.waited {
            let now = current(&self.united, *profile);
            let person = store.person(now).await.unwrap().unwrap();
            if person.profile.segments.of("regular").since == Some(*since) {
                let walks = store.enrollments_of(now, None, 100).await.unwrap();
                let has_been = walks.iter().any(|walk| walk.campaign == CAMPAIGN);
                assert!(has_been, "{now}, a member since {since}, waited and had no turn");
            }
        }
    }

    /// Where each walk through the campaign began.
    async fn entries_of_regulars(&self) -> Vec<Position> {
        let sql = "SELECT entry FROM enrollments WHERE campaign = ?";
        let rows = Rows(self.house.store.reader()).all(sql, vec![CAMPAIGN.into()]).await.unwrap();
        rows.iter().map(|row| Position(row.try_get_by_index(0).unwrap())).collect()
    }

    /// How many turns there were.
    pub fn turns_given(&self) -> usize {
        self.turns.given.len()
    }
}
