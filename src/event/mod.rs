//! Something happened: the envelope every event is stored in, whatever door it came through.
//!
//! The client's own JSON is kept byte for byte; what we add (times, source, ids) stands beside it.

pub mod engagement;
pub mod json;
pub mod number;
pub mod pattern;
pub mod source;
pub mod track_api;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ids::{EventId, Timestamp, TraceContext};

/// Bytes of one event's JSON.
pub const EVENT_BYTES_MAX: usize = 32 * 1024;
/// Characters of an event's name and of each id in it.
pub const NAME_CHARS_MAX: usize = 256;
/// Levels of nesting in an event's JSON.
pub const DEPTH_MAX: usize = 64;

/// What kind of call carried the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Track,
    Identify,
    Page,
    Screen,
    Group,
    Alias,
    /// Made by Carillon itself: consent changed by a link, an unsubscribe.
    Own,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
            Self::Own => "own",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Track, Self::Identify, Self::Page, Self::Screen, Self::Group, Self::Alias, Self::Own]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// The event name under which calls without a name of their own are stored and matched.
    pub const fn event_name(self) -> &'static str {
        match self {
            Self::Track | Self::Own => "",
            Self::Identify => "Identified",
            Self::Page => "Page Viewed",
            Self::Screen => "Screen Viewed",
            Self::Group => "Group Joined",
            Self::Alias => "Aliased",
        }
    }
}

/// How the event reached us, when not live through a door.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    #[default]
    Live,
    /// A row of a file; `now` of its decision is the event's own time.
    Import { file: String, row: u64 },
    /// Redriven after it was parked at `position`.
    Replay { position: i64 },
    /// Made by a decision on the entry at `cause`. `depth` counts such events in a row back to what a person did.
    Decided { cause: i64, depth: u8 },
    /// A row of a file taken in beside the live doors: decided as of when it came, and starting nothing. `redriven` is
    /// where it was parked before.
    Past { file: String, row: u64, redriven: Option<i64> },
}

impl Origin {
    /// It was in the log before, under the same id.
    pub fn is_redriven(&self) -> bool {
        matches!(self, Self::Replay { .. } | Self::Past { redriven: Some(_), .. })
    }

    /// A file told it; whoever has the file may tell it again at any time.
    pub fn is_of_a_file(&self) -> bool {
        matches!(self, Self::Import { .. } | Self::Past { .. })
    }

    /// The same, to be decided once more after it was parked at `position`.
    #[must_use]
    pub fn redriven(self, position: i64) -> Self {
        match self {
            // What is of the past stays so: it must start nothing the second time either.
            Self::Past { file, row, .. } => Self::Past { file, row, redriven: Some(position) },
            _ => Self::Replay { position },
        }
    }
}

/// The stored envelope of one event.
///
/// `body` is the client's item, verbatim JSON, at most [`EVENT_BYTES_MAX`] bytes. `at` is the corrected client time and
/// never later than `received_at`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub kind: Kind,
    pub name: String,
    /// The client's `messageId`, or one we made.
    pub message_id: String,
    /// `context.version`, default 1.
    pub version: u32,
    pub source: String,
    pub correlation_id: String,
    /// The span of the request that brought it, where somebody records traces.
    #[serde(default)]
    pub trace: Option<TraceContext>,
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    /// For alias: the id that was used before.
    pub previous_id: Option<String>,
    pub at: Timestamp,
    pub received_at: Timestamp,
    /// What the client's clock said, before correction.
    pub original_at: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    #[serde(default)]
    pub origin: Origin,
    pub body: Body,
}

/// An event's JSON text, parsed at most once and only when somebody looks inside.
#[derive(Clone)]
pub struct Body {
    text: Arc<str>,
    parsed: Arc<OnceLock<Value>>,
}

impl Body {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), parsed: Arc::default() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// False: this name is nowhere in the document, which need not be read to know it. True where it may be.
    pub fn may_name(&self, name: &str) -> bool {
        let holds = |text: &str| memchr::memmem::find(self.text.as_bytes(), text.as_bytes()).is_some();
        // Any letter may be written as an escape.
        holds(name) || holds("\\u")
    }

    /// The whole document; `null` if the text is not JSON, which the doors refuse.
    pub fn document(&self) -> &Value {
        self.parsed.get_or_init(|| serde_json::from_str(&self.text).unwrap_or(Value::Null))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self::new(value.to_string()))
    }
}

impl Event {
    /// One that Carillon makes itself: it came by no door, and whom it is about stands beside it in the log.
    pub fn own(
        id: EventId,
        message_id: String,
        name: String,
        properties: &impl Serialize,
        at: Timestamp,
        origin: Origin,
    ) -> Self {
        let body = json!({ "type": "track", "event": name, "properties": properties });
        Self {
            id,
            kind: Kind::Own,
            name,
            correlation_id: message_id.clone(),
            trace: None,
            message_id,
            version: 1,
            source: "carillon".to_owned(),
            user_id: None,
            anonymous_id: None,
            previous_id: None,
            at,
            received_at: at,
            original_at: None,
            sent_at: None,
            origin,
            body: Body::new(body.to_string()),
        }
    }

    /// Whether what it carried was erased or pruned: no event comes without an id.
    pub fn is_blank(&self) -> bool {
        self.message_id.is_empty()
    }

    /// The value at a dotted path such as `properties.cart_id`, or `None` where absent or null.
    pub fn lookup(&self, path: &str) -> Option<&Value> {
        json::lookup(self.body.document(), path)
    }

    /// Traits an identify or group call carries, in `traits`, in `context.traits` or in both: then what `traits` says of
    /// a name goes before.
    pub fn traits(&self) -> Option<Cow<'_, Map<String, Value>>> {
        let document = self.body.document();
        let at = |path| json::lookup(document, path).and_then(Value::as_object);
        let (Some(named), Some(context)) = (at("traits"), at("context.traits")) else {
            return at("traits").or_else(|| at("context.traits")).map(Cow::Borrowed);
        };
        if context.keys().all(|name| named.contains_key(name)) {
            return Some(Cow::Borrowed(named));
        }
        let mut both = context.clone();
        both.extend(named.iter().map(|(name, value)| (name.clone(), value.clone())));
        Some(Cow::Owned(both))
    }
}
