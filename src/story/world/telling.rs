//! What came of an entry, for the timeline.

use super::{World, labelled, value_text};
use crate::decision::FindingVerdict;
use crate::ids::Timestamp;
use crate::story::timeline::instant;

impl World<'_> {
    pub(super) fn tell(&mut self, index: usize, now: Timestamp, called: &str, verdict: &FindingVerdict) {
        let person = self.people[index].name.clone();
        let named = |enrolled: &str| labelled(called, enrolled);
        match verdict {
            FindingVerdict::Entered { key: enrolled, until } => {
                let wait = if *until > now { format!(", waits until {}", instant(*until)) } else { String::new() };
                self.timeline.did(now, &person, &format!("enrolled {}{wait}", named(enrolled)));
            }
            FindingVerdict::Repeated { key: enrolled, until } => {
                let wait = until.map_or(String::new(), |until| format!(", waits until {}", instant(until)));
                self.timeline.did(now, &person, &format!("repeated {}{wait}", named(enrolled)));
            }
            FindingVerdict::Exited { key: enrolled, by } => {
                self.timeline.did(now, &person, &format!("exited {}: {by}", named(enrolled)));
            }
            FindingVerdict::Queued { message, .. } => {
                if let Some(message) = self.messages.iter().find(|known| known.id == *message) {
                    let what = format!("queued {}", self.named(message));
                    self.timeline.did(now, &person, &what);
                }
            }
            FindingVerdict::NotEntered { reason } => {
                let what = format!("not enrolled {called}: {}", reason.sentence());
                self.timeline.did_not(now, &person, &what);
            }
            FindingVerdict::Converted { .. } => {
                self.timeline.did(now, &person, &format!("converted {called}"));
            }
            FindingVerdict::Segment { segment, entered, because, .. } => {
                let verb = if *entered { "entered" } else { "left" };
                self.timeline.did(now, &person, &format!("{verb} segment {segment}: {because}"));
            }
            FindingVerdict::Trait { name, from, to, because, .. } => {
                let (before, after) = (value_text(from.as_ref()), value_text(to.as_ref()));
                self.timeline.did(now, &person, &format!("{name} changed from {before} to {after}: {because}"));
            }
            FindingVerdict::Noted { reason } => self.timeline.did_not(now, &person, &reason.sentence()),
            // People of a story are told apart by their names.
            FindingVerdict::Completed { .. } | FindingVerdict::Merged(_) => {}
        }
    }
}
