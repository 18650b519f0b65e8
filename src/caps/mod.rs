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

use futures::future::BoxFuture;

use crate::guard::{CapVersion, Full, Request, Reservation, Rule, Slot, Subject, VersionMove};
use crate::ids::{MessageId, Span, Timestamp};
pub use embedded::Embedded;

/// A wish for one slot of one subject.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub subject: &'a Subject,
    /// The version of the subject's history in the database.
    pub expected: CapVersion,
    /// The longest window of any rule of the workspace.
    pub horizon: Span,
    /// What the message must obey.
    pub rules: &'a [Rule],
    /// `at` is now; the slot granted is never earlier than the subject's last.
    pub slot: &'a Slot,
    /// Whether it takes the slot, or only asks if there is room.
    pub counts: bool,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Granted at `at`. `version` is the expected one where nothing changed: the message held its slot before, or only
    /// asked.
    Granted {
        version: CapVersion,
        at: Timestamp,
    },
    Full(Full),
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

/// The store cannot be asked. Messages that need slots wait; nothing is assumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cap store cannot be reached: {0}")]
pub struct Unreachable(pub String);

/// Keeps the slots of one workspace's subjects. One suite, `tests/contract/caps.rs`, runs over every implementation.
///
/// The contract, each call atomic for its subject:
/// - a call that names a version other than the stored one, or asks for a longer horizon than the stored history has,
///   or finds nothing stored, changes nothing and answers `Stale`;
/// - the stored version and slots always are a history that the database had or may yet have: equal versions, equal
///   slots within the horizon;
/// - reserving again for the same message grants the slot it has and changes nothing;
/// - a slot's instant is the later of the wish and the subject's last slot;
/// - a store may forget a subject at any moment.
pub trait CapStore: Send + Sync {
    /// Checks every rule and takes the slot, all or nothing.
    fn reserve<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Reserved, Unreachable>>;

    /// Replaces what is stored of a subject by its history in the database, read in one snapshot with its version.
    /// `slots` reach back at least `horizon` and may come in any order.
    fn reseed<'a>(
        &'a self,
        subject: &'a Subject,
        version: CapVersion,
        horizon: Span,
        slots: Vec<Slot>,
    ) -> BoxFuture<'a, Result<(), Unreachable>>;

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
}

/// What came of asking for all of a message's slots.
#[derive(Debug, PartialEq)]
pub enum Taken {
    Granted(Reservation),
    Full(Full),
    /// This subject must be reseeded first; nothing is held.
    Stale(Subject),
}

/// Takes a slot of the profile and then of the address, at one instant; where the second refuses, the first is given
/// back. `versions` are the database's, in the order of the request's subjects.
///
/// # Errors
/// The store could not be asked; what was taken until then is stale and costs a reseed.
pub async fn take(
    store: &dyn CapStore,
    now: Timestamp,
    request: &Request,
    versions: [CapVersion; 2],
) -> Result<Taken, Unreachable> {
    let [by_profile, by_address] = request.subjects();
    let [from_profile, from_address] = versions;
    let profile = match ask(store, request, by_profile, from_profile, now).await? {
        Ok(held) => held,
        Err(refused) => return Ok(refused),
    };
    let address = match ask(store, request, by_address, from_address, profile.at.max(now)).await? {
        Ok(held) => held,
        Err(refused) => {
            profile.give_back(store, request).await?;
            return Ok(refused);
        }
    };
    let (profile, address) = match agree(store, request, profile, address).await? {
        Ok(held) => held,
        Err(refused) => return Ok(refused),
    };
    let slot_at = request.counts().then_some(profile.at);
    Ok(Taken::Granted(Reservation::granted(request, slot_at, [profile.into_move(), address.into_move()])))
}

/// One subject's part of a reservation.
struct Part {
    subject: Subject,
    from: CapVersion,
    to: CapVersion,
    at: Timestamp,
}

impl Part {
    async fn give_back(&self, store: &dyn CapStore, request: &Request) -> Result<(), Unreachable> {
        if self.to == self.from {
            return Ok(());
        }
        store.withdraw(&self.subject, request.message().id, self.to, self.from).await
    }

    fn into_move(self) -> VersionMove {
        VersionMove { subject: self.subject, from: self.from, to: self.to }
    }
}

async fn ask(
    store: &dyn CapStore,
    request: &Request,
    subject: &Subject,
    expected: CapVersion,
    at: Timestamp,
) -> Result<Result<Part, Taken>, Unreachable> {
    let slot = request.slot(at);
    let (horizon, rules, counts) = (request.horizon(), request.rules(), request.counts());
    let answer = store.reserve(Ask { subject, expected, horizon, rules, slot: &slot, counts }).await?;
    Ok(match answer {
        Reserved::Granted { version, at } => Ok(Part { subject: subject.clone(), from: expected, to: version, at }),
        Reserved::Full(full) => Err(Taken::Full(full)),
        Reserved::Stale => Err(Taken::Stale(subject.clone())),
    })
}

/// A message has one slot time. Where its subjects gave two (another clock wrote the address's last slot, or the
/// message held one slot and now goes to another address), the earlier slot is taken anew at the later instant.
async fn agree(
    store: &dyn CapStore,
    request: &Request,
    profile: Part,
    address: Part,
) -> Result<Result<(Part, Part), Taken>, Unreachable> {
    let at = profile.at.max(address.at);
    if !request.counts() || profile.at == address.at {
        return Ok(Ok((profile, address)));
    }
    let (early, late) = if profile.at < at { (&profile, &address) } else { (&address, &profile) };
    let from = if early.to == early.from {
        // Committed before: giving it up is a change of its own.
        match store.release(&early.subject, request.message().id, early.from).await? {
            Released::Done { version } => version,
            Released::Absent | Released::Stale => {
                late.give_back(store, request).await?;
                return Ok(Err(Taken::Stale(early.subject.clone())));
            }
        }
    } else {
        early.give_back(store, request).await?;
        early.from
    };
    let moved = match ask(store, request, &early.subject, from, at).await? {
        Ok(again) if again.at == at => Part { from: early.from, ..again },
        Ok(_) => {
            late.give_back(store, request).await?;
            return Ok(Err(Taken::Stale(early.subject.clone())));
        }
        Err(refused) => {
            late.give_back(store, request).await?;
            return Ok(Err(refused));
        }
    };
    Ok(Ok(if profile.at < at { (moved, address) } else { (profile, moved) }))
}
