//! Who is concerned, a page of people after the other, and who lives through it together: whoever has or had an address of
//! another's, for caps, suppressions and neighbours are of the address. What is remembered is of one page and of those
//! behind it who were met already, however many people there are.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;

use crate::audience::History;
use crate::decision::Person;
use crate::decision::campaign::Start;
use crate::ids::{Position, ProfileId, Timestamp};
use crate::message::{Address, Channel};
use crate::store::{Error, Workspace};
use crate::worker::plan::Side;
use crate::worker::plan::concerned::Group;

/// People of one page.
const PAGE: u32 = 500;
/// With one address that is followed from person to person; of one that more have, those of a page live together.
const CROWD: usize = 200;
/// Together, over however many addresses.
const TOGETHER_MAX: usize = 1_000;
/// Pages of histories that are looked through at once.
const PAGES_TOGETHER: u32 = 5_000;

pub struct Company {
    /// Names of events by which a campaign may begin that is looked at.
    names: BTreeSet<String>,
    campaigns: BTreeSet<String>,
    /// Something begins by who people are, whatever they do.
    everybody: bool,
    from: Timestamp,
    /// Where the time begins in the log.
    first: Position,
    after: ProfileId,
    /// Behind `after`, and looked at with one before.
    met: BTreeSet<ProfileId>,
}

/// People of one page with those who live through it with them.
#[derive(Debug, Default)]
pub struct Page {
    pub groups: Vec<Group>,
    /// Everybody in them, and whose row cannot be read.
    pub people: BTreeMap<ProfileId, Person>,
    pub unreadable: BTreeSet<ProfileId>,
    /// How many people the page had.
    pub count: u64,
}

impl Company {
    pub fn new(eras: &[Side], campaigns: &BTreeSet<String>, (from, first): (Timestamp, Position)) -> Self {
        let all = || eras.iter().flat_map(|side| side.setting.catalog.campaigns());
        let looked_at = || all().filter(|one| campaigns.contains(&one.key));
        Self {
            names: looked_at().map(|one| one.entry.event.clone()).collect(),
            campaigns: campaigns.clone(),
            everybody: looked_at().any(|one| one.entry.start != Start::Event),
            from,
            first,
            after: ProfileId(i64::MIN),
            met: BTreeSet::new(),
        }
    }

    /// The next page; none behind the last.
    pub async fn next(&mut self, store: Workspace<'_, DatabaseConnection>) -> anyhow::Result<Option<Page>> {
        let page = store.not_looked_at(Position(i64::MAX), self.after, PAGE).await?;
        let Some(last) = page.last().copied() else { return Ok(None) };
        self.after = last;
        let open: Vec<ProfileId> = page.iter().filter(|one| !self.met.remove(one)).copied().collect();
        let mut people = BTreeMap::new();
        let concerned = self.concerned(store, &open, &mut people).await?;
        let found = united(store, &concerned).await?;
        let behind = found.iter().flat_map(|(together, _)| together).filter(|one| **one > last).copied();
        let concerned_behind = self.concerned(store, &behind.collect::<Vec<_>>(), &mut people).await?;
        let mut groups = Vec::new();
        for (together, is_part) in found {
            let (reported, beside): (Vec<_>, Vec<_>) =
                together.into_iter().partition(|one| concerned.contains(one) || concerned_behind.contains(one));
            groups.push(Group { reported, beside, is_part });
        }
        self.met.extend(concerned_behind);
        let everybody = groups.iter().flat_map(|group| group.reported.iter().chain(&group.beside));
        let rest: Vec<ProfileId> = everybody.filter(|one| !people.contains_key(one)).copied().collect();
        let mut unreadable = BTreeSet::new();
        for (profile, person) in store.people(&rest).await? {
            match person {
                Ok(person) => drop(people.insert(profile, person)),
                Err(error) => {
                    tracing::warn!(%error, %profile, "a person cannot be lived through again");
                    unreadable.insert(profile);
                }
            }
        }
        Ok(Some(Page { groups, people, unreadable, count: page.len() as u64 }))
    }

    /// Of these people, those who did something in the time by which it may begin, or waited as it began. Rows that were
    /// read for that are kept.
    async fn concerned(
        &self,
        store: Workspace<'_, DatabaseConnection>,
        people: &[ProfileId],
        rows: &mut BTreeMap<ProfileId, Person>,
    ) -> anyhow::Result<BTreeSet<ProfileId>> {
        if self.everybody || people.is_empty() {
            return Ok(people.iter().copied().collect());
        }
        let open = store.open_at(people, self.from).await?;
        let mut found: BTreeSet<ProfileId> =
            open.into_iter().filter(|(_, campaign)| self.campaigns.contains(campaign)).map(|(one, _)| one).collect();
        let did = |history: &History| {
            history.iter().any(|past| past.position >= self.first && self.names.contains(past.name))
        };
        let (mut read, mut older) = (BTreeMap::new(), Vec::new());
        for (profile, person) in store.people(people).await? {
            // Whose row cannot be read is told of when it is to be lived through.
            let Ok(person) = person else {
                found.insert(profile);
                continue;
            };
            let history = &person.profile.history;
            if did(history) {
                found.insert(profile);
            } else if history.iter().next().is_none_or(|past| past.position >= self.first) && history.pages > 0 {
                older.push((profile, history.pages));
            }
            read.insert(profile, person);
        }
        while !older.is_empty() {
            let few = older.iter().scan(0, |sum, (_, pages)| {
                *sum += pages;
                (*sum <= PAGES_TOGETHER).then_some(())
            });
            let few = few.count().max(1);
            let asked: Vec<ProfileId> = older.drain(..few).map(|(profile, _)| profile).collect();
            match store.histories_of(&asked).await {
                Ok(pages) => {
                    let acted = pages.into_iter().filter(|(_, pages)| pages.iter().any(did));
                    found.extend(acted.map(|(profile, _)| profile));
                }
                Err(Error::Unreadable { .. }) => found.extend(asked),
                Err(error) => return Err(error.into()),
            }
        }
        rows.extend(read.into_iter().filter(|(profile, _)| found.contains(profile)));
        Ok(found)
    }
}

/// These people, each with everybody who is tied to them by addresses, and whether there are more than that.
async fn united(
    store: Workspace<'_, DatabaseConnection>,
    people: &BTreeSet<ProfileId>,
) -> anyhow::Result<Vec<(BTreeSet<ProfileId>, bool)>> {
    let mut ties = Ties::default();
    let mut next: BTreeSet<ProfileId> = people.clone();
    while !next.is_empty() {
        for one in &next {
            ties.root(*one);
        }
        let terms = addresses(store, &next).await?;
        let asked: BTreeSet<Vec<u8>> = terms.iter().map(|(_, term)| term.clone()).filter(|it| ties.asks(it)).collect();
        for (profile, term) in terms {
            ties.tie(profile, &term);
        }
        let mut by_term: BTreeMap<Vec<u8>, Vec<ProfileId>> = BTreeMap::new();
        for (term, profile) in store.called(&asked.into_iter().collect::<Vec<_>>(), CROWD).await? {
            by_term.entry(term).or_default().push(profile);
        }
        let mut others = Vec::new();
        for (term, called) in by_term {
            if called.len() > CROWD {
                ties.crowded.insert(term);
            } else {
                others.extend(called.into_iter().map(|profile| (profile, term.clone())));
            }
        }
        let named: BTreeSet<ProfileId> = others.iter().map(|(profile, _)| *profile).collect();
        let heirs = store.current_profiles(&named).await?;
        next = BTreeSet::new();
        for (profile, term) in others {
            let profile = heirs.get(&profile).copied().unwrap_or(profile);
            if !ties.parents.contains_key(&profile) && ties.parents.len() < people.len() + TOGETHER_MAX {
                next.insert(profile);
                ties.root(profile);
            }
            ties.tie(profile, &term);
        }
    }
    Ok(ties.groups().into_iter().filter(|(group, _)| group.iter().any(|one| people.contains(one))).collect())
}

/// What each of them has or had that is an address, under all their profiles.
async fn addresses(
    store: Workspace<'_, DatabaseConnection>,
    people: &BTreeSet<ProfileId>,
) -> anyhow::Result<Vec<(ProfileId, Vec<u8>)>> {
    let mut heirs: BTreeMap<ProfileId, ProfileId> = people.iter().map(|one| (*one, *one)).collect();
    let mut winners: Vec<ProfileId> = people.iter().copied().collect();
    while !winners.is_empty() {
        let lost = store.losers_of(&winners).await?;
        winners = lost.iter().map(|(_, loser)| *loser).filter(|loser| !heirs.contains_key(loser)).collect();
        for (winner, loser) in lost {
            let heir = heirs.get(&winner).copied().unwrap_or(winner);
            heirs.entry(loser).or_insert(heir);
        }
    }
    let mut found = Vec::new();
    for (profile, term) in store.terms_among(&heirs.keys().copied().collect::<Vec<_>>()).await? {
        let (Some(heir), Ok(text)) = (heirs.get(&profile), std::str::from_utf8(&term)) else { continue };
        let read = |channel| Address::parse(channel, text).map(|address| address.normalised().as_bytes().to_vec());
        let Some(normal) = read(Channel::Email).or_else(|| read(Channel::Sms)) else { continue };
        if normal != term {
            found.push((*heir, normal));
        }
        found.push((*heir, term));
    }
    Ok(found)
}

/// People by the addresses that tie them.
#[derive(Debug, Default)]
struct Ties {
    parents: BTreeMap<ProfileId, ProfileId>,
    /// One who has each address.
    by_term: BTreeMap<Vec<u8>, ProfileId>,
    crowded: BTreeSet<Vec<u8>>,
}

impl Ties {
    fn asks(&self, term: &Vec<u8>) -> bool {
        !self.by_term.contains_key(term)
    }

    fn root(&mut self, one: ProfileId) -> ProfileId {
        let mut root = one;
        while let Some(parent) = self.parents.get(&root).filter(|parent| **parent != root) {
            root = *parent;
        }
        self.parents.insert(one, root);
        root
    }

    fn tie(&mut self, one: ProfileId, term: &[u8]) {
        let root = self.root(one);
        match self.by_term.get(term).copied() {
            Some(other) => {
                let other = self.root(other);
                self.parents.insert(root.max(other), root.min(other));
            }
            None => drop(self.by_term.insert(term.to_vec(), one)),
        }
    }

    fn groups(mut self) -> Vec<(BTreeSet<ProfileId>, bool)> {
        let crowded: Vec<ProfileId> = self.crowded.iter().filter_map(|term| self.by_term.get(term).copied()).collect();
        let parts: BTreeSet<ProfileId> = crowded.into_iter().map(|one| self.root(one)).collect();
        let mut groups: BTreeMap<ProfileId, BTreeSet<ProfileId>> = BTreeMap::new();
        for one in self.parents.keys().copied().collect::<Vec<_>>() {
            groups.entry(self.root(one)).or_default().insert(one);
        }
        groups.into_iter().map(|(root, group)| (group, parts.contains(&root))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_an_address_lives_together_over_however_many_people() {
        let mut ties = Ties::default();
        for (one, term) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (3, "c"), (5, "d"), (2, "d")] {
            ties.tie(ProfileId(one), term.as_bytes());
        }
        ties.crowded.insert(b"d".to_vec());
        let groups: Vec<(Vec<i64>, bool)> =
            ties.groups().into_iter().map(|(group, part)| (group.iter().map(|it| it.0).collect(), part)).collect();
        assert_eq!(groups, [(vec![1, 3, 4], false), (vec![2, 5], true)]);
    }
}
