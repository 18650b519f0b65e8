//! What one may subscribe to: a topic, whether people get it without asking, and on which channels.

use crate::audience::Profile;
use crate::audience::consent::{ConsentState, topic_name};
use crate::message::Channel;

/// A topic as its definition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub key: String,
    pub name: String,
    pub description: String,
    /// What no choice means.
    pub by_default: bool,
    /// Where its messages come; empty: on every channel.
    pub channels: Vec<Channel>,
}

impl Topic {
    /// A topic of which only the key is known: everybody gets it who has not said no.
    pub fn undefined(key: &str) -> Self {
        let (name, description) = (key.to_owned(), String::new());
        Self { key: key.to_owned(), name, description, by_default: true, channels: Vec::new() }
    }

    /// Whether the person gets this topic: by their own choice, else by its default.
    pub fn is_subscribed(&self, profile: &Profile) -> bool {
        match profile.consent.get(&topic_name(&self.key)).map(|choice| choice.state) {
            Some(ConsentState::Granted) => true,
            Some(ConsentState::Denied | ConsentState::Pending) => false,
            Some(ConsentState::Unknown) | None => self.by_default,
        }
    }

    /// Whether the person has said so or so themselves.
    pub fn has_choice(&self, profile: &Profile) -> bool {
        let choice = profile.consent.get(&topic_name(&self.key));
        choice.is_some_and(|choice| choice.state != ConsentState::Unknown)
    }

    pub fn is_on(&self, channel: Channel) -> bool {
        self.channels.is_empty() || self.channels.contains(&channel)
    }
}
