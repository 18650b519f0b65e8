//! Who may be concerned by campaigns: who did something by which one may begin, or waited in one already; and who
//! shares an address with them, for caps hold for the address, too; of those, who did something by which another campaign
//! begins. Entries by a segment are asked of the people looked at alone.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::decision::{Catalog, Person};
use crate::guard::{Subject, address_of};
use crate::ids::{Position, ProfileId, Timestamp};
use crate::message::Channel;
use crate::store::Workspace;
use crate::store::entries::Logged;

/// People who live through it again; where more are concerned, as many of them evenly spread.
pub(super) const PEOPLE_MAX: usize = 20_000;
/// People with one address who live through it together; of an address that more have, as many at a time.
const TOGETHER_MAX: usize = 1_000;
const PAGE_MAX: u32 = 2_000;

/// What the log says of a time.
#[derive(Debug, Default)]
pub(super) struct Concerned {
    pub people: BTreeSet<ProfileId>,
    /// Who did something by which only other campaigns begin: they matter where they share an address.
    others: BTreeSet<ProfileId>,
    /// Where the time looked at begins in the log.
    pub first: Position,
    pub events: u64,
}

/// People who live through it together, because they share an address; most are alone. Who is not reported on is
/// there for the slots they use.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub reported: Vec<ProfileId>,
    pub beside: Vec<ProfileId>,
    /// There are more who share an address with these, and could not be looked at together with them.
    pub is_part: bool,
}

/// Those whom campaigns named `reported` concern in the time since `from`.
pub(super) async fn concerned(
    store: Workspace<'_, DatabaseConnection>,
    catalogs: [&Catalog; 2],
    reported: &BTreeSet<String>,
    from: Timestamp,
) -> anyhow::Result<Concerned> {
    let mut found = Concerned { first: Position(i64::MAX), ..Concerned::default() };
    let mut after = Position(0);
    loop {
        let (entries, last) = store.acts_since(from, after, PAGE_MAX).await?;
        for entry in entries {
            found.events += 1;
            found.first = found.first.min(entry.position);
            let (Logged::Event(event), Some(profile)) = (&entry.logged, entry.profile) else { continue };
            let begun: Vec<_> = catalogs.iter().flat_map(|catalog| catalog.entered_by(event)).collect();
            if begun.iter().any(|campaign| reported.contains(&campaign.key)) {
                found.people.insert(profile);
            } else if !begun.is_empty() {
                found.others.insert(profile);
            }
        }
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    for campaign in reported {
        let mut after = ProfileId(i64::MIN);
        loop {
            let page = store.enrolled_at(campaign, from, after, PAGE_MAX).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            found.people.extend(page);
        }
    }
    found.people = current(store, found.people).await?;
    found.others = current(store, found.others).await?;
    found.others.retain(|one| !found.people.contains(one));
    Ok(found)
}

/// Who they are now.
async fn current(
    store: Workspace<'_, DatabaseConnection>,
    people: BTreeSet<ProfileId>,
) -> anyhow::Result<BTreeSet<ProfileId>> {
    let mut current = BTreeSet::new();
    for profile in people {
        current.insert(store.current_profile(profile).await?);
    }
    Ok(current)
}

impl Concerned {
    /// Everybody there is.
    pub async fn add_everybody(&mut self, store: Workspace<'_, DatabaseConnection>) -> anyhow::Result<()> {
        let mut after = ProfileId(i64::MIN);
        loop {
            let page = store.not_looked_at(Position(i64::MAX), after, PAGE_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            self.people.extend(page);
        }
    }

    /// All of them, or as many as can be looked at, evenly spread; each with those who share an address with them.
    pub async fn groups(&self, store: Workspace<'_, DatabaseConnection>) -> anyhow::Result<Vec<Group>> {
        let every = self.people.len().div_ceil(PEOPLE_MAX).max(1);
        let sample: Vec<ProfileId> = self.people.iter().copied().step_by(every).collect();
        self.groups_of(store, &sample).await
    }

    /// These, each with those who share an address with them.
    pub async fn groups_of(
        &self,
        store: Workspace<'_, DatabaseConnection>,
        sample: &[ProfileId],
    ) -> anyhow::Result<Vec<Group>> {
        let mut shared = Shared::default();
        for page in sample.chunks(PAGE_MAX as usize) {
            for (profile, person) in store.people(page).await? {
                shared.add(profile, person.as_ref().ok(), true);
            }
        }
        let chosen: BTreeSet<ProfileId> = sample.iter().copied().collect();
        let rest: Vec<ProfileId> =
            self.people.union(&self.others).filter(|one| !chosen.contains(one)).copied().collect();
        for page in rest.chunks(PAGE_MAX as usize) {
            for (profile, person) in store.people(page).await? {
                shared.add(profile, person.as_ref().ok(), false);
            }
        }
        Ok(shared.groups(sample))
    }
}

/// Who has which address.
#[derive(Debug, Default)]
struct Shared {
    by_address: BTreeMap<Subject, Vec<ProfileId>>,
    /// Addresses that more people have than can be looked at together.
    crowded: BTreeSet<Subject>,
    by_person: BTreeMap<ProfileId, Vec<Subject>>,
}

impl Shared {
    /// `opens`: whether an address that nobody had is of interest.
    fn add(&mut self, profile: ProfileId, person: Option<&Person>, opens: bool) {
        for subject in person.into_iter().flat_map(addresses) {
            match self.by_address.get_mut(&subject) {
                Some(people) if opens || people.len() < TOGETHER_MAX => people.push(profile),
                None if opens => drop(self.by_address.insert(subject.clone(), vec![profile])),
                Some(_) => {
                    self.crowded.insert(subject);
                    continue;
                }
                None => continue,
            }
            self.by_person.entry(profile).or_default().push(subject);
        }
    }

    /// In the order of the people reported on.
    fn groups(mut self, sample: &[ProfileId]) -> Vec<Group> {
        let chosen: BTreeSet<ProfileId> = sample.iter().copied().collect();
        let mut grouped = BTreeSet::new();
        let mut groups = Vec::new();
        for profile in sample {
            if !grouped.insert(*profile) {
                continue;
            }
            let (mut group, mut next) = (Group::default(), vec![*profile]);
            while let Some(one) = next.pop() {
                if chosen.contains(&one) { &mut group.reported } else { &mut group.beside }.push(one);
                for subject in self.by_person.get(&one).into_iter().flatten() {
                    let Some(others) = self.by_address.get_mut(subject) else { continue };
                    while group.reported.len() + group.beside.len() + next.len() < TOGETHER_MAX
                        && let Some(other) = others.pop()
                    {
                        if grouped.insert(other) {
                            next.push(other);
                        }
                    }
                    while others.pop_if(|other| grouped.contains(other)).is_some() {}
                    if !others.is_empty() {
                        self.crowded.insert(subject.clone());
                    }
                    group.is_part |= self.crowded.contains(subject);
                }
            }
            group.reported.sort();
            groups.push(group);
        }
        groups
    }
}

/// Where somebody can be written to, as caps call it.
pub(super) fn addresses(person: &Person) -> Vec<Subject> {
    let each = Channel::ALL.into_iter().filter_map(|channel| {
        let address = address_of(&person.profile, channel).ok()?;
        Some(Subject::Address(channel, address.normalised().to_owned()))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: i64, email: &str, phone: &str) -> Person {
        let mut person = Person::new(ProfileId(id), Timestamp::from_millis(0));
        for (name, value) in [("email", email), ("phone", phone)] {
            if !value.is_empty() {
                person.profile.traits.insert(name.to_owned(), value.into());
            }
        }
        person
    }

    #[test]
    fn who_shares_an_address_lives_together_however_it_is_written() {
        let mut shared = Shared::default();
        let people = [(1, "ann@example.com", ""), (2, "ben@example.com", "+4912345678"), (3, "ANN@Example.com", "")];
        for (id, email, phone) in people {
            shared.add(ProfileId(id), Some(&person(id, email, phone)), true);
        }
        let beside = [(4, "ben@example.com", ""), (5, "eve@example.com", ""), (6, "", "+49 1234 5678")];
        for (id, email, phone) in beside {
            shared.add(ProfileId(id), Some(&person(id, email, phone)), false);
        }
        let groups: Vec<(Vec<i64>, BTreeSet<i64>)> = shared
            .groups(&[1, 2, 3].map(ProfileId))
            .iter()
            .map(|group| (group.reported.iter().map(|it| it.0).collect(), group.beside.iter().map(|it| it.0).collect()))
            .collect();
        assert_eq!(groups, [(vec![1, 3], BTreeSet::new()), (vec![2], BTreeSet::from([4, 6]))]);
    }

    #[test]
    fn an_address_of_a_crowd_is_looked_at_in_parts_and_that_is_told() {
        for (count, is_part) in [(TOGETHER_MAX, false), (TOGETHER_MAX + 120, true)] {
            let mut shared = Shared::default();
            let crowd: Vec<ProfileId> = (0_i64..).take(count).map(ProfileId).collect();
            for one in &crowd {
                shared.add(*one, Some(&person(one.0, "shop@example.com", "")), true);
            }
            let groups = shared.groups(&crowd);
            assert_eq!(groups.iter().map(|group| group.reported.len()).sum::<usize>(), count);
            assert_eq!(groups.len(), count.div_ceil(TOGETHER_MAX));
            let told: usize = groups.iter().filter(|group| group.is_part).map(|group| group.reported.len()).sum();
            assert_eq!(told, if is_part { count } else { 0 });
        }
    }

    #[test]
    fn who_is_only_beside_and_one_too_many_is_told_too() {
        let mut shared = Shared::default();
        let crowd: Vec<ProfileId> = (0_i64..).take(TOGETHER_MAX + 1).map(ProfileId).collect();
        for one in &crowd {
            shared.add(*one, Some(&person(one.0, "shop@example.com", "")), one.0 == 0);
        }
        let groups = shared.groups(&crowd[..1]);
        assert_eq!((groups.len(), groups[0].reported.len(), groups[0].beside.len()), (1, 1, TOGETHER_MAX - 1));
        assert!(groups[0].is_part);
    }
}
