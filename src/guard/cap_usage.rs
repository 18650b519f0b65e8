//! What is used of each frequency cap at one instant, for people: by which messages, and when each frees its slot.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::guard::cap_window::Frees;
use crate::guard::frequency_cap::{Candidate, Keep, Rule, Scope, Slot, limits};
use crate::ids::{EnrollmentId, MessageId, Timestamp};
use crate::message::Channel;

/// One rule, or one campaign of a rule for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// As people read it.
    pub rule: String,
    pub at_most: u32,
    pub keep: Option<Keep>,
    /// What fills the window now, oldest first: messages, or the first of each enrollment.
    pub used: Vec<Used>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    #[serde(flatten)]
    pub slot: Slot,
    /// From then on it does not count any more.
    pub frees_at: Timestamp,
}

/// What is used of every rule that can count for a subject. `channel` is that of an address; a person has none.
pub fn usage(rules: &[Rule], slots: &[Slot], now: Timestamp, zone: &TimeZone, channel: Option<Channel>) -> Vec<Usage> {
    let mut all = Vec::new();
    for rule in rules {
        if let (Scope::Channel(of), Some(channel)) = (&rule.scope, channel)
            && *of != channel
        {
            continue;
        }
        let probe = |campaign: &str| Slot {
            message: MessageId::derive(&[b"nobody"]),
            at: now,
            channel: match rule.scope {
                Scope::Channel(of) => of,
                _ => Channel::Email,
            },
            topic: match &rule.scope {
                Scope::Topic(of) => Some(of.clone()),
                _ => None,
            },
            campaign: campaign.to_owned(),
            enrollment: EnrollmentId::derive(&[b"nobody"]),
        };
        match &rule.scope {
            Scope::EachCampaign { .. } => {
                let campaigns: BTreeSet<&str> = slots.iter().map(|slot| slot.campaign.as_str()).collect();
                let of_each = campaigns.into_iter().map(|campaign| of(rule, slots, &probe(campaign), zone));
                let (with, _): (Vec<_>, Vec<_>) = of_each.partition(|usage| !usage.used.is_empty());
                if with.is_empty() {
                    all.push(Usage {
                        rule: rule.to_string(),
                        at_most: rule.at_most,
                        keep: rule.keep,
                        used: Vec::new(),
                    });
                }
                all.extend(with);
            }
            Scope::Campaign(campaign) => all.push(of(rule, slots, &probe(campaign), zone)),
            Scope::Any | Scope::Channel(_) | Scope::Topic(_) => all.push(of(rule, slots, &probe(""), zone)),
        }
    }
    all
}

fn of(rule: &Rule, slots: &[Slot], probe: &Slot, zone: &TimeZone) -> Usage {
    let candidate = Candidate { slot: probe, priority: u8::MAX, zone };
    let mut used = Vec::new();
    for limit in limits(std::slice::from_ref(rule), candidate) {
        let frees_at = |slot: &Slot| match limit.open.frees {
            Frees::After(length) => slot.at.plus(length),
            Frees::At(instant) => instant,
        };
        let counted = limit.used(slots, probe).unwrap_or_default();
        used.extend(counted.into_iter().map(|slot| Used { slot: slot.clone(), frees_at: frees_at(slot) }));
    }
    Usage { rule: rule.text_for(&probe.campaign), at_most: rule.at_most, keep: rule.keep, used }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::Window;
    use crate::ids::Span;

    fn at(hour: i64) -> Timestamp {
        let monday: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
        monday.plus(Span::from_hours(hour))
    }

    fn slot(name: &str, hour: i64, channel: Channel, campaign: &str) -> Slot {
        Slot {
            message: MessageId::derive(&[name.as_bytes()]),
            at: at(hour),
            channel,
            topic: (campaign == "sale").then(|| "offers".to_owned()),
            campaign: campaign.into(),
            enrollment: EnrollmentId::derive(&[name.as_bytes()]),
        }
    }

    /// `2/3 rule: name until hour, …`
    fn lines(rules: &[Rule], slots: &[Slot], channel: Option<Channel>) -> Vec<String> {
        let hour = |at_: Timestamp| (at_.millis() - at(0).millis()) / 3_600_000;
        let line = |one: Usage| {
            let until: Vec<String> = one.used.iter().map(|used| hour(used.frees_at).to_string()).collect();
            format!("{}/{} {}: {}", one.used.len(), one.at_most, one.rule, until.join(" "))
        };
        usage(rules, slots, at(30), &TimeZone::UTC, channel).into_iter().map(line).collect()
    }

    #[test]
    fn each_rule_says_what_fills_it_and_until_when() {
        let keep = Some(Keep { slots: 1, priority: 60 });
        let rules = [
            Rule { keep, ..Rule::new(3, Span::from_days(1).into(), Scope::Any) },
            Rule::new(1, Window::CalendarDay, Scope::Channel(Channel::Sms)),
            Rule::new(2, Window::CalendarWeek, Scope::Topic("offers".into())),
            Rule::new(1, Span::from_days(7).into(), Scope::EachCampaign { per_step: false }),
            Rule::new(1, Span::from_hours(1).into(), Scope::EachCampaign { per_step: true }),
        ];
        let slots = [
            slot("a", 2, Channel::Email, "cart"),
            slot("b", 10, Channel::Email, "sale"),
            slot("c", 25, Channel::Sms, "cart"),
        ];
        let expected = [
            "2/3 at most 3 per 1d, 1 of them kept for priority 60 and above: 34 49",
            "1/1 at most 1 per calendar day by sms: 48",
            "1/2 at most 2 per calendar week on topic offers: 168",
            "2/1 at most 1 per 7d for campaign cart: 170 193",
            "1/1 at most 1 per 7d for campaign sale: 178",
            "0/1 at most 1 per 1h for each campaign, by step: ",
        ];
        assert_eq!(lines(&rules, &slots, None), expected);
        let by_mail = lines(&rules, &slots, Some(Channel::Email));
        assert!(by_mail.iter().all(|line| !line.contains("sms")), "{by_mail:?}");
    }
}
