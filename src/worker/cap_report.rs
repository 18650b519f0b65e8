//! What a person and their addresses have used of every frequency cap, and when it frees: read from the record, which is
//! the truth, whatever a cap store holds.

use jiff::tz::TimeZone;
use sea_orm::ConnectionTrait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::Profile;
use crate::guard::frequency_cap::{Keep, horizon};
use crate::guard::{Subject, Usage, address_of, usage, zone_of};
use crate::ids::{MessageId, ProfileId, Timestamp};
use crate::message::Channel;
use crate::store::Workspace;
use crate::worker::explain::names_of;
use crate::worker::explain::words::masked;
use crate::worker::live::Live;

/// One person's caps at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CapReport {
    pub profile: ProfileId,
    pub user_id: Option<String>,
    pub at: Timestamp,
    /// Whose days and weeks count.
    pub timezone: String,
    /// The person, then each address; a message needs room under every rule of both.
    pub subjects: Vec<SubjectUse>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SubjectUse {
    /// `person`, or a channel and the masked address.
    pub subject: String,
    pub rules: Vec<RuleUse>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RuleUse {
    pub rule: String,
    pub at_most: u32,
    pub used: usize,
    #[schema(value_type = Option<Object>)]
    pub keep: Option<Keep>,
    /// Oldest first.
    pub by: Vec<SlotUse>,
}

/// A slot in use.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SlotUse {
    pub message: MessageId,
    pub campaign: String,
    /// What tells its enrollment from others of the campaign, such as a cart.
    pub key: String,
    pub channel: Channel,
    pub topic: Option<String>,
    pub slot_at: Timestamp,
    pub frees_at: Timestamp,
}

/// Reads a person's caps. `zone` is the workspace's; none where there is no such person.
///
/// # Errors
/// The database cannot be read.
pub async fn cap_report<C: ConnectionTrait>(
    store: Workspace<'_, C>,
    live: &Live,
    profile: ProfileId,
    now: Timestamp,
    zone: &TimeZone,
) -> anyhow::Result<CapReport> {
    let person = store.person(profile).await?.map_or_else(|| Profile::new(profile, now), |person| person.profile);
    let zone = zone_of(&person).unwrap_or_else(|| zone.clone());
    let mut subjects = vec![(Subject::Profile(profile), "person".to_owned())];
    for channel in Channel::ALL {
        if let Ok(address) = address_of(&person, channel) {
            let shown = format!("{} {}", channel.as_str(), masked(channel, address.normalised()));
            subjects.push((Subject::Address(channel, address.normalised().to_owned()), shown));
        }
    }
    let since = now.minus(horizon(&live.rules));
    let mut uses = Vec::with_capacity(subjects.len());
    for (subject, shown) in subjects {
        let (slots, channel) = match &subject {
            Subject::Profile(profile) => (store.slots_of_profile(*profile, since).await?, None),
            Subject::Address(channel, _) => {
                (store.slots_of_address(&subject.to_string(), since).await?, Some(*channel))
            }
        };
        let mut rules = Vec::new();
        for one in usage(&live.rules, &slots, now, &zone, channel) {
            rules.push(rule_use(store, one).await?);
        }
        uses.push(SubjectUse { subject: shown, rules });
    }
    let timezone = zone.iana_name().unwrap_or("UTC").to_owned();
    Ok(CapReport { profile, user_id: person.user_id, at: now, timezone, subjects: uses })
}

async fn rule_use<C: ConnectionTrait>(store: Workspace<'_, C>, usage: Usage) -> anyhow::Result<RuleUse> {
    let ids: Vec<MessageId> = usage.used.iter().map(|used| used.slot.message).collect();
    let named = names_of(store, &ids).await?;
    let by = usage.used.into_iter().map(|used| SlotUse {
        key: named.get(&used.slot.message).map_or_else(String::new, |named| named.key.clone()),
        message: used.slot.message,
        campaign: used.slot.campaign,
        channel: used.slot.channel,
        topic: used.slot.topic,
        slot_at: used.slot.at,
        frees_at: used.frees_at,
    });
    let by: Vec<SlotUse> = by.collect();
    Ok(RuleUse { rule: usage.rule, at_most: usage.at_most, used: by.len(), keep: usage.keep, by })
}
