//! Reading a call's top-level fields in one borrowed pass, without building a document.
//!
//! Every field is kept as the raw text of its value and judged later, so that one odd value never costs the whole
//! batch, a repeated key is no error (the last one counts), and numbers stay as written.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::json::JsonFault;

use super::BATCH_ITEMS_MAX;

/// Raw texts of the fields we know, `null` included.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub kind: Option<&'a str>,
    pub action: Option<&'a str>,
    pub event: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub anonymous_id: Option<&'a str>,
    pub previous_id: Option<&'a str>,
    pub group_id: Option<&'a str>,
    pub message_id: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    pub original_timestamp: Option<&'a str>,
    pub sent_at: Option<&'a str>,
    pub context: Option<&'a str>,
    pub integrations: Option<&'a str>,
    pub write_key: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Type,
    Action,
    Event,
    UserId,
    AnonymousId,
    PreviousId,
    GroupId,
    MessageId,
    Timestamp,
    OriginalTimestamp,
    SentAt,
    Context,
    Integrations,
    WriteKey,
    Batch,
    #[serde(other)]
    Other,
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<Field>()? {
            let slot = match key {
                Field::Type => &mut fields.kind,
                Field::Action => &mut fields.action,
                Field::Event => &mut fields.event,
                Field::UserId => &mut fields.user_id,
                Field::AnonymousId => &mut fields.anonymous_id,
                Field::PreviousId => &mut fields.previous_id,
                Field::GroupId => &mut fields.group_id,
                Field::MessageId => &mut fields.message_id,
                Field::Timestamp => &mut fields.timestamp,
                Field::OriginalTimestamp => &mut fields.original_timestamp,
                Field::SentAt => &mut fields.sent_at,
                Field::Context => &mut fields.context,
                Field::Integrations => &mut fields.integrations,
                Field::WriteKey => &mut fields.write_key,
                Field::Batch | Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = Some(map.next_value::<&RawValue>()?.get());
        }
        Ok(fields)
    }
}

/// The top of a batch: its own fields and its items, each as raw text.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub items: Option<Items<'a>>,
    pub write_key: Option<&'a str>,
    pub sent_at: Option<&'a str>,
    pub context: Option<&'a str>,
    pub integrations: Option<&'a str>,
}

#[derive(Debug, Default)]
pub(super) struct Items<'a> {
    pub texts: Vec<&'a str>,
    pub too_many: bool,
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `batch`")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Envelope<'de>, M::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<Field>()? {
            let slot = match key {
                Field::Batch => {
                    envelope.items = Some(map.next_value_seed(ItemsSeed)?);
                    continue;
                }
                Field::WriteKey => &mut envelope.write_key,
                Field::SentAt => &mut envelope.sent_at,
                Field::Context => &mut envelope.context,
                Field::Integrations => &mut envelope.integrations,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = Some(map.next_value::<&RawValue>()?.get());
        }
        Ok(envelope)
    }
}

struct ItemsSeed;

impl<'de> DeserializeSeed<'de> for ItemsSeed {
    type Value = Items<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Items<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of calls")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Items<'de>, S::Error> {
        let mut items = Items::default();
        while items.texts.len() < BATCH_ITEMS_MAX {
            match seq.next_element::<&RawValue>()? {
                Some(item) => items.texts.push(item.get()),
                None => return Ok(items),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            items.too_many = true;
        }
        Ok(items)
    }
}

/// Why a text did not yield its fields: not JSON, or JSON of another shape.
#[derive(Debug)]
pub(super) enum Unread {
    Syntax(JsonFault),
    Shape,
}

impl From<serde_json::Error> for Unread {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::Shape,
            _ => Self::Syntax(JsonFault::Syntax { line: error.line(), column: error.column() }),
        }
    }
}

pub(super) fn read_fields(text: &str) -> Result<Fields<'_>, Unread> {
    read(text, FieldsVisitor)
}

pub(super) fn read_envelope(text: &str) -> Result<Envelope<'_>, Unread> {
    read(text, EnvelopeVisitor)
}

fn read<'a, V: Visitor<'a>>(text: &'a str, visitor: V) -> Result<V::Value, Unread> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = deserializer.deserialize_map(visitor)?;
    deserializer.end()?;
    Ok(value)
}

/// The members of an object's text in order; `None` when it is no object.
pub(super) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut members = Vec::new();
            while let Some(Name(name)) = map.next_key()? {
                members.push((name, map.next_value::<&RawValue>()?.get()));
            }
            Ok(members)
        }
    }
    read(text, Members).ok()
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A field that should be a name, an id or an instant.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Missing, null, or empty text: clients send all three for "none".
    Absent,
    Text(Cow<'a, str>),
    /// As written; many shops' customer ids are numbers.
    Number(&'a str),
    Other,
}

pub(super) fn scalar(raw: Option<&str>) -> Scalar<'_> {
    let Some(raw) = raw else { return Scalar::Absent };
    match raw.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<Name<'_>>(raw) {
            Ok(Name(text)) if text.trim().is_empty() => Scalar::Absent,
            Ok(Name(text)) => Scalar::Text(text),
            Err(_) => Scalar::Other,
        },
        Some(b'-' | b'0'..=b'9') => Scalar::Number(raw),
        Some(b'n') => Scalar::Absent,
        _ => Scalar::Other,
    }
}
