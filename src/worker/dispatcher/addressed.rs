//! What stands in the books about the addresses of some messages: why they are on the suppression list, and what else
//! was cleared for them. Looked at with the guard, and again in the transactions that claim and begin to send.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::guard::{self, Neighbour, neighbours};
use crate::ids::Timestamp;
use crate::message::{Message, Suppression};
use crate::store::Workspace;

/// By the subject of each address.
#[derive(Default)]
pub struct Addressed {
    suppressions: BTreeMap<String, Vec<Suppression>>,
    neighbours: BTreeMap<String, Vec<Neighbour>>,
}

impl Addressed {
    /// `messages` with the subjects of their addresses.
    pub async fn load<'a, C: ConnectionTrait>(
        store: Workspace<'_, C>,
        now: Timestamp,
        messages: impl Iterator<Item = (&'a Message, String)>,
    ) -> anyhow::Result<Self> {
        let (mut all, mut neighbourly) = (BTreeSet::new(), BTreeSet::new());
        let mut since: Option<Timestamp> = None;
        for (message, subject) in messages {
            if let Some(matters) = neighbours::matter_since(now, message) {
                since = Some(since.map_or(matters, |known| known.min(matters)));
                neighbourly.insert(subject.clone());
            }
            all.insert(subject);
        }
        let neighbours = match since {
            Some(since) => store.neighbours_of(&neighbourly, since).await?,
            None => BTreeMap::new(),
        };
        Ok(Self { suppressions: store.suppressions_of(&all).await?, neighbours })
    }

    pub fn suppressions(&self, subject: &str) -> &[Suppression] {
        self.suppressions.get(subject).map_or(&[], Vec::as_slice)
    }

    pub fn neighbours(&self, subject: &str) -> &[Neighbour] {
        self.neighbours.get(subject).map_or(&[], Vec::as_slice)
    }

    /// Whether the address is stopped for this message.
    pub fn stops(&self, message: &Message, subject: &str) -> bool {
        guard::is_stopped(message, self.suppressions(subject))
    }

    /// Whether the same has gone to the address, or as much as may go.
    pub fn crowds(&self, now: Timestamp, message: &Message, subject: &str) -> bool {
        neighbours::one_too_many(now, message, self.neighbours(subject)).is_some()
    }

    /// The message goes to this address: a neighbour of what is looked at after it.
    pub fn add(&mut self, message: &Message, subject: String) {
        self.neighbours.entry(subject).or_default().push(Neighbour {
            message: message.id,
            profile: message.profile,
            campaign: message.campaign.clone(),
            created_at: message.created_at,
        });
    }
}
