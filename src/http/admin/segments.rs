//! Segments: how many people are in each, some of them, and whether a person is in and why.

use actix_web::HttpRequest;
use actix_web::web::{self, Payload};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::audience::Condition;
use crate::audience::segment::Defined;
use crate::definition::problem::nearest;
use crate::ids::{Position, ProfileId, Timestamp};
use crate::store::controls::setting;
use crate::store::segments::looked_at_setting;
use crate::worker::inclusion::included;
use crate::worker::lists::{Mode, UPLOAD_BYTES_MAX, Uploaded, is_static, upload};
use crate::worker::membership::{Membership, memberships};

use super::explain::profile_known;
use super::operation::{Operation, read, write};
use super::paging::{Paged, behind, cut};
use super::{Admin, Answer, Controls, Problem, ROWS_MAX, Refusal, json_answer, json_page, query, read_json, rows};
use crate::http::scope::Scope;

/// People shown of a segment.
const SAMPLE_DEFAULT: u32 = 10;

pub fn operations() -> Vec<Operation> {
    vec![
        read("/segments", Scope::ProfilesRead, list)
            .says("listSegments", "All segments with how many people are in each")
            .query::<Paged>()
            .answers::<Listed>(),
        read("/segments/{key}", Scope::ProfilesRead, one)
            .says("getSegment", "One segment with some of its people, and whether a person is in it and why")
            .query::<Asked>()
            .answers::<Shown>(),
        write("/segments/{key}/members", Scope::DefinitionsWrite, uploaded)
            .says("uploadSegmentMembers", "Replace the members of a static segment, add to them or remove some")
            .takes::<Members>()
            .answers::<Uploaded>()
            .may(&[404, 413]),
    ]
}

#[derive(Serialize, ToSchema)]
#[schema(as = SegmentPage)]
struct Listed {
    segments: Vec<SegmentOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Segment)]
struct SegmentOut {
    key: String,
    name: String,
    owner: String,
    version: u32,
    size: u64,
    /// Its members are uploaded, not found by a condition.
    is_static: bool,
    /// Everybody stored has been looked at since it changed; until then the size grows.
    is_complete: bool,
    /// How far that is; none where it is complete.
    looked_at: Option<LookedAt>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = SegmentMembers)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(default)]
    mode: Mode,
    /// User ids or anonymous ids of people who are known.
    #[schema(max_items = 100_000)]
    members: Vec<String>,
}

/// People whose turn has come, of all whose turn it is.
#[derive(Serialize, ToSchema, Clone, Copy)]
#[schema(as = SegmentProgress)]
struct LookedAt {
    people: u64,
    of: u64,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Say whether this person is in it, and why: by user id, anonymous id or number (profile:17).
    profile: Option<String>,
    /// How many of its people to show.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` said: its people after those.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SegmentShown)]
struct Shown {
    #[serde(flatten)]
    segment: SegmentOut,
    sample: Vec<MemberOut>,
    /// There are more of its people behind this cursor.
    next: Option<String>,
    person: Option<PersonOut>,
    /// Campaigns that include who was in it already, and how far each is.
    included_by: Vec<IncludedBy>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SegmentIncludedBy)]
struct IncludedBy {
    campaign: String,
    /// Whose turn is still to come.
    waiting: u64,
    /// Turns given until now.
    given: u64,
    /// Nobody has a turn before; none where nobody waits.
    next_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SegmentMember)]
struct MemberOut {
    profile: ProfileId,
    user_id: Option<String>,
    since: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SegmentPerson)]
struct PersonOut {
    asked: String,
    #[serde(flatten)]
    membership: Membership,
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    const LIST: &str = "segments";
    let (limit, after) = query::<Paged>(&request)?.read::<String>(LIST)?;
    let live = admin.definitions.live(admin.workspace);
    let (sizes, looked_at) = (admin.db().segment_sizes().await?, looked_at(&admin).await?);
    let set = live.catalog.terms.segments.iter();
    let shown = set.filter(|defined| after.as_ref().is_none_or(|after| defined.segment.key > *after)).map(|defined| {
        let size = sizes.get(&defined.segment.key).copied().unwrap_or(0);
        out(defined, size, looked_at)
    });
    let mut segments: Vec<SegmentOut> = shown.collect();
    segments.sort_by(|one, other| one.key.cmp(&other.key));
    let next = cut(&mut segments, limit, LIST, |last| last.key.clone());
    Ok(json_page(&request, &Listed { segments, next: next.clone() }, next.as_deref()))
}

async fn one(admin: Controls, key: web::Path<String>, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let limit = rows(asked.limit, SAMPLE_DEFAULT, ROWS_MAX)?;
    let live = admin.definitions.live(admin.workspace);
    let set = &live.catalog.terms.segments;
    let Some(defined) = set.get(&key) else {
        let nearest = nearest(&key, set.iter().map(|defined| defined.segment.key.as_str()));
        return Err(Refusal::UnknownSegment { asked: key.chars().take(80).collect(), nearest }.into());
    };
    let size = admin.db().segment_sizes().await?.get(key.as_str()).copied().unwrap_or(0);
    let segment = out(defined, size, looked_at(&admin).await?);
    let list = format!("people of segment {key}");
    let after = behind(&list, asked.cursor.as_deref())?.map_or(ProfileId(i64::MIN), ProfileId);
    let mut members = admin.db().members(&key, after, limit + 1).await?;
    let next = cut(&mut members, limit, &list, |last| last.profile.0);
    let sample =
        members.into_iter().map(|it| MemberOut { profile: it.profile, user_id: it.user_id, since: it.since }).collect();
    let person = match asked.profile {
        Some(who) => Some(person(&admin, &key, who).await?),
        None => None,
    };
    let included = included(&admin.store, &admin.definitions, admin.workspace, &key).await?;
    let included_by = included.into_iter().map(|(campaign, (waiting, given))| IncludedBy {
        campaign,
        waiting,
        given: given.people,
        next_at: (waiting > 0).then_some(given.next_at),
    });
    let included_by = included_by.collect();
    Ok(json_page(&request, &Shown { segment, sample, next: next.clone(), person, included_by }, next.as_deref()))
}

async fn uploaded(admin: Controls, key: web::Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let Members { mode, members } = match read_json(&request, payload, UPLOAD_BYTES_MAX).await {
        Ok(members) => members,
        Err(answer) => return Ok(answer),
    };
    let live = admin.definitions.live(admin.workspace);
    let set = &live.catalog.terms.segments;
    if set.get(&key).is_none() {
        let nearest = nearest(&key, set.iter().map(|defined| defined.segment.key.as_str()));
        return Err(Refusal::UnknownSegment { asked: key.chars().take(80).collect(), nearest }.into());
    }
    if !is_static(&live.catalog, &key) {
        let cause = format!("segment `{key}` has a condition; only one with `static: true` has uploaded members");
        return Err(Refusal::Parameter { field: "key", cause }.into());
    }
    match upload(&admin.log, &admin.store, admin.workspace, (&key, mode), &members).await? {
        Ok(uploaded) => Ok(json_answer(&uploaded)),
        Err(refused) => Err(Refusal::Parameter { field: "members", cause: refused.to_string() }.into()),
    }
}

async fn person(admin: &Admin, key: &str, who: String) -> Result<PersonOut, Problem> {
    let profile = profile_known(admin, &who).await?;
    let live = admin.definitions.live(admin.workspace);
    let now = admin.log.clock().now();
    let told = memberships(admin.db(), &live.catalog, profile, &[key], now).await?;
    match told.and_then(|told| told.into_iter().next()) {
        Some(membership) => Ok(PersonOut { asked: who, membership }),
        None => Err(Refusal::UnknownProfile { asked: who.chars().take(80).collect() }.into()),
    }
}

/// The definitions by which everybody was looked at, and how far the pass by newer ones is.
async fn looked_at(admin: &Admin) -> Result<(Position, LookedAt), Problem> {
    let known = setting(admin.store.reader(), &looked_at_setting(admin.workspace)).await?;
    let pass = admin.db().pass().await?.unwrap_or_default();
    let since = known.and_then(|text| text.parse().ok()).map_or(Position::default(), Position);
    Ok((since, LookedAt { people: pass.looked_at, of: pass.people }))
}

fn out(defined: &Defined, size: u64, (since, pass): (Position, LookedAt)) -> SegmentOut {
    let segment = &defined.segment;
    let is_complete = defined.since <= since;
    SegmentOut {
        key: segment.key.clone(),
        name: segment.name.clone(),
        owner: segment.owner.clone(),
        version: segment.version,
        size,
        is_static: matches!(segment.filter, Condition::Listed(_)),
        is_complete,
        looked_at: Some(pass).filter(|_| !is_complete),
    }
}
