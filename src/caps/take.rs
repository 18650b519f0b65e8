//! All of a message's slots, or none: the profile's and then the address's, at one instant.

use crate::caps::{Ask, CapStore, Released, Reserved, Unreachable};
use crate::guard::{CapVersion, Change, Full, Request, Reservation, Subject, VersionMove};
use crate::ids::Timestamp;

/// Wishes for one message: each is later than the one before, and a subject's last slot does not move under one version.
const WISHES_MAX: u32 = 4;

/// What came of asking for all of a message's slots.
#[derive(Debug, PartialEq)]
pub enum Taken {
    Granted(Reservation),
    Full(Full),
    /// This subject must be reseeded first; nothing is held.
    Stale(Subject),
}

/// Takes a slot of the profile and then of the address, at one instant; where the second refuses, the first is given
/// back. `versions` are the database's, in the order of the request's subjects. The slots' instant is `now`, or that of
/// a subject's last slot where that is later.
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
    let mut at = now;
    for _ in 0..WISHES_MAX {
        let profile = match ask(store, request, by_profile, from_profile, at).await? {
            Answer::Part(part) => part,
            Answer::Behind(last) => {
                at = last;
                continue;
            }
            Answer::Refused(refused) => return Ok(refused),
        };
        let address = match ask(store, request, by_address, from_address, profile.at.max(at)).await? {
            Answer::Part(part) => part,
            Answer::Behind(last) => {
                profile.give_back(store, request).await?;
                at = last;
                continue;
            }
            Answer::Refused(refused) => {
                profile.give_back(store, request).await?;
                return Ok(refused);
            }
        };
        let (profile, address) = match agree(store, request, profile, address).await? {
            Ok(parts) => parts,
            Err(refused) => return Ok(refused),
        };
        let slot_at = request.counts().then_some(profile.at);
        return Ok(Taken::Granted(Reservation::granted(request, slot_at, [profile.into_move(), address.into_move()])));
    }
    Ok(Taken::Stale(by_profile.clone()))
}

/// The slots of a message that no cap forbids, taken in the database alone while no store can be asked: the versions
/// move there, so that whatever a store knows of its subjects is stale. `at` is no earlier than their last slots.
pub fn take_unasked(at: Timestamp, request: &Request, versions: [CapVersion; 2]) -> Reservation {
    debug_assert!(request.rules().is_empty(), "what a cap may forbid is asked for");
    let message = request.message();
    let stays = message.slot_at.is_some() && message.address.as_deref() == Some(request.address().normalised());
    let slot_at = if stays { message.slot_at } else { request.counts().then_some(at) };
    let taken = slot_at.filter(|_| !stays).map(|at| Change::Taken { message: message.id, at });
    let moves = [0, 1].map(|n| {
        let (subject, from) = (request.subjects()[n].clone(), versions[n]);
        let Some(taken) = &taken else { return VersionMove { subject, from, to: from } };
        // The slot of its person is taken anew where it now goes to another address.
        let is_held = n == 0 && message.slot_at.is_some();
        let freed = if is_held { from.next(&Change::Released { message: message.id }) } else { from };
        VersionMove { subject, from, to: freed.next(taken) }
    });
    Reservation::granted(request, slot_at, moves)
}

/// One subject's part of a reservation.
struct Part {
    subject: Subject,
    from: CapVersion,
    to: CapVersion,
    at: Timestamp,
}

enum Answer {
    Part(Part),
    Behind(Timestamp),
    Refused(Taken),
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
) -> Result<Answer, Unreachable> {
    let slot = request.slot(at);
    let asked = Ask {
        subject,
        expected,
        horizon: request.horizon(),
        rules: request.rules(),
        slot: &slot,
        priority: request.message().priority,
        zone: request.zone(),
        counts: request.counts(),
    };
    Ok(match store.reserve(asked).await? {
        Reserved::Granted { version, at } => {
            Answer::Part(Part { subject: subject.clone(), from: expected, to: version, at })
        }
        Reserved::Full(full) => Answer::Refused(Taken::Full(full)),
        Reserved::Behind { last } => Answer::Behind(last),
        Reserved::Stale => Answer::Refused(Taken::Stale(subject.clone())),
    })
}

/// A message has one slot time. Where its subjects gave two (it held one slot and now goes to another address), the
/// earlier slot is taken anew at the later instant.
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
        Answer::Part(again) if again.at == at => Part { from: early.from, ..again },
        Answer::Part(_) | Answer::Behind(_) => {
            late.give_back(store, request).await?;
            return Ok(Err(Taken::Stale(early.subject.clone())));
        }
        Answer::Refused(refused) => {
            late.give_back(store, request).await?;
            return Ok(Err(refused));
        }
    };
    Ok(Ok(if profile.at < at { (moved, address) } else { (profile, moved) }))
}
