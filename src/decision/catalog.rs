//! The definitions in force at a position of the log: campaigns by the events that matter to them, consent
//! policies, topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::audience::condition::Terms;
use crate::audience::consent::Policy;
use crate::decision::campaign::{Campaign, CampaignStatus, Exit};
use crate::message::{Channel, Purpose, Topic};

/// Immutable; a change of definitions builds a new one.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Newest version by key.
    latest: BTreeMap<String, Arc<Campaign>>,
    /// Every version, for enrollments that are pinned to an older one.
    versions: BTreeMap<String, BTreeMap<u32, Arc<Campaign>>>,
    /// Live and paused campaigns by entry event.
    entries: BTreeMap<String, Vec<Arc<Campaign>>>,
    /// Live and paused campaigns by goal event.
    goals: BTreeMap<String, Vec<Arc<Campaign>>>,
    paused: BTreeSet<String>,
    permissions: Permissions,
    /// The workspace, its money and its segments.
    pub terms: Terms,
}

/// What governs permission: the policies by channel, the topics by key.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    pub policies: BTreeMap<Channel, Policy>,
    pub topics: BTreeMap<String, Topic>,
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
            catalog.entries.entry(campaign.entry.event.clone()).or_default().push(campaign.clone());
            if let Some(goal) = &campaign.goal {
                catalog.goals.entry(goal.event.clone()).or_default().push(campaign.clone());
            }
        }
        catalog
    }

    /// The same with what conditions know of the workspace.
    #[must_use]
    pub fn with_terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
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

    /// Campaigns that an event of this name may enter.
    pub fn entered_by(&self, event: &str) -> &[Arc<Campaign>] {
        self.entries.get(event).map_or(&[], Vec::as_slice)
    }

    /// Campaigns whose goal is an event of this name.
    pub fn goals_of(&self, event: &str) -> &[Arc<Campaign>] {
        self.goals.get(event).map_or(&[], Vec::as_slice)
    }

    /// Paused by a person or by its definition.
    pub fn is_paused(&self, campaign: &Campaign) -> bool {
        campaign.status == CampaignStatus::Paused || self.paused.contains(&campaign.key)
    }

    /// Whether another live marketing campaign may compete for this channel; only then does a message settle first.
    pub fn is_contested(&self, key: &str, channel: Channel) -> bool {
        self.latest.values().any(|other| {
            other.key != key
                && other.status == CampaignStatus::Live
                && other.purpose == Purpose::Marketing
                && other.send.channel == channel
        })
    }

    /// What holds on a channel beside the defaults.
    pub fn policy(&self, channel: Channel) -> Option<&Policy> {
        self.permissions.policies.get(&channel)
    }

    pub fn topic(&self, key: &str) -> Option<&Topic> {
        self.permissions.topics.get(key)
    }

    /// By key.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.permissions.topics.values()
    }
}

impl Campaign {
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
