//! The definitions in force at a position of the log: campaigns by the events that matter to them, consent
//! policies, topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::audience::condition::Terms;
use crate::audience::consent::Policy;
use crate::audience::occasion::Occasion;
use crate::decision::campaign::{Campaign, CampaignStatus, Exit, Start};
use crate::decision::existing::MEMBER_INCLUDED;
use crate::decision::traits::TRAIT_CHANGED;
use crate::decision::{FINDINGS_MAX, Finding, FindingVerdict, Person, needs_of_all};
use crate::event::Event;
use crate::event::pattern::Index;
use crate::ids::Span;
use crate::message::{Channel, Purpose, Reason, Topic};

/// Immutable; a change of definitions builds a new one.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Newest version by key.
    latest: BTreeMap<String, Arc<Campaign>>,
    /// Every version, for enrollments that are pinned to an older one.
    versions: BTreeMap<String, BTreeMap<u32, Arc<Campaign>>>,
    /// Live and paused campaigns by entry event.
    entries: BTreeMap<String, Entries>,
    /// The longest time within which an event may be a goal of live and paused campaigns.
    goals: BTreeMap<String, Span>,
    paused: BTreeSet<String>,
    /// How many live marketing campaigns send by a channel.
    contenders: BTreeMap<Channel, usize>,
    permissions: Permissions,
    /// Live and paused campaigns that are entered at a date, by key.
    dated: BTreeMap<String, Occasion>,
    /// Those that ask for people who are in their segment already, with the segment.
    existing: BTreeMap<String, String>,
    heard: Heard,
    /// The workspace, its money and its segments.
    pub terms: Terms,
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
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    All,
    Some(BTreeSet<String>),
}

impl Default for Heard {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

/// The campaigns that one event may enter, ordered by key.
#[derive(Debug, Clone, Default)]
struct Entries {
    campaigns: Vec<Arc<Campaign>>,
    /// Places of those that ask nothing of the event.
    any: Vec<u32>,
    /// The patterns of the others, by their place.
    index: Index,
}

impl Entries {
    fn add(&mut self, campaign: Arc<Campaign>) {
        let place = self.campaigns.len() as u32;
        match &campaign.entry.pattern {
            Some(pattern) => self.index.add(place, pattern),
            None => self.any.push(place),
        }
        self.campaigns.push(campaign);
    }
}

impl Catalog {
    /// `campaigns` in any order, all versions that may still be needed; `paused` are the keys a person has paused.
    pub fn new(campaigns: Vec<Campaign>, paused: BTreeSet<String>, permissions: Permissions) -> Self {
        let mut catalog = Self { paused, permissions, ..Self::default() };
        for campaign in campaigns {
            let campaign = Arc::new(campaign);
            let newest = catalog.latest.entry(campaign.key.clone()).or_insert_with(|| campaign.clone());
            if newest.version < campaign.version {
                *newest = campaign.clone();
            }
            catalog.versions.entry(campaign.key.clone()).or_default().insert(campaign.version, campaign);
        }
        for campaign in catalog.latest.values() {
            if !matches!(campaign.status, CampaignStatus::Live | CampaignStatus::Paused) {
                continue;
            }
            if contends(campaign) {
                *catalog.contenders.entry(campaign.send.channel).or_default() += 1;
            }
            catalog.entries.entry(campaign.entry.event.clone()).or_default().add(campaign.clone());
            if let Start::Date(occasion) = &campaign.entry.start {
                catalog.dated.insert(campaign.key.clone(), occasion.clone());
            }
            if let (Start::Segment(segment), Some(_)) = (&campaign.entry.start, &campaign.entry.existing) {
                catalog.existing.insert(campaign.key.clone(), segment.clone());
                catalog.entries.entry(MEMBER_INCLUDED.to_owned()).or_default().add(campaign.clone());
            }
            if let Some(goal) = &campaign.goal {
                let longest = catalog.goals.entry(goal.event.clone()).or_insert(goal.within);
                *longest = goal.within.max(*longest);
            }
        }
        catalog
    }

    /// Whose changes are waited for: of the traits that live campaigns begin with; of all, where anything counts the event
    /// or looks into it.
    fn hearing(&self) -> Heard {
        let mut names = BTreeSet::new();
        for campaign in self.versions.values().flat_map(BTreeMap::values) {
            if campaign.exits_on(TRAIT_CHANGED) || campaign.goal.as_ref().is_some_and(|it| it.event == TRAIT_CHANGED) {
                return Heard::All;
            }
            match &campaign.entry.start {
                Start::Trait(change) => drop(names.insert(change.name.clone())),
                Start::Event if campaign.entry.event == TRAIT_CHANGED => return Heard::All,
                Start::Event | Start::Segment(_) | Start::Date(_) => {}
            }
        }
        if needs_of_all(self).older.contains(TRAIT_CHANGED) { Heard::All } else { Heard::Some(names) }
    }

    /// Whether anything may come of this trait's changes; of another's nothing is stored.
    pub fn hears_trait(&self, name: &str) -> bool {
        match &self.heard {
            Heard::All => true,
            Heard::Some(names) => names.contains(name),
        }
    }

    /// The same, with every change of a trait told.
    #[must_use]
    pub fn telling_all(self) -> Self {
        Self { heard: Heard::All, ..self }
    }

    /// Campaigns that are entered at a date, by key.
    pub fn dated(&self) -> &BTreeMap<String, Occasion> {
        &self.dated
    }

    /// Live and paused campaigns that ask for people who are in their segment already, with the segment.
    pub fn existing(&self) -> &BTreeMap<String, String> {
        &self.existing
    }

    /// Whether anything is kept with people beside what they say and do.
    pub fn follows_people(&self) -> bool {
        !(self.terms.segments.is_empty() && self.terms.computed.is_empty() && self.dated.is_empty())
    }

    /// The same with what conditions know of the workspace.
    #[must_use]
    pub fn with_terms(self, terms: Terms) -> Self {
        let mut catalog = Self { terms, ..self };
        catalog.heard = catalog.hearing();
        catalog
    }

    pub fn campaign(&self, key: &str) -> Option<&Arc<Campaign>> {
        self.latest.get(key)
    }

    pub fn campaigns(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.latest.values()
    }

    /// The version an enrollment is pinned to; the newest where that one is gone.
    pub fn pinned(&self, key: &str, version: u32) -> Option<&Arc<Campaign>> {
        self.versions.get(key).and_then(|versions| versions.get(&version)).or_else(|| self.latest.get(key))
    }

    /// Campaigns whose entry names this event and whose pattern it fits, ordered by key.
    pub fn entered_by(&self, event: &Event) -> Vec<&Arc<Campaign>> {
        let Some(entries) = self.entries.get(&event.name) else { return Vec::new() };
        let mut places = entries.index.matches(&event.body);
        places.extend(&entries.any);
        places.sort_unstable();
        let found = places.iter().filter_map(|place| entries.campaigns.get(*place as usize));
        found.filter(|campaign| campaign.is_about(event)).collect()
    }

    /// Why campaigns whose entry names this event did not take it: those whose pattern it does not fit, ordered by key.
    /// Nobody stores these; whoever asks derives them again.
    pub fn misfits(&self, event: &Event) -> Vec<Finding> {
        let Some(entries) = self.entries.get(&event.name) else { return Vec::new() };
        let about = entries.campaigns.iter().filter(|campaign| campaign.is_about(event));
        about.filter_map(|campaign| campaign.misfit(event)).take(FINDINGS_MAX).collect()
    }

    /// How long after a message an event of this name may still be a goal of its campaign; none: of no campaign.
    pub fn goal_window(&self, event: &str) -> Option<Span> {
        self.goals.get(event).copied()
    }

    /// Whether any event may be a goal.
    pub fn has_goals(&self) -> bool {
        !self.goals.is_empty()
    }

    /// Campaigns that sent this person something and whose goal is an event of this name, ordered by key.
    pub fn goals_of(&self, person: &Person, event: &str) -> Vec<&Arc<Campaign>> {
        let keys: BTreeSet<&str> = person.sent.iter().map(|sent| sent.campaign.as_str()).collect();
        let of = |campaign: &&Arc<Campaign>| {
            matches!(campaign.status, CampaignStatus::Live | CampaignStatus::Paused)
                && campaign.goal.as_ref().is_some_and(|goal| goal.event == event)
        };
        keys.into_iter().filter_map(|key| self.latest.get(key)).filter(of).collect()
    }

    /// Paused by a person or by its definition.
    pub fn is_paused(&self, campaign: &Campaign) -> bool {
        campaign.status == CampaignStatus::Paused || self.paused.contains(&campaign.key)
    }

    /// Whether another live marketing campaign may compete for this channel; only then does a message settle first.
    pub fn is_contested(&self, key: &str, channel: Channel) -> bool {
        let own = self.latest.get(key).filter(|own| contends(own) && own.send.channel == channel);
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
