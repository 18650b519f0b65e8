//! What came of an entry, for the timeline.

use super::{World, value_text};
use crate::decision::FindingVerdict;
use crate::ids::Timestamp;
use crate::story::timeline::instant;
use crate::story::words::{self, of_key};

impl World<'_> {
    pub(super) fn tell(&mut self, index: usize, now: Timestamp, called: &str, verdict: &FindingVerdict) {
        let person = self.people[index].name.clone();
        let (campaign, _) = called.split_once('@').unwrap_or((called, ""));
        match verdict {
            FindingVerdict::Entered { key, until } => {
                let until = until.map(instant);
                self.timeline.did(now, &person, &words::entered(&of_key(called, key), until.as_deref()));
            }
            FindingVerdict::Repeated { key, until } => {
                let until = until.map(instant);
                self.timeline.did(now, &person, &words::repeated(&of_key(called, key), until.as_deref()));
            }
            FindingVerdict::Exited { key, by } => {
                self.timeline.did_not(now, &person, &words::exited(by, None, campaign, key));
            }
            FindingVerdict::Queued { message, .. } => {
                if let Some(message) = self.messages.iter().find(|known| known.id == *message) {
                    let what = words::queued(&self.named(message));
                    self.timeline.did(now, &person, &what);
                }
            }
            FindingVerdict::NotEntered { reason } => {
                self.timeline.did_not(now, &person, &words::did_not_enter(called, &reason.sentence()));
            }
            FindingVerdict::Converted { message } => {
                let known = self.messages.iter().find(|known| known.id == *message);
                let after = known.map_or_else(|| "a message".to_owned(), |message| self.named(message));
                self.timeline.did(now, &person, &words::converted(campaign, &after));
            }
            FindingVerdict::Segment { segment, entered, because, .. } => {
                self.timeline.did(now, &person, &words::of_segment(segment, *entered, "", because));
            }
            FindingVerdict::Trait { name, from, to, because, .. } => {
                let (before, after) = (value_text(from.as_ref()), value_text(to.as_ref()));
                self.timeline.did(now, &person, &words::of_trait(name, (&before, &after), "", because));
            }
            FindingVerdict::Noted { reason } => self.timeline.did_not(now, &person, &reason.sentence()),
            // People of a story are told apart by their names.
            FindingVerdict::Completed { .. } | FindingVerdict::Merged(_) => {}
        }
    }
}
