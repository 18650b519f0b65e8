//! What the one who imports may add about the people of a file: an address to try things with, and a consent that was
//! given elsewhere. Both only when asked for, and as events of their own, so that their origin stays visible.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::envelope::Stamp;
use crate::audience::ConsentState;
use crate::decision::CONSENT_CHANGED;
use crate::event::{Event, Kind};
use crate::ids::EventId;

/// `email=granted`: a consent every person of the file has given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentGiven {
    pub channel: String,
    pub state: ConsentState,
}

/// Text that says no consent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{0}` is not a consent such as email=granted; states are granted and denied")]
pub struct NotAConsent(pub String);

impl FromStr for ConsentGiven {
    type Err = NotAConsent;

    fn from_str(text: &str) -> Result<Self, NotAConsent> {
        let wrong = || NotAConsent(text.chars().take(40).collect());
        let (channel, state) = text.split_once('=').ok_or_else(wrong)?;
        let named = !channel.is_empty() && channel.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let state = ConsentState::parse(state).filter(|_| named && channel.len() <= 32).ok_or_else(wrong)?;
        Ok(Self { channel: channel.to_owned(), state })
    }
}

/// Who was seen already, and what is said of those who were not.
#[derive(Debug)]
pub(super) struct People {
    stamp: Stamp,
    consent: Option<ConsentGiven>,
    address_domain: Option<String>,
    seen: BTreeSet<EventId>,
}

impl People {
    pub(super) fn new(stamp: Stamp, consent: Option<ConsentGiven>, address_domain: Option<String>) -> Self {
        Self { stamp, consent, address_domain, seen: BTreeSet::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.seen.len() as u64
    }

    /// What comes before a person's first event, at the same instant. Nothing is said of those without a user id.
    pub(super) fn before(&mut self, event: &Event) -> Vec<Event> {
        let id = match (&event.user_id, &event.anonymous_id) {
            (Some(user), _) => EventId::derive(&[user.as_bytes()]),
            (None, Some(visitor)) => EventId::derive(&[b"anonymous", visitor.as_bytes()]),
            (None, None) => return Vec::new(),
        };
        let is_new = self.seen.insert(id);
        let Some(user_id) = event.user_id.as_deref().filter(|_| is_new) else { return Vec::new() };
        let mut said = Vec::new();
        if let Some(domain) = &self.address_domain {
            let call = call("identify", user_id, event, "traits", json!({ "email": address(user_id, domain) }));
            said.push(self.stamp.about(event, Kind::Identify, "identify", user_id, call));
        }
        if let Some(ConsentGiven { channel, state }) = &self.consent {
            let source = format!("import {}", self.stamp.file());
            let properties = json!({ "channel": channel, "state": state.as_str(), "source": source });
            let mut call = call("own", user_id, event, "properties", properties);
            call.insert("event".to_owned(), json!(CONSENT_CHANGED));
            said.push(self.stamp.about(event, Kind::Own, CONSENT_CHANGED, user_id, call));
        }
        said
    }
}

fn call(kind: &str, user_id: &str, first: &Event, field: &str, content: Value) -> Map<String, Value> {
    let mut call = Map::new();
    call.insert("type".to_owned(), json!(kind));
    call.insert("userId".to_owned(), json!(user_id));
    call.insert("timestamp".to_owned(), json!(first.at.to_string()));
    call.insert(field.to_owned(), content);
    call
}

/// `u123@example.com`; an id that cannot stand in an address is replaced by its hash.
fn address(user_id: &str, domain: &str) -> String {
    let fits = user_id.len() <= 60 && user_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits && !user_id.is_empty() {
        return format!("u{user_id}@{domain}");
    }
    format!("u{}@{domain}", EventId::derive(&[user_id.as_bytes()]))
}
