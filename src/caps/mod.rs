//! Who keeps the slots: one contract for frequency caps, whichever process or server holds them.
//!
//! A cap store is fast and never trusted. The truth is the message record in the database with, for each subject, the
//! version of its history; the store answers only for the version it is asked about, and the claiming transaction
//! moves that version or abandons the claim. So a store may lose everything, go back in time or be reached by two
//! claimants at once, and no cap is exceeded (`model` explores every interleaving).

pub mod embedded;
mod held;
#[cfg(test)]
mod model;
mod packed;
pub mod redis;
mod take;

use futures::future::BoxFuture;
use jiff::tz::TimeZone;

use crate::guard::{Candidate, CapVersion, Full, Rule, Slot, Subject, frequency_cap};
use crate::ids::{MessageId, Span, Timestamp};
pub use embedded::Embedded;
pub use redis::Redis;
pub use take::{Taken, take, take_unasked};

/// A wish for one slot of one subject.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub subject: &'a Subject,
    /// The version of the subject's history in the database.
    pub expected: CapVersion,
    /// The longest reach of any rule of the workspace.
    pub horizon: Span,
    /// What the message must obey.
    pub rules: &'a [Rule],
    /// The slot at the instant wished for.
    pub slot: &'a Slot,
    /// Decides who may fill the slots a rule keeps.
    pub priority: u8,
    /// Whose days and weeks count.
    pub zone: &'a TimeZone,
    /// Whether it takes the slot, or only asks if there is room.
    pub counts: bool,
}

impl Ask<'_> {
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate { slot: self.slot, priority: self.priority, zone: self.zone }
    }

    /// How far back a history must reach to be asked.
    pub fn reach(&self) -> Span {
        self.horizon.max(frequency_cap::horizon(self.rules))
    }

    /// The instant after which the history must be whole.
    pub fn since(&self) -> Timestamp {
        self.slot.at.minus(self.reach())
    }
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Granted at `at`: the instant wished for, or that of the slot the message held before. `version` is the expected
    /// one where nothing changed: the message held its slot before, or only asked.
    Granted {
        version: CapVersion,
        at: Timestamp,
    },
    Full(Full),
    /// The subject's last slot is later than the one wished for: wish again for that instant. Slots are taken in order
    /// of time, and versions and calendars speak of the slot's own.
    Behind {
        last: Timestamp,
    },
    /// The store holds another version, a shorter history or none: reseed it from the record and ask again.
    Stale,
}

/// What came of giving a slot back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    Done {
        version: CapVersion,
    },
    /// The subject's history at this version has no slot of that message.
    Absent,
    Stale,
}

/// A subject's slots in the database, read in one snapshot with their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub version: CapVersion,
    /// Every slot taken after this instant is among them.
    pub since: Timestamp,
    /// In any order.
    pub slots: Vec<Slot>,
}

/// The store cannot be asked. Messages that need slots wait; nothing is assumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cap store cannot be reached: {0}")]
pub struct Unreachable(pub String);

/// Keeps the slots of one workspace's subjects. One suite, `tests/contract/caps.rs`, runs over every implementation.
///
/// The contract, each call atomic for its subject:
/// - a call that names a version other than the stored one, or needs an older history than the stored one, or finds
///   nothing stored, changes nothing and answers `Stale`;
/// - the stored version and slots always are a history that the database had or may yet have: equal versions, equal
///   slots as far as both reach back;
/// - reserving again for the same message grants the slot it has and changes nothing;
/// - slots are taken in order of time: a wish before the subject's last slot is `Behind`;
/// - a store may forget a subject at any moment.
pub trait CapStore: Send + Sync {
    /// Checks every rule and takes the slot, all or nothing.
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>>;

    /// Replaces what is stored of a subject by its history in the database.
    fn reseed<'a>(&'a self, subject: &'a Subject, history: History) -> BoxFuture<'a, Result<(), Unreachable>>;

    /// Takes back a reservation that no transaction has committed: from the version it led to, back to `before`.
    /// Does nothing where the subject has moved on. Losing this call costs a reseed.
    fn withdraw<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        reserved: CapVersion,
        before: CapVersion,
    ) -> BoxFuture<'a, Result<(), Unreachable>>;

    /// Gives up a committed slot: the version moves on, and the database moves with it or the store is stale.
    fn release<'a>(
        &'a self,
        subject: &'a Subject,
        message: MessageId,
        expected: CapVersion,
    ) -> BoxFuture<'a, Result<Released, Unreachable>>;

    /// Asks the store whether it is there, and what it is, for people.
    fn check(&self) -> BoxFuture<'_, Result<String, Unreachable>>;
}
