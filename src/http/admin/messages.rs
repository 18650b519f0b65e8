//! Messages in pages, newest first, and one with its whole path: what caused it, every state, every try.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::web::{self, ReqData};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::decision::Enrollment;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{Channel, Message, Purpose, Reason, Status};
use crate::store::attempts::Attempt;
use crate::store::entries::Logged;
use crate::store::hits::HitSeen;
use crate::store::trace::MessageFilter;
use crate::worker::explain::checks::{Check, checks, without_answers};
use crate::worker::explain::words::{Named, masked, sentence, state};
use crate::worker::explain::{blocking, names_of};

use super::events::{EventOut, FindingOut};
use super::explain::{campaign_known, profile_known};
use super::operation::{Operation, read};
use super::permission::channel_of;
use super::{Admin, Answer, Controls, Problem, ROWS_DEFAULT, ROWS_MAX, Refusal, json_answer, json_page, query, rows};
use crate::http::cursor;
use crate::http::openapi::AnyObject;
use crate::http::scope::{Caller, Scope};

/// Hits of one message that are shown.
const HITS_MAX: u32 = 100;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/messages", Scope::MessagesRead, list)
            .says("listMessages", "Messages, sent and not sent, newest first")
            .query::<Asked>()
            .answers::<Listed>()
            .may(&[404]),
        read("/messages/{id}", Scope::MessagesRead, one)
            .says("getMessage", "One message with its whole path: what caused it, every state, every try, every hit")
            .answers::<Path>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// By user id, anonymous id or number (profile:17).
    profile: Option<String>,
    campaign: Option<String>,
    template: Option<String>,
    channel: Option<String>,
    status: Option<String>,
    /// The code of a reason.
    reason: Option<String>,
    /// Messages of the page.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessagePage)]
struct Listed {
    messages: Vec<MessageOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Message)]
pub(super) struct MessageOut {
    id: MessageId,
    profile: ProfileId,
    user_id: Option<String>,
    campaign: String,
    campaign_version: u32,
    channel: Channel,
    template: String,
    template_version: Option<u32>,
    purpose: Purpose,
    priority: u8,
    status: &'static str,
    /// When it came to be so, where the state says.
    status_at: Option<Timestamp>,
    /// When something happens to it next.
    due_at: Option<Timestamp>,
    reason: Option<ReasonOut>,
    created_at: Timestamp,
    expires_at: Timestamp,
    attempts: u32,
    /// The frequency-cap slot it uses.
    slot_at: Option<Timestamp>,
    /// Masked.
    address: Option<String>,
    enrollment: EnrollmentId,
    cause: Position,
    entry: Position,
    event: Position,
    /// The request that brought `event`.
    correlation_id: Option<String>,
}

/// Why a message is in the state it is in.
#[derive(Serialize, ToSchema)]
#[schema(as = Reason)]
pub(super) struct ReasonOut {
    /// Stable.
    code: &'static str,
    /// The same for people.
    sentence: String,
    /// What was compared.
    #[schema(value_type = AnyObject)]
    operands: Value,
}

impl ReasonOut {
    pub(super) fn new(reason: &Reason, named: &BTreeMap<MessageId, Named>) -> Self {
        let mut operands = serde_json::to_value(reason).unwrap_or(Value::Null);
        if let Some(fields) = operands.as_object_mut() {
            fields.shift_remove("code");
        } else {
            operands = Value::Object(Map::new());
        }
        Self { code: reason.code(), sentence: sentence(reason, named), operands }
    }
}

fn status_at(status: &Status) -> Option<Timestamp> {
    match status {
        Status::Sent { at, .. }
        | Status::Suppressed { at, .. }
        | Status::Cancelled { at, .. }
        | Status::Failed { at, .. } => Some(*at),
        Status::Sending { since, .. } | Status::Unknown { since, .. } => Some(*since),
        Status::Queued { .. } | Status::Deferred { .. } | Status::Claimed { .. } | Status::Retrying { .. } => None,
    }
}

/// Messages as they are shown, with whom they are to and what blocked them by name.
pub(super) async fn shown(admin: &Admin, messages: Vec<Message>) -> Result<Vec<MessageOut>, Problem> {
    let people: Vec<ProfileId> = messages.iter().map(|message| message.profile).collect();
    let people = admin.db().people(&people).await?;
    let blocked: Vec<MessageId> =
        messages.iter().filter_map(|message| message.status.reason()).flat_map(blocking).copied().collect();
    let named = names_of(admin.db(), &blocked).await?;
    let newest: Vec<Position> = messages.iter().map(|message| message.event).collect();
    let requests = admin.db().correlations_at(&newest).await?;
    let out = messages.into_iter().map(|message| MessageOut {
        correlation_id: requests.get(&message.event).filter(|id| !id.is_empty()).cloned(),
        user_id: people.get(&message.profile).and_then(|read| read.as_ref().ok()?.profile.user_id.clone()),
        status: message.status.name(),
        status_at: status_at(&message.status),
        due_at: message.status.due_at(),
        reason: message
            .status
            .reason()
            .cloned()
            .or_else(|| admin.holds(&message))
            .map(|reason| ReasonOut::new(&reason, &named)),
        address: message.address.as_deref().map(|address| masked(message.channel, address)),
        id: message.id,
        profile: message.profile,
        campaign: message.campaign,
        campaign_version: message.campaign_version,
        channel: message.channel,
        template: message.template,
        template_version: message.template_version,
        purpose: message.purpose,
        priority: message.priority,
        created_at: message.created_at,
        expires_at: message.expires_at,
        attempts: message.attempts,
        slot_at: message.slot_at,
        enrollment: message.enrollment,
        cause: message.cause,
        entry: message.entry,
        event: message.event,
    });
    Ok(out.collect())
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let limit = rows(asked.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let profile = match &asked.profile {
        Some(person) => Some(profile_known(&admin, person).await?),
        None => None,
    };
    if let Some(key) = &asked.campaign {
        campaign_known(&admin, key)?;
    }
    if let Some(status) = asked.status.as_deref().filter(|status| !Status::NAMES.contains(status)) {
        let cause = format!("`{status}` is no status; they are {}", Status::NAMES.join(", "));
        return Err(Refusal::Parameter { field: "status", cause }.into());
    }
    let before = asked.cursor.as_deref().map(|text| cursor::read::<(i64, [u8; 16])>("messages", text)).transpose()?;
    let filter = MessageFilter {
        profile,
        campaign: asked.campaign,
        template: asked.template,
        channel: asked.channel.as_deref().map(channel_of).transpose()?,
        status: asked.status,
        reason: asked.reason,
        before: before.map(|(at, id)| (Timestamp::from_millis(at), MessageId::from_bytes(id))),
        limit: limit + 1,
    };
    let mut messages = admin.db().list_messages(&filter).await?;
    let more = messages.len() > limit as usize;
    messages.truncate(limit as usize);
    let last = messages.last().filter(|_| more);
    let next = last.map(|it| cursor::write("messages", &(it.created_at.millis(), it.id.as_bytes())));
    let listed = Listed { messages: shown(&admin, messages).await?, next: next.clone() };
    Ok(json_page(&request, &listed, next.as_deref()))
}

/// One message with its whole path.
#[derive(Serialize, ToSchema)]
#[schema(as = MessagePath)]
struct Path {
    #[serde(flatten)]
    message: MessageOut,
    /// What made it: the event that began its enrollment, the newest one, and what was found at each.
    cause_event: Option<EventOut>,
    newest_event: Option<EventOut>,
    enrollment_state: Option<Enrollment>,
    findings: Vec<FindingOut>,
    /// What was asked before it might go, in the guard's order; which answer spoke for it only with `permission:read`.
    checks: Vec<Check>,
    states: Vec<StateOut>,
    tries: Vec<Attempt>,
    /// Clicks and opens, newest first; machines' too, each with the reason.
    hits: Vec<HitSeen>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MessageState)]
struct StateOut {
    at: Timestamp,
    status: &'static str,
    sentence: String,
    reason: Option<ReasonOut>,
}

pub(super) async fn find(admin: &Admin, asked: &str) -> Result<Message, Problem> {
    let unknown = || Refusal::UnknownMessage { asked: asked.chars().take(80).collect() };
    let id: MessageId = asked.parse().map_err(|_| unknown())?;
    Ok(admin.db().message(id).await?.ok_or_else(unknown)?)
}

async fn one(admin: Controls, caller: ReqData<Arc<Caller>>, id: web::Path<String>) -> Answer {
    let message = find(&admin, &id).await?;
    let db = admin.db();
    let steps = db.steps_of(message.id).await?;
    let blocked: Vec<MessageId> =
        steps.iter().filter_map(|step| step.state.reason()).flat_map(blocking).copied().collect();
    let named = names_of(db, &blocked).await?;
    let states = steps.iter().enumerate().map(|(n, step)| StateOut {
        at: step.at,
        status: step.state.name(),
        sentence: state(&message, n, &step.state, &named).text,
        reason: step.state.reason().map(|reason| ReasonOut::new(reason, &named)),
    });
    let states = states.collect();
    let live = admin.definitions.live(admin.workspace);
    let mut checks = checks(db, &live, &message, &steps, &named, &admin.zone).await?;
    if !caller.scopes.contains(&Scope::PermissionRead) {
        checks = without_answers(checks);
    }
    let entries = db.entries_apart(&[message.entry, message.event]).await?;
    let event = |position: Position| match &entries.get(&position)?.logged {
        Logged::Event(event) => Some(EventOut::new(position, event)),
        _ => None,
    };
    let found = db.findings_at(&[message.entry, message.event, message.cause]).await?;
    let findings = FindingOut::all(&found, Some(&message.campaign));
    let (cause_event, newest_event) = (event(message.entry), event(message.event));
    let enrollment_state = db.enrollment(message.enrollment).await?;
    let tries = db.attempts_of(message.id).await?;
    let hits = db.hits_seen(message.id, HITS_MAX).await?;
    let Some(message) = shown(&admin, vec![message]).await?.pop() else { return Err(Problem::NotFound) };
    Ok(json_answer(&Path {
        message,
        cause_event,
        newest_event,
        enrollment_state,
        findings,
        checks,
        states,
        tries,
        hits,
    }))
}
