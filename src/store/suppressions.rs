//! The suppression list: which addresses nothing, or no marketing, may be sent to, since when and why; what was removed
//! stays as a row. And what else was cleared for an address.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, QueryResult};
use serde::Serialize;
use utoipa::ToSchema;

use crate::guard::Neighbour;
use crate::ids::{MessageId, ProfileId, Timestamp};
use crate::message::{Channel, Suppression, SuppressionKind};
use crate::store::Workspace;
use crate::store::controls::{keep_setting, setting};
use crate::store::filed::{by_filed, filed_under, is_hashed};
use crate::store::rows::{Error, Rows, Values, marks};

/// One time an address came onto the list, and how it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ListedSuppression)]
pub struct Listed {
    pub channel: Channel,
    /// In its normal form.
    pub address: String,
    #[serde(flatten)]
    pub suppression: Suppression,
    pub removed_at: Option<Timestamp>,
    pub removed_by: Option<String>,
}

/// Which part of the list to show; empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    pub channel: Option<Channel>,
    pub kind: Option<SuppressionKind>,
    /// An address by its normal form, on any channel; one that is kept by a hash alone too.
    pub address: Option<String>,
    /// Removed ones too.
    pub history: bool,
    /// After this subject (channel, colon, address).
    pub after: Option<String>,
    /// Addresses, each with all its rows.
    pub limit: u32,
}

const SELECT: &str =
    "SELECT subject, kind, profile, at, channel, source, removed_at, removed_by FROM suppressed_addresses";

/// The subject by which an address is suppressed and its slots are found.
pub fn subject(channel: Channel, address: &str) -> String {
    format!("{}:{address}", channel.as_str())
}

/// The setting with the key of [`hashed`]; there is none before anybody was erased.
const ERASURE_KEY: &str = "erasure_key";

/// What stays on the list of somebody who was erased: the channel, and a hash that only this database can make.
pub fn hashed(channel: &str, address: &str, key: &[u8; 32]) -> String {
    format!("{channel}:#{}", &blake3::keyed_hash(key, address.as_bytes()).to_hex()[..32])
}

/// The channel, and the address as far as it is known.
pub fn parts(filed: &str) -> (&str, &str) {
    filed.split_once(':').unwrap_or(("", filed))
}

/// As what it may stand on the list after an erasure: of a long address either all of it was hashed, or what it was filed
/// under.
fn kept_as(subject: &str, key: &[u8; 32]) -> [String; 2] {
    let ((channel, address), filed) = (parts(subject), filed_under(subject));
    let filed = if is_hashed(&filed) { &*filed } else { address };
    [hashed(channel, address, key), hashed(channel, filed, key)]
}

/// The key of [`hashed`], if anybody was erased.
pub async fn erasure_key<C: ConnectionTrait>(conn: &C) -> Result<Option<[u8; 32]>, Error> {
    let Some(kept) = setting(conn, ERASURE_KEY).await? else { return Ok(None) };
    let hash = blake3::Hash::from_hex(kept).map_err(|error| Error::unreadable("erasure key", error))?;
    Ok(Some(*hash.as_bytes()))
}

/// The same, from now on this one where there was none.
pub async fn keep_erasure_key<C: ConnectionTrait>(tx: &C, made: [u8; 32]) -> Result<[u8; 32], Error> {
    keep_setting(tx, ERASURE_KEY, &blake3::Hash::from_bytes(made).to_hex()).await?;
    Ok(erasure_key(tx).await?.unwrap_or(made))
}

fn read(row: &QueryResult) -> Result<(String, Listed), Error> {
    let what = "suppression";
    let subject: String = row.try_get_by_index(0)?;
    let (kind, channel): (String, String) = (row.try_get_by_index(1)?, row.try_get_by_index(4)?);
    let profile: i64 = row.try_get_by_index(2)?;
    let address = parts(&subject).1.to_owned();
    let suppression = Suppression {
        kind: SuppressionKind::parse(&kind).ok_or_else(|| Error::unreadable(what, format!("unknown kind {kind}")))?,
        source: row.try_get_by_index(5)?,
        at: Timestamp::from_millis(row.try_get_by_index(3)?),
        profile: (profile != 0).then_some(ProfileId(profile)),
    };
    let listed = Listed {
        channel: Channel::parse(&channel)
            .ok_or_else(|| Error::unreadable(what, format!("unknown channel {channel}")))?,
        address,
        suppression,
        removed_at: row.try_get_by_index::<Option<i64>>(6)?.map(Timestamp::from_millis),
        removed_by: row.try_get_by_index(7)?,
    };
    Ok((subject, listed))
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Of these addresses, by their subjects, all for which each is on the list now.
    pub async fn suppressions_of(
        &self,
        subjects: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<Suppression>>, Error> {
        let mut found: BTreeMap<String, Vec<Suppression>> = BTreeMap::new();
        if subjects.is_empty() {
            return Ok(found);
        }
        let mut asked = by_filed(subjects);
        if let Some(key) = erasure_key(self.conn).await? {
            asked.extend(subjects.iter().flat_map(|one| kept_as(one, &key).map(|kept| (kept, one))));
        }
        let keys = asked.keys().map(|subject| subject.clone().into()).collect();
        let (is_one_of_these, keys) = Rows(self.conn).among("subject", keys);
        let sql = format!(
            "{SELECT} WHERE workspace = ? AND {is_one_of_these} AND removed_at IS NULL ORDER BY at, kind, profile"
        );
        let values = std::iter::once(self.id.0.into()).chain(keys).collect();
        for row in Rows(self.conn).all(&sql, values).await? {
            let (subject, listed) = read(&row)?;
            let Some(subject) = asked.get(&subject) else { continue };
            found.entry((*subject).clone()).or_default().push(listed.suppression);
        }
        Ok(found)
    }

    /// Puts an address onto the list; false where it is there already for this kind and person.
    pub async fn suppress(&self, channel: Channel, address: &str, why: &Suppression) -> Result<bool, Error> {
        let subject = subject(channel, address);
        let profile = why.profile.map_or(0, |profile| profile.0);
        let kind = why.kind.to_string();
        let known = "SELECT 1 FROM suppressed_addresses
                     WHERE workspace = ? AND subject = ? AND kind = ? AND profile = ? AND removed_at IS NULL";
        let filed = filed_under(&subject).into_owned();
        let key: Values = vec![self.id.0.into(), filed.into(), kind.into(), profile.into()];
        if Rows(self.conn).one(known, key.clone()).await?.is_some() {
            return Ok(false);
        }
        let sql = "INSERT INTO suppressed_addresses (workspace, subject, kind, profile, at, channel, source)
                   VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (workspace, subject, kind, profile, at)
                   DO UPDATE SET source = excluded.source, removed_at = NULL, removed_by = NULL";
        let mut values = key;
        values.extend([why.at.millis().into(), channel.as_str().into(), why.source.clone().into()]);
        Rows(self.conn).run(sql, values).await?;
        self.mark_addresses(why.kind.closes_channel().then_some(subject)).await?;
        Ok(true)
    }

    /// Takes an address off the list; the answer is how many rows were in force. Without a kind: whatever its kind;
    /// without a profile: whoever's answer it was. What came onto the list after `at` stays.
    pub async fn lift_suppression(
        &self,
        (channel, address): (Channel, &str),
        kind: Option<&SuppressionKind>,
        profile: Option<ProfileId>,
        by: &str,
        at: Timestamp,
    ) -> Result<u64, Error> {
        let mut sql = "UPDATE suppressed_addresses SET removed_at = ?, removed_by = ?
                       WHERE workspace = ? AND subject IN (?, ?, ?) AND removed_at IS NULL AND at <= ?"
            .to_owned();
        let subject = subject(channel, address);
        let filed = filed_under(&subject).into_owned();
        let key = erasure_key(self.conn).await?;
        let [kept, also] = key.map_or_else(|| [filed.clone(), filed.clone()], |key| kept_as(&subject, &key));
        let mut values: Values = vec![
            at.millis().into(),
            by.into(),
            self.id.0.into(),
            filed.into(),
            kept.into(),
            also.into(),
            at.millis().into(),
        ];
        if let Some(kind) = kind {
            sql.push_str(" AND kind = ?");
            values.push(kind.to_string().into());
        }
        if let Some(profile) = profile {
            sql.push_str(" AND profile = ?");
            values.push(profile.0.into());
        }
        let lifted = Rows(self.conn).run(&sql, values).await?;
        let counts = lifted > 0 && kind.is_none_or(SuppressionKind::closes_channel);
        self.mark_addresses(counts.then_some(subject)).await?;
        Ok(lifted)
    }

    /// The list by subject, a page of it.
    pub async fn list_suppressions(&self, filter: &ListFilter) -> Result<Vec<Listed>, Error> {
        let mut which = "workspace = ?".to_owned();
        let mut values: Values = vec![self.id.0.into()];
        if !filter.history {
            which.push_str(" AND removed_at IS NULL");
        }
        if let Some(channel) = filter.channel {
            which.push_str(" AND channel = ?");
            values.push(channel.as_str().into());
        }
        if let Some(kind) = &filter.kind {
            which.push_str(" AND kind = ?");
            values.push(kind.to_string().into());
        }
        if let Some(address) = &filter.address {
            let subjects = self.all_kept_as(address).await?;
            which.push_str(&format!(" AND subject IN ({})", marks(subjects.len())));
            values.extend(subjects.into_iter().map(sea_orm::Value::from));
        }
        let mut paged = values.clone();
        let after = filter.after.clone().unwrap_or_default();
        paged.extend([after.into(), i64::from(filter.limit).into()]);
        let sql = format!(
            "{SELECT} WHERE {which} AND subject IN (SELECT DISTINCT subject FROM suppressed_addresses
             WHERE {which} AND subject > ? ORDER BY subject LIMIT ?) ORDER BY subject, at, kind, profile"
        );
        values.extend(paged);
        let rows = Rows(self.conn).all(&sql, values).await?;
        rows.iter().map(|row| read(row).map(|(_, listed)| listed)).collect()
    }

    /// As what an address may stand on the list: on whichever channel, also after whoever had it was erased.
    async fn all_kept_as(&self, address: &str) -> Result<Vec<String>, Error> {
        let key = erasure_key(self.conn).await?;
        let mut found = Vec::new();
        for channel in Channel::ALL {
            let subject = subject(channel, address);
            found.extend(key.iter().flat_map(|key| kept_as(&subject, key)));
            found.push(filed_under(&subject).into_owned());
        }
        Ok(found)
    }

    /// What these people said of any address, as it stands on the list.
    pub async fn suppressions_by(&self, people: &[ProfileId]) -> Result<Vec<Listed>, Error> {
        let sql = format!(
            "{SELECT} WHERE workspace = ? AND profile <> 0 AND profile IN ({}) ORDER BY subject, at, kind, profile",
            marks(people.len())
        );
        let mut values: Values = vec![self.id.0.into()];
        values.extend(people.iter().map(|profile| sea_orm::Value::from(profile.0)));
        let rows = Rows(self.conn).all(&sql, values).await?;
        rows.iter().map(|row| read(row).map(|(_, listed)| listed)).collect()
    }

    /// Messages cleared for these addresses (by their subjects) and created since, that went or are about to.
    pub async fn neighbours_of(
        &self,
        subjects: &BTreeSet<String>,
        since: Timestamp,
    ) -> Result<BTreeMap<String, Vec<Neighbour>>, Error> {
        let mut found: BTreeMap<String, Vec<Neighbour>> = BTreeMap::new();
        if subjects.is_empty() {
            return Ok(found);
        }
        let asked = by_filed(subjects);
        let keys = asked.keys().map(|subject| subject.clone().into()).collect();
        let (is_one_of_these, keys) = Rows(self.conn).among("address_subject", keys);
        let sql = format!(
            "SELECT address_subject, id, profile, campaign, created_at FROM messages WHERE +workspace = ?
             AND {is_one_of_these} AND created_at >= ?
             AND status IN ('claimed', 'sending', 'retrying', 'sent', 'unknown') ORDER BY created_at, id"
        );
        let mut values: Values = vec![self.id.0.into()];
        values.extend(keys);
        values.push(since.millis().into());
        for row in Rows(self.conn).all(&sql, values).await? {
            let id: Vec<u8> = row.try_get_by_index(1)?;
            let neighbour = Neighbour {
                message: MessageId::try_from(id.as_slice()).map_err(|error| Error::unreadable("message", error))?,
                profile: ProfileId(row.try_get_by_index(2)?),
                campaign: row.try_get_by_index(3)?,
                created_at: Timestamp::from_millis(row.try_get_by_index(4)?),
            };
            let filed: String = row.try_get_by_index(0)?;
            let Some(subject) = asked.get(&filed) else { continue };
            found.entry((*subject).clone()).or_default().push(neighbour);
        }
        Ok(found)
    }
}
