//! Campaigns that ask for people who are in their segment without having entered it by something that happened: those in it
//! when the campaign is published, and those whom a backfill, an import or a changed definition brings.
//!
//! That somebody waits for their turn is kept with them, by the membership it is about; turns are given at a pace from
//! outside (`worker::inclusion`), each as an event of our own, by which the campaign is entered like by any other.

use serde_json::{Map, Value, json};

use crate::audience::remembered::Inclusion;
use crate::decision::campaign::Start;
use crate::decision::{Campaign, Effect, Turn};
use crate::event::{Event, Kind};
use crate::ids::{Span, Timestamp};
use crate::message::Reason;

/// Appended when somebody's turn has come; properties `campaign`, `segment` and `since`, the beginning of the membership.
pub const MEMBER_INCLUDED: &str = "Member Included";
/// Its `cause`.
pub const INCLUDE_EXISTING: &str = "include_existing";

/// How people who are members already enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    pub pace: Pace,
    /// Who came into the segment last goes first; without it, who came first.
    pub newest_first: bool,
}

/// At most so many within each such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub people: u32,
    pub per: Span,
}

impl Pace {
    /// How many have their turn together, and how long after them nobody has: one by one, where that is not more often than
    /// each second.
    pub fn turn(self) -> (u32, Span) {
        let (people, per) = (i64::from(self.people.max(1)), self.per.millis().max(1));
        let together = (people * 1_000).div_euclid(per).max(1);
        let rest = (together * per + people - 1).div_euclid(people);
        (u32::try_from(together).unwrap_or(u32::MAX), Span::from_millis(rest))
    }
}

impl Campaign {
    /// Whether the event says that somebody's turn for this campaign has come.
    pub fn is_turn(&self, event: &Event) -> bool {
        let Start::Segment(segment) = &self.entry.start else { return false };
        let says = |path: &str, key: &str| event.lookup(path).is_some_and(|found| found == key);
        self.entry.existing.is_some()
            && event.kind == Kind::Own
            && event.name == MEMBER_INCLUDED
            && says("properties.campaign", &self.key)
            && says("properties.segment", segment)
    }
}

/// What the event of a turn says.
pub fn said(campaign: &str, segment: &str, since: Timestamp) -> Map<String, Value> {
    let said = [
        ("campaign", json!(campaign)),
        ("segment", json!(segment)),
        ("since", json!(since.to_string())),
        ("cause", json!(INCLUDE_EXISTING)),
    ];
    said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The membership a turn is about, by its beginning.
fn since_in(event: &Event) -> Option<Timestamp> {
    event.lookup("properties.since").and_then(Value::as_str)?.parse().ok()
}

impl Turn<'_> {
    /// Whoever was in the campaign for this membership is not included again.
    pub(super) fn is_included(&self, campaign: &Campaign, event: &Event) -> Option<Reason> {
        let since = since_in(event).filter(|_| campaign.is_turn(event))?;
        let known = self.person.profile.remembered.existing.get(&campaign.key);
        let walks = self.walks().filter(|walk| walk.campaign == campaign.key).map(|walk| walk.entry_event_at);
        let done = known.and_then(|known| known.done).into_iter().chain(walks).max();
        let since = known.and_then(|known| known.waiting).map_or(since, |(since, _)| since);
        done.filter(|done| *done >= since).map(|_| Reason::IncludedBefore { since })
    }

    /// Whoever has left the segment before their turn does not enter.
    pub(super) fn has_left(&self, campaign: &Campaign, event: &Event) -> Option<Reason> {
        let Start::Segment(segment) = &campaign.entry.start else { return None };
        let is_in = || self.snapshot.catalog.terms.segments.evaluate(segment, &self.facts(None, None));
        let is_out = campaign.is_turn(event) && !is_in().is_some_and(|answer| answer.holds);
        is_out.then(|| Reason::LeftBeforeTurn { segment: segment.clone() })
    }

    /// Their turn is over, whatever came of it; where the campaign is paused or out of force meanwhile, it is still to come.
    pub(super) fn end_turn(&mut self, event: &Event) {
        if event.kind != Kind::Own || event.name != MEMBER_INCLUDED {
            return;
        }
        let Some(key) = event.lookup("properties.campaign").and_then(Value::as_str) else { return };
        let Some(known) = self.person.profile.remembered.existing.get(key).cloned() else { return };
        let catalog = self.snapshot.catalog;
        let campaign =
            catalog.campaign(key).filter(|campaign| campaign.is_turn(event) && catalog.existing().contains_key(key));
        let is_over = campaign.is_some_and(|campaign| !catalog.is_paused(campaign));
        let waited = known.waiting.map(|(since, _)| since);
        let done = known.done.into_iter().chain(waited).chain(since_in(event)).max();
        let inclusion = if is_over { Inclusion { waiting: None, done, ..known } } else { known };
        self.push(Effect::Inclusion { campaign: key.to_owned(), inclusion: Some(inclusion) });
    }

    /// After everybody is looked at anew: who is a member and was told to no campaign waits for their turn.
    pub(super) fn wait_for_turns(&mut self) {
        let existing = self.snapshot.catalog.existing();
        // Of what is out of force stays which memberships it was told of: it may come into force again.
        let known = self.person.profile.remembered.existing.iter();
        let gone = known.filter(|(key, it)| !existing.contains_key(key) && it.waiting.is_some());
        let gone: Vec<_> = gone.map(|(key, it)| (key.clone(), it.clone())).collect();
        for (campaign, known) in gone {
            let inclusion = known.done.map(|_| Inclusion { waiting: None, ..known });
            self.push(Effect::Inclusion { campaign, inclusion });
        }
        for (campaign, segment) in existing.iter() {
            let since = self.person.profile.segments.of(segment).since;
            self.stand(campaign, segment, since, false);
        }
    }

    /// The person came into this segment or left it; `is_told`: an event follows by which campaigns are entered.
    pub(super) fn wait_for_turns_of(&mut self, segment: &str, is_told: bool) {
        let since = self.person.profile.segments.of(segment).since;
        for campaign in self.snapshot.catalog.existing_of(segment) {
            self.stand(campaign, segment, since, is_told);
        }
    }

    fn stand(&mut self, campaign: &str, segment: &str, since: Option<Timestamp>, is_told: bool) {
        let known = self.person.profile.remembered.existing.get(campaign).cloned();
        let before = known.clone().filter(|known| known.segment == segment).unwrap_or_default();
        let seen = self.person.profile.last_seen_at;
        let inclusion = since.map(|since| {
            let is_done = is_told || before.done.is_some_and(|done| done >= since);
            // A look at everybody finds all of them at one instant; what they did last tells them apart.
            let rank = before.waiting.filter(|(of, _)| *of == since).map_or(since.min(seen), |(_, rank)| rank);
            Inclusion {
                segment: segment.to_owned(),
                waiting: (!is_done).then_some((since, rank)),
                done: if is_done { before.done.max(Some(since)) } else { before.done },
            }
        });
        if inclusion != known {
            self.push(Effect::Inclusion { campaign: campaign.to_owned(), inclusion });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_one_by_one_or_by_the_second_and_never_exceeded() {
        let turn = |people, per| {
            let (together, rest) = Pace { people, per }.turn();
            (together, rest.millis())
        };
        assert_eq!(turn(500, Span::from_hours(1)), (1, 7_200));
        assert_eq!(turn(1, Span::from_days(1)), (1, 86_400_000));
        assert_eq!(turn(5_000, Span::from_seconds(60)), (83, 996));
        assert_eq!(turn(1_000, Span::from_seconds(1)), (1_000, 1_000));
        for (people, per) in [(7, 1_000), (59, 60_000), (61, 60_000), (3_601, 3_600_000), (999, 1_000)] {
            let (together, rest) = turn(people, Span::from_millis(per));
            assert!(i64::from(together) * per <= rest * i64::from(people), "{people} per {per}");
        }
    }
}
