//! A rendered mail, made the only way there is: a draft, cleared by the guard, rendered from a template.

use carillon::audience::Profile;
use carillon::audience::cart::View;
use carillon::event::{Body, Event, Kind, Origin};
use carillon::guard::{Cleared, Draft, GuardState, Verdict, check};
use carillon::ids::{EventId, Position, ProfileId, Timestamp};
use carillon::message::{Channel, Message, Purpose};
use carillon::money::Exchange;
use carillon::render::links::{MessageLinks, Tracks};
use carillon::render::template::{EmailPart, Markup, Parts, Template};
use carillon::render::{Compiled, Occasion, Rendered, Scope, Sender, Workspace, render};

fn now() -> Timestamp {
    "2026-03-01T11:00Z".parse().unwrap()
}

/// What a mail says, beside its recipient.
#[derive(Debug, Clone)]
pub struct Wording {
    pub subject: String,
    pub html: String,
    pub marketing: bool,
}

pub fn mail_to(address: &str) -> Rendered {
    let subject = "Your cart, {{profile.traits.first_name}} – {{money event.properties.price \"EUR\"}}".to_owned();
    mail_of(address, &Wording { subject, html: "<p>It waits.</p>".to_owned(), marketing: true })
}

pub fn mail_of(address: &str, wording: &Wording) -> Rendered {
    let mut profile = Profile::new(ProfileId(7), now());
    profile.traits.insert("email".to_owned(), address.into());
    profile.traits.insert("first_name".to_owned(), "Ann".into());
    let mut message = message(address);
    message.purpose = if wording.marketing { Purpose::Marketing } else { Purpose::Transactional };
    let event = event();
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
            confirm: None,
            tracking: None,
        },
    };
    let sender = Sender::new(Some("The Shop"), "hello@shop.example", None).unwrap();
    let compiled = Compiled::new(&template(wording)).unwrap();
    render(&cleared(&profile, message.clone()), &compiled, &Scope::new(now(), &about), &sender).unwrap()
}

fn template(wording: &Wording) -> Template {
    let email = EmailPart {
        subject: wording.subject.clone(),
        preheader: None,
        markup: Markup::Html(wording.html.clone()),
        text: None,
    };
    Template {
        key: "cart_reminder".to_owned(),
        version: 1,
        topic: None,
        name: None,
        defaults: serde_json::Map::new(),
        sample: serde_json::Map::new(),
        tracks: Tracks::ALL,
        locale: None,
        parts: Parts { email: Some(email), ..Parts::default() },
        variants: std::collections::BTreeMap::new(),
        partials: std::collections::BTreeMap::new(),
    }
}

fn cleared(profile: &Profile, message: Message) -> Cleared {
    let state = GuardState { unknown_consent: Ok(()), ..GuardState::of(profile) };
    match check(now(), &state, Draft(message)) {
        Verdict::Clear(cleared) => cleared,
        other => panic!("{other:?}"),
    }
}

fn message(seed: &str) -> Message {
    Message {
        campaign: "cart_reminder".to_owned(),
        template: "cart_reminder".to_owned(),
        ..Message::queued(&[seed.as_bytes()], ProfileId(7), Channel::Email, Purpose::Marketing, Position(1), now())
    }
}

fn event() -> Event {
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
        at: now(),
        received_at: now(),
        original_at: None,
        sent_at: None,
        origin: Origin::Live,
        body: Body::new(r#"{"properties":{"price":40.00}}"#),
    }
}
