//! Uploaded members of static segments: whoever a file names is put on the list or taken from it by an event in the log, so
//! that membership follows like any other, and folding the log again leads to the same lists.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::audience::Condition;
use crate::audience::segment::LIST_CHANGED;
use crate::decision::Catalog;
use crate::decision::segments::BACKFILL;
use crate::event::NAME_CHARS_MAX;
use crate::eventlog::append::Draft;
use crate::eventlog::{EventLog, Queue};
use crate::ids::{ProfileId, WorkspaceId};
use crate::store::Store;
use crate::worker::permission::own_event;

/// Bytes of one upload, and lines in it.
pub const UPLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const MEMBERS_MAX: usize = 100_000;
/// Places that are told of one by one.
const TOLD_MAX: usize = 100;
/// Events appended together.
const SLICE: usize = 500;
const MEMBERS_PAGE: u32 = 1_000;

/// What an upload does to the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ListMode)]
pub enum Mode {
    /// Whoever is named is on the list, and nobody else.
    #[default]
    Replace,
    Add,
    Remove,
}

/// What an upload came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
#[schema(as = ListUploaded)]
pub struct Uploaded {
    /// People who came onto the list, and who were taken from it. They are members as soon as the log is worked off.
    pub added: u64,
    pub removed: u64,
    /// Those for whom nothing changed.
    pub unchanged: u64,
    /// Members that name nobody: unknown ids, empty or too long ones. They were passed over.
    pub bad: u64,
    /// The first hundred of them.
    pub problems: Vec<BadMember>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ListBadMember)]
pub struct BadMember {
    /// The place in what was sent, from 1.
    pub place: u64,
    pub problem: String,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("more than {MEMBERS_MAX} members at once; send them in parts, the first to replace and the others to add")]
    TooMany,
    #[error("none of the {0} members is known; the list stays what it was")]
    NobodyKnown(u64),
}

fn checked(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".to_owned()),
        id if id.chars().count() > NAME_CHARS_MAX => Err(format!("has more than {NAME_CHARS_MAX} characters")),
        id => Ok(id.to_owned()),
    }
}

/// Whether this segment's members are uploaded.
pub fn is_static(catalog: &Catalog, key: &str) -> bool {
    let defined = catalog.terms.segments.get(key);
    defined.is_some_and(|defined| matches!(defined.segment.filter, Condition::Listed(_)))
}

/// Puts people on the list of a static segment, or takes them from it, slice by slice; what is stored stays stored when a
/// later slice fails, and the same upload again goes on from there.
///
/// # Errors
/// The outer error is the database's. The inner one says why nothing was done.
pub async fn upload(
    log: &EventLog,
    store: &Store,
    id: WorkspaceId,
    (key, mode): (&str, Mode),
    members: &[String],
) -> anyhow::Result<Result<Uploaded, Refused>> {
    if members.len() > MEMBERS_MAX {
        return Ok(Err(Refused::TooMany));
    }
    let db = store.workspace(id);
    let checked: Vec<Result<String, String>> = members.iter().map(|member| checked(member)).collect();
    let known = db.profiles_by_ids(&checked.iter().flatten().cloned().collect::<Vec<_>>()).await?;
    let others = db.current_profiles(&known.values().copied().collect()).await?;
    let (mut uploaded, mut named) = (Uploaded::default(), BTreeSet::new());
    for (place, member) in (1..).zip(checked) {
        let nobody = |who: &str| format!("nobody is known as `{}`", who.chars().take(80).collect::<String>());
        match member.and_then(|who| known.get(&who).copied().ok_or_else(|| nobody(&who))) {
            Ok(profile) => drop(named.insert(others.get(&profile).copied().unwrap_or(profile))),
            Err(problem) => {
                uploaded.bad += 1;
                if uploaded.problems.len() < TOLD_MAX {
                    uploaded.problems.push(BadMember { place, problem });
                }
            }
        }
    }
    // A file of something else must not empty a list.
    if named.is_empty() && uploaded.bad > 0 {
        return Ok(Err(Refused::NobodyKnown(uploaded.bad)));
    }
    let mut changes: BTreeMap<ProfileId, bool> = BTreeMap::new();
    // Of whom a change is on its way their rows say nothing: what is wanted is said again, after it.
    let behind = db.behind_by(LIST_CHANGED).await?;
    let ids: Vec<ProfileId> = named.iter().copied().collect();
    let wanted = mode != Mode::Remove;
    for (profile, person) in db.people(&ids).await? {
        let listed = person?.profile.remembered.lists.contains_key(key);
        if listed == wanted && !behind.contains(&profile) {
            uploaded.unchanged += 1;
        } else {
            changes.insert(profile, wanted);
        }
    }
    if mode == Mode::Replace {
        changes.extend(behind.difference(&named).map(|profile| (*profile, false)));
        let mut after = ProfileId(i64::MIN);
        loop {
            let page = db.members(key, after, MEMBERS_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.profile;
            let gone = page.iter().map(|member| member.profile).filter(|profile| !named.contains(profile));
            changes.extend(gone.map(|profile| (profile, false)));
        }
    }
    uploaded.added = changes.values().filter(|listed| **listed).count() as u64;
    uploaded.removed = changes.len() as u64 - uploaded.added;
    append(log, id, key, changes.into_iter().collect()).await?;
    Ok(Ok(uploaded))
}

async fn append(log: &EventLog, id: WorkspaceId, key: &str, changes: Vec<(ProfileId, bool)>) -> anyhow::Result<()> {
    let now = log.clock().now();
    for slice in changes.chunks(SLICE) {
        let drafts: Vec<Draft> = slice
            .iter()
            .map(|(profile, listed)| {
                let mut properties = Map::new();
                properties.insert("segment".to_owned(), json!(key));
                properties.insert("listed".to_owned(), json!(listed));
                properties.insert("cause".to_owned(), json!(BACKFILL));
                let event = own_event(id, now, LIST_CHANGED, properties);
                Draft { profile: Some(*profile), ..Draft::event(id, event) }
            })
            .collect();
        log.writer()
            .change(Queue::Effects, move |tx, appender| {
                Box::pin(async move {
                    appender.append(tx, vec![drafts]).await?;
                    Ok(())
                })
            })
            .await?;
    }
    Ok(())
}
