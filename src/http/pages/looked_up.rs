//! Finds what an address names: people by any id they have, events by position or id, messages; and how people are
//! called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix_web::HttpRequest;

use crate::event::{Event, track_api};
use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::message::Message;
use crate::store::entries::{Entry, Logged};
use crate::store::profiles::Meant;

use super::html::{Html, html};
use super::{Desk, Nothing};

/// How people are called: by their user id, else as an anonymous profile.
pub type Names = BTreeMap<ProfileId, String>;

/// The values of an address's query; what is empty is absent.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(request: &HttpRequest) -> Self {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned();
        Self(pairs.map(|(name, value)| (name, value.trim().to_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }
}

/// The start of what somebody typed, for a sentence about it.
pub fn start_of(text: &str) -> String {
    text.chars().take(80).collect()
}

pub async fn names(desk: &Desk, people: impl IntoIterator<Item = ProfileId>) -> Result<Names, Nothing> {
    let ids: Vec<ProfileId> = people.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let people = desk.db().people(&ids).await?;
    let called = ids.into_iter().map(|id| {
        let known = people.get(&id).and_then(|read| read.as_ref().ok());
        (id, known.and_then(|person| person.profile.user_id.clone()).unwrap_or_else(|| format!("anonymous {id}")))
    });
    Ok(called.collect())
}

pub fn person(names: &Names, id: ProfileId) -> Html {
    let name = names.get(&id).cloned().unwrap_or_else(|| format!("profile {id}"));
    html!("<a href=\"/customers/profile:{}\">{}</a>", id, name)
}

/// By user id, by anonymous id, or by the number of the profile or of one that was merged into it: `profile:17`.
pub async fn profile(desk: &Desk, asked: &str) -> Result<Option<ProfileId>, Nothing> {
    match desk.db().meant(asked).await? {
        Meant::One(profile) => Ok(Some(profile)),
        Meant::Nobody => Ok(None),
        Meant::Two { called } => Err(Nothing::Senseless(format!(
            "{asked} is the number of one profile and an id of another, which is {}.",
            called.spelled()
        ))),
    }
}

/// By number alone.
pub async fn numbered(desk: &Desk, asked: &str) -> Result<Option<ProfileId>, Nothing> {
    let Some(number) = asked.parse().ok().map(ProfileId) else { return Ok(None) };
    if desk.db().people(&[number]).await?.is_empty() {
        return Ok(None);
    }
    Ok(Some(desk.db().current_profile(number).await?))
}

pub async fn message(desk: &Desk, asked: &str) -> Result<Option<Message>, Nothing> {
    let Ok(id) = asked.parse::<MessageId>() else { return Ok(None) };
    Ok(desk.db().message(id).await?)
}

/// By its position, its id, or the client's messageId.
pub async fn event(desk: &Desk, asked: &str) -> Result<Option<(Entry, Arc<Event>)>, Nothing> {
    let by_position = match asked.parse::<i64>() {
        Ok(position) => desk.db().entries_at(&[Position(position)]).await?.remove(&Position(position)),
        Err(_) => None,
    };
    let entry = match by_position {
        Some(entry) => Some(entry),
        None => {
            let id = asked.parse().unwrap_or_else(|_| track_api::event_id(desk.admin.workspace, asked));
            desk.db().entry_of_event(id).await?
        }
    };
    let Some(entry) = entry else { return Ok(None) };
    let Logged::Event(event) = &entry.logged else { return Ok(None) };
    let event = event.clone();
    Ok(Some((entry, event)))
}

/// Where the page before ended: milliseconds, a dash, the message's id.
pub fn cursor(text: &str) -> Result<(Timestamp, MessageId), Nothing> {
    let wrong = || Nothing::Senseless("This page of the list is not known; begin with the first.".to_owned());
    let (millis, id) = text.rsplit_once('-').ok_or_else(wrong)?;
    let millis = millis.parse().map_err(|_| wrong())?;
    Ok((Timestamp::from_millis(millis), id.parse().map_err(|_| wrong())?))
}
