//! The definitions in force at a position of the log: campaigns by the events that matter to them, consent
//! policies, topics.

mod entries;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::audience::condition::Terms;
use crate::audience::condition::needs::{Needs, direct};
use crate::audience::consent::Policy;
use crate::audience::occasion::Occasion;
use crate::audience::segment::SegmentSet;
use crate::decision::campaign::{Campaign, CampaignStatus, Exit, Start};
use crate::decision::ending::exit_needs;
use crate::decision::existing::MEMBER_INCLUDED;
use crate::decision::shared_map::SharedMap;
use crate::decision::traits::TRAIT_CHANGED;
use crate::decision::{FINDINGS_MAX, Finding, FindingVerdict, Person};
use crate::event::{Event, Kind};
use crate::ids::Span;
use crate::message::{Channel, Purpose, Reason, Topic};
use entries::Entries;

/// A value: a copy costs little, and a change by one copies only what it touches, so that whoever decides by an older one
/// goes on undisturbed.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    campaigns: SharedMap<Kept>,
    /// Live and paused campaigns by entry event; what follows by itself, by what it must tell of, too.
    entries: SharedMap<Arc<Entries>>,
    /// The times within which an event may be a goal of live and paused campaigns, by the event's name, with how many
    /// campaigns say so.
    goals: SharedMap<Arc<BTreeMap<Span, usize>>>,
    paused: Arc<BTreeSet<String>>,
    /// How many live marketing campaigns send by a channel.
    contenders: BTreeMap<Channel, usize>,
    permissions: Arc<Permissions>,
    /// Live and paused campaigns that are entered at a date, by key; and their keys by the trait it is of.
    dated: SharedMap<Occasion>,
    dated_by: SharedMap<Arc<BTreeSet<String>>>,
    /// Those that ask for people who are in their segment already, with the segment; and their keys by it.
    existing: SharedMap<String>,
    existing_of: SharedMap<Arc<BTreeSet<String>>>,
    heard: Heard,
    /// The workspace, its money and its segments.
    pub terms: Arc<Terms>,
}

/// The versions of a campaign; enrollments may be pinned to an older one.
#[derive(Debug, Clone)]
struct Kept {
    newest: Arc<Campaign>,
    versions: Arc<BTreeMap<u32, Arc<Campaign>>>,
}

/// What governs permission: the policies by channel, the topics by key, and what messages are about.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    pub policies: BTreeMap<Channel, Policy>,
    pub topics: BTreeMap<String, Topic>,
    /// What a template's messages are about where their campaign says nothing, by the template's key.
    pub topics_of_templates: BTreeMap<String, String>,
}

/// The traits of whose changes anything may come.
#[derive(Debug, Clone, Default)]
struct Heard {
    /// Of all of them: some version of a campaign begins with, is ended by or converts on any change.
    by_version: bool,
    /// How many campaigns, as they are now, count changes or look into them.
    counting: usize,
    /// Segments, computed traits or policies do.
    by_terms: bool,
    /// Somebody wants to see them all.
    all: bool,
    /// What some version of a campaign begins with.
    names: SharedMap<()>,
}

impl Catalog {
    /// `campaigns` in any order, all versions that may still be needed; `paused` are the keys a person has paused.
    pub fn new(campaigns: Vec<Campaign>, paused: BTreeSet<String>, permissions: Permissions) -> Self {
        let mut catalog = Self { paused: Arc::new(paused), ..Self::default() };
        catalog.set_permissions(Arc::new(permissions));
        campaigns.into_iter().for_each(|campaign| catalog.put(campaign));
        catalog
    }

    /// One more version of a campaign; in force where it is the newest.
    pub fn put(&mut self, campaign: Campaign) {
        let campaign = Arc::new(campaign);
        self.hear(&campaign);
        let Some(kept) = self.campaigns.get_mut(&campaign.key) else {
            let versions = Arc::new(BTreeMap::from([(campaign.version, campaign.clone())]));
            self.campaigns.insert(&campaign.key, Kept { newest: campaign.clone(), versions });
            return self.bring(&campaign);
        };
        Arc::make_mut(&mut kept.versions).insert(campaign.version, campaign.clone());
        if kept.newest.version < campaign.version {
            let before = std::mem::replace(&mut kept.newest, campaign.clone());
            self.take_out(&before);
            self.bring(&campaign);
        }
    }

    /// The newest version of a campaign, as if it were live.
    pub fn set_live(&mut self, key: &str) {
        let Some(before) = self.campaign(key).filter(|one| one.status != CampaignStatus::Live).cloned() else { return };
        let campaign = Arc::new(Campaign { status: CampaignStatus::Live, ..(*before).clone() });
        if let Some(kept) = self.campaigns.get_mut(key) {
            Arc::make_mut(&mut kept.versions).insert(campaign.version, campaign.clone());
            kept.newest = campaign.clone();
        }
        self.take_out(&before);
        self.bring(&campaign);
    }

    /// Puts the newest version of a campaign where it is looked for.
    fn bring(&mut self, campaign: &Arc<Campaign>) {
        self.heard.counting += usize::from(counts_changes(campaign));
        if !is_on(campaign) {
            return;
        }
        if contends(campaign) {
            *self.contenders.entry(campaign.send.channel).or_default() += 1;
        }
        if let Some(entries) = self.entries.at(&place_of(campaign), Arc::default) {
            Arc::make_mut(entries).add(campaign.clone());
        }
        if let Start::Date(occasion) = &campaign.entry.start {
            self.dated.insert(&campaign.key, occasion.clone());
            if let Some(keys) = self.dated_by.at(&occasion.of, Arc::default) {
                Arc::make_mut(keys).insert(campaign.key.clone());
            }
        }
        if let (Start::Segment(segment), Some(_)) = (&campaign.entry.start, &campaign.entry.existing) {
            self.existing.insert(&campaign.key, segment.clone());
            if let Some(keys) = self.existing_of.at(segment, Arc::default) {
                Arc::make_mut(keys).insert(campaign.key.clone());
            }
            if let Some(entries) = self.entries.at(&place(MEMBER_INCLUDED, &campaign.key), Arc::default) {
                Arc::make_mut(entries).add(campaign.clone());
            }
        }
        if let Some(goal) = &campaign.goal
            && let Some(spans) = self.goals.at(&goal.event, Arc::default)
        {
            *Arc::make_mut(spans).entry(goal.within).or_default() += 1;
        }
    }

    /// Takes a version that is the newest no more from wherever `bring` put it.
    fn take_out(&mut self, campaign: &Campaign) {
        self.heard.counting -= usize::from(counts_changes(campaign));
        if !is_on(campaign) {
            return;
        }
        if contends(campaign)
            && let Some(count) = self.contenders.get_mut(&campaign.send.channel)
        {
            *count -= 1;
        }
        remove_from(&mut self.entries, &place_of(campaign), |it| it.remove(&campaign.key), Entries::is_empty);
        if let Start::Date(occasion) = &campaign.entry.start {
            self.dated.remove(&campaign.key);
            remove_from(&mut self.dated_by, &occasion.of, |it| _ = it.remove(&campaign.key), BTreeSet::is_empty);
        }
        if let (Start::Segment(segment), Some(_)) = (&campaign.entry.start, &campaign.entry.existing) {
            self.existing.remove(&campaign.key);
            remove_from(&mut self.existing_of, segment, |it| _ = it.remove(&campaign.key), BTreeSet::is_empty);
            let turns = place(MEMBER_INCLUDED, &campaign.key);
            remove_from(&mut self.entries, &turns, |it| it.remove(&campaign.key), Entries::is_empty);
        }
        if let Some(goal) = &campaign.goal {
            let less = |spans: &mut BTreeMap<Span, usize>| {
                if let Some(count) = spans.get_mut(&goal.within) {
                    *count -= 1;
                }
                spans.retain(|_, count| *count > 0);
            };
            remove_from(&mut self.goals, &goal.event, less, BTreeMap::is_empty);
        }
    }

    /// Notes whose changes are waited for: of the traits that campaigns begin with; of all, where anything counts the event
    /// or looks into it.
    fn hear(&mut self, campaign: &Campaign) {
        let is_goal = campaign.goal.as_ref().is_some_and(|it| it.event == TRAIT_CHANGED);
        self.heard.by_version |= is_goal || campaign.exits_on(TRAIT_CHANGED);
        match &campaign.entry.start {
            Start::Trait(change) => drop(self.heard.names.insert(&change.name, ())),
            Start::Event if campaign.entry.event == TRAIT_CHANGED => self.heard.by_version = true,
            Start::Event | Start::Segment(_) | Start::Date(_) => {}
        }
    }

    /// Whether segments, computed traits or policies wait for changes of traits.
    fn hear_terms(&mut self) {
        let counts = |needs: &Needs| needs.older.contains(TRAIT_CHANGED);
        let mut of_policies = Needs::default();
        let conditions = self.permissions.policies.values().filter_map(Policy::condition);
        conditions.for_each(|condition| direct(condition, &mut of_policies));
        self.heard.by_terms = counts(&of_policies)
            || self.terms.segments.iter().any(|defined| counts(&defined.needs))
            || self.terms.computed.iter().any(|defined| counts(&defined.needs));
    }

    pub fn set_paused(&mut self, paused: BTreeSet<String>) {
        self.paused = Arc::new(paused);
    }

    pub fn set_permissions(&mut self, permissions: Arc<Permissions>) {
        self.permissions = permissions;
        self.hear_terms();
    }

    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = Arc::new(terms);
        self.hear_terms();
    }

    /// Whether anything may come of this trait's changes; of another's nothing is stored.
    pub fn hears_trait(&self, name: &str) -> bool {
        let Heard { by_version, counting, by_terms, all, names } = &self.heard;
        *all || *by_version || *by_terms || *counting > 0 || names.contains_key(name)
    }

    /// The same, with every change of a trait told.
    #[must_use]
    pub fn telling_all(mut self) -> Self {
        self.heard.all = true;
        self
    }

    /// Campaigns that are entered at a date, by key.
    pub fn dated(&self) -> &SharedMap<Occasion> {
        &self.dated
    }

    /// Their keys by the trait that the date is of.
    pub fn dated_by(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.dated_by.iter().map(|(of, keys)| (of, keys.as_ref()))
    }

    /// Live and paused campaigns that ask for people who are in their segment already, with the segment.
    pub fn existing(&self) -> &SharedMap<String> {
        &self.existing
    }

    /// Keys of those that ask for people who are in this segment already.
    pub fn existing_of(&self, segment: &str) -> impl Iterator<Item = &String> {
        self.existing_of.get(segment).into_iter().flat_map(|keys| keys.iter())
    }

    /// Whether anything is kept with people beside what they say and do.
    pub fn follows_people(&self) -> bool {
        !(self.terms.segments.is_empty() && self.terms.computed.is_empty() && self.dated.is_empty())
    }

    /// The same with what conditions know of the workspace.
    #[must_use]
    pub fn with_terms(mut self, terms: Terms) -> Self {
        self.set_terms(terms);
        self
    }

    pub fn campaign(&self, key: &str) -> Option<&Arc<Campaign>> {
        self.campaigns.get(key).map(|kept| &kept.newest)
    }

    pub fn campaigns(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.campaigns.values().map(|kept| &kept.newest)
    }

    /// The version an enrollment is pinned to; the newest where that one is gone.
    pub fn pinned(&self, key: &str, version: u32) -> Option<&Arc<Campaign>> {
        self.campaigns.get(key).map(|kept| kept.versions.get(&version).unwrap_or(&kept.newest))
    }

    /// Where campaigns stand whose entry names this event: of what follows by itself, those alone that are about the same.
    fn places(&self, event: &Event) -> impl Iterator<Item = &Entries> {
        let told = || ABOUT.iter().filter_map(|path| event.lookup(path).and_then(|found| found.as_str()));
        let own =
            if event.kind == Kind::Own { told().map(|about| place(&event.name, about)).collect() } else { vec![] };
        let open = self.entries.get(&event.name);
        let about = own.into_iter().filter_map(|place| self.entries.get(&place));
        open.into_iter().chain(about).map(Arc::as_ref)
    }

    /// Campaigns whose entry names this event and whose pattern it fits, ordered by key.
    pub fn entered_by(&self, event: &Event) -> Vec<&Arc<Campaign>> {
        let met = self.places(event).flat_map(|entries| entries.met_by(event));
        let mut found: Vec<&Arc<Campaign>> = met.filter(|campaign| campaign.is_about(event)).collect();
        found.sort_by(|one, other| one.key.cmp(&other.key));
        found.dedup_by(|one, other| one.key == other.key);
        found
    }

    /// Why campaigns whose entry names this event did not take it: those whose pattern it does not fit, ordered by key.
    /// Nobody stores these; whoever asks derives them again.
    pub fn misfits(&self, event: &Event) -> Vec<Finding> {
        let named = self.places(event).flat_map(Entries::iter).filter(|campaign| campaign.is_about(event));
        let mut named: Vec<&Arc<Campaign>> = named.collect();
        named.sort_by(|one, other| one.key.cmp(&other.key));
        named.into_iter().filter_map(|campaign| campaign.misfit(event)).take(FINDINGS_MAX).collect()
    }

    /// How long after a message an event of this name may still be a goal of its campaign; none: of no campaign.
    pub fn goal_window(&self, event: &str) -> Option<Span> {
        self.goals.get(event)?.last_key_value().map(|(longest, _)| *longest)
    }

    /// Whether any event may be a goal.
    pub fn has_goals(&self) -> bool {
        !self.goals.is_empty()
    }

    /// Campaigns that sent this person something and whose goal is an event of this name, ordered by key.
    pub fn goals_of(&self, person: &Person, event: &str) -> Vec<&Arc<Campaign>> {
        let keys: BTreeSet<&str> = person.sent.iter().map(|sent| sent.campaign.as_str()).collect();
        let of = |campaign: &&Arc<Campaign>| {
            is_on(campaign) && campaign.goal.as_ref().is_some_and(|goal| goal.event == event)
        };
        keys.into_iter().filter_map(|key| self.campaign(key)).filter(of).collect()
    }

    /// Paused by a person or by its definition.
    pub fn is_paused(&self, campaign: &Campaign) -> bool {
        campaign.status == CampaignStatus::Paused || self.paused.contains(&campaign.key)
    }

    /// Whether another live marketing campaign may compete for this channel; only then does a message settle first.
    pub fn is_contested(&self, key: &str, channel: Channel) -> bool {
        let own = self.campaign(key).filter(|own| contends(own) && own.send.channel == channel);
        self.contenders.get(&channel).copied().unwrap_or(0) > usize::from(own.is_some())
    }

    /// What holds on a channel beside the defaults.
    pub fn policy(&self, channel: Channel) -> Option<&Policy> {
        self.permissions.policies.get(&channel)
    }

    pub fn topic(&self, key: &str) -> Option<&Topic> {
        self.permissions.topics.get(key)
    }

    /// What the messages of a campaign are about: as it says, else as its template does.
    pub fn topic_of<'c>(&'c self, campaign: &'c Campaign) -> Option<&'c str> {
        let said = campaign.topic.as_deref();
        said.or_else(|| self.permissions.topics_of_templates.get(&campaign.send.template).map(String::as_str))
    }

    /// By key.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.permissions.topics.values()
    }
}

/// What an event of our own tells of: a segment, a trait or a campaign.
const ABOUT: [&str; 3] = ["properties.segment", "properties.trait", "properties.campaign"];

/// Where a campaign is looked for.
fn place_of(campaign: &Campaign) -> String {
    let event = &campaign.entry.event;
    match &campaign.entry.start {
        Start::Event => event.clone(),
        Start::Segment(key) => place(event, key),
        Start::Trait(change) => place(event, &change.name),
        Start::Date(_) => place(event, &campaign.key),
    }
}

/// An event of this name that tells of this: clients may send one of the same text, which is then about nothing.
fn place(event: &str, about: &str) -> String {
    format!("{event}\u{1f}{about}")
}

/// Takes something out of the value under a key, and the value too where nothing is left in it.
fn remove_from<V: Clone>(
    map: &mut SharedMap<Arc<V>>,
    key: &str,
    remove: impl FnOnce(&mut V),
    is_empty: impl FnOnce(&V) -> bool,
) {
    let Some(value) = map.get_mut(key) else { return };
    let value = Arc::make_mut(value);
    remove(value);
    if is_empty(value) {
        map.remove(key);
    }
}

/// Whether a condition of the campaign, as it stands, looks at changes of traits.
fn counts_changes(campaign: &Campaign) -> bool {
    let (mut needs, none) = (Needs::default(), SegmentSet::default());
    let goal = campaign.goal.iter().flat_map(|goal| &goal.filter);
    campaign.entry.filter.iter().chain(goal).for_each(|filter| direct(filter, &mut needs));
    campaign.exit.iter().for_each(|exit| exit_needs(exit, &none, &mut needs));
    needs.older.contains(TRAIT_CHANGED)
}

fn is_on(campaign: &Campaign) -> bool {
    matches!(campaign.status, CampaignStatus::Live | CampaignStatus::Paused)
}

fn contends(campaign: &Campaign) -> bool {
    campaign.status == CampaignStatus::Live && campaign.purpose == Purpose::Marketing
}

impl Campaign {
    /// That this event does not fit the pattern of the entry, with the first operand that differs.
    pub fn misfit(&self, event: &Event) -> Option<Finding> {
        let operand = self.entry.pattern.as_ref()?.mismatch(event.body.document())?;
        let verdict = FindingVerdict::NotEntered { reason: Reason::PatternNotMet { operand } };
        Some(Finding { campaign: self.key.clone(), version: self.version, verdict })
    }

    /// Whether an event of this name, or time alone, can end an enrollment.
    pub(super) fn may_exit(&self, event: Option<&str>) -> bool {
        let by_condition = |exit: &Exit| matches!(exit, Exit::Condition { .. });
        self.exit.iter().any(by_condition) || event.is_some_and(|event| self.exits_on(event))
    }

    /// Whether an event of this name can end an enrollment.
    pub fn exits_on(&self, event: &str) -> bool {
        self.exit.iter().any(|exit| match exit {
            Exit::Event { events, .. } => events.iter().any(|name| name == event),
            Exit::Condition { .. } => false,
        })
    }
}
