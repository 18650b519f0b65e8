//! The campaigns that events of one name may enter: found through an index of their patterns, changed one by one.

use std::sync::Arc;

use crate::decision::Campaign;
use crate::decision::shared_map::SharedMap;
use crate::event::Event;
use crate::event::pattern::{Index, Rows};

/// A copy costs little, and so does a change by one.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    /// By the number the index knows each under; none once it is taken out.
    campaigns: Rows<Option<Arc<Campaign>>>,
    places: SharedMap<u32>,
    /// Places of those that ask nothing of the event.
    any: Vec<u32>,
    /// The patterns of the others, by their place.
    index: Index,
}

impl Entries {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn add(&mut self, campaign: Arc<Campaign>) {
        let place = self.campaigns.len() as u32;
        match &campaign.entry.pattern {
            Some(pattern) => self.index.add(place, pattern),
            None => self.any.push(place),
        }
        self.places.insert(&campaign.key, place);
        self.campaigns.push(Some(campaign));
    }

    pub fn remove(&mut self, key: &str) {
        let Some(place) = self.places.remove(key) else { return };
        self.campaigns.set(place as usize, None);
        self.index.remove(place);
        self.any.retain(|any| *any != place);
        // What is gone is passed over, until half of all is.
        if self.campaigns.len() > 2 * self.places.len() + 64 {
            let kept = std::mem::take(self);
            kept.iter().cloned().for_each(|campaign| self.add(campaign));
        }
    }

    /// In the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Campaign>> {
        self.places.values().filter_map(|place| self.at(*place))
    }

    fn at(&self, place: u32) -> Option<&Arc<Campaign>> {
        self.campaigns.get(place as usize)?.as_ref()
    }

    /// Those whose pattern the event fits, in no order.
    pub fn met_by(&self, event: &Event) -> impl Iterator<Item = &Arc<Campaign>> {
        let places = self.index.matches(&event.body).into_iter().chain(self.any.iter().copied());
        places.filter_map(|place| self.at(place))
    }
}
