//! `kind: consent_policy`: by channel, what no answer means and whether a yes must be confirmed.

use std::collections::BTreeSet;

use crate::audience::consent::{Policy, SoftOptIn, UnknownConsent};
use crate::definition::condition::{self, Scope};
use crate::definition::quiet_hours::country;
use crate::definition::reader::{At, Target};
use crate::message::Channel;

#[derive(Debug, Clone, PartialEq)]
pub struct PolicyRule {
    pub channel: Channel,
    pub policy: Policy,
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
    let map = at.map(&["channel", "unknown", "soft_opt_in", "double_opt_in"], &[])?;
    let channel = map.required("channel").and_then(|at| at.channel());
    let choices = [("blocked", UnknownConsent::Blocked), ("allowed", UnknownConsent::Allowed)];
    let unknown = map.optional("unknown", UnknownConsent::Blocked, |at| at.choice(&choices, &[]));
    let soft_opt_in = map.maybe("soft_opt_in", |at| soft_opt_in(&at));
    let double_opt_in = map.maybe("double_opt_in", |at| double_opt_in(&at, channel));
    let (channel, unknown) = (channel?, unknown?);
    let policy = Policy { unknown, soft_opt_in: soft_opt_in?, double_opt_in: double_opt_in? };
    let is_open = policy.unknown == UnknownConsent::Allowed || policy.soft_opt_in.is_some();
    match channel {
        Channel::Sms | Channel::Push | Channel::Whatsapp if is_open => {
            at.wrong(format!("unknown consent always blocks {}; only e-mail may be allowed", channel.as_str()))
        }
        Channel::Email | Channel::Sms | Channel::Push | Channel::Whatsapp | Channel::Webhook => {
            Some(PolicyRule { channel, policy })
        }
    }
}

/// `{ countries, where }`: there and where the condition holds, no answer is allowed.
fn soft_opt_in(at: &At<'_>) -> Option<SoftOptIn> {
    let map = at.map(&["countries", "where"], &[])?;
    let countries = map.required("countries").and_then(|at| {
        let items = at.list()?;
        if items.is_empty() {
            return at.wrong("name at least one country");
        }
        let read: Vec<Option<String>> = items.iter().map(country).collect();
        read.into_iter().collect::<Option<BTreeSet<String>>>()
    });
    let condition = map.maybe("where", |at| condition::read(at, Scope::POLICY));
    Some(SoftOptIn { countries: countries?, condition: condition? })
}

/// `{ template: KEY }`: the message that carries the confirmation link.
fn double_opt_in(at: &At<'_>, channel: Option<Channel>) -> Option<String> {
    at.map(&["template"], &[])?.required("template").and_then(|at| {
        let key = at.key()?;
        at.refers(Target::Template(key.clone(), channel));
        Some(key)
    })
}
