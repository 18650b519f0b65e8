//! Permission: a person's answers with their ledger, an answer said for them, and the suppression list.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web::{self, Payload};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::audience::Consent;
use crate::audience::consent::{ConsentState, Via};
use crate::definition::problem::nearest;
use crate::ids::{Position, ProfileId};
use crate::message::{Address, Channel, SuppressionKind, address_of};
use crate::store::consents::LedgerRow;
use crate::store::suppressions::{ListFilter, Listed, subject};
use crate::worker::permission::{About, Answer as Said, ByHand, Desk};

use super::explain::profile_known;
use super::operation::{Operation, read, write};
use super::{
    Admin, Answer, BODY_BYTES_MAX, Controls, Problem, ROWS_DEFAULT, ROWS_MAX, Refusal, json_answer, json_page, query,
    read_json, rows,
};
use crate::http::cursor;
use crate::http::scope::Scope;

/// Addresses put onto the list by one request.
const ADDRESSES_MAX: usize = 1_000;
const LIST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Rows of a ledger that are shown, the newest.
const LEDGER_MAX: u32 = 1_000;
const TEXT_CHARS_MAX: usize = 200;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/profiles/{id}/consent", Scope::PermissionRead, ledger)
            .says("getConsent", "What a person has answered, and what stands against their addresses")
            .answers::<Permission>(),
        write("/profiles/{id}/consent", Scope::PermissionWrite, say)
            .says("sayConsent", "An answer said for a person, on a channel or a topic")
            .takes::<Saying>()
            .answers::<SaidAt>(),
        read("/suppressions", Scope::PermissionRead, listed)
            .says("listSuppressions", "Addresses nothing, or no marketing, is sent to; by address")
            .query::<Asked>()
            .answers::<SuppressionPage>(),
        write("/suppressions", Scope::PermissionWrite, suppress)
            .says("suppress", "Put addresses onto the list, at most 1,000 at once")
            .takes::<Listing>()
            .answers::<Suppressed>(),
        write("/suppressions/remove", Scope::PermissionWrite, remove)
            .says("unsuppress", "Take an address off the list")
            .takes::<One>()
            .answers::<Removed>(),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = ConsentSaid)]
struct SaidAt {
    /// Where the answer stands in the log; none where it changes nothing.
    position: Option<Position>,
}

#[derive(Serialize, ToSchema)]
struct SuppressionPage {
    suppressions: Vec<Listed>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Suppressed {
    added: u64,
    /// On the list before.
    known: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Unsuppressed)]
struct Removed {
    /// It was on the list.
    removed: bool,
}

impl Admin {
    fn desk(&self) -> Desk {
        Desk { log: self.log.clone(), store: self.store.clone(), definitions: self.definitions.clone() }
    }
}

/// What a person has said, and what stands against their addresses.
#[derive(Serialize, ToSchema)]
struct Permission {
    id: ProfileId,
    user_id: Option<String>,
    /// By channel; absent: unknown.
    channels: BTreeMap<String, Consent>,
    /// By topic, where they chose; else its default holds.
    topics: BTreeMap<String, Consent>,
    /// Of their present addresses, by channel.
    suppressions: Vec<Listed>,
    /// Every answer that was taken, oldest first.
    ledger: Vec<LedgerRow>,
    /// Newer events are not processed yet.
    is_behind: bool,
}

async fn ledger(admin: Controls, id: web::Path<String>) -> Answer {
    let profile = profile_known(&admin, &id).await?;
    let db = admin.db();
    let person = db.person(profile).await?.map(|person| person.profile);
    let mut shown = Permission {
        id: profile,
        user_id: person.as_ref().and_then(|person| person.user_id.clone()),
        channels: BTreeMap::new(),
        topics: BTreeMap::new(),
        suppressions: Vec::new(),
        ledger: db.ledger_of(profile, LEDGER_MAX).await?,
        is_behind: db.is_behind(profile).await?,
    };
    if let Some(person) = person {
        for channel in Channel::ALL {
            let Ok(address) = address_of(&person, channel) else { continue };
            let address = address.normalised().to_owned();
            let name = subject(channel, &address);
            let stopped = db.suppressions_of(&[name.clone()].into()).await?.remove(&name).unwrap_or_default();
            let listed = stopped.into_iter().map(|suppression| Listed {
                channel,
                address: address.clone(),
                suppression,
                removed_at: None,
                removed_by: None,
            });
            shown.suppressions.extend(listed);
        }
        for (name, consent) in person.consent {
            match name.strip_prefix("topic:") {
                Some(topic) => shown.topics.insert(topic.to_owned(), consent),
                None => shown.channels.insert(name, consent),
            };
        }
    }
    Ok(json_answer(&shown))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ConsentAnswer)]
#[serde(deny_unknown_fields)]
struct Saying {
    /// A channel or a topic, one of them.
    #[schema(value_type = Option<Channel>)]
    channel: Option<String>,
    topic: Option<String>,
    /// granted, denied, unknown; of topics also subscribed, unsubscribed.
    state: String,
    source: Option<String>,
    text_version: Option<String>,
}

async fn say(admin: Controls, id: web::Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let saying: Saying = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(saying) => saying,
        Err(answer) => return Ok(answer),
    };
    let profile = profile_known(&admin, &id).await?;
    let about = about(&admin, saying.channel.as_deref(), saying.topic.as_deref())?;
    let state = match (saying.state.as_str(), &about) {
        ("subscribed", About::Topic(_)) => Some(ConsentState::Granted),
        ("unsubscribed", About::Topic(_)) => Some(ConsentState::Denied),
        (word, _) => ConsentState::parse(word).filter(|state| *state != ConsentState::Pending),
    };
    let Some(state) = state else {
        let cause = format!("`{}` is no answer; they are granted, denied and unknown", clipped(&saying.state));
        return Err(Refusal::Parameter { field: "state", cause }.into());
    };
    let said = Said {
        about,
        state,
        via: Via::Api,
        source: text(saying.source, "source")?.unwrap_or_else(|| "operator".to_owned()),
        text_version: text(saying.text_version, "text_version")?,
        message: None,
    };
    let positions = admin.desk().answer(admin.workspace, profile, vec![said]).await?;
    Ok(json_answer(&SaidAt { position: positions.first().copied() }))
}

fn about(admin: &Admin, channel: Option<&str>, topic: Option<&str>) -> Result<About, Problem> {
    match (channel, topic) {
        (Some(word), None) => Ok(About::Channel(channel_of(word)?)),
        (None, Some(key)) => {
            let live = admin.definitions.live(admin.workspace);
            if live.catalog.topic(key).is_some() {
                return Ok(About::Topic(key.to_owned()));
            }
            let close = nearest(key, live.catalog.topics().map(|topic| topic.key.as_str()));
            let close = close.map_or_else(String::new, |close| format!("; did you mean `{close}`?"));
            let cause = format!("there is no topic `{}`{close}", clipped(key));
            Err(Refusal::Parameter { field: "topic", cause }.into())
        }
        (Some(_), Some(_)) | (None, None) => {
            let cause = "name a `channel` or a `topic`, one of them".to_owned();
            Err(Refusal::Parameter { field: "channel", cause }.into())
        }
    }
}

pub(super) fn channel_of(word: &str) -> Result<Channel, Problem> {
    Channel::parse(word).ok_or_else(|| {
        let names = Channel::ALL.map(Channel::as_str).join(", ");
        let cause = format!("`{}` is no channel; they are {names}", clipped(word));
        Refusal::Parameter { field: "channel", cause }.into()
    })
}

fn kind_of(word: &str) -> Result<SuppressionKind, Problem> {
    SuppressionKind::parse(word).ok_or_else(|| {
        let cause =
            format!("`{}` is no kind; they are unsubscribed, complaint, bounced, manual and topic:KEY", clipped(word));
        Refusal::Parameter { field: "kind", cause }.into()
    })
}

fn clipped(text: &str) -> String {
    text.chars().take(80).collect()
}

fn text(given: Option<String>, field: &'static str) -> Result<Option<String>, Problem> {
    match given {
        Some(text) if text.chars().count() > TEXT_CHARS_MAX => {
            let cause = format!("`{field}` has at most {TEXT_CHARS_MAX} characters");
            Err(Refusal::Parameter { field, cause }.into())
        }
        given => Ok(given.filter(|text| !text.trim().is_empty())),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    channel: Option<String>,
    /// unsubscribed, complaint, bounced, manual or topic:KEY
    kind: Option<String>,
    /// In any spelling.
    address: Option<String>,
    /// Removed ones too.
    #[serde(default)]
    #[param(required = false)]
    history: bool,
    /// Addresses of the page.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

async fn listed(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let limit = rows(asked.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let channel = asked.channel.as_deref().map(channel_of).transpose()?;
    let filter = ListFilter {
        channel,
        kind: asked.kind.as_deref().map(kind_of).transpose()?,
        address: asked.address.map(|address| normal(channel, &address)),
        history: asked.history,
        after: asked.cursor.as_deref().map(|text| cursor::read("suppressions", text)).transpose()?,
        limit: limit + 1,
    };
    let mut found = admin.db().list_suppressions(&filter).await?;
    let name = |one: &Listed| subject(one.channel, &one.address);
    // One address more than asked for says that there is a next page.
    let mut names: Vec<String> = found.iter().map(name).collect();
    names.dedup();
    let more = names.len() > limit as usize;
    names.truncate(limit as usize);
    let last = names.pop().unwrap_or_default();
    found.retain(|one| name(one) <= last);
    let next = more.then(|| cursor::write("suppressions", &last));
    let page = SuppressionPage { suppressions: found, next: next.clone() };
    Ok(json_page(&request, &page, next.as_deref()))
}

/// The normal form, on the channel or on whichever takes it.
fn normal(channel: Option<Channel>, text: &str) -> String {
    let channels = channel.map_or_else(|| Channel::ALL.to_vec(), |channel| vec![channel]);
    let mut read = channels.into_iter().filter_map(|channel| Address::parse(channel, text));
    read.next().map_or_else(|| text.trim().to_owned(), |address| address.normalised().to_owned())
}

#[derive(Deserialize, ToSchema)]
#[schema(as = SuppressAddresses)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[schema(max_items = 1000)]
    suppressions: Vec<One>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AddressOfChannel)]
#[serde(deny_unknown_fields)]
struct One {
    #[schema(value_type = Channel)]
    channel: String,
    address: String,
    kind: Option<String>,
    source: Option<String>,
}

impl One {
    fn read(self) -> Result<ByHand, Problem> {
        let channel = channel_of(&self.channel)?;
        let Some(address) = Address::parse(channel, &self.address) else {
            let cause = format!("`{}` is no address for {}", clipped(&self.address), channel.as_str());
            return Err(Refusal::Parameter { field: "address", cause }.into());
        };
        let kind = self.kind.as_deref().map(kind_of).transpose()?;
        let source = text(self.source, "source")?.unwrap_or_else(|| "operator".to_owned());
        Ok(ByHand { address, kind, source })
    }
}

async fn suppress(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let listing: Listing = match read_json(&request, payload, LIST_BODY_BYTES_MAX).await {
        Ok(listing) => listing,
        Err(answer) => return Ok(answer),
    };
    let count = listing.suppressions.len();
    if count > ADDRESSES_MAX {
        let cause = format!("{count} addresses; at most {ADDRESSES_MAX} in one request");
        return Err(Refusal::Parameter { field: "suppressions", cause }.into());
    }
    let all = listing.suppressions.into_iter().map(One::read).collect::<Result<Vec<_>, _>>()?;
    let added = admin.desk().suppress(admin.workspace, all).await?;
    Ok(json_answer(&Suppressed { added, known: (count as u64).saturating_sub(added) }))
}

async fn remove(admin: Controls, request: HttpRequest, payload: Payload) -> Answer {
    let one: One = match read_json(&request, payload, BODY_BYTES_MAX).await {
        Ok(one) => one,
        Err(answer) => return Ok(answer),
    };
    let removed = admin.desk().unsuppress(admin.workspace, vec![one.read()?]).await?;
    Ok(json_answer(&Removed { removed: removed > 0 }))
}
