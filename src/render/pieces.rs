//! What a template consists of once it is compiled: for each channel its pieces, and how they are made of its parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use handlebars::template::Template as Tree;

use crate::message::Channel;
use crate::render::compile::{Escape, Source, TemplateError, compiled};
use crate::render::dressing::{self, Shown};
use crate::render::includes::{self, Expanded, Kind, Origins, Shelf};
use crate::render::links::Tracks;
use crate::render::markup::{Part, parts};
use crate::render::places::Place;
use crate::render::template::{EmailPart, Markup, Parts, Template};
use crate::render::{mjml, plain_text, schemes, syntax};

/// One compiled piece of a template: a subject, a body.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    /// Where its author wrote what.
    pub(super) origins: Arc<Origins>,
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
    pub(super) shelf: Shelf<'t>,
}

impl<'t> Maker<'t> {
    /// Of everybody's parts, or of those for a locale.
    pub(super) fn of(template: &'t Template, locale: Option<&'t str>) -> Self {
        Self {
            folder: locale.map_or_else(String::new, |locale| format!("{locale}/")),
            language: locale.or(template.locale.as_deref()),
            tracks: template.tracks,
            shelf: Shelf { partials: &template.partials, locale },
        }
    }

    /// What is wrong with each part by itself, and where nothing is, with how they go together.
    pub(super) fn faults(&self, parts: &Parts) -> Vec<TemplateError> {
        let mut faults = Vec::new();
        let mut plain = |name: &str, source: &str| faults.extend(self.piece(name, source, Escape::Plain).err());
        let Parts { email, sms, push, whatsapp, webhook } = parts;
        if let Some(part) = email {
            plain("subject", &part.subject);
            part.text.iter().for_each(|it| plain("email.txt", it));
        }
        sms.iter().for_each(|it| plain("sms", it));
        if let Some(part) = push {
            plain("push title", &part.title);
            plain("push body", &part.body);
            part.link.iter().for_each(|it| plain("push link", it));
        }
        for (n, it) in whatsapp.iter().flat_map(|part| part.parameters.iter().enumerate()) {
            plain(&format!("whatsapp parameter {}", n + 1), it);
        }
        faults.extend(webhook.as_ref().and_then(|it| self.piece("webhook.json", it, Escape::Json).err()));
        if let Some(part) = email {
            let preheader = part.preheader.as_ref();
            faults.extend(preheader.and_then(|it| self.written("preheader", it, Kind::HTML).err()));
            let body = self.whole(part.markup.part(), part.markup.source(), part.markup.kind());
            faults.extend(body.and_then(|whole| self.body(&part.markup, &whole)).err());
        }
        if faults.is_empty() {
            faults.extend(self.pieces(parts).err());
        }
        faults
    }

    fn written(&self, name: &str, source: &str, kind: Kind) -> Result<Piece, TemplateError> {
        self.html_piece(&self.whole(name, source, kind)?)
    }

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
        self.whole(name, source, Kind::of(escape)).and_then(|whole| self.compiled(&whole, escape))
    }

    /// A part with all that it includes.
    fn whole(&self, name: &str, source: &str, kind: Kind) -> Result<Whole, TemplateError> {
        let name = format!("{}{name}", self.folder);
        let Expanded { text, origins } = includes::expand(self.shelf, &name, source, kind)?;
        Ok(Whole { name, text, origins: Arc::new(origins) })
    }

    fn compiled(&self, whole: &Whole, escape: Escape) -> Result<Piece, TemplateError> {
        let Whole { name, text, origins } = whole;
        compiled(&Source { name, text, places: None, origins }, escape, self.language)
    }

    /// The HTML of a mail: what it links to is looked at where it is written out.
    fn html_piece(&self, whole: &Whole) -> Result<Piece, TemplateError> {
        let piece = self.compiled(whole, Escape::Html)?;
        let written = syntax::without_tags(&whole.text, schemes::UNKNOWN);
        let Some(refused) = schemes::refused_in_template(&written) else { return Ok(piece) };
        Err(whole.error(syntax::at_place(&whole.text, refused.at, refused.to_string())))
    }

    fn email(&self, part: &EmailPart) -> Result<EmailPieces, TemplateError> {
        let whole = self.whole(part.markup.part(), part.markup.source(), part.markup.kind())?;
        let body = self.body(&part.markup, &whole)?;
        let preview = body.preview;
        if let (Some(at), true) = (preview, part.preheader.is_some()) {
            let what = "the line an inbox shows is written here and as the preheader".to_owned();
            return Err(whole.error(syntax::at_place(&whole.text, at, what)));
        }
        let shown = match preview {
            Some(_) => Shown::Preview,
            None if part.preheader.is_some() => Shown::Preheader,
            None => Shown::AsWritten,
        };
        let dressed = |tracks| {
            let dressed = dressing::dress(&body.html, shown, tracks);
            let places = dressed.places(&body.html, &body.places);
            let source =
                Source { name: &whole.name, text: &dressed.text, places: Some(&places), origins: &whole.origins };
            compiled(&source, Escape::Html, self.language)
        };
        let text = match &part.text {
            Some(text) => Text::Written(self.piece("email.txt", text, Escape::Plain)?),
            None => {
                let made = plain_text::template(&body.html);
                let derived = |text| Whole { text, name: whole.name.clone(), origins: Arc::clone(&whole.origins) };
                let made = made.and_then(|text| self.compiled(&derived(text), Escape::Plain).ok());
                made.map_or(Text::OfEachMail, Text::Derived)
            }
        };
        let preheader = part.preheader.as_ref();
        let preheader = preheader.map(|it| self.written("preheader", it, Kind::HTML));
        Ok(EmailPieces {
            subject: self.piece("subject", &part.subject, Escape::Plain)?,
            preheader: preheader.transpose()?,
            html: dressed(Tracks::NONE)?,
            tracked: self.tracks.any().then(|| dressed(self.tracks)).transpose()?,
            text,
        })
    }

    /// Checked as its author wrote it, so that every problem has its place.
    fn body(&self, markup: &Markup, whole: &Whole) -> Result<Body, TemplateError> {
        self.html_piece(whole)?;
        match markup {
            Markup::Html(_) => Ok(Body { html: whole.text.clone(), places: BTreeMap::new(), preview: None }),
            Markup::Mjml(_) => {
                let made = mjml::to_html(&whole.text).map_err(|problem| whole.error(problem))?;
                let places = made.places(&whole.text, &BTreeMap::new());
                let written = syntax::without_tags(&whole.text, schemes::UNKNOWN);
                let preview = parts(&written).find_map(|part| match part {
                    Part::Open { name: "mj-preview", at, .. } => Some(at),
                    _ => None,
                });
                Ok(Body { html: made.text, places, preview })
            }
        }
    }
}

/// A part with all that it includes, and where its authors wrote it.
struct Whole {
    name: String,
    text: String,
    origins: Arc<Origins>,
}

impl Whole {
    fn error(&self, (line, column, message): syntax::Problem) -> TemplateError {
        self.origins.error(&self.name, (line, column), message)
    }
}

/// A mail's HTML, and where its tags stand in what its author wrote.
struct Body {
    html: String,
    places: BTreeMap<Place, Place>,
    /// Where `mj-preview` stands in what its author wrote.
    preview: Option<usize>,
}
