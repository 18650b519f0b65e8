//! People in pages, by what somebody typed, and one person's life in order.

use actix_web::HttpRequest;
use actix_web::web;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::events::FindingOut;
use super::explain::profile_known;
use super::messages::{MessageOut, shown};
use super::operation::{Operation, read};
use super::{Admin, Answer, Controls, Problem, ROWS_DEFAULT, ROWS_MAX, json_page, query, rows};
use crate::audience::Traits;
use crate::decision::{Enrollment, Person};
use crate::http::cursor;
use crate::http::openapi::AnyObject;
use crate::http::scope::Scope;
use crate::ids::{Position, ProfileId, Timestamp};
use crate::message::Message;
use crate::store::consents::LedgerRow;
use crate::store::search::Sought;
use crate::store::timeline::{Happened, Moment, Place};

const LIST: &str = "profiles";
const TIMELINE: &str = "timeline";

pub fn operations() -> Vec<Operation> {
    vec![
        read("/profiles", Scope::ProfilesRead, list)
            .says("listProfiles", "People, the highest number first, or those who may be meant by what was typed")
            .query::<Asked>()
            .answers::<Listed>(),
        read("/profiles/{id}/timeline", Scope::ProfilesRead, timeline)
            .says("getTimeline", "A person's events, answers, enrollments and messages in one order, newest first")
            .query::<AskedTimeline>()
            .answers::<Life>(),
    ]
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// What somebody typed: a user id, an anonymous id or the number of a profile, or the beginning of an e-mail address,
    /// a telephone number or a name.
    q: Option<String>,
    /// People of the page; with `q` one may hold fewer and not be the last.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProfilePage)]
struct Listed {
    profiles: Vec<PersonOut>,
    /// None on the last page.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProfileSummary)]
struct PersonOut {
    id: ProfileId,
    user_id: Option<String>,
    #[schema(value_type = AnyObject)]
    traits: Traits,
    /// Computed traits, as they are kept; each hides a trait of its name.
    #[schema(value_type = AnyObject)]
    computed: Traits,
    created_at: Timestamp,
    last_seen_at: Timestamp,
}

impl From<Person> for PersonOut {
    fn from(Person { profile, .. }: Person) -> Self {
        Self {
            id: profile.id,
            user_id: profile.user_id,
            computed: profile.remembered.values().map(|(key, value)| (key.to_owned(), value.clone())).collect(),
            traits: profile.traits,
            created_at: profile.created_at,
            last_seen_at: profile.last_seen_at,
        }
    }
}

async fn list(admin: Controls, request: HttpRequest) -> Answer {
    let asked: Asked = query(&request)?;
    let limit = rows(asked.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let out = |people: Vec<Person>| people.into_iter().map(PersonOut::from).collect();
    if let Some(typed) = &asked.q {
        // Of this question alone.
        let list = format!("{LIST} called {typed}");
        let from = asked.cursor.as_deref().map(|text| cursor::read::<Sought>(&list, text)).transpose()?;
        let (found, next) = admin.db().people_called(typed, from.as_ref(), limit).await?;
        let next = next.map(|place| cursor::write(&list, &place));
        return Ok(json_page(&request, &Listed { profiles: out(found), next: next.clone() }, next.as_deref()));
    }
    let before = asked.cursor.as_deref().map(|text| cursor::read::<i64>(LIST, text)).transpose()?;
    let mut people = admin.db().profiles_page(before.map(ProfileId), limit + 1).await?;
    let more = people.len() > limit as usize;
    people.truncate(limit as usize);
    let next = people.last().filter(|_| more).map(|last| cursor::write(LIST, &last.profile.id.0));
    Ok(json_page(&request, &Listed { profiles: out(people), next: next.clone() }, next.as_deref()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AskedTimeline {
    /// Moments of the page.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, deserialize_with = "super::paging::rows_asked")]
    limit: Option<u32>,
    /// What `next` of the page before said.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Timeline)]
struct Life {
    profile: ProfileId,
    moments: Vec<MomentOut>,
    /// None on the last page.
    next: Option<String>,
}

/// One thing that happened; which field is there follows from `kind`.
#[derive(Serialize, ToSchema)]
#[schema(as = Moment)]
struct MomentOut {
    at: Timestamp,
    /// event, answer, entered, message, ended
    kind: &'static str,
    /// Of an event and an answer.
    position: Option<Position>,
    /// Of an event.
    name: Option<String>,
    /// What campaigns made of an event.
    findings: Vec<FindingOut>,
    answer: Option<LedgerRow>,
    enrollment: Option<Enrollment>,
    message: Option<MessageOut>,
}

impl MomentOut {
    fn bare(at: Timestamp, kind: &'static str) -> Self {
        Self {
            at,
            kind,
            position: None,
            name: None,
            findings: Vec::new(),
            answer: None,
            enrollment: None,
            message: None,
        }
    }
}

async fn timeline(admin: Controls, id: web::Path<String>, request: HttpRequest) -> Answer {
    let asked: AskedTimeline = query(&request)?;
    let limit = rows(asked.limit, ROWS_DEFAULT, ROWS_MAX)?;
    let before = asked.cursor.as_deref().map(|text| cursor::read::<(i64, u8, String)>(TIMELINE, text)).transpose()?;
    let before = before.map(|(at, rank, id)| Place { at: Timestamp::from_millis(at), rank, id });
    let profile = profile_known(&admin, &id).await?;
    let mut moments = admin.db().timeline(profile, before.as_ref(), limit + 1).await?;
    let more = moments.len() > limit as usize;
    moments.truncate(limit as usize);
    let place = moments.last().filter(|_| more).map(|last| &last.place);
    let next = place.map(|place| cursor::write(TIMELINE, &(place.at.millis(), place.rank, &place.id)));
    let life = Life { profile, moments: told(&admin, moments).await?, next: next.clone() };
    Ok(json_page(&request, &life, next.as_deref()))
}

/// With what was found at each event, and the messages as everywhere.
async fn told(admin: &Admin, moments: Vec<Moment>) -> Result<Vec<MomentOut>, Problem> {
    let positions: Vec<Position> = moments
        .iter()
        .filter_map(|moment| match &moment.happened {
            Happened::Event { position, .. } => Some(*position),
            _ => None,
        })
        .collect();
    let mut findings = admin.db().findings_at(&positions).await?;
    let messages: Vec<Message> = moments
        .iter()
        .filter_map(|moment| match &moment.happened {
            Happened::Message(message) => Some((**message).clone()),
            _ => None,
        })
        .collect();
    let mut messages = shown(admin, messages).await?.into_iter();
    let out = moments.into_iter().map(|Moment { place, happened }| match happened {
        Happened::Event { position, name } => {
            let found = findings.remove(&position).map(|found| [(position, found)].into()).unwrap_or_default();
            let findings = FindingOut::all(&found, None);
            MomentOut { position: Some(position), name: Some(name), findings, ..MomentOut::bare(place.at, "event") }
        }
        Happened::Answered(row) => {
            MomentOut { position: Some(row.position), answer: Some(row), ..MomentOut::bare(place.at, "answer") }
        }
        Happened::Entered(one) => MomentOut { enrollment: Some(one), ..MomentOut::bare(place.at, "entered") },
        Happened::Ended(one) => MomentOut { enrollment: Some(one), ..MomentOut::bare(place.at, "ended") },
        Happened::Message(_) => MomentOut { message: messages.next(), ..MomentOut::bare(place.at, "message") },
    });
    Ok(out.collect())
}
