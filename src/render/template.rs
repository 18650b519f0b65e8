//! Templates: Handlebars parts per channel, compiled once per version.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::message::Channel;
use crate::render::includes::Kind;
use crate::render::links::Tracks;

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
    /// What of its mails may be tracked, where the workspace wants it.
    pub tracks: Tracks,
    /// The language of `parts`, where it is declared.
    pub locale: Option<String>,
    /// What its messages are about where their campaign says nothing.
    pub topic: Option<String>,
    pub parts: Parts,
    /// By locale such as `de` or `de-AT`: what its readers get instead, channel by channel.
    pub variants: BTreeMap<String, Parts>,
    /// What parts include, by name within the template's folder: `partials/head.mjml`.
    pub partials: BTreeMap<String, String>,
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
    pub markup: Markup,
    /// None: derived from the HTML.
    pub text: Option<String>,
}

/// What the HTML of a mail is written in.
#[derive(Debug, Clone, PartialEq)]
pub enum Markup {
    Html(String),
    Mjml(String),
}

impl Markup {
    pub fn source(&self) -> &str {
        match self {
            Self::Html(source) | Self::Mjml(source) => source,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Html(_) => Kind::HTML,
            Self::Mjml(_) => Kind::MJML,
        }
    }

    /// How problems name it: its file.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Html(_) => "email.html",
            Self::Mjml(_) => "email.mjml",
        }
    }
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
