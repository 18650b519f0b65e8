//! What a template can see: the person, the event, the cart, the campaign, the message and its links.

use std::borrow::Cow;

use handlebars::Context;
use serde_json::{Map, Value, json};

use crate::audience::Profile;
use crate::audience::cart::View;
use crate::event::Event;
use crate::ids::{MessageId, Timestamp};
use crate::message::Message;
use crate::money::Exchange;
use crate::render::line::Line;
use crate::render::links::{MessageLinks, Tracking};

/// Who writes, as templates may say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    pub name: String,
    pub postal_address: Option<String>,
    /// The zone of people whose own is not known; empty: UTC.
    pub timezone: String,
}

/// Everything one message is about.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    pub profile: &'a Profile,
    /// The newest event of the enrollment.
    pub event: &'a Event,
    /// Its first.
    pub entry: &'a Event,
    /// The enrollment's own, as it is now, and what its money goes by.
    pub cart: &'a View,
    pub exchange: &'a Exchange,
    pub message: &'a Message,
    pub campaign_name: &'a str,
    pub workspace: &'a Workspace,
    /// The signed addresses of this message.
    pub links: &'a MessageLinks,
}

/// The variables of one render.
#[derive(Debug, Clone)]
pub struct Scope {
    root: Context,
    pub(super) at: Timestamp,
    pub(super) message: MessageId,
    pub(super) unsubscribe: String,
    pub(super) recipient: Option<Line>,
    pub(super) tracking: Option<Tracking>,
}

impl Scope {
    /// `now` is the time the message is dated with.
    pub fn new(now: Timestamp, about: &Occasion<'_>) -> Self {
        let profile = about.profile;
        let message = about.message;
        let root = json!({
            "profile": { "id": profile.id, "user_id": profile.user_id, "traits": profile.all_traits() },
            "event": event(about.event),
            "entry": event(about.entry),
            "cart": about.cart.shown(about.exchange),
            "campaign": { "key": message.campaign, "name": about.campaign_name },
            "message": { "id": message.id, "channel": message.channel, "at": now },
            "workspace": { "name": about.workspace.name, "postal_address": about.workspace.postal_address,
                "timezone": about.workspace.timezone },
            "links": links(about.links),
        });
        let recipient = name_of(&profile.traits);
        let unsubscribe = about.links.unsubscribe.clone();
        let tracking = about.links.tracking.clone();
        Self { root: context(root), at: now, message: message.id, unsubscribe, recipient, tracking }
    }

    /// What a person did, as a sample: what belongs to a message is left to placeholders.
    pub fn tried_sample(profile: &Profile, about: &Event, exchange: &Exchange) -> Map<String, Value> {
        let cart = profile.cart_of(about).shown(exchange);
        let profile = json!({ "id": profile.id, "user_id": profile.user_id, "traits": profile.all_traits() });
        let event = event(about);
        let all = [("profile", profile), ("entry", event.clone()), ("event", event), ("cart", cart)];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A template's own sample, for previews: what it gives for `profile`, `event` and others, over placeholders.
    pub fn sample(now: Timestamp, sample: &Map<String, Value>) -> Self {
        let unsubscribe = "https://example.com/u/preview".to_owned();
        let mut root = json!({
            "profile": { "id": 1, "user_id": "sample", "traits": {} },
            "cart": { "items": 0, "lines": [] },
            "campaign": { "key": "sample", "name": "Sample" },
            "message": { "id": "0".repeat(32), "at": now },
            "workspace": { "name": "Sample" },
            "links": {
                "unsubscribe": unsubscribe,
                "preferences": "https://example.com/preferences/preview",
                "confirm": "https://example.com/confirm/preview",
            },
        });
        if let Some(root) = root.as_object_mut() {
            // A sample rarely repeats the event as `entry`.
            if let Some(event) = sample.get("event") {
                root.insert("entry".to_owned(), event.clone());
            }
            // Nobody knows better than we which links there are: a sample's own stand beside the others.
            let links = root.get("links").and_then(Value::as_object).cloned().unwrap_or_default();
            root.extend(sample.iter().map(|(name, value)| (name.clone(), value.clone())));
            if let Some(given) = root.get_mut("links").and_then(Value::as_object_mut) {
                for (name, value) in links {
                    given.entry(name).or_insert(value);
                }
            }
        }
        let traits = root.pointer("/profile/traits").and_then(Value::as_object);
        let recipient = traits.and_then(name_of);
        let message = MessageId::from_bytes([0; 16]);
        Self { root: context(root), at: now, message, unsubscribe, recipient, tracking: None }
    }

    /// The variables with a template's defaults where they are absent or null.
    pub(super) fn with_defaults(&self, defaults: &[(Vec<String>, Value)]) -> Cow<'_, Context> {
        let mut root = Cow::Borrowed(&self.root);
        for (path, value) in defaults {
            if is_absent(root.data(), path) {
                set_default(root.to_mut().data_mut(), path, value);
            }
        }
        root
    }
}

/// A link that is not there is missing, so that a template that needs it fails and is not sent half.
fn links(links: &MessageLinks) -> Value {
    let MessageLinks { unsubscribe, preferences, confirm, tracking: _ } = links;
    let mut all = json!({ "unsubscribe": unsubscribe, "preferences": preferences });
    if let (Some(all), Some(confirm)) = (all.as_object_mut(), confirm) {
        all.insert("confirm".to_owned(), confirm.clone().into());
    }
    all
}

/// The value as it is: `Context::wraps` would serialise it again.
fn context(root: Value) -> Context {
    let mut context = Context::null();
    *context.data_mut() = root;
    context
}

fn is_absent(at: &Value, path: &[String]) -> bool {
    path.iter().try_fold(at, |at, step| at.get(step)).is_none_or(Value::is_null)
}

fn event(event: &Event) -> Value {
    let mut seen = Map::new();
    seen.insert("name".to_owned(), event.name.clone().into());
    seen.insert("at".to_owned(), event.at.to_string().into());
    seen.insert("id".to_owned(), event.message_id.clone().into());
    for part in ["properties", "traits", "context"] {
        if let Some(value) = event.lookup(part) {
            seen.insert(part.to_owned(), value.clone());
        }
    }
    seen.into()
}

fn set_default(at: &mut Value, path: &[String], default: &Value) {
    match path {
        [] if at.is_null() => *at = default.clone(),
        [] => {}
        [step, rest @ ..] => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            // A path through a number or a list has no place for a default.
            if let Some(object) = at.as_object_mut() {
                set_default(object.entry(step.as_str()).or_insert(Value::Null), rest, default);
            }
        }
    }
}

/// How the recipient is named in `To:`.
fn name_of(traits: &Map<String, Value>) -> Option<Line> {
    let text = |key: &str| traits.get(key).and_then(Value::as_str).map(str::trim).filter(|it| !it.is_empty());
    // The track API's own spelling first: official clients send `firstName`.
    let (first, last) = (text("firstName").or(text("first_name")), text("lastName").or(text("last_name")));
    let name = text("name").map(str::to_owned).or_else(|| match (first, last) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (one, other) => one.or(other).map(str::to_owned),
    })?;
    Some(Line::limited(&name, 100)).filter(|line| !line.is_empty())
}
