//! Messages of a world: those that are due ask the guard, take slots in memory, and end.

use std::cmp::Reverse;

use jiff::tz::TimeZone;

use super::{What, World, labelled};
use crate::audience::condition::{Facts, Received};
use crate::audience::segment::Answers;
use crate::decision::{At, Input};
use crate::guard::{
    Candidate, Draft, GuardState, Neighbour, Subject, Verdict, address_of, capped, check, frequency_cap,
};
use crate::ids::{MessageId, Timestamp};
use crate::message::{Message, Reason, Status, Suppression};
use crate::story::Someone;
use crate::story::timeline::instant;
use crate::story::words;

impl World<'_> {
    /// Messages that are due, the most important first.
    pub(super) fn dispatch(&mut self, now: Timestamp) {
        let is_due = |message: &Message| message.status.due_at().is_some_and(|due| due <= now);
        let mut due: Vec<usize> = (0..self.messages.len()).filter(|index| is_due(&self.messages[*index])).collect();
        due.sort_by_key(|index| {
            let message = &self.messages[*index];
            (Reverse(message.priority), message.status.due_at(), *index)
        });
        // What the record says was cleared goes before what it says was not.
        due.sort_by_key(|index| !self.record.clears(self.messages[*index].id));
        for index in due {
            // An earlier one of this turn may have ended it.
            if is_due(&self.messages[index]) && !self.follows(now, index, true) {
                self.attempt(now, index);
            }
        }
    }

    fn attempt(&mut self, now: Timestamp, index: usize) {
        let message = self.messages[index].clone();
        let Some(owner) = self.owner_of(&message) else { return };
        let verdict = self.verdict((now, now), owner, index);
        let person = self.people[owner].name.clone();
        let status = match verdict {
            Some(Verdict::Suppress { reason }) => {
                if self.tells {
                    self.timeline.did_not(
                        now,
                        &person,
                        &words::not_sent(&self.named(&message), &self.sentence(&reason)),
                    );
                }
                self.note_message(now, &person, &message, What::NotSent(reason.clone()));
                Status::Suppressed { at: now, reason }
            }
            Some(Verdict::Defer { until, reason }) => {
                if self.tells {
                    let why = self.sentence(&reason);
                    self.timeline.did_not(now, &person, &words::deferred(&self.named(&message), &instant(until), &why));
                }
                self.messages[index].wait_for(&reason);
                if matches!(reason, Reason::Capped { .. }) {
                    self.messages[index].capped_at.get_or_insert(now);
                }
                Status::Deferred { until, reason }
            }
            Some(Verdict::NeedsSlots(_) | Verdict::Clear(_)) | None => {
                Status::Sent { at: now, reply: "story".to_owned() }
            }
        };
        self.messages[index].status = status.clone();
        if status.is_final() {
            let place = self.next_place(now);
            self.end(place, index, status);
        }
    }

    /// A message has reached a last state, and its person hears of it.
    pub(super) fn end(&mut self, place: At, index: usize, status: Status) {
        let message = self.messages[index].clone();
        let Some(owner) = self.owner_of(&message) else { return };
        let person = self.people[owner].name.clone();
        self.messages[index].status = status.clone();
        self.people[owner].person.note_message(message.id, &message.campaign, None);
        if let Status::Sent { at, .. } = status {
            if self.tells {
                let what = words::sent(&self.named(&message));
                self.timeline.did(at, &person, &what);
            }
            self.note_message(at, &person, &message, What::Sent);
            self.people[owner].loaded.received.push(Received { campaign: message.campaign.clone(), at });
        }
        self.decide_at(owner, place, &Input::MessageEnded { message: message.id, status }, None);
    }

    pub(super) fn owner_of(&self, message: &Message) -> Option<usize> {
        self.people.iter().position(|one| one.person.profile.id == message.profile)
    }

    /// The guard's word, with slots asked for and taken at an instant of their own; none where slots were granted. A
    /// message that may go has its address from then on.
    pub(super) fn verdict(
        &mut self,
        (now, slots_at): (Timestamp, Timestamp),
        owner: usize,
        index: usize,
    ) -> Option<Verdict> {
        let message = &self.messages[index].clone();
        let Someone { person, loaded, .. } = &self.people[owner];
        let profile = &person.profile;
        let address = address_of(profile, message.channel).ok();
        let subject =
            address.as_ref().map(|address| Subject::Address(message.channel, address.normalised().to_owned()));
        let to = address.as_ref().map(|address| address.normalised().to_owned());
        let listed = subject.as_ref().and_then(|subject| self.suppressions.get(subject)).into_iter().flatten();
        // What came by another way than the log at this very instant may have come before or after.
        let is_cleared = self.record.clears(message.id);
        let listed = listed.filter(|one| one.at < now || one.at == now && !(is_cleared && self.record.is_apart(one)));
        let listed: Vec<Suppression> = listed.cloned().collect();
        let neighbours = subject.as_ref().map_or_else(Vec::new, |subject| self.neighbours(subject));
        let answers = Answers::default();
        let terms = (self.catalog.terms.as_ref(), &answers);
        let policy = self.catalog.policy(message.channel).cloned().unwrap_or_default();
        let state = GuardState {
            suppressions: &listed,
            unknown_consent: policy.admits_unknown(&Facts::of_person(now, terms, profile, loaded.past())),
            topic: message.topic.as_deref().and_then(|topic| self.catalog.topic(topic)),
            neighbours: &neighbours,
            rules: self.rules,
            quiet: self.quiet,
            zone: self.catalog.terms.zone.clone().unwrap_or(TimeZone::UTC),
            ..GuardState::of(profile)
        };
        let request = match check(now, &state, Draft(message.clone())) {
            Verdict::NeedsSlots(request) => request,
            Verdict::Clear(cleared) => {
                self.messages[index].address = to;
                return Some(Verdict::Clear(cleared));
            }
            verdict => return Some(verdict),
        };
        let slot = request.slot(slots_at);
        for subject in request.subjects() {
            let used = self.slots.get(subject).map_or(&[][..], Vec::as_slice);
            // Asking again grants the same slot.
            if used.iter().any(|one| one.message == message.id) {
                continue;
            }
            let candidate = Candidate { slot: &slot, priority: message.priority, zone: request.zone() };
            if let Err(full) = frequency_cap::fits(request.rules(), used, candidate) {
                return Some(capped(now, message, full, None));
            }
        }
        self.messages[index].address = to;
        if request.counts() {
            self.leave_other_addresses(message.id, request.subjects());
            for subject in request.subjects() {
                let used = self.slots.entry(subject.clone()).or_default();
                if !used.iter().any(|one| one.message == message.id) {
                    used.push(slot.clone());
                }
            }
        }
        None
    }

    /// The slot at an address that is not the person's any more is free.
    fn leave_other_addresses(&mut self, message: MessageId, subjects: &[Subject]) {
        let others = self.slots.iter_mut().filter(|(subject, _)| !subjects.contains(subject));
        let addresses = others.filter(|(subject, _)| matches!(subject, Subject::Address(..)));
        addresses.for_each(|(_, slots)| slots.retain(|slot| slot.message != message));
    }

    /// What was cleared for this address, and went or is about to.
    fn neighbours(&self, subject: &Subject) -> Vec<Neighbour> {
        let is_out = |message: &&Message| {
            let status = &message.status;
            matches!(
                status,
                Status::Sending { .. } | Status::Retrying { .. } | Status::Sent { .. } | Status::Unknown { .. }
            )
        };
        let there = |message: &&Message| {
            matches!(subject, Subject::Address(channel, address)
                if *channel == message.channel && message.address.as_ref() == Some(address))
        };
        let cleared = self.messages.iter().filter(there).filter(is_out);
        cleared
            .map(|message| Neighbour {
                message: message.id,
                profile: message.profile,
                campaign: message.campaign.clone(),
                created_at: message.created_at,
            })
            .collect()
    }

    /// `email cart_reminder (c1)`.
    pub(super) fn named(&self, message: &Message) -> String {
        let key = self.keys.get(&message.id).map_or("", String::as_str);
        labelled(&format!("{} {}", message.channel.as_str(), message.template), key)
    }

    /// The reason's sentence, with messages called by template and key instead of by id.
    fn sentence(&self, reason: &Reason) -> String {
        let mut text = reason.sentence();
        if let Reason::Capped { by, .. } = reason {
            for message in self.messages.iter().filter(|message| by.contains(&message.id)) {
                text = text.replace(&message.id.to_string(), &self.named(message));
            }
        }
        text
    }
}
