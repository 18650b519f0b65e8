//! What the log says of inputs that are no acts of people, for a life that is lived again: timers, what the guard said of
//! each message and how it ended, events of our own. What comes of the rules is decided anew; where it agrees with the
//! record, a message goes the way it went, and where it does not, the record says nothing more of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::World;
use crate::decision::At;
use crate::guard::{Subject, Verdict};
use crate::ids::{EventId, MessageId, Position, ProfileId, Span, Timestamp};
use crate::message::{Message, Reason, Status, Suppression, SuppressionKind};

/// Who put an address onto the suppression list as a message ended.
const PROVIDER: &str = "rejected by the provider";

/// How late a timer may come to be logged where the machine has much to do.
const LATE: Span = Span::from_seconds(10);

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

/// Whether no rule that is lived through again had a part in it.
fn is_of_world(said: &Said) -> bool {
    match said {
        Said::Returned => true,
        Said::Suppressed(reason) | Said::Deferred(reason) => OF_THE_WORLD.contains(&reason.code()),
        Said::Cleared | Said::Cancelled(_) => false,
    }
}

fn stops(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Suppress { reason } | Verdict::Defer { reason, .. } => Some(reason),
        Verdict::NeedsSlots(_) | Verdict::Clear(_) => None,
    }
}

#[derive(Debug, Default)]
pub struct Record {
    /// There is one, though it may be empty.
    pub is_told: bool,
    pub timers: BTreeSet<(ProfileId, Timestamp)>,
    /// Who turned out to be one with another and when, both by their places.
    pub joined: BTreeSet<(usize, Timestamp)>,
    /// Events of our own that are among the acts.
    pub own: BTreeSet<EventId>,
    pub messages: BTreeMap<MessageId, Recorded>,
    /// Where the log says that a message ended.
    pub ends: BTreeMap<MessageId, Position>,
    /// Where what is decided now is not what was recorded.
    pub diverged: Vec<Divergence>,
}

/// What became of a message step by step, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    pub asks: VecDeque<Ask>,
    was_cleared: bool,
    /// It has a slot to its end: it may have arrived, whatever ended it.
    keeps_slot: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub at: Timestamp,
    /// When its slots were asked for: the answer was stored later.
    pub slots_at: Timestamp,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Cleared,
    /// Not yet.
    Deferred(Reason),
    Suppressed(Reason),
    /// It ended before it was asked.
    Cancelled(Reason),
    /// Nobody was asked: cleared before, it went back into the queue unsent.
    Returned,
}

/// What a message left behind as it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    pub keeps_slot: bool,
    /// Its address, where the provider knows no such mailbox.
    pub bounced: Option<String>,
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
    /// `was_cleared`: it was on its way as the record begins.
    pub fn of(asks: impl IntoIterator<Item = Ask>, was_cleared: bool, keeps_slot: bool) -> Self {
        Self { asks: asks.into_iter().collect(), was_cleared, keeps_slot }
    }
}

impl Record {
    /// When it was asked first, of a message there is a record of; never where it still waited at the end.
    fn first_ask(&self, message: MessageId) -> Option<Timestamp> {
        let recorded = self.messages.get(&message)?;
        Some(recorded.asks.front().map_or_else(never, |ask| ask.at))
    }

    /// Where a message stands as it comes into the world.
    pub(super) fn status_of(&self, message: &Message) -> Status {
        let Some(at) = self.first_ask(message.id) else { return message.status.clone() };
        match self.messages.get(&message.id) {
            Some(recorded) if recorded.was_cleared => Status::Retrying { attempt: 1, at, cause: String::new() },
            _ => Status::Queued { due_at: at },
        }
    }

    /// Whether an address came onto the list by another way than the log.
    pub(super) fn is_apart(&self, one: &Suppression) -> bool {
        one.profile.is_none() && one.source != PROVIDER
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

    /// Whether a timer that was not logged would have been late: by then its person was one with another, and what waited
    /// was looked at in that decision.
    pub(super) fn is_overtaken(&self, who: usize, at: Timestamp) -> bool {
        self.record.joined.range((who, at)..=(who, at.plus(LATE))).next().is_some()
    }

    /// Whether the log has this timer of a person, under whichever of their profiles.
    pub(super) fn was_logged(&self, who: usize, at: Timestamp) -> bool {
        let has = |who: usize| self.record.timers.contains(&(self.people[who].person.profile.id, at));
        has(who) || self.heirs.keys().any(|loser| has(*loser) && self.heir(*loser) == who)
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

    /// At one instant the order of the log and of what the guard said is not known: as soon as a message can go the way
    /// the record says, it does.
    pub(super) fn claim_recorded(&mut self, now: Timestamp) {
        if self.record.messages.is_empty() {
            return;
        }
        let is_due = |message: &Message| message.status.due_at().is_some_and(|due| due <= now);
        let mut due: Vec<usize> = (0..self.messages.len()).filter(|index| is_due(&self.messages[*index])).collect();
        // Of two that cannot both be on their way to one address, that which ended first went first.
        due.sort_by_key(|index| {
            let id = self.messages[*index].id;
            (!self.record.clears(id), self.record.ends.get(&id).copied().unwrap_or(Position(i64::MAX)))
        });
        for index in due {
            let recorded = self.record.messages.get(&self.messages[index].id);
            let next = recorded.and_then(|recorded| recorded.asks.front());
            if next.is_some_and(|ask| !is_of_world(&ask.said)) {
                self.follows(now, index, false);
            }
        }
    }

    /// What nobody was asked about at this instant, such as a transport that stopped, happens before what is left disagrees
    /// with the record: it makes room for what went afterwards.
    pub(super) fn happen_recorded(&mut self, now: Timestamp) {
        loop {
            let mut has_moved = false;
            for index in 0..self.messages.len() {
                let message = &self.messages[index];
                let is_due = message.status.due_at().is_some_and(|due| due <= now);
                let recorded = self.record.messages.get(&message.id).filter(|_| is_due);
                let next = recorded.and_then(|recorded| recorded.asks.front());
                let is_next = next.is_some_and(|ask| ask.at <= now && is_of_world(&ask.said));
                if is_next && self.owner_of(message).is_some() {
                    has_moved |= self.follows(now, index, false);
                }
            }
            if !has_moved {
                return;
            }
            self.claim_recorded(now);
        }
    }

    /// Whether a message goes on as the record says. `is_last`: where it disagrees now, the record is left.
    pub(super) fn follows(&mut self, now: Timestamp, index: usize, is_last: bool) -> bool {
        let message = self.messages[index].clone();
        let asked = self.record.messages.get(&message.id).and_then(|recorded| recorded.asks.front()).cloned();
        let Some(ask) = asked.filter(|ask| ask.at <= now) else { return false };
        let Some(owner) = self.owner_of(&message) else { return true };
        let had_slot = self.slots.values().flatten().any(|slot| slot.message == message.id);
        let verdict = if is_of_world(&ask.said) { None } else { self.verdict((now, ask.slots_at), owner, index) };
        let agrees = match (&ask.said, &verdict) {
            (said, _) if is_of_world(said) => true,
            (Said::Cleared, verdict) => !matches!(verdict, Some(Verdict::Suppress { .. } | Verdict::Defer { .. })),
            (Said::Suppressed(said), Some(Verdict::Suppress { reason } | Verdict::Defer { reason, .. }))
            | (Said::Deferred(said), Some(Verdict::Defer { reason, .. })) => said.code() == reason.code(),
            _ => false,
        };
        if !agrees {
            self.messages[index].address = message.address;
            if is_last || !had_slot {
                self.give_back(message.id);
            }
            if is_last {
                let (at, campaign) = (ask.at, message.campaign.clone());
                let now = verdict.and_then(stops);
                self.record.diverged.push(Divergence { at, message: message.id, campaign, recorded: ask.said, now });
                self.record.messages.remove(&message.id);
            }
            return false;
        }
        self.follow(index, ask);
        true
    }

    /// The message goes the next step of its record.
    fn follow(&mut self, index: usize, ask: Ask) {
        let Some(recorded) = self.record.messages.get_mut(&self.messages[index].id) else { return };
        recorded.asks.pop_front();
        recorded.was_cleared |= ask.said == Said::Cleared;
        let next = recorded.asks.front().map(|next| next.at);
        let message = &mut self.messages[index];
        message.status = match (ask.said, next) {
            (Said::Suppressed(reason), _) => Status::Suppressed { at: ask.at, reason },
            (Said::Deferred(reason), next) => {
                message.wait_for(&reason);
                if matches!(reason, Reason::Capped { .. }) {
                    message.capped_at.get_or_insert(ask.at);
                }
                Status::Deferred { until: next.unwrap_or_else(never), reason }
            }
            // Asked again, it was with its provider meanwhile.
            (Said::Cleared, Some(at)) => Status::Retrying { attempt: 1, at, cause: String::new() },
            (Said::Cleared, None) => Status::Sending { attempt: 1, token: 0, since: ask.at },
            (Said::Returned | Said::Cancelled(_), next) => Status::Queued { due_at: next.unwrap_or_else(never) },
        };
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
    pub(super) fn ended(&mut self, place: At, id: MessageId, status: &Status, left: &Left) {
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
        if !left.keeps_slot {
            self.give_back(id);
        }
        if let Some(address) = &left.bounced {
            let listed = self.suppressions.entry(Subject::Address(self.messages[index].channel, address.clone()));
            let (kind, source) = (SuppressionKind::Bounced, PROVIDER.to_owned());
            listed.or_default().push(Suppression { kind, source, at: place.now, profile: None });
        }
        if let (Status::Suppressed { at, reason }, Some(owner)) = (status, self.owner_of(&self.messages[index])) {
            let (person, message) = (self.people[owner].name.clone(), self.messages[index].clone());
            self.note_message(*at, &person, &message, super::What::NotSent(reason.clone()));
        }
        self.end(place, index, status.clone());
    }

    /// It was stopped while it waited for another try.
    pub(super) fn release(&mut self, id: MessageId) {
        if self.record.messages.get(&id).is_none_or(|recorded| !recorded.keeps_slot) {
            self.give_back(id);
        }
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
