//! Permission: what a person answered, per channel and per topic, in a ledger; and what no answer means.
//!
//! The ledger's rows in the order of the log, folded with [`next`], give the present answer. The rules:
//!
//! ```text
//!                 unknown      pending                granted              denied
//! → granted       takes        confirmed in time,     newer                newer, and said by the person
//!                              or said otherwise                           or an operator (never import,
//!                                                                          context, merge)
//! → pending       takes        newer                  stays: already yes   newer
//! → denied        takes        takes                  newer                newer
//! → unknown       stays        by an operator, a policy or an erasure only
//! ```
//!
//! "Newer" compares the instants of the answers, not of their arrival; of two at one instant the later in the log wins.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audience::condition::{self, Condition, Facts};
use crate::audience::whereabouts::places::country_code;
use crate::ids::{Span, Timestamp};

/// How long a person has to confirm a double opt-in.
pub const CONFIRM_WITHIN: Span = Span::from_days(7);

/// The answer of a person on one channel or topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// No answer, or one that was taken back to none.
    Unknown,
    /// Yes, by somebody who has not shown yet that the address is theirs: no more than unknown.
    Pending,
    Granted,
    Denied,
}

impl ConsentState {
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Pending, Self::Granted, Self::Denied];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
        }
    }
}

/// By which way an answer came: some may say what others may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A `Consent Changed` event of a client: a form, a checkout, a shop's own page.
    #[default]
    Event,
    /// `context.consent` of any event.
    Context,
    /// The unsubscribe link of a message, by hand or by one click.
    Link,
    /// The preference page.
    Page,
    /// The confirmation link of a double opt-in.
    Confirmation,
    /// An operator, by the API or the command line.
    Api,
    /// A file of the past, or an entry that was redriven.
    Import,
    Merge,
    Policy,
    Erasure,
}

impl Via {
    pub const ALL: [Self; 10] = [
        Self::Event,
        Self::Context,
        Self::Link,
        Self::Page,
        Self::Confirmation,
        Self::Api,
        Self::Import,
        Self::Merge,
        Self::Policy,
        Self::Erasure,
    ];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|via| via.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Context => "context",
            Self::Link => "link",
            Self::Page => "page",
            Self::Confirmation => "confirmation",
            Self::Api => "api",
            Self::Import => "import",
            Self::Merge => "merge",
            Self::Policy => "policy",
            Self::Erasure => "erasure",
        }
    }

    /// Whether a yes that came this way may follow a no.
    pub const fn overrules_denial(self) -> bool {
        match self {
            Self::Event | Self::Page | Self::Api => true,
            Self::Context
            | Self::Link
            | Self::Confirmation
            | Self::Import
            | Self::Merge
            | Self::Policy
            | Self::Erasure => false,
        }
    }

    /// Whether a yes that came this way must be confirmed where a policy asks for double opt-in: it came from a form,
    /// which anybody can fill in with anybody's address.
    pub const fn is_form(self) -> bool {
        match self {
            Self::Event | Self::Context => true,
            Self::Link
            | Self::Page
            | Self::Confirmation
            | Self::Api
            | Self::Import
            | Self::Merge
            | Self::Policy
            | Self::Erasure => false,
        }
    }

    /// Whether it may take an answer back to none.
    const fn clears(self) -> bool {
        match self {
            Self::Api | Self::Policy | Self::Erasure => true,
            Self::Event | Self::Context | Self::Link | Self::Page | Self::Confirmation | Self::Import | Self::Merge => {
                false
            }
        }
    }
}

/// A row of the ledger without whom and what it is about; the newest that was taken is the present answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub state: ConsentState,
    /// Where it came from: `checkout form`, `unsubscribe link`, `import`, …
    pub source: String,
    pub at: Timestamp,
    /// Which wording was agreed to.
    pub text_version: Option<String>,
    #[serde(default)]
    pub via: Via,
}

impl Consent {
    /// Two answers of one person: a denial wins, else the newer.
    #[must_use]
    pub fn united(self, other: &Self) -> Self {
        let weight = |consent: &Self| (consent.state == ConsentState::Denied, consent.at);
        if weight(other) > weight(&self) { other.clone() } else { self }
    }

    /// Whether a pending answer can still be confirmed.
    pub fn is_confirmable(&self, now: Timestamp) -> bool {
        self.state == ConsentState::Pending && now < self.at.plus(CONFIRM_WITHIN)
    }
}

/// Whether `change` becomes the answer after `known`. Total: every answer by every way after every other has its line.
pub fn takes(known: Option<&Consent>, change: &Consent) -> bool {
    let is_newer = known.is_none_or(|known| change.at >= known.at);
    let before = known.map_or(ConsentState::Unknown, |known| known.state);
    // A context is repeated in every event; only what it changes is an answer.
    if change.via == Via::Context && before == change.state {
        return false;
    }
    match (change.state, before) {
        (ConsentState::Granted, ConsentState::Unknown) => is_newer && change.via != Via::Confirmation,
        (ConsentState::Granted, ConsentState::Pending) => match change.via {
            Via::Confirmation => known.is_some_and(|known| known.is_confirmable(change.at)),
            Via::Event | Via::Page | Via::Api => is_newer,
            Via::Context | Via::Link | Via::Import | Via::Merge | Via::Policy | Via::Erasure => false,
        },
        (ConsentState::Granted, ConsentState::Granted) => is_newer && change.via != Via::Confirmation,
        (ConsentState::Granted, ConsentState::Denied) => is_newer && change.via.overrules_denial(),
        (ConsentState::Pending, ConsentState::Unknown | ConsentState::Pending | ConsentState::Denied) => is_newer,
        (ConsentState::Pending, ConsentState::Granted) => false,
        (ConsentState::Denied, ConsentState::Unknown | ConsentState::Pending) => true,
        (ConsentState::Denied, ConsentState::Granted | ConsentState::Denied) => is_newer,
        (ConsentState::Unknown, ConsentState::Unknown) => false,
        (ConsentState::Unknown, ConsentState::Pending | ConsentState::Granted | ConsentState::Denied) => {
            change.via.clears()
        }
    }
}

/// The answer after a change.
pub fn next(known: Option<Consent>, change: Consent) -> Option<Consent> {
    if takes(known.as_ref(), &change) { Some(change) } else { known }
}

/// The name under which a topic's subscription stands among the answers; channels stand under their own names.
pub fn topic_name(topic: &str) -> String {
    format!("topic:{topic}")
}

/// What unknown consent means on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownConsent {
    Blocked,
    Allowed,
}

/// What holds on one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub unknown: UnknownConsent,
    pub soft_opt_in: Option<SoftOptIn>,
    /// The template of the message a yes must be confirmed by.
    pub double_opt_in: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { unknown: UnknownConsent::Blocked, soft_opt_in: None, double_opt_in: None }
    }
}

/// Where the law lets a shop write to its own customers until they say no.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftOptIn {
    /// ISO 3166-1 alpha-2, upper case.
    pub countries: BTreeSet<String>,
    pub condition: Option<Condition>,
}

impl Policy {
    /// Whether somebody who has given no answer may be written to; else why not, with the operands.
    ///
    /// # Errors
    /// The sentence that says what was missing.
    pub fn admits_unknown(&self, facts: &Facts<'_>) -> Result<(), String> {
        match (self.unknown, &self.soft_opt_in) {
            (UnknownConsent::Allowed, _) => Ok(()),
            (UnknownConsent::Blocked, None) => Err("the policy blocks that".to_owned()),
            (UnknownConsent::Blocked, Some(soft)) => soft.holds(facts),
        }
    }

    /// The condition that must be evaluated for a person without an answer.
    pub fn condition(&self) -> Option<&Condition> {
        self.soft_opt_in.as_ref().and_then(|soft| soft.condition.as_ref())
    }
}

impl SoftOptIn {
    fn holds(&self, facts: &Facts<'_>) -> Result<(), String> {
        let country = country_of(facts.profile);
        if !country.as_ref().is_some_and(|country| self.countries.contains(country)) {
            let among: Vec<&str> = self.countries.iter().map(String::as_str).collect();
            let country = country.as_deref().unwrap_or("missing");
            return Err(format!("soft opt-in: country is {country}, wanted one of {}", among.join(", ")));
        }
        match self.condition.as_ref().map(|condition| condition::evaluate(condition, facts)) {
            Some(answer) if !answer.holds => Err(format!("soft opt-in: {}", answer.because)),
            Some(_) | None => Ok(()),
        }
    }
}

/// The country a person lives in, by the trait `address.country`, else `country`: two letters, upper case.
pub fn country_of(profile: &super::Profile) -> Option<String> {
    let text = |path: &str| profile.trait_at(path).and_then(|value| value.as_str());
    country_code(text("address.country").or_else(|| text("country"))?)
}

/// The present answers by channel name or [`topic_name`]; absent means unknown.
pub type Answers = BTreeMap<String, Consent>;

#[cfg(test)]
mod tests;
