//! Events as they were taken: in pages of log order, and one with all that came of it; and the books of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::decision::Finding;
use crate::event::{Event, Kind, Origin, track_api};
use crate::ids::{EventId, Position, ProfileId, Timestamp};
use crate::store::controls::Parked;
use crate::store::entries::{Entry, Logged};
use crate::store::shards::cursors;
use crate::store::trace::{EventAccounts, Findings, MessageAccounts};
use crate::worker::explain::misfits::Misfits;
use crate::worker::explain::words::found_sentence;

use super::explain::profile_known;
use super::messages::{MessageOut, shown};
use super::operation::{Operation, read};
use super::{Admin, Answer, Controls, ROWS_DEFAULT, ROWS_MAX, Refusal, json_answer, json_page, query, rows};
use crate::http::cursor;
use crate::http::openapi::AnyJson;
use crate::http::scope::Scope;
use crate::store::newest::{EventFilter, Reached};

const EVENTS_MAX: u32 = 1_000;
/// Entries of the log among which a request's events are looked for.
const LOOKED_AT: u32 = 200_000;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/events", Scope::EventsRead, list)
            .says("listEvents", "Events: the newest first, or with `after` all of them in the order of the log")
            .query::<Asked>()
            .answers::<Listed>()
            .may(&[404]),
        read("/events/{id}", Scope::EventsRead, one)
            .says("getEvent", "One event with all that came of it; by position, id or messageId")
            .answers::<Path>(),
        read("/accounting", Scope::EventsRead, accounting)
            .says("getAccounting", "The books: events and messages in every state, and the sentences that do not hold")
            .answers::<Books>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// In the order of the log, behind this position (0: from its beginning); `next` is the position to go on from.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Events of the page: 1 to 200, with `after` 1 to 1000. With a filter a page may hold fewer and not be the last.
    #[param(minimum = 1, maximum = 1000)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// Those Carillon made itself as well; with a `name` they are there anyway.
    #[serde(default)]
    #[param(required = false)]
    own: bool,
    /// Newest first: of this name.
    name: Option<String>,
    /// Newest first: what is remembered of this person's.
    profile: Option<String>,
    /// Newest first: what `next` of the page before said.
    cursor: Option<String>,
    /// Only what came with this request, in the order of the log.
    correlation_id: Option<String>,
}

impl Asked {
    fn shows_own(&self) -> bool {
        self.own || self.name.is_some()
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = EventPage)]
struct Listed {
    events: Vec<EventOut>,
    /// A cursor, or with `after` a position; none on the last page.
    #[schema(value_type = AnyJson)]
    next: Option<Next>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Next {
    Position(Position),
    Cursor(String),
}

/// An event as it was taken; `body` is the client's own JSON, unchanged.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
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
    #[schema(value_type = AnyJson)]
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
    if asked.after.is_some_and(|after| after < 0) {
        let cause = "`after` is a position of the log, 0 for its beginning".to_owned();
        return Err(Refusal::Parameter { field: "after", cause }.into());
    }
    let is_newest = asked.name.is_some() || asked.profile.is_some() || asked.cursor.is_some();
    if is_newest && (asked.after.is_some() || asked.correlation_id.is_some()) {
        let cause = "`after` and `correlation_id` read the log in its order, without `name`, `profile` or `cursor`";
        let cause = cause.to_owned();
        return Err(Refusal::Parameter { field: "after", cause }.into());
    }
    if asked.after.is_some() || asked.correlation_id.is_some() {
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
        let next = entries.last().filter(|_| more).map(|entry| Next::Position(entry.position));
        return Ok(json_answer(&Listed { events: shown_events(&entries), next }));
    }
    let limit = rows(asked.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let (entries, next) = match &asked.profile {
        Some(person) => of_person(&admin, person, &asked, limit).await?,
        None => newest(&admin, &asked, limit).await?,
    };
    let listed = Listed { events: shown_events(&entries), next: next.clone().map(Next::Cursor) };
    Ok(json_page(&request, &listed, next.as_deref()))
}

fn shown_events(entries: &[Entry]) -> Vec<EventOut> {
    let events = entries.iter().filter_map(|entry| match &entry.logged {
        Logged::Event(event) => Some(EventOut::new(entry.position, event)),
        _ => None,
    });
    events.collect()
}

/// A page and the cursor of the next.
type Page = (Vec<Entry>, Option<String>);

async fn newest(admin: &Admin, asked: &Asked, limit: u32) -> Result<Page, super::Problem> {
    let from = asked.cursor.as_deref().map(|text| cursor::read::<Vec<i64>>("events", text)).transpose()?;
    if from.as_ref().is_some_and(|from| from.len() != admin.store.layout().all().len()) {
        let cause = "`cursor` is what `next` of a page said".to_owned();
        return Err(Refusal::Parameter { field: "cursor", cause }.into());
    }
    let filter = EventFilter { name: asked.name.clone(), own: asked.shows_own() };
    let (entries, next) = admin.db().newest_events(from.map(Reached).as_ref(), &filter, limit).await?;
    Ok((entries, next.map(|Reached(next)| cursor::write("events", &next))))
}

/// Of one person: by what their history remembers.
async fn of_person(admin: &Admin, person: &str, asked: &Asked, limit: u32) -> Result<Page, super::Problem> {
    let before = asked.cursor.as_deref().map(|text| cursor::read::<i64>("events of a person", text)).transpose()?;
    let profile = profile_known(admin, person).await?;
    let mut positions = admin.db().history_positions(profile, asked.name.as_deref()).await?;
    positions.retain(|position| before.is_none_or(|before| position.0 < before));
    let more = positions.len() > limit as usize;
    positions.truncate(limit as usize);
    let next = positions.last().filter(|_| more).map(|last| cursor::write("events of a person", &last.0));
    let mut found = admin.db().entries_apart(&positions).await?;
    let is_shown = |entry: &Entry| match &entry.logged {
        Logged::Event(event) => asked.shows_own() || event.kind != Kind::Own,
        _ => false,
    };
    Ok((positions.iter().filter_map(|position| found.remove(position)).filter(is_shown).collect(), next))
}

/// One event, with everything that came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = EventPath)]
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
#[derive(Serialize, ToSchema)]
#[schema(as = FindingSaid)]
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

#[derive(Serialize, ToSchema)]
#[schema(as = Accounting)]
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
