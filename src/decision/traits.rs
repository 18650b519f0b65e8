//! What people's traits become: computed ones are worked out anew where something may have changed them, and a trait that
//! became another is told of, where anything may come of it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::audience::Traits;
use crate::audience::computed::is_same;
use crate::audience::segment::{Answers, LIST_CHANGED};
use crate::audience::value_test::equal;
use crate::decision::segments::{BACKFILL, is_past, may_set_traits};
use crate::decision::{Catalog, Effect, Finding, FindingVerdict, Input, Turn};
use crate::event::{Event, Kind};
use crate::ids::Timestamp;

/// Appended after the input by which a trait became another; properties `trait`, `from` and `to`, and `cause` where it
/// starts nothing.
pub const TRAIT_CHANGED: &str = "Trait Changed";

/// Changes told of one input: a call that sets more is a machine's.
pub const CHANGES_MAX: usize = 100;
/// Bytes of a value as JSON that is told; a longer one is left out.
const VALUE_BYTES_MAX: usize = 1_024;

/// Keys of the computed traits that this input may change.
pub(super) fn worked_by<'c>(catalog: &'c Catalog, input: &Input) -> BTreeSet<&'c str> {
    match input {
        Input::Event(event) => catalog.terms.computed.hearing(Some(&event.name), may_set_traits(event)),
        Input::Timer | Input::MessageEnded { .. } => BTreeSet::new(),
    }
}

impl Turn<'_> {
    /// Works these computed traits out at an instant; the answer is which became another.
    pub(super) fn work_out(
        &mut self,
        instant: Timestamp,
        keys: &BTreeSet<String>,
        is_backfill: bool,
    ) -> BTreeSet<String> {
        let set = &self.snapshot.catalog.terms.computed;
        let mut changed = BTreeSet::new();
        for defined in keys.iter().filter_map(|key| set.get(key)) {
            let key = &defined.computed.key;
            let answer = defined.computed.compute.work_out(&self.facts_at(instant, None, None));
            let before = self.person.profile.remembered.computed.get(key).cloned();
            if before.as_ref() != Some(&answer.worked) {
                self.push(Effect::Computed { key: key.clone(), worked: answer.worked.clone() });
            }
            let before = before.unwrap_or_default();
            if !is_same(&before, &answer.worked) {
                changed.insert(key.clone());
                let (from, to) = (before.value.as_ref(), answer.worked.value.as_ref());
                self.tell_of_trait(key, (from, to), instant, is_backfill, answer.because);
            }
        }
        if !changed.is_empty() {
            self.answers = Answers::default();
        }
        changed
    }

    /// Works out every computed trait there is, as of now.
    pub(super) fn work_out_all(&mut self) {
        let set = &self.snapshot.catalog.terms.computed;
        let keys = set.iter().map(|defined| defined.computed.key.clone()).collect();
        self.work_out(self.at.now, &keys, false);
    }

    /// Tells of what an identify is about to change. A trait that is computed stays what it is.
    pub(super) fn tell_of_traits(&mut self, event: &Event, traits: &Traits) {
        let catalog = self.snapshot.catalog;
        let is_told = |name: &str| catalog.hears_trait(name) && catalog.terms.computed.get(name).is_none();
        let told: Vec<(&String, &Value)> = traits.iter().filter(|(name, _)| is_told(name)).collect();
        let mut count = 0;
        for (name, value) in told {
            let from = self.person.profile.traits.get(name).cloned();
            let to = Some(value).filter(|value| !value.is_null());
            let is_other = match (&from, to) {
                (Some(from), Some(to)) => !equal(from, to, false),
                (from, to) => from.is_some() != to.is_some(),
            };
            if is_other && count < CHANGES_MAX {
                count += 1;
                let because = format!("identified by {}", event.name);
                self.tell_of_trait(name, (from.as_ref(), to), self.at.now, is_past(event), because);
            }
        }
    }

    /// An operator's word about the list of a static segment.
    pub(super) fn learn_list(&mut self, event: &Event) {
        if event.kind != Kind::Own || event.name != LIST_CHANGED {
            return;
        }
        let segment = event.lookup("properties.segment").and_then(Value::as_str);
        let listed = event.lookup("properties.listed").and_then(Value::as_bool);
        if let (Some(segment), Some(listed)) = (segment, listed) {
            let known = self.person.profile.remembered.lists.get(segment).copied();
            let since = listed.then(|| known.unwrap_or(event.at));
            if since != known {
                self.push(Effect::Listed { segment: segment.to_owned(), since });
            }
        }
    }

    fn tell_of_trait(
        &mut self,
        name: &str,
        (from, to): (Option<&Value>, Option<&Value>),
        at: Timestamp,
        is_backfill: bool,
        because: String,
    ) {
        if !self.snapshot.catalog.hears_trait(name) {
            return;
        }
        let short = |value: Option<&Value>| value.filter(|it| it.to_string().len() <= VALUE_BYTES_MAX).cloned();
        let (from, to) = (short(from), short(to));
        let mut properties = Map::new();
        properties.insert("trait".to_owned(), json!(name));
        properties.extend(from.clone().map(|value| ("from".to_owned(), value)));
        properties.extend(to.clone().map(|value| ("to".to_owned(), value)));
        if is_backfill {
            properties.insert("cause".to_owned(), json!(BACKFILL));
        }
        let verdict = FindingVerdict::Trait { name: name.to_owned(), from, to, backfill: is_backfill, because };
        self.decision.findings.push(Finding { campaign: String::new(), version: 0, verdict });
        self.happen(TRAIT_CHANGED, name, at, properties);
    }
}
