//! How it reads: a cleared message and a template become content, escaped, bounded and complete or not at all.
//!
//! Only [`render`] makes a [`Rendered`], it takes what only the guard makes, and channels take nothing else: so nothing
//! is sent without permission. A preview is a type of its own that no channel takes.

mod budget;
mod compile;
mod direct;
mod dressing;
mod formatting;
pub mod includes;
pub mod inspection;
pub mod kept;
pub mod line;
pub mod linked;
pub mod links;
mod locale;
mod markup;
mod mjml;
mod pieces;
mod places;
mod plain_text;
mod schemes;
mod scope;
mod syntax;
pub mod template;

use serde::{Deserialize, Serialize};

use crate::guard::Cleared;
use crate::ids::{MessageId, ProfileId, Timestamp};
use crate::message::{Channel, Purpose};
use budget::Budget;
pub use compile::{Compiled, TemplateError};
use dressing::Mail;
use handlebars::Context;
use line::Line;
use pieces::{EmailPieces, Piece, Text};
pub use scope::{Occasion, Scope, Workspace};

/// Why a message could not be rendered. It is parked with this, never sent half.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("{part}, line {line}, column {column}: `{variable}` has no value and no default")]
    Missing { part: String, variable: String, line: usize, column: usize },
    #[error("{part}, line {line}, column {column}: {message}")]
    Failed { part: String, line: usize, column: usize, message: String },
    #[error("{part}: {limit}")]
    Limit { part: String, limit: String },
    /// Data and template together lead somewhere a mail may not.
    #[error("{part}: {address}")]
    UnsafeAddress { part: String, address: String },
    #[error("template {template} has no part for {channel}")]
    NoPart { template: String, channel: &'static str },
}

/// Who a mail is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    name: Option<Line>,
    address: String,
    domain: String,
    reply_to: Option<String>,
}

/// An address nothing can be sent from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an e-mail address to send from")]
pub struct NotASender(String);

impl NotASender {
    /// What was given for one.
    pub fn address(&self) -> &str {
        &self.0
    }
}

impl Sender {
    /// # Errors
    /// When an address is not one with a domain.
    pub fn new(name: Option<&str>, address: &str, reply_to: Option<&str>) -> Result<Self, NotASender> {
        let valid = |text: &str| email_address::EmailAddress::is_valid(text) && Line::new(text).as_str() == text;
        for given in std::iter::once(address).chain(reply_to) {
            if !valid(given) {
                return Err(NotASender(given.to_owned()));
            }
        }
        let Some((_, domain)) = address.rsplit_once('@') else { return Err(NotASender(address.to_owned())) };
        Ok(Self {
            name: name.map(|name| Line::limited(name, 100)).filter(|line| !line.is_empty()),
            address: address.to_owned(),
            domain: domain.to_ascii_lowercase(),
            reply_to: reply_to.map(str::to_owned),
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A name, if any, and an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    pub name: Option<Line>,
    pub address: String,
}

/// A message as its channel carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    Email(Email),
    Sms {
        to: String,
        text: String,
    },
    Push {
        to: String,
        title: String,
        body: String,
        link: Option<String>,
    },
    Whatsapp {
        to: String,
        name: String,
        language: String,
        parameters: Vec<String>,
    },
    /// `json` is valid JSON text.
    Webhook {
        url: String,
        json: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    pub from: Mailbox,
    pub reply_to: Option<String>,
    pub to: Mailbox,
    pub subject: Line,
    pub html: String,
    pub text: String,
    /// Beside the usual ones; names are ours, values are single lines.
    pub headers: Vec<(String, Line)>,
    /// `<MESSAGE@sender-domain>`: the same for every try of one message.
    pub message_id: String,
    pub date: Timestamp,
}

/// A message that may be sent and can be: made by [`render`] alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    message: MessageId,
    profile: ProfileId,
    campaign: String,
    template: String,
    template_version: u32,
    purpose: Purpose,
    channel: Channel,
    at: Timestamp,
    content: Content,
}

impl Rendered {
    pub fn message(&self) -> MessageId {
        self.message
    }

    pub fn profile(&self) -> ProfileId {
        self.profile
    }

    pub fn campaign(&self) -> &str {
        &self.campaign
    }

    pub fn template(&self) -> &str {
        &self.template
    }

    pub fn template_version(&self) -> u32 {
        self.template_version
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// When it was rendered.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    pub fn content(&self) -> &Content {
        &self.content
    }
}

/// What a message would look like. No channel takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preview {
    content: Content,
}

impl Preview {
    pub fn content(&self) -> &Content {
        &self.content
    }
}

/// Renders a cleared message for its channel.
///
/// # Errors
/// A missing variable, a limit, or a template without a part for the channel.
pub fn render(cleared: &Cleared, compiled: &Compiled, scope: &Scope, sender: &Sender) -> Result<Rendered, RenderError> {
    let message = cleared.message();
    let marketing = message.purpose == Purpose::Marketing;
    let writer =
        Writer { compiled, scope, sender, to: cleared.address().deliverable(), marketing, message: message.id };
    Ok(Rendered {
        message: message.id,
        profile: message.profile,
        campaign: message.campaign.clone(),
        template: compiled.key.clone(),
        template_version: compiled.version,
        purpose: message.purpose,
        channel: message.channel,
        at: scope.at,
        content: writer.content(message.channel)?,
    })
}

/// Renders for a look, to the address `to`, as marketing.
///
/// # Errors
/// As [`render`].
pub fn preview(
    compiled: &Compiled,
    channel: Channel,
    scope: &Scope,
    sender: &Sender,
    to: &str,
) -> Result<Preview, RenderError> {
    let writer = Writer { compiled, scope, sender, to, marketing: true, message: scope.message };
    Ok(Preview { content: writer.content(channel)? })
}

struct Writer<'a> {
    compiled: &'a Compiled,
    scope: &'a Scope,
    sender: &'a Sender,
    to: &'a str,
    marketing: bool,
    message: MessageId,
}

impl Writer<'_> {
    fn content(&self, channel: Channel) -> Result<Content, RenderError> {
        let context = self.scope.with_defaults(&self.compiled.defaults);
        let budget = Budget::default();
        let write = |piece: &Piece| piece.render(&context, &budget);
        let missing = || RenderError::NoPart { template: self.compiled.key.clone(), channel: channel.as_str() };
        let to = self.to.to_owned();
        let pieces = self.compiled.pieces(channel, context.data());
        match channel {
            Channel::Email => {
                let pieces = pieces.email.as_ref().ok_or_else(missing)?;
                self.email(pieces, &context, &budget).map(Content::Email)
            }
            Channel::Sms => {
                let text = write(pieces.sms.as_ref().ok_or_else(missing)?)?;
                // Amounts and dates have spaces that do not break; one of them makes an SMS cost twice as many parts.
                Ok(Content::Sms { to, text: text.trim().replace(['\u{a0}', '\u{202f}'], " ") })
            }
            Channel::Push => {
                let pieces = pieces.push.as_ref().ok_or_else(missing)?;
                let link = pieces.link.as_ref().map(write).transpose()?.map(|link| link.trim().to_owned());
                // What leads nowhere is no link.
                let link = link.filter(|link| !link.is_empty());
                let (title, body) = (write(&pieces.title)?, write(&pieces.body)?);
                Ok(Content::Push { to, title: title.trim().to_owned(), body: body.trim().to_owned(), link })
            }
            Channel::Whatsapp => {
                let pieces = pieces.whatsapp.as_ref().ok_or_else(missing)?;
                let parameters = pieces.parameters.iter().map(write).collect::<Result<_, _>>()?;
                let (name, language) = (pieces.name.clone(), pieces.language.clone());
                Ok(Content::Whatsapp { to, name, language, parameters })
            }
            Channel::Webhook => {
                let piece = pieces.webhook.as_ref().ok_or_else(missing)?;
                let json = write(piece)?;
                let checked: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&json);
                let checked = checked.map_err(|cause| RenderError::Failed {
                    part: piece.name.clone(),
                    line: cause.line(),
                    column: cause.column(),
                    message: "the output is not JSON".to_owned(),
                })?;
                Ok(Content::Webhook { url: to, json: checked.get().to_owned() })
            }
        }
    }

    fn email(&self, pieces: &EmailPieces, context: &Context, budget: &Budget) -> Result<Email, RenderError> {
        let write = |piece: &Piece| piece.render(context, budget);
        let subject = Line::new(write(&pieces.subject)?.trim());
        let preheader = pieces.preheader.as_ref().map(|piece| safe(piece, write(piece)?)).transpose()?;
        let preheader = preheader.as_deref().unwrap_or_default();
        let tracked = self.scope.tracking.as_ref().zip(pieces.tracked.as_ref());
        let html = match tracked {
            Some((tracking, piece)) => {
                safe(piece, piece.render_in(context, budget, &Mail { preheader, tracking: Some(tracking) })?)?
            }
            None => self.untracked(pieces, preheader, context, budget)?,
        };
        let text = match &pieces.text {
            Text::Written(piece) => write(piece)?,
            Text::Derived(piece) => plain_text::lay_out(&write(piece)?),
            Text::OfEachMail => {
                // What people read leads where it says.
                let plain = tracked.map(|_| self.untracked(pieces, preheader, context, budget)).transpose()?;
                plain_text::of_html(plain.as_ref().unwrap_or(&html))
                    .map_err(|limit| RenderError::Limit { part: pieces.html.name.clone(), limit })?
            }
        };
        let mut headers = Vec::new();
        if self.marketing {
            headers.push(("List-Unsubscribe".to_owned(), Line::new(&format!("<{}>", self.scope.unsubscribe))));
            headers.push(("List-Unsubscribe-Post".to_owned(), Line::new("List-Unsubscribe=One-Click")));
        }
        Ok(Email {
            from: Mailbox { name: self.sender.name.clone(), address: self.sender.address.clone() },
            reply_to: self.sender.reply_to.clone(),
            to: Mailbox { name: self.scope.recipient.clone(), address: self.to.to_owned() },
            subject,
            html,
            text,
            headers,
            message_id: format!("<{}@{}>", self.message, self.sender.domain),
            date: self.scope.at,
        })
    }

    fn untracked(
        &self,
        pieces: &EmailPieces,
        preheader: &str,
        context: &Context,
        budget: &Budget,
    ) -> Result<String, RenderError> {
        safe(&pieces.html, pieces.html.render_in(context, budget, &Mail { preheader, tracking: None })?)
    }
}

fn safe(piece: &Piece, html: String) -> Result<String, RenderError> {
    let Some(refused) = schemes::refused(&html) else { return Ok(html) };
    Err(RenderError::UnsafeAddress { part: piece.name.clone(), address: refused.to_string() })
}

#[cfg(test)]
pub(crate) mod tests;
