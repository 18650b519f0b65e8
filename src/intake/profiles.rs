//! One person per line: `{ "userId": "ann", "traits": { … }, "consent": { "email": "granted" } }`. Without `traits` every
//! other member is one. Nothing is started by it, and a no stays a no.

use serde_json::{Map, Value};

use super::convert;
use super::envelope::{Stamp, Who};
use super::jsonl::in_row;
use super::lines::Record;
use super::{Out, RowFault, Rows};
use crate::event::{Event, json};
use crate::ids::Timestamp;
use crate::message::Channel;

/// Characters of an id: as the doors allow, with room for what we put around it.
const ID_CHARS_MAX: usize = 200;

pub(super) struct People {
    stamp: Stamp,
    /// For people of whom the file tells no time.
    present: Timestamp,
}

impl People {
    pub(super) fn new(stamp: Stamp, present: Timestamp) -> Self {
        Self { stamp, present }
    }

    fn read(&self, row: u64, line: &str) -> Result<Vec<Event>, RowFault> {
        json::check(line.as_bytes()).map_err(|fault| RowFault::new(row, None, fault.code(), fault.to_string()))?;
        let mut said: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
            let why = in_row(&error);
            let message =
                format!("is no person such as {{\"userId\": \"ann\"}}: {why}; a table is read by --format csv");
            RowFault::new(row, None, "not_json", message)
        })?;
        let user_id = take_id(row, &mut said, &["userId", "user_id"])?;
        let anonymous_id = take_id(row, &mut said, &["anonymousId", "anonymous_id"])?;
        let answers = match said.shift_remove("consent") {
            None | Some(Value::Null) => Vec::new(),
            Some(consent) => answers(row, &consent)?,
        };
        if user_id.is_none() && anonymous_id.is_none() {
            return Err(nobodys(row, "userId", "has neither `userId` nor `anonymousId`", &answers));
        }
        let at = match said.shift_remove("timestamp") {
            None | Some(Value::Null) => self.present,
            Some(time) => {
                let text = time.as_str().map_or_else(|| time.to_string(), str::to_owned);
                convert::instant(&text).ok_or_else(|| {
                    let message = format!("`{}` is no time such as 2026-03-01T10:00:00Z", text.escape_debug());
                    RowFault::new(row, Some("timestamp".to_owned()), "not_a_time", message)
                })?
            }
        };
        let traits = match said.shift_remove("traits") {
            Some(Value::Object(traits)) => traits,
            Some(_) => return Err(RowFault::new(row, Some("traits".to_owned()), "not_an_object", "is no object")),
            // A call of the track API without traits has none but its own fields.
            None => said,
        };
        let who = Who { user_id: user_id.as_deref(), anonymous_id: anonymous_id.as_deref() };
        self.stamp.profile((row, at), who, traits, &answers)
    }
}

/// A row without a person: left out, but for one that says no. That must reach its address some other way.
pub(super) fn nobodys(row: u64, field: &str, message: &str, answers: &[(String, &'static str)]) -> RowFault {
    let Some((about, _)) = answers.iter().find(|(_, state)| *state == "denied") else {
        return RowFault::new(row, Some(field.to_owned()), "no_customer", message);
    };
    let message = format!(
        "{message}, and says no to {about}: put the address on the list of those nobody writes to, by `carillon suppress \
         import`"
    );
    RowFault::new(row, Some(field.to_owned()), "no_of_nobody", message)
}

fn take_id(row: u64, said: &mut Map<String, Value>, names: &[&str]) -> Result<Option<String>, RowFault> {
    for name in names {
        let id = match said.shift_remove(*name) {
            Some(Value::String(id)) if !id.trim().is_empty() => id,
            Some(Value::Number(id)) => id.to_string(),
            None | Some(Value::Null | Value::String(_)) => continue,
            Some(_) => {
                return Err(RowFault::new(row, Some((*name).to_owned()), "not_an_id", "is neither text nor a number"));
            }
        };
        if id.chars().count() > ID_CHARS_MAX {
            let message = format!("is longer than {ID_CHARS_MAX} characters");
            return Err(RowFault::new(row, Some((*name).to_owned()), "too_long", message));
        }
        return Ok(Some(id));
    }
    Ok(None)
}

fn answers(row: u64, consent: &Value) -> Result<Vec<(String, &'static str)>, RowFault> {
    let fault = |message: String| RowFault::new(row, Some("consent".to_owned()), "not_an_answer", message);
    let consent =
        consent.as_object().ok_or_else(|| fault("is no object such as {\"email\": \"granted\"}".to_owned()))?;
    let answer = |(about, said): (&String, &Value)| {
        if Channel::parse(about).is_none() && about.strip_prefix("topic:").is_none_or(str::is_empty) {
            let shown: String = about.chars().take(60).collect();
            return Err(fault(format!(
                "`{}` is neither a channel nor a topic such as topic:offers",
                shown.escape_debug()
            )));
        }
        let state = match said {
            Value::Bool(true) => "granted",
            Value::Bool(false) => "denied",
            Value::String(word) if word == "granted" || word == "subscribed" => "granted",
            Value::String(word) if word == "denied" || word == "unsubscribed" => "denied",
            _ => return Err(fault(format!("`{about}` is neither granted nor denied"))),
        };
        Ok((about.clone(), state))
    };
    consent.iter().map(answer).collect()
}

impl Rows for People {
    fn take(&mut self, row: u64, record: &Record, out: &mut Out<'_>) {
        let line = record.first().map_or("", |line| line.trim());
        out.events(self.read(row, line), row);
    }

    fn end(&mut self, _: &mut Out<'_>) {}
}
