//! The demo shop: customers and their days, made from a seed, the same every time.
//!
//! [`history`] is what happened before the service was started, [`trickle`] what happens while it runs. Ann, the reader
//! of the tour, has an account and a consent and does nothing by herself.

mod chance;
mod history;
mod person;
mod pictures;
mod shop;
mod trickle;
mod visit;

use serde_json::json;

use crate::event::track_api::event_id;
use crate::event::{Body, Event, Kind, Origin};
use crate::ids::WorkspaceId;

pub use history::{History, history};
pub use pictures::with_pictures;
pub use shop::BadShop;
pub use trickle::{TRICKLE_MAX, trickle};

use visit::Act;

/// The name the history is stored under, as if it had been a file.
pub const HISTORY: &str = "demo shop";
/// The source live demo events come from.
pub const SOURCE: &str = "demo";

/// An act as the storefront would have sent it.
fn event(workspace: WorkspaceId, user_id: &str, act: Act, message_id: String, origin: Origin) -> Event {
    let Act { at, kind, name, content } = act;
    let timestamp = at.to_string();
    let content_name = if kind == Kind::Identify { "traits" } else { "properties" };
    let mut call = json!({ "type": kind.as_str() });
    if kind != Kind::Identify {
        call["event"] = json!(name);
    }
    call["userId"] = json!(user_id);
    call["messageId"] = json!(message_id);
    call["timestamp"] = json!(timestamp);
    call[content_name] = content;
    Event {
        id: event_id(workspace, &message_id),
        kind,
        name: name.to_owned(),
        version: 1,
        source: SOURCE.to_owned(),
        correlation_id: message_id.clone(),
        message_id,
        user_id: Some(user_id.to_owned()),
        anonymous_id: None,
        previous_id: None,
        at,
        received_at: at,
        original_at: None,
        sent_at: None,
        origin,
        body: Body::new(call.to_string()),
    }
}

#[cfg(test)]
mod tests;
