//! Templates: Handlebars parts per channel, compiled once per version.

use serde_json::{Map, Value};

use crate::message::Channel;

/// A template as written; `parts` hold Handlebars source.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub key: String,
    pub version: u32,
    pub name: Option<String>,
    /// Declared variables and their defaults: dotted path (`profile.traits.first_name`) to value.
    pub defaults: Map<String, Value>,
    /// Sample scope for previews and checks at save: `{ profile: …, event: … }`.
    pub sample: Map<String, Value>,
    pub parts: Parts,
}

/// One part per channel; a template has at least one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    pub email: Option<EmailPart>,
    pub sms: Option<String>,
    pub push: Option<PushPart>,
    pub whatsapp: Option<WhatsappPart>,
    /// JSON with Handlebars inside.
    pub webhook: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct EmailPart {
    pub subject: String,
    pub preheader: Option<String>,
    pub html: String,
    /// None: derived from the HTML.
    pub text: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PushPart {
    pub title: String,
    pub body: String,
    pub link: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct WhatsappPart {
    /// The provider's template name.
    pub name: String,
    pub language: String,
    pub parameters: Vec<String>,
}

impl Parts {
    pub fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.email.is_some(),
            Channel::Sms => self.sms.is_some(),
            Channel::Push => self.push.is_some(),
            Channel::Whatsapp => self.whatsapp.is_some(),
            Channel::Webhook => self.webhook.is_some(),
        }
    }
}
