//! Frequency caps: at most N messages per rolling window, by scope; exact, over the list of slots in use.
//!
//! A slot taken at `t` counts in a window of length `per` at every instant from `t` up to, not including, `t + per`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{EnrollmentId, MessageId, Span, Timestamp};
use crate::message::Channel;

/// At most `at_most` messages of `scope` in any window of length `per`. Rules are ANDed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub at_most: u32,
    pub per: Span,
    pub scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Any marketing message.
    Any,
    Channel(Channel),
    /// Messages of this campaign.
    Campaign(String),
    /// Messages of the candidate's own campaign, whichever it is. Counts enrollments from their first send, or
    /// messages with `per_step`.
    EachCampaign {
        per_step: bool,
    },
}

/// A used slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    pub message: MessageId,
    pub at: Timestamp,
    pub channel: Channel,
    pub topic: Option<String>,
    pub campaign: String,
    pub enrollment: EnrollmentId,
}

/// A rule leaves no room: its text, the messages that fill its window (oldest first), and the earliest instant at
/// which every rule leaves room if nothing else happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    pub rule: String,
    pub by: Vec<MessageId>,
    pub frees_at: Timestamp,
}

/// Whether `candidate` may take a slot at its `at`, given the slots in use. Where several rules are full, the answer
/// names the one that frees last; of equals, the one written first.
///
/// A slot of the candidate's own message is not counted against it, so asking again is harmless. Slots later than the
/// candidate count too, whatever order they come in: a window that holds both must not overflow either.
pub fn fits(rules: &[Rule], slots: &[Slot], candidate: &Slot) -> Result<(), Full> {
    let mut answer: Option<Full> = None;
    for rule in rules.iter().filter(|rule| rule.covers(candidate.channel, &candidate.campaign)) {
        let Some(full) = rule.full(slots, candidate) else { continue };
        if answer.as_ref().is_none_or(|known| known.frees_at < full.frees_at) {
            answer = Some(full);
        }
    }
    answer.map_or(Ok(()), Err)
}

/// How far back slots matter: the longest window of any rule.
pub fn horizon(rules: &[Rule]) -> Span {
    rules.iter().map(|rule| rule.per).max().unwrap_or(Span::ZERO)
}

impl Rule {
    /// Whether the rule says anything about messages of this channel and campaign.
    pub fn covers(&self, channel: Channel, campaign: &str) -> bool {
        match &self.scope {
            Scope::Any | Scope::EachCampaign { .. } => true,
            Scope::Channel(of) => *of == channel,
            Scope::Campaign(of) => of == campaign,
        }
    }

    /// The rule as it binds messages of one campaign.
    fn text_for(&self, campaign: &str) -> String {
        let Self { at_most, per, scope } = self;
        match scope {
            Scope::EachCampaign { per_step: false } => format!("at most {at_most} per {per} for campaign {campaign}"),
            Scope::EachCampaign { per_step: true } => {
                format!("at most {at_most} per {per} for campaign {campaign}, by step")
            }
            Scope::Any | Scope::Channel(_) | Scope::Campaign(_) => self.to_string(),
        }
    }

    /// Why there is no room under this rule, if there is none.
    fn full(&self, slots: &[Slot], candidate: &Slot) -> Option<Full> {
        let counted: Vec<&Slot> =
            slots.iter().filter(|slot| slot.message != candidate.message && self.counts(slot, candidate)).collect();
        let mut used = match self.scope {
            Scope::EachCampaign { per_step: false } => first_sends(&counted, candidate)?,
            Scope::Any | Scope::Channel(_) | Scope::Campaign(_) | Scope::EachCampaign { per_step: true } => {
                counted.iter().map(|slot| (slot.at, slot.message)).collect()
            }
        };
        used.retain(|(at, _)| at.plus(self.per) > candidate.at);
        used.sort_unstable();
        let room = usize::try_from(self.at_most).unwrap_or(usize::MAX);
        let too_many = (used.len() + 1).checked_sub(room).filter(|excess| *excess > 0)?;
        // With room for none, no slot that leaves the window makes any.
        let frees_at = match used.get(too_many - 1) {
            Some((at, _)) => at.plus(self.per),
            None => Timestamp::from_millis(i64::MAX),
        };
        let by = used.into_iter().map(|(_, message)| message).collect();
        Some(Full { rule: self.text_for(&candidate.campaign), by, frees_at })
    }

    /// Whether a used slot is of the kind this rule counts for the candidate.
    fn counts(&self, slot: &Slot, candidate: &Slot) -> bool {
        match &self.scope {
            Scope::Any => true,
            Scope::Channel(channel) => slot.channel == *channel,
            Scope::Campaign(campaign) => slot.campaign == *campaign,
            Scope::EachCampaign { .. } => slot.campaign == candidate.campaign,
        }
    }
}

/// The first send of each enrollment, as far as the slots given reach back: exact while an enrollment's sends lie
/// within the horizon, as a trigger's single message always does. None where the candidate's own enrollment has sent
/// before, which lets its later messages pass.
fn first_sends(counted: &[&Slot], candidate: &Slot) -> Option<Vec<(Timestamp, MessageId)>> {
    let mut first: BTreeMap<EnrollmentId, (Timestamp, MessageId)> = BTreeMap::new();
    for slot in counted {
        let sent = (slot.at, slot.message);
        first.entry(slot.enrollment).and_modify(|known| *known = sent.min(*known)).or_insert(sent);
    }
    (!first.contains_key(&candidate.enrollment)).then(|| first.into_values().collect())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} per {}", self.at_most, self.per)?;
        match &self.scope {
            Scope::Any => Ok(()),
            Scope::Channel(channel) => write!(f, " by {}", channel.as_str()),
            Scope::Campaign(campaign) => write!(f, " for campaign {campaign}"),
            Scope::EachCampaign { per_step: false } => write!(f, " for each campaign"),
            Scope::EachCampaign { per_step: true } => write!(f, " for each campaign, by step"),
        }
    }
}

#[cfg(test)]
mod tests;
