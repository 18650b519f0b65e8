//! Who enters and leaves a segment: by what happened, by time passing, and by a changed definition.
//!
//! What only a definition or an import brought about is told apart (`cause: backfill`): it starts nothing.

use std::collections::BTreeSet;

use serde_json::{Map, json};

use crate::audience::condition::needs::Needs;
use crate::audience::segment::{Answers, Standing, Stirred};
use crate::decision::effect::OwnEvent;
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
    let is_ours = event.kind == Kind::Own || matches!(event.origin, Origin::Import { .. });
    is_ours && event.lookup("properties.cause").is_some_and(|cause| cause == BACKFILL)
}

/// Adds what the segments must see that this input may change.
pub(super) fn segment_needs(catalog: &Catalog, person: &Person, input: &Input, now: Timestamp, needs: &mut Needs) {
    let set = &catalog.terms.segments;
    let standings = &person.profile.segments;
    let due = standings.iter().filter(|(_, it)| it.next.is_some_and(|next| next <= now)).map(|(key, _)| key);
    let heard = match input {
        Input::Event(event) => {
            let consent = event.name == CONSENT_CHANGED || event.body.may_name("consent");
            set.hearing(Some(&event.name), Stirred { traits: may_set_traits(event), consent, messages: false })
        }
        Input::MessageEnded { .. } => set.hearing(None, Stirred { messages: true, ..Stirred::default() }),
        Input::Timer => set.hearing(None, Stirred::default()),
    };
    let touched: BTreeSet<&str> = due.chain(heard).collect();
    touched.into_iter().filter_map(|key| set.needs(key)).for_each(|theirs| needs.add(theirs));
    if standings.seen < set.since() {
        set.iter().filter(|defined| defined.since > standings.seen).for_each(|defined| needs.add(&defined.needs));
    }
}

fn may_set_traits(event: &Event) -> bool {
    event.kind == Kind::Identify
}

impl Turn<'_> {
    /// What time and changed definitions alone have made of the person, before the input changes anything.
    pub(super) fn follow_time(&mut self) {
        let set = &self.snapshot.catalog.terms.segments;
        if set.is_empty() || self.is_new {
            return;
        }
        let seen = self.person.profile.segments.seen;
        let now = self.at.now;
        for _ in 0..INSTANTS_MAX {
            let as_before = |key: &str| set.get(key).is_some_and(|defined| defined.since <= seen);
            let due: Vec<(String, Timestamp)> = self
                .person
                .profile
                .segments
                .iter()
                .filter_map(|(key, standing)| Some((key.to_owned(), standing.next.filter(|next| *next <= now)?)))
                .filter(|(key, _)| as_before(key))
                .collect();
            let Some(instant) = due.iter().map(|(_, next)| *next).min() else { break };
            let keys = due.into_iter().filter(|(_, next)| *next == instant).map(|(key, _)| key).collect();
            self.look_at(instant, &keys, false);
        }
        if seen < set.since() {
            let changed = set.iter().filter(|defined| defined.since > seen);
            let keys = changed.map(|defined| defined.segment.key.clone()).collect();
            self.look_at(now, &keys, true);
            self.push(Effect::SegmentsSeen(set.since()));
        }
    }

    /// What the event, now part of the history, changes.
    pub(super) fn follow_event(&mut self, event: &Event) {
        let set = &self.snapshot.catalog.terms.segments;
        if set.is_empty() {
            return;
        }
        let is_import = matches!(event.origin, Origin::Import { .. });
        let keys: BTreeSet<String> = match self.is_new {
            true => set.iter().map(|defined| defined.segment.key.clone()).collect(),
            false => {
                let answered = |effect: &Effect| matches!(effect, Effect::SetConsent { .. });
                let consent = self.decision.effects.iter().any(answered);
                let stirred = Stirred { traits: may_set_traits(event), consent, messages: false };
                set.hearing(Some(&event.name), stirred).map(str::to_owned).collect()
            }
        };
        self.look_at(self.at.now, &keys, is_import);
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

    /// Evaluates these segments at an instant, each after those it builds on, and says who came and went.
    fn look_at(&mut self, instant: Timestamp, keys: &BTreeSet<String>, is_backfill: bool) {
        let set = &self.snapshot.catalog.terms.segments;
        // What was answered before was another instant, or another history.
        self.answers = Answers::default();
        if keys.is_empty() {
            return;
        }
        for defined in set.iter().filter(|defined| keys.contains(&defined.segment.key)) {
            let key = &defined.segment.key;
            let Some(answer) = set.evaluate(key, &self.facts_at(instant, None, None)) else { continue };
            let before = self.person.profile.segments.of(key);
            let since = answer.holds.then(|| before.since.unwrap_or(instant));
            let standing = Standing { since, next: answer.until };
            if standing != before {
                self.push(Effect::Standing { segment: key.clone(), standing });
            }
            if before.since.is_some() != answer.holds {
                self.announce(key, answer.holds, instant, is_backfill, answer.because);
            }
        }
        if instant != self.at.now {
            self.answers = Answers::default();
        }
    }

    fn announce(&mut self, segment: &str, entered: bool, at: Timestamp, is_backfill: bool, because: String) {
        let verdict = FindingVerdict::Segment { segment: segment.to_owned(), entered, backfill: is_backfill, because };
        self.decision.findings.push(Finding { campaign: String::new(), version: 0, verdict });
        let depth = self.depth.saturating_add(1);
        if depth > DEPTH_MAX {
            let reason = Reason::DepthExceeded { depth_max: DEPTH_MAX };
            return self.decision.findings.push(Finding::noted(reason));
        }
        let name = if entered { SEGMENT_ENTERED } else { SEGMENT_LEFT };
        let mut properties = Map::new();
        properties.insert("segment".to_owned(), json!(segment));
        if is_backfill {
            properties.insert("cause".to_owned(), json!(BACKFILL));
        }
        let workspace = self.snapshot.catalog.terms.workspace;
        let (cause, profile) = (self.at.position, self.person.profile.id);
        let id = EventId::derive(&[
            b"own",
            &workspace.0.to_le_bytes(),
            &cause.0.to_le_bytes(),
            &profile.0.to_le_bytes(),
            name.as_bytes(),
            segment.as_bytes(),
            &at.millis().to_le_bytes(),
        ]);
        self.push(Effect::Happen(OwnEvent { id, name: name.to_owned(), at, cause, depth, properties }));
    }
}
