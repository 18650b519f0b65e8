//! What was asked before a message might go, check by check in the guard's order: how far it came, and the values it was
//! decided on. Of the check that said no they were stored with its reason; of those that passed they are read from what
//! was recorded by then: answers, suppressions, slots.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use sea_orm::ConnectionTrait;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::audience::consent::ConsentState;
use crate::audience::{Consent, Whereabouts};
use crate::guard::{Slot, Subject, neighbours, usage, zone_of};
use crate::ids::{MessageId, Timestamp};
use crate::message::{Message, Purpose, Reason, Status, WhenQuiet};
use crate::store::Workspace;
use crate::store::consents::LedgerRow;
use crate::store::messages::Step;
use crate::worker::explain::words::{Named, masked, sentence};
use crate::worker::live::Live;

/// Answers that are looked through, the newest.
const LEDGER_MAX: u32 = 1_000;

/// What is asked, in the guard's order, and the codes of the reasons each gives.
const CHECKS: [(&str, &[&str]); 10] = [
    ("The address is not suppressed", &["address_suppressed"]),
    ("Consent for the channel", &["consent_denied", "consent_pending", "consent_unknown"]),
    ("Subscribed to the topic", &["topic_unsubscribed"]),
    ("Still wanted: no exit, campaign live, not expired", &["exited", "campaign_not_live", "expired", "merged"]),
    ("Not the same to this address before", &["same_address", "too_many_confirmations"]),
    ("Nothing on hold", &["sending_paused", "campaign_paused", "restore_unconfirmed"]),
    ("An address to send to", &["no_address", "invalid_address"]),
    ("Outside quiet hours", &["quiet_hours"]),
    ("The provider and the recipient's domain take mail", &["transport_stopped", "domain_slow"]),
    ("Room under every frequency cap", &["capped", "caps_unreachable", "caps_unsettled"]),
];
const CONSENT: usize = 1;
const TOPIC: usize = 2;
const QUIET: usize = 7;
const CAPS: usize = 9;

/// How far a message came at a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CheckResult)]
pub enum Came {
    Passed,
    Stopped,
    Held,
    NotReached,
    DoesNotApply,
}

/// One thing that was asked.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = MessageCheck)]
pub struct Check {
    pub check: &'static str,
    pub result: Came,
    /// Why it went no further; of one that passed, what spoke for it.
    pub sentence: Option<String>,
    /// What was compared.
    #[schema(value_type = Object)]
    pub values: Map<String, Value>,
}

/// The checks of a message by what is recorded. `zone` is the workspace's.
///
/// # Errors
/// The database cannot be read.
pub async fn checks<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    live: &Live,
    message: &Message,
    steps: &[Step],
    named: &BTreeMap<MessageId, Named>,
    zone: &TimeZone,
) -> anyhow::Result<Vec<Check>> {
    let came = results(message, steps);
    let asked_at = asked_at(message, steps);
    let ledger =
        if came.contains(&Came::Passed) { store.ledger_of(message.profile, LEDGER_MAX).await? } else { vec![] };
    let passed = Passed { message, asked_at, ledger: &ledger };
    let mut checks = Vec::with_capacity(CHECKS.len());
    for (n, ((check, _), result)) in CHECKS.into_iter().zip(came).enumerate() {
        let (sentence, values) = match (result, message.status.reason()) {
            (Came::Stopped | Came::Held, Some(reason)) => (Some(sentence(reason, named)), operands(reason)),
            (Came::Passed, _) if n == QUIET => quiet_hours(store, live, message, (zone, asked_at)).await?,
            (Came::Passed, _) if n == CAPS => caps(store, live, message, zone).await?,
            (Came::Passed, _) => passed.values(n),
            _ => (None, Map::new()),
        };
        checks.push(Check { check, result, sentence, values });
    }
    Ok(checks)
}

/// The same for whoever may not read what people have answered: that it passed, and not by which answer.
pub fn without_answers(mut checks: Vec<Check>) -> Vec<Check> {
    for (n, check) in checks.iter_mut().enumerate() {
        if matches!(n, CONSENT | TOPIC) && check.result == Came::Passed {
            (check.sentence, check.values) = (None, Map::new());
        }
    }
    checks
}

/// How far the message came at each.
fn results(message: &Message, steps: &[Step]) -> [Came; CHECKS.len()] {
    let was_cleared = steps.iter().any(|step| is_cleared(&step.state));
    let at =
        message.status.reason().and_then(|reason| CHECKS.iter().position(|(_, codes)| codes.contains(&reason.code())));
    let mut came = [Came::NotReached; CHECKS.len()];
    for (n, check) in came.iter_mut().enumerate() {
        let is_marketing = message.purpose == Purpose::Marketing;
        let applies = match n {
            CONSENT => is_marketing,
            TOPIC => is_marketing && message.topic.is_some(),
            QUIET => message.quiet.when != WhenQuiet::Ignore,
            CAPS => is_marketing && (message.caps.obey || message.caps.count),
            _ => true,
        };
        *check = match at {
            Some(stop) if n == stop => match &message.status {
                Status::Deferred { .. } => Came::Held,
                _ => Came::Stopped,
            },
            _ if !applies => Came::DoesNotApply,
            Some(stop) if n < stop => Came::Passed,
            Some(_) => Came::NotReached,
            None if was_cleared => Came::Passed,
            None => Came::NotReached,
        };
    }
    came
}

fn is_cleared(status: &Status) -> bool {
    matches!(status, Status::Claimed { .. } | Status::Sending { .. })
}

/// When it was asked last: at the last claim, or where it was stopped.
fn asked_at(message: &Message, steps: &[Step]) -> Timestamp {
    let stopped = message.status.reason().is_some() && !steps.iter().any(|step| is_cleared(&step.state));
    let asked = steps.iter().rev().find(|step| stopped || is_cleared(&step.state));
    asked.map_or(message.created_at, |step| step.at)
}

type Said = (Option<String>, Map<String, Value>);

/// What is known of checks that passed, at the instant they did.
struct Passed<'m> {
    message: &'m Message,
    asked_at: Timestamp,
    ledger: &'m [LedgerRow],
}

impl Passed<'_> {
    fn values(&self, n: usize) -> Said {
        let (message, channel) = (self.message, self.message.channel.as_str());
        let address = message.address.as_deref().map(|address| masked(message.channel, address));
        let (said, fields) = match n {
            0 => ("nothing stood against it".to_owned(), json!({ "channel": channel, "address": address })),
            CONSENT => return self.answer(channel, "allowed without an answer", "channel", channel),
            TOPIC => {
                let topic = message.topic.as_deref().unwrap_or_default();
                return self.answer(&format!("topic:{topic}"), "by the topic’s default", "topic", topic);
            }
            3 => (
                format!("wanted until {}", message.expires_at),
                json!({ "campaign": format!("{}@v{}", message.campaign, message.campaign_version),
                    "expires_at": message.expires_at }),
            ),
            4 => {
                let since = neighbours::matter_since(self.asked_at, message);
                (
                    "none went there".to_owned(),
                    json!({ "campaign": message.campaign, "address": address, "since": since }),
                )
            }
            5 => {
                ("neither all sending nor the campaign was paused".to_owned(), json!({ "campaign": message.campaign }))
            }
            _ => (address.clone().unwrap_or_default(), json!({ "channel": channel, "address": address })),
        };
        self.at_that_instant(Some(said).filter(|said| !said.is_empty()), fields)
    }

    /// The newest answer on this by then.
    fn answer(&self, about: &str, without: &str, kind: &str, name: &str) -> Said {
        // A no of the same instant came after it passed.
        let stops = |consent: &Consent| matches!(consent.state, ConsentState::Denied | ConsentState::Pending);
        let by_then = |consent: &Consent| consent.at < self.asked_at || consent.at == self.asked_at && !stops(consent);
        let rows = self.ledger.iter().filter(|row| row.about == about && by_then(&row.consent));
        match rows.max_by_key(|row| (row.consent.at, row.position)) {
            Some(LedgerRow { consent, position, .. }) => {
                let said = format!("{} at {} ({})", consent.state.as_str(), consent.at, consent.source);
                let fields = json!({ kind: name, "state": consent.state.as_str(), "source": consent.source,
                    "at": consent.at, "via": consent.via.as_str(), "position": position });
                self.at_that_instant(Some(said), fields)
            }
            None => self.at_that_instant(Some(without.to_owned()), json!({ kind: name, "state": "unknown" })),
        }
    }

    fn at_that_instant(&self, said: Option<String>, fields: Value) -> Said {
        let mut values = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        values.retain(|_, value| !value.is_null());
        values.insert("asked_at".to_owned(), json!(self.asked_at));
        (said, values)
    }
}

/// Which windows were over, and by which clock. They and it are those known now.
async fn quiet_hours<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    live: &Live,
    message: &Message,
    (zone, asked_at): (&TimeZone, Timestamp),
) -> anyhow::Result<Said> {
    let Some(person) = store.person(message.profile).await? else { return Ok((None, Map::new())) };
    let there = Whereabouts::of(&person.profile, zone);
    let binding = live.quiet.iter().filter(|window| window.binds(message.channel, message.purpose, &there));
    let windows: Vec<String> = binding.map(ToString::to_string).collect();
    let said = if windows.is_empty() { "none for such a message".to_owned() } else { format!("over, in {there}") };
    let values = [("windows", json!(windows)), ("zone", json!(there.to_string())), ("asked_at", json!(asked_at))];
    Ok((Some(said), values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

/// The slot it took, and how full each rule was with it. The rules are those in force now.
async fn caps<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    live: &Live,
    message: &Message,
    zone: &TimeZone,
) -> anyhow::Result<Said> {
    let Some(at) = message.slot_at else {
        return Ok((None, Map::new()));
    };
    let person = store.person(message.profile).await?;
    let zone = person.and_then(|person| zone_of(&person.profile)).unwrap_or_else(|| zone.clone());
    let since = at.minus(crate::guard::frequency_cap::horizon(&live.rules));
    let until = |slots: Vec<Slot>| slots.into_iter().filter(|slot| slot.at <= at).collect::<Vec<_>>();
    let mut values = Map::new();
    values.insert("slot_at".to_owned(), json!(at));
    let mut whose = vec![("person", until(store.slots_of_profile(message.profile, since).await?), None)];
    if let Some(address) = &message.address {
        let subject = Subject::Address(message.channel, address.clone()).to_string();
        whose.push(("address", until(store.slots_of_address(&subject, since).await?), Some(message.channel)));
    }
    for (who, slots, channel) in whose {
        let is_counted = |used: &crate::guard::Used| used.slot.message == message.id;
        let mine = usage(&live.rules, &slots, at, &zone, channel);
        for one in mine.into_iter().filter(|one| one.used.iter().any(is_counted)) {
            values.insert(format!("{who}: {}", one.rule), json!(format!("{} of {}", one.used.len(), one.at_most)));
        }
    }
    Ok((Some(format!("took the slot of {at}")), values))
}

/// What the reason was decided on, value by value.
fn operands(reason: &Reason) -> Map<String, Value> {
    match serde_json::to_value(reason) {
        Ok(Value::Object(mut fields)) => {
            fields.shift_remove("code");
            fields
        }
        _ => Map::new(),
    }
}
