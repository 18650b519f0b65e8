//! Frequency caps: at most N messages per window, by scope, with slots kept for higher priorities; exact, over the list
//! of slots in use.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::guard::cap_window::{Frees, Open, Window};
use crate::ids::{EnrollmentId, MessageId, Span, Timestamp};
use crate::message::Channel;

/// At most `at_most` messages of `scope` in a window. Rules are ANDed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub at_most: u32,
    pub per: Window,
    pub scope: Scope,
    pub keep: Option<Keep>,
}

/// Slots that only messages of at least this priority may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub slots: u32,
    /// 0 to 100.
    pub priority: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Any marketing message.
    Any,
    Channel(Channel),
    /// Messages of this topic.
    Topic(String),
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

/// Who asks: the slot wished for, how important its message is, and where its person lives.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub slot: &'a Slot,
    pub priority: u8,
    /// Whose days and weeks count.
    pub zone: &'a TimeZone,
}

/// A rule leaves no room: its text, the messages that fill its window (oldest first), and the earliest instant at
/// which every rule leaves room if nothing else happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    pub rule: String,
    pub by: Vec<MessageId>,
    pub frees_at: Timestamp,
}

/// A rule as it binds one candidate at its instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<'r> {
    pub rule: &'r Rule,
    pub counts: Counts,
    /// Slots of this kind the window may hold with the candidate's own.
    pub room: u32,
    pub open: Open,
}

/// Which used slots a limit counts: those that have in common with the candidate's what the rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    All,
    SameChannel,
    SameTopic,
    SameCampaign,
    /// The first of each enrollment in the same campaign; where the candidate's own has sent before, it passes.
    EnrollmentsOfCampaign,
}

/// The instant at which room that never comes would come.
pub const NEVER: i64 = i64::MAX;

/// Whether `candidate` may take its slot, given the slots in use. Where several rules are full, the answer names the
/// one that frees last; of equals, the one written first.
///
/// A slot of the candidate's own message is not counted against it, so asking again is harmless. Slots later than the
/// candidate count too, whatever order they come in: a window that holds both must not overflow either.
///
/// # Errors
/// The rule that is full.
pub fn fits(rules: &[Rule], slots: &[Slot], candidate: Candidate<'_>) -> Result<(), Full> {
    let mut answer: Option<Full> = None;
    for limit in limits(rules, candidate) {
        let Some(full) = limit.full(slots, candidate.slot) else { continue };
        if answer.as_ref().is_none_or(|known| known.frees_at < full.frees_at) {
            answer = Some(full);
        }
    }
    answer.map_or(Ok(()), Err)
}

/// The rules that say anything about the candidate, in the order written.
pub fn limits<'r>(rules: &'r [Rule], candidate: Candidate<'_>) -> impl Iterator<Item = Limit<'r>> {
    rules.iter().filter(move |rule| rule.covers(candidate.slot)).map(move |rule| rule.bind(candidate))
}

/// How far back slots matter: the longest reach of any rule.
pub fn horizon(rules: &[Rule]) -> Span {
    rules.iter().map(|rule| rule.per.reach()).max().unwrap_or(Span::ZERO)
}

impl Rule {
    /// Without slots kept.
    pub const fn new(at_most: u32, per: Window, scope: Scope) -> Self {
        Self { at_most, per, scope, keep: None }
    }

    /// Whether the rule says anything about messages like this one.
    pub fn covers(&self, slot: &Slot) -> bool {
        match &self.scope {
            Scope::Any | Scope::EachCampaign { .. } => true,
            Scope::Channel(of) => *of == slot.channel,
            Scope::Topic(of) => slot.topic.as_ref() == Some(of),
            Scope::Campaign(of) => *of == slot.campaign,
        }
    }

    fn bind(&self, candidate: Candidate<'_>) -> Limit<'_> {
        let kept = self.keep.filter(|keep| candidate.priority < keep.priority).map_or(0, |keep| keep.slots);
        Limit {
            rule: self,
            counts: match &self.scope {
                Scope::Any => Counts::All,
                Scope::Channel(_) => Counts::SameChannel,
                Scope::Topic(_) => Counts::SameTopic,
                Scope::Campaign(_) | Scope::EachCampaign { per_step: true } => Counts::SameCampaign,
                Scope::EachCampaign { per_step: false } => Counts::EnrollmentsOfCampaign,
            },
            room: self.at_most.saturating_sub(kept),
            open: self.per.open(candidate.slot.at, candidate.zone),
        }
    }

    /// The rule as it binds messages of one campaign.
    pub fn text_for(&self, campaign: &str) -> String {
        let Self { at_most, per, scope, .. } = self;
        let text = match scope {
            Scope::EachCampaign { per_step: false } => format!("at most {at_most} per {per} for campaign {campaign}"),
            Scope::EachCampaign { per_step: true } => {
                format!("at most {at_most} per {per} for campaign {campaign}, by step")
            }
            Scope::Any | Scope::Channel(_) | Scope::Topic(_) | Scope::Campaign(_) => return self.to_string(),
        };
        text + &self.kept_text()
    }

    fn kept_text(&self) -> String {
        self.keep.map_or_else(String::new, |Keep { slots, priority }| {
            format!(", {slots} of them kept for priority {priority} and above")
        })
    }
}

impl Limit<'_> {
    /// The slots that count against the candidate, oldest first; none where it passes whatever was used.
    pub fn used<'s>(&self, slots: &'s [Slot], candidate: &Slot) -> Option<Vec<&'s Slot>> {
        let others = slots.iter().filter(|slot| slot.message != candidate.message);
        let counted = others.filter(|slot| match self.counts {
            Counts::All => true,
            Counts::SameChannel => slot.channel == candidate.channel,
            Counts::SameTopic => slot.topic == candidate.topic,
            Counts::SameCampaign | Counts::EnrollmentsOfCampaign => slot.campaign == candidate.campaign,
        });
        let mut used: Vec<&Slot> = match self.counts {
            Counts::EnrollmentsOfCampaign => first_sends(counted, candidate)?,
            Counts::All | Counts::SameChannel | Counts::SameTopic | Counts::SameCampaign => counted.collect(),
        };
        used.retain(|slot| slot.at >= self.open.since);
        used.sort_unstable_by_key(|slot| (slot.at, slot.message));
        Some(used)
    }

    /// When the window has room for the candidate, given the instants of the slots that count, oldest first; none where
    /// it has room now.
    pub fn frees_at(&self, used: &[Timestamp]) -> Option<Timestamp> {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let too_many = (used.len() + 1).checked_sub(room).filter(|excess| *excess > 0)?;
        // With room for none, no slot that leaves the window makes any.
        Some(match (used.get(too_many - 1), self.open.frees) {
            (None, _) => Timestamp::from_millis(NEVER),
            (Some(at), Frees::After(length)) => at.plus(length),
            (Some(_), Frees::At(instant)) => instant,
        })
    }

    fn full(&self, slots: &[Slot], candidate: &Slot) -> Option<Full> {
        let used = self.used(slots, candidate)?;
        let instants: Vec<Timestamp> = used.iter().map(|slot| slot.at).collect();
        let frees_at = self.frees_at(&instants)?;
        let by = used.into_iter().map(|slot| slot.message).collect();
        Some(Full { rule: self.rule.text_for(&candidate.campaign), by, frees_at })
    }
}

/// The first send of each enrollment, as far as the slots given reach back: exact while an enrollment's sends lie
/// within the horizon, as a trigger's single message always does. None where the candidate's own enrollment has sent
/// before, which lets its later messages pass.
fn first_sends<'s>(counted: impl Iterator<Item = &'s Slot>, candidate: &Slot) -> Option<Vec<&'s Slot>> {
    let mut first: BTreeMap<EnrollmentId, &Slot> = BTreeMap::new();
    for slot in counted {
        let known = first.entry(slot.enrollment).or_insert(slot);
        if (slot.at, slot.message) < (known.at, known.message) {
            *known = slot;
        }
    }
    (!first.contains_key(&candidate.enrollment)).then(|| first.into_values().collect())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} per {}", self.at_most, self.per)?;
        match &self.scope {
            Scope::Any => Ok(()),
            Scope::Channel(channel) => write!(f, " by {}", channel.as_str()),
            Scope::Topic(topic) => write!(f, " on topic {topic}"),
            Scope::Campaign(campaign) => write!(f, " for campaign {campaign}"),
            Scope::EachCampaign { per_step: false } => write!(f, " for each campaign"),
            Scope::EachCampaign { per_step: true } => write!(f, " for each campaign, by step"),
        }?;
        f.write_str(&self.kept_text())
    }
}

#[cfg(test)]
mod tests;
