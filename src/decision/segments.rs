//! Who enters and leaves a segment, and what else is kept with people: by what happened, by time passing, and by a changed
//! definition.
//!
//! What only a definition or an import brought about is told apart (`cause: backfill`): it starts nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::audience::condition::needs::Needs;
use crate::audience::condition::{Detail, Facts};
use crate::audience::segment::{Answers, LIST_CHANGED, Standing, Stirred};
use crate::decision::effect::OwnEvent;
use crate::decision::traits::worked_by;
use crate::decision::{CONSENT_CHANGED, Catalog, Effect, Finding, FindingVerdict, Input, Person, Turn};
use crate::event::{Event, Kind, Origin};
use crate::ids::{EventId, Timestamp};
use crate::message::Reason;

/// Appended after the input by which somebody entered; property `segment`, and `cause` where it starts nothing.
pub const SEGMENT_ENTERED: &str = "Segment Entered";
/// The same for leaving.
pub const SEGMENT_LEFT: &str = "Segment Left";
/// The `cause` of a membership that no customer's act and no passing of time brought about.
pub const BACKFILL: &str = "backfill";
/// Events made by decisions on events made by decisions, in a row.
pub const DEPTH_MAX: u8 = 8;

/// Instants of the past looked at one by one; what still lies behind is looked at once, as of now.
const INSTANTS_MAX: usize = 100;

/// Whether a membership's event, or a file's row about a person, says that it starts nothing.
pub fn is_backfill(event: &Event) -> bool {
    if matches!(event.origin, Origin::Past { .. }) {
        return true;
    }
    let is_ours = event.kind == Kind::Own || matches!(event.origin, Origin::Import { .. });
    is_ours && event.body.may_name("cause") && event.lookup("properties.cause").is_some_and(|cause| cause == BACKFILL)
}

/// Whether what the event says happened in the past or by an operator's file: what comes of it starts nothing.
pub(super) fn is_past(event: &Event) -> bool {
    event.origin.is_of_a_file() || (event.kind == Kind::Own && event.name == LIST_CHANGED)
}

/// Adds what the segments and computed traits must see that this input may change.
pub(super) fn segment_needs(catalog: &Catalog, person: &Person, input: &Input, now: Timestamp, needs: &mut Needs) {
    let (set, computed) = (&catalog.terms.segments, &catalog.terms.computed);
    let standings = &person.profile.segments;
    let remembered = person.profile.remembered.computed.iter();
    let due = remembered.filter(|(_, it)| it.next.is_some_and(|next| next <= now)).map(|(key, _)| key.as_str());
    let worked: BTreeSet<&str> = due.chain(worked_by(catalog, input)).collect();
    worked.iter().filter_map(|key| computed.get(key)).for_each(|defined| needs.add(&defined.needs));
    let due = standings.iter().filter(|(_, it)| it.next.is_some_and(|next| next <= now)).map(|(key, _)| key);
    let heard = match input {
        Input::Event(event) => {
            let consent = event.name == CONSENT_CHANGED || event.body.may_name("consent");
            set.hearing(Some(&event.name), Stirred { traits: may_set_traits(event), consent, messages: false })
        }
        Input::MessageEnded { .. } => set.hearing(None, Stirred { messages: true, ..Stirred::default() }),
        Input::Timer => set.hearing(None, Stirred::default()),
    };
    let touched: BTreeSet<&str> = due.chain(heard).chain(set.naming(worked.iter().copied())).collect();
    touched.into_iter().filter_map(|key| set.needs(key)).for_each(|theirs| needs.add(theirs));
    if standings.seen < set.since() {
        set.iter().filter(|defined| defined.since > standings.seen).for_each(|defined| needs.add(&defined.needs));
        computed.iter().filter(|defined| defined.since > standings.seen).for_each(|defined| needs.add(&defined.needs));
    }
}

pub(super) fn may_set_traits(event: &Event) -> bool {
    event.kind == Kind::Identify
}

impl Turn<'_> {
    /// What time and changed definitions alone have made of the person, before the input changes anything.
    pub(super) fn follow_time(&mut self) {
        let catalog = self.snapshot.catalog;
        let (set, computed) = (&catalog.terms.segments, &catalog.terms.computed);
        if self.is_new || !catalog.follows_people() {
            return;
        }
        let seen = self.person.profile.segments.seen;
        let now = self.at.now;
        for _ in 0..INSTANTS_MAX {
            let segments = self.person.profile.segments.iter();
            let segments = segments.filter(|(key, _)| set.get(key).is_some_and(|defined| defined.since <= seen));
            let segments = due(segments.map(|(key, standing)| (key, standing.next)), now);
            let worked = self.person.profile.remembered.computed.iter();
            let worked = worked.filter(|(key, _)| computed.get(key).is_some_and(|defined| defined.since <= seen));
            let worked = due(worked.map(|(key, worked)| (key.as_str(), worked.next)), now);
            let dates = self.dates_due(now);
            let all = segments.iter().chain(&worked).chain(&dates);
            let Some(instant) = all.map(|(_, next)| *next).min() else { break };
            let at_once = |due: Vec<(String, Timestamp)>| -> BTreeSet<String> {
                due.into_iter().filter(|(_, next)| *next == instant).map(|(key, _)| key).collect()
            };
            let changed = self.work_out(instant, &at_once(worked), false);
            let mut keys = at_once(segments);
            keys.extend(set.naming(changed.iter().map(String::as_str)).map(str::to_owned));
            self.look_at(instant, &keys, false);
            self.reach_dates(instant, &at_once(dates));
            if !changed.is_empty() {
                self.appoint(instant);
            }
        }
        if seen < set.since() {
            let changed = computed.iter().filter(|defined| defined.since > seen);
            let changed = self.work_out(now, &changed.map(|defined| defined.computed.key.clone()).collect(), true);
            let since = set.iter().filter(|defined| defined.since > seen).map(|defined| defined.segment.key.as_str());
            let keys = since.chain(set.naming(changed.iter().map(String::as_str))).map(str::to_owned).collect();
            self.look_at(now, &keys, true);
            self.appoint(now);
            self.wait_for_turns();
            self.push(Effect::SegmentsSeen(set.since()));
        }
    }

    /// What the event, now part of the history, changes.
    pub(super) fn follow_event(&mut self, event: &Event) {
        let catalog = self.snapshot.catalog;
        let (set, computed) = (&catalog.terms.segments, &catalog.terms.computed);
        if !catalog.follows_people() {
            return;
        }
        let is_import = is_past(event);
        let traits = may_set_traits(event);
        let worked: BTreeSet<String> = match self.is_new {
            true => computed.iter().map(|defined| defined.computed.key.clone()).collect(),
            false => computed.hearing(Some(&event.name), traits).into_iter().map(str::to_owned).collect(),
        };
        let changed = self.work_out(self.at.now, &worked, is_import);
        let keys: BTreeSet<String> = match self.is_new {
            true => set.iter().map(|defined| defined.segment.key.clone()).collect(),
            false => {
                let answered = |effect: &Effect| matches!(effect, Effect::SetConsent { .. });
                let consent = self.decision.effects.iter().any(answered);
                let heard = set.hearing(Some(&event.name), Stirred { traits, consent, messages: false });
                heard.chain(set.naming(changed.iter().map(String::as_str))).map(str::to_owned).collect()
            }
        };
        self.look_at(self.at.now, &keys, is_import);
        if self.is_new || traits || !changed.is_empty() {
            self.appoint(self.at.now);
        }
        if self.is_new {
            self.push(Effect::SegmentsSeen(set.since()));
        }
    }

    /// What a message that was received changes.
    pub(super) fn follow_message(&mut self) {
        let stirred = Stirred { messages: true, ..Stirred::default() };
        let heard = self.snapshot.catalog.terms.segments.hearing(None, stirred);
        let keys: BTreeSet<String> = heard.map(str::to_owned).collect();
        if !keys.is_empty() {
            self.look_at(self.at.now, &keys, false);
        }
    }

    /// The earliest instant at which a membership may change by itself.
    pub(super) fn segments_change_at(&self) -> Option<Timestamp> {
        let set = &self.snapshot.catalog.terms.segments;
        let standings = self.person.profile.segments.iter();
        standings.filter(|(key, _)| set.get(key).is_some()).filter_map(|(_, it)| it.next).min()
    }

    /// Evaluates these segments at an instant, each after those it builds on, and says who came and went; why, is asked
    /// only of those.
    fn look_at(&mut self, instant: Timestamp, keys: &BTreeSet<String>, is_backfill: bool) {
        let set = &self.snapshot.catalog.terms.segments;
        // What was answered before was another instant, or another history.
        self.answers = Answers::default();
        if keys.is_empty() {
            return;
        }
        let brief = Answers::default();
        for defined in set.ordered(keys) {
            let key = &defined.segment.key;
            let facts = self.facts_at(instant, None, None);
            let asked = Facts { detail: Detail::Until, answers: &brief, ..facts };
            let Some(answer) = set.evaluate(key, &asked) else { continue };
            let before = self.person.profile.segments.of(key);
            let since = answer.holds.then(|| before.since.unwrap_or(instant));
            let standing = Standing { since, next: answer.until };
            if standing != before {
                self.push(Effect::Standing { segment: key.clone(), standing });
            }
            if before.since != since {
                self.wait_for_turns_of(key, !is_backfill);
            }
            if before.since.is_some() != answer.holds {
                let told = set.evaluate(key, &self.facts_at(instant, None, None));
                let because = told.map(|told| told.because).unwrap_or_default();
                self.announce(key, answer.holds, instant, is_backfill, because);
            }
        }
        if instant != self.at.now {
            self.answers = Answers::default();
        }
    }

    fn announce(&mut self, segment: &str, entered: bool, at: Timestamp, is_backfill: bool, because: String) {
        let verdict = FindingVerdict::Segment { segment: segment.to_owned(), entered, backfill: is_backfill, because };
        self.decision.findings.push(Finding { campaign: String::new(), version: 0, verdict });
        let name = if entered { SEGMENT_ENTERED } else { SEGMENT_LEFT };
        let mut properties = Map::new();
        properties.insert("segment".to_owned(), json!(segment));
        if is_backfill {
            properties.insert("cause".to_owned(), json!(BACKFILL));
        }
        self.happen(name, segment, at, properties);
    }

    /// An event of our own follows: `about` tells it from others of its name and instant.
    pub(super) fn happen(&mut self, name: &str, about: &str, at: Timestamp, properties: Map<String, Value>) {
        let depth = self.depth.saturating_add(1);
        if depth > DEPTH_MAX {
            let reason = Reason::DepthExceeded { depth_max: DEPTH_MAX };
            return self.decision.findings.push(Finding::noted(reason));
        }
        let workspace = self.snapshot.catalog.terms.workspace;
        let (cause, profile) = (self.at.position, self.person.profile.id);
        let id = EventId::derive(&[
            b"own",
            &workspace.0.to_le_bytes(),
            &cause.0.to_le_bytes(),
            &profile.0.to_le_bytes(),
            name.as_bytes(),
            about.as_bytes(),
            &at.millis().to_le_bytes(),
        ]);
        self.push(Effect::Happen(OwnEvent { id, name: name.to_owned(), at, cause, depth, properties }));
    }
}

/// What is due by `now`, each with its instant.
fn due<'k>(all: impl Iterator<Item = (&'k str, Option<Timestamp>)>, now: Timestamp) -> Vec<(String, Timestamp)> {
    all.filter_map(|(key, next)| Some((key.to_owned(), next.filter(|next| *next <= now)?))).collect()
}
