//! The proof that a message may be sent. A `Cleared` is made here and nowhere else, and only for a message that either
//! holds its slots or needs none, so nothing can be rendered or carried without permission.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::guard::cap_version::CapVersion;
use crate::guard::frequency_cap::{Rule, Slot, horizon};
use crate::ids::{MessageId, ProfileId, Span, Timestamp};
use crate::message::{Address, Channel, Message};

/// What a cap holds for: a person, and an address whoever it belongs to. Text form: `profile:7`,
/// `email:ann@example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Profile(ProfileId),
    /// In its normal form.
    Address(Channel, String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile(profile) => write!(f, "profile:{profile}"),
            Self::Address(channel, address) => write!(f, "{}:{address}", channel.as_str()),
        }
    }
}

/// A message that passed every check that needs no slot, and now asks the cap store.
#[derive(Debug, PartialEq)]
pub struct Request {
    message: Message,
    address: Address,
    subjects: [Subject; 2],
    rules: Vec<Rule>,
    horizon: Span,
    zone: TimeZone,
    counts: bool,
}

impl Request {
    /// `all` are the rules of the workspace, `zone` is the person's.
    pub(super) fn new(message: Message, address: Address, all: &[Rule], zone: TimeZone) -> Self {
        let by_address = Subject::Address(address.channel(), address.normalised().to_owned());
        let subjects = [Subject::Profile(message.profile), by_address];
        let counts = message.caps.count;
        let mut request = Self { message, address, subjects, rules: Vec::new(), horizon: horizon(all), zone, counts };
        let slot = request.slot(Timestamp::default());
        let obeyed = all.iter().filter(|rule| request.message.caps.obey && rule.covers(&slot));
        request.rules = obeyed.cloned().collect();
        request
    }

    pub fn message(&self) -> &Message {
        &self.message
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// In the order they are asked: the profile, then the address.
    pub fn subjects(&self) -> &[Subject; 2] {
        &self.subjects
    }

    /// The rules in force for this message; empty where it counts without obeying.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The longest window of any rule there is, in force here or not: how far back a subject's slots must reach.
    pub fn horizon(&self) -> Span {
        self.horizon
    }

    /// Whose days and weeks count.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether it uses a slot; else it only asks whether there is room.
    pub fn counts(&self) -> bool {
        self.counts
    }

    /// The slot it would take.
    pub fn slot(&self, at: Timestamp) -> Slot {
        Slot {
            message: self.message.id,
            at,
            channel: self.message.channel,
            topic: self.message.topic.clone(),
            campaign: self.message.campaign.clone(),
            enrollment: self.message.enrollment,
        }
    }

    pub fn into_message(self) -> Message {
        self.message
    }
}

/// A subject's version before and after a reservation. The claiming transaction moves the database from one to the
/// other or abandons the claim; where both are equal it only compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMove {
    pub subject: Subject,
    pub from: CapVersion,
    pub to: CapVersion,
}

/// The slots a cap store gave to one message, for each of its subjects.
#[derive(Debug, PartialEq)]
pub struct Reservation {
    message: MessageId,
    slot_at: Option<Timestamp>,
    moves: [VersionMove; 2],
}

impl Reservation {
    /// For cap stores alone: every subject of the request granted it. `slot_at` is the slot's instant, the same for
    /// all subjects; none where the message does not count.
    pub fn granted(request: &Request, slot_at: Option<Timestamp>, moves: [VersionMove; 2]) -> Self {
        Self { message: request.message.id, slot_at, moves }
    }
}

/// A reservation that was made for another message or other subjects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a reservation for message {reserved} cannot clear message {asked}")]
pub struct WrongReservation {
    pub reserved: MessageId,
    pub asked: MessageId,
}

/// A message that may be sent now.
#[derive(Debug, PartialEq)]
pub struct Cleared {
    message: Message,
    address: Address,
    slot_at: Option<Timestamp>,
    moves: Vec<VersionMove>,
}

impl Cleared {
    /// For messages that neither obey caps nor count.
    pub(super) fn uncapped(message: Message, address: Address) -> Self {
        Self { message, address, slot_at: None, moves: Vec::new() }
    }

    pub fn message(&self) -> &Message {
        &self.message
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The slot it uses; none where it does not count.
    pub fn slot_at(&self) -> Option<Timestamp> {
        self.slot_at
    }

    /// What the claiming transaction must find and leave in the database; empty for uncapped mail.
    pub fn versions(&self) -> &[VersionMove] {
        &self.moves
    }
}

/// Turns slots into permission.
///
/// # Errors
/// Refuses a reservation made for another request, which only a mistake in the caller can bring about.
pub fn settle(request: Request, reservation: Reservation) -> Result<Cleared, WrongReservation> {
    let Request { message, address, subjects, .. } = request;
    let its_own = message.id == reservation.message && reservation.moves.iter().map(|step| &step.subject).eq(&subjects);
    if !its_own {
        return Err(WrongReservation { reserved: reservation.message, asked: message.id });
    }
    Ok(Cleared { message, address, slot_at: reservation.slot_at, moves: reservation.moves.into() })
}
