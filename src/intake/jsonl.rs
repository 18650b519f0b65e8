//! One call of the track API per line, kept byte for byte; its own `messageId` makes it the same event wherever else it
//! comes in.

use serde_json::Value;

use super::envelope::Stamp;
use super::lines::Record;
use super::{Out, RowFault, Rows};
use crate::event::{Body, DEPTH_MAX, EVENT_BYTES_MAX, Event, Kind, NAME_CHARS_MAX};
use crate::ids::Timestamp;

pub(super) struct Items {
    stamp: Stamp,
}

impl Items {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self { stamp }
    }

    fn event(&self, row: u64, line: &str) -> Result<Event, RowFault> {
        let line = line.trim();
        let fault = |column, code, message: &str| RowFault::new(row, column, code, message);
        if line.len() > EVENT_BYTES_MAX {
            let message = format!("{} bytes, at most {EVENT_BYTES_MAX}", line.len());
            return Err(fault(None, "event_too_large", &message));
        }
        let item: Value = serde_json::from_str(line).map_err(|error| fault(None, "not_json", &error.to_string()))?;
        if !item.is_object() {
            return Err(fault(None, "not_an_object", "a line is one JSON object"));
        }
        keepable(&item, 1).map_err(|(code, message)| fault(None, code, message))?;
        let kind = item.get("type").and_then(Value::as_str).and_then(Kind::parse).filter(|kind| *kind != Kind::Own);
        let kind = kind.ok_or_else(|| {
            fault(Some("type"), "unknown_type", "is none of track, identify, page, screen, group, alias")
        })?;
        let id = |field| id_at(row, &item, field);
        let (user_id, anonymous_id, previous_id) = (id("userId")?, id("anonymousId")?, id("previousId")?);
        let anyone = user_id.is_some() || anonymous_id.is_some() || (kind == Kind::Alias && previous_id.is_some());
        if !anyone {
            return Err(fault(Some("userId"), "no_customer", "neither userId nor anonymousId"));
        }
        let name = match kind {
            Kind::Track => id("event")?.ok_or_else(|| fault(Some("event"), "empty", "a track call names its event"))?,
            _ => kind.event_name().to_owned(),
        };
        let at = at(row, &item)?;
        let message_id = id("messageId")?.unwrap_or_else(|| self.stamp.message_id(row, line.as_bytes()));
        let version = item.pointer("/context/version").and_then(Value::as_u64).and_then(|v| u32::try_from(v).ok());
        Ok(Event {
            id: self.stamp.event_id(&message_id),
            kind,
            name,
            version: version.unwrap_or(1),
            source: self.stamp.source().to_owned(),
            correlation_id: message_id.clone(),
            message_id,
            user_id,
            anonymous_id,
            previous_id,
            at,
            received_at: at,
            original_at: None,
            sent_at: None,
            origin: self.stamp.origin(row),
            body: Body::new(line),
        })
    }
}

impl Rows for Items {
    fn take(&mut self, row: u64, record: &Record, out: &mut Out<'_>) {
        let line = record.first().map_or("", String::as_str);
        out.event(self.event(row, line), 1, row);
    }

    fn end(&mut self, _: &mut Out<'_>) {}
}

/// A text field that names something; absent, null and empty are the same.
fn id_at(row: u64, item: &Value, field: &'static str) -> Result<Option<String>, RowFault> {
    let text = match item.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        // Shops with numeric ids send them as numbers.
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(RowFault::new(row, Some(field), "not_text", "is neither text nor a number")),
    };
    if text.chars().count() > NAME_CHARS_MAX {
        let message = format!("is longer than {NAME_CHARS_MAX} characters");
        return Err(RowFault::new(row, Some(field), "too_long", message));
    }
    Ok(Some(text))
}

/// History needs its time: a row without one happened at no time we could replay it at.
fn at(row: u64, item: &Value) -> Result<Timestamp, RowFault> {
    let (field, text) = ["timestamp", "originalTimestamp"]
        .into_iter()
        .find_map(|field| Some((field, item.get(field)?.as_str()?)))
        .ok_or_else(|| RowFault::new(row, Some("timestamp"), "no_time", "says no time"))?;
    let at = text.chars().take(64).collect::<String>().parse();
    at.map_err(|error: crate::ids::NotAnInstant| RowFault::new(row, Some(field), "not_a_time", error.to_string()))
}

/// Nothing that a store or a reader behind us could not keep.
fn keepable(value: &Value, depth: usize) -> Result<(), (&'static str, &'static str)> {
    let clean = |text: &str| {
        if text.contains('\0') { Err(("nul", "has a NUL character, which no store keeps")) } else { Ok(()) }
    };
    if depth > DEPTH_MAX {
        return Err(("too_deep", "is nested too deeply"));
    }
    match value {
        Value::String(text) => clean(text),
        Value::Array(items) => items.iter().try_for_each(|item| keepable(item, depth + 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, item)| {
            clean(name)?;
            keepable(item, depth + 1)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
