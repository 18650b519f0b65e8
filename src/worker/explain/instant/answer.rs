//! The answer in one line: where somebody stood with a campaign, as one of a few codes, each documented with what to do.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Asked, EnrollmentTold, EventTold, How};
use crate::audience::condition::annotated::Node;
use crate::decision::Campaign;
use crate::decision::campaign::CampaignStatus;
use crate::ids::Timestamp;

/// Where a person stood. Beside these, the codes of [`crate::message::Reason`] say why not.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// There was no such campaign.
    CampaignUnknown,
    /// A draft, or archived.
    CampaignNotInForce,
    /// Nothing was known of the person.
    PersonUnknown,
    /// Nothing the person did is what the campaign begins with.
    NothingToBeginWith,
    /// The person was not in the segment by which it begins.
    NotInSegment,
    /// The person was in the segment, and did not come into it while the campaign could see it.
    InSegmentBefore,
    /// The campaign asks for members there are already, and this one's turn has not come.
    TurnToCome,
    /// Everything held, and no enrollment is known any more.
    Entered,
    /// In the delay.
    Waiting {
        until: Option<Timestamp>,
    },
    Queued,
    Sending,
    Retrying,
    Sent,
    /// Sending began and no answer came.
    Unanswered,
    Exited {
        by: String,
    },
    /// The message, or the event, was refused: the code of the reason.
    Refused {
        code: &'static str,
        sentence: String,
        change: Option<String>,
    },
    /// The person was erased.
    Erased,
    /// The newest event it might have begun with has name and time alone.
    EventPruned {
        event: String,
        at: Timestamp,
    },
    /// What the log holds begins later.
    OutOfReach {
        until: Timestamp,
    },
}

/// The answer, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = InstantAnswer)]
pub struct Answer {
    pub code: &'static str,
    pub sentence: String,
    /// What would have changed it.
    pub change: Option<String>,
}

impl Standing {
    /// The codes there are beside those of reasons.
    pub const CODES: [&'static str; 18] = [
        "campaign_unknown",
        "campaign_not_in_force",
        "person_unknown",
        "nothing_to_begin_with",
        "not_in_segment",
        "in_segment_before",
        "turn_to_come",
        "entered",
        "waiting",
        "queued",
        "sending",
        "retrying",
        "sent",
        "unanswered",
        "exited",
        "person_erased",
        "event_pruned",
        "out_of_reach",
    ];

    pub const fn code(&self) -> &'static str {
        match self {
            Self::CampaignUnknown => "campaign_unknown",
            Self::CampaignNotInForce => "campaign_not_in_force",
            Self::PersonUnknown => "person_unknown",
            Self::NothingToBeginWith => "nothing_to_begin_with",
            Self::NotInSegment => "not_in_segment",
            Self::InSegmentBefore => "in_segment_before",
            Self::TurnToCome => "turn_to_come",
            Self::Entered => "entered",
            Self::Waiting { .. } => "waiting",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Sent => "sent",
            Self::Unanswered => "unanswered",
            Self::Exited { .. } => "exited",
            Self::Refused { code, .. } => code,
            Self::Erased => "person_erased",
            Self::EventPruned { .. } => "event_pruned",
            Self::OutOfReach { .. } => "out_of_reach",
        }
    }

    /// With its sentence; `change` is what the conditions say would have turned it.
    pub fn answer(self, asked: &Asked, change: Option<String>) -> Answer {
        let Asked { person, campaign, .. } = asked;
        let code = self.code();
        let (sentence, own) = match self {
            Self::CampaignUnknown => {
                (format!("there was no campaign {campaign}"), Some(format!("`carillon apply` of {campaign}")))
            }
            Self::CampaignNotInForce => (
                format!("{campaign} was a draft or archived"),
                Some(format!("`status: live` in {campaign}, and an event that follows")),
            ),
            Self::PersonUnknown => (format!("nothing was known of {person}"), Some(format!("an event of {person}"))),
            Self::NothingToBeginWith => {
                (format!("nothing that {person} had done is what {campaign} begins with"), None)
            }
            Self::NotInSegment => (format!("{person} was not in the segment by which {campaign} begins"), None),
            Self::TurnToCome => (
                format!("{person} is in the segment and waits: {campaign} includes who is there already at its pace"),
                Some(format!("{person}'s turn comes")),
            ),
            Self::InSegmentBefore => (
                format!(
                    "{person} was in the segment, and had come into it when {campaign} did not listen, by a merge or a changed definition"
                ),
                Some(format!("{person} leaves the segment and comes into it again")),
            ),
            Self::Entered if asked.how == How::Afresh => {
                (format!("by the present definitions {campaign} would have begun for {person}"), None)
            }
            Self::Entered => (format!("{campaign} began for {person}; what came of it is not stored any more"), None),
            Self::Waiting { until: Some(until) } => (
                format!("{person} waited in {campaign} until {until}"),
                Some("one of its exits; else its message is queued then".to_owned()),
            ),
            Self::Waiting { until: None } => (format!("{person} waited in {campaign}"), None),
            Self::Queued => ("its message was in the outbox".to_owned(), None),
            Self::Sending => ("its message was on its way".to_owned(), None),
            Self::Retrying => {
                ("its message was not accepted, or the answer was lost, and it is tried again".to_owned(), None)
            }
            Self::Sent => ("its message was sent".to_owned(), None),
            Self::Unanswered => ("sending began and no answer came".to_owned(), None),
            Self::Exited { by } => (format!("it had ended: {by}"), None),
            Self::Refused { sentence, change, .. } => (sentence, change),
            Self::Erased => (format!("{person} was erased; what was before is not stored any more"), None),
            Self::EventPruned { event, at } => {
                (format!("what {event} of {at} carried was pruned, and with it why nothing came of it"), None)
            }
            Self::OutOfReach { until } => (
                format!(
                    "what {person} did until {until} was pruned by retention, so that nothing before can be answered"
                ),
                Some(format!("ask for an instant after {until}")),
            ),
        };
        Answer { code, sentence, change: change.or(own) }
    }
}

/// From what is told of enrollments and events.
pub(super) fn answer(
    asked: &Asked,
    campaign: &Campaign,
    (enrollments, events): (&[EnrollmentTold], &[EventTold]),
    (segment, dim): (Option<&Node>, Option<Timestamp>),
) -> Answer {
    let newest = events.iter().max_by_key(|event| event.position);
    let walk = enrollments.first().filter(|_| asked.how == How::Recorded).filter(|walk| {
        // What began nothing since is the newer answer, unless something is still open.
        walk.ended_at.is_none() || newest.is_none_or(|newest| newest.entered || newest.at <= walk.entered_at)
    });
    if let Some(walk) = walk {
        return of_walk(walk).answer(asked, None);
    }
    if !matches!(campaign.status, CampaignStatus::Live | CampaignStatus::Paused) {
        return Standing::CampaignNotInForce.answer(asked, None);
    }
    match newest {
        Some(EventTold { entered: true, .. }) => Standing::Entered.answer(asked, None),
        Some(event) => {
            let code = event.code.unwrap_or("condition_not_met");
            let sentence = format!("{} of {}: {}", event.name, event.at, event.sentence);
            Standing::Refused { code, sentence, change: event.change.clone() }.answer(asked, None)
        }
        None => match segment {
            Some(node) if node.holds && campaign.entry.existing.is_some() => Standing::TurnToCome.answer(asked, None),
            Some(node) if node.holds => Standing::InSegmentBefore.answer(asked, None),
            Some(node) => Standing::NotInSegment.answer(asked, node.change.clone()),
            None if dim.is_some() => {
                Standing::EventPruned { event: campaign.entry.event.clone(), at: dim.unwrap_or_default() }
                    .answer(asked, None)
            }
            None => Standing::NothingToBeginWith.answer(asked, Some(format!("one more {}", campaign.entry.event))),
        },
    }
}

fn of_walk(walk: &EnrollmentTold) -> Standing {
    if let Some(by) = &walk.by {
        return Standing::Exited { by: by.clone() };
    }
    let Some(message) = &walk.message else { return Standing::Waiting { until: walk.until } };
    match (message.status.as_str(), message.code, &message.sentence) {
        ("sent", ..) => Standing::Sent,
        ("unknown", ..) => Standing::Unanswered,
        ("claimed" | "sending", ..) => Standing::Sending,
        ("retrying", ..) => Standing::Retrying,
        (_, Some(code), Some(sentence)) => {
            Standing::Refused { code, sentence: sentence.clone(), change: message.change.clone() }
        }
        _ => Standing::Queued,
    }
}
