//! The book of definitions: every stored version, read once, and what is in force by them. It is a value: one more
//! version changes what it touches and shares the rest with the book before, and what comes of it is the same whether
//! versions are added one by one or all together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::audience::computed::{ComputedSet, ComputedTrait, shipped};
use crate::audience::condition::Terms;
use crate::audience::segment::{Bases, Segment, SegmentSet};
use crate::decision::campaign::Start;
use crate::decision::shared_map::SharedMap;
use crate::decision::{Campaign, Permissions};
use crate::definition::computed_trait::shipped_in;
use crate::definition::{Definition, Known, PolicyRule};
use crate::guard::{Rule, quiet_hours};
use crate::ids::Position;
use crate::render::Compiled;
use crate::render::template::Template;
use crate::store::controls::PAUSE_ALL;
use crate::store::definitions::StoredDefinition;
use crate::worker::live::{Live, read_stored};

#[derive(Debug, Clone)]
pub struct Book {
    live: Arc<Live>,
    known: Known,
    /// How far definitions are read, and which of them stand at that very position.
    read_to: Position,
    read_there: BTreeSet<(String, String, u32)>,
    paused: BTreeSet<String>,
    /// The workspace, its money and its zone, with the newest rates.
    terms: Terms,
    bases: Bases,
    segments: SharedMap<(Segment, Position)>,
    computed: Computing,
    permissions: Permissions,
    caps: BTreeMap<String, Vec<Rule>>,
    quiet: BTreeMap<String, Vec<quiet_hours::Window>>,
    policies: BTreeMap<String, Vec<PolicyRule>>,
    stale: Stale,
}

/// What must be worked out anew from what was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stale {
    rules: bool,
    quiet: bool,
    permissions: bool,
    terms: bool,
}

impl Book {
    /// With nothing in it; `terms` are what conditions know of the workspace before its definitions are read.
    pub fn new(terms: Terms) -> Self {
        let mut book = Self {
            live: Arc::default(),
            known: Known::default(),
            read_to: Position(i64::MIN),
            read_there: BTreeSet::new(),
            paused: BTreeSet::new(),
            terms,
            bases: Bases::default(),
            segments: SharedMap::default(),
            computed: Computing::default(),
            permissions: Permissions::default(),
            caps: BTreeMap::new(),
            quiet: BTreeMap::new(),
            policies: BTreeMap::new(),
            stale: Stale { rules: true, quiet: true, permissions: true, terms: true },
        };
        book.settle();
        book
    }

    /// What is in force.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What `apply` compares new documents with.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// How far definitions are read.
    pub fn read_to(&self) -> Position {
        self.read_to
    }

    /// Adds versions, each document's oldest first. Those at the position it is read to may be in it already; the answer
    /// is whether any was not.
    pub fn add(&mut self, stored: &[StoredDefinition]) -> bool {
        let fresh: Vec<&StoredDefinition> = stored.iter().filter(|one| !self.is_read(one)).collect();
        let Some(last) = fresh.iter().map(|one| one.position).max() else { return false };
        if last > self.read_to {
            self.read_there.clear();
        }
        self.read_to = self.read_to.max(last);
        self.read_there.extend(fresh.iter().filter(|one| one.position == last).map(|one| name_of(one)));
        for one in fresh {
            for definition in read_stored(one) {
                self.known.note(&one.key, &definition);
                self.note(definition, one);
            }
        }
        self.settle();
        true
    }

    /// What would be in force with some documents beside it or in place of theirs, and these campaigns live; to whoever was
    /// looked at by definitions before, what is new stands at the beginning of the log.
    pub fn with(&self, instead: &[StoredDefinition], live: &BTreeSet<String>) -> Live {
        let mut book = self.clone();
        let first: Vec<StoredDefinition> =
            instead.iter().map(|one| StoredDefinition { position: Position(1), ..one.clone() }).collect();
        book.add(&first);
        let catalog = &mut Arc::make_mut(&mut book.live).catalog;
        live.iter().for_each(|key| catalog.set_live(key));
        Arc::unwrap_or_clone(book.live)
    }

    /// The same with nothing paused by a person.
    #[must_use]
    pub fn unpaused(&self) -> Self {
        let mut book = self.clone();
        book.set_paused(BTreeSet::new());
        book
    }

    /// Whether these versions are in it and these scopes paused.
    pub fn has(&self, stored: &[StoredDefinition], paused: &BTreeSet<String>) -> bool {
        self.paused == *paused && stored.iter().all(|one| self.is_read(one))
    }

    fn is_read(&self, one: &StoredDefinition) -> bool {
        one.position == self.read_to && self.read_there.contains(&name_of(one))
    }

    /// Scopes that a person paused; the answer is whether they are others than before.
    pub fn set_paused(&mut self, paused: BTreeSet<String>) -> bool {
        if self.paused == paused {
            return false;
        }
        self.paused.clone_from(&paused);
        let live = Arc::make_mut(&mut self.live);
        let mut keys = paused;
        live.all_paused = keys.remove(PAUSE_ALL);
        live.catalog.set_paused(keys);
        true
    }

    fn note(&mut self, definition: Definition, one: &StoredDefinition) {
        self.stale.terms |= self.computed.note(&definition, one);
        let key = one.key.clone();
        match definition {
            Definition::Campaign(mut campaign) => {
                campaign.version = one.version;
                Arc::make_mut(&mut self.live).catalog.put(campaign);
            }
            Definition::Segment(mut segment) => {
                segment.version = one.version;
                self.segments.insert(segment.key.clone(), (segment, one.position));
                self.stale.terms = true;
            }
            Definition::Rates(rates) => {
                self.terms.exchange.rates = rates;
                self.bases.rates = one.position;
                self.stale.terms = true;
            }
            // Those under several names hold together.
            Definition::Caps(rules) => {
                self.caps.insert(key, rules);
                self.stale.rules = true;
            }
            Definition::QuietHours(windows) => {
                self.quiet.insert(key, windows);
                self.stale.quiet = true;
            }
            Definition::ConsentPolicy(rules) => {
                self.policies.insert(key, rules);
                self.stale.permissions = true;
            }
            Definition::Template(mut template) => {
                template.version = one.version;
                self.note_template(template);
            }
            Definition::Source(source) => {
                let live = Arc::make_mut(&mut self.live);
                live.sources.insert(source.key.clone(), Arc::new(source));
            }
            Definition::Topic(topic) => {
                self.bases.topics.insert(topic.key.clone(), one.position);
                self.permissions.topics.insert(topic.key.clone(), topic);
                (self.stale.permissions, self.stale.terms) = (true, true);
            }
            Definition::ComputedTrait(_) | Definition::Story(_) => {}
        }
    }

    fn note_template(&mut self, template: Template) {
        // Of the newest version, which may say none any more.
        let said = &mut self.permissions.topics_of_templates;
        let before = match template.topic.clone() {
            Some(topic) => said.insert(template.key.clone(), topic),
            None => said.remove(&template.key),
        };
        self.stale.permissions |= before != template.topic;
        match Compiled::new(&template) {
            Ok(compiled) => {
                let live = Arc::make_mut(&mut self.live);
                live.templates.insert(&template.key, Arc::new(compiled));
            }
            Err(error) => tracing::error!(template = template.key, %error, "a stored template does not compile"),
        }
    }

    fn settle(&mut self) {
        let stale = std::mem::take(&mut self.stale);
        if stale == Stale::default() {
            return;
        }
        let live = Arc::make_mut(&mut self.live);
        if stale.rules {
            live.rules = self.caps.values().flatten().cloned().collect();
        }
        if stale.quiet {
            live.quiet = quiet_hours::in_force(self.quiet.values().cloned());
        }
        if stale.permissions {
            let policies = self.policies.values().flatten();
            self.permissions.policies = policies.map(|rule| (rule.channel, rule.policy.clone())).collect();
            live.catalog.set_permissions(Arc::new(self.permissions.clone()));
        }
        if stale.terms {
            let mut terms = self.terms.clone();
            terms.computed = self.computed.in_force(self.bases.rates);
            let (computed, dates) = (terms.computed.positions(), self.computed.dates);
            let bases = Bases { computed, dates, ..self.bases.clone() };
            terms.segments = SegmentSet::new(self.segments.values().cloned().collect(), &bases);
            let topics = self.permissions.topics.values();
            terms.topics = topics.map(|topic| (topic.key.clone(), topic.by_default)).collect();
            live.catalog.set_terms(terms);
        }
    }
}

fn name_of(one: &StoredDefinition) -> (String, String, u32) {
    (one.kind.clone(), one.key.clone(), one.version)
}

/// What is kept with people beside segments: the computed traits that are defined, since when shipped ones are named, and
/// when a campaign that begins at a date, or asks for members there are already, was last applied.
#[derive(Debug, Clone, Default)]
struct Computing {
    defined: BTreeMap<String, (ComputedTrait, Position)>,
    named: BTreeMap<&'static str, Position>,
    dates: Position,
}

impl Computing {
    /// The answer is whether anything is in force that was not.
    fn note(&mut self, definition: &Definition, stored: &StoredDefinition) -> bool {
        let before = (self.named.clone(), self.dates);
        if let Definition::ComputedTrait(computed) = definition {
            let computed = ComputedTrait { version: stored.version, ..computed.clone() };
            self.defined.insert(computed.key.clone(), (computed, stored.position));
        }
        let concerns_everybody =
            |campaign: &Campaign| matches!(campaign.entry.start, Start::Date(_)) || campaign.entry.existing.is_some();
        if matches!(definition, Definition::Campaign(campaign) if concerns_everybody(campaign)) {
            self.dates = self.dates.max(stored.position);
        }
        for key in stored.files.iter().flat_map(|file| shipped_in(definition, &file.text)) {
            let known = self.named.entry(key).or_insert(stored.position);
            *known = stored.position.min(*known);
        }
        matches!(definition, Definition::ComputedTrait(_)) || before.0 != self.named || before.1 != self.dates
    }

    fn in_force(&self, rates: Position) -> ComputedSet {
        let mut all = self.defined.clone();
        for (key, since) in &self.named {
            if let Some(computed) = shipped(key).filter(|_| !all.contains_key(*key)) {
                all.insert((*key).to_owned(), (computed, *since));
            }
        }
        ComputedSet::new(all.into_values().collect(), rates)
    }
}

#[cfg(test)]
mod tests;
