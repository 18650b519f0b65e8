//! To someone: the profile, its traits, addresses, consent and history, and the conditions asked about them.

pub mod address;
pub mod cart;
pub mod channel;
pub mod computed;
pub mod condition;
pub mod consent;
pub mod field;
pub mod history;
pub mod occasion;
pub mod period;
pub mod remembered;
pub mod segment;
pub mod stay;
pub mod suppression;
pub mod value_test;
pub mod whereabouts;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::Event;
use crate::ids::{ProfileId, Timestamp};
pub use address::Address;
pub use cart::Carts;
use cart::View;
pub use channel::Channel;
pub use condition::Condition;
pub use consent::{Consent, ConsentState};
pub use history::History;
pub use remembered::Remembered;
pub use segment::{Segment, Standings};
pub use suppression::{Suppression, SuppressionKind};
pub use whereabouts::Whereabouts;

/// Bytes of one person's traits as JSON, over all the calls that set them.
pub const TRAITS_BYTES_MAX: usize = 128 * 1024;

/// Facts about a person, as identify calls set them.
pub type Traits = Map<String, Value>;

/// A person we may write to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub id: ProfileId,
    /// The first user id it was identified by; none while anonymous.
    pub user_id: Option<String>,
    pub traits: Traits,
    /// By channel name (`email`, `sms`, …) or topic (`topic:offers`); absent means unknown.
    pub consent: consent::Answers,
    pub history: History,
    /// Where the person stands in the segments.
    #[serde(default)]
    pub segments: Standings,
    /// What else decisions leave with them: computed traits, dates to come, lists.
    #[serde(default)]
    pub remembered: Remembered,
    /// The zone of the newest event that named one (`context.timezone`).
    #[serde(default)]
    pub last_zone: Option<String>,
    /// What is in their carts; none where nobody has kept count, so that their history has to tell.
    #[serde(default)]
    pub carts: Option<Carts>,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
}

impl Profile {
    pub fn new(id: ProfileId, now: Timestamp) -> Self {
        Self {
            id,
            user_id: None,
            traits: Traits::new(),
            consent: consent::Answers::new(),
            history: History::default(),
            segments: Standings::default(),
            remembered: Remembered::default(),
            last_zone: None,
            carts: Some(Carts::default()),
            created_at: now,
            last_seen_at: now,
        }
    }

    /// The cart that counts in an enrollment that began with this event.
    pub fn cart_of(&self, entry: &Event) -> View {
        let own = cart::cart_of(entry);
        self.carts.as_ref().map(|carts| carts.view(own.as_deref())).unwrap_or_default()
    }

    /// The trait at a dotted path, or `None` where absent or null; a computed one wins.
    pub fn trait_at(&self, path: &str) -> Option<&Value> {
        if let Some(worked) = self.remembered.computed.get(path) {
            return worked.value.as_ref();
        }
        // A trait whose own name has dots wins over a path into an object.
        if let Some(value) = self.traits.get(path) {
            return (!value.is_null()).then_some(value);
        }
        let (first, rest) = path.split_once('.')?;
        crate::event::json::lookup(self.traits.get(first)?, rest)
    }

    /// What templates see: the traits that were set, and in front of them those that are computed.
    pub fn all_traits(&self) -> Cow<'_, Traits> {
        if self.remembered.computed.is_empty() {
            return Cow::Borrowed(&self.traits);
        }
        let mut all = self.traits.clone();
        for (name, worked) in &self.remembered.computed {
            match &worked.value {
                Some(value) => drop(all.insert(name.clone(), value.clone())),
                None => drop(all.shift_remove(name)),
            }
        }
        Cow::Owned(all)
    }

    /// Merges traits of an identify: a null removes, everything else replaces.
    pub fn set_traits(&mut self, changes: &Traits) {
        for (name, value) in changes {
            if value.is_null() {
                self.traits.shift_remove(name);
            } else {
                self.traits.insert(name.clone(), value.clone());
            }
        }
    }

    /// Another profile of the same person: its traits fill gaps, a denial on either side stays, both histories count.
    /// Traits that find no room are left out.
    pub fn unite(&mut self, other: &Self) {
        self.user_id = self.user_id.take().or_else(|| other.user_id.clone());
        let mut room = TRAITS_BYTES_MAX.saturating_sub(json_bytes(&self.traits));
        for (name, value) in &other.traits {
            if self.traits.contains_key(name) {
                continue;
            }
            // The quotes and escapes of the name, the colon and the comma.
            let bytes = value.to_string().len() + Value::from(name.as_str()).to_string().len() + 2;
            if bytes <= room {
                room -= bytes;
                self.traits.insert(name.clone(), value.clone());
            }
        }
        for (channel, consent) in &other.consent {
            let united = match self.consent.remove(channel) {
                Some(ours) => ours.united(consent),
                None => consent.clone(),
            };
            self.consent.insert(channel.clone(), united);
        }
        self.history.unite(&other.history);
        self.segments.unite(&other.segments);
        self.carts = self.carts.take().zip(other.carts.as_ref()).map(|(mut ours, theirs)| {
            ours.unite(theirs);
            ours
        });
        self.remembered.unite(&other.remembered);
        self.remembered.unite_stopped((self.id, other.id), &other.remembered);
        let theirs = other.last_seen_at > self.last_seen_at;
        let (newer, older) =
            if theirs { (&other.last_zone, &self.last_zone) } else { (&self.last_zone, &other.last_zone) };
        self.last_zone = newer.clone().or_else(|| older.clone());
        self.created_at = self.created_at.min(other.created_at);
        self.last_seen_at = self.last_seen_at.max(other.last_seen_at);
    }

    /// Whether the traits stay within their bound with these changes.
    pub fn has_room_for(&self, changes: &Traits) -> bool {
        if json_bytes(&self.traits).saturating_add(json_bytes(changes)) <= TRAITS_BYTES_MAX {
            return true;
        }
        let mut changed = self.clone();
        changed.set_traits(changes);
        json_bytes(&changed.traits) <= TRAITS_BYTES_MAX
    }

    /// The address on a channel as the person gave it: the trait's text, trimmed, not empty.
    pub fn address(&self, channel_trait: &str) -> Option<&str> {
        self.traits.get(channel_trait)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }
}

fn json_bytes(traits: &Traits) -> usize {
    // Documents in memory serialise without fail.
    serde_json::to_string(traits).map_or(usize::MAX, |text| text.len())
}
