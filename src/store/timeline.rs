//! Everything known of one person in the order in which it happened, newest first: what they did, the campaigns they
//! were in, the messages made for them, the answers they gave.

use sea_orm::ConnectionTrait;

use crate::decision::Enrollment;
use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::message::Message;
use crate::store::Workspace;
use crate::store::consents::LedgerRow;
use crate::store::rows::Error;
use crate::store::trace::MessageFilter;

/// Enrollments and answers looked at, the newest.
const ROWS_MAX: u32 = 1_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// What came of it stands in the findings at its position.
    Event {
        position: Position,
        name: String,
    },
    Answered(LedgerRow),
    Entered(Enrollment),
    Ended(Enrollment),
    /// At the instant it was made, in the state it is in now.
    Message(Box<Message>),
}

/// The place of a moment among all of a person: later ones are greater. Of one instant, what follows is above what it
/// follows from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub at: Timestamp,
    /// Of the kind: 0 events, 1 answers, 2 entered, 3 messages, 4 ended.
    pub rank: u8,
    /// Tells those of one kind and instant apart: a position or the id as text, in a form that sorts.
    pub id: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    pub place: Place,
    pub happened: Happened,
}

impl Moment {
    fn new(happened: Happened) -> Option<Self> {
        let by_position = |at: Timestamp, position: Position| (at, format!("{:020}", position.0));
        let (rank, (at, id)) = match &happened {
            // Its time is known beside it.
            Happened::Event { .. } => return None,
            Happened::Answered(row) => {
                let (at, position) = by_position(row.consent.at, row.position);
                (1, (at, format!("{position}:{}", row.about)))
            }
            Happened::Entered(one) => (2, (one.entered_at, one.id.to_string())),
            Happened::Message(message) => (3, (message.created_at, message.id.to_string())),
            Happened::Ended(one) => (4, (one.state.ended_at()?, one.id.to_string())),
        };
        Some(Self { place: Place { at, rank, id }, happened })
    }

    fn event(position: Position, name: &str, at: Timestamp) -> Self {
        let place = Place { at, rank: 0, id: format!("{:020}", position.0) };
        Self { place, happened: Happened::Event { position, name: name.to_owned() } }
    }
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// A page of a person's moments, newest first, in front of `before`: all that is stored of what they did and of
    /// messages, of enrollments and answers the newest 1,000. `profile` is the current one.
    pub async fn timeline(&self, profile: ProfileId, before: Option<&Place>, limit: u32) -> Result<Vec<Moment>, Error> {
        let mut moments = self.history_moments(profile).await?;
        let ledger = self.ledger_of(profile, ROWS_MAX).await?;
        moments.extend(ledger.into_iter().filter_map(|row| Moment::new(Happened::Answered(row))));
        for enrollment in self.enrollments_of(profile, None, ROWS_MAX).await? {
            moments.extend(Moment::new(Happened::Ended(enrollment.clone())));
            moments.extend(Moment::new(Happened::Entered(enrollment)));
        }
        let filter = MessageFilter {
            profile: Some(profile),
            before: before.map(messages_before),
            limit,
            ..MessageFilter::default()
        };
        let messages = self.list_messages(&filter).await?;
        moments.extend(messages.into_iter().filter_map(|one| Moment::new(Happened::Message(Box::new(one)))));
        moments.retain(|moment| before.is_none_or(|before| moment.place < *before));
        moments.sort_unstable_by(|one, other| other.place.cmp(&one.place));
        moments.truncate(limit as usize);
        Ok(moments)
    }

    /// Where what is remembered of a person's events stands, the newest position first; of one name where given.
    pub async fn history_positions(&self, profile: ProfileId, name: Option<&str>) -> Result<Vec<Position>, Error> {
        let of_name = |moment: Moment| match moment.happened {
            Happened::Event { position, name: own } if name.is_none_or(|name| name == own) => Some(position),
            _ => None,
        };
        let mut positions: Vec<Position> =
            self.history_moments(profile).await?.into_iter().filter_map(of_name).collect();
        positions.sort_unstable_by(|one, other| other.cmp(one));
        Ok(positions)
    }

    async fn history_moments(&self, profile: ProfileId) -> Result<Vec<Moment>, Error> {
        let Some(person) = self.person(profile).await? else { return Ok(Vec::new()) };
        let mut pages = self.history_pages(profile).await?;
        pages.push(person.profile.history);
        let moments = pages.iter().flat_map(|page| {
            page.iter().map(|past| Moment::event(past.position, past.name, past.at)).collect::<Vec<_>>()
        });
        Ok(moments.collect())
    }
}

/// Messages are listed in front of an instant and an id.
fn messages_before(place: &Place) -> (Timestamp, MessageId) {
    let lowest = MessageId::from_bytes([0; 16]);
    let next = Timestamp::from_millis(place.at.millis().saturating_add(1));
    match place.rank {
        3 => (place.at, place.id.parse().unwrap_or(lowest)),
        // Of this instant all messages are still to come.
        4.. => (next, lowest),
        _ => (place.at, lowest),
    }
}
