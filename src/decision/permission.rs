//! What an event says about permission: answers on channels and topics become rows of the ledger, a no also stops the
//! address, a yes from a form may have to be confirmed first.

use serde_json::Value;

use crate::audience::consent::{Consent, ConsentState, Via, takes, topic_name};
use crate::decision::{CONSENT_CHANGED, Effect, Finding, Turn};
use crate::event::{Event, Kind, Origin};

use crate::message::{Address, Channel, Message, Purpose, Reason, SuppressionKind, address_of};

/// Characters kept of a source and of a text version.
const SOURCE_CHARS_MAX: usize = 200;
const VERSION_CHARS_MAX: usize = 100;
/// Words for marketing in the consent of tag managers; compared without case.
const MARKETING: [&str; 4] = ["marketing", "advertising", "direct_marketing", "email_marketing"];

/// What an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Channel(Channel),
    Topic(String),
}

impl About {
    fn name(&self) -> String {
        match self {
            Self::Channel(channel) => channel.as_str().to_owned(),
            Self::Topic(topic) => topic_name(topic),
        }
    }
}

/// The key under which a channel's confirmations stand in place of a campaign's.
pub fn confirmation_key(channel: Channel) -> String {
    format!("confirm:{}", channel.as_str())
}

/// The field by which the event says that its sender wants no marketing.
///
/// Shapes: `context.consent.marketing: false` (or `denied`), the categories of Segment's consent
/// (`context.consent.categoryPreferences`), and RudderStack's `context.consentManagement.deniedConsentIds`.
pub fn denies_marketing(event: &Event) -> Option<String> {
    // In every one of these names, so that most events need not be read for it.
    if !event.body.may_name("consent") {
        return None;
    }
    let is_marketing = |name: &str| MARKETING.iter().any(|word| word.eq_ignore_ascii_case(name));
    if event.lookup("context.consent.marketing").and_then(answer_of) == Some(ConsentState::Denied) {
        return Some("context.consent.marketing".to_owned());
    }
    let categories = event.lookup("context.consent.categoryPreferences").and_then(Value::as_object);
    let denied =
        |(name, value): &(&String, &Value)| is_marketing(name) && answer_of(value) == Some(ConsentState::Denied);
    if let Some((name, _)) = categories.into_iter().flatten().find(denied) {
        return Some(format!("context.consent.categoryPreferences.{name}"));
    }
    let denied = event.lookup("context.consentManagement.deniedConsentIds").and_then(Value::as_array);
    let mut names = denied.into_iter().flatten().filter_map(Value::as_str);
    names.find(|name| is_marketing(name)).map(|name| format!("context.consentManagement.deniedConsentIds {name}"))
}

impl Turn<'_> {
    /// Takes the answers of an event, each by the rules of the ledger.
    pub(super) fn learn_consent(&mut self, event: &Event) {
        if event.name == CONSENT_CHANGED {
            if let Some((about, consent)) = declared(event)
                && !self.take_answer(event, &about, consent.clone())
            {
                self.note_kept(&about, &consent);
            }
            return;
        }
        for (channel, consent) in in_context(event) {
            let confirms = self.snapshot.catalog.policy(channel).is_some_and(|policy| policy.double_opt_in.is_some());
            // Nobody is asked to confirm what a browser repeats with every page.
            if consent.state == ConsentState::Denied || !confirms {
                self.take_answer(event, &About::Channel(channel), consent);
            }
        }
    }

    fn note_kept(&mut self, about: &About, consent: &Consent) {
        let kept = self.person.profile.consent.get(&about.name()).map_or(ConsentState::Unknown, |known| known.state);
        let (answer, kept) = (consent.state.as_str().to_owned(), kept.as_str().to_owned());
        self.decision.findings.push(Finding::noted(Reason::ConsentKept { about: about.name(), answer, kept }));
    }

    /// False where the answer before it stays.
    fn take_answer(&mut self, event: &Event, about: &About, mut consent: Consent) -> bool {
        let name = about.name();
        let known = self.person.profile.consent.get(&name);
        let mut template = None;
        if let About::Channel(channel) = about
            && consent.state == ConsentState::Granted
            && consent.via.is_form()
            && known.is_none_or(|known| known.state != ConsentState::Granted)
        {
            template = self.snapshot.catalog.policy(*channel).and_then(|policy| policy.double_opt_in.clone());
        }
        if template.is_some() {
            consent.state = ConsentState::Pending;
        }
        if !takes(known, &consent) || !self.is_theirs(event, about, &consent) {
            return false;
        }
        let state = consent.state;
        self.push(Effect::SetConsent { channel: name, consent: consent.clone() });
        match state {
            ConsentState::Denied => self.stop_addresses(event, about, &consent),
            ConsentState::Granted => self.free_addresses(event, about, &consent),
            ConsentState::Pending | ConsentState::Unknown => {}
        }
        if let (About::Channel(channel), Some(template)) = (about, template) {
            self.ask_to_confirm(*channel, template);
        }
        true
    }

    /// A confirmation is of the address it was sent to; whoever has another one since has not confirmed that.
    fn is_theirs(&self, event: &Event, about: &About, consent: &Consent) -> bool {
        match (consent.via, about) {
            (Via::Confirmation, About::Channel(channel)) => {
                let now = address_of(&self.person.profile, *channel).ok();
                now.is_some() && now == proven(event, *channel)
            }
            (Via::Confirmation, About::Topic(_)) => false,
            _ => true,
        }
    }

    /// The addresses an answer holds for, whoever else has them.
    fn addresses(&self, event: &Event, about: &About) -> Vec<(Address, SuppressionKind)> {
        let (channels, kind) = match about {
            About::Channel(channel) => (vec![*channel], SuppressionKind::Unsubscribed),
            About::Topic(key) => {
                let topic = self.snapshot.catalog.topic(key);
                let on = |channel: &Channel| topic.is_none_or(|topic| topic.is_on(*channel));
                (Channel::ALL.into_iter().filter(on).collect(), SuppressionKind::Topic(key.clone()))
            }
        };
        let mut found: Vec<Address> = Vec::new();
        for channel in channels {
            let theirs = address_of(&self.person.profile, channel).ok();
            for address in theirs.into_iter().chain(proven(event, channel)) {
                if !found.iter().any(|known| known.channel() == channel && known.normalised() == address.normalised()) {
                    found.push(address);
                }
            }
        }
        found.into_iter().map(|address| (address, kind.clone())).collect()
    }

    fn stop_addresses(&mut self, event: &Event, about: &About, consent: &Consent) {
        for (address, kind) in self.addresses(event, about) {
            self.push(Effect::Suppress {
                channel: address.channel(),
                address: address.normalised().to_owned(),
                kind,
                source: consent.source.clone(),
                at: self.at.now,
            });
        }
    }

    /// A yes takes back the no of the same person; one from the mailbox itself takes back everybody's.
    fn free_addresses(&mut self, event: &Event, about: &About, consent: &Consent) {
        for (address, kind) in self.addresses(event, about) {
            let proof = proven(event, address.channel());
            let is_proven = proof.is_some_and(|proof| proof.normalised() == address.normalised());
            self.push(Effect::LiftSuppression {
                channel: address.channel(),
                address: address.normalised().to_owned(),
                kind,
                source: consent.source.clone(),
                at: self.at.now,
                of_anybody: is_proven,
            });
        }
    }

    fn ask_to_confirm(&mut self, channel: Channel, template: String) {
        let profile = self.person.profile.id;
        let cause: [&[u8]; 4] =
            [b"confirm", channel.as_str().as_bytes(), &profile.0.to_be_bytes(), &self.at.position.0.to_be_bytes()];
        self.push(Effect::CreateMessage(Message {
            campaign: confirmation_key(channel),
            template,
            ..Message::queued(&cause, profile, channel, Purpose::Transactional, self.at.position, self.at.now)
        }));
    }
}

/// The address a link of ours was sent to: only our own events say so.
fn proven(event: &Event, channel: Channel) -> Option<Address> {
    if event.kind != Kind::Own || event.lookup("properties.address_channel")?.as_str()? != channel.as_str() {
        return None;
    }
    Address::parse(channel, event.lookup("properties.address")?.as_str()?)
}

/// The answer an event declares, if it is a well-formed `Consent Changed`.
fn declared(event: &Event) -> Option<(About, Consent)> {
    let text = |path: &str| event.lookup(path).and_then(Value::as_str);
    let about = match text("properties.topic") {
        Some(topic) => About::Topic(topic.chars().take(SOURCE_CHARS_MAX).collect()),
        None => About::Channel(Channel::parse(text("properties.channel")?)?),
    };
    let state = match text("properties.state")? {
        "subscribed" => ConsentState::Granted,
        "unsubscribed" => ConsentState::Denied,
        other => ConsentState::parse(other)?,
    };
    let via = via_of(event, text("properties.via"));
    // Only a policy makes a yes pending.
    if state == ConsentState::Pending {
        return None;
    }
    Some((about, answer(event, state, via, text("properties.source"), text("properties.text_version"))))
}

/// Clients cannot say which way they came; what we make ourselves says it.
fn via_of(event: &Event, said: Option<&str>) -> Via {
    match (event.kind, &event.origin) {
        (_, Origin::Import { .. } | Origin::Replay { .. } | Origin::Past { .. }) => Via::Import,
        (Kind::Own, Origin::Live | Origin::Decided { .. }) => said.and_then(Via::parse).unwrap_or(Via::Link),
        (
            Kind::Track | Kind::Identify | Kind::Page | Kind::Screen | Kind::Group | Kind::Alias,
            Origin::Live | Origin::Decided { .. },
        ) => Via::Event,
    }
}

/// Answers in `context.consent`, by channel: a word, true or false, or `{ state, source, text_version }`.
fn in_context(event: &Event) -> Vec<(Channel, Consent)> {
    if event.kind == Kind::Own || !event.body.may_name("consent") {
        return Vec::new();
    }
    let Some(answers) = event.lookup("context.consent").and_then(Value::as_object) else { return Vec::new() };
    let via = match event.origin {
        Origin::Live | Origin::Decided { .. } => Via::Context,
        Origin::Import { .. } | Origin::Replay { .. } | Origin::Past { .. } => Via::Import,
    };
    let read = |(name, value): (&String, &Value)| {
        let channel = Channel::parse(name)?;
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let state = answer_of(value.get("state").unwrap_or(value))?;
        Some((channel, answer(event, state, via, text("source"), text("text_version"))))
    };
    answers.iter().filter_map(read).collect()
}

/// A yes or a no, as words or as true and false.
fn answer_of(value: &Value) -> Option<ConsentState> {
    match value {
        Value::Bool(true) => Some(ConsentState::Granted),
        Value::Bool(false) => Some(ConsentState::Denied),
        Value::String(word) => {
            ConsentState::parse(word).filter(|state| matches!(state, ConsentState::Granted | ConsentState::Denied))
        }
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn answer(event: &Event, state: ConsentState, via: Via, source: Option<&str>, version: Option<&str>) -> Consent {
    Consent {
        state,
        source: source.unwrap_or(&event.source).chars().take(SOURCE_CHARS_MAX).collect(),
        at: event.at,
        text_version: version.map(|version| version.chars().take(VERSION_CHARS_MAX).collect()),
        via,
    }
}
