//! The definitions in force, compiled once and shared: what the processor decides by and the dispatcher sends with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;

use crate::audience::computed::{ComputedSet, ComputedTrait, SHIPPED, shipped};
use crate::audience::condition::Terms;
use crate::audience::segment::{Bases, SegmentSet};
use crate::decision::campaign::{CampaignStatus, Start};
use crate::decision::{Campaign, Catalog, Permissions};
use crate::definition::computed_trait::shipped_in;
use crate::definition::consent_policy::PolicyRule;
use crate::definition::{self, Definition, DocumentKind, SourceFile};
use crate::event::source::Source;
use crate::guard::{Rule, quiet_hours};
use crate::ids::{Position, WorkspaceId};
use crate::money::{Currency, Exchange};
use crate::render::Compiled;
use crate::store::Store;
use crate::store::controls::{PAUSE_ALL, workspaces};
use crate::store::definitions::StoredDefinition;

/// Everything in force in one workspace.
#[derive(Debug, Default)]
pub struct Live {
    pub catalog: Catalog,
    /// Every frequency cap.
    pub rules: Vec<Rule>,
    /// Every window of quiet hours; the shipped ones where nobody said any.
    pub quiet: Vec<quiet_hours::Window>,
    /// The newest version of every template.
    pub templates: BTreeMap<String, Arc<Compiled>>,
    pub sources: BTreeMap<String, Arc<Source>>,
    pub all_paused: bool,
}

/// The definitions of every workspace; readers never wait.
#[derive(Debug)]
pub struct Definitions {
    store: Store,
    home: Currency,
    /// Where people live who do not say so; none: UTC.
    zone: Option<TimeZone>,
    live: ArcSwap<BTreeMap<WorkspaceId, Arc<Live>>>,
    generation: AtomicU64,
    /// Held from reading definitions until they are in force here: older ones must not take the place of newer ones.
    turn: tokio::sync::Mutex<()>,
}

impl Definitions {
    /// Loads what is in force at the start.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load(store: Store) -> anyhow::Result<Self> {
        Self::load_with(store, Currency::EUR, None).await
    }

    /// The same with the currency of amounts that name none, and the zone of people who name none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load_with(store: Store, home: Currency, zone: Option<TimeZone>) -> anyhow::Result<Self> {
        let (live, generation) = (ArcSwap::default(), AtomicU64::new(0));
        let definitions = Self { store, home, zone, live, generation, turn: tokio::sync::Mutex::default() };
        definitions.refresh_all().await?;
        Ok(definitions)
    }

    /// # Errors
    /// As for [`refresh`](Self::refresh).
    pub async fn refresh_all(&self) -> anyhow::Result<()> {
        for id in workspaces(self.store.reader()).await? {
            self.refresh(id).await?;
        }
        Ok(())
    }

    /// What conditions know of a workspace before its definitions are read.
    fn terms(&self, workspace: WorkspaceId) -> Terms {
        let exchange = Exchange { home: self.home, ..Exchange::default() };
        Terms { workspace, exchange, zone: self.zone.clone(), ..Terms::default() }
    }

    pub fn live(&self, id: WorkspaceId) -> Arc<Live> {
        self.live.load().get(&id).cloned().unwrap_or_default()
    }

    /// Everything in force, by workspace.
    pub fn all(&self) -> Arc<BTreeMap<WorkspaceId, Arc<Live>>> {
        self.live.load_full()
    }

    /// Grows with every change of what is in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The campaigns in force at a position of the log, whatever was applied, paused or resumed later.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn catalog_at(&self, id: WorkspaceId, position: Position) -> anyhow::Result<Catalog> {
        self.catalog_of(id, position, None).await
    }

    /// The same with one campaign alone, where one is named.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn catalog_of(
        &self,
        id: WorkspaceId,
        position: Position,
        campaign: Option<&str>,
    ) -> anyhow::Result<Catalog> {
        let store = self.store.workspace(id);
        let mut stored = store.definitions_until(position).await?;
        // Reading a template takes a while, and a decision asks for its topic and the computed traits in it alone.
        let names = |text: &str| text.contains("topic") || SHIPPED.iter().any(|key| text.contains(key));
        let is_about = |one: &StoredDefinition| one.files.iter().any(|file| names(&file.text));
        let about: BTreeSet<String> = stored.iter().filter(|one| is_about(one)).map(|one| one.key.clone()).collect();
        stored.retain(|one| {
            let kind = DocumentKind::parse(&one.kind);
            kind.is_some_and(|kind| match kind {
                DocumentKind::Campaign => campaign.is_none_or(|asked| asked == one.key),
                DocumentKind::Segment
                | DocumentKind::ComputedTrait
                | DocumentKind::Rates
                | DocumentKind::ConsentPolicy
                | DocumentKind::Topic => true,
                DocumentKind::Template => about.contains(&one.key),
                DocumentKind::Caps | DocumentKind::QuietHours | DocumentKind::Source | DocumentKind::Story => false,
            })
        });
        Ok(compile(self.terms(id), stored, store.pauses_at(position).await?).catalog)
    }

    /// What would be in force with these versions, if nobody had paused anything and the campaigns named were live; to
    /// everybody every segment is new.
    pub fn supposed(&self, id: WorkspaceId, mut stored: Vec<StoredDefinition>, live: &BTreeSet<String>) -> Live {
        stored.iter_mut().for_each(|one| one.position = Position(1));
        compile_as(self.terms(id), stored, BTreeSet::new(), |campaign| {
            if live.contains(&campaign.key) {
                campaign.status = CampaignStatus::Live;
            }
        })
    }

    /// What was in force at a position of the log, with some documents in place of those of their kind and key, and
    /// campaigns among them as if they were live.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn live_at(
        &self,
        id: WorkspaceId,
        position: Position,
        instead: &[StoredDefinition],
        live: &BTreeSet<String>,
    ) -> anyhow::Result<Live> {
        let store = self.store.workspace(id);
        let mut stored = store.definitions_until(position).await?;
        stored.retain(|one| {
            !instead.iter().any(|new| new.kind == one.kind && new.key == one.key)
                || one.kind == DocumentKind::Campaign.as_str()
        });
        stored.extend(instead.iter().cloned());
        Ok(compile_as(self.terms(id), stored, store.pauses_at(position).await?, |campaign| {
            if live.contains(&campaign.key) {
                campaign.status = CampaignStatus::Live;
            }
        }))
    }

    /// Reads a workspace's definitions and pauses again.
    ///
    /// # Errors
    /// The database cannot be read; what was in force stays.
    pub async fn refresh(&self, id: WorkspaceId) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let store = self.store.workspace(id);
        let stored = store.definitions_until(Position(i64::MAX)).await?;
        let live = Arc::new(compile(self.terms(id), stored, store.pauses().await?));
        self.live.rcu(|known| {
            let mut all = BTreeMap::clone(known);
            all.insert(id, live.clone());
            all
        });
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// Builds what is in force from every stored version. A text an older release accepted and this one cannot read is
/// left out, loudly.
fn compile(terms: Terms, stored: Vec<StoredDefinition>, paused: BTreeSet<String>) -> Live {
    compile_as(terms, stored, paused, |_| {})
}

fn compile_as(
    mut terms: Terms,
    stored: Vec<StoredDefinition>,
    mut paused: BTreeSet<String>,
    adjust: impl Fn(&mut Campaign),
) -> Live {
    let mut live = Live { all_paused: paused.remove(PAUSE_ALL), ..Live::default() };
    let mut campaigns = Vec::new();
    let mut permissions = Permissions::default();
    let (mut segments, mut caps, mut policies) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut quiet = BTreeMap::new();
    let mut bases = Bases::default();
    let mut computed = Computing::default();
    // Versions come oldest first: the newest of each kind and key wins.
    for one in stored {
        for definition in read_stored(&one) {
            computed.note(&definition, &one);
            match definition {
                Definition::Campaign(mut campaign) => {
                    campaign.version = one.version;
                    adjust(&mut campaign);
                    campaigns.push(campaign);
                }
                Definition::Segment(mut segment) => {
                    segment.version = one.version;
                    segments.insert(segment.key.clone(), (segment, one.position));
                }
                Definition::Rates(rates) => {
                    terms.exchange.rates = rates;
                    bases.rates = one.position;
                }
                // Those under several names hold together.
                Definition::Caps(rules) => drop(caps.insert(one.key.clone(), rules)),
                Definition::QuietHours(windows) => drop(quiet.insert(one.key.clone(), windows)),
                Definition::ConsentPolicy(rules) => drop(policies.insert(one.key.clone(), rules)),
                Definition::Template(mut template) => {
                    template.version = one.version;
                    // Of the newest version, which may say none any more.
                    permissions.topics_of_templates.remove(&template.key);
                    let topic = template.topic.clone().map(|topic| (template.key.clone(), topic));
                    permissions.topics_of_templates.extend(topic);
                    match Compiled::new(&template) {
                        Ok(compiled) => drop(live.templates.insert(template.key.clone(), Arc::new(compiled))),
                        Err(error) => {
                            tracing::error!(template = template.key, %error, "a stored template does not compile")
                        }
                    }
                }
                Definition::Source(source) => drop(live.sources.insert(source.key.clone(), Arc::new(source))),
                Definition::Topic(topic) => {
                    bases.topics.insert(topic.key.clone(), one.position);
                    permissions.topics.insert(topic.key.clone(), topic);
                }
                Definition::ComputedTrait(_) | Definition::Story(_) => {}
            }
        }
    }
    live.rules = caps.into_values().flatten().collect();
    live.quiet = quiet_hours::in_force(quiet.into_values());
    let policies = policies.into_values().flatten();
    permissions.policies = policies.map(|rule: PolicyRule| (rule.channel, rule.policy)).collect();
    bases.dates = computed.dates;
    terms.computed = computed.in_force(bases.rates);
    bases.computed = terms.computed.positions();
    terms.segments = SegmentSet::new(segments.into_values().collect(), &bases);
    terms.topics = permissions.topics.values().map(|topic| (topic.key.clone(), topic.by_default)).collect();
    live.catalog = Catalog::new(campaigns, paused, permissions).with_terms(terms);
    live
}

/// What is kept with people beside segments: the computed traits that are defined, since when shipped ones are named, and
/// when a campaign that begins at a date, or asks for members there are already, was last applied.
#[derive(Debug, Default)]
struct Computing {
    defined: BTreeMap<String, (ComputedTrait, Position)>,
    named: BTreeMap<&'static str, Position>,
    dates: Position,
}

impl Computing {
    fn note(&mut self, definition: &Definition, stored: &StoredDefinition) {
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
    }

    fn in_force(mut self, rates: Position) -> ComputedSet {
        for (key, since) in self.named {
            if let Some(computed) = shipped(key).filter(|_| !self.defined.contains_key(key)) {
                self.defined.insert(key.to_owned(), (computed, since));
            }
        }
        ComputedSet::new(self.defined.into_values().collect(), rates)
    }
}

/// The definitions of a stored text; none where this release cannot read it, which is logged.
pub fn read_stored(stored: &StoredDefinition) -> Vec<Definition> {
    let files: Vec<SourceFile> =
        stored.files.iter().map(|file| SourceFile { name: file.name.clone(), text: file.text.clone() }).collect();
    match definition::read(&files) {
        Ok(documents) => documents.into_iter().map(|document| document.definition).collect(),
        Err(problems) => {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(
                kind = stored.kind,
                key = stored.key,
                problem = first,
                "a stored definition cannot be read"
            );
            Vec::new()
        }
    }
}
