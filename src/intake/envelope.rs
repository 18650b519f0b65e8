//! The envelope around a row: who, when and from where, with ids that are the same at every import of the same row.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Provenance, RowFault};
use crate::decision::CONSENT_CHANGED;
use crate::decision::segments::BACKFILL;
use crate::event::track_api;
use crate::event::{Body, EVENT_BYTES_MAX, Event, Kind, Origin};
use crate::ids::{EventId, Timestamp, WorkspaceId};

/// Characters of a file's name in the ids made from it, which have at most 100.
const FILE_CHARS_MAX: usize = 60;

/// What all events of one file share.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    workspace: WorkspaceId,
    source: String,
    file: String,
}

/// What a file is called in the ids of its rows.
pub(super) fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Packing a file does not make its rows happen again.
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let file: String = name.chars().filter(|c| !c.is_control()).collect();
    if file.chars().count() <= FILE_CHARS_MAX {
        return file;
    }
    let hash = digest(&[name.as_bytes()]);
    file.chars().take(FILE_CHARS_MAX - hash.len()).chain(hash.chars()).collect()
}

/// What a row says.
pub(super) struct Said<'a> {
    pub(super) row: u64,
    pub(super) at: Timestamp,
    pub(super) who: Who<'a>,
    pub(super) name: &'a str,
    pub(super) properties: Map<String, Value>,
}

/// Whom a row is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) user_id: Option<&'a str>,
    pub(super) anonymous_id: Option<&'a str>,
}

impl<'a> Who<'a> {
    pub(super) fn user(id: &'a str) -> Self {
        Self { user_id: Some(id), anonymous_id: None }
    }

    pub(super) fn anonymous(id: &'a str) -> Self {
        Self { user_id: None, anonymous_id: Some(id) }
    }

    fn stand_in(self, call: &mut Map<String, Value>) {
        for (name, id) in [("userId", self.user_id), ("anonymousId", self.anonymous_id)] {
            if let Some(id) = id {
                call.insert(name.to_owned(), json!(id));
            }
        }
    }
}

impl Stamp {
    pub(super) fn new(path: &Path, provenance: &Provenance) -> Self {
        let file = provenance.known_as.clone().unwrap_or_else(|| name_of(path));
        Self { workspace: provenance.workspace, source: provenance.source.clone(), file }
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// A track call as the storefront itself would have sent it.
    pub(super) fn track(&self, said: Said<'_>) -> Result<Event, RowFault> {
        self.track_as(said, None)
    }

    /// The same by an id of the shop's own, by which the live door knows it too.
    pub(super) fn track_as(&self, said: Said<'_>, message_id: Option<&str>) -> Result<Event, RowFault> {
        let Said { row, at, who, name, properties } = said;
        let mut call = Map::new();
        call.insert("type".to_owned(), json!("track"));
        call.insert("event".to_owned(), json!(name));
        who.stand_in(&mut call);
        call.insert("timestamp".to_owned(), json!(at.to_string()));
        call.insert("properties".to_owned(), Value::Object(properties));
        // The digest tells another file of the same name from this one imported again.
        let content = || self.message_id(row, Value::Object(call.clone()).to_string().as_bytes());
        let message_id = message_id.map_or_else(content, str::to_owned);
        self.sized(Made { row, at, kind: Kind::Track, name, who, message_id, call })
    }

    /// What a file tells of a person, as a call that starts nothing: traits, and answers in words of the ledger.
    pub(super) fn profile(
        &self,
        (row, at): (u64, Timestamp),
        who: Who<'_>,
        traits: Map<String, Value>,
        answers: &[(String, &'static str)],
    ) -> Result<Vec<Event>, RowFault> {
        let mut call = Map::new();
        call.insert("type".to_owned(), json!("identify"));
        who.stand_in(&mut call);
        call.insert("traits".to_owned(), Value::Object(traits));
        call.insert("properties".to_owned(), json!({ "cause": BACKFILL }));
        // Without its time: a file of people who stand today is read again tomorrow.
        let message_id = self.message_id(row, Value::Object(call.clone()).to_string().as_bytes());
        call.insert("timestamp".to_owned(), json!(at.to_string()));
        let kind = Kind::Identify;
        let mut made = vec![self.sized(Made { row, at, kind, name: kind.event_name(), who, message_id, call })?];
        let source = format!("import {}", self.file);
        for (about, state) in answers {
            let (field, name) = about.strip_prefix("topic:").map_or(("channel", about.as_str()), |key| ("topic", key));
            let mut properties = json!({ "state": state, "source": source });
            properties[field] = json!(name);
            let mut call = Map::new();
            call.insert("type".to_owned(), json!("own"));
            call.insert("event".to_owned(), json!(CONSENT_CHANGED));
            who.stand_in(&mut call);
            call.insert("properties".to_owned(), properties);
            let message_id = self.message_id(row, Value::Object(call.clone()).to_string().as_bytes());
            call.insert("timestamp".to_owned(), json!(at.to_string()));
            made.push(self.sized(Made { row, at, kind: Kind::Own, name: CONSENT_CHANGED, who, message_id, call })?);
        }
        Ok(made)
    }

    /// An event of this file's own making about a person first seen in `row`; `what` tells several apart.
    pub(super) fn about(
        &self,
        first: &Event,
        kind: Kind,
        what: &str,
        user_id: &str,
        call: Map<String, Value>,
    ) -> Event {
        // Not from the row: a person has one such event per file, wherever in it they are first seen.
        let message_id = format!("import:{}:{what}:{}", self.file, digest(&[user_id.as_bytes()]));
        let name = if kind == Kind::Own { what } else { kind.event_name() };
        let row = match &first.origin {
            Origin::Import { row, .. } | Origin::Past { row, .. } => *row,
            Origin::Live | Origin::Replay { .. } | Origin::Decided { .. } => 0,
        };
        self.envelope(Made { row, at: first.at, kind, name, who: Who::user(user_id), message_id, call })
    }

    fn sized(&self, made: Made<'_>) -> Result<Event, RowFault> {
        let row = made.row;
        let event = self.envelope(made);
        let bytes = event.body.text().len();
        if bytes > EVENT_BYTES_MAX {
            let message = format!("would be an event of {bytes} bytes, at most {EVENT_BYTES_MAX}");
            return Err(RowFault::new(row, None, "event_too_large", message));
        }
        Ok(event)
    }

    pub(super) fn message_id(&self, row: u64, content: &[u8]) -> String {
        format!("import:{}:{row}:{}", self.file, digest(&[content]))
    }

    pub(super) fn origin(&self, row: u64) -> Origin {
        Origin::Import { file: self.file.clone(), row }
    }

    fn event_id(&self, message_id: &str) -> EventId {
        track_api::event_id(self.workspace, message_id)
    }

    pub(super) fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    fn envelope(&self, made: Made<'_>) -> Event {
        let Made { row, at, kind, name, who, message_id, mut call } = made;
        call.insert("messageId".to_owned(), json!(message_id));
        Event {
            id: self.event_id(&message_id),
            kind,
            name: name.to_owned(),
            version: 1,
            source: self.source.clone(),
            correlation_id: message_id.clone(),
            trace: None,
            message_id,
            user_id: who.user_id.map(str::to_owned),
            anonymous_id: who.anonymous_id.map(str::to_owned),
            previous_id: None,
            at,
            // Decided as if it had come in when it happened: the import runs in the events' own time.
            received_at: at,
            original_at: None,
            sent_at: None,
            origin: self.origin(row),
            body: Body::new(Value::Object(call).to_string()),
        }
    }
}

struct Made<'a> {
    row: u64,
    at: Timestamp,
    kind: Kind,
    name: &'a str,
    who: Who<'a>,
    message_id: String,
    call: Map<String, Value>,
}

/// 64 bits of the content's hash, as text.
fn digest(parts: &[&[u8]]) -> String {
    EventId::derive(parts).to_string().chars().take(16).collect()
}

/// A JSON number with exactly these digits.
pub(super) fn number(value: rust_decimal::Decimal) -> Value {
    value.to_string().parse().map_or(Value::Null, Value::Number)
}
