//! Who a person was at an instant of the past: the log of theirs, read again with the rules of decisions. Of what is
//! pruned there is what was kept: traits in the baseline, names and times in the history.
//!
//! Answers on consent are taken from the ledger as each entry brought them, enrollments from their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sea_orm::DatabaseConnection;

use crate::audience::condition::Received;
use crate::audience::suppression::REACH_CHANGED;
use crate::audience::{History, Standings};
use crate::decision::{At, Catalog, Effect, Input, Loaded, Person, Snapshot, decide};
use crate::event::{Event, Kind};
use crate::ids::{Position, ProfileId, Span, Timestamp};
use crate::store::consents::LedgerRow;
use crate::store::entries::{Entry, Logged};
use crate::store::{Error, Workspace};
use crate::worker::past::by_turns;

/// Events read of one person; of older ones name and time count.
pub const ENTRIES_MAX: usize = 2_000;
/// Older calls that said who somebody is, and what they were told of their addresses, read beside them.
const IDENTIFIES_MAX: usize = 200;
pub const LEDGER_MAX: usize = 1_000;

/// What is known by name and time, by its place in the log.
pub type Dim = BTreeMap<Position, (String, Timestamp)>;

/// What was read of one person.
#[derive(Debug, Default)]
pub struct Told<B> {
    /// All that they did.
    pub dim: Dim,
    pub is_cut: bool,
    /// Of that, what was read, in any order.
    pub entries: Vec<Entry>,
    pub ledger: Vec<LedgerRow>,
    pub baselines: B,
    pub received: Vec<Received>,
}

/// Of what somebody did, what is read, as decisions read it: all names by turns; and whether there is more.
pub fn wanted(dim: &Dim) -> (BTreeSet<Position>, bool) {
    let names = dim.iter().map(|(position, (name, _))| (name.as_str(), *position));
    let mut wanted: BTreeSet<Position> = by_turns(names, ENTRIES_MAX).into_iter().collect();
    let is_cut = wanted.len() < dim.len();
    if is_cut {
        let identified = Kind::Identify.event_name();
        let calls = dim.iter().rev().filter(|(_, (name, _))| name == identified || name == REACH_CHANGED);
        wanted.extend(calls.take(IDENTIFIES_MAX).map(|(position, _)| *position));
    }
    (wanted, is_cut)
}

/// What the log has of one person, in the order it was decided.
#[derive(Debug, Default)]
pub struct Logbook {
    pub entries: Vec<Entry>,
    /// Known by name and time alone.
    dim: Dim,
    ledger: Vec<LedgerRow>,
    baselines: BTreeMap<ProfileId, Person>,
    pub received: Vec<Received>,
    profile: ProfileId,
    /// Up to then what they did has no more than name and time: a condition on it cannot be answered again.
    pub pruned_until: Option<Timestamp>,
    /// There are older events than were read.
    pub is_cut: bool,
    /// Entries that hold nothing personal any more.
    pub is_blank: bool,
}

impl Logbook {
    /// Reads what is stored of a person, now and by their former profiles; `campaigns` are those whose messages matter.
    ///
    /// # Errors
    /// The database cannot be read, or the person's row.
    pub async fn load(
        store: Workspace<'_, DatabaseConnection>,
        person: &Person,
        campaigns: &BTreeSet<String>,
    ) -> Result<Self, Error> {
        let profile = person.profile.id;
        let pages = if person.profile.history.pages > 0 { store.history_pages(profile).await? } else { Vec::new() };
        let all = pages.iter().chain([&person.profile.history]).flat_map(History::iter);
        let dim: Dim = all.map(|past| (past.position, (past.name.to_owned(), past.at))).collect();
        let (wanted, is_cut) = wanted(&dim);
        let family = store.profiles_of(profile).await?;
        let entries = store.entries_apart(&wanted.into_iter().collect::<Vec<_>>()).await?.into_values().collect();
        let marks = store.folded_until().await?;
        let received = match campaigns.is_empty() {
            true => Vec::new(),
            false => store.received(&[profile], &campaigns.iter().map(String::as_str).collect()).await?,
        };
        let told = Told {
            dim,
            is_cut,
            entries,
            ledger: store.ledger_of(profile, LEDGER_MAX as u32).await?,
            baselines: store.baselines_of(&family).await?,
            received: received.into_iter().filter_map(|(_, one)| one.ok()).collect(),
        };
        Ok(Self::of(profile, told, |position| position <= marks.of(store.layout().shard_at(position))))
    }

    /// From what was read; `folded` says of a position whether the log is folded into baselines there.
    pub fn of(
        profile: ProfileId,
        told: Told<impl IntoIterator<Item = (ProfileId, Person)>>,
        folded: impl Fn(Position) -> bool,
    ) -> Self {
        let Told { mut dim, is_cut, mut entries, ledger, baselines, received } = told;
        entries.sort_by_key(|entry| (entry.now, entry.position));
        // What is blank or gone says nothing that the baseline does not.
        let pruned = dim.iter().filter(|(position, _)| folded(**position)).map(|(_, (_, at))| *at).max();
        let by_log = entries.iter().filter(|entry| folded(entry.position)).map(|entry| entry.now).max();
        let is_blank = entries
            .iter()
            .any(|it| !folded(it.position) && matches!(&it.logged, Logged::Event(event) if event.is_blank()));
        entries.retain(|entry| !folded(entry.position));
        entries.iter().for_each(|entry| drop(dim.remove(&entry.position)));
        Self {
            entries,
            dim,
            ledger,
            baselines: baselines.into_iter().collect(),
            received,
            profile,
            pruned_until: [pruned, by_log].into_iter().flatten().max(),
            is_cut,
            is_blank,
        }
    }

    /// Whether the log knows anything of the person by then.
    pub fn begins_by(&self, at: Timestamp) -> bool {
        !self.baselines.is_empty() || !self.dim.is_empty() || !self.theirs(at).is_empty()
    }

    /// What was done by then by the person, and by everybody who had become them by then.
    pub fn theirs(&self, at: Timestamp) -> BTreeSet<Position> {
        let heirs = self.heirs(at);
        let by_then = self.entries.iter().filter(|entry| entry.now <= at);
        let is_theirs = |entry: &&Entry| entry.profile.is_some_and(|named| heir(&heirs, named) == self.profile);
        by_then.filter(is_theirs).map(|entry| entry.position).collect()
    }

    /// Leaves out whatever of these was of somebody who became the person only afterwards; what stands at an entry that is
    /// not known any more stays.
    pub fn keep_theirs<T>(&self, at: Timestamp, rows: Vec<T>, entry: impl Fn(&T) -> Position) -> Vec<T> {
        let (known, theirs): (BTreeSet<Position>, _) =
            (self.entries.iter().map(|entry| entry.position).collect(), self.theirs(at));
        rows.into_iter().filter(|row| !known.contains(&entry(row)) || theirs.contains(&entry(row))).collect()
    }

    /// The book of whoever an anonymous id named at the instant, where somebody else took it over later.
    #[must_use]
    pub fn named_then(mut self, id: &str, at: Timestamp) -> Self {
        let names =
            |entry: &&Entry| matches!(&entry.logged, Logged::Event(event) if event.anonymous_id.as_deref() == Some(id));
        let last = self.entries.iter().rev().filter(|entry| entry.now <= at).find(names);
        // Of what is left without a body nobody knows whose it was.
        if let (true, Some(named)) = (self.dim.is_empty(), last.and_then(|entry| entry.profile)) {
            self.profile = heir(&self.heirs(at), named);
        }
        self
    }

    /// Who became whom by then.
    fn heirs(&self, at: Timestamp) -> BTreeMap<ProfileId, ProfileId> {
        let mut heirs = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.now <= at) {
            if let (Some(named), Some(joins)) = (entry.profile, entry.joins) {
                let (profile, loser) = (heir(&heirs, named), heir(&heirs, joins));
                if profile != loser {
                    heirs.insert(loser, profile);
                }
            }
        }
        heirs
    }

    /// When the person last did this by then, of what is known by name and time alone.
    pub fn last_dim(&self, event: &str, by: Timestamp) -> Option<Timestamp> {
        self.dim.values().filter(|(name, at)| name == event && *at <= by).map(|(_, at)| *at).max()
    }

    /// The bodies of what they did, by position, and what they received by then.
    pub fn loaded(&self, at: Timestamp) -> Loaded {
        let bodies = self.entries.iter().filter_map(|entry| match &entry.logged {
            Logged::Event(event) => Some((entry.position, event.clone())),
            _ => None,
        });
        let received = self.received.iter().filter(|one| one.at <= at).cloned();
        Loaded { older: Vec::new(), bodies: bodies.collect(), received: received.collect() }
    }
}

/// The person as far as the log has been read again.
#[derive(Clone)]
pub struct Refold<'l> {
    book: &'l Logbook,
    people: BTreeMap<ProfileId, Person>,
    heirs: BTreeMap<ProfileId, ProfileId>,
}

impl<'l> Refold<'l> {
    /// As they were when the log as it is now begins.
    pub fn new(book: &'l Logbook) -> Self {
        let mut people = book.baselines.clone();
        if !book.dim.is_empty() {
            let first = book.dim.values().map(|(_, at)| *at).min().unwrap_or_default();
            let person = people.entry(book.profile).or_insert_with(|| Person::new(book.profile, first));
            for (position, (name, at)) in &book.dim {
                person.profile.history.record(name, *at, *position);
                person.profile.last_seen_at = person.profile.last_seen_at.max(*at);
            }
        }
        let mut refold = Self { book, people, heirs: BTreeMap::new() };
        let read: BTreeSet<Position> = book.entries.iter().map(|entry| entry.position).collect();
        let of_old = book.ledger.iter().filter(|row| !read.contains(&row.position));
        // Of before everything that can be read; a row that another way brought comes with its own instant.
        let first = book.entries.first().map(|entry| entry.now);
        for row in of_old.filter(|row| first.is_none_or(|first| row.consent.at < first)) {
            refold.answered(book.profile, row);
        }
        refold
    }

    /// Who they are now, in the profile that is theirs today.
    pub fn person(&self) -> Option<&Person> {
        self.people.get(&self.book.profile)
    }

    /// The person an entry is about as it comes, united with the profile it joins: whoever that was then.
    pub fn before(&self, entry: &Entry) -> Option<Person> {
        let profile = self.current(entry.profile?);
        let mut person = self.people.get(&profile).cloned().unwrap_or_else(|| Person::new(profile, entry.now));
        let loser = entry.joins.map(|id| self.current(id)).filter(|id| *id != profile);
        if let Some(loser) = loser.and_then(|id| self.people.get(&id)) {
            person.apply(&Effect::Merge(Box::new(loser.clone())));
        }
        person.version = person.version.max(1);
        Some(person)
    }

    /// Whether what stands at an earlier position was done by whom an entry is about as it comes.
    pub fn is_of_the_same(&self, earlier: Position, entry: &Entry) -> bool {
        let known = self.book.entries.iter().find(|one| one.position == earlier).and_then(|one| one.profile);
        let now = [entry.profile, entry.joins].into_iter().flatten().map(|id| self.current(id));
        known.is_none_or(|named| now.into_iter().any(|id| id == self.current(named)))
    }

    /// Everybody they were so far, by profile; who became another is missing.
    pub fn people(&self) -> &BTreeMap<ProfileId, Person> {
        &self.people
    }

    /// The profile that what is logged of this one belongs to by now.
    pub fn current(&self, named: ProfileId) -> ProfileId {
        heir(&self.heirs, named)
    }

    /// Adds what an entry says of its person.
    pub fn add(&mut self, entry: &Entry) {
        let (Logged::Event(event), Some(named)) = (&entry.logged, entry.profile) else { return };
        let profile = self.current(named);
        let mut person = self.people.remove(&profile).unwrap_or_else(|| Person::new(profile, entry.now));
        if let Some(loser) = entry.joins.map(|id| self.current(id)).filter(|id| *id != profile) {
            if let Some(other) = self.people.remove(&loser) {
                person.apply(&Effect::Merge(Box::new(other)));
            }
            self.heirs.insert(loser, profile);
        }
        learn(&mut person, entry, event);
        person.profile.segments = Standings::default();
        self.people.insert(profile, person);
        let position = entry.position;
        for row in self.book.ledger.iter().filter(|row| row.position == position) {
            self.answered(profile, row);
        }
    }

    fn answered(&mut self, profile: ProfileId, row: &LedgerRow) {
        let person = self.people.entry(profile).or_insert_with(|| Person::new(profile, row.consent.at));
        person.profile.consent.insert(row.about.clone(), row.consent.clone());
    }
}

/// Who somebody has become.
pub fn heir(heirs: &BTreeMap<ProfileId, ProfileId>, named: ProfileId) -> ProfileId {
    let mut profile = named;
    while let Some(heir) = heirs.get(&profile) {
        profile = *heir;
    }
    profile
}

/// Ids, traits, zone and history, by the rules of decisions.
fn learn(person: &mut Person, entry: &Entry, event: &Arc<Event>) {
    let (nothing, loaded) = (Catalog::default(), Loaded::default());
    let snapshot = Snapshot { catalog: &nothing, person, loaded: &loaded, settle: Span::ZERO };
    let at = At { position: entry.position, now: entry.now };
    let decision = decide(at, &snapshot, &Input::Event(event.clone()));
    for effect in decision.effects.iter().filter(|effect| effect.is_about_person()) {
        person.apply(effect);
    }
}
