//! One campaign and one event, asked by hand: every check of an entry with what came of it, whether or not an earlier one
//! had refused already. The same checks as in decisions, over the same snapshot.

use std::sync::Arc;

use serde::Serialize;

use crate::audience::condition::annotated::{Node, annotate};
use crate::decision::entry::{CHECKS, entry_key};
use crate::decision::{At, Began, Campaign, Effect, FindingVerdict, Input, Snapshot, Turn};
use crate::event::Event;
use crate::event::engagement::is_machines;
use crate::message::Reason;

/// One thing that is asked before somebody enters.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryCheck {
    pub check: &'static str,
    pub passed: bool,
    /// The reason's code and sentence, where it refuses.
    pub code: Option<&'static str>,
    pub sentence: Option<String>,
}

/// What a campaign makes of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    pub checks: Vec<EntryCheck>,
    /// The campaign's `where`, annotated.
    pub tree: Option<Node>,
    /// The first reason why not, in the order of decisions; none: it enters, or counts as a repeat.
    pub refused: Option<Reason>,
    /// How many conditions stood in the way: of the tree as many as must turn, of every other check one.
    pub apart: usize,
}

/// Asks everything an entry asks of this event at this instant; the snapshot's person has not learned of it yet.
pub fn consider(at: At, snapshot: &Snapshot<'_>, campaign: &Arc<Campaign>, event: &Arc<Event>) -> Considered {
    let mut turn = Turn::new(at, snapshot, &Input::Event(event.clone()));
    let is_known = turn.person.profile.history.iter().any(|past| past.position == at.position);
    if !is_known && !is_machines(event) {
        turn.learn(event);
    }
    // Whoever was read from the log again has none.
    turn.work_out_all();
    let misfit = campaign.misfit(event).and_then(|finding| match finding.verdict {
        FindingVerdict::NotEntered { reason } => Some(reason),
        _ => None,
    });
    let mut asked = vec![("The event pattern", misfit)];
    asked.extend(CHECKS.iter().map(|(check, refuses)| (*check, refuses(&turn, campaign, event))));
    let tree = campaign.entry.filter.as_ref();
    let tree = tree.map(|filter| annotate(filter, &turn.facts(Some(event), Some(Began::with(event)))));
    // What nothing of the person stands in the way of is asked of what they are in already.
    let verdict = turn.enter_or_repeat(campaign, event, entry_key(campaign, event));
    let enrolled = match verdict {
        FindingVerdict::NotEntered { reason } => Some(reason),
        _ => None,
    };
    asked.push(("Not enrolled already, and may enroll again", enrolled));
    let apart = asked.iter().filter_map(|(_, reason)| reason.as_ref()).map(|reason| match (reason, &tree) {
        (Reason::ConditionNotMet { .. } | Reason::CurrencyUnknown { .. }, Some(tree)) => tree.apart.max(1),
        _ => 1,
    });
    let apart = apart.sum();
    let refused = asked.iter().find_map(|(_, reason)| reason.clone());
    let checks = asked.into_iter().map(|(check, reason)| EntryCheck {
        check,
        passed: reason.is_none(),
        code: reason.as_ref().map(Reason::code),
        sentence: reason.as_ref().map(Reason::sentence),
    });
    Considered { checks: checks.collect(), tree, refused, apart }
}

impl Considered {
    /// What would have to be otherwise, in words.
    pub fn change(&self) -> Option<String> {
        let tree = || self.tree.as_ref().and_then(|tree| tree.change.clone());
        match self.refused.as_ref()? {
            Reason::ConditionNotMet { .. } | Reason::CurrencyUnknown { .. } => tree(),
            Reason::PatternNotMet { operand } => Some(format!("another event of this name: {operand}")),
            Reason::Late { max_lateness, .. } => Some(format!("such an event that arrives within {max_lateness}")),
            Reason::CampaignPaused { campaign } => {
                Some(format!("`carillon resume {campaign}`, and another such event"))
            }
            Reason::EventDeniesMarketing { field } => Some(format!("an event whose {field} allows marketing")),
            Reason::ReentryNotAllowed { allowed_at: Some(at), .. } => {
                Some(format!("nothing until {at}; then another such event"))
            }
            Reason::AlreadyEnrolled { .. } => Some("another such event once that enrollment has ended".to_owned()),
            _ => None,
        }
    }
}

impl Effect {
    /// Whether it says who a person is and what they did, whatever campaigns there are.
    pub fn is_about_person(&self) -> bool {
        matches!(
            self,
            Self::Merge(_)
                | Self::Identify { .. }
                | Self::SetTraits(_)
                | Self::Seen { .. }
                | Self::Listed { .. }
                | Self::Reach { .. }
                | Self::Record { .. }
                | Self::Cart(_)
                | Self::Carts(_)
        )
    }
}
