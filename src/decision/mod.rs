//! We decide: one pure function from what is known and what happened to what shall be done, and why not.
//!
//! Order within one event: identity and consent → history → carts → computed traits → segments → waits that were due
//! before it → exits → goals → entries. What of it Carillon makes happen itself (`Segment Entered`) is appended after.
//! The same input over the same snapshot gives the same effects, ids included, so deciding twice changes nothing.

pub mod campaign;
pub mod catalog;
pub mod considered;
pub mod dates;
pub mod effect;
pub mod ending;
pub mod enrollment;
pub mod entry;
pub mod existing;
pub mod merge;
pub mod permission;
pub mod person;
mod reach;
pub mod segments;
pub mod shared_map;
pub mod traits;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::audience::condition::needs::{Needs, needs as condition_needs};
use crate::audience::condition::{Detail, Facts};
use crate::audience::segment::Answers;
use crate::audience::{Carts, TRAITS_BYTES_MAX, Traits, cart};
use crate::event::engagement::is_machines;
use crate::event::{Event, Kind, Origin};
use crate::ids::{MessageId, Position, Timestamp};
use crate::message::{Reason, Status};
pub use campaign::Campaign;
pub use catalog::{Catalog, Permissions};
pub use effect::{Decision, Effect, Finding, FindingVerdict};
pub use enrollment::{Enrollment, State};
pub use merge::{Other, decide_joined};
pub use person::{Loaded, Person};

/// The event by which consent changes: properties `channel` (or `topic`), `state` (granted, denied; of topics also
/// subscribed, unsubscribed), `source`, `text_version`.
pub const CONSENT_CHANGED: &str = "Consent Changed";

/// Campaigns an input did not enter, each with its reason; of more only the number is kept. What happened is all kept.
pub const FINDINGS_MAX: usize = 200;

/// What a decision is about. Every input is an entry of the log.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "nearly every input is an event")]
pub enum Input {
    Event(Arc<Event>),
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
    let mut turn = Turn::new(at, snapshot, input);
    turn.count_carts();
    turn.follow_time();
    match input {
        // What a machine did with a mail is in the log, and says nothing about the person.
        Input::Event(event) if is_machines(event) => turn.settle_due(at.now),
        Input::Event(event) => {
            turn.learn(event);
            turn.follow_event(event);
            turn.settle_due(at.now);
            turn.check_exits(Some(event));
            turn.check_goals(event);
            turn.check_entries(event);
            turn.end_turn(event);
            // A condition that held before they came.
            turn.check_exits(None);
        }
        Input::Timer => {
            turn.settle_due(at.now);
            turn.check_exits(None);
        }
        Input::MessageEnded { message, status } => {
            turn.end_of_message(*message, status);
            if matches!(status, Status::Sent { .. }) {
                turn.follow_message();
                turn.check_exits(None);
            }
            turn.settle_due(at.now);
        }
    }
    turn.settle_due(at.now);
    turn.set_wake();
    turn.decision
}

/// What of the history must be loaded before `decide` can answer at `now`.
pub fn needs(catalog: &Catalog, person: &Person, input: &Input, now: Timestamp) -> Needs {
    let mut needs = Needs::default();
    let set = &catalog.terms.segments;
    let event = match input {
        Input::Event(event) => Some(event.as_ref()),
        Input::Timer | Input::MessageEnded { .. } => None,
    };
    if person.profile.carts.is_none() {
        needs.add_carts();
    }
    segments::segment_needs(catalog, person, input, now, &mut needs);
    if let Some(event) = event {
        for campaign in catalog.entered_by(event) {
            campaign.entry.filter.iter().for_each(|filter| condition_needs(filter, set, &mut needs));
            if let campaign::Start::Segment(key) = &campaign.entry.start {
                campaign
                    .is_turn(event)
                    .then(|| set.needs(key))
                    .flatten()
                    .into_iter()
                    .for_each(|theirs| needs.add(theirs));
            }
            campaign.exit.iter().for_each(|exit| ending::exit_needs(exit, set, &mut needs));
            // What ends the enrollment may have overtaken a late event that begins it.
            if event.at < person.profile.last_seen_at {
                campaign.exit.iter().for_each(|exit| ending::overtaking_needs(exit, &mut needs));
            }
        }
        for campaign in catalog.goals_of(person, &event.name) {
            campaign
                .goal
                .iter()
                .flat_map(|goal| &goal.filter)
                .for_each(|filter| condition_needs(filter, set, &mut needs));
        }
    }
    let pinned: BTreeSet<(&str, u32)> = person.active().map(|one| (one.campaign.as_str(), one.version)).collect();
    for (key, version) in pinned {
        let Some(campaign) = catalog.pinned(key, version) else { continue };
        let mut theirs = Needs::default();
        campaign.exit.iter().for_each(|exit| ending::exit_needs(exit, set, &mut theirs));
        if theirs.entry {
            let of_it = person.active().filter(|one| one.campaign == key && one.version == version);
            theirs.entries.extend(of_it.map(|one| one.entry));
        }
        needs.add(&theirs);
    }
    needs
}

/// What of the history any decision may look at, whoever it is about.
pub fn needs_of_all(catalog: &Catalog) -> Needs {
    let mut needs = Needs::default();
    let set = &catalog.terms.segments;
    set.iter().for_each(|defined| needs.add(&defined.needs));
    catalog.terms.computed.iter().for_each(|defined| needs.add(&defined.needs));
    for campaign in catalog.campaigns() {
        let goal = campaign.goal.iter().flat_map(|goal| &goal.filter);
        campaign.entry.filter.iter().chain(goal).for_each(|filter| condition_needs(filter, set, &mut needs));
        campaign.exit.iter().for_each(|exit| ending::exit_needs(exit, set, &mut needs));
    }
    let policies = crate::message::Channel::ALL.into_iter().filter_map(|channel| catalog.policy(channel));
    policies.filter_map(|policy| policy.condition()).for_each(|asked| condition_needs(asked, set, &mut needs));
    needs
}

/// What the exits of these versions may look at: those that enrollments are pinned to.
pub fn needs_of_walks<'a>(catalog: &Catalog, versions: impl IntoIterator<Item = (&'a str, u32)>) -> Needs {
    let (mut needs, set) = (Needs::default(), &catalog.terms.segments);
    let campaigns = versions.into_iter().filter_map(|(key, version)| catalog.pinned(key, version));
    campaigns.flat_map(|campaign| &campaign.exit).for_each(|exit| ending::exit_needs(exit, set, &mut needs));
    needs
}

/// One decision in the making: the person as changed so far, and the effects that changed them.
struct Turn<'a> {
    at: At,
    snapshot: &'a Snapshot<'a>,
    /// Of the enrollments only those this decision began or changed: a person may have very many.
    person: Person,
    decision: Decision,
    /// What segments came to at this input's instant.
    answers: Answers,
    /// Nothing was known of the person before this event.
    is_new: bool,
    /// Of the input; see [`Origin::Decided`].
    depth: u8,
}

/// The beginning of an enrollment, as conditions may look at it.
#[derive(Clone, Copy)]
struct Began<'a> {
    event: Option<&'a Event>,
    at: Timestamp,
}

impl<'a> Began<'a> {
    /// With this very event.
    fn with(event: &'a Event) -> Self {
        Self { event: Some(event), at: event.at }
    }
}

impl<'a> Turn<'a> {
    fn new(at: At, snapshot: &'a Snapshot<'a>, input: &Input) -> Self {
        let person = snapshot.person.without_walks();
        let event = match input {
            Input::Event(event) => Some(event.as_ref()),
            Input::Timer | Input::MessageEnded { .. } => None,
        };
        let is_new = event.is_some() && person.version == 0 && person.profile.history.is_empty();
        let depth = match event.map(|event| &event.origin) {
            Some(Origin::Decided { depth, .. }) => *depth,
            Some(Origin::Live | Origin::Import { .. } | Origin::Replay { .. } | Origin::Past { .. }) | None => 0,
        };
        Self { at, snapshot, person, decision: Decision::default(), answers: Answers::default(), is_new, depth }
    }

    /// Every enrollment as it is by now.
    fn walks(&self) -> impl Iterator<Item = &Enrollment> {
        let changed = &self.person.enrollments;
        let others = self.snapshot.person.enrollments.values().filter(|one| !changed.contains_key(&one.id));
        others.chain(changed.values())
    }

    fn active(&self) -> impl Iterator<Item = &Enrollment> {
        self.walks().filter(|enrollment| enrollment.is_active())
    }

    /// The campaign as the enrollment entered it.
    fn campaign_of(&self, enrollment: &Enrollment) -> Option<&'a Arc<Campaign>> {
        self.snapshot.catalog.pinned(&enrollment.campaign, enrollment.version)
    }

    fn push(&mut self, effect: Effect) {
        self.person.apply(&effect);
        self.decision.effects.push(effect);
    }

    fn find(&mut self, campaign: &Campaign, verdict: FindingVerdict) {
        let finding = Finding { campaign: campaign.key.clone(), version: campaign.version, verdict };
        self.decision.findings.push(finding);
    }

    fn facts<'b>(&'b self, event: Option<&'b Event>, began: Option<Began<'b>>) -> Facts<'b> {
        self.facts_at(self.at.now, event, began)
    }

    fn began(&self, enrollment: &Enrollment) -> Began<'_> {
        Began {
            event: self.snapshot.loaded.bodies.get(&enrollment.entry).map(Arc::as_ref),
            at: enrollment.entry_event_at,
        }
    }

    fn facts_at<'b>(&'b self, now: Timestamp, event: Option<&'b Event>, began: Option<Began<'b>>) -> Facts<'b> {
        Facts {
            detail: Detail::Because,
            now,
            terms: &self.snapshot.catalog.terms,
            answers: &self.answers,
            profile: &self.person.profile,
            event,
            entry: began.and_then(|began| began.event),
            entry_at: began.map(|began| began.at),
            item: None,
            older: &self.snapshot.loaded.older,
            bodies: &self.snapshot.loaded.bodies,
            received: &self.snapshot.loaded.received,
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
            self.set_traits(event, &traits);
        }
        self.learn_consent(event);
        self.learn_zone(event);
        self.learn_list(event);
        self.learn_reach(event);
        self.push(Effect::Record { name: event.name.clone(), at: event.at, position: self.at.position });
        if let Some(step) = cart::step(event, self.at.position) {
            self.push(Effect::Cart(step));
        }
    }

    /// Of whom nobody has kept count until now, the history tells.
    fn count_carts(&mut self) {
        let Person { profile, .. } = &self.person;
        if profile.carts.is_none() {
            let Loaded { older, bodies, .. } = self.snapshot.loaded;
            let carts = Carts::of_past(older.iter().chain([&profile.history]), bodies);
            self.push(Effect::Carts(carts));
        }
    }

    /// The zone of the device, as official clients say it. An event that comes late says where somebody was: better than
    /// nothing, and whoever is new was created only as their first event arrived.
    fn learn_zone(&mut self, event: &Event) {
        if !event.body.may_name("timezone") {
            return;
        }
        let profile = &self.person.profile;
        let zone = event.lookup("context.timezone").and_then(|zone| zone.as_str());
        if let Some(zone) = zone
            && (event.at >= profile.last_seen_at || profile.last_zone.is_none())
            && profile.last_zone.as_deref() != Some(zone)
            && TimeZone::get(zone).is_ok()
        {
            self.push(Effect::Seen { zone: zone.to_owned() });
        }
    }

    /// Traits up to their bound; beyond it a call only removes, and says so.
    fn set_traits(&mut self, event: &Event, traits: &Traits) {
        if self.person.profile.has_room_for(traits) {
            self.tell_of_traits(event, traits);
            return self.push(Effect::SetTraits(traits.clone()));
        }
        let removed = traits.iter().filter(|(_, value)| value.is_null());
        self.push(Effect::SetTraits(removed.map(|(name, value)| (name.clone(), value.clone())).collect()));
        let reason = Reason::TraitsTooLarge { bytes_max: TRAITS_BYTES_MAX };
        self.decision.findings.push(Finding::noted(reason));
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
        for enrollment in self.active() {
            // A wait that is over and whose campaign's text is gone has nothing to wake for.
            if let State::Waiting { until } = enrollment.state
                && until > self.at.now
            {
                consider(Some(until));
            }
            consider(self.exit_changes_at(enrollment));
        }
        consider(self.segments_change_at());
        consider(self.remembered_changes_at());
        if wake != self.snapshot.person.wake_at || wake != self.person.wake_at {
            self.push(Effect::WakeAt(wake));
        }
    }
}

/// Alias names the id by which the person is called from now on.
fn is_renamed(event: &Event, known: &str, user_id: &str) -> bool {
    event.kind == Kind::Alias && event.previous_id.is_some() && known != user_id
}
