//! Whether the message of a campaign that would begin now could go: what the guard says of the person as they are.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::Ground;
use crate::audience::Suppression;
use crate::audience::condition::Facts;
use crate::audience::segment::Answers;
use crate::decision::Person;
use crate::guard::{Draft, GuardState, Verdict, check};
use crate::ids::Position;
use crate::message::{Message, Reason, address_of};
use crate::worker::explain::refold::Logbook;

impl Ground<'_> {
    /// What would stop or hold it, leaving aside caps and the time of day: those are of the instant it is due.
    pub(super) async fn stopped(
        &self,
        person: &Person,
        book: &Logbook,
        zone: &TimeZone,
    ) -> anyhow::Result<Option<Reason>> {
        let (now, campaign) = (self.asked.at, &self.campaign);
        let (channel, profile) = (campaign.send.channel, &person.profile);
        let topic = self.catalog.topic_of(campaign);
        let message = Message {
            campaign: campaign.key.clone(),
            topic: topic.map(str::to_owned),
            ..Message::queued(&[b"outlook"], profile.id, channel, campaign.purpose, Position(0), now)
        };
        let subjects: BTreeSet<String> = address_of(profile, channel).iter().map(|address| address.subject()).collect();
        let suppressions = self.store.suppressions_of(&subjects).await?;
        let suppressions: Vec<Suppression> = suppressions.into_values().flatten().collect();
        let (answers, loaded) = (Answers::default(), book.loaded(now));
        let policy = self.catalog.policy(channel).cloned().unwrap_or_default();
        let state = GuardState {
            suppressions: &suppressions,
            unknown_consent: policy.admits_unknown(&Facts::of_person(
                now,
                (&self.catalog.terms, &answers),
                profile,
                loaded.past(),
            )),
            topic: topic.and_then(|topic| self.catalog.topic(topic)),
            zone: zone.clone(),
            ..GuardState::of(profile)
        };
        Ok(match check(now, &state, Draft(message)) {
            Verdict::Suppress { reason } | Verdict::Defer { reason, .. } => Some(reason),
            Verdict::NeedsSlots(_) | Verdict::Clear(_) => None,
        })
    }
}
