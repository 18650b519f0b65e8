//! Who has or had an address, and the marks of addresses whose people have still to be told of a change on the suppression
//! list.
//!
//! Whoever changes the list marks the address in the same transaction. Whoever gives an address to a person files them
//! under it, and then compares what the person knows with the list. Whoever works off a mark reads the list and the people
//! later. So that none of them misses another, whatever the order:
//!
//! - The change is committed before the list is compared: the comparison sees it, and marks the address again.
//! - The change is committed after: its mark is worked off after the person is filed, because who files shares a lock that
//!   who works off has to itself, and a statement after the lock sees what was committed under it.
//! - The call that brings the address is appended after the change: what stands on the list is put into the log before it
//!   (`src/eventlog/reach.rs`), so that the person is never reachable in between.
//!
//! What is told is all that stands on the list, not a change of it, so telling twice, or late, does no harm.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use crate::audience::address::addresses_in;
pub use crate::audience::suppression::told;
use crate::audience::{Address, Traits};
use crate::ids::{ProfileId, WorkspaceId};
use crate::message::Suppression;
use crate::store::Workspace;
use crate::store::filed::{by_filed, filed_under, is_hashed};
use crate::store::locks::share_addresses;
use crate::store::rows::{Error, Rows, Values, marks};

/// People with the addresses they came to have, and what each knows of it.
pub type Held = Vec<(ProfileId, String, Vec<Suppression>)>;

/// A mark: its number and the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    pub id: i64,
    pub workspace: WorkspaceId,
    pub subject: String,
}

/// Marks of every workspace, the oldest of them not first: all are worked off.
///
/// # Errors
/// The database cannot be read.
pub async fn marked<C: ConnectionTrait>(conn: &C, limit: u32) -> Result<Vec<Marked>, Error> {
    let sql = "SELECT id, workspace, subject FROM reach_marks ORDER BY id LIMIT ?";
    let rows = Rows(conn).all(sql, vec![limit.into()]).await?;
    let read = |row: &sea_orm::QueryResult| {
        let (id, workspace) = (row.try_get_by_index(0)?, WorkspaceId(row.try_get_by_index(1)?));
        Ok(Marked { id, workspace, subject: row.try_get_by_index(2)? })
    };
    rows.iter().map(read).collect()
}

/// Takes marks away whose people were told.
///
/// # Errors
/// The database cannot be written.
pub async fn unmark<C: ConnectionTrait>(tx: &C, ids: &[i64]) -> Result<(), Error> {
    for chunk in ids.chunks(500) {
        let sql = format!("DELETE FROM reach_marks WHERE id IN ({})", marks(chunk.len()));
        Rows(tx).run(&sql, chunk.iter().map(|id| (*id).into()).collect()).await?;
    }
    Ok(())
}

impl<C: ConnectionTrait> Workspace<'_, C> {
    /// Something about these addresses changed, or somebody knows less of them than there is. A mark is a row of its own,
    /// so that nobody waits for another's.
    pub async fn mark_addresses(&self, subjects: impl IntoIterator<Item = String>) -> Result<(), Error> {
        let number = || uuid::Uuid::new_v4().as_u64_pair().0.cast_signed();
        let rows: Vec<Values> =
            subjects.into_iter().map(|subject| vec![number().into(), self.id.0.into(), subject.into()]).collect();
        if !rows.is_empty() {
            Rows(self.conn).insert("INSERT INTO reach_marks (id, workspace, subject)", "", 3, rows).await?;
        }
        Ok(())
    }

    /// Files people under their addresses; whoever knows something else of one than there is will be told. The last
    /// that a transaction waits for.
    pub async fn file_addresses(&self, held: &Held) -> Result<(), Error> {
        if held.is_empty() {
            return Ok(());
        }
        share_addresses(self.conn).await?;
        let rows = held.iter().map(|(profile, subject, _)| (subject, *profile)).collect::<BTreeSet<_>>();
        let rows: Vec<Values> = rows
            .into_iter()
            .map(|(subject, profile)| {
                vec![self.id.0.into(), filed_under(subject).into_owned().into(), profile.0.into()]
            })
            .collect();
        let head = "INSERT INTO address_holders (workspace, subject, profile)";
        Rows(self.conn).insert(head, "ON CONFLICT DO NOTHING", 3, rows).await?;
        let subjects: BTreeSet<String> = held.iter().map(|(_, subject, _)| subject.clone()).collect();
        let listed = self.closed_addresses(&subjects).await?;
        let differs = |(_, subject, known): &&(ProfileId, String, Vec<Suppression>)| {
            let of = |all: &[Suppression]| -> BTreeSet<(String, Option<ProfileId>)> {
                all.iter().map(|one| (one.kind.to_string(), one.profile)).collect()
            };
            of(known) != of(listed.get(subject).map_or(&[][..], Vec::as_slice))
        };
        let unaware: BTreeSet<String> = held.iter().filter(differs).map(|(_, subject, _)| subject.clone()).collect();
        self.mark_addresses(unaware).await
    }

    /// What stands on the list for these addresses that closes the channel, and not only a topic.
    pub async fn closed_addresses(
        &self,
        subjects: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<Suppression>>, Error> {
        let mut listed = BTreeMap::new();
        for chunk in subjects.iter().cloned().collect::<Vec<_>>().chunks(500) {
            listed.extend(self.suppressions_of(&chunk.iter().cloned().collect()).await?);
        }
        listed.values_mut().for_each(|all: &mut Vec<Suppression>| all.retain(|one| one.kind.closes_channel()));
        listed.retain(|_, all| !all.is_empty());
        Ok(listed)
    }

    /// A page of who has or had these addresses, by the profiles they were then, in the order of addresses; of the first
    /// one those after a profile.
    pub async fn holders(
        &self,
        subjects: &BTreeSet<String>,
        after: ProfileId,
        limit: u32,
    ) -> Result<Vec<(String, ProfileId)>, Error> {
        let filed = by_filed(subjects);
        let Some((first, _)) = filed.first_key_value() else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT subject, profile FROM address_holders WHERE workspace = ? AND subject IN ({})
             AND (subject <> ? OR profile > ?) ORDER BY subject, profile LIMIT ?",
            marks(filed.len())
        );
        let mut values: Values = vec![self.id.0.into()];
        values.extend(filed.keys().map(|key| key.clone().into()));
        values.extend([first.clone().into(), after.0.into(), limit.into()]);
        let mut found = Vec::new();
        for row in Rows(self.conn).all(&sql, values).await? {
            let key: String = row.try_get_by_index(0)?;
            if let Some(subject) = filed.get(&key) {
                found.push(((*subject).clone(), ProfileId(row.try_get_by_index(1)?)));
            }
        }
        Ok(found)
    }

    /// Marks of addresses that are nobody's any more go, with what they say.
    pub async fn forget_marks(&self, subjects: &BTreeSet<String>) -> Result<(), Error> {
        // Of a long one the mark stays until it is worked off.
        let whole = subjects.iter().filter(|subject| !is_hashed(&filed_under(subject))).cloned();
        for chunk in whole.collect::<Vec<_>>().chunks(500) {
            let sql = format!(
                "DELETE FROM reach_marks WHERE workspace = ? AND subject IN ({}) AND NOT EXISTS
                 (SELECT 1 FROM address_holders theirs WHERE theirs.workspace = reach_marks.workspace
                  AND theirs.subject = reach_marks.subject)",
                marks(chunk.len())
            );
            let mut values: Values = vec![self.id.0.into()];
            values.extend(chunk.iter().map(|subject| subject.clone().into()));
            Rows(self.conn).run(&sql, values).await?;
        }
        Ok(())
    }
}

/// The addresses that these traits hold, by their subjects.
pub fn addresses_of(traits: &Traits) -> Vec<String> {
    addresses_in(traits).iter().map(Address::subject).collect()
}
