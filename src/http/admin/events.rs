//! Events as they were taken: in pages of log order, and one with all that came of it; and the books of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::decision::Finding;
use crate::event::{Event, Origin, track_api};
use crate::ids::{EventId, Position, ProfileId, Timestamp};
use crate::store::controls::Parked;
use crate::store::entries::{Entry, Logged};
use crate::store::shards::cursors;
use crate::store::trace::{EventAccounts, Findings, MessageAccounts};
use crate::worker::explain::misfits::Misfits;
use crate::worker::explain::words::found_sentence;

use super::messages::{MessageOut, shown};
use super::{Admin, Answer, Controls, ROWS_MAX, Refusal, get, json_answer, query, rows};

const EVENTS_MAX: u32 = 1_000;
/// Entries of the log among which a request's events are looked for.
const LOOKED_AT: u32 = 200_000;

pub fn routes(app: &mut ServiceConfig) {
    app.service(get("/events", list)).service(get("/events/{id}", one)).service(get("/accounting", accounting));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<i64>,
    limit: Option<u32>,
    /// Those Carillon made itself as well.
    #[serde(default)]
    own: bool,
    /// Only what came with this request.
    correlation_id: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    events: Vec<EventOut>,
    next: Option<Position>,
}

/// An event as it was taken; `body` is the client's own JSON, unchanged.
#[derive(Serialize)]
pub(super) struct EventOut {
    position: Position,
    id: EventId,
    message_id: String,
    r#type: &'static str,
    name: String,
    user_id: Option<String>,
    anonymous_id: Option<String>,
    at: Timestamp,
    received_at: Timestamp,
    correlation_id: String,
    source: String,
    body: Option<Box<RawValue>>,
}

impl EventOut {
    pub(super) fn new(position: Position, event: &Event) -> Self {
        Self {
            position,
            id: event.id,
            message_id: event.message_id.clone(),
            r#type: event.kind.as_str(),
            name: event.name.clone(),
            user_id: event.user_id.clone(),
            anonymous_id: event.anonymous_id.clone(),
            at: event.at,
            received_at: event.received_at,
            correlation_id: event.correlation_id.clone(),
            source: event.source.clone(),
            body: RawValue::from_string(event.body.text().to_owned()).ok(),
        }
    }
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let limit = rows(asked.limit, EVENTS_MAX, EVENTS_MAX)?;
    let after = Position(asked.after.unwrap_or(0));
    let mut entries = match &asked.correlation_id {
        Some(id) => {
            let mut entries = admin.db().entries_of_request(id, LOOKED_AT).await?;
            entries.retain(|entry| entry.position > after);
            entries
        }
        None => admin.db().events_page(after, limit + 1, asked.own).await?,
    };
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| more).map(|entry| entry.position);
    let events = entries.iter().filter_map(|entry| match &entry.logged {
        Logged::Event(event) => Some(EventOut::new(entry.position, event)),
        _ => None,
    });
    Ok(json_answer(&Listed { events: events.collect(), next }))
}

/// One event, with everything that came of it.
#[derive(Serialize)]
struct Path {
    #[serde(flatten)]
    event: EventOut,
    version: u32,
    original_at: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    origin: Origin,
    previous_id: Option<String>,
    profile: Option<ProfileId>,
    /// The instant at which it was decided.
    decided_as_of: Timestamp,
    processed: bool,
    /// Why it could not be applied.
    parked: Option<Parked>,
    findings: Vec<FindingOut>,
    /// Messages of enrollments that it began, or repeated as the newest.
    messages: Vec<MessageOut>,
}

/// What one campaign made of an input.
#[derive(Serialize)]
pub(super) struct FindingOut {
    position: Position,
    sentence: String,
    #[serde(flatten)]
    finding: Finding,
}

impl FindingOut {
    /// All of one campaign, or of every.
    pub(super) fn all(found: &BTreeMap<Position, Findings>, campaign: Option<&str>) -> Vec<Self> {
        let each = found.values().flat_map(|one| one.findings.iter().map(|finding| (one.position, finding)));
        each.filter(|(_, finding)| campaign.is_none_or(|key| finding.campaign == key))
            .map(|(position, finding)| Self::new(position, finding.clone()))
            .collect()
    }

    fn new(position: Position, finding: Finding) -> Self {
        Self { position, sentence: found_sentence(&finding), finding }
    }
}

async fn one(admin: Controls, id: web::Path<String>) -> Answer {
    let (entry, event) = find(&admin, &id).await?;
    let db = admin.db();
    let shard = admin.store.layout().shard_at(entry.position);
    let processed = entry.position <= cursors(admin.store.reader()).await?.of(shard);
    let parked = db.parked_at(entry.position).await?;
    let mut findings = FindingOut::all(&db.findings_at(&[entry.position]).await?, None);
    if processed && parked.is_none() && entry.profile.is_some() {
        let stands = db.definitions_position(entry.position).await?;
        let missed = Misfits::load(db, None).await?.of(stands, &event);
        findings.extend(missed.into_iter().map(|finding| FindingOut::new(entry.position, finding)));
    }
    let profile = match entry.profile {
        Some(profile) => Some(db.current_profile(profile).await?),
        None => None,
    };
    let caused = match profile {
        Some(profile) => db.messages_from(profile, entry.position, ROWS_MAX).await?,
        None => Vec::new(),
    };
    Ok(json_answer(&Path {
        event: EventOut::new(entry.position, &event),
        version: event.version,
        original_at: event.original_at,
        sent_at: event.sent_at,
        origin: event.origin.clone(),
        previous_id: event.previous_id.clone(),
        profile,
        decided_as_of: entry.now,
        processed,
        parked,
        findings,
        messages: shown(&admin, caused).await?,
    }))
}

/// The event by its position, its id, or the client's messageId.
pub(super) async fn find(admin: &Admin, asked: &str) -> Result<(Entry, Arc<Event>), super::Problem> {
    let unknown = || Refusal::UnknownEvent { asked: asked.chars().take(80).collect() };
    let by_position = match asked.parse::<i64>() {
        Ok(position) => admin.db().entries_at(&[Position(position)]).await?.remove(&Position(position)),
        Err(_) => None,
    };
    let entry = match by_position {
        Some(entry) => Some(entry),
        None => {
            let id = asked.parse().unwrap_or_else(|_| track_api::event_id(admin.workspace, asked));
            admin.db().entry_of_event(id).await?
        }
    };
    let entry = entry.ok_or_else(unknown)?;
    match &entry.logged {
        Logged::Event(event) => {
            let event = event.clone();
            Ok((entry, event))
        }
        _ => Err(unknown().into()),
    }
}

#[derive(Serialize)]
struct Books {
    events: EventAccounts,
    messages: MessageAccounts,
    /// The sentences that do not hold; empty when the books balance.
    imbalances: Vec<String>,
    /// What the sources' rules did, by `SOURCE/RULE`.
    door: BTreeMap<String, i64>,
}

async fn accounting(admin: Controls) -> Answer {
    let books = admin.db().accounts().await?;
    let imbalances = books.imbalances();
    let counters = admin.db().counters().await?;
    let door = counters.into_iter().filter_map(|(name, count)| Some((name.strip_prefix("door_")?.to_owned(), count)));
    let books = Books { imbalances, events: books.events, messages: books.messages, door: door.collect() };
    let answer: HttpResponse = json_answer(&books);
    Ok(answer)
}
