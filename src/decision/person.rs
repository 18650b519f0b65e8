//! Everything a decision knows about one person, and how effects change it in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::audience::condition::{Past, Received};
use crate::audience::{History, Profile};
use crate::decision::effect::Effect;
use crate::decision::enrollment::Enrollment;
use crate::event::Event;
use crate::ids::{EnrollmentId, MessageId, Position, ProfileId, Timestamp};

/// A sent message, as goals need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub message: MessageId,
    pub campaign: String,
    pub at: Timestamp,
}

/// One person with what is loaded of their past.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub profile: Profile,
    /// Version of the profile's row as read; 0 before it is first stored.
    pub version: i64,
    pub wake_at: Option<Timestamp>,
    /// The profile in which this person's state is now, where they turned out to be another's.
    pub merged_into: Option<ProfileId>,
    /// All active ones, and for candidate campaigns those that ended.
    pub enrollments: BTreeMap<EnrollmentId, Enrollment>,
    /// Messages sent within the longest goal window, as the log said until now.
    pub sent: Vec<Sent>,
    /// Campaigns of messages of which it has not said so.
    pub unsent: BTreeMap<MessageId, String>,
}

/// What was loaded beside the person because a condition may ask for it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Pages of history older than the profile's recent part.
    pub older: Vec<History>,
    /// Past events by position: entries of active enrollments, and those whose fields a condition tests.
    pub bodies: BTreeMap<Position, Arc<Event>>,
    /// Messages that were received, of campaigns that a condition asks for.
    pub received: Vec<Received>,
}

impl Loaded {
    /// As conditions look at it.
    pub fn past(&self) -> Past<'_> {
        (&self.older, &self.bodies, &self.received)
    }

    /// What was loaded of two profiles that are one person.
    #[must_use]
    pub fn united(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.older.extend(other.older.iter().cloned());
        all.bodies.extend(other.bodies.iter().map(|(position, event)| (*position, event.clone())));
        all.received.extend(other.received.iter().cloned());
        all
    }
}

impl Person {
    pub fn new(id: ProfileId, now: Timestamp) -> Self {
        Self {
            profile: Profile::new(id, now),
            version: 0,
            wake_at: None,
            merged_into: None,
            enrollments: BTreeMap::new(),
            sent: Vec::new(),
            unsent: BTreeMap::new(),
        }
    }

    /// The same person without enrollments and messages.
    pub(super) fn without_walks(&self) -> Self {
        let Self { profile, version, wake_at, enrollments: _, sent: _, unsent: _, merged_into } = self;
        let (enrollments, sent, unsent) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self {
            profile: profile.clone(),
            version: *version,
            wake_at: *wake_at,
            enrollments,
            sent,
            unsent,
            merged_into: *merged_into,
        }
    }

    pub fn active(&self) -> impl Iterator<Item = &Enrollment> {
        self.enrollments.values().filter(|enrollment| enrollment.is_active())
    }

    /// Changes the person as the effect says; of messages only who may reach a goal.
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Merge(other) => self.unite(other),
            Effect::Identify { user_id } => self.profile.user_id = Some(user_id.clone()),
            Effect::SetTraits(traits) => self.profile.set_traits(traits),
            Effect::SetConsent { channel, consent } => {
                self.profile.consent.insert(channel.clone(), consent.clone());
            }
            Effect::Cart(step) => self.profile.carts.get_or_insert_default().take(step.clone()),
            Effect::Carts(carts) => self.profile.carts = Some(carts.clone()),
            Effect::Seen { zone } => self.profile.last_zone = Some(zone.clone()),
            Effect::Record { name, at, position } => {
                self.profile.history.record(name, *at, *position);
                self.profile.last_seen_at = self.profile.last_seen_at.max(*at);
            }
            Effect::Enrollment(enrollment) => {
                self.enrollments.insert(enrollment.id, enrollment.clone());
            }
            Effect::WakeAt(at) => self.wake_at = *at,
            Effect::Standing { segment, standing } => self.profile.segments.set(segment, *standing),
            Effect::Computed { key, worked } => {
                drop(self.profile.remembered.computed.insert(key.clone(), worked.clone()))
            }
            Effect::Appointed { campaign, appointment } => {
                self.profile.remembered.dates.insert(campaign.clone(), *appointment);
            }
            Effect::Inclusion { campaign, inclusion: Some(inclusion) } => {
                self.profile.remembered.existing.insert(campaign.clone(), inclusion.clone());
            }
            Effect::Inclusion { campaign, inclusion: None } => drop(self.profile.remembered.existing.remove(campaign)),
            Effect::Listed { segment, since: Some(since) } => {
                self.profile.remembered.lists.insert(segment.clone(), *since);
            }
            Effect::Listed { segment, since: None } => drop(self.profile.remembered.lists.remove(segment)),
            Effect::SegmentsSeen(position) => self.profile.segments.seen = *position,
            Effect::CreateMessage(message) => self.note_message(message.id, &message.campaign, None),
            Effect::Sent { message, at } => {
                if let Some(campaign) = self.unsent.remove(message) {
                    self.note_message(*message, &campaign, Some(*at));
                }
            }
            Effect::Suppress { .. } | Effect::LiftSuppression { .. } | Effect::Reach { .. } => {
                self.profile.follow_list(effect);
            }
            Effect::RenewMessage { .. } | Effect::CancelMessage { .. } | Effect::Happen(_) | Effect::Convert(_) => {}
        }
    }

    /// Everything of `other` is this person's.
    fn unite(&mut self, other: &Self) {
        self.profile.unite(&other.profile);
        for enrollment in other.enrollments.values() {
            let ours = Enrollment { profile: self.profile.id, ..enrollment.clone() };
            self.enrollments.insert(ours.id, ours);
        }
        self.sent.extend(other.sent.iter().cloned());
        self.unsent.extend(other.unsent.iter().map(|(message, campaign)| (*message, campaign.clone())));
    }

    /// What stays of this person's own row when `winner` has everything.
    #[must_use]
    pub fn emptied(&self, winner: ProfileId) -> Self {
        let mut emptied = Self::new(self.profile.id, self.profile.created_at);
        emptied.version = self.version;
        emptied.merged_into = Some(winner);
        emptied
    }

    /// A message of theirs, and when it was sent, if it was.
    pub fn note_message(&mut self, message: MessageId, campaign: &str, sent_at: Option<Timestamp>) {
        let campaign = campaign.to_owned();
        match sent_at {
            Some(at) => self.sent.push(Sent { message, campaign, at }),
            None => drop(self.unsent.insert(message, campaign)),
        }
    }
}
