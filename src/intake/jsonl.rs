//! One call of the track API per line, kept byte for byte and read by the rules of the live door; its own `messageId`
//! makes it the same event wherever else it comes in.

use serde::de::IgnoredAny;

use super::envelope::Stamp;
use super::lines::Record;
use super::{Out, RowFault, Rows};
use crate::event::track_api::{Arrival, BatchText, Times, parse_batch};
use crate::event::{Event, json};
use crate::ids::Timestamp;

pub(super) struct Items {
    stamp: Stamp,
}

impl Items {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self { stamp }
    }

    fn event(&self, row: u64, line: &str) -> Result<Event, RowFault> {
        json::check(line.as_bytes()).map_err(|fault| RowFault::new(row, None, fault.code(), fault.to_string()))?;
        // One document by itself before it is put in brackets, or a line could close them and hold more than one call.
        serde_json::from_str::<IgnoredAny>(line).map_err(|error| {
            let message = format!("is no JSON object such as {{\"type\": \"track\", …}}: {}", in_row(&error));
            RowFault::new(row, None, "not_json", message)
        })?;
        let batch = format!("{{\"batch\":[{line}]}}");
        let arrival = Arrival {
            workspace: self.stamp.workspace(),
            source: self.stamp.source(),
            correlation_id: "",
            trace: None,
            // The call's own time stands, whatever it is: there was no receipt to hold it against.
            received_at: Timestamp::from_millis(i64::MAX),
            times: Times::AsGiven,
        };
        let no_call = |message: String| RowFault::new(row, None, "not_a_call", message);
        let event = parse_batch(&BatchText::of(batch.as_bytes()))
            .and_then(|batch| batch.events(&arrival, || self.stamp.message_id(row, line.as_bytes())))
            .map_err(|fault| no_call(fault.to_string()))?
            .pop()
            .ok_or_else(|| no_call("holds no call".to_owned()))?
            .map_err(|fault| {
                // Sound, but nobody's: the same as an invoice without a customer.
                let code = if fault.code == "missing_identity" { "no_customer" } else { fault.code };
                RowFault::new(row, fault.field.map(str::to_owned), code, fault.message)
            })?;
        if event.original_at.is_none() {
            let message = "has no `timestamp` that can be read; history needs its time";
            return Err(RowFault::new(row, Some("timestamp".to_owned()), "no_time", message));
        }
        Ok(Event {
            correlation_id: event.message_id.clone(),
            received_at: event.at,
            origin: self.stamp.origin(row),
            ..event
        })
    }
}

impl Rows for Items {
    fn take(&mut self, row: u64, record: &Record, out: &mut Out<'_>) {
        let line = record.first().map_or("", |line| line.trim());
        out.event(self.event(row, line), 1, row);
    }

    fn end(&mut self, _: &mut Out<'_>) {}
}

/// What is wrong with the JSON of a row. The parser counts lines within the row, beside the line of the file.
pub(super) fn in_row(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = said.split(" at line ").next().unwrap_or_default();
    format!("{what} at character {}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_told_with_one_place() {
        let told = |text: &str| serde_json::from_str::<IgnoredAny>(text).err().map(|error| in_row(&error));
        assert_eq!(told("not json").as_deref(), Some("expected ident at character 2"));
        assert_eq!(told("{\"a\":").as_deref(), Some("EOF while parsing a value at character 5"));
        assert_eq!(told("{}"), None);
    }
}
