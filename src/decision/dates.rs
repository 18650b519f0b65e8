//! Campaigns that are entered at a date: when each comes next is kept with the person, and told anew when a trait, the zone
//! or the definition is another. At the instant an event of our own follows, by which the campaign is entered like by any
//! other; never twice for one date.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::audience::field::trait_values;
use crate::audience::remembered::Appointment;
use crate::decision::{Effect, Turn};
use crate::ids::Timestamp;

/// Appended at the instant a date of a campaign's entry comes; properties `campaign`, `trait` and `date`.
pub const DATE_REACHED: &str = "Date Reached";

impl Turn<'_> {
    /// Campaigns whose date has come by `now`, each with its instant.
    pub(super) fn dates_due(&self, now: Timestamp) -> Vec<(String, Timestamp)> {
        let dated = self.snapshot.catalog.dated();
        let dates = self.person.profile.remembered.dates.iter().filter(|(key, _)| dated.contains_key(key));
        let due = dates.filter_map(|(key, it)| Some((key.clone(), it.next?.0)));
        due.filter(|(_, next)| *next <= now).collect()
    }

    /// The date has come: it is told of, and the next one is looked for.
    pub(super) fn reach_dates(&mut self, instant: Timestamp, campaigns: &BTreeSet<String>) {
        for key in campaigns {
            let Some(occasion) = self.snapshot.catalog.dated().get(key) else { continue };
            let Some(Appointment { next: Some((_, date)), done }) =
                self.person.profile.remembered.dates.get(key).copied()
            else {
                continue;
            };
            // Two profiles that are one person may both have waited for it.
            if done != Some(date) {
                let mut properties = Map::new();
                properties.insert("campaign".to_owned(), json!(key));
                properties.insert("trait".to_owned(), json!(occasion.of));
                properties.insert("date".to_owned(), Value::from(date.to_string()));
                self.happen(DATE_REACHED, key, instant, properties);
            }
            self.appoint_one(key, instant, Some(date));
        }
    }

    /// Looks for the next date of every campaign that is entered by one, from this instant on.
    pub(super) fn appoint(&mut self, instant: Timestamp) {
        let profile = &self.person.profile;
        // Where the trait is not, no date is; it may have been.
        let has = |of: &str| !trait_values(profile, of, instant).is_empty();
        let by_trait = self.snapshot.catalog.dated_by().filter(|(of, _)| has(of)).flat_map(|(_, keys)| keys);
        let keys: BTreeSet<String> = by_trait.chain(profile.remembered.dates.keys()).cloned().collect();
        for key in keys {
            let known = self.person.profile.remembered.dates.get(&key).copied().unwrap_or_default();
            self.appoint_one(&key, instant, known.done);
        }
    }

    fn appoint_one(&mut self, key: &str, instant: Timestamp, done: Option<jiff::civil::Date>) {
        let occasion = self.snapshot.catalog.dated().get(key);
        let next = occasion.and_then(|occasion| {
            let zone = self.facts_at(instant, None, None).zone();
            let values = trait_values(&self.person.profile, &occasion.of, instant);
            values.iter().filter_map(|found| occasion.next(&found.value, instant, &zone, done)).min()
        });
        let appointment = Appointment { next, done };
        if appointment != self.person.profile.remembered.dates.get(key).copied().unwrap_or_default() {
            self.push(Effect::Appointed { campaign: key.to_owned(), appointment });
        }
    }

    /// The earliest instant at which a computed trait may change by itself or a date comes, of those that are in force.
    pub(super) fn remembered_changes_at(&self) -> Option<Timestamp> {
        let catalog = self.snapshot.catalog;
        let remembered = &self.person.profile.remembered;
        let computed = remembered.computed.iter().filter(|(key, _)| catalog.terms.computed.get(key).is_some());
        let dates = remembered.dates.iter().filter(|(key, _)| catalog.dated().contains_key(key));
        let dates = dates.filter_map(|(_, it)| it.next).map(|(at, _)| at);
        computed.filter_map(|(_, worked)| worked.next).chain(dates).min()
    }
}
