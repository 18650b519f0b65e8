//! What a template consists of once it is compiled: for each channel its pieces, and how they are made of its parts.

use std::collections::BTreeMap;

use handlebars::template::Template as Tree;

use crate::message::Channel;
use crate::render::compile::{Escape, TemplateError, compiled};
use crate::render::links::Tracks;
use crate::render::places::Place;
use crate::render::template::{EmailPart, Markup, Parts};
use crate::render::{dressing, mjml, plain_text, schemes, syntax};

/// One compiled piece of a template: a subject, a body.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) tree: Tree,
    /// For each element of the tree, whether it is written without Handlebars.
    pub(super) direct: Vec<bool>,
    pub(super) escape: Escape,
    /// Whether it may call `step`.
    pub(super) has_loops: bool,
    /// Whether it calls `mail`, which puts in what belongs to each mail.
    pub(super) is_dressed: bool,
    /// Bytes of output that are expected.
    pub(super) length: usize,
}

/// All that one template says in one language.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    pub(super) email: Option<EmailPieces>,
    pub(super) sms: Option<Piece>,
    pub(super) push: Option<PushPieces>,
    pub(super) whatsapp: Option<WhatsappPieces>,
    pub(super) webhook: Option<Piece>,
}

impl Pieces {
    pub(super) fn has(&self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.email.is_some(),
            Channel::Sms => self.sms.is_some(),
            Channel::Push => self.push.is_some(),
            Channel::Whatsapp => self.whatsapp.is_some(),
            Channel::Webhook => self.webhook.is_some(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct EmailPieces {
    pub(super) subject: Piece,
    pub(super) preheader: Option<Piece>,
    pub(super) html: Piece,
    /// The same with calls where clicks and opens are tracked; none where this template tracks nothing.
    pub(super) tracked: Option<Piece>,
    pub(super) text: Text,
}

/// Where a mail's text part comes from.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Written(Piece),
    /// Made of the HTML's template; its output is to be laid out.
    Derived(Piece),
    /// Only the finished HTML can tell.
    OfEachMail,
}

#[derive(Debug, Clone)]
pub(super) struct PushPieces {
    pub(super) title: Piece,
    pub(super) body: Piece,
    pub(super) link: Option<Piece>,
}

#[derive(Debug, Clone)]
pub(super) struct WhatsappPieces {
    pub(super) name: String,
    pub(super) language: String,
    pub(super) parameters: Vec<Piece>,
}

/// Makes the pieces of one language's parts.
pub(super) struct Maker<'t> {
    /// Before the names of parts, in problems: empty, or the locale and a slash.
    pub(super) folder: String,
    pub(super) language: Option<&'t str>,
    pub(super) tracks: Tracks,
}

impl Maker<'_> {
    pub(super) fn pieces(&self, parts: &Parts) -> Result<Pieces, TemplateError> {
        let Parts { email, sms, push, whatsapp, webhook } = parts;
        let plain = |name: &str, source: &String| self.piece(name, source, Escape::Plain);
        let push = push.as_ref().map(|part| {
            Ok(PushPieces {
                title: plain("push title", &part.title)?,
                body: plain("push body", &part.body)?,
                link: part.link.as_ref().map(|it| plain("push link", it)).transpose()?,
            })
        });
        let whatsapp = whatsapp.as_ref().map(|part| {
            let parameters = part.parameters.iter().enumerate();
            Ok(WhatsappPieces {
                name: part.name.clone(),
                language: part.language.clone(),
                parameters: parameters
                    .map(|(n, it)| plain(&format!("whatsapp parameter {}", n + 1), it))
                    .collect::<Result<_, _>>()?,
            })
        });
        Ok(Pieces {
            email: email.as_ref().map(|part| self.email(part)).transpose()?,
            sms: sms.as_ref().map(|it| plain("sms", it)).transpose()?,
            push: push.transpose()?,
            whatsapp: whatsapp.transpose()?,
            webhook: webhook.as_ref().map(|it| self.piece("webhook.json", it, Escape::Json)).transpose()?,
        })
    }

    fn piece(&self, name: &str, source: &str, escape: Escape) -> Result<Piece, TemplateError> {
        compiled(&format!("{}{name}", self.folder), source, escape, self.language, None)
    }

    /// The HTML of a mail: what it links to is looked at where it is written out.
    fn html_piece(&self, name: &str, source: &str) -> Result<Piece, TemplateError> {
        let piece = self.piece(name, source, Escape::Html)?;
        let written = syntax::without_tags(source, schemes::UNKNOWN);
        let Some(refused) = schemes::refused_in_template(&written) else { return Ok(piece) };
        let (line, column, message) = syntax::at_place(source, refused.at, refused.to_string());
        Err(TemplateError { part: piece.name, line, column, message })
    }

    fn email(&self, part: &EmailPart) -> Result<EmailPieces, TemplateError> {
        let body = self.body(&part.markup)?;
        if part.preheader.is_some()
            && let Markup::Mjml(source) = &part.markup
            && let Some(at) = source.find("<mj-preview")
        {
            let what = "the line an inbox shows is written here and as the preheader".to_owned();
            let (line, column, message) = syntax::at_place(source, at, what);
            return Err(TemplateError { part: body.name, line, column, message });
        }
        let dressed = |tracks| {
            let dressed = dressing::dress(&body.html, part.preheader.is_some(), tracks);
            let places = dressed.places(&body.html, &body.places);
            compiled(&body.name, &dressed.text, Escape::Html, self.language, Some(&places))
        };
        let text = match &part.text {
            Some(text) => Text::Written(self.piece("email.txt", text, Escape::Plain)?),
            None => {
                let made = plain_text::template(&body.html);
                let made = made.and_then(|text| self.piece(part.markup.part(), &text, Escape::Plain).ok());
                made.map_or(Text::OfEachMail, Text::Derived)
            }
        };
        Ok(EmailPieces {
            subject: self.piece("subject", &part.subject, Escape::Plain)?,
            preheader: part.preheader.as_ref().map(|it| self.html_piece("preheader", it)).transpose()?,
            html: dressed(Tracks::NONE)?,
            tracked: self.tracks.any().then(|| dressed(self.tracks)).transpose()?,
            text,
        })
    }

    /// Checked as its author wrote it, so that every problem has its place.
    fn body(&self, markup: &Markup) -> Result<Body, TemplateError> {
        let name = self.html_piece(markup.part(), markup.source())?.name;
        match markup {
            Markup::Html(html) => Ok(Body { name, html: html.clone(), places: BTreeMap::new() }),
            Markup::Mjml(source) => {
                let error = |(line, column, message)| TemplateError { part: name.clone(), line, column, message };
                let made = mjml::to_html(source).map_err(error)?;
                let places = made.places(source, &BTreeMap::new());
                Ok(Body { name, html: made.text, places })
            }
        }
    }
}

/// A mail's HTML, and where its tags stand in what its author wrote.
struct Body {
    name: String,
    html: String,
    places: BTreeMap<Place, Place>,
}
