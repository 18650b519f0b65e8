//! What the log says of inputs that are no acts of people, for a life that is lived again: timers, what the guard said of
//! each message and how it ended, events of our own. What comes of the rules is decided anew; where it agrees with the
//! record, a message goes the way it went, and where it does not, the record says nothing more of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::World;
use crate::decision::At;
use crate::guard::{Subject, Verdict};
use crate::ids::{EventId, MessageId, ProfileId, Timestamp};
use crate::message::{Reason, Status};

/// Whatever is not asked before.
fn never() -> Timestamp {
    Timestamp::from_millis(i64::MAX)
}
/// What stops a message beside the rules that are lived through again: people, the provider, the machine.
const OF_THE_WORLD: [&str; 12] = [
    "exited",
    "campaign_not_live",
    "erased",
    "merged",
    "restore_unconfirmed",
    "sending_paused",
    "campaign_paused",
    "caps_unreachable",
    "caps_unsettled",
    "domain_slow",
    "transport_stopped",
    "template_missing",
];

#[derive(Debug, Default)]
pub struct Record {
    /// There is one, though it may be empty.
    pub is_told: bool,
    pub timers: BTreeSet<(ProfileId, Timestamp)>,
    /// Events of our own that are among the acts.
    pub own: BTreeSet<EventId>,
    pub messages: BTreeMap<MessageId, Recorded>,
    /// Where what is decided now is not what was recorded.
    pub diverged: Vec<Divergence>,
}

/// What the guard was asked of a message, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    pub asks: VecDeque<Ask>,
    was_cleared: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub at: Timestamp,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Cleared,
    Suppressed(Reason),
    /// It ended before it was asked.
    Cancelled(Reason),
}

/// A message that the record says something else of.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    pub at: Timestamp,
    pub message: MessageId,
    pub campaign: String,
    pub recorded: Said,
    /// What stops it now; none: nothing.
    pub now: Option<Reason>,
}

impl Recorded {
    pub fn of(asks: impl IntoIterator<Item = Ask>) -> Self {
        Self { asks: asks.into_iter().collect(), was_cleared: false }
    }
}

impl Record {
    /// When it was asked first, of a message there is a record of; never where it still waited at the end.
    pub(super) fn first_ask(&self, message: MessageId) -> Option<Timestamp> {
        let recorded = self.messages.get(&message)?;
        Some(recorded.asks.front().map_or_else(never, |ask| ask.at))
    }

    pub(super) fn clears(&self, message: MessageId) -> bool {
        let next = self.messages.get(&message).and_then(|recorded| recorded.asks.front());
        next.is_some_and(|ask| ask.said == Said::Cleared)
    }
}

impl World<'_> {
    pub(super) fn heir(&self, who: usize) -> usize {
        let mut who = who;
        while let Some(heir) = self.heirs.get(&who) {
            who = *heir;
        }
        who
    }

    /// What belongs to one of the people belongs to another from now on.
    pub(super) fn join(&mut self, winner: usize, loser: usize) {
        let [ours, theirs] = [winner, loser].map(|who| self.people[who].person.profile.id);
        self.heirs.insert(loser, winner);
        let united = self.people[winner].loaded.united(&self.people[loser].loaded);
        self.people[winner].loaded = united;
        self.people[loser].person = self.people[loser].person.emptied(ours);
        self.people[loser].person.version = 1;
        for message in self.messages.iter_mut().filter(|message| message.profile == theirs) {
            message.profile = ours;
        }
        if let Some(slots) = self.slots.remove(&Subject::Profile(theirs)) {
            self.slots.entry(Subject::Profile(ours)).or_default().extend(slots);
        }
    }

    /// At one instant the order of the log and of the claims is not known: what can be cleared before, is.
    pub(super) fn claim_recorded(&mut self, now: Timestamp) {
        for index in 0..self.messages.len() {
            let message = &self.messages[index];
            if message.status.due_at().is_some_and(|due| due <= now) && self.record.clears(message.id) {
                self.follows(now, index, false);
            }
        }
    }

    /// Whether a message goes on as the record says. `is_last`: where it disagrees now, the record is left.
    pub(super) fn follows(&mut self, now: Timestamp, index: usize, is_last: bool) -> bool {
        let message = self.messages[index].clone();
        let asked = self.record.messages.get(&message.id).and_then(|recorded| recorded.asks.front()).cloned();
        let Some(ask) = asked.filter(|ask| ask.at <= now) else { return false };
        let is_of_world = matches!(&ask.said, Said::Suppressed(reason) if OF_THE_WORLD.contains(&reason.code()));
        let Some(owner) = self.owner_of(&message) else { return true };
        let verdict = if is_of_world { None } else { self.verdict(now, owner, &message) };
        let stopped = match verdict {
            Some(Verdict::Suppress { reason } | Verdict::Defer { reason, .. }) => Some(reason),
            Some(Verdict::NeedsSlots(_) | Verdict::Clear(_)) | None => None,
        };
        let agrees = match (&ask.said, &stopped) {
            (Said::Cleared, stopped) => stopped.is_none(),
            (Said::Suppressed(_), _) if is_of_world => true,
            (Said::Suppressed(reason), Some(stopped)) => reason.code() == stopped.code(),
            (Said::Suppressed(_), None) | (Said::Cancelled(_), _) => false,
        };
        if !agrees {
            if is_last {
                let (at, campaign) = (ask.at, message.campaign.clone());
                let diverged = Divergence { at, message: message.id, campaign, recorded: ask.said, now: stopped };
                self.record.diverged.push(diverged);
                self.record.messages.remove(&message.id);
                self.give_back(message.id);
            }
            return false;
        }
        let Some(recorded) = self.record.messages.get_mut(&message.id) else { return true };
        recorded.asks.pop_front();
        recorded.was_cleared |= ask.said == Said::Cleared;
        let next = recorded.asks.front().map(|next| next.at);
        self.messages[index].status = match (ask.said, next) {
            (Said::Suppressed(reason), _) => Status::Suppressed { at: ask.at, reason },
            (_, Some(due_at)) => Status::Queued { due_at },
            (_, None) => Status::Sending { attempt: 1, token: 0, since: ask.at },
        };
        true
    }

    /// Whether the record says that it was on its way when something would have ended it.
    pub(super) fn was_claimed(&mut self, now: Timestamp, id: MessageId) -> bool {
        let Some(index) = self.messages.iter().position(|message| message.id == id) else { return false };
        if self.record.clears(id) && self.record.first_ask(id).is_some_and(|at| at <= now) {
            self.follows(now, index, true);
        }
        let Some(recorded) = self.record.messages.get(&id) else { return false };
        let ends_now = recorded.asks.iter().any(|ask| ask.at == now && matches!(ask.said, Said::Cancelled(_)));
        recorded.was_cleared && !ends_now
    }

    /// A message ended, as it was logged: nothing to whoever has left the record.
    pub(super) fn ended(&mut self, place: At, id: MessageId, status: &Status, kept_slot: bool) {
        let Some(index) = self.messages.iter().position(|message| message.id == id) else { return };
        // It was asked before it ended, though that is the same instant.
        while self.record.messages.contains_key(&id) && self.record.first_ask(id).is_some_and(|at| at <= place.now) {
            if !self.follows(place.now, index, true) {
                break;
            }
        }
        if !self.record.messages.contains_key(&id) {
            return;
        }
        if !kept_slot {
            self.give_back(id);
        }
        if let (Status::Suppressed { at, reason }, Some(owner)) = (status, self.owner_of(&self.messages[index])) {
            let (person, message) = (self.people[owner].name.clone(), self.messages[index].clone());
            self.note_message(*at, &person, &message, super::What::NotSent(reason.clone()));
        }
        self.end(place, index, status.clone());
    }

    fn give_back(&mut self, id: MessageId) {
        self.slots.values_mut().for_each(|slots| slots.retain(|slot| slot.message != id));
    }

    /// Every message there is, as it stands.
    pub fn messages(&self) -> &[crate::message::Message] {
        &self.messages
    }

    /// Everybody, as they stand; who became another is empty.
    pub fn people(&self) -> impl Iterator<Item = &crate::decision::Person> {
        self.people.iter().map(|one| &one.person)
    }
}
