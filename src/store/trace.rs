//! The path of everything: reasons by input, messages by person and campaign, and the accounts that must add up.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;
use serde::Serialize;
use utoipa::ToSchema;

use crate::decision::effect::Conversion;
use crate::decision::{Effect, Finding};
use crate::ids::{MessageId, Position, ProfileId, Timestamp};
use crate::message::{Channel, Message};
use crate::store::Workspace;
use crate::store::messages::{SELECT, read};
use crate::store::rows::{Error, Rows, Values, decode, encode};
use crate::store::shards::unprocessed;

/// What candidate campaigns made of one input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    pub position: Position,
    pub profile: Option<ProfileId>,
    pub findings: Vec<Finding>,
}

/// Which messages to list; empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    pub profile: Option<ProfileId>,
    pub campaign: Option<String>,
    pub template: Option<String>,
    pub channel: Option<Channel>,
    pub status: Option<String>,
    /// The `code` of the reason in its state.
    pub reason: Option<String>,
    /// Created before this instant.
    pub before: Option<(Timestamp, MessageId)>,
    pub limit: u32,
}

/// Counts of one snapshot; the sums must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accounts {
    pub events: EventAccounts,
    pub messages: MessageAccounts,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventAccounts {
    pub accepted: i64,
    pub processed: i64,
    pub unprocessed: i64,
    pub parked: i64,
    pub duplicates: i64,
    pub dropped: i64,
    /// Of those processed: how many are no longer in the log, only their daily counts.
    pub rolled_up: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageAccounts {
    /// `CreateMessage` effects counted as they were stored.
    pub created: i64,
    pub by_status: BTreeMap<String, i64>,
    /// Of messages that were pruned: what became of them.
    pub rolled_up: BTreeMap<String, i64>,
}

impl Accounts {
    /// The sentences that do not hold; none when the books balance.
    pub fn imbalances(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let events = &self.events;
        if events.accepted != events.processed + events.unprocessed + events.parked {
            wrong.push(format!(
                "accepted {} is not processed {} + unprocessed {} + parked {}",
                events.accepted, events.processed, events.unprocessed, events.parked
            ));
        }
        if events.rolled_up > events.processed {
            wrong.push(format!("pruned {} are more than processed {}", events.rolled_up, events.processed));
        }
        let sum: i64 = self.messages.by_status.values().chain(self.messages.rolled_up.values()).sum();
        if self.messages.created != sum {
            wrong.push(format!("created messages {} are not the sum over all states {sum}", self.messages.created));
        }
        wrong
    }
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    pub async fn add_findings(&self, findings: Vec<(Position, Option<ProfileId>, Vec<Finding>)>) -> Result<(), Error> {
        let rows = findings.into_iter().map(|(position, profile, findings)| -> Values {
            vec![position.0.into(), self.id.0.into(), profile.map(|profile| profile.0).into(), encode(&findings).into()]
        });
        let head = "INSERT INTO reasons (position, workspace, profile, packed)";
        let tail = "ON CONFLICT (position) DO UPDATE SET packed = excluded.packed";
        Rows(self.conn).insert(head, tail, 4, rows.collect()).await?;
        Ok(())
    }

    /// Findings at these positions, in log order.
    pub async fn findings_at(&self, positions: &[Position]) -> Result<BTreeMap<Position, Findings>, Error> {
        let mut found = BTreeMap::new();
        for chunk in positions.chunks(500) {
            let sql = format!(
                "SELECT position, profile, packed FROM reasons WHERE workspace = ? AND position IN ({})",
                crate::store::rows::marks(chunk.len())
            );
            let mut values: Values = vec![self.id.0.into()];
            values.extend(chunk.iter().map(|position| position.0.into()));
            for row in Rows(self.conn).all(&sql, values).await? {
                let packed: String = row.try_get_by_index(2)?;
                let findings = Findings {
                    position: Position(row.try_get_by_index(0)?),
                    profile: row.try_get_by_index::<Option<i64>>(1)?.map(ProfileId),
                    findings: decode("reason", &packed)?,
                };
                found.insert(findings.position, findings);
            }
        }
        Ok(found)
    }

    pub async fn list_messages(&self, filter: &MessageFilter) -> Result<Vec<Message>, Error> {
        // A person's messages are few: they are found by the person.
        let here = if filter.profile.is_some() { "+workspace" } else { "workspace" };
        let mut sql = format!("{SELECT} WHERE {here} = ?");
        let mut values: Values = vec![self.id.0.into()];
        if let Some(profile) = filter.profile {
            sql.push_str(" AND profile = ?");
            values.push(profile.0.into());
        }
        if let Some(campaign) = &filter.campaign {
            sql.push_str(" AND campaign = ?");
            values.push(campaign.clone().into());
        }
        if let Some(template) = &filter.template {
            sql.push_str(" AND template = ?");
            values.push(template.clone().into());
        }
        if let Some(channel) = filter.channel {
            sql.push_str(" AND channel = ?");
            values.push(channel.as_str().into());
        }
        if let Some(status) = &filter.status {
            sql.push_str(" AND status = ?");
            values.push(status.clone().into());
        }
        if let Some(reason) = &filter.reason {
            sql.push_str(" AND reason = ?");
            values.push(reason.clone().into());
        }
        if let Some((at, id)) = filter.before {
            sql.push_str(" AND (created_at, id) < (?, ?)");
            values.extend([at.millis().into(), id.as_bytes().to_vec().into()]);
        }
        sql.push_str(" ORDER BY created_at DESC, id DESC LIMIT ?");
        values.push(filter.limit.into());
        Rows(self.conn).all(&sql, values).await?.iter().map(read).collect()
    }

    pub async fn add_conversions(&self, profile: ProfileId, effects: &[Effect]) -> Result<(), Error> {
        for effect in effects {
            let Effect::Convert(conversion) = effect else { continue };
            self.add_conversion(profile, conversion).await?;
        }
        Ok(())
    }

    /// What these people bought that counts for a message.
    pub async fn conversions_of(&self, people: &[ProfileId]) -> Result<Vec<Conversion>, Error> {
        let sql = format!(
            "SELECT message, position, campaign, at, value, currency FROM conversions
             WHERE workspace = ? AND message IN (SELECT id FROM messages WHERE profile IN ({})) ORDER BY at, position",
            crate::store::rows::marks(people.len())
        );
        let mut values: Values = vec![self.id.0.into()];
        values.extend(people.iter().map(|profile| sea_orm::Value::from(profile.0)));
        let rows = Rows(self.conn).all(&sql, values).await?;
        rows.iter()
            .map(|row| {
                let message: Vec<u8> = row.try_get_by_index(0)?;
                Ok(Conversion {
                    message: MessageId::try_from(message.as_slice())
                        .map_err(|error| Error::unreadable("conversion", error))?,
                    position: Position(row.try_get_by_index(1)?),
                    campaign: row.try_get_by_index(2)?,
                    at: Timestamp::from_millis(row.try_get_by_index(3)?),
                    value: row.try_get_by_index(4)?,
                    currency: row.try_get_by_index(5)?,
                })
            })
            .collect()
    }

    async fn add_conversion(&self, profile: ProfileId, conversion: &Conversion) -> Result<(), Error> {
        let sql = "INSERT INTO conversions (message, position, workspace, campaign, profile, at, value, currency)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message, position) DO NOTHING";
        let values: Values = vec![
            conversion.message.as_bytes().to_vec().into(),
            conversion.position.0.into(),
            self.id.0.into(),
            conversion.campaign.clone().into(),
            profile.0.into(),
            conversion.at.millis().into(),
            conversion.value.clone().into(),
            conversion.currency.clone().into(),
        ];
        Rows(self.conn).run(sql, values).await?;
        Ok(())
    }

    /// The books of this workspace: of clients' events, those Carillon made itself are not counted. One statement, so that the counts belong to one snapshot.
    pub async fn accounts(&self) -> Result<Accounts, Error> {
        let unprocessed = unprocessed(self.conn.get_database_backend(), "entries");
        let sql = format!(
            "SELECT 'unprocessed', count(*) FROM {unprocessed}
                AND workspace = ?1 AND event_id IS NOT NULL AND kind <> 'own'
             UNION ALL SELECT 'parked', count(*) FROM parked JOIN entries USING (position)
                WHERE entries.workspace = ?1 AND event_id IS NOT NULL AND kind <> 'own' AND redriven_at IS NULL
             UNION ALL SELECT 'accepted', CAST(coalesce(sum(value), 0) AS BIGINT) FROM counters WHERE workspace = ?1 AND name = 'events_accepted'
             UNION ALL SELECT 'processed', CAST(coalesce(sum(value), 0) AS BIGINT) FROM counters WHERE workspace = ?1 AND name = 'events_processed'
             UNION ALL SELECT 'duplicates', CAST(coalesce(sum(value), 0) AS BIGINT) FROM counters WHERE workspace = ?1 AND name = 'events_duplicate'
             UNION ALL SELECT 'dropped', CAST(coalesce(sum(value), 0) AS BIGINT) FROM counters WHERE workspace = ?1 AND name LIKE 'door_dropped:%'
             UNION ALL SELECT 'created', CAST(coalesce(sum(value), 0) AS BIGINT) FROM counters WHERE workspace = ?1 AND name = 'messages_created'
             UNION ALL SELECT 'pruned', CAST(coalesce(sum(count), 0) AS BIGINT) FROM entry_rollups
                WHERE workspace = ?1 AND kind NOT IN ('own', 'timer', 'message_ended', 'redriven')
             UNION ALL SELECT 'rolled:' || status, CAST(sum(count) AS BIGINT) FROM message_rollups
                WHERE workspace = ?1 GROUP BY status
             UNION ALL SELECT 'status:' || status, count(*) FROM messages WHERE workspace = ?1 GROUP BY status"
        );
        let rows = Rows(self.conn).all(&sql, vec![self.id.0.into()]).await?;
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for row in &rows {
            counts.insert(row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        }
        let count = |name: &str| counts.get(name).copied().unwrap_or(0);
        let among = |kind: &str| -> BTreeMap<String, i64> {
            counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(kind)?.to_owned(), *count))).collect()
        };
        let (by_status, rolled_up) = (among("status:"), among("rolled:"));
        Ok(Accounts {
            events: EventAccounts {
                accepted: count("accepted"),
                processed: count("processed"),
                unprocessed: count("unprocessed"),
                parked: count("parked"),
                duplicates: count("duplicates"),
                dropped: count("dropped"),
                rolled_up: count("pruned"),
            },
            messages: MessageAccounts { created: count("created"), by_status, rolled_up },
        })
    }
}
