//! The track API: Segment-compatible JSON becomes events.
//!
//! The rule at this door: refuse only what cannot be stored faithfully or belongs to nobody, and keep the client's
//! bytes. Official clients drop what is refused, so a formatting slip must never cost a customer's event:
//!
//! - `null`, a missing field and empty text are the same; ids may be numbers, kept as written;
//! - an unreadable time is no time (see [`instant`]), an unreadable `context.version` is 1;
//! - a `messageId` is opaque; one longer than [`MESSAGE_ID_CHARS_MAX`] is replaced by its hash, so repeats are still
//!   recognised, and its full text stays in the body; without one we make one;
//! - a repeated key counts by its last value.

mod fields;
mod instant;
mod merge;
mod text;

use std::borrow::Cow;

use crate::event::json::{self, JsonFault};
use crate::event::{Body, EVENT_BYTES_MAX, Event, Kind, NAME_CHARS_MAX, Origin};
use crate::ids::{EventId, Timestamp, TraceContext, WorkspaceId};

use fields::{Envelope, Fields, Scalar, Unread, read_envelope, read_fields, scalar};
pub use text::BatchText;

/// Bytes of one batch, decoded.
pub const BATCH_BYTES_MAX: usize = 500 * 1024;
/// Items of one batch.
pub const BATCH_ITEMS_MAX: usize = 2_500;
/// Characters of a `messageId` that are kept as they are.
pub const MESSAGE_ID_CHARS_MAX: usize = 100;

/// What a path of the API takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Single(Kind),
    Batch,
    /// A batch of history: times stand as given.
    Import,
}

impl Endpoint {
    /// The last segment of `/v1/…`, long or the one letter the browser client really uses.
    pub fn parse(segment: &str) -> Option<Self> {
        Some(match segment {
            "track" | "t" => Self::Single(Kind::Track),
            "identify" | "i" => Self::Single(Kind::Identify),
            "page" | "p" => Self::Single(Kind::Page),
            "screen" | "s" => Self::Single(Kind::Screen),
            "group" | "g" => Self::Single(Kind::Group),
            "alias" | "a" => Self::Single(Kind::Alias),
            "batch" | "b" => Self::Batch,
            "import" => Self::Import,
            _ => return None,
        })
    }

    pub const fn times(self) -> Times {
        match self {
            Self::Import => Times::AsGiven,
            Self::Single(_) | Self::Batch => Times::Corrected,
        }
    }
}

/// What to believe about the client's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Live traffic: the client's clock is corrected by `sentAt`.
    Corrected,
    /// History: the given time is the time, `sentAt` or not.
    AsGiven,
}

/// How a request arrived: what its events have in common and did not bring themselves.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    pub workspace: WorkspaceId,
    pub source: &'a str,
    pub correlation_id: &'a str,
    /// The span of the request, where somebody records traces.
    pub trace: Option<TraceContext>,
    pub received_at: Timestamp,
    pub times: Times,
}

/// Why a whole body is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Json(#[from] JsonFault),
    #[error("the body is not a JSON object")]
    NotAnObject,
    #[error("`batch` is missing or is not an array of calls")]
    NotABatch,
    #[error("more than {BATCH_ITEMS_MAX} items in one batch")]
    TooManyItems,
    #[error("with the batch's context in each item it is larger than twice {BATCH_BYTES_MAX} bytes")]
    TooLargeMerged,
}

/// Why one call is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFault {
    /// The place in the batch, from 0; 0 for a single call.
    pub index: usize,
    /// The call's own `messageId`, where it could be read.
    pub message_id: Option<String>,
    pub code: &'static str,
    pub field: Option<&'static str>,
    pub message: String,
}

/// One call's text with its fields read; what is needed before it is known whose it is.
#[derive(Debug)]
pub struct Single<'a> {
    text: &'a str,
    fields: Fields<'a>,
}

/// Reads the body of `/v1/track` and its like.
pub fn parse_single(body: &[u8]) -> Result<Single<'_>, Fault> {
    let text = json::check(without_bom(body).trim_ascii())?;
    let fields = read_fields(text).map_err(|unread| match unread {
        Unread::Syntax(fault) => Fault::Json(fault),
        Unread::Shape => Fault::NotAnObject,
    })?;
    Ok(Single { text, fields })
}

impl<'a> Single<'a> {
    pub fn write_key(&self) -> Option<Cow<'a, str>> {
        text_of(self.fields.write_key)
    }

    /// `new_id` is asked for a `messageId` where the client sent none.
    pub fn event(
        &self,
        kind: Kind,
        arrival: &Arrival<'_>,
        new_id: impl FnOnce() -> String,
    ) -> Result<Event, ItemFault> {
        let item = Item { text: self.text, fields: &self.fields, batch_sent_at: None };
        item.event(Some(kind), arrival, new_id).map_err(|complaint| complaint.at(0, &self.fields))
    }
}

/// A batch with its items still as text.
#[derive(Debug)]
pub struct Batch<'a> {
    envelope: Envelope<'a>,
    items: Vec<&'a str>,
    text: &'a BatchText<'a>,
}

/// Reads the body of `/v1/batch`; what is wrong with single items is said by [`Batch::events`].
pub fn parse_batch<'a>(text: &'a BatchText<'a>) -> Result<Batch<'a>, Fault> {
    let unreadable = text.unreadable().map(|at| JsonFault::InvalidUtf8 { at });
    let mut envelope = read_envelope(&text.text).map_err(|unread| match unread {
        Unread::Syntax(fault) => Fault::Json(unreadable.clone().unwrap_or(fault)),
        Unread::Shape => Fault::NotABatch,
    })?;
    let items = envelope.items.take().ok_or(Fault::NotABatch)?;
    if items.too_many {
        return Err(Fault::TooManyItems);
    }
    match unreadable.filter(|_| !text.is_readable_beside(&items.texts)) {
        Some(fault) => Err(Fault::Json(fault)),
        None => Ok(Batch { envelope, items: items.texts, text }),
    }
}

impl<'a> Batch<'a> {
    pub fn write_key(&self) -> Option<Cow<'a, str>> {
        text_of(self.envelope.write_key)
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items in order, each an event or the reason it is none. `new_id` as in [`Single::event`].
    pub fn events(
        &self,
        arrival: &Arrival<'_>,
        mut new_id: impl FnMut() -> String,
    ) -> Result<Vec<Result<Event, ItemFault>>, Fault> {
        let shared = merge::Shared::new(self.envelope.context, self.envelope.integrations);
        let batch_sent_at = instant::read(self.envelope.sent_at);
        // Merging multiplies what was sent once; a small body must not become a large one in memory.
        let mut budget = BATCH_BYTES_MAX;
        let mut events = Vec::with_capacity(self.items.len());
        for (index, item) in self.items.iter().enumerate() {
            let readable = self.text.unreadable_in(item).map_or(Ok(()), |at| Err(JsonFault::InvalidUtf8 { at }));
            let fields = match readable.map_err(Complaint::from).and_then(|()| checked(item)) {
                Ok(fields) => fields,
                Err(complaint) => {
                    events.push(Err(complaint.at(index, &Fields::default())));
                    continue;
                }
            };
            let text = shared.merged(item, &fields, budget).ok_or(Fault::TooLargeMerged)?;
            budget = budget.saturating_sub(text.len() - item.len());
            let event = match &text {
                Cow::Borrowed(text) => Item { text, fields: &fields, batch_sent_at }.event(None, arrival, &mut new_id),
                Cow::Owned(text) => checked(text)
                    .and_then(|fields| Item { text, fields: &fields, batch_sent_at }.event(None, arrival, &mut new_id)),
            };
            events.push(event.map_err(|complaint| complaint.at(index, &fields)));
        }
        Ok(events)
    }
}

/// Which event this is: the workspace and the id its client gave it.
pub fn event_id(workspace: WorkspaceId, message_id: &str) -> EventId {
    EventId::derive(&[&workspace.0.to_be_bytes(), message_id.as_bytes()])
}

/// Some tools write a byte order mark in front of everything.
fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn text_of(raw: Option<&str>) -> Option<Cow<'_, str>> {
    match scalar(raw) {
        Scalar::Text(text) => Some(text),
        Scalar::Number(text) => Some(Cow::Borrowed(text)),
        Scalar::Absent | Scalar::Other => None,
    }
}

/// What is wrong with a call, before it is known where it stood.
#[derive(Debug)]
struct Complaint {
    code: &'static str,
    field: Option<&'static str>,
    message: String,
}

impl Complaint {
    fn new(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self { code, field: Some(field), message: message.into() }
    }

    fn at(self, index: usize, fields: &Fields<'_>) -> ItemFault {
        let message_id = text_of(fields.message_id).map(|id| id.chars().take(MESSAGE_ID_CHARS_MAX).collect());
        ItemFault { index, message_id, code: self.code, field: self.field, message: self.message }
    }
}

impl From<JsonFault> for Complaint {
    fn from(fault: JsonFault) -> Self {
        Self { code: fault.code(), field: None, message: fault.to_string() }
    }
}

/// The fields of an item that may be stored as it is.
fn checked(text: &str) -> Result<Fields<'_>, Complaint> {
    if text.len() > EVENT_BYTES_MAX {
        let message = format!("{} bytes; an event has at most {EVENT_BYTES_MAX}", text.len());
        return Err(Complaint { code: "event_too_large", field: None, message });
    }
    json::check(text.as_bytes())?;
    read_fields(text).map_err(|unread| match unread {
        Unread::Syntax(fault) => fault.into(),
        Unread::Shape => Complaint { code: "not_an_object", field: None, message: "the item is not an object".into() },
    })
}

struct Item<'a> {
    text: &'a str,
    fields: &'a Fields<'a>,
    batch_sent_at: Option<Timestamp>,
}

impl Item<'_> {
    fn event(
        &self,
        kind: Option<Kind>,
        arrival: &Arrival<'_>,
        new_id: impl FnOnce() -> String,
    ) -> Result<Event, Complaint> {
        if self.text.len() > EVENT_BYTES_MAX {
            let message = format!("{} bytes; an event has at most {EVENT_BYTES_MAX}", self.text.len());
            return Err(Complaint { code: "event_too_large", field: None, message });
        }
        let fields = self.fields;
        let kind = kind.map_or_else(|| kind_of(fields), Ok)?;
        let user_id = id(fields.user_id, "userId")?;
        let anonymous_id = id(fields.anonymous_id, "anonymousId")?;
        let previous_id = id(fields.previous_id, "previousId")?;
        match kind {
            Kind::Alias => {
                require(&user_id, "missing_user_id", "userId", "alias needs the id from now on")?;
                require(&previous_id, "missing_previous_id", "previousId", "alias needs the id used before")?;
            }
            _ => {
                let who = user_id.as_ref().or(anonymous_id.as_ref()).cloned();
                require(&who, "missing_identity", "userId", "a call needs `userId` or `anonymousId`")?;
            }
        }
        if kind == Kind::Group {
            require(&id(fields.group_id, "groupId")?, "missing_group_id", "groupId", "group needs the group's id")?;
        }
        let name = name(kind, fields)?;
        let message_id = message_id(fields, new_id)?;
        let when = instant::when(fields, self.batch_sent_at, arrival.received_at, arrival.times);
        Ok(Event {
            id: event_id(arrival.workspace, &message_id),
            kind,
            name,
            message_id,
            version: instant::version(fields.context),
            source: arrival.source.to_owned(),
            correlation_id: arrival.correlation_id.to_owned(),
            trace: arrival.trace,
            user_id,
            anonymous_id,
            previous_id,
            at: when.at,
            received_at: arrival.received_at,
            original_at: when.original_at,
            sent_at: when.sent_at,
            origin: Origin::Live,
            body: Body::new(self.text),
        })
    }
}

/// `type`, or `action` as older documents have it.
fn kind_of(fields: &Fields<'_>) -> Result<Kind, Complaint> {
    const EXPECTED: &str = "one of track, identify, page, screen, group, alias";
    let raw = [fields.kind, fields.action].into_iter().find(|raw| scalar(*raw) != Scalar::Absent).flatten();
    match scalar(raw) {
        Scalar::Text(text) => Kind::parse(text.trim().to_ascii_lowercase().as_str())
            .filter(|kind| *kind != Kind::Own)
            .ok_or_else(|| Complaint::new("unknown_type", "type", format!("`type` must be {EXPECTED}"))),
        Scalar::Absent => Err(Complaint::new("missing_type", "type", format!("an item needs `type`: {EXPECTED}"))),
        _ => Err(Complaint::new("wrong_type", "type", format!("`type` must be {EXPECTED}"))),
    }
}

fn name(kind: Kind, fields: &Fields<'_>) -> Result<String, Complaint> {
    if kind != Kind::Track {
        return Ok(kind.event_name().to_owned());
    }
    match short(fields.event, "event")? {
        Some(name) => Ok(name),
        None => Err(Complaint::new("missing_event", "event", "track needs `event`, the name of what happened")),
    }
}

fn id(raw: Option<&str>, field: &'static str) -> Result<Option<String>, Complaint> {
    short(raw, field)
}

/// A name or an id: text or a number, at most [`NAME_CHARS_MAX`] characters.
fn short(raw: Option<&str>, field: &'static str) -> Result<Option<String>, Complaint> {
    let text = match scalar(raw) {
        Scalar::Absent => return Ok(None),
        Scalar::Text(text) => text,
        Scalar::Number(text) => Cow::Borrowed(text),
        Scalar::Other => {
            return Err(Complaint::new("wrong_type", field, format!("`{field}` must be text or a number")));
        }
    };
    // Counting characters only where bytes leave a doubt.
    if text.len() > NAME_CHARS_MAX && text.chars().count() > NAME_CHARS_MAX {
        return Err(Complaint::new("too_long", field, format!("`{field}` has at most {NAME_CHARS_MAX} characters")));
    }
    Ok(Some(text.into_owned()))
}

fn require(
    given: &Option<String>,
    code: &'static str,
    field: &'static str,
    message: &'static str,
) -> Result<(), Complaint> {
    if given.is_some() { Ok(()) } else { Err(Complaint::new(code, field, message)) }
}

fn message_id(fields: &Fields<'_>, new_id: impl FnOnce() -> String) -> Result<String, Complaint> {
    let text = match scalar(fields.message_id) {
        Scalar::Absent => return Ok(new_id()),
        Scalar::Text(text) => text,
        Scalar::Number(text) => Cow::Borrowed(text),
        Scalar::Other => {
            return Err(Complaint::new("wrong_type", "messageId", "`messageId` must be text or a number"));
        }
    };
    if text.len() > MESSAGE_ID_CHARS_MAX && text.chars().count() > MESSAGE_ID_CHARS_MAX {
        return Ok(format!("long:{}", EventId::derive(&[text.as_bytes()])));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests;
