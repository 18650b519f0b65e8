//! `kind: consent_policy`: what unknown consent means, by channel.

use serde::{Deserialize, Serialize};

use crate::audience::consent::UnknownConsent;
use crate::definition::reader::At;
use crate::message::Channel;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    pub channel: Channel,
    pub unknown: UnknownConsent,
}

pub fn read(at: &At<'_>) -> Option<Vec<PolicyRule>> {
    let map = at.map(&["kind", "key", "name", "owner", "rules"], &[])?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    let mut all_read = true;
    for item in map.required("rules")?.list()? {
        match rule(&item) {
            Some(rule) if rules.iter().any(|other| other.channel == rule.channel) => {
                all_read = false;
                item.wrong::<()>(format!("a second rule for {}", rule.channel.as_str()));
            }
            Some(rule) => rules.push(rule),
            None => all_read = false,
        }
    }
    all_read.then_some(rules)
}

fn rule(at: &At<'_>) -> Option<PolicyRule> {
    let map = at.map(&["channel", "unknown"], &["soft_opt_in"])?;
    let channel = map.required("channel").and_then(|at| at.channel());
    let choices = [("blocked", UnknownConsent::Blocked), ("allowed", UnknownConsent::Allowed)];
    let unknown = map.required("unknown").and_then(|at| at.choice(&choices, &[]));
    let rule = PolicyRule { channel: channel?, unknown: unknown? };
    match (rule.channel, rule.unknown) {
        (Channel::Sms | Channel::Push | Channel::Whatsapp, UnknownConsent::Allowed) => {
            at.wrong(format!("unknown consent always blocks {}; only e-mail may be allowed", rule.channel.as_str()))
        }
        _ => Some(rule),
    }
}
