//! Rendered messages as a sandbox keeps them, and how the inbox page reads them back.

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, ProfileId, Timestamp};
use crate::message::{Channel, Purpose};
use crate::render::{Content, Rendered};

/// A message that would have been sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub message: MessageId,
    pub profile: ProfileId,
    pub campaign: String,
    pub template: String,
    pub template_version: u32,
    pub purpose: Purpose,
    pub channel: Channel,
    /// When it was rendered.
    pub at: Timestamp,
    pub content: Content,
}

impl From<&Rendered> for Kept {
    fn from(rendered: &Rendered) -> Self {
        Self {
            message: rendered.message(),
            profile: rendered.profile(),
            campaign: rendered.campaign().to_owned(),
            template: rendered.template().to_owned(),
            template_version: rendered.template_version(),
            purpose: rendered.purpose(),
            channel: rendered.channel(),
            at: rendered.at(),
            content: rendered.content().clone(),
        }
    }
}

/// One line of the inbox's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSummary {
    pub message: MessageId,
    pub at: Timestamp,
    pub channel: Channel,
    pub campaign: String,
    pub to: String,
    /// The subject, or the start of the text.
    pub title: String,
}

impl From<&Kept> for KeptSummary {
    fn from(kept: &Kept) -> Self {
        let (to, title) = match &kept.content {
            Content::Email(email) => (&email.to.address, email.subject.as_str()),
            Content::Sms { to, text } => (to, text.as_str()),
            Content::Push { to, title, .. } => (to, title.as_str()),
            Content::Whatsapp { to, name, .. } => (to, name.as_str()),
            Content::Webhook { url, json } => (url, json.as_str()),
        };
        Self {
            message: kept.message,
            at: kept.at,
            channel: kept.channel,
            campaign: kept.campaign.clone(),
            to: to.chars().take(200).collect(),
            title: title.chars().take(200).collect(),
        }
    }
}

/// A place in the list, newest first.
pub type Cursor = (Timestamp, MessageId);

/// A kept message that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the inbox cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Reads what a sandbox kept.
pub trait KeptMessages: Send + Sync {
    /// Newest first, those before `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store behind it fails.
    fn list(&self, limit: usize, after: Option<Cursor>) -> Result<Vec<KeptSummary>, Unreadable>;

    /// # Errors
    /// When the store behind it fails.
    fn get(&self, message: MessageId) -> Result<Option<Kept>, Unreadable>;

    /// An e-mail as it would go over the wire; none for other channels.
    ///
    /// # Errors
    /// When the store behind it fails.
    fn source(&self, message: MessageId) -> Result<Option<Vec<u8>>, Unreadable>;
}
