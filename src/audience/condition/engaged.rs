//! `received`, `opened` and `clicked`: what became of our own messages. What a client tracks under the same name, or a
//! machine did, is none of it.

use crate::audience::condition::{Act, Engaged, Evaluation, Facts, performed};
use crate::audience::stay::{Stay, any_of};
use crate::event::Kind;
use crate::event::engagement::{EMAIL_LINK_CLICKED, EMAIL_OPENED, is_machines};
use crate::ids::Timestamp;

/// The answer now; it turns when the last of what counts leaves the window, or the first comes into it.
pub fn evaluate(engaged: &Engaged, facts: &Facts<'_>) -> Evaluation {
    let Engaged { act, campaign, window } = engaged;
    let zone = window.zone(facts);
    let instants = instants(engaged, facts);
    let count = instants.len();
    let stays: Vec<Stay> = instants.into_iter().filter_map(|at| window.stay(at, facts.entry_at, &zone)).collect();
    let (holds, until) = any_of(facts.now, stays);
    let because = || {
        let (act, window) = (act.as_str(), window.words(facts.entry_at));
        match (holds, count) {
            (true, _) => format!("{act} {campaign}{window}"),
            (false, 0) => format!("never {act} {campaign}"),
            (false, _) => format!("not {act} {campaign}{window}"),
        }
    };
    Evaluation { until, ..facts.constant(holds, because) }
}

fn instants(engaged: &Engaged, facts: &Facts<'_>) -> Vec<Timestamp> {
    let Some(name) = engaged.act.event() else {
        let of_it = facts.received.iter().filter(|one| one.campaign == engaged.campaign);
        return of_it.map(|one| one.at).collect();
    };
    let names = [name.to_owned()];
    let of_it = performed::past(facts, &names).into_iter().filter(|(position, _)| {
        facts.bodies.get(position).is_some_and(|event| {
            event.kind == Kind::Own
                && !is_machines(event)
                && event.lookup("properties.campaign").is_some_and(|it| it == engaged.campaign.as_str())
        })
    });
    of_it.map(|(_, at)| at).collect()
}

impl Act {
    /// The event that tells of it; a message that was received tells of itself.
    pub const fn event(self) -> Option<&'static str> {
        match self {
            Self::Received => None,
            Self::Opened => Some(EMAIL_OPENED),
            Self::Clicked => Some(EMAIL_LINK_CLICKED),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Opened => "opened",
            Self::Clicked => "clicked",
        }
    }
}
