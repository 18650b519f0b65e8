//! With whom and what a template is tried: its own sample, or a real person and event, in the reader's language. The pages
//! and the API show the same.

use std::sync::Arc;

use sea_orm::ConnectionTrait;
use serde_json::{Map, Value, json};

use crate::audience::{History, Profile};
use crate::decision::Campaign;
use crate::event::Event;
use crate::money::Exchange;
use crate::render::{Scope, Workspace};
use crate::store;
use crate::store::entries::Logged;

/// What takes the place of a template's own sample, as far as it is given.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    pub person: Option<Profile>,
    pub event: Option<Arc<Event>>,
    pub locale: Option<String>,
}

impl Tried {
    /// The variables of a template with this sample, sent by the campaign.
    pub fn variables(
        &self,
        own: &Map<String, Value>,
        house: &Workspace,
        campaign: Option<&Campaign>,
        exchange: &Exchange,
    ) -> Map<String, Value> {
        let mut sample = own.clone();
        if let Some(person) = &self.person {
            let shown = json!({ "id": person.id, "user_id": person.user_id, "traits": person.traits });
            sample.insert("profile".to_owned(), shown);
        }
        if let (Some(person), Some(event)) = (&self.person, &self.event) {
            sample = Scope::tried_sample(person, event, exchange);
        }
        sample.insert(
            "workspace".to_owned(),
            json!({ "name": house.name, "postal_address": house.postal_address, "timezone": house.timezone }),
        );
        if let Some(campaign) = campaign {
            sample.insert("campaign".to_owned(), json!({ "key": campaign.key, "name": campaign.name }));
        }
        if let Some(locale) = &self.locale {
            let profile = sample.entry("profile").or_insert_with(|| json!({ "traits": {} }));
            if profile.get("traits").is_none()
                && let Some(profile) = profile.as_object_mut()
            {
                profile.insert("traits".to_owned(), json!({}));
            }
            if let Some(traits) = profile.get_mut("traits").and_then(Value::as_object_mut) {
                traits.insert("locale".to_owned(), locale.clone().into());
            }
        }
        sample
    }
}

/// The person's newest event with which one of these campaigns begins.
///
/// # Errors
/// The database cannot be read.
pub async fn newest_event<C: ConnectionTrait>(
    db: store::Workspace<'_, C>,
    person: &Profile,
    campaigns: &[Arc<Campaign>],
) -> Result<Option<Arc<Event>>, store::Error> {
    let begins = |name: &str| campaigns.iter().any(|campaign| campaign.entry.event == name);
    let newest = |history: &History| history.iter().filter(|past| begins(past.name)).map(|past| past.position).max();
    let Some(position) = newest(&person.history) else { return Ok(None) };
    let entry = db.entries_at(&[position]).await?.remove(&position);
    Ok(entry.and_then(|entry| match entry.logged {
        Logged::Event(event) => Some(event),
        _ => None,
    }))
}
