//! We decide: one pure function from what is known and what happened to what shall be done, and why not.
//!
//! Order within one event: identity and consent → history → waits that were due before it → exits → goals → entries.
//! The same input over the same snapshot gives the same effects, ids included, so deciding twice changes nothing.

pub mod campaign;
pub mod catalog;
pub mod effect;
pub mod ending;
pub mod enrollment;
pub mod entry;
pub mod merge;
pub mod person;

use serde::{Deserialize, Serialize};

use crate::audience::condition::{self, Facts, Needs};
use crate::audience::consent::{Consent, ConsentState};
use crate::audience::{TRAITS_BYTES_MAX, Traits};
use crate::event::{Event, Kind};
use crate::ids::{MessageId, Position, Timestamp};
use crate::message::{Channel, Reason, Status};
pub use campaign::Campaign;
pub use catalog::Catalog;
pub use effect::{Decision, Effect, Finding, FindingVerdict};
pub use enrollment::{Enrollment, State};
pub use merge::{Other, decide_joined};
pub use person::{Loaded, Person};

/// The event by which consent changes: properties `channel`, `state` (granted, denied), `source`, `text_version`.
pub const CONSENT_CHANGED: &str = "Consent Changed";

/// Campaigns an input did not enter, each with its reason; of more only the number is kept. What happened is all kept.
pub const FINDINGS_MAX: usize = 200;

/// What a decision is about. Every input is an entry of the log.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "nearly every input is an event")]
pub enum Input {
    Event(Event),
    /// The person's `wake_at` came; `now` is that instant, however late it is handled.
    Timer,
    /// A message of theirs reached a last state.
    MessageEnded {
        message: MessageId,
        status: Status,
    },
}

/// A person whose part of the log a decision reads; the catalog is the one in force at the entry.
pub struct Snapshot<'a> {
    pub catalog: &'a Catalog,
    pub person: &'a Person,
    pub loaded: &'a Loaded,
    /// How long a contested marketing message waits before it takes a slot.
    pub settle: crate::ids::Span,
}

/// A definition's view of where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub position: Position,
    pub now: Timestamp,
}

/// Decides one input. Cannot fail: what a condition cannot answer is false.
pub fn decide(at: At, snapshot: &Snapshot<'_>, input: &Input) -> Decision {
    let mut turn = Turn { at, snapshot, person: snapshot.person.clone(), decision: Decision::default() };
    match input {
        Input::Event(event) => {
            turn.learn(event);
            turn.settle_due(at.now);
            turn.check_exits(Some(event));
            turn.check_goals(event);
            turn.check_entries(event);
            // A condition that held before they came.
            turn.check_exits(None);
        }
        Input::Timer => {
            turn.settle_due(at.now);
            turn.check_exits(None);
        }
        Input::MessageEnded { message, status } => {
            turn.end_of_message(*message, status);
            turn.settle_due(at.now);
        }
    }
    turn.settle_due(at.now);
    turn.set_wake();
    turn.decision
}

/// Event names whose history must be loaded before `decide` can answer.
pub fn needs(catalog: &Catalog, person: &Person, input: &Input) -> Needs {
    let mut needs = Needs::default();
    if let Input::Event(event) = input {
        for campaign in catalog.entered_by(event) {
            campaign.entry.filter.iter().for_each(|filter| condition::needs(filter, &mut needs));
            campaign.exit.iter().for_each(|exit| ending::exit_needs(exit, &mut needs));
            // What ends the enrollment may have overtaken a late event that begins it.
            if event.at < person.profile.last_seen_at {
                campaign.exit.iter().for_each(|exit| ending::overtaking_needs(exit, &mut needs));
            }
        }
        for campaign in catalog.goals_of(person, &event.name) {
            campaign.goal.iter().flat_map(|goal| &goal.filter).for_each(|filter| condition::needs(filter, &mut needs));
        }
    }
    for enrollment in person.active() {
        if let Some(campaign) = catalog.pinned(&enrollment.campaign, enrollment.version) {
            campaign.exit.iter().for_each(|exit| ending::exit_needs(exit, &mut needs));
        }
    }
    needs
}

/// One decision in the making: the person as changed so far, and the effects that changed them.
struct Turn<'a> {
    at: At,
    snapshot: &'a Snapshot<'a>,
    person: Person,
    decision: Decision,
}

impl Turn<'_> {
    fn push(&mut self, effect: Effect) {
        self.person.apply(&effect);
        self.decision.effects.push(effect);
    }

    fn find(&mut self, campaign: &Campaign, verdict: FindingVerdict) {
        let finding = Finding { campaign: campaign.key.clone(), version: campaign.version, verdict };
        self.decision.findings.push(finding);
    }

    fn facts<'b>(&'b self, event: Option<&'b Event>, entry_at: Option<Timestamp>) -> Facts<'b> {
        Facts {
            now: self.at.now,
            profile: &self.person.profile,
            event,
            entry_at,
            older: &self.snapshot.loaded.older,
            bodies: &self.snapshot.loaded.bodies,
        }
    }

    /// Identity, traits and consent of the event, then its place in the history.
    fn learn(&mut self, event: &Event) {
        let known = self.person.profile.user_id.as_ref();
        if let Some(user_id) =
            event.user_id.as_ref().filter(|id| known.is_none_or(|known| is_renamed(event, known, id)))
        {
            self.push(Effect::Identify { user_id: user_id.clone() });
        }
        if event.kind == Kind::Identify
            && let Some(traits) = event.traits()
            && !traits.is_empty()
        {
            self.set_traits(traits);
        }
        if let Some((channel, consent)) = consent_of(event)
            && self.may_change_consent(&channel, &consent, event)
        {
            self.push(Effect::SetConsent { channel, consent });
        }
        self.push(Effect::Record { name: event.name.clone(), at: event.at, position: self.at.position });
    }

    /// Traits up to their bound; beyond it a call only removes, and says so.
    fn set_traits(&mut self, traits: &Traits) {
        if self.person.profile.has_room_for(traits) {
            return self.push(Effect::SetTraits(traits.clone()));
        }
        let removed = traits.iter().filter(|(_, value)| value.is_null());
        self.push(Effect::SetTraits(removed.map(|(name, value)| (name.clone(), value.clone())).collect()));
        let reason = Reason::TraitsTooLarge { bytes_max: TRAITS_BYTES_MAX };
        self.decision.findings.push(Finding::noted(reason));
    }

    /// Denied never becomes granted by an import, and an older answer never replaces a newer one.
    fn may_change_consent(&self, channel: &str, consent: &Consent, event: &Event) -> bool {
        let imported = matches!(event.origin, crate::event::Origin::Import { .. });
        match self.person.profile.consent.get(channel) {
            None => true,
            Some(known) if known.state == ConsentState::Denied && consent.state == ConsentState::Granted => {
                !imported && consent.at >= known.at
            }
            Some(known) => consent.at >= known.at || consent.state == ConsentState::Denied,
        }
    }

    /// The earliest instant at which a wait ends or a condition of an exit may change.
    fn set_wake(&mut self) {
        let mut wake: Option<Timestamp> = None;
        let mut consider = |instant: Option<Timestamp>| {
            wake = match (wake, instant) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        };
        for enrollment in self.person.active() {
            // A wait that is over and whose campaign's text is gone has nothing to wake for.
            if let State::Waiting { until } = enrollment.state
                && until > self.at.now
            {
                consider(Some(until));
            }
            consider(self.exit_changes_at(enrollment));
        }
        if wake != self.snapshot.person.wake_at || wake != self.person.wake_at {
            self.push(Effect::WakeAt(wake));
        }
    }
}

/// Alias names the id by which the person is called from now on.
fn is_renamed(event: &Event, known: &str, user_id: &str) -> bool {
    event.kind == Kind::Alias && event.previous_id.is_some() && known != user_id
}

/// The consent an event declares, if it is a well-formed `Consent Changed`.
fn consent_of(event: &Event) -> Option<(String, Consent)> {
    if event.name != CONSENT_CHANGED {
        return None;
    }
    let text = |path: &str| event.lookup(path).and_then(|value| value.as_str());
    let channel = Channel::parse(text("properties.channel")?)?;
    let state = ConsentState::parse(text("properties.state")?)?;
    let consent = Consent {
        state,
        source: text("properties.source").unwrap_or(&event.source).chars().take(200).collect(),
        at: event.at,
        text_version: text("properties.text_version").map(|version| version.chars().take(100).collect()),
    };
    Some((channel.as_str().to_owned(), consent))
}
