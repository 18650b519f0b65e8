//! What is stored of the people of a batch, read together: each kind of it in a statement for all of them. A batch is as
//! many people as did so much, so that its memory is bounded however much each of them did.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::audience::History;
use crate::audience::condition::Received;
use crate::audience::history::{PAGE_EVENTS, PAGES_MAX};
use crate::decision::{Enrollment, Person};
use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::message::Message;
use crate::store::consents::LedgerRow;
use crate::store::entries::Entry;
use crate::store::messages::Step;
use crate::store::shards::{Heads, Layout};
use crate::store::{Error, Workspace};
use crate::worker::explain::refold::{ENTRIES_MAX, LEDGER_MAX, Logbook, Told, wanted};
use crate::worker::plan::concerned::Group;

/// Events of one batch, of however many people; one person's are never divided.
const EVENTS_MAX: usize = 20_000;
/// Messages of one person that are looked at.
const MESSAGES_MAX: usize = 10_000;

/// Everything that is stored of some people, by the profile it stands under.
#[derive(Debug, Default)]
pub struct Gathered {
    people: BTreeMap<ProfileId, Person>,
    /// Each one's profiles, their own first.
    families: BTreeMap<ProfileId, Vec<ProfileId>>,
    histories: BTreeMap<ProfileId, Vec<History>>,
    made: BTreeMap<ProfileId, Vec<Position>>,
    /// Entries that were not applied where they stand.
    aside: BTreeSet<Position>,
    entries: BTreeMap<Position, Entry>,
    ledgers: BTreeMap<ProfileId, Vec<LedgerRow>>,
    baselines: BTreeMap<ProfileId, Person>,
    received: BTreeMap<ProfileId, Vec<Received>>,
    messages: BTreeMap<ProfileId, Vec<Message>>,
    paths: BTreeMap<MessageId, Vec<Step>>,
    enrollments: BTreeMap<ProfileId, Vec<Enrollment>>,
    /// Where the shard of each who became another ended then.
    pub heads: BTreeMap<ProfileId, Position>,
    /// Up to where the log is folded into baselines.
    folded: Heads,
    layout: Option<Layout>,
    /// Of whom something cannot be read.
    pub unreadable: BTreeMap<ProfileId, Error>,
}

/// What is asked of everybody.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub to: Timestamp,
    /// Where the time begins in the log.
    pub first: Position,
    /// Campaigns whose messages conditions ask for.
    pub received: BTreeSet<String>,
}

impl Gathered {
    /// Reads what is stored of these people, whose rows are known. What cannot be read is its person's trouble alone.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read(
        store: Workspace<'_, DatabaseConnection>,
        people: BTreeMap<ProfileId, Person>,
        wanted: &Wanted,
    ) -> Result<Self, Error> {
        let mut whole = Self { layout: Some(store.layout()), ..Self::default() };
        let mut open = vec![people.keys().copied().collect::<Vec<_>>()];
        whole.people = people;
        while let Some(ids) = open.pop() {
            match whole.add(store, &ids, wanted).await {
                Ok(()) => {}
                Err(error @ Error::Unreadable { .. }) => match ids.as_slice() {
                    [one] => drop(whole.unreadable.insert(*one, error)),
                    several => {
                        let (left, right) = several.split_at(several.len() / 2);
                        open.extend([right.to_vec(), left.to_vec()]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    async fn add(
        &mut self,
        store: Workspace<'_, DatabaseConnection>,
        ids: &[ProfileId],
        wanted: &Wanted,
    ) -> Result<(), Error> {
        let families = families(store, ids).await?;
        let all: Vec<ProfileId> = families.values().flatten().copied().collect();
        let losers: Vec<ProfileId> = families.values().flat_map(|family| family.iter().skip(1)).copied().collect();
        self.heads.extend(store.heads_of(&losers).await?);
        let histories = store.histories_of(&all).await?;
        let made = store.made_of(&all).await?;
        let messages = store.messages_before(ids, wanted.to, MESSAGES_MAX).await?;
        let enrollments = store.enrollments_before(ids, wanted.to).await?;
        self.aside.extend(store.set_aside(&all).await?);
        self.ledgers.extend(store.ledgers_of(ids, LEDGER_MAX).await?);
        self.baselines.extend(store.baselines_of(&all).await?);
        let written: Vec<MessageId> = messages.values().flatten().map(|message| message.id).collect();
        self.paths.extend(store.paths_of(&written).await?);
        if !wanted.received.is_empty() {
            let campaigns = wanted.received.iter().map(String::as_str).collect();
            for (profile, received) in store.received(ids, &campaigns).await? {
                self.received.entry(profile).or_default().extend(received.ok());
            }
        }
        let mut positions: BTreeSet<Position> = made.iter().map(|(_, position)| *position).collect();
        positions.extend(histories.values().flat_map(|history| to_read(history, wanted.first)));
        positions.extend(messages.values().flatten().map(|message| message.entry));
        let positions: Vec<Position> = positions.difference(&self.aside).copied().collect();
        self.entries.extend(store.entries_among(&positions).await?);
        self.folded = store.folded_until().await?;
        for (profile, position) in made {
            self.made.entry(profile).or_default().push(position);
        }
        self.families.extend(families);
        self.histories.extend(histories);
        self.messages.extend(messages);
        self.enrollments.extend(enrollments);
        Ok(())
    }

    pub fn person(&self, profile: ProfileId) -> Option<&Person> {
        self.people.get(&profile)
    }

    /// Their profiles, this one first.
    pub fn family(&self, profile: ProfileId) -> Vec<ProfileId> {
        self.families.get(&profile).cloned().unwrap_or_else(|| vec![profile])
    }

    /// What the log has of these profiles, in the order it was decided, of before an instant.
    pub fn entries(&self, family: &[ProfileId], to: Timestamp) -> Vec<&Entry> {
        let histories = family.iter().filter_map(|one| self.histories.get(one)).flatten();
        let mut positions: BTreeSet<Position> = histories.flat_map(History::iter).map(|past| past.position).collect();
        positions.extend(family.iter().filter_map(|one| self.made.get(one)).flatten());
        let theirs = family.iter().filter_map(|one| self.messages.get(one)).flatten();
        positions.extend(theirs.map(|message| message.entry));
        let found = positions.difference(&self.aside).filter_map(|position| self.entries.get(position));
        let is_theirs = |entry: &&Entry| entry.profile.is_some_and(|id| family.contains(&id));
        let mut entries: Vec<&Entry> = found.filter(|entry| entry.now < to).filter(is_theirs).collect();
        entries.sort_by_key(|entry| (entry.now, entry.position));
        entries
    }

    /// What a person did before an instant, to be read again.
    pub fn logbook(&self, profile: ProfileId, from: Timestamp) -> Logbook {
        let histories = self.histories.get(&profile).map_or(&[][..], Vec::as_slice);
        let newest = histories.len().saturating_sub(PAGES_MAX as usize + 1);
        let mut dim: BTreeMap<Position, (String, Timestamp)> = BTreeMap::new();
        let (mut before, mut earliest) = (Vec::new(), None::<Timestamp>);
        for past in histories[newest..].iter().flat_map(History::iter) {
            let entry = self.entries.get(&past.position);
            let now = entry.filter(|entry| !self.is_folded(entry.position)).map(|entry| entry.now);
            earliest = [earliest, now].into_iter().flatten().min();
            match entry {
                // It comes in again.
                Some(entry) if entry.now >= from => continue,
                Some(entry) => before.push(entry.clone()),
                None => {}
            }
            dim.insert(past.position, (past.name.to_owned(), past.at));
        }
        let (chosen, is_cut) = wanted(&dim);
        before.retain(|entry| chosen.contains(&entry.position));
        // Answers come in again with their entries; of those whose entry is gone, the ones of before.
        let of_before = |row: &&LedgerRow| match self.entries.get(&row.position) {
            Some(entry) => entry.now < from,
            None => earliest.is_none_or(|earliest| row.consent.at < earliest),
        };
        Logbook::of(
            profile,
            Told {
                dim,
                is_cut,
                entries: before,
                ledger: self.ledgers.get(&profile).into_iter().flatten().filter(of_before).cloned().collect(),
                baselines: self.family(profile).iter().filter_map(|one| Some((*one, self.baselines.get(one)?.clone()))),
                received: self.received.get(&profile).cloned().unwrap_or_default(),
            },
            |position| self.is_folded(position),
        )
    }

    /// Whether the log is folded into baselines there.
    fn is_folded(&self, position: Position) -> bool {
        self.layout.is_some_and(|layout| position <= self.folded.of(layout.shard_at(position)))
    }

    pub fn messages(&self, profile: ProfileId) -> &[Message] {
        self.messages.get(&profile).map_or(&[], Vec::as_slice)
    }

    pub fn path(&self, message: MessageId) -> &[Step] {
        self.paths.get(&message).map_or(&[], Vec::as_slice)
    }

    pub fn enrollments(&self, profile: ProfileId) -> &[Enrollment] {
        self.enrollments.get(&profile).map_or(&[], Vec::as_slice)
    }
}

/// Each with all profiles that were joined to it, however far back.
async fn families(
    store: Workspace<'_, DatabaseConnection>,
    ids: &[ProfileId],
) -> Result<BTreeMap<ProfileId, Vec<ProfileId>>, Error> {
    let mut families: BTreeMap<ProfileId, Vec<ProfileId>> = ids.iter().map(|one| (*one, vec![*one])).collect();
    let mut heirs: BTreeMap<ProfileId, ProfileId> = ids.iter().map(|one| (*one, *one)).collect();
    let mut winners = ids.to_vec();
    while !winners.is_empty() {
        let mut next = Vec::new();
        for (winner, loser) in store.losers_of(&winners).await? {
            let Some(heir) = heirs.get(&winner).copied() else { continue };
            if heirs.insert(loser, heir).is_none() {
                families.entry(heir).or_default().push(loser);
                next.push(loser);
            }
        }
        winners = next;
    }
    Ok(families)
}

/// Of what a profile did, what is read: everything that may have come in since the time begins, and of before as much as
/// who they were then is told by.
fn to_read(histories: &[History], first: Position) -> BTreeSet<Position> {
    let all = histories.iter().flat_map(History::iter);
    let (since, before): (Vec<_>, Vec<_>) = all.partition(|past| past.position >= first);
    let before = before.into_iter().map(|past| (past.position, (past.name.to_owned(), past.at))).collect();
    let mut positions = if since.len() < ENTRIES_MAX { wanted(&before).0 } else { BTreeSet::new() };
    positions.extend(since.into_iter().map(|past| past.position));
    positions
}

/// Groups as they are read together: as many as did no more than so much, one at least.
pub fn batches(groups: Vec<Group>, people: &BTreeMap<ProfileId, Person>) -> Vec<Vec<Group>> {
    let did = |one: &ProfileId| {
        let history = people.get(one).map(|person| &person.profile.history);
        history.map_or(0, |history| history.len() + history.pages as usize * PAGE_EVENTS)
    };
    let mut batches: Vec<Vec<Group>> = Vec::new();
    let mut sum = 0;
    for group in groups {
        let events: usize = group.reported.iter().chain(&group.beside).map(did).sum();
        sum += events;
        match batches.last_mut().filter(|_| sum <= EVENTS_MAX) {
            Some(batch) => batch.push(group),
            None => {
                batches.push(vec![group]);
                sum = events;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_before_it_is_too_much_and_nobody_is_left_out() {
        let mut people = BTreeMap::new();
        let sizes = [10, 300, 0, 700, 1, 1, 624, 0];
        let mut groups = Vec::new();
        for (id, pages) in (0..).zip(sizes) {
            let mut person = Person::new(ProfileId(id), Timestamp::default());
            person.profile.history.pages = pages;
            people.insert(ProfileId(id), person);
            groups.push(Group { reported: vec![ProfileId(id)], ..Group::default() });
        }
        let told: Vec<Vec<i64>> = batches(groups, &people)
            .iter()
            .map(|batch| batch.iter().flat_map(|group| group.reported.iter().map(|one| one.0)).collect())
            .collect();
        assert_eq!(told, [vec![0, 1, 2], vec![3], vec![4, 5], vec![6, 7]], "625 pages fill a batch");
    }
}
