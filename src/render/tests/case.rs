//! One render, with everything it needs.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::audience::Profile;
use crate::audience::cart::View;
use crate::event::{Body, Event, Kind};
use crate::guard::{Cleared, Draft, GuardState, Verdict, check};
use crate::ids::{EventId, MessageId, Position, ProfileId, Timestamp, WorkspaceId};
use crate::message::{Channel, Message, Purpose};
use crate::money::Exchange;
use crate::render::links::{KeyRing, Link, Links, MessageLinks, Tracks};
use crate::render::template::{EmailPart, Markup, Parts, Template};
use crate::render::{
    Compiled, Content, Email, Occasion, RenderError, Rendered, Scope, Sender, TemplateError, Workspace, render,
};

pub(crate) fn at() -> Timestamp {
    "2026-03-01T11:00Z".parse().unwrap()
}

pub(crate) fn message(channel: Channel, purpose: Purpose) -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart_reminder".to_owned(),
        ..Message::queued(&[b"one"], ProfileId(7), channel, purpose, Position(1), at())
    }
}

pub(crate) fn cleared(profile: &Profile, message: Message) -> Cleared {
    let state = GuardState { unknown_consent: Ok(()), ..GuardState::of(profile) };
    match check(at(), &state, Draft(message)) {
        Verdict::Clear(cleared) => cleared,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn event(body: &str) -> Event {
    Event {
        id: EventId::derive(&[b"e"]),
        kind: Kind::Track,
        name: "Product Added".to_owned(),
        message_id: "m-1".to_owned(),
        version: 1,
        source: "shop".to_owned(),
        correlation_id: "c-1".to_owned(),
        trace: None,
        user_id: Some("ann".to_owned()),
        anonymous_id: None,
        previous_id: None,
        at: "2026-03-01T10:00Z".parse().unwrap(),
        received_at: at(),
        original_at: None,
        sent_at: None,
        origin: crate::event::Origin::Live,
        body: Body::new(body),
    }
}

pub(crate) fn link(message: MessageId) -> Link {
    Link { workspace: WorkspaceId(1), profile: ProfileId(7), channel: Channel::Email, message }
}

/// One render, with everything it needs.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) template: Template,
    pub(crate) traits: Value,
    pub(crate) event: String,
    pub(crate) channel: Channel,
    pub(crate) purpose: Purpose,
    pub(crate) to: String,
    pub(crate) seed: String,
    pub(crate) tracks: Tracks,
}

/// One part as SMS, so that the text comes out as it is.
pub(crate) fn sms(source: &str) -> Case {
    let parts = Parts { sms: Some(source.to_owned()), ..Parts::default() };
    case(parts, Channel::Sms).to("+491701234567")
}

pub(crate) fn mjml(source: &str) -> Case {
    let mut case = email("s", "");
    case.template.parts.email.as_mut().unwrap().markup = Markup::Mjml(source.to_owned());
    case
}

pub(crate) fn email(subject: &str, html: &str) -> Case {
    let email = EmailPart { subject: subject.into(), preheader: None, markup: Markup::Html(html.into()), text: None };
    case(Parts { email: Some(email), ..Parts::default() }, Channel::Email)
}

pub(crate) fn case(parts: Parts, channel: Channel) -> Case {
    let template = Template {
        key: "cart_reminder".to_owned(),
        version: 3,
        topic: None,
        name: None,
        defaults: Map::new(),
        sample: Map::new(),
        tracks: Tracks::ALL,
        locale: None,
        parts,
        variants: BTreeMap::new(),
        partials: BTreeMap::new(),
    };
    let event = r#"{"properties":{"price":40.00,"currency":"EUR","quantity":2,"gone":null,"title":"Shoes & <b>more</b>",
        "items":[{"name":"A","price":1.10},{"name":"B","price":2.20}],"tags":["x",null]}}"#;
    Case {
        template,
        traits: json!({ "first_name": "Ann" }),
        event: event.to_owned(),
        channel,
        purpose: Purpose::Marketing,
        to: "ann@example.com".to_owned(),
        seed: "one".to_owned(),
        tracks: Tracks::NONE,
    }
}

impl Case {
    pub(crate) fn default(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.template.defaults.insert(path.to_owned(), value.into());
        self
    }

    pub(crate) fn traits(mut self, traits: Value) -> Self {
        self.traits = traits;
        self
    }

    pub(crate) fn to(mut self, address: &str) -> Self {
        self.to = address.to_owned();
        self
    }

    /// Another message than the others: its id comes from `seed`.
    pub(crate) fn seed(mut self, seed: &str) -> Self {
        self.seed = seed.to_owned();
        self
    }

    pub(crate) fn preheader(&mut self, source: &str) {
        self.template.parts.email.as_mut().unwrap().preheader = Some(source.to_owned());
    }

    pub(crate) fn template_tracks(&mut self, tracks: Tracks) {
        self.template.tracks = tracks;
    }

    pub(crate) fn try_mail(&self) -> Result<Email, RenderError> {
        self.render().map(|_| self.mail())
    }

    /// In a workspace that tracks this.
    pub(crate) fn tracked(mut self, tracks: Tracks) -> Self {
        self.tracks = tracks;
        self
    }

    pub(crate) fn done(&self) -> Rendered {
        self.render().unwrap()
    }

    pub(crate) fn render(&self) -> Result<Rendered, RenderError> {
        let compiled = Compiled::new(&self.template).unwrap();
        let mut profile = Profile::new(ProfileId(7), at());
        profile.traits = self.traits.as_object().unwrap().clone();
        profile.traits.entry(self.channel.address_trait()).or_insert(self.to.clone().into());
        let mut message = message(self.channel, self.purpose);
        message.id = MessageId::derive(&[self.seed.as_bytes()]);
        let event = event(&self.event);
        let workspace = Workspace { name: "Shop".to_owned(), postal_address: None, timezone: String::new() };
        let about = Occasion {
            profile: &profile,
            event: &event,
            entry: &event,
            cart: &View::default(),
            exchange: &Exchange::default(),
            message: &message,
            campaign_name: "Cart reminder",
            workspace: &workspace,
            links: &MessageLinks {
                unsubscribe: "https://news.shop.example/u/TOKEN".to_owned(),
                preferences: "https://news.shop.example/preferences/TOKEN".to_owned(),
                ..self.links().of_message(&link(message.id), false)
            },
        };
        let sender = Sender::new(Some("The Shop"), "hello@Shop.example", None).unwrap();
        let cleared = cleared(&profile, message.clone());
        render(&cleared, &compiled, &Scope::new(at(), &about), &sender)
    }

    pub(crate) fn links(&self) -> Links {
        Links::new("https://news.shop.example", KeyRing::new(1, [7; 32])).with_tracking(self.tracks)
    }

    pub(crate) fn text(&self) -> String {
        match self.render().unwrap().content {
            Content::Sms { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn mail(&self) -> Email {
        match self.render().unwrap().content {
            Content::Email(email) => email,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn refused(&self) -> TemplateError {
        Compiled::new(&self.template).unwrap_err()
    }
}
