//! Campaigns that did not take an event because it does not fit their pattern. With thousands of campaigns that is
//! nearly all of them at nearly every event, so nobody stores it: whoever asks derives it again, from the event and
//! the versions of that time.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::decision::campaign::CampaignStatus;
use crate::decision::{Campaign, FINDINGS_MAX, Finding};
use crate::definition::{Definition, DocumentKind};
use crate::event::Event;
use crate::ids::Position;
use crate::store::{Error, Workspace};
use crate::worker::live::read_stored;

/// Every version of the campaigns asked about, with the position from which on it was in force.
#[derive(Debug, Default)]
pub struct Misfits {
    /// By key; oldest first.
    versions: BTreeMap<String, Vec<(Position, Campaign)>>,
    /// The events that some version wants to fit a pattern.
    events: BTreeSet<String>,
}

impl Misfits {
    /// Reads the versions of one campaign, or of every.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load<C: ConnectionTrait>(store: Workspace<'_, C>, campaign: Option<&str>) -> Result<Self, Error> {
        let mut misfits = Self::default();
        for stored in store.definitions_until(Position(i64::MAX)).await? {
            let asked = campaign.is_none_or(|key| key == stored.key);
            if !asked || stored.kind != DocumentKind::Campaign.as_str() {
                continue;
            }
            for definition in read_stored(&stored) {
                let Definition::Campaign(mut campaign) = definition else { continue };
                campaign.version = stored.version;
                if campaign.entry.pattern.is_some() {
                    misfits.events.insert(campaign.entry.event.clone());
                }
                misfits.versions.entry(campaign.key.clone()).or_default().push((stored.position, campaign));
            }
        }
        Ok(misfits)
    }

    /// Whether an event of this name may have to fit a pattern.
    pub fn may_concern(&self, event: &str) -> bool {
        self.events.contains(event)
    }

    /// Those of an event that stands at this position among definitions, ordered by campaign.
    pub fn of(&self, position: Position, event: &Event) -> Vec<Finding> {
        let in_force = self.versions.values().filter_map(|versions| {
            versions.iter().rev().find(|(from, _)| *from <= position).map(|(_, campaign)| campaign)
        });
        let entered = in_force.filter(|campaign| {
            campaign.is_about(event) && matches!(campaign.status, CampaignStatus::Live | CampaignStatus::Paused)
        });
        entered.filter_map(|campaign| campaign.misfit(event)).take(FINDINGS_MAX).collect()
    }
}
